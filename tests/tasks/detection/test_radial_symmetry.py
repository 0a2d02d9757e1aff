"""The radial symmetry transform equals the published loop, and finds spots of either kind, shape and spacing."""

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.errors import ConfigError
from lesionforge.tasks.detection.radial_symmetry import local_maxima, radial_symmetry

DIMS = (2, 3)


def loop(image, spacing, radii_mm, polarity, strictness=2.0, least_gradient=0.0, scale=None):
    """The formulas of the paper, voxel by voxel."""
    gradient = np.stack(np.gradient(image.astype(np.float32), *spacing))
    strength = np.sqrt((gradient**2).sum(0))
    total = np.zeros(image.shape)
    for radius in radii_mm:
        votes, magnitudes = np.zeros(image.shape), np.zeros(image.shape)
        for place in itertools.product(*map(range, image.shape)):
            g = strength[place]
            if g == 0 or g <= least_gradient * strength.max():
                continue
            for way, sign in {"bright": [(1, 1)], "dark": [(-1, 1)], "both": [(1, 1), (-1, -1)]}[polarity]:
                step = [
                    int(np.rint(np.float32(gradient[(a, *place)] / g / np.float32(spacing[a])) * np.float32(radius)))
                    for a in range(image.ndim)
                ]
                at = tuple(p + way * s for p, s in zip(place, step, strict=True))
                if all(0 <= p < n for p, n in zip(at, image.shape, strict=True)):
                    votes[at] += sign
                    magnitudes[at] += sign * g
        full = abs(votes).max()
        if (scale or ("published" if image.ndim == 2 else "largest")) == "published":
            full = 8.0 if round(radius / min(spacing)) <= 1 else 9.9
        part = magnitudes / full * (abs(np.clip(votes, -full, full)) / full) ** strictness
        total += radius / min(spacing) * ndimage.gaussian_filter(part, [radius / 4 / mm for mm in spacing], truncate=2)
    return total / len(radii_mm)


@pytest.mark.parametrize("polarity", ["dark", "bright", "both"])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((13, 17), (1.0, 1.0)), ((12, 9), (0.7, 1.6)), ((9, 8, 7), (1.0, 0.9, 2.5))]
)
def test_it_equals_the_published_loop(shape, spacing, polarity):
    image = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    for options in ({}, {"strictness": 1.0, "least_gradient": 0.3}, {"scale": "largest"}, {"scale": "published"}):
        fast = radial_symmetry(image, spacing, radii_mm=(1.0, 2.2, 3.0), polarity=polarity, **options)
        slow = loop(image, spacing, (1.0, 2.2, 3.0), polarity, **options)
        assert np.abs(fast - slow).max() <= 1e-6 * np.abs(slow).max()


def spot(shape, spacing, centre_mm, radius_mm, depth):
    grid = np.stack(np.meshgrid(*(np.arange(n) * mm for n, mm in zip(shape, spacing, strict=True)), indexing="ij"))
    distance = np.sqrt(((grid - np.reshape(centre_mm, (-1, *[1] * len(shape)))) ** 2).sum(0))
    return depth / (1 + np.exp((distance - radius_mm) / 0.4))


CASES = [
    ((40, 40), (1.0, 1.0)),
    ((60, 30), (0.5, 1.2)),
    ((32, 32, 24), (1.0, 1.0, 1.0)),
    ((40, 32, 12), (0.7, 0.9, 2.0)),
]


