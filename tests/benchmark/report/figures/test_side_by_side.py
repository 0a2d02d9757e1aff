import numpy as np
import pytest

from lesionforge.benchmark.report.figures.pictures import SideBySide, side_by_side_sheet


@pytest.mark.parametrize(("length", "boxes"), [(2, [1, 0, 1, 1]), (20, [0, 0, 0, 0])])
def test_the_place_of_a_small_mask_is_boxed_in_the_scan_and_in_what_was_drawn(length, boxes):
    """The mask itself is filled; where it is large, the drawn lesion is seen without help."""
    image, mask = np.ones((100, 90)), np.zeros((100, 90), np.int16)
    mask[40 : 40 + length, 50 : 50 + length] = 1
    drawn = {"pasted": image, "whole": image}
    scan = SideBySide(name="a", source=image, mask=mask, anatomy=None, drawn=drawn, window=(0.0, 1.0), aspect=1.0)
    panels = side_by_side_sheet([scan]).axes
    assert [len(panel.patches) for panel in panels] == boxes
    assert not any(panel.collections for panel in panels)
