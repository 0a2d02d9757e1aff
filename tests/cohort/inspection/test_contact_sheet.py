from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.inspection.contact_sheet import (
    CLASS_COLOURS,
    caption,
    contact_sheet,
    draw_contours,
    key_slice,
    pick_evenly,
)
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError
from tests.helpers import NESTED, tiny_cohort

both_dims = pytest.mark.parametrize("spatial_dims", [2, 3])


def coloured(path):
    """Pixels that are far from grey: the outlines."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return int((np.ptp(pixels, axis=-1) > 100).sum())


@both_dims
def test_lesions_are_outlined_and_their_absence_is_not(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=3, n_healthy=1, n_unknown=1)
    counts = {
        case.annotation: coloured(contact_sheet(cohort.subset([case.case_id]), tmp_path / f"{case.case_id}.png"))
        for case in cohort
    }
    assert counts[Annotation.LESION] > 50
    assert counts[Annotation.LESION_FREE] == counts[Annotation.UNKNOWN] == 0


def test_every_class_has_its_own_outline(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=1, labels=NESTED)
    contact_sheet(cohort, tmp_path / "sheet.png")
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    pixels = pixels[: len(pixels) * 4 // 5]
    for colour in ((255, 59, 48), (255, 214, 10)):
        assert (np.abs(pixels - colour).sum(-1) < 60).any()


@both_dims
def test_a_lesion_of_a_few_voxels_gets_a_box_and_stays_visible(spatial_dims, tmp_path):
    """The box has the colour of the class and is at least two pixels away on all sides; there is no outline."""
    shape = (96, 96, 8)[:spatial_dims]
    case = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=1, shape=shape).cases[0]
    scan = load_scan(case, ["FLAIR"])
    label = np.zeros(shape, np.int16)
    label[(slice(40, 42), slice(50, 52), 4)[:spatial_dims]] = 2
    figure = Figure()
    axes = figure.add_subplot()
    _, shown, aspect = key_slice(replace(scan, label=label))
    draw_contours(axes, shown, aspect)
    (box,) = axes.patches
    assert not axes.collections
    assert to_hex(box.get_edgecolor()) == CLASS_COLOURS[1]
    rows, columns = np.nonzero(shown)
    left, top, right, bottom = box.get_bbox().extents
    assert left <= columns.min() - 2.5
    assert right >= columns.max() + 2.5
    assert top <= rows.min() - 2.5
    assert bottom >= rows.max() + 2.5


def test_anatomy_maps_have_a_panel_of_their_own_and_a_case_without_one_says_so(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2, anatomy=True)
    mixed = cohort.with_cases([cohort.cases[0], replace(cohort.cases[1], anatomy=None)])
    sheets = {
        name: np.asarray(Image.open(contact_sheet(of, tmp_path / f"{name}.png", anatomy=True, dpi=40)).convert("L"))
        for name, of in (("mapped", cohort), ("mixed", mixed))
    }
    differs = np.flatnonzero((sheets["mapped"] != sheets["mixed"]).any(0)) / sheets["mixed"].shape[1]
    assert len(differs)
    assert differs.min() > 0.8


@both_dims
def test_sheet_grows_with_cases_up_to_the_limit(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=9)
    heights = [
        Image.open(contact_sheet(cohort, tmp_path / f"{n}.png", n_cases=n, dpi=30)).height for n in (4, 5, 9, 50)
    ]
    assert heights[0] < heights[1] < heights[2] == heights[3]


def test_cases_are_chosen_evenly_with_both_ends(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=9)
    assert [case.case_id for case in pick_evenly(cohort, 3)] == ["case_000", "case_004", "case_008"]
    assert pick_evenly(cohort, 20) == cohort.cases


def test_slice_with_most_lesion_is_shown(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=3)
    for case in cohort:
        scan = load_scan(case, ["FLAIR"])
        _, label, _ = key_slice(scan)
        assert (label > 0).sum() == (scan.label > 0).sum(axis=(0, 1)).max()


@pytest.mark.parametrize("flip", [(-1, 1, 1), (1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_picture_does_not_depend_on_how_the_axes_are_stored(flip, order, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=1, affine=np.diag([2.0, 2.0, 5.0, 1.0]))
    case = cohort.cases[0]
    expected = key_slice(load_scan(case, ["FLAIR"]))
    moved = {}
    for name, path in (("image", case.images["FLAIR"]), ("label", case.label)):
        image = nib.load(path)
        turned = image.as_reoriented(np.column_stack([np.argsort(order), flip]))
        moved[name] = tmp_path / f"{name}.nii.gz"
        nib.save(turned, moved[name])
    turned_case = replace(case, images={"FLAIR": moved["image"]}, label=moved["label"])
    images, label, aspect = key_slice(load_scan(turned_case, ["FLAIR"]))
    assert np.array_equal(images, expected[0])
    assert np.array_equal(label, expected[1])
    assert aspect == pytest.approx(expected[2])


def test_simulated_and_synthetic_scans_are_marked(tmp_path):
    (case,) = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1).cases
    assert "SIMULATED" in caption(replace(case, origin="simulated"))
    assert "SYNTHETIC pix2pix" in caption(replace(case, origin="synthetic", synthesizer="pix2pix"))
    assert "SYNTHETIC" not in caption(replace(case, origin="real"))
    assert case.case_id in caption(case)


@both_dims
def test_unreadable_case_and_missing_channel_do_not_stop_the_sheet(spatial_dims, tmp_path):
    cohort = tiny_cohort(
        tmp_path / "c", spatial_dims=spatial_dims, channels=("T1", "FLAIR"), missing={"case_001": ["T1"]}
    )
    cohort.cases[0].images["T1"].write_bytes(b"")
    contact_sheet(cohort, tmp_path / "sheet.png")
    assert coloured(tmp_path / "sheet.png") > 50


def test_impossible_requests_are_refused(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=1)
    with pytest.raises(CohortError, match="no cases"):
        contact_sheet(cohort.with_cases([]), tmp_path / "sheet.png")
    with pytest.raises(CohortError, match="T9"):
        contact_sheet(cohort, tmp_path / "sheet.png", channels=["T9"])
    with pytest.raises(ConfigError, match="at least one"):
        contact_sheet(cohort, tmp_path / "sheet.png", n_cases=0)
    with pytest.raises(ConfigError, match="PNG"):
        contact_sheet(cohort, tmp_path / "sheet.tiff")
    assert not list(tmp_path.glob("sheet*"))
