from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from lesionforge.cohort.layouts.mask_folder import read_masks
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from lesionforge.masks.generator.template_space import take_masks
from lesionforge.preprocessing.alignment.template_grid import TemplateGrid
from lesionforge.preprocessing.brain.brain_shape import BrainShape
from tests.helpers import tiny_cohort
from tests.masks.mni import AFFINE, SHAPE, ball_at, centre_mm, write_masks
from tests.masks.scans import ball, make_scan

LIA = np.array([[-2.0, 0, 0, 30], [0, 0, -2.0, 40], [0, 2.0, 0, -20], [0, 0, 0, 1]]) @ np.diag([1.0, 1, -1, 1])
OBLIQUE = np.array([[-1.9, 0.3, 0.5, 30.0], [-0.2, -1.95, 0.4, 40.0], [0.55, -0.3, 1.9, -20.0], [0, 0, 0, 1.0]])


@pytest.fixture(scope="module")
def grid():
    return TemplateGrid.covering((40, 48, 32))


def take(grid, mask, affine=AFFINE):
    return grid.take(mask, np.linalg.inv(affine))


def test_the_affine_between_brains_gives_one_the_moments_of_the_other():
    shape = (60, 70, 50)
    small = BrainShape.of(ball(shape, [25, 35, 25], [12, 18, 10]), np.diag([2.0, 2, 3, 1]))
    large = BrainShape.of(ball(shape, [30, 30, 20], [28, 29, 18]), AFFINE)
    affine = small.affine_to(large)
    stretch = affine[:3, :3]
    assert stretch @ small.mean + affine[:3, 3] == pytest.approx(large.mean)
    assert stretch @ small.covariance @ stretch.T == pytest.approx(large.covariance, rel=1e-6, abs=1e-6)
    assert np.allclose(stretch, stretch.T)
    assert (np.linalg.eigvalsh(stretch) > 0).all()
    assert np.allclose(large.affine_to(large), np.eye(4), atol=1e-9)


def test_holes_of_a_brain_do_not_count():
    brain = ball((40, 40, 40), [20] * 3, [15] * 3)
    hollow = brain & ~ball((40, 40, 40), [15, 20, 20], [6] * 3)
    full, holed = (BrainShape.of(mask, np.eye(4)) for mask in (brain, hollow))
    assert np.array_equal(full.mean, holed.mean)


@pytest.mark.parametrize("mask", [np.zeros((9, 9, 9), bool), np.arange(729).reshape(9, 9, 9) == 40])
def test_no_brain_has_no_shape(mask):
    with pytest.raises(ValueError, match="extent along every axis"):
        BrainShape.of(mask, np.eye(4))


def test_the_grid_holds_the_template_brain(grid):
    low, high = grid.affine[:3, 3], grid.affine[:3, 3] + np.array(grid.size) * grid.spacing
    assert (low < [-65, -100, -60]).all()
    assert (high > [65, 68, 75]).all()
    assert 1.2e6 < grid.brain_voxels * grid.voxel_mm3 < 2.2e6


@pytest.mark.parametrize("size", [(40, 48, 32), (128, 128, 32)], ids=["coarser", "finer"])
@pytest.mark.parametrize("radius", [4, 8, 25])
def test_a_mask_keeps_its_place_and_volume(size, radius):
    grid = TemplateGrid.covering(size)
    mask = ball_at([-30, -20, 20], radius)
    taken = take(grid, mask)
    assert np.count_nonzero(taken) * grid.voxel_mm3 == pytest.approx(8 * np.count_nonzero(mask), abs=grid.voxel_mm3)
    assert centre_mm(taken, grid.affine) == pytest.approx(np.array([-30, -20, 20]), abs=2)


def test_the_smallest_lesion_stays(grid):
    mask = np.zeros(SHAPE, np.int16)
    mask[30, 40, 40] = 1
    assert np.count_nonzero(take(grid, mask)) == 1


def test_classes_stay_nested(grid):
    mask = ball_at([-30, -20, 20], 25)
    mask[ball_at([-30, -20, 20], 14) > 0] = 3
    taken = take(grid, mask)
    assert set(np.unique(taken)) == {0, 1, 3}
    share = np.count_nonzero(taken == 3) / np.count_nonzero(taken)
    assert share == pytest.approx(np.count_nonzero(mask == 3) / np.count_nonzero(mask), abs=0.05)


