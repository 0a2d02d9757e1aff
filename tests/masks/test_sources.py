"""What every mask source keeps to."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.cohort.scan import load_scan, save_label
from lesionforge.errors import ConfigError, PlacementError
from lesionforge.masks import (
    DrawnMask,
    EditedMasks,
    Ellipsoids,
    GivenMasks,
    MaskBank,
    MaskSource,
    SemiRandom,
    make_mask_source,
)
from lesionforge.masks.semi_random import SemiRandomConfig
from tests.helpers import NESTED, tiny_cohort
from tests.masks.scans import ball, make_scan

both = pytest.mark.parametrize("spatial_dims", [2, 3])
every_source = pytest.mark.parametrize("spec", ["bank", "edited", "interpolated", "semi_random", "ellipsoids", "files"])
MIN_VOLUME = 40.0


def build(spec, folder, spatial_dims):
    cohort = tiny_cohort(folder / "cohort", spatial_dims=spatial_dims, n_healthy=1)
    name = f"files:{folder / 'cohort' / 'labelsTr'}" if spec == "files" else spec
    return make_mask_source(name, cohort), cohort


@both
@every_source
def test_inside_large_enough_beside_lesions_and_the_same_for_the_same_seed(tmp_path, spec, spatial_dims):
    source, cohort = build(spec, tmp_path, spatial_dims)
    scan = make_scan(spatial_dims)
    lesion = np.zeros(scan.spatial_shape, np.int16)
    lesion[tuple(slice(n // 2, n // 2 + 6) for n in scan.spatial_shape)] = 1
    scan = replace(scan, label=lesion)
    around = ndimage.binary_dilation(lesion > 0)
    for seed in range(8):
        one = source.sample(scan, np.random.default_rng(seed), min_volume=MIN_VOLUME)
        again = source.sample(scan, np.random.default_rng(seed), min_volume=MIN_VOLUME)
        assert np.array_equal(one.mask, again.mask)
        assert (one.mask_id, one.redraws) == (again.mask_id, again.redraws)
        assert one.mask.dtype == np.int16
        assert one.mask.shape == scan.spatial_shape
        assert np.count_nonzero(one.mask) * np.prod(scan.spacing) >= MIN_VOLUME
        assert not one.mask[~scan.region].any()
        assert not one.mask[around].any()
        assert one.subjects <= source.subjects <= set(cohort.with_lesions().subjects)


@both
@every_source
def test_different_seeds_give_different_masks(tmp_path, spec, spatial_dims):
    source, _ = build(spec, tmp_path, spatial_dims)
    scan = make_scan(spatial_dims)
    masks = {source.sample(scan, np.random.default_rng(s), min_volume=MIN_VOLUME).mask.tobytes() for s in range(6)}
    assert len(masks) == 6


@both
@every_source
def test_a_scan_without_brain_is_refused(tmp_path, spec, spatial_dims):
    source, _ = build(spec, tmp_path, spatial_dims)
    scan = make_scan(spatial_dims)
    scan = replace(scan, region=np.zeros_like(scan.region))
    with pytest.raises(PlacementError, match="target"):
        source.sample(scan, np.random.default_rng(0))


@both
@every_source
def test_a_scan_full_of_lesion_is_refused_and_not_tried_for_ever(tmp_path, spec, spatial_dims):
    source, _ = build(spec, tmp_path, spatial_dims)
    scan = make_scan(spatial_dims)
    scan = replace(scan, label=scan.region.astype(np.int16))
    with pytest.raises(PlacementError, match="target"):
        source.sample(scan, np.random.default_rng(0), max_redraws=3)


class Stubborn(MaskSource):
    """Draws a mask that is too small a few times before one that fits."""

    digest = ""
    subjects = frozenset({"a"})

    def __init__(self, failures):
        self.failures, self.draws = failures, 0

    def draw(self, scan, rng):
        self.draws += 1
        size = 1 if self.draws <= self.failures else 10
        mask = np.ones((size,) * scan.spatial_dims, np.int16)
        return DrawnMask(mask=mask, mask_id="square", subjects=self.subjects, centre=(0.5,) * scan.spatial_dims)


@both
def test_redraws_are_counted_and_bounded(spatial_dims):
    scan = make_scan(spatial_dims)
    rng = np.random.default_rng(0)
    assert Stubborn(0).sample(scan, rng, min_volume=90, jitter_mm=0).redraws == 0
    assert Stubborn(4).sample(scan, rng, min_volume=90, jitter_mm=0).redraws == 4
    never = Stubborn(10**9)
    with pytest.raises(PlacementError, match="7 redraws"):
        never.sample(scan, rng, min_volume=90, max_redraws=7)
    assert never.draws == 8


@both
def test_masks_of_the_wrong_dimensions_are_refused(tmp_path, spatial_dims):
    scan = make_scan(5 - spatial_dims)
    for spec in ("bank", "edited", "interpolated", "semi_random", "files"):
        source, _ = build(spec, tmp_path / spec, spatial_dims)
        with pytest.raises(ConfigError, match=f"{spatial_dims}D mask"):
            source.sample(scan, np.random.default_rng(0))


@both
def test_names_of_sources(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims)
    healthy = tiny_cohort(tmp_path / "h", spatial_dims=spatial_dims, n_subjects=2, n_healthy=2)
    assert isinstance(make_mask_source("bank", cohort), MaskBank)
    assert isinstance(make_mask_source("edited", cohort), EditedMasks)
    options = {"shapes": "ellipsoids", "max_diameter_mm": 3}
    assert isinstance(source := make_mask_source("semi_random", cohort, options=options), SemiRandom)
    assert source.config == SemiRandomConfig(**options)
    assert isinstance(make_mask_source(f"files:{tmp_path / 'c' / 'labelsTr'}"), GivenMasks)
    assert make_mask_source("ellipsoids", cohort).subjects == set(cohort.subjects)
    assert make_mask_source("ellipsoids", cohort, options={"diameter_mm": (3, 4)}).diameter_mm == (3, 4)
    assert isinstance(make_mask_source("ellipsoids", healthy), Ellipsoids)
    assert make_mask_source("ellipsoids").subjects == frozenset()
    with pytest.raises(ConfigError, match="ellipsoids, files:DIR or gan:MODEL"):
        make_mask_source("blobs", cohort)
    with pytest.raises(ConfigError, match="`masks_from`"):
        make_mask_source("edited")
    with pytest.raises(ConfigError, match="no case has a lesion"):
        make_mask_source("bank", healthy)
    with pytest.raises(ConfigError, match="no such folder"):
        make_mask_source(f"files:{tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no mask with a lesion"):
        make_mask_source(f"files:{tmp_path / 'empty'}")


@both
def test_given_masks_stay_where_they_were_drawn(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_healthy=1, labels=NESTED)
    ending = "png" if spatial_dims == 2 else "nii.gz"
    scan = load_scan(cohort.healthy().cases[0], ["FLAIR"])
    drawing = np.zeros(scan.spatial_shape, np.int16)
    drawing[(slice(0, 4),) * spatial_dims] = 1
    drawing[(slice(1, 3),) * spatial_dims] = 2
    save_label(tmp_path / "own" / f"{scan.case.case_id}.{ending}", drawing, scan.affine)
    source = GivenMasks(tmp_path / "own", cohort=cohort)
    placed = source.sample(scan, np.random.default_rng(0))
    assert np.array_equal(placed.mask, drawing)
    assert (placed.mask_id, placed.subjects) == (scan.case.case_id, {scan.case.subject_id})
    other = load_scan(cohort.cases[0], ["FLAIR"])
    elsewhere = source.sample(other, np.random.default_rng(0), min_volume=4)
    assert elsewhere.mask.any()
    assert elsewhere.mask_id == scan.case.case_id
    moved = replace(scan, affine=scan.affine + np.eye(4))
    with pytest.raises(ConfigError, match="not on the grid"):
        source.sample(moved, np.random.default_rng(0))


@both
def test_given_masks_leave_existing_lesions_alone(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=1)
    scan = load_scan(cohort.cases[0], ["FLAIR"])
    drawing = ndimage.binary_dilation(scan.label > 0, iterations=2).astype(np.int16)
    save_label(tmp_path / "own" / cohort.cases[0].label.name, drawing, scan.affine)
    placed = GivenMasks(tmp_path / "own").sample(scan, np.random.default_rng(0))
    assert np.array_equal(placed.mask > 0, (drawing > 0) & (scan.label == 0))


@both
def test_the_names_of_given_masks_lead_to_the_people_they_are_of(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=3, n_healthy=1)
    ending = "png" if spatial_dims == 2 else "nii.gz"
    scan = load_scan(cohort.healthy().cases[0], ["FLAIR"])
    label = load_scan(cohort.cases[0], ["FLAIR"]).label
    for name, subjects in {
        "case_000_mask": {"sub_00"},
        "case_000+case_001": {"sub_00", "sub_01"},
        "stranger": {"stranger"},
    }.items():
        save_label(tmp_path / name / f"{name}.{ending}", label, scan.affine)
        source = GivenMasks(tmp_path / name, cohort=cohort)
        assert source.subjects == subjects
        drawn = source.draw(scan, np.random.default_rng(0))
        assert (drawn.mask_id, drawn.subjects) == (name, subjects)


def test_of_masks_that_can_all_not_be_read_the_causes_are_told(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=3, n_subjects=3)
    for case in cohort.cases[:2]:
        case.images["FLAIR"].unlink()
    cohort.cases[2].label.write_bytes(b"nonsense")
    problems = []
    with pytest.raises(ConfigError, match=r"no case has a lesion to take as mask: 2 × .* \| 1 × "):
        MaskBank(cohort, on_problem=problems.append)
    assert len(problems) == 3


def bleeds(folder, spatial_dims, diameters_mm):
    """Return a cohort of 1 mm voxels, each case with a ball of this diameter, and the volumes of the balls."""
    cohort = tiny_cohort(folder, spatial_dims=spatial_dims, n_subjects=len(diameters_mm))
    volumes = []
    for case, diameter in zip(cohort.cases, diameters_mm, strict=True):
        scan = load_scan(case, cohort.channels)
        shape = scan.spatial_shape
        label = ball(shape, [n // 2 for n in shape], [diameter / 2 / s for s in scan.spacing])
        save_label(case.label, label.astype(np.int16), case.label)
        volumes.append(np.count_nonzero(label) * np.prod(scan.spacing))
    return cohort, volumes


@both
@pytest.mark.parametrize("spec", ["bank", "edited", "files", "semi_random"])
def test_a_5_mm_bleed_is_placed_unless_a_larger_volume_is_asked_for(tmp_path, spec, spatial_dims):
    cohort, volumes = bleeds(tmp_path, spatial_dims, (5, 5))
    scan = replace(make_scan(spatial_dims, affine=np.eye(4)), label=None)
    source = make_mask_source(f"files:{tmp_path / 'labelsTr'}" if spec == "files" else spec, cohort)
    for seed in range(5):
        assert source.sample(scan, np.random.default_rng(seed)).mask.any()
    with pytest.raises(PlacementError, match="no lesion mask fits"):
        source.sample(scan, np.random.default_rng(0), min_volume=4 * max(volumes), max_redraws=5)


@both
def test_the_least_volume_is_half_the_smallest_lesion_that_the_source_knows(tmp_path, spatial_dims):
    cohort, volumes = bleeds(tmp_path, spatial_dims, (12, 5, 20))
    scan = make_scan(spatial_dims)
    half = pytest.approx(min(volumes) / 2)
    assert MaskBank(cohort).least_volume(scan) == half
    assert GivenMasks(tmp_path / "labelsTr").least_volume(scan) == half
    shrunk = EditedMasks(MaskBank(cohort), scale=(0.5, 2)).least_volume(scan)
    assert shrunk == pytest.approx(min(volumes) / 2 * 0.5**spatial_dims)
    assert Ellipsoids(prior=cohort).least_volume(scan) == SemiRandom(MaskBank(cohort)).least_volume(scan) == 0


@both
def test_the_least_volume_holds_if_none_is_given(spatial_dims):
    class Choosy(Stubborn):
        def least_volume(self, scan):
            return 90 * np.prod(scan.spacing)

    scan = make_scan(spatial_dims)
    assert Choosy(3).sample(scan, np.random.default_rng(0), jitter_mm=0).redraws == 3
    assert Choosy(3).sample(scan, np.random.default_rng(0), jitter_mm=0, min_volume=0).redraws == 0
