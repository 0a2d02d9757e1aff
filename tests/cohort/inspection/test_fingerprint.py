import json

import numpy as np
import pytest

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.inspection.fingerprint import CROP_VOXELS, Fingerprint, fingerprint
from lesionforge.cohort.inspection.fingerprint_table import fingerprint_table
from lesionforge.cohort.inspection.measure import foreground, measure, slice_axis
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.errors import CohortError, ConfigError
from lesionforge.kept import keeping_in
from tests.helpers import NESTED, tiny_cohort

both_dims = pytest.mark.parametrize("spatial_dims", [2, 3])


def boxes_scan(spatial_dims, *, annotation=Annotation.LESION, spacing=(1.0, 1.0, 4.0)):
    """A bright box in the dark as head, with two brighter boxes of known size as lesions."""
    shape = (40, 50, 10)[:spatial_dims]
    head = np.zeros(shape, bool)
    head[(slice(10, 30), slice(10, 40), slice(0, 10))[:spatial_dims]] = True
    label = np.zeros(shape, np.int16)
    if annotation is Annotation.LESION:
        label[(slice(12, 16), slice(12, 18), slice(2, 5))[:spatial_dims]] = 1
        label[(slice(24, 26), slice(30, 32), slice(4, 6))[:spatial_dims]] = 2
    image = (100.0 * head + 50.0 * label).astype(np.float32)[None]
    affine = np.diag([*(spacing if spatial_dims == 3 else (1.0, 1.0, 1.0)), 1.0])
    case = Case(case_id="boxes", subject_id="sub", images={}, annotation=annotation)
    known = None if annotation is Annotation.UNKNOWN else label
    return Scan(case=case, channels=("MR",), image=image, label=known, affine=affine)


@both_dims
def test_lesions_are_measured_in_millimetres_and_relative_to_the_head(spatial_dims):
    case = measure(boxes_scan(spatial_dims)).case
    large, small = sorted(case.lesions, key=lambda lesion: -lesion.volume)
    voxel = 4.0 if spatial_dims == 3 else 1.0
    assert large.volume == (4 * 6 * 3 * voxel if spatial_dims == 3 else 4 * 6)
    assert large.extent == (4, 6, 3)[:spatial_dims]
    assert large.extent_mm == (4.0, 6.0, 12.0)[:spatial_dims]
    assert large.centre == pytest.approx(((14 - 10) / 20, (15 - 10) / 30, 3.5 / 10)[:spatial_dims])
    assert case.class_volumes == {1: large.volume, 2: small.volume}
    assert case.lesion_volume == large.volume + small.volume


def test_lesion_free_slices_are_counted_across_the_thick_axis():
    case = measure(boxes_scan(3)).case
    assert (case.slices, case.lesion_free_slices) == (10, 6)
    thick_first = measure(boxes_scan(3, spacing=(5.0, 1.0, 1.0))).case
    assert (thick_first.slices, thick_first.lesion_free_slices) == (40, 34)


@both_dims
def test_intensities_inside_and_outside_lesions_are_apart(spatial_dims):
    measured = measure(boxes_scan(spatial_dims))
    assert set(np.unique(measured.inside["MR"])) == {150.0, 200.0}
    assert set(np.unique(measured.outside["MR"])) == {100.0}


@both_dims
def test_a_case_of_unknown_annotation_counts_neither_as_lesion_nor_as_lesion_free(spatial_dims, tmp_path):
    assert measure(boxes_scan(spatial_dims, annotation=Annotation.UNKNOWN)).case.lesion_free_slices is None
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=5, n_healthy=1, n_unknown=2)
    found = fingerprint(cohort, ["FLAIR"])
    assert [found.count(annotation) for annotation in Annotation] == [2, 1, 2]
    known = fingerprint(cohort.annotated(), ["FLAIR"])
    assert found.lesion_free_slices == known.lesion_free_slices > 0
    assert fingerprint(cohort.subset(["case_004"]), ["FLAIR"]).lesion_free_slices is None


@both_dims
def test_fingerprint_agrees_with_the_files(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_healthy=1, channels=("T1", "FLAIR"), labels=NESTED)
    found = fingerprint(cohort, cohort.channels)
    assert found.spacing == ((1.0, 1.0) if spatial_dims == 2 else (2.0, 2.0, 2.0))
    assert found.size == load_scan(cohort.cases[0], ["T1"]).spatial_shape
    assert found.orientation == ("" if spatial_dims == 2 else "RAS")
    scans = [load_scan(case, cohort.channels) for case in cohort]
    total = sum((scan.label > 0).sum() * np.prod(scan.spacing) for scan in scans)
    assert sum(case.lesion_volume for case in found.cases) == pytest.approx(total)
    for number, channel in enumerate(cohort.channels):
        inside = np.concatenate([scan.image[number][scan.label > 0][:5000] for scan in scans])
        assert found.intensities[channel].inside[2] == pytest.approx(np.median(inside), abs=2)
        assert list(found.intensities[channel].inside) == sorted(found.intensities[channel].inside)


