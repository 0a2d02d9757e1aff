import numpy as np
import pytest

from lesionforge.cohort.inspection.panels import Panel, sheet


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