@pytest.mark.parametrize("affine", [None, LIA, OBLIQUE], ids=["RAS", "LIA", "oblique"])
def test_a_mask_comes_to_the_same_place_in_every_brain(grid, affine):
    """In the left half, behind and above the middle: so it is in the scan, whatever its axes."""
    scan = make_scan(3) if affine is None else make_scan(3, affine=affine)
    mask = take(grid, ball_at([-30, -40, 30], 20))
    there = grid.put((mask > 0).astype(np.float32)[None], scan)[0] >= 0.5
    assert there.any()
    assert (there & ~scan.region).sum() < 0.1 * there.sum()
    brain = BrainShape.of(scan.region, scan.affine)
    offset = centre_mm(there, scan.affine) - brain.mean
    template = centre_mm(mask > 0, grid.affine) - grid.brain.mean
    assert (np.sign(offset) == np.sign(template)).all()
    volume = there.sum() * np.prod(scan.spacing) / np.sqrt(np.linalg.det(brain.covariance))
    expected = (mask > 0).sum() * grid.voxel_mm3 / np.sqrt(np.linalg.det(grid.brain.covariance))
    assert volume == pytest.approx(expected, rel=0.15)


def test_a_scan_without_a_brain_is_refused(grid):
    scan = make_scan(3)
    with pytest.raises(CohortError, match=r"target: no brain was found.*anatomy labels"):
        grid.put(np.zeros((1, *grid.size), np.float32), replace(scan, region=np.zeros(scan.spatial_shape, bool)))


def test_masks_with_scans_are_brought_to_the_template_by_their_brains(tmp_path, grid):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=20, shape=(24, 24, 24), affine=LIA)
    cases, masks = take_masks(cohort, grid)
    assert len(cases) == 20
    for case, mask in zip(cases, masks, strict=True):
        scan = load_scan(case, ["FLAIR"])
        expected = grid.from_scan(scan) @ [*centre_mm(scan.label > 0, scan.affine), 1]
        assert centre_mm(mask > 0, grid.affine) == pytest.approx(expected[:3], abs=5)


def test_bad_masks_are_left_out_and_named(tmp_path, grid):
    folder = write_masks(tmp_path / "masks", 22)
    nib.save(nib.Nifti1Image(ball_at([150, 0, 0], 90).astype(np.uint8), AFFINE), folder / "a_outside.nii.gz")
    (folder / "b_truncated.nii.gz").write_bytes((folder / "sub-001_lesion.nii.gz").read_bytes()[:500])
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), folder / "c_empty.nii.gz")
    nib.save(nib.Nifti1Image(255 * ball_at([0, 0, 0], 9).astype(np.uint8), AFFINE), folder / "d_255.nii.gz")
    shifted = AFFINE.copy()
    shifted[0, 3] += 500
    nib.save(nib.Nifti1Image(ball_at([0, 0, 0], 9).astype(np.uint8), shifted), folder / "e_elsewhere.nii.gz")
    problems = []
    cohort = read_masks(folder, on_problem=problems.append)
    cases, masks = take_masks(cohort, grid, on_problem=problems.append)
    assert len(cases) == len(masks) == 22 + 1
    told = sorted(str(problem).rsplit("/", 1)[-1] for problem in problems)
    assert [line[0] for line in told] == ["b", "c", "d", "e"]
    assert "holds no lesion" in told[1]
    assert "255" in told[2]
    assert "outside the MNI152 brain" in told[3]
    assert not any("\n" in line for line in told)


def test_too_few_masks_and_masks_that_are_all_alike_are_refused(tmp_path, grid):
    few = read_masks(write_masks(tmp_path / "few", 5))
    with pytest.raises(CohortError, match="has 5 usable lesion masks, fewer than 20"):
        take_masks(few, grid)
    for number in range(20):
        nib.save(
            nib.Nifti1Image(ball_at([-30, 0, 20], 15).astype(np.uint8), AFFINE), tmp_path / f"few/x{number}.nii.gz"
        )
    alike = read_masks(tmp_path / "few")
    alike = alike.with_cases([case for case in alike if case.case_id.startswith("x")])
    with pytest.raises(CohortError, match="all its lesion masks are alike"):
        take_masks(alike, grid)


def test_slices_are_refused(tmp_path, grid):
    slices = tiny_cohort(tmp_path / "s", spatial_dims=2, n_subjects=2)
    with pytest.raises(CohortError, match=r"is a slice, but the mask generator draws volumes"):
        take_masks(slices, grid)


def test_a_folder_of_masks_is_a_cohort_without_channels(tmp_path):
    folder = write_masks(tmp_path / "masks", 3, classes=2)
    (folder / "notes.txt").write_text("not a mask")
    nib.save(nib.Nifti1Image(ball_at([0, 0, 0], 9).astype(np.uint8), AFFINE), folder / "other.nii.gz")
    cohort = read_masks(folder)
    assert cohort.channels == ()
    assert cohort.labels == {"background": 0, "lesion_1": 1, "lesion_2": 2}
    assert [case.subject_id for case in cohort] == ["other", "sub-000", "sub-001", "sub-002"]
    assert len(cohort.with_lesions()) == 4
    with pytest.raises(CohortError, match="there is no such folder"):
        read_masks(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CohortError, match="holds no lesion mask"):
        read_masks(tmp_path / "empty")
