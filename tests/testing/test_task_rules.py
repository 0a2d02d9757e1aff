"""The rules of a task: the segmentation task keeps them, and tasks that break one are caught."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.scan import load_scan, save_label
from lesionforge.errors import ConfigError
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.testing import check_task

COUNTER = itertools.count()


def small(spatial_dims):
    return {"filters": (4, 8), "res_units": 0, "roi_size": (16,) * spatial_dims}


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_segmentation_keeps_the_rules(spatial_dims):
    check_task("segmentation", spatial_dims=(spatial_dims,), options=small(spatial_dims))


class ReadsTheLabel(SegmentationTask):
    """Predicts the truth where there is one."""

    def predict_case(self, case, out):
        path = super().predict_case(case, out)
        if case.label is not None:
            path.write_bytes(case.label.read_bytes())
        return path


class CountsCases(SegmentationTask):
    """Predicts something else each time."""

    def predict(self, scan, *, image=None):
        found = super().predict(scan, image=image)
        found.flat[next(COUNTER) % found.size] ^= 1
        return found


class WritesAnew(SegmentationTask):
    def predict_case(self, case, out):
        path = super().predict_case(case, out)
        scan = load_scan(case, self.info.preprocessing.channels)
        save_label(path, self.predict(scan), scan.file)
        return path


class WritesOneFile(SegmentationTask):
    def predict_case(self, case, out):
        path = super().predict_case(case, out)
        return path.replace(path.with_name(f"prediction{case.file_ending}"))


class ForgetsParents(SegmentationTask):
    """Forgets the parents of synthetic cases."""

    @classmethod
    def fit(cls, cohort, **options):
        made = super().fit(cohort, **options)
        if options.get("synthetic") is None:
            return made
        info = made.info.model_copy(update={"training_subjects": tuple(cohort.ancestry)})
        return replace(made, info=info)


class NamesOtherScores(SegmentationTask):
    @classmethod
    def score_names(cls, spatial_dims, labels):
        return super().score_names(spatial_dims, labels)[1:]


class InventsAScore(SegmentationTask):
    @classmethod
    def score_names(cls, spatial_dims, labels):
        return (*super().score_names(spatial_dims, labels), "happiness")

    def score_case(self, prediction, scan, labels, *, in_plane=False):
        return {**super().score_case(prediction, scan, labels, in_plane=in_plane), "happiness": 1.0}


class InfiniteScore(SegmentationTask):
    def score_case(self, prediction, scan, labels, *, in_plane=False):
        return super().score_case(prediction, scan, labels, in_plane=in_plane) | {"dice": float("inf")}


class ShowsACrop(SegmentationTask):
    @classmethod
    def shown(cls, config, folder, scan):
        outlined, words = super().shown(config, folder, scan)
        return outlined[1:], words


class ChangesTheSample(SegmentationTask):
    @classmethod
    def seen(cls, config, sample, preprocessing):
        sample.image[:] += np.float32(1)
        return sample.image


class AlwaysAugments(SegmentationTask):
    @classmethod
    def augmentation(cls, config, kind, preprocessing, spacing, *, spatial_dims):
        return super().augmentation(config, "classical", preprocessing, spacing, spatial_dims=spatial_dims)


class TakesAnyShare(SegmentationTask):
    @classmethod
    def fit(cls, cohort, **options):
        return super().fit(cohort, **{**options, "share": min(options.get("share", 0.5), 1)})


class OverwritesModels(SegmentationTask):
    @classmethod
    def fit(cls, cohort, **options):
        return super().fit(cohort, **{**options, "resume": True})


class CannotResume(SegmentationTask):
    @classmethod
    def fit(cls, cohort, **options):
        if options.get("resume"):
            raise ConfigError("resume", "does not work", "train anew")
        return super().fit(cohort, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (ReadsTheLabel, "must not depend on the label"),
        (CountsCases, "same seed, same bytes"),
        (WritesAnew, "must keep a prediction that exists"),
        (WritesOneFile, "must write the file that it returns|one file for each case"),
        (ForgetsParents, "training_subjects lacks parent_of_a_drawing"),
        (NamesOtherScores, "score_names lists"),
        (InventsAScore, "happiness has no entry"),
        (InfiniteScore, "must be a finite number or NaN, but dice"),
        (ShowsACrop, "must return a map on the scan's grid"),
        (ChangesTheSample, "seen must not change the sample"),
        (AlwaysAugments, "must return None for the name none"),
        (TakesAnyShare, "a share above 1 must be refused"),
        (OverwritesModels, "a used folder without resume must be refused"),
        (CannotResume, "resume=True must accept its own finished model"),
    ],
)
def test_a_broken_task_is_caught(task, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_task(task, spatial_dims=(2,), options=small(2))