@both_dims
def test_bad_cases_are_left_out_and_listed(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims)
    cohort.cases[1].images["FLAIR"].unlink()
    found = fingerprint(cohort, ["FLAIR"])
    assert [case.case_id for case in found.cases] == ["case_000", "case_002", "case_003"]
    assert len(found.problems) == 1
    assert "case_001_0000" in found.problems[0]
    assert found.problems[0] in fingerprint_table(found)


def test_a_cohort_without_a_readable_case_has_a_fingerprint_but_no_crop(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=3, n_subjects=1)
    cohort.cases[0].images["FLAIR"].unlink()
    found = fingerprint(cohort, ["FLAIR"])
    assert found.cases == ()
    assert "case_000" in fingerprint_table(found)
    with pytest.raises(CohortError, match="no readable case"):
        found.roi_size(3)


def test_slices_among_volumes_are_a_problem(tmp_path):
    volumes = tiny_cohort(tmp_path / "3d", spatial_dims=3, n_subjects=2)
    (flat,) = tiny_cohort(tmp_path / "2d", spatial_dims=2, n_subjects=1).cases
    case = Case(case_id="flat", subject_id="flat", images=flat.images, annotation=flat.annotation, label=flat.label)
    found = fingerprint(volumes.with_cases([*volumes.cases, case]), ["FLAIR"])
    assert (found.spatial_dims, len(found.cases)) == (3, 2)
    assert found.problems == ("flat: has 2 axes, the cases before it 3; keep slices and volumes in separate cohorts",)


@both_dims
def test_a_missing_channel_keeps_the_other_channels(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, channels=("T1", "FLAIR"), missing={"case_000": ["T1"]})
    found = fingerprint(cohort, cohort.channels)
    assert len(found.cases) == len(cohort)
    assert found.problems == ()


@both_dims
def test_saved_and_loaded_it_is_the_same(spatial_dims, tmp_path):
    found = fingerprint(tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_healthy=1, n_unknown=1), ["FLAIR"])
    found.save(tmp_path / "fingerprint.json")
    assert Fingerprint.load(tmp_path / "fingerprint.json") == found


def test_a_file_that_is_no_fingerprint_is_refused(tmp_path):
    path = tmp_path / "fingerprint.json"
    with pytest.raises(CohortError, match="lesionforge check"):
        Fingerprint.load(path)
    found = fingerprint(tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1), ["FLAIR"])
    path.write_text(json.dumps(found.model_dump(mode="json") | {"schema_version": 99}))
    with pytest.raises(CohortError, match="not a readable fingerprint"):
        Fingerprint.load(path)


@both_dims
def test_table_shows_every_channel_class_and_default(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, channels=("T1", "FLAIR"), labels=NESTED)
    found = fingerprint(cohort, cohort.channels)
    table = fingerprint_table(found)
    for word in ("T1", "FLAIR", "oedema", "core", "mm²" if spatial_dims == 2 else "mm³"):
        assert word in table
    assert " × ".join(map(str, found.roi_size(spatial_dims))) in table