@pytest.mark.parametrize(("shape", "spacing"), CASES)
@pytest.mark.parametrize("polarity", ["dark", "bright"])
def test_the_centre_of_a_spot_has_the_largest_response(shape, spacing, polarity):
    """Also where voxels are anisotropic, and beside a line of the same contrast."""
    centre = [0.45 * n * mm for n, mm in zip(shape, spacing, strict=True)]
    depth = -60 if polarity == "dark" else 60
    image = 100 + spot(shape, spacing, centre, 3.0, depth)
    image[int(0.8 * shape[0])] += depth
    response = radial_symmetry(image, spacing, radii_mm=(2.0, 3.0, 4.0), polarity=polarity)
    assert response.min() >= 0
    found = np.array(np.unravel_index(response.argmax(), shape)) * spacing
    assert np.sqrt(np.square(found - centre).sum()) <= 1.5 * max(spacing)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_both_kinds_are_told_apart_by_the_sign(spatial_dims):
    shape, spacing = (40,) * spatial_dims, (1.0,) * spatial_dims
    bright, dark = (10.0,) * spatial_dims, (28.0,) * spatial_dims
    image = 100 + spot(shape, spacing, bright, 3, 50) + spot(shape, spacing, dark, 3, -50)
    response = radial_symmetry(image, spacing, radii_mm=(2, 3, 4), polarity="both")
    for extreme, centre in ((response.argmax(), bright), (response.argmin(), dark)):
        assert np.abs(np.array(np.unravel_index(extreme, shape)) - centre).max() <= 1


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_turned_image_gives_the_turned_response(spatial_dims):
    image = np.random.default_rng(1).normal(size=(11,) * spatial_dims).astype(np.float32)
    spacing = (1.0, 1.0, 1.0)[:spatial_dims]
    options = {"radii_mm": (1.0, 2.0), "polarity": "both"}
    turned, inverted, plain = (radial_symmetry(one, spacing, **options) for one in (np.rot90(image), -image, image))
    assert np.allclose(turned, np.rot90(plain), atol=1e-4)
    assert np.allclose(inverted, -plain, atol=1e-4)


def test_a_volume_of_one_slice_is_searched_as_the_slice():
    image = np.random.default_rng(2).normal(100, 20, (15, 13)).astype(np.float32)
    options = {"radii_mm": (1.0, 2.0), "polarity": "dark", "scale": "published"}
    alone = radial_symmetry(image, (1.0, 1.2), **options)
    volume = radial_symmetry(image[..., None], (1.0, 1.2, 5.0), **options)
    assert np.allclose(volume[..., 0], alone, atol=1e-4 * alone.max())
    assert alone.any()


def test_a_flat_image_has_no_response():
    assert not radial_symmetry(np.full((9, 9, 5), 7.0), (1, 1, 1), radii_mm=(1, 2)).any()


def test_a_stricter_transform_prefers_the_rounder_spot():
    shape = (48, 48)
    grid = np.stack(np.meshgrid(np.arange(48.0), np.arange(48.0), indexing="ij"))
    line = 60 / (1 + np.exp((np.hypot((grid[0] - 36) / 4, grid[1] - 24) - 3) / 0.4))
    image = 100 + spot(shape, (1, 1), (12, 24), 3, 60) + line
    ratios = []
    for strictness in (1.0, 3.0):
        response = radial_symmetry(image, (1, 1), radii_mm=(3,), polarity="bright", strictness=strictness)
        ratios.append(response[:24].max() / response[24:].max())
    assert ratios[1] > ratios[0] > 1


@pytest.mark.parametrize(
    "options",
    [{"radii_mm": ()}, {"radii_mm": (0, 1)}, {"radii_mm": (-1,)}, {"spacing": (1, 1)}, {"spacing": (1, 0, 1)}],
)
def test_impossible_radii_and_spacings_are_refused(options):
    with pytest.raises(ConfigError):
        radial_symmetry(np.zeros((4, 4, 4)), **{"spacing": (1, 1, 1), "radii_mm": (1,), **options})


def test_maxima_are_the_largest_within_the_distance_strongest_first():
    response = np.zeros((20, 20), np.float32)
    response[5, 5], response[5, 8], response[15, 15], response[5, 18] = 3, 2, 5, 1
    places = local_maxima(response, (1.0, 1.0), apart_mm=4)
    assert places.tolist() == [[15, 15], [5, 5], [5, 18]]
    assert local_maxima(response, (1.0, 0.5), apart_mm=1.6).tolist() == [[15, 15], [5, 5], [5, 18]]
    assert local_maxima(response, (1.0, 1.0), apart_mm=2).tolist() == [[15, 15], [5, 5], [5, 8], [5, 18]]
    inside = np.zeros((20, 20), bool)
    inside[:10] = True
    assert local_maxima(response, (1.0, 1.0), apart_mm=2, inside=inside).tolist() == [[5, 5], [5, 8], [5, 18]]


def test_a_plateau_has_one_maximum():
    response = np.zeros((9, 9, 9), np.float32)
    response[3:5, 3:5, 3:5] = 2
    assert len(local_maxima(response, (1, 1, 1), apart_mm=3)) == 1
    assert local_maxima(np.zeros((5, 5), np.float32), (1, 1), apart_mm=2).shape == (0, 2)
    assert math.isclose(float(response.max()), 2)
