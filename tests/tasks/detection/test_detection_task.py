"""Detection finds round spots beside tubes, in slices, volumes, and slice by slice in volumes."""

import json
import re
import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.config import parse_options
from lesionforge.errors import CohortError, ConfigError, DoubtWarning
from lesionforge.kept import KEPT, keeping_in
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.scores.detections.case_detections import evaluate_detections
from lesionforge.scores.detections.detection_file import read_detections, write_detections
from lesionforge.scores.detections.detection_scores import DETECTION_SCORES
from lesionforge.tasks.detection.candidates import Candidates, find_candidates, hits_of, least_response
from lesionforge.tasks.detection.detection_config import DetectionConfig
from lesionforge.tasks.detection.detection_task import DetectionTask
from lesionforge.tasks.detection.patches import Found, PatchSet, cut_patch
from lesionforge.tasks.detection.training_candidates import candidates_of
from lesionforge.tasks.training_data import task_data
from lesionforge.testing import check_task
from lesionforge.training.items.deal import Fade
from lesionforge.training.items.samples import cached_samples, measured_cases
from lesionforge.training.items.source import Source
from lesionforge.training.loop import TrainingConfig
from tests.tasks.detection.spots import spotted_cohort

OBLIQUE = np.array([[0, -1.2, 0, 40], [1.2, 0, 0, -30], [0, 0, 2.4, 5], [0, 0, 0, 1.0]])


def options(spatial_dims, **changes):
    small = {"radii_mm": (1, 2, 3), "filters": (4, 8), "patch_mm": 8, "spatial_dims": spatial_dims}
    return parse_options(DetectionConfig, {**small, **changes})


def fitted(cohort, out, spatial_dims, *, steps=60, **extra):
    training = TrainingConfig(steps=steps, batch_size=8, device="cpu", preview_minutes=None)
    config = extra.pop("config", options(spatial_dims))
    return DetectionTask.fit(cohort, channels=("SWI",), config=config, training=training, out=out, **extra)


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    return {
        dims: spotted_cohort(tmp_path_factory.mktemp(f"spots{dims}") / "cohort", dims, affine=OBLIQUE)
        for dims in (2, 3)
    }


