import numpy as np
import pytest

from lesionforge.preprocessing.lesions.single_lesions import TOGETHER_MM, split_lesions

both = pytest.mark.parametrize("spatial_dims", [2, 3])


def dots(spatial_dims, places, size=60):
    """Return a map with a voxel of class 1, 2, … at each place along the last axis."""
    mask = np.zeros((5,) * (spatial_dims - 1) + (size,), np.int16)
    for value, place in enumerate(places, start=1):
        mask[(2,) * (spatial_dims - 1) + (place,)] = value
    return mask


@both
@pytest.mark.parametrize("step", [0.5, 1.0, 2.0, 6.0])
def test_what_lies_close_in_mm_belongs_together_and_what_touches_in_any_case(spatial_dims, step):
    spacing = (1.0,) * (spatial_dims - 1) + (step,)
    near = max(1, int(TOGETHER_MM / step))
    assert len(split_lesions(dots(spatial_dims, (5, 5 + near)), spacing)) == 1
    assert len(split_lesions(dots(spatial_dims, (5, 6 + near)), spacing)) == 2
    chain = [5 + near * n for n in range(4)]
    assert len(split_lesions(dots(spatial_dims, [*chain, chain[-1] + near + 1]), spacing)) == 2


@both
def test_corners_that_touch_belong_together(spatial_dims):
    diagonal = np.zeros((4,) * spatial_dims, np.int16)
    diagonal[(0,) * spatial_dims] = diagonal[(1,) * spatial_dims] = 1
    assert len(split_lesions(diagonal, (9.0,) * spatial_dims)) == 1


@both
def test_the_crops_are_tight_and_make_up_the_map(spatial_dims):
    rng = np.random.default_rng(0)
    mask = (rng.integers(1, 4, (40,) * spatial_dims) * (rng.random((40,) * spatial_dims) > 0.99)).astype(np.int16)
    together = np.zeros_like(mask)
    lesions = split_lesions(mask, (1.0, 2.5, 4.0)[:spatial_dims])
    for lesion, corner in lesions:
        assert all(
            lesion.any(axis=tuple(b for b in range(spatial_dims) if b != a))[[0, -1]].all() for a in range(spatial_dims)
        )
        together[tuple(slice(c, c + n) for c, n in zip(corner, lesion.shape, strict=True))] += lesion
    assert len(lesions) > 3
    assert np.array_equal(together, mask)


@both
def test_an_empty_map_has_no_lesions(spatial_dims):
    assert split_lesions(np.zeros((5,) * spatial_dims, np.int16), (1.0,) * spatial_dims) == []
