"""The built-in cohort: reproducible, plausible where a test can tell, and never taken for real scans."""

import hashlib
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from lesionforge.cohort.case import Annotation, Cohort
from lesionforge.cohort.layouts.nnunet import read_cohort
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.errors import ConfigError, OutputError
from lesionforge.masks.placement import allowed_region
from lesionforge.simulation.head import Grid, deform, random_deformation
from lesionforge.simulation.lesion_shapes import draw_centre, draw_regions
from lesionforge.simulation.simulated_cohort import make_template_cohort
from lesionforge.simulation.simulated_subject import Simulated, Simulation, simulate_subject

COARSE = {"spacing": 6.0, "slice_thickness": 6.0}


def simulate(
    lesion: str, contrasts: tuple[str, ...], number: int, *, healthy: bool = False, skull: bool = True
) -> Simulated:
    settings = {"contrasts": contrasts, "lesion": lesion, "healthy_fraction": float(healthy), "skull": skull}
    return simulate_subject(Simulation(n_subjects=9, spatial_dims=3, seed=3, **settings, **COARSE), number)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def scans(cohort: Cohort) -> list[Scan]:
    return [load_scan(case, cohort.channels) for case in cohort]


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_same_bytes_for_any_number_of_workers(tmp_path: Path, spatial_dims: int) -> None:
    for workers in (1, 2):
        make_template_cohort(
            tmp_path / str(workers), n_subjects=4, spatial_dims=spatial_dims, workers=workers, seed=5, **COARSE
        )
    first = digests(tmp_path / "1")
    assert first == digests(tmp_path / "2")
    assert len(first) == 4 * 3 + 5


def test_seed_and_subject_change_the_scan_and_the_number_of_subjects_does_not(tmp_path: Path) -> None:
    few = make_template_cohort(tmp_path / "few", n_subjects=2, **COARSE)
    more = make_template_cohort(tmp_path / "more", n_subjects=3, **COARSE)
    other = make_template_cohort(tmp_path / "other", n_subjects=1, seed=1, **COARSE)
    images = [[scan.image for scan in scans(cohort)] for cohort in (few, more, other)]
    np.testing.assert_array_equal(images[0], images[1][:2])
    assert not np.array_equal(images[0][0], images[0][1])
    assert not np.array_equal(images[0][0], images[2][0])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_what_is_written_is_read_back(tmp_path: Path, spatial_dims: int) -> None:
    steps: list[tuple[int, int]] = []
    written = make_template_cohort(
        tmp_path,
        n_subjects=4,
        spatial_dims=spatial_dims,
        contrast=("FLAIR", "T1"),
        healthy_fraction=0.25,
        progress=lambda done, total: steps.append((done, total)),
        **COARSE,
    )
    assert read_cohort(tmp_path) == written
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert written.labels == {"background": 0, "oedema": 1, "core": 2, "enhancing": 3}
    assert [len(written.healthy()), len(written.with_lesions())] == [1, 3]
    for scan in scans(written):
        assert scan.spatial_dims == spatial_dims
        assert scan.label is not None
        assert scan.anatomy is not None
        assert bool(scan.label.any()) is (scan.case.annotation is Annotation.LESION)
        assert not (scan.label[scan.anatomy == 0]).any()
        assert set(np.unique(scan.anatomy)) == {0, 1, 2, 3}
        assert np.corrcoef(scan.image.reshape(2, -1))[0, 1] < 0.99


