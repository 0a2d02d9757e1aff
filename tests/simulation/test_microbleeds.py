"""The simulated SWI cohort: bleeds and their outlines, mimics, the record of both, and the refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts.nnunet import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import ConfigError
from lesionforge.simulation.lattice import Lattice
from lesionforge.simulation.microbleeds import draw_bleed
from lesionforge.simulation.simulated_cohort import make_template_cohort
from lesionforge.simulation.simulated_subject import Simulated, Simulation, simulate_subject
from lesionforge.simulation.sub_voxels import SubVoxels
from lesionforge.simulation.swi import high_pass_phase, low_pass, weighted
from lesionforge.simulation.swi_subject import VISIBLE_SHARE
from tests.simulation.test_simulated_cohort import digests

SWI = {"contrast": "SWI", "lesion": "microbleed"}
COARSE = {**SWI, "spacing": 6.0, "slice_thickness": 6.0}
MIMICS = ("vein", "calcification", "air")


def simulation(**settings: object) -> Simulation:
    common = {"n_subjects": 85, "spatial_dims": 3, "contrasts": ("SWI",), "lesion": "microbleed", "skull": True}
    sizes = {"spacing": 6.0, "slice_thickness": 6.0, "healthy_fraction": 0.0, "seed": 2}
    return Simulation(**{**common, **sizes, **settings})


def extent(outline: np.ndarray, spacing: np.ndarray) -> float:
    """Return the largest distance in mm between the centres of voxels of an outline."""
    places = np.argwhere(outline) * spacing
    return float(np.linalg.norm(places[:, None] - places[None], axis=-1).max())


def check_outlines(scan: Simulated) -> None:
    """Each bleed has one outline, inside the skull, that no other touches, and its centre lies in or beside it."""
    parts, count = ndimage.label(scan.label, np.ones((3, 3, 3)))
    assert set(np.unique(scan.label)) == {0, 1}
    assert count == ndimage.label(scan.label)[1] == len(scan.findings["microbleed"])
    assert not scan.label[scan.anatomy == 0].any()
    spacing = np.diag(scan.affine)[:3]
    centres = (scan.findings["microbleed"] - scan.affine[:3, 3]) / spacing
    found = set()
    for centre in centres:
        distance = np.abs(np.argwhere(parts) - centre).max(1)
        assert distance.min() <= 2
        found.add(parts[tuple(np.argwhere(parts)[distance.argmin()])])
    assert len(found) == count


@pytest.mark.parametrize("thickness", [6.0, 10.0])
def test_outlines(thickness: float) -> None:
    settings = simulation(slice_thickness=thickness)
    counts = []
    for number in range(3):
        scan = simulate_subject(settings, number)
        check_outlines(scan)
        counts.append(len(scan.findings["microbleed"]))
        assert all(len(scan.findings[kind]) for kind in MIMICS)
    assert 1 <= min(counts) < max(counts) <= 10


def test_healthy_subjects_have_mimics_and_no_bleed() -> None:
    scan = simulate_subject(simulation(healthy_fraction=1.0, spacing=4.0, slice_thickness=4.0), 0)
    assert not scan.label.any()
    assert len(scan.findings["microbleed"]) == 0
    assert all(len(scan.findings[kind]) for kind in MIMICS)
    brain = scan.affine[2, 3] + scan.affine[2, 2] * np.argwhere(scan.anatomy > 0)[:, 2]
    below = np.mean(scan.findings["air"][:, 2] < brain.mean())
    assert below > 0.7, "air is that of the sinuses and the mastoid"


def test_the_published_cohort_has_18_healthy_subjects_of_85() -> None:
    for share in (18 / 85, 0.2118):
        healthy = simulation(healthy_fraction=share).is_healthy
        assert sum(map(healthy, range(85))) == 18


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_what_is_written(tmp_path: Path, spatial_dims: int) -> None:
    settings = {"n_subjects": 3, "healthy_fraction": 0.34, "spatial_dims": spatial_dims, **COARSE}
    for workers in (1, 2):
        make_template_cohort(tmp_path / str(workers), workers=workers, **settings)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    cohort = read_cohort(tmp_path / "1")
    assert cohort.labels == {"background": 0, "microbleed": 1}
    assert [len(cohort.healthy()), len(cohort.with_lesions())] == [1, 2]
    assert "what looks like one" in (tmp_path / "1" / "README.txt").read_text()
    for case in cohort:
        scan = load_scan(case, cohort.channels)
        record = json.loads((tmp_path / "1" / "provenance" / f"{case.case_id}.json").read_text())
        assert record["simulated"] is True
        assert bool(scan.label.any()) is (case.annotation is Annotation.LESION)
        assert set(record["findings"]) == {"microbleed", *MIMICS}
        for places in record["findings"].values():
            assert all(len(place) == spatial_dims for place in places)
        if spatial_dims == 2:
            outlined = np.argwhere(scan.label)
            near = [
                np.abs(outlined - place).max(1).min() for place in record["findings"]["microbleed"] if len(outlined)
            ]
            assert bool(near) is (case.annotation is Annotation.LESION)
            assert min(near, default=0) <= 1


def test_other_lesions_in_swi_need_no_record(tmp_path: Path) -> None:
    make_template_cohort(tmp_path, n_subjects=1, contrast="SWI", spacing=6.0)
    assert not (tmp_path / "provenance").exists()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"contrast": "FLAIR"}, "FLAIR does not show microbleeds; choose SWI"),
        ({"contrast": ("SWI", "T1")}, "SWI, T1 does not show microbleeds"),
        ({"spacing": 0.5}, "spacing"),
        ({"slice_thickness": 11.0}, "slice_thickness"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(tmp_path: Path, settings: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named.partition(";")[0]) as refused:
        make_template_cohort(tmp_path / "out", **{**COARSE, **settings})
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_label_maps_are_refused(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "a.nii.gz").touch()
    with pytest.raises(ConfigError, match="maps"):
        make_template_cohort(tmp_path / "out", maps=tmp_path / "maps", **COARSE)


def test_bleeds_are_seen_as_2_to_10_mm() -> None:
    """In uniform tissue, by the rule of the outlines; a voxel is added, since an extent is from edge to edge."""
    rng, shape, extents = np.random.default_rng(1), (32, 32, 32), []
    voxels = Lattice(origin=np.full(3, -15.5), spacing=np.ones(3), shape=shape)
    for _ in range(30):
        tissue = SubVoxels.of(np.ones(shape, np.float32), np.zeros(shape, np.float32), voxels, factors=(2, 2, 2))
        before = tissue.signal(tissue.everywhere)
        tissue.add(draw_bleed(rng))
        after = tissue.signal(tissue.everywhere)
        drop = 1 - weighted(after, high_pass_phase(after, low_pass(before, (1, 1, 1))))
        parts, _ = ndimage.label(drop >= min(VISIBLE_SHARE, drop.max()))
        darkest = np.unravel_index(drop.argmax(), shape)
        extents.append(extent(parts == parts[darkest], voxels.spacing) + 1)
    assert max(extents) <= 10.5
    assert np.mean(np.array(extents) >= 2) > 0.9
    assert 4 < np.median(extents) < 8


@pytest.mark.slow
@pytest.mark.parametrize("thickness", [1.0, 3.0])
def test_bleeds_are_as_large_and_as_dark_as_microbleeds(thickness: float) -> None:
    scan = simulate_subject(simulation(spacing=0.98, slice_thickness=thickness), 1)
    check_outlines(scan)
    parts, count = ndimage.label(scan.label)
    spacing = np.diag(scan.affine)[:3]
    assert max(extent(parts == value, spacing) for value in range(1, count + 1)) <= 10
    bleeds = scan.label > 0
    around = ndimage.binary_dilation(bleeds, iterations=2) & ~bleeds & (scan.anatomy > 0)
    assert scan.image[0][bleeds].mean() < 0.8 * scan.image[0][around].mean()
