"""What the haemorrhage paper says of its classical augmentation."""

import numpy as np
import pytest
from monai.transforms import RandGaussianSmoothd
from scipy import ndimage

from lesionforge.augmentation.classical import RandTurnedScaledd, classical_augmentation
from lesionforge.augmentation.head_ct import RandHeadd, ct_augmentation, published_ct_augmentation
from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.training_cases import augmentation, make_training_set
from tests.synthesizers.models import make_sample

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
SHAPES = {2: (64, 48), 3: (64, 48, 5)}


def moves(spatial_dims, n=60):
    """Return what :class:`RandHeadd` did, from what became of images that hold their own coordinates."""
    shape = SHAPES[spatial_dims]
    grid, move = np.indices(shape).astype(np.float32) + 1, RandHeadd(("image", "label"))
    corners = [np.array(corner) for corner in ((28, 20), (36, 20), (28, 28))]
    for seed in range(n):
        move.set_random_state(seed)
        came_from = np.asarray(move({"image": grid, "label": grid[:1]})["image"])
        a, b, c = (came_from[(slice(None), *corner, *[2] * (spatial_dims - 2))] for corner in corners)
        matrix = np.stack([(b - a)[:2], (c - a)[:2]], 1) / 8
        scale = 1 / np.sqrt(np.linalg.det(matrix))
        turned = matrix * scale
        assert np.linalg.norm(turned[:, 1]) == pytest.approx(1, abs=1e-4), "both axes are scaled alike"
        angle = np.arctan2(-turned[0, 1], turned[1, 1])
        shear = np.array([-np.sin(angle), np.cos(angle)]) @ turned[:, 0]
        middle = (np.array(shape[:2]) - 1) / 2
        shift = a[:2] - 1 + matrix @ (middle - corners[0]) - middle
        assert spatial_dims == 2 or a[2] == pytest.approx(3, abs=1e-4), "slices stay where they are"
        yield {"rotation": np.rad2deg(angle), "scale": scale, "shear": shear * 256, "shift": shift / shape[:2]}


@DIMS
def test_every_image_is_turned_scaled_and_sheared_within_the_published_ranges(spatial_dims):
    found = list(moves(spatial_dims))
    for name, low, high in (("rotation", -25, 25), ("scale", 0.85, 1.15), ("shear", -10, 10)):
        values = [one[name] for one in found]
        least, most, slack = min(values), max(values), 0.1 * (high - low)
        assert low - 1e-2 * slack <= least < low + slack
        assert high - slack < most <= high + 1e-2 * slack


@DIMS
def test_what_is_larger_is_cropped_at_a_random_place_and_what_is_smaller_stays_in_the_middle(spatial_dims):
    shifts = {True: [], False: []}
    for found in moves(spatial_dims):
        shifts[found["scale"] > 1].append(np.linalg.norm(found["shift"]))
        assert np.linalg.norm(found["shift"]) < 0.75 * max(0, 1 - 1 / found["scale"]) * np.sqrt(2) + 1e-3
    assert max(shifts[True]) > 0.02
    assert max(shifts[False]) < 1e-3


@DIMS
def test_labels_follow_and_classes_are_not_mixed(spatial_dims):
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(size=SHAPES[spatial_dims]), 4)
    label = np.select([texture > 0.1, texture > 0.04], [4, 2], 0)[None].astype(np.float32)
    move = RandHeadd(("image", "label"))
    for seed in range(10):
        move.set_random_state(seed)
        item = move({"image": label.copy(), "label": label.copy()})
        image, moved = np.asarray(item["image"]), np.asarray(item["label"])
        assert moved.shape == label.shape
        assert set(np.unique(moved)) <= {0, 2, 4}
        assert np.abs(image - moved).mean() < 0.25
        assert not np.array_equal(moved, label)


@DIMS
def test_half_of_the_images_are_blurred_and_half_are_brighter_by_up_to_half(spatial_dims):
    """A plate is alike all over, a thin line is not: the one shows the brightness, both together the blur."""
    image = np.full((2, 72, 72, 3)[: spatial_dims + 1], 0.4, np.float32)
    image[1] = 0
    image[1, 36, 36] = 1
    augment = published_ct_augmentation(spatial_dims, background=0.0, spacing=None)
    gains, blurred = [], 0
    for seed in range(120):
        found = np.asarray(apply_seeded(augment, {"image": image, "label": image[:1]}, seed)["image"])
        gains.append(found[0].max() / 0.4)
        blurred += bool(found[1].max() / gains[-1] < 0.1)
    brighter = [gain for gain in gains if gain > 1.001]
    assert 0.35 < blurred / len(gains) < 0.65
    assert 0.35 < len(brighter) / len(gains) < 0.65
    assert min(gains) > 0.999
    assert 1.45 < max(gains) <= 1.5 + 1e-4