def test_spacing_and_slice_thickness_are_as_asked(tmp_path: Path) -> None:
    thick = make_template_cohort(tmp_path / "thick", n_subjects=1, spacing=4.0, slice_thickness=8.0)
    cubes = make_template_cohort(tmp_path / "cubes", n_subjects=1, spacing=6.0, slice_thickness=None)
    assert scans(thick)[0].spacing == pytest.approx((4, 4, 8))
    assert scans(cubes)[0].spacing == pytest.approx((6, 6, 6))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_file_says_simulated(tmp_path: Path, spatial_dims: int) -> None:
    cohort = make_template_cohort(tmp_path, n_subjects=2, spatial_dims=spatial_dims, **COARSE)
    assert {case.origin for case in cohort} == {"simulated"}
    assert {case.synthesizer for case in cohort} == {"simulated"}
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.info["Description"] == "simulated"
        elif path.suffix == ".gz":
            assert nib.load(path).header["descrip"].item() == b"simulated"
        elif path.name != "anatomy.json":
            assert "simulated" in path.read_text().lower()


def test_new_lesions_stay_out_of_fluid(tmp_path: Path) -> None:
    make_template_cohort(tmp_path, n_subjects=2, spatial_dims=3, **COARSE)
    for case in read_cohort(tmp_path):
        assert (case.parenchyma, case.fluid) == ((2, 3), (1,))
        scan = load_scan(case, case.images)
        assert not allowed_region(scan)[scan.anatomy == 1].any()


def test_a_slice_cuts_the_lesion_where_it_is_largest() -> None:
    settings = {"n_subjects": 1, "contrasts": ("FLAIR",), "lesion": "stroke", "healthy_fraction": 0.0, "seed": 0}
    volume = simulate_subject(Simulation(spatial_dims=3, skull=True, **settings, **COARSE), 0)
    plane = simulate_subject(Simulation(spatial_dims=2, skull=True, **settings, **COARSE), 0)
    assert (plane.label > 0).sum() == (volume.label > 0).sum((0, 1)).max()


@pytest.mark.parametrize("seed", range(4))
def test_tumour_regions_contain_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = Grid.covering((4.0, 4.0, 4.0))
    anatomy = deform(2, grid, random_deformation(rng, grid))
    centre = draw_centre("tumour", grid, anatomy, rng)
    whole, core, enhancing = draw_regions("tumour", grid, anatomy, centre, 40_000, rng)
    assert whole.sum() > core.sum() > enhancing.sum()
    assert not (core & ~whole).any()
    assert not (enhancing & ~core).any()
    assert ndimage.label(whole)[1] == ndimage.label(core)[1] == 1


@pytest.mark.parametrize("number", range(4))
def test_tumour_core_is_surrounded_by_oedema(number: int) -> None:
    label = simulate("tumour", ("FLAIR",), number).label
    core = label >= 2
    around_core = label[ndimage.binary_dilation(core) & ~core]
    assert core.any()
    assert np.mean(around_core == 1) > 0.8


@pytest.mark.parametrize(
    ("lesion", "contrast", "sign"),
    [
        ("tumour", "FLAIR", 1),
        ("tumour", "T1", -1),
        ("stroke", "DWI", 1),
        ("stroke", "T1", -1),
        ("white_matter", "FLAIR", 1),
        ("white_matter", "SWI", 1),
    ],
)
def test_lesions_have_the_sign_of_their_contrast(lesion: str, contrast: str, sign: int) -> None:
    for number in range(3):
        subject = simulate(lesion, (contrast,), number)
        healthy_white_matter = subject.image[0][(subject.anatomy == 3) & (subject.label == 0)]
        difference = subject.image[0][subject.label == 1].mean() - healthy_white_matter.mean()
        assert difference * sign > 0


def test_lesion_contrast_varies_strongly() -> None:
    ratios = []
    for number in range(6):
        subject = simulate("stroke", ("DWI",), number)
        tissue = subject.image[0][(subject.anatomy > 1) & (subject.label == 0)]
        ratios.append(subject.image[0][subject.label > 0].mean() / tissue.mean())
    assert max(ratios) - min(ratios) > 0.4


@pytest.mark.parametrize(("contrast", "darkest"), [("T1", 1), ("FLAIR", 1), ("SWI", 3)])
def test_tissues_have_the_order_of_their_contrast(contrast: str, darkest: int) -> None:
    subject = simulate("tumour", (contrast,), 0, healthy=True)
    means = {tissue: subject.image[0][subject.anatomy == tissue].mean() for tissue in (1, 2, 3)}
    assert min(means, key=means.__getitem__) == darkest