@both_dims
@pytest.mark.parametrize("divisor", [8, 16])
def test_crop_holds_most_lesions_with_context_and_suits_network_and_image(spatial_dims, divisor, tmp_path):
    shape = (96, 80) if spatial_dims == 2 else (64, 48, 24)
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, shape=shape, n_subjects=10)
    found = fingerprint(cohort, ["FLAIR"])
    roi = found.roi_size(spatial_dims, divisor=divisor)
    extent = np.asarray(found.lesion_extent_mm(90)) / found.spacing
    image = [side // divisor * divisor for side in shape]
    assert all(side % divisor == 0 and divisor <= side <= most for side, most in zip(roi, image, strict=True))
    held = [all(lesion.extent <= np.asarray(roi)) for case in found.cases for lesion in case.lesions]
    assert np.mean(held) >= 0.9
    assert all(side >= min(1.5 * e, most) for side, e, most in zip(roi, extent, image, strict=True))


def test_crop_of_slices_drops_the_thick_axis(tmp_path):
    affine = np.diag([6.0, 2.0, 2.0, 1.0])
    cohort = tiny_cohort(tmp_path, spatial_dims=3, shape=(16, 64, 32), affine=affine)
    found = fingerprint(cohort, ["FLAIR"])
    assert found.roi_size(2) == found.roi_size(3)[1:]


def test_finer_grid_needs_a_larger_crop(tmp_path):
    found = fingerprint(tiny_cohort(tmp_path, spatial_dims=3, shape=(64, 64, 64)), ["FLAIR"])
    fine = found.roi_size(3, spacing=(1.0, 1.0, 1.0))
    assert all(a > b for a, b in zip(fine, found.roi_size(3), strict=True))


@both_dims
def test_crop_of_large_images_fits_into_memory(spatial_dims, tmp_path):
    shape = (600, 400) if spatial_dims == 2 else (160, 144, 112)
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, shape=shape, n_subjects=1, n_healthy=1)
    roi = fingerprint(cohort, ["FLAIR"]).roi_size(spatial_dims)
    assert 0.8 * CROP_VOXELS[spatial_dims] < np.prod(roi) <= CROP_VOXELS[spatial_dims]
    assert max(roi) <= min(roi) + 16


def test_without_lesions_the_crop_is_the_image(tmp_path):
    found = fingerprint(tiny_cohort(tmp_path, spatial_dims=2, n_subjects=2, n_healthy=2, shape=(70, 50)), ["FLAIR"])
    assert found.roi_size(2) == (64, 48)
    assert found.lesion_free_slices == 1
    assert "## Lesions" not in fingerprint_table(found)


def test_slices_give_no_3d_crop(tmp_path):
    found = fingerprint(tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1), ["FLAIR"])
    with pytest.raises(ConfigError, match="no third axis"):
        found.roi_size(3)


def test_batch_shrinks_with_the_crop_but_stays_in_range(tmp_path):
    found = fingerprint(tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1), ["FLAIR"])
    batches = [found.batch_size([side, side]) for side in (32, 128, 256, 1024)]
    assert batches == [16, 16, 4, 2]


@pytest.mark.parametrize(
    ("spacing", "orientation", "axis"),
    [
        ((1, 1, 5), "RAS", 2),
        ((5, 1, 1), "RAS", 0),
        ((1, 1, 1), "RAS", 2),
        ((2, 2, 2), "LIA", 1),
        ((1, 1, 6), "LIA", 2),
    ],
)
def test_slices_lie_across_the_thick_axis_else_head_to_foot(spacing, orientation, axis):
    assert slice_axis(spacing, orientation) == axis


@pytest.mark.parametrize(("air", "tissue", "bone"), [(0, 100, 250), (-1000, 40, 1500), (12, 400, 900)])
@both_dims
def test_head_is_found_in_mr_hounsfield_units_and_windows(spatial_dims, air, tissue, bone):
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 40)] * spatial_dims, indexing="ij"))
    radius = np.sqrt(np.square(grid).sum(0))
    image = np.where(radius < 0.8, np.where(radius > 0.7, bone, tissue), air).astype(np.float32)
    image += np.random.default_rng(0).normal(0, 0.01 * (bone - air), image.shape).astype(np.float32)
    assert np.mean(foreground(image) == (radius < 0.8)) > 0.99


def test_progress_counts_every_case(tmp_path):
    calls = []
    fingerprint(
        tiny_cohort(tmp_path, spatial_dims=2, n_subjects=3), ["FLAIR"], progress=lambda *call: calls.append(call)
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_empty_cohort_has_an_empty_fingerprint():
    empty = Cohort(name="Empty", channels=("T1",), labels={"background": 0}, cases=())
    assert fingerprint(empty, ["T1"]).cases == ()


@both_dims
def test_a_run_measures_the_same_files_once(spatial_dims, tmp_path, monkeypatch):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=spatial_dims, n_subjects=4)
    fresh = fingerprint(cohort, cohort.channels)
    read = []

    def load(case, channels):
        read.append(case.case_id)
        return load_scan(case, channels)

    monkeypatch.setattr("lesionforge.cohort.inspection.fingerprint.load_scan", load)
    with keeping_in(tmp_path / "run"):
        assert fingerprint(cohort, cohort.channels) == fresh
        assert fingerprint(cohort, cohort.channels) == fresh
        assert len(read) == len(cohort)
        first, second = (case.label for case in cohort.with_lesions().cases[:2])
        first.write_bytes(second.read_bytes())
        changed = fingerprint(cohort, cohort.channels)
    assert len(read) == len(cohort) + 1
    assert changed == fingerprint(cohort, cohort.channels) != fresh
