"""Simulated strokes in heads made from label maps."""

import json

import nibabel as nib
import numpy as np
import pytest

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.cohort.structures import FREESURFER_STRUCTURES
from lesionforge.errors import CohortError, ConfigError
from lesionforge.simulation.simulated_cohort import make_template_cohort
from lesionforge.simulation.simulated_subject import Simulation
from tests.masks.mni import write_masks
from tests.masks.scans import ball

LIA = np.array([[-2.0, 0, 0, 96], [0, 0, 2.0, -110], [0, -2.0, 0, 100], [0, 0, 0, 1]])
COARSE = {"spacing": 6.0, "slice_thickness": None, "contrast": "DWI", "lesion": "stroke"}
NAMES = FREESURFER_STRUCTURES.names


def write_map(path, seed=0):
    """Write a head of a few structures, on axes that are not RAS."""
    shape, rng = (96, 96, 110), np.random.default_rng(seed)
    middle = np.array([48, 48, 55]) + rng.uniform(-4, 4, 3)
    labels = np.zeros(shape, np.int16)
    for value, radii in (
        (515, (44, 42, 50)),
        (24, (36, 34, 44)),
        (3, (34, 32, 42)),
        (2, (28, 26, 36)),
        (4, (6, 6, 10)),
    ):
        labels[ball(shape, middle, radii)] = value
    right = np.indices(shape)[0] < middle[0]
    for left, other in ((3, 42), (2, 41), (4, 43)):
        labels[right & (labels == left)] = other
    nib.save(nib.Nifti1Image(labels, LIA), path)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    for number in range(2):
        write_map(folder / f"person{number}_labels.nii.gz", seed=number)
    return folder


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("masks") / "masks", 30, left=False)


@pytest.fixture(scope="module")
def cohort(maps, masks, tmp_path_factory):
    out = tmp_path_factory.mktemp("cohort") / "stroke"
    return make_template_cohort(out, n_subjects=5, healthy_fraction=0.4, maps=maps, masks=masks, **COARSE), out


def test_cases_of_one_map_are_of_one_subject(cohort):
    cases, out = cohort
    of_map = [case.subject_id for case in cases]
    assert set(of_map[:2]) == set(of_map[2:4]) == {"person0_labels", "person1_labels"}
    assert len(of_map) == 5
    assert all(case.origin == "simulated" for case in cases)
    read = read_cohort(out)
    assert [case.subject_id for case in read] == [case.subject_id for case in cases]
    assert [case.mask_id for case in read] == [case.mask_id for case in cases]
    assert [case.parents for case in read] == [(case.mask_id.split("_")[0],) if case.mask_id else () for case in cases]
    assert not any(case.derived for case in read)
    assert read.cases[0].parenchyma == FREESURFER_STRUCTURES.parenchyma


def test_every_map_is_used_as_often_and_with_and_without_a_lesion():
    for healthy_fraction in (0.5, 1 / 3):
        simulation = Simulation(
            n_subjects=60,
            spatial_dims=3,
            contrasts=("DWI",),
            lesion="stroke",
            healthy_fraction=healthy_fraction,
            spacing=5.0,
            slice_thickness=5.0,
            skull=True,
            seed=0,
            maps=tuple(f"map{number}" for number in range(6)),
        )
        used = [(simulation.map_of(number), simulation.is_healthy(number)) for number in range(60)]
        for name in simulation.maps:
            healthy = [is_healthy for map_name, is_healthy in used if map_name == name]
            assert len(healthy) == 10
            assert 0 < sum(healthy) < 10


def test_every_mask_is_used_once_and_lies_in_parenchyma(cohort):
    cases, _ = cohort
    used = [case.mask_id for case in cases if case.annotation is Annotation.LESION]
    assert len(used) == len(set(used)) == 3
    assert all(name.startswith("sub-") for name in used)
    for case in cases:
        scan = load_scan(case, cases.channels)
        assert bool(scan.label.any()) == (case.annotation is Annotation.LESION)
        inside = np.isin(scan.anatomy[scan.label > 0], FREESURFER_STRUCTURES.parenchyma)
        assert not inside.size or inside.mean() > 0.7


def test_anatomy_maps_hold_the_structures_at_their_side(cohort):
    cases, _ = cohort
    for case in cases:
        anatomy, affine = read_label(case.anatomy)
        assert {NAMES["left cerebral cortex"], NAMES["right cerebral cortex"], NAMES["cerebral white matter"]} <= set(
            np.unique(anatomy)
        )
        for side, sign in (("left", -1), ("right", 1)):
            voxels = np.argwhere(anatomy == NAMES[f"{side} cerebral cortex"]).mean(0)
            assert np.sign((affine[:3, :3] @ voxels + affine[:3, 3])[0]) == sign


def test_tissues_and_strokes_have_the_contrast_of_diffusion(cohort):
    cases, _ = cohort
    for case in cases:
        scan = load_scan(case, cases.channels)
        image, anatomy = scan.image[0], scan.anatomy
        brain = np.isin(anatomy, FREESURFER_STRUCTURES.parenchyma) & (scan.label == 0)
        assert image[brain].mean() > 1.5 * image[anatomy == 0].mean()
        if scan.label.any():
            assert image[scan.label > 0].mean() > 1.1 * image[brain].mean()


def test_the_same_settings_give_the_same_bytes_with_any_number_of_workers(cohort, maps, masks, tmp_path):
    _, out = cohort
    make_template_cohort(
        tmp_path / "again", n_subjects=5, healthy_fraction=0.4, maps=maps, masks=masks, workers=2, **COARSE
    )
    files = {path.relative_to(out) for path in out.rglob("*") if path.is_file()}
    assert files == {path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()}
    for path in files:
        assert (out / path).read_bytes() == (tmp_path / "again" / path).read_bytes(), path


def test_without_masks_strokes_are_drawn(maps, tmp_path):
    cases = make_template_cohort(tmp_path / "out", n_subjects=2, healthy_fraction=0.0, maps=maps, **COARSE)
    assert all(read_label(case.label)[0].any() and case.mask_id == "" for case in cases)
    settings = json.loads((tmp_path / "out" / "simulation.json").read_text())
    assert len(settings["maps"]) == 2
    assert "label maps that were given" in (tmp_path / "out" / "README.txt").read_text()


def test_what_cannot_be_used_is_named(maps, masks, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no label map"):
        make_template_cohort(tmp_path / "a", maps=tmp_path / "empty", **COARSE)
    with pytest.raises(ConfigError, match="masks: need label maps"):
        make_template_cohort(tmp_path / "b", masks=masks, **COARSE)
    with pytest.raises(ConfigError, match="masks"):
        make_template_cohort(tmp_path / "c", masks=masks, maps=maps, **{**COARSE, "lesion": "tumour"})
    strange = tmp_path / "strange"
    strange.mkdir()
    nib.save(nib.Nifti1Image(np.full((8, 8, 8), 99, np.int16), LIA), strange / "x.nii.gz")
    with pytest.raises(CohortError, match=r"x\.nii\.gz: holds the values \[99\]"):
        make_template_cohort(tmp_path / "d", n_subjects=1, maps=strange, **COARSE)