def test_white_matter_lesions_lie_in_white_matter() -> None:
    subject = simulate("white_matter", ("FLAIR",), 0)
    assert np.mean(subject.anatomy[subject.label > 0] == 3) > 0.9


def test_without_skull_all_outside_the_brain_is_black() -> None:
    bare = simulate("tumour", ("FLAIR",), 0, skull=False)
    whole = simulate("tumour", ("FLAIR",), 0)
    np.testing.assert_array_equal(bare.label, whole.label)
    inside = bare.anatomy > 0
    assert np.mean(bare.image[0][~inside] == 0) > 0.95
    assert whole.image[0][~inside].max() > np.median(whole.image[0][inside])


@pytest.mark.parametrize("lesion", ["tumour", "stroke", "white_matter"])
def test_a_lesion_survives_the_coarsest_grid(lesion: str) -> None:
    settings = {"contrasts": ("FLAIR",), "lesion": lesion, "healthy_fraction": 0.0, "skull": True, "seed": 0}
    simulation = Simulation(n_subjects=12, spatial_dims=3, spacing=6.0, slice_thickness=10.0, **settings)
    assert all(simulate_subject(simulation, number).label.any() for number in range(12))


@pytest.mark.parametrize(("fraction", "healthy"), [(0.0, 0), (0.3, 3), (0.5, 5), (1.0, 10)])
def test_healthy_fraction(fraction: float, healthy: int) -> None:
    settings = {"contrasts": ("FLAIR",), "lesion": "tumour", "skull": True, "seed": 0, **COARSE}
    simulation = Simulation(n_subjects=10, spatial_dims=3, healthy_fraction=fraction, **settings)
    assert sum(map(simulation.is_healthy, range(10))) == healthy


def test_a_killed_run_goes_on_and_ends_with_the_same_files(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_template_cohort(tmp_path / "killed", n_subjects=3, progress=stop, **COARSE)
    assert not (tmp_path / "killed" / "dataset.json").exists()
    (tmp_path / "killed" / "imagesTr" / "simulated_001_0000.nii.gz").unlink(missing_ok=True)
    make_template_cohort(tmp_path / "killed", n_subjects=3, **COARSE)
    make_template_cohort(tmp_path / "whole", n_subjects=3, **COARSE)
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_a_folder_with_other_content_is_refused(tmp_path: Path) -> None:
    make_template_cohort(tmp_path, n_subjects=1, **COARSE)
    with pytest.raises(OutputError, match="not empty"):
        make_template_cohort(tmp_path, n_subjects=1, seed=1, **COARSE)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("n_subjects", 0),
        ("spatial_dims", 4),
        ("contrast", "CT"),
        ("contrast", ("T1", "T1")),
        ("lesion", "cyst"),
        ("healthy_fraction", 1.5),
        ("spacing", 0.1),
        ("slice_thickness", 2.0),
    ],
)
def test_a_setting_that_does_not_fit_is_named(tmp_path: Path, setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=setting):
        make_template_cohort(tmp_path / "out", **{setting: value})
    assert not (tmp_path / "out").exists()


def test_neither_network_nor_torch_is_used(tmp_path: Path) -> None:
    code = f"""
import socket, sys
from pathlib import Path
from lesionforge.simulation.simulated_cohort import make_template_cohort

def refuse(*args, **kwargs):
    sys.exit("a network connection was tried")

socket.socket.connect = socket.getaddrinfo = refuse
make_template_cohort(Path({str(tmp_path / "out")!r}), n_subjects=1, spacing=6.0)
sys.exit(",".join({{"torch", "monai"}} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert run.stderr.strip() == ""
    assert (tmp_path / "out" / "dataset.json").is_file()
