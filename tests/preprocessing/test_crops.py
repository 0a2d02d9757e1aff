import numpy as np
import pytest

from lesionforge.preprocessing.crops import Crop

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


def random_cases(spatial_dims, n=25):
    """Yield a channel-first array, a crop size and a centre, borders and crops larger than the array included."""
    rng = np.random.default_rng(spatial_dims)
    for _ in range(n):
        shape = rng.integers(1, 9, spatial_dims)
        array = rng.normal(size=(2, *shape))
        yield array, tuple(int(s) for s in rng.integers(1, 12, spatial_dims)), rng.integers(0, shape)


@BOTH
def test_a_crop_has_its_size_and_holds_its_centre(spatial_dims):
    for array, size, centre in random_cases(spatial_dims):
        shape = array.shape[1:]
        crop = Crop.around(centre, size, shape)
        assert crop.cut(array).shape == (2, *size)
        assert crop.cut(array[0]).shape == size
        for start, side, c, n in zip(crop.start, size, centre, shape, strict=True):
            assert start <= c < start + side
            assert start >= 0
            assert start + side <= max(n, side)
            if side // 2 <= c <= n - (side - side // 2):
                assert start == c - side // 2


@BOTH
def test_every_voxel_of_a_crop_is_that_of_the_array_or_the_fill(spatial_dims):
    for array, size, centre in random_cases(spatial_dims):
        crop = Crop.around(centre, size, array.shape[1:])
        cut = crop.cut(array, fill=-7)
        for voxel in np.ndindex(*size):
            source = tuple(v + s for v, s in zip(voxel, crop.start, strict=True))
            inside = all(i < n for i, n in zip(source, array.shape[1:], strict=True))
            expected = array[(slice(None), *source)] if inside else -7
            assert (cut[(slice(None), *voxel)] == expected).all()


@BOTH
def test_what_is_pasted_back_is_what_was_cut_and_nothing_else_changes(spatial_dims):
    for array, size, centre in random_cases(spatial_dims):
        crop = Crop.around(centre, size, array.shape[1:])
        target = array.copy()
        crop.paste(crop.cut(target), target)
        assert np.array_equal(target, array)
        crop.paste(np.full((2, *size), 99.0), target)
        box = (slice(None), *(slice(s, s + n) for s, n in zip(crop.start, size, strict=True)))
        assert (target[box] == 99).all()
        target[box] = array[box]
        assert np.array_equal(target, array)
