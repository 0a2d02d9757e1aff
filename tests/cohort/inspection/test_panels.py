from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.inspection.panels import Panel, sheet
from lesionforge.cohort.inspection.planes import key_plane
from lesionforge.cohort.scan import load_scan
from tests.helpers import tiny_cohort


def panel(*bright, shape=(40, 30)):
    image = np.zeros(shape)
    image[bright] = 1.0
    return Panel(image=image, window=(0.0, 1.0), aspect=1.0)


def sizes(figure):
    return [axes.images[0].get_array().shape for axes in figure.axes if axes.images]


SMALL, LARGE = (slice(10, 20), slice(10, 16)), (slice(5, 35), slice(5, 25))


@pytest.mark.parametrize("alike", [False, True])
def test_rows_lose_their_own_border_or_the_same(alike):
    small, large = sizes(sheet([[panel(*SMALL)], [panel(*LARGE)]], alike=alike))
    assert large == (36, 26)
    assert small == ((36, 26) if alike else (16, 12))


def test_rows_of_another_shape_are_cropped_by_themselves():
    other = panel(slice(2, 4), slice(2, 4), shape=(9, 9))
    assert sizes(sheet([[panel(*SMALL)], [other]], alike=True)) == [(16, 12), (7, 7)]


def test_nothing_to_show_is_not_cropped():
    assert sizes(sheet([[panel(slice(0), slice(0)), None]])) == [(40, 30)]


def drawn(panel):
    """Return the boxes of a sheet of one panel as (left, top, right, bottom), and the number of outlines."""
    (axes,) = sheet([[panel]]).axes
    return [box.get_bbox().extents.tolist() for box in axes.patches], len(axes.collections)


def encloses(box, lesion, margin):
    """Whether a box has at least this many pixels between itself and a lesion on all four sides."""
    rows, columns = np.nonzero(lesion)
    left, top, right, bottom = box
    inner = (columns.min() - 0.5 - left, rows.min() - 0.5 - top, right - columns.max() - 0.5, bottom - rows.max() - 0.5)
    return min(inner) >= margin


@pytest.mark.parametrize("aspect", [1.0, 2.5])
def test_a_small_lesion_gets_a_box_around_it_and_a_large_one_an_outline(aspect):
    label = np.zeros((100, 100), np.int16)
    label[30, 60:62] = 1
    scan = replace(panel(slice(None), slice(None), shape=label.shape), aspect=aspect)
    (box,), outlines = drawn(replace(scan, outlines={"red": label}))
    assert encloses(box, label, 2 if aspect == 1 else 0.8)
    assert outlines == 0, "an outline would hide it"
    both = label.copy()
    both[60:90, 10:50] = 1
    assert drawn(replace(scan, outlines={"red": both})) == ([box], 1)
    assert drawn(replace(scan, boxes={"red": both})) == ([box], 0)


def test_specks_within_a_large_lesion_of_another_colour_are_outlined():
    """A prediction that found parts of a lesion; its speck elsewhere gets a box."""
    truth, found = np.zeros((2, 100, 100), np.int16)
    truth[30:70, 30:70] = 1
    found[40:42, 40:42] = found[60:62, 50:52] = 1
    scan = panel(slice(None), slice(None), shape=truth.shape)
    assert drawn(replace(scan, outlines={"red": truth, "blue": found})) == ([], 2)
    found[80:82, 90:92] = 1
    (box,), outlines = drawn(replace(scan, outlines={"red": truth, "blue": found}))
    assert encloses(box, np.where(np.arange(100)[:, None] >= 80, found, 0), 2)
    assert outlines == 2


def test_boxes_of_truth_and_prediction_lie_in_each_other():
    label = np.zeros((100, 100), np.int16)
    label[30:32, 60:62] = 1
    scan = panel(slice(None), slice(None), shape=label.shape)
    (inner, outer), _ = drawn(replace(scan, outlines={"red": label, "blue": label}))
    assert outer[0] < inner[0]
    assert outer[3] > inner[3]


def test_a_box_ends_at_the_edge_of_the_picture():
    label = np.zeros((100, 100), np.int16)
    label[0, 99] = 1
    ((left, top, right, bottom),), _ = drawn(
        replace(panel(slice(None), slice(None), shape=label.shape), outlines={"red": label})
    )
    assert (top, right) == (-0.5, 99.5)
    assert left < 98
    assert bottom > 1


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_lesions_of_scans_get_boxes_by_their_size_in_the_slice(spatial_dims, tmp_path):
    shape = (80, 90, 12)[:spatial_dims]
    case = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=1, shape=shape).cases[0]
    scan = load_scan(case, ["FLAIR"])
    middle = tuple(n // 2 for n in shape)
    for length, boxed in ((2, True), (20, False)):
        label = np.zeros(shape, np.int16)
        label[tuple(slice(at, at + length) for at in middle[:2]) + middle[2:]] = 1
        plane = key_plane(replace(scan, label=label))
        image, cut = plane.cut(np.ones_like(scan.image[0])), plane.cut(label)
        shown = Panel(image=image, window=(0.0, 1.0), aspect=plane.aspect, outlines={"red": cut})
        boxes, outlines = drawn(shown)
        assert (len(boxes), outlines) == ((1, 0) if boxed else (0, 1))
        assert not boxed or encloses(boxes[0], cut, 2)