@pytest.fixture(scope="module")
def samples(cohorts):
    def of(dims):
        cases, facts = measured_cases(cohorts[dims], ("SWI",))
        preprocessing = Preprocessing.fit(facts, spatial_dims=dims)
        return cached_samples(cases, preprocessing), preprocessing

    return {dims: of(dims) for dims in (2, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_detection_keeps_the_rules_of_tasks(spatial_dims):
    check_task("detection", spatial_dims=(spatial_dims,), options={"filters": (4, 8), "patch_mm": 8})


@pytest.mark.parametrize(("scans", "spatial_dims"), [(2, 2), (3, 3), pytest.param(3, 2, marks=pytest.mark.slow)])
def test_spots_are_found_and_tubes_are_not(cohorts, tmp_path, scans, spatial_dims):
    cohort = cohorts[scans]
    task = fitted(cohort, tmp_path / "model", spatial_dims, steps=100)
    task.predict_cohort(cohort, out=tmp_path / "found")
    table = evaluate_detections(tmp_path / "found", cohort)
    assert DETECTION_SCORES["froc_sensitivity"](table) >= 0.9
    for case in cohort:
        label, _ = read_label(tmp_path / "found" / "maps" / f"{case.case_id}{case.file_ending}")
        places, confidences = read_detections(tmp_path / "found" / f"{case.case_id}.csv", load_scan(case, ["SWI"]))
        assert bool(label.any()) == bool((confidences >= 0.5).any())
        assert all(label[tuple(np.rint(place).astype(int))] for place in places[confidences >= 0.5])


@pytest.mark.slow
def test_positions_survive_a_change_of_grid(cohorts, tmp_path):
    """A model at twice the voxel size still puts its detections into the spots of scans with turned axes."""
    cohort = cohorts[3]
    _, facts = measured_cases(cohort, ("SWI",))
    coarse = Preprocessing.fit(facts, spatial_dims=3, spacing=(1.5, 1.5, 2.4))
    config = options(3, radii_mm=(2, 3), tolerance_mm=3)
    task = fitted(cohort, tmp_path / "model", 3, steps=100, preprocessing=coarse, config=config)
    task.predict_cohort(cohort, out=tmp_path / "found")
    assert DETECTION_SCORES["froc_sensitivity"](evaluate_detections(tmp_path / "found", cohort)) >= 0.8


def test_a_run_finds_the_candidates_of_a_scan_once(samples, tmp_path, monkeypatch):
    """Thresholds that are chosen later leave out candidates; other options, and other scans, have others."""
    for dims, (of_dims, preprocessing) in samples.items():
        alone = find_candidates(of_dims[0], preprocessing, options(dims))
        folder = tmp_path / str(dims) / KEPT / "candidates"
        with keeping_in(folder.parents[1]):
            first = find_candidates(of_dims[0], preprocessing, options(dims))
            with monkeypatch.context() as patch:
                patch.setattr("lesionforge.tasks.detection.candidates.brain_region", None)
                later = options(dims, least_response=1.0, max_candidates=3, filters=(4,), augment="none")
                again = find_candidates(of_dims[0], preprocessing, later)
            assert len(list(folder.iterdir())) == 1
            find_candidates(of_dims[0], preprocessing, options(dims, apart_mm=9))
            find_candidates(of_dims[1], preprocessing, options(dims))
            assert len(list(folder.iterdir())) == 3
        for found in (first, again):
            assert np.array_equal(found.places, alone.places)
            assert np.array_equal(found.responses, alone.responses)
            assert found.places.dtype == alone.places.dtype


def test_the_threshold_keeps_the_share_of_lesions_that_was_asked_for(samples):
    for dims, (of_dims, preprocessing) in samples.items():
        found = [
            hits_of(find_candidates(sample, preprocessing, options(dims)), sample.label > 0, sample.spacing, 2.0)
            for sample in of_dims
        ]
        best = np.concatenate([hits.of_lesions for hits in found])
        for share in (0.5, 0.8, 1.0):
            threshold = least_response(found, share)
            assert (best >= threshold).mean() >= share
            assert (best > threshold).mean() < share or threshold == 0


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"polarity": "bright", "radii_mm": (1,), "tolerance_mm": 0}, r"change radii_mm, polarity \(bright\)"),
        ({"max_candidates": 1}, r"; raise max_candidates \(1\)"),
        (
            {"max_candidates": 1, "radii_mm": (0.5, 2)},
            r"leave 0\.5 out of radii_mm, .* voxel \(1 mm\).*, or raise",
        ),
        ({}, None),
        ({"least_response": 1e9}, None),
    ],
)
def test_too_few_lesions_among_the_candidates_are_told(samples, changes, remedy):
    """With the option that is to blame; nothing is said where enough are, or where the user gave the threshold."""
    of_dims, preprocessing = samples[2]
    data = SimpleNamespace(
        sources=[Source(samples=of_dims[:2])],
        preprocessing=preprocessing,
        fade=None,
        parents=SimpleNamespace(name="spots"),
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        candidates_of(data, options(2, **changes))
    told = [str(one.message) for one in told if issubclass(one.category, DoubtWarning)]
    assert len(told) == (remedy is not None)
    assert all(re.search(remedy, line) and "are among the candidates" in line for line in told)


def test_a_patch_is_the_image_around_its_voxel_and_air_beyond(samples):
    for dims, (of_dims, preprocessing) in samples.items():
        sample, size = of_dims[0], (6,) * dims
        shown = sample.relative_to_tissue(sample.image, preprocessing.output)
        middle = [n // 2 for n in sample.image.shape[1:]]
        patch = cut_patch(sample, middle, size, preprocessing.output)
        assert np.array_equal(patch, shown[(slice(None), *(slice(m - 3, m + 3) for m in middle))])
        corner = cut_patch(sample, [0] * dims, size, preprocessing.output)
        assert (corner[(slice(None), *[slice(0, 3)] * dims)] == -1).all()
        assert np.allclose(corner[(slice(None), *[slice(3, 6)] * dims)], shown[(slice(None), *[slice(0, 3)] * dims)])


def found_in(of_dims, preprocessing, dims):
    config = options(dims)
    parts = []
    for sample in of_dims:
        candidates = find_candidates(sample, preprocessing, config)
        hits = hits_of(candidates, sample.label > 0, sample.spacing, 2.0)
        parts.append(Found(sample=sample, candidates=candidates, hits=hits))
    return parts


@pytest.mark.parametrize("augment", [False, True])
def test_items_depend_on_their_number_alone_and_have_the_share_of_lesions(samples, augment):
    from lesionforge.augmentation.patches import patch_augmentation

    for dims, (of_dims, preprocessing) in samples.items():
        items = PatchSet(
            [Source(samples=of_dims, lesion_share=0.3)],
            [found_in(of_dims, preprocessing, dims)],
            roi_size=(8,) * dims,
            augment=patch_augmentation(dims) if augment else None,
            output=preprocessing.output,
            seed=1,
        )
        first = [items[number] for number in range(100)]
        assert {item["image"].shape for item in first} == {(1, *(8,) * dims)}
        assert np.array_equal(items[7]["image"], first[7]["image"])
        assert abs(np.mean([float(item["lesion"]) for item in first]) - 0.3) < 0.15
        middle = (0, *(4,) * dims)
        lesions = [float(item["image"][middle]) for item in first if item["lesion"]]
        assert np.mean(lesions) < -0.3, "patches of lesions must have a dark spot in the middle"


def test_of_a_synthetic_scan_only_the_drawn_lesions_are_shown(samples):
    for dims, (of_dims, preprocessing) in samples.items():
        (found,) = found_in(of_dims[:1], preprocessing, dims)
        lesions = found.of_lesions()
        first = np.zeros_like(found.sample.label)
        first[tuple(lesions[0][0])] = 1
        known = np.where(first > 0, 1, 0)
        from scipy import ndimage

        parts, count = ndimage.label(found.sample.label, np.ones((3,) * dims))
        known = (parts == 1).astype(np.int16)
        assert len(found.of_lesions(known)) == count - 1
        assert len(found.of_lesions(found.sample.label)) == count, "if none was drawn, all count"


def test_a_task_trained_on_synthetic_cases_alone_chooses_its_threshold_on_them(cohorts, tmp_path):
    """The real cases' spots are erased from the labels' neighbourhood in the copies, so that their responses differ."""
    cohort = cohorts[2]
    faint = spotted_cohort(tmp_path / "other" / "cohort", 2, n=4, healthy=0, seed=1)
    drawn = faint.with_cases(
        [replace(case, case_id=f"{case.case_id}_s", origin="synthetic", parents=("someone",)) for case in faint]
    )
    alone = fitted(cohort, tmp_path / "alone", 2, steps=2, synthetic=drawn, share=1.0)
    expected = fitted(faint, tmp_path / "expected", 2, steps=2, preprocessing=alone.info.preprocessing)
    real = fitted(cohort, tmp_path / "real", 2, steps=2, preprocessing=alone.info.preprocessing)
    of = {name: task.info.config["least_response"] for name, task in (("a", alone), ("e", expected), ("r", real))}
    assert of["a"] == of["e"] != of["r"]
    assert "someone" in alone.info.training_subjects
    about = json.loads((tmp_path / "alone" / "candidates.json").read_text())
    assert about["least_response"] == of["a"]
    assert about["lesions"] > 0


def test_lesions_drawn_on_the_fly_are_in_the_middle_of_their_patch(samples):
    from monai.transforms import Compose

    for dims, (of_dims, preprocessing) in samples.items():
        free = [sample for sample in of_dims if not sample.label.any()]

        def draw(item, bright=3 * preprocessing.output[1]):
            image, label = np.array(item["image"]), np.array(item["label"])
            place = tuple(slice(n // 2 - 1, n // 2 + 2) for n in image.shape[1:])
            image[(0, *place)], label[(0, *place)] = bright, 1
            return {**item, "image": image, "label": label}

        items = PatchSet(
            [
                Source(samples=of_dims, share=0.0),
                Source(samples=free, transform=Compose([draw]), lesion_share=1.0, share=1.0),
            ],
            [found_in(of_dims, preprocessing, dims), []],
            roi_size=(8,) * dims,
            augment=None,
            output=preprocessing.output,
            seed=0,
        )
        for number in range(5):
            item = items[number]
            assert item["lesion"] == 1
            assert float(item["image"][(0, *(4,) * dims)]) == float(item["image"].max())
        drawn = float(items[0]["image"].max())
        items.fade = Fade(first=2, last=4)
        assert [float(items[number]["image"].max()) == drawn for number in (0, 1, 4, 5)] == [True, True, False, False]


def test_without_a_false_candidate_patches_of_other_places_are_shown(samples):
    for dims, (of_dims, preprocessing) in samples.items():
        found = [
            replace(of, candidates=of.candidates.at_least(1e9, at_most=0))
            for of in found_in(of_dims, preprocessing, dims)
        ]
        found = [replace(of, hits=hits_of(of.candidates, of.sample.label > 0, of.sample.spacing, 2.0)) for of in found]
        items = PatchSet(
            [Source(samples=of_dims)], [found], roi_size=(8,) * dims, augment=None, output=preprocessing.output, seed=0
        )
        assert {float(items[number]["lesion"]) for number in range(20)} == {0.0, 1.0}


def test_training_goes_on_from_a_pretrained_model(cohorts, tmp_path):
    first = fitted(cohorts[2], tmp_path / "first", 2, steps=2)
    second = fitted(cohorts[2], tmp_path / "second", 2, steps=2, pretrained=first)
    assert second.info.training["pretrained"] == first.digest
    with pytest.raises(ConfigError, match="filters"):
        fitted(cohorts[2], tmp_path / "third", 2, pretrained=first, config=options(2, filters=(8, 8)))


def test_a_scan_without_a_candidate_has_no_detection(cohorts, tmp_path):
    task = fitted(cohorts[2], tmp_path / "model", 2, steps=2, config=options(2, least_response=1e9))
    path = task.predict_case(cohorts[2].cases[0], tmp_path)
    assert pd.read_csv(path).empty
    scan = load_scan(cohorts[2].cases[0], ["SWI"])
    row = task.score_case(path, scan, cohorts[2].labels)
    assert row["case_sensitivity"] == 0
    assert row["candidates"] == 0
    outlined, words = task.shown(options(2), tmp_path, scan)
    assert not outlined.any()
    assert words.startswith("0 of ")


@pytest.mark.parametrize(("tolerance_mm", "words"), [(5, "1 of 1 lesions, 0 false"), (2, "0 of 1 lesions, 1 false")])
def test_a_picture_counts_hits_by_the_rule_of_the_scores(cohorts, tmp_path, tolerance_mm, words):
    scan = load_scan(cohorts[2].cases[0], ["SWI"])
    scan = replace(scan, label=np.zeros_like(scan.label))
    scan.label[40, 40] = 1
    write_detections(tmp_path / f"{scan.case.case_id}.csv", np.array([[44.0, 40.0]]), np.array([0.9]), scan)
    assert DetectionTask.shown(options(2, tolerance_mm=tolerance_mm), tmp_path, scan)[1] == words


def test_what_cannot_be_trained_on_is_refused(cohorts, tmp_path):
    cohort = cohorts[2]
    with pytest.raises(ConfigError, match=r"channel.*'T1' is not among the channels"):
        fitted(cohort, tmp_path / "a", 2, config=options(2, channel="T1"))
    free = [case for case in cohort if case.annotation is Annotation.LESION_FREE]
    with pytest.raises(CohortError, match="no case with a lesion to choose candidates by"):
        fitted(cohort.with_cases(free), tmp_path / "b", 2)
    with pytest.raises(ConfigError, match="roi_size"):
        options(3, roi_size=(8, 8))
    with pytest.raises(ConfigError, match="radii_mm"):
        options(3, radii_mm=(1, -2))
    task = fitted(cohorts[3], tmp_path / "c", 3, steps=2)
    with pytest.raises(CohortError, match="is a slice"):
        task.predict_case(cohort.cases[0], tmp_path)


def test_scans_smaller_than_a_patch_and_lesions_larger_than_one(cohorts, tmp_path):
    """Patches of 60 mm in slices of 96 mm, and of 4 mm around spots of more than 4 mm."""
    for number, patch_mm in enumerate((200, 4)):
        task = fitted(cohorts[2], tmp_path / str(number), 2, steps=2, config=options(2, patch_mm=patch_mm))
        assert task.info.config["roi_size"] == [patch_mm] * 2
        places, confidences = task.predict(load_scan(cohorts[2].cases[0], ["SWI"]))
        assert len(places) == len(confidences) > 0
        assert ((confidences >= 0) & (confidences <= 1)).all()


def test_the_strongest_candidates_are_kept():
    candidates = Candidates(np.arange(8).reshape(4, 2), np.array([4.0, 3.0, 2.0, 1.0], np.float32))
    assert len(candidates.at_least(2.0, at_most=10).places) == 3
    assert candidates.at_least(0.0, at_most=2).responses.tolist() == [4.0, 3.0]


def test_real_and_synthetic_cases_are_mixed_alike_for_every_task(cohorts):
    cases, facts = measured_cases(cohorts[2], ("SWI",))
    preprocessing = Preprocessing.fit(facts, spatial_dims=2)
    data = task_data(cases, facts, preprocessing, real=cohorts[2], synthetic=None, share=0.5, lesion_share=0.5)
    assert [source.share for source in data.sources] == [1.0]
    assert data.about(None) == {}
