"""A transformed copy of each case, with its own lesions."""

import numpy as np
import pytest

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from lesionforge.masks.bank import MaskBank
from lesionforge.preprocessing.intensity import Window
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.synthesize import synthesize_cohort
from lesionforge.scores.predictions.overlap import dice
from lesionforge.synthesizers.registry import load_synthesizer
from tests.helpers import NESTED, tiny_cohort
from tests.synthesizers.models import fit_library, tiny_training

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])


def copies(cohort, folder, *, model=None, masks=None, seed=0):
    if model is None:
        model = fit_library("transformed_copy", cohort, folder / "model")
    return synthesize_cohort(model, cohort, masks, out=folder / "copies", n=len(cohort), seed=seed).cohort


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@DIMS
def test_each_case_has_one_copy_that_trains_like_any_cohort(spatial_dims, tmp_path):
    cohort = tiny_cohort(
        tmp_path / "c", spatial_dims=spatial_dims, channels=("FLAIR", "T1"), labels=NESTED, n_healthy=1, n_unknown=1
    )
    known = cohort.annotated()
    copies(known, tmp_path)
    found = read_cohort(tmp_path / "copies")
    assert dict(found.labels) == NESTED
    assert [case.source_case for case in found] == [case.case_id for case in known]
    for case, source in zip(found, known, strict=True):
        old, new = load_scan(source, cohort.channels), load_scan(case, cohort.channels)
        assert case.subject_id == source.subject_id
        assert case.origin == "synthetic"
        assert source.subject_id in case.parents
        assert case.annotation is (Annotation.LESION if new.label.any() else Annotation.LESION_FREE)
        assert new.spatial_shape == old.spatial_shape
        assert np.allclose(new.affine, old.affine)
        assert set(np.unique(new.label)) <= set(np.unique(old.label))
        assert (new.image != old.image)[:, old.image[0] > 0].mean() > 0.5
    assert [case.annotation for case in found] == [case.annotation for case in known]


@DIMS
def test_the_label_goes_where_its_lesion_goes(spatial_dims, tmp_path):
    """Of an image that shows nothing but the label."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=1, shape=(64, 64, 6)[:spatial_dims])
    model = fit_library("transformed_copy", cohort, tmp_path / "model")
    sample = model.info.preprocessing.forward(load_scan(cohort.cases[0], cohort.channels))
    shown = sample.edited(np.where(sample.label > 0, 0.5, -1)[None].astype(np.float32), sample.label)
    overlaps = []
    for seed in range(12):
        copy = model.synthesize(shown, np.zeros_like(sample.label), np.random.default_rng(seed))
        bright = copy.image[0] > (copy.image.max() - 1) / 2
        assert dice(bright, copy.label > 0) > 0.85
        overlaps.append(dice(copy.label > 0, sample.label > 0))
    assert min(overlaps) < 0.8


@pytest.mark.parametrize("orientation", [(0, 1, 2), (2, 0, 1)])
def test_all_slices_of_a_volume_are_moved_alike(orientation, tmp_path):
    """A volume that is the same in all its slices stays so, whichever axis the slices lie along."""
    affine = np.diag([1.0, 1.0, 5.0, 1.0])[:, [*orientation, 3]]
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=1, shape=(40, 40, 40), affine=affine)
    (case,) = cohort
    scan, axis = load_scan(case, ("FLAIR",)), orientation.index(2)
    model = fit_library("transformed_copy", cohort, tmp_path / "model")
    sample = model.info.preprocessing.forward(scan)
    columns = np.repeat(sample.image[..., 20:21], 40, -1), np.repeat(sample.label[..., 20:21], 40, -1)
    copy = model.synthesize(sample.edited(*columns), np.zeros_like(sample.label), np.random.default_rng(0))
    for array in (copy.image[0], copy.label):
        assert np.ptp(array, axis=-1).max() < 1e-5
    assert (copy.label != columns[1]).any()
    drawn = copies(cohort, tmp_path, model=model)
    moved = np.moveaxis(load_scan(drawn.cases[0], ("FLAIR",)).label, axis, -1)
    assert np.array_equal(moved.any((0, 1)), np.moveaxis(scan.label, axis, -1).any((0, 1)))


@DIMS
def test_a_copy_is_made_on_the_scans_own_grid_whatever_the_task_wants(spatial_dims, tmp_path):
    """So nothing of the scan before shines through, and nothing is interpolated twice."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=2)
    coarse = Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels, spacing=(7.0,) * spatial_dims)
    model = type(fit_library("transformed_copy", cohort, tmp_path / "own")).fit(
        cohort,
        channels=cohort.channels,
        config={},
        training=tiny_training(),
        out=tmp_path / "coarse",
        preprocessing=coarse,
    )
    own, other = copies(cohort, tmp_path / "a"), copies(cohort, tmp_path / "b", model=model)
    for one, two in zip(own, other, strict=True):
        pair = [load_scan(case, cohort.channels) for case in (one, two)]
        assert np.array_equal(pair[0].image, pair[1].image)
        assert np.array_equal(pair[0].label, pair[1].label)


def test_beyond_the_window_of_a_preprocessing_nothing_of_the_scan_is_left(tmp_path):
    """Hounsfield units: what is clipped must not stay where it was while the head has moved."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=2)
    window = Preprocessing(spatial_dims=3, channels=cohort.channels, intensity=Window(lower=50, upper=120))
    fit = type(fit_library("transformed_copy", cohort, tmp_path / "m")).fit
    options = {"channels": cohort.channels, "config": {}, "training": tiny_training(), "preprocessing": window}
    for case in copies(cohort, tmp_path, model=fit(cohort, out=tmp_path / "w", **options)):
        image = load_scan(case, cohort.channels).image
        assert image.min() == 50
        assert image.max() <= 50 + 1.5 * 70


def test_masks_are_not_used_and_the_seed_decides(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3)
    model = fit_library("transformed_copy", cohort, tmp_path / "model")
    runs = {"again": {}, "masks": {"masks": MaskBank(cohort)}, "other": {"seed": 1}}
    copies(cohort, tmp_path / "first", model=model)
    first = content(tmp_path / "first")
    for name, options in runs.items():
        copies(cohort, tmp_path / name, model=load_synthesizer(tmp_path / "model"), **options)
        assert (content(tmp_path / name) == first) is (name != "other")
    images = [first[path] for path in first if path.parts[1] == "imagesTr"]
    assert len(set(images)) == 3


def test_a_cohort_without_lesions_is_refused(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2, n_healthy=2)
    with pytest.raises(CohortError, match="has no case with a lesion"):
        fit_library("transformed_copy", cohort, tmp_path / "model")
