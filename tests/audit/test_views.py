import numpy as np
import pytest

from lesionforge.audit.views import boxed


@pytest.mark.parametrize("shape", [(20, 15), (20, 15, 8)])
@pytest.mark.parametrize("n", [4, 7, 11])
def test_a_lesion_at_the_edge_is_shown_as_it_is_far_from_it(shape, n):
    lesion = 1 + np.arange(2 * 3 ** len(shape), dtype=float).reshape(2, *[3] * len(shape))
    shown = []
    for corner in (0, 2, [side - 3 for side in shape]):
        around = tuple(slice(start, start + 3) for start in np.broadcast_to(corner, len(shape)))
        image = np.zeros((2, *shape))
        image[(..., *around)] = lesion
        shown.append(boxed(image, around, [n] * len(shape)))
    assert shown[0].shape == (2, *[n] * len(shape))
    assert shown[0].sum() == lesion.sum()
    assert np.array_equal(shown[0], shown[1])
    assert np.array_equal(shown[0], shown[2])
