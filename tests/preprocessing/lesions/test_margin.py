import numpy as np
import pytest

from lesionforge.preprocessing.lesions.margin import greatest, hole_around, one_of_range
from lesionforge.seeding import generator
from tests.synthesizers.models import ball_mask

SPACINGS = pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (1.0, 1.0, 4.0)])


@SPACINGS
def test_a_fade_is_at_the_rim_of_the_hole(spacing):
    mask = ball_mask((31,) * len(spacing), [15] * len(spacing), 4)
    hole, whole = hole_around(mask, 6.0, spacing)
    for fade in (0.0, 0.5, 2.0, 6.0, 99.0):
        same, weight = hole_around(mask, 6.0, spacing, fade_mm=fade)
        assert np.array_equal(same, hole), "the hole does not depend on how it fades"
        assert (weight[mask > 0] == 1).all()
        assert (weight >= whole).all()
        within, _ = hole_around(mask, max(6.0 - fade, 0.0), spacing)
        assert weight[within] == pytest.approx(1)
    assert np.array_equal(hole_around(mask, 6.0, spacing, fade_mm=99.0)[1], whole)
    assert set(np.unique(hole_around(mask, 6.0, spacing, fade_mm=0.0)[1])) == {0, 1}


def test_a_fade_of_a_margin_that_is_thinner_than_a_voxel():
    mask = np.array([0, 1, 0])
    for margin in (0.0, 0.5):
        assert hole_around(mask, margin, (1.0,), fade_mm=2.0)[1].tolist() == [0, 1, 0]


def test_a_range_is_drawn_from_and_a_number_stays():
    rng = generator(0)
    assert one_of_range(6.0, rng) == greatest(6.0) == 6.0
    drawn = [one_of_range((2.0, 8.0), rng) for _ in range(200)]
    assert 2 <= min(drawn) < 2.3 < 7.7 < max(drawn) <= 8
    assert greatest((2.0, 8.0)) == 8
