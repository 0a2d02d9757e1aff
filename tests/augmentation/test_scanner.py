import numpy as np
import pytest
from monai.transforms import Compose

from lesionforge.augmentation.scanner import GAMMA, SCALE, RandScannerd
from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.seeding import generator

SHAPES = pytest.mark.parametrize("shape", [(2, 13, 20), (2, 8, 9, 5)])
VARY = Compose([RandScannerd(["image"], air=-1.0, brightest=1.0)])


def varied(image, seed):
    return apply_seeded(VARY, {"image": image}, seed)["image"]


@SHAPES
def test_air_stays_air_and_what_was_brighter_stays_brighter(shape):
    image = generator(0).uniform(-1.2, 1.3, shape).astype(np.float32)
    image[:, :3] = -1
    for seed in range(20):
        found = varied(image, seed)
        assert found.shape == shape
        assert found.dtype == np.float32
        assert (found[:, :3] == -1).all()
        assert found.min() == -1
        assert found.max() <= 1
        for before, after in zip(image, found, strict=True):
            assert (np.diff(after.ravel()[np.argsort(before.ravel())]) >= 0).all()


@SHAPES
def test_gamma_and_scale_are_those_of_the_whole_image_whatever_a_crop_shows(shape):
    image = generator(0).uniform(-1, 0, shape).astype(np.float32)
    assert np.array_equal(varied(image, 3)[:, 4:], varied(image[:, 4:], 3))


@SHAPES
def test_they_reach_as_far_as_said_and_differ_from_channel_to_channel(shape):
    """Of two levels, the logarithms of what they become tell gamma and scale."""
    image = np.full(shape, -0.5, np.float32)
    image[:, 4:] = 0.0
    found = [varied(image, seed) for seed in range(200)]
    dark, bright = (
        np.log((np.array([one[:, row].mean((*range(1, one.ndim - 1),)) for one in found]) + 1) / 2) for row in (0, 5)
    )
    gamma = (bright - dark) / np.log(2)
    scale = np.exp(bright - gamma * np.log(0.5))
    assert np.abs(np.log(gamma)).max() == pytest.approx(GAMMA, abs=0.02)
    assert np.abs(np.log(gamma)).max() <= GAMMA + 1e-4
    assert (scale.min(), scale.max()) == pytest.approx((1 - SCALE, 1 + SCALE), abs=0.01)
    assert np.abs(np.corrcoef(gamma.T)[0, 1]) < 0.3