@DIMS
@pytest.mark.parametrize(("spacing", "sigma"), [(None, (0, 2, 2, 0)), ((1.0, 1.25, 5.0), (0, 2, 1.6, 0))])
def test_the_blur_is_a_gaussian_of_two_millimetres_within_slices(spatial_dims, spacing, sigma):
    blur = published_ct_augmentation(spatial_dims, background=0.0, spacing=spacing).transforms[2]
    blur.prob = 1.0
    image = np.random.default_rng(0).random((1, *SHAPES[spatial_dims])).astype(np.float32)
    found = np.asarray(blur({"image": image})["image"])
    expected = ndimage.gaussian_filter(image, sigma[: spatial_dims + 1])
    inner = (slice(None), slice(9, -9), slice(9, -9))
    assert np.allclose(found[inner], expected[inner], atol=5e-3)


@DIMS
@pytest.mark.parametrize("background", [-1.0, 0.0])
def test_air_stays_air_and_the_label_keeps_its_intensity_but_for_the_contrast(background, spatial_dims):
    label = np.zeros((1, *SHAPES[spatial_dims]), np.float32)
    label[0, 20:44, 14:34] = 1
    augment = published_ct_augmentation(spatial_dims, background=background, spacing=None)
    for seed in range(20):
        found = apply_seeded(augment, {"image": label + background, "label": label}, seed)
        image, moved = np.asarray(found["image"]) - background, np.asarray(found["label"])
        inside = ndimage.binary_erosion(moved[0] > 0, np.ones((13, 13, 1)[:spatial_dims]))
        assert inside.any()
        assert 0.99 < image[0][inside].min() <= image[0][inside].max() < 1.501
        away = ~ndimage.binary_dilation(moved[0] > 0, np.ones((23, 23, 1)[:spatial_dims]))
        assert np.abs(image[0][away]).max() < 1e-3


def test_training_gives_the_blur_the_spacing_of_its_grid():
    """Of a segmentation network and of a generator."""
    spacing = (4.0, 0.5)
    preprocessing = Preprocessing(spatial_dims=2, channels=("CT",), spacing=spacing)
    items = make_training_set([], SegmentationConfig(augment="ct_published", roi_size=(32, 32)), preprocessing, seed=0)
    sample = make_sample((32, 32), spacing=spacing)
    shown = Condition(name="label", image_channels=1, classes=(1,), noise_channels=0)
    options = Pix2PixConfig(condition="label", augment="ct_published", roi_size=(32, 32))
    crops = TrainingCrops([sample], options, shown, seed=0)
    for augment in (items.augment, crops.augment):
        (blur,) = [one for one in augment.flatten().transforms if isinstance(one, RandGaussianSmoothd)]
        assert (blur.rand_smooth.sigma_x, blur.rand_smooth.sigma_y) == ((0.5, 0.5), (4.0, 4.0))


@DIMS
def test_ct_adds_nnunets_list_to_the_published_transforms(spatial_dims):
    """Without nnU-Net's own turns and scalings: the published ones are for every item."""
    added = ct_augmentation(spatial_dims, background=-1.0, spacing=None).flatten().transforms
    published = published_ct_augmentation(spatial_dims, background=-1.0, spacing=None).transforms
    nnunet = classical_augmentation(spatial_dims, background=-1.0).transforms
    assert [type(one) for one in added[: len(published)]] == [type(one) for one in published]
    rest = [one for one in nnunet if not isinstance(one, RandTurnedScaledd)]
    assert [type(one) for one in added[len(published) :]] == [type(one) for one in rest]
    probabilities = [[one.prob for one in list_ if hasattr(one, "prob")] for list_ in (added[len(published) :], rest)]
    assert probabilities[0] == probabilities[1]


@DIMS
def test_ct_varies_intensities_that_the_published_transforms_leave_alone(spatial_dims):
    """A plate of one intensity: noise alone makes it uneven; published, it is at most brighter."""
    plate = np.full((1, *SHAPES[spatial_dims]), 0.4, np.float32)
    inner = (0, slice(28, 36), slice(20, 28))
    uneven = dict.fromkeys(("ct", "ct_published"), 0)
    for kind in uneven:
        vary = augmentation(kind, spatial_dims, background=0.0, spacing=None)
        for seed in range(60):
            found = np.asarray(apply_seeded(vary, {"image": plate, "label": plate}, seed)["image"])[inner]
            uneven[kind] += bool(np.ptp(found) > 1e-3)
    assert uneven["ct_published"] == 0
    assert 1 <= uneven["ct"] <= 18
