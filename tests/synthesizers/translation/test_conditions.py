from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.seeding import generator
from lesionforge.synthesizers.translation.conditions import Condition, without_lesion
from lesionforge.synthesizers.translation.pix2pix import Pix2PixModule
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from tests.synthesizers.models import ball_mask, make_sample, tiny_options

SHAPES = {2: (24, 24), 3: (24, 24, 24)}
CONDITIONS = ("label", "scan", "inpaint")


def make_condition(name, **options):
    return Condition(**{"name": name, "image_channels": 2, "classes": (1, 2), "noise_channels": 1, **options})


def encode(condition, image, mask, hole, *, anatomy=None):
    noise = np.zeros((condition.noise_channels, *mask.shape), np.float32)
    return condition.encode(
        image, mask, anatomy, hole, noise, np.zeros((len(condition.classes), len(image)), np.float32)
    )


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("noise_channels", [0, 2])
@pytest.mark.parametrize("lesion_intensity", [False, True])
@pytest.mark.parametrize(
    ("name", "anatomy", "critic_channels"),
    [("label", (), 3), ("label", (0, 1, 2), 5), ("scan", (), 4), ("inpaint", (), 5)],
)
def test_as_many_channels_as_said(spatial_dims, lesion_intensity, noise_channels, name, anatomy, critic_channels):
    shown = lesion_intensity and name != "label"
    critic_channels += 2 * shown
    condition = make_condition(name, anatomy=anatomy, noise_channels=noise_channels, lesion_intensity=shown)
    shape = SHAPES[spatial_dims]
    mask = ball_mask(shape, [12] * spatial_dims, 4)
    regions = np.ones(shape, np.int16) if anatomy else None
    inputs = encode(condition, np.zeros((2, *shape), np.float32), mask, mask > 0, anatomy=regions)
    assert condition.critic_channels == critic_channels
    assert inputs.shape == (condition.in_channels, *shape) == (critic_channels + noise_channels, *shape)
    assert inputs.dtype == np.float32


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_label_condition_marks_each_voxel_once_and_shows_no_intensity(spatial_dims):
    shape = SHAPES[spatial_dims]
    condition = make_condition("label", anatomy=(0, 1), noise_channels=0)
    mask = ball_mask(shape, [12] * spatial_dims, 4) + ball_mask(shape, [12] * spatial_dims, 2)
    anatomy = (np.indices(shape)[0] > 10).astype(np.int16)
    dark, bright = (
        encode(condition, np.full((2, *shape), v, np.float32), mask, mask > 0, anatomy=anatomy) for v in (-1, 1)
    )
    assert np.array_equal(dark, bright)
    assert (dark.sum(0) == 1).all()
    assert np.array_equal(dark[-1] > 0, mask == 2)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_hole_hides_the_lesion(spatial_dims):
    shape, condition = SHAPES[spatial_dims], make_condition("inpaint")
    mask = ball_mask(shape, [12] * spatial_dims, 3)
    hole, _ = hole_around(mask, 3.0, [1.0] * spatial_dims)
    image = generator(0).uniform(-1, 1, (2, *shape)).astype(np.float32)
    hidden = np.where(hole, -image, image)
    beside = np.where(hole, image, -image)
    assert np.array_equal(encode(condition, image, mask, hole), encode(condition, hidden, mask, hole))
    assert not np.array_equal(encode(condition, image, mask, hole), encode(condition, beside, mask, hole))


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", CONDITIONS)
def test_neither_network_is_shown_the_lesion_that_is_to_be_drawn(name, spatial_dims):
    """Lesion voxels of any other intensity lead to the same condition, for training crops as well."""
    shape = (30,) * spatial_dims
    label = ball_mask(shape, [14] * spatial_dims, 4)
    plain = make_sample(shape, label=label)
    bright = plain.edited(np.where(label > 0, 0.9, plain.image).astype(np.float32), label)
    config = Pix2PixConfig(**tiny_options(spatial_dims, condition=name, augment=False))
    condition = make_condition(name, image_channels=1, classes=(1,))
    first, second = (TrainingCrops([sample], config, condition, seed=3)[5] for sample in (plain, bright))
    assert not torch.equal(first["image"], second["image"])
    assert torch.equal(first["condition"], second["condition"])
    shown = Pix2PixModule(config, condition, seed=0)._shown({"condition": first["condition"][None]})
    assert torch.equal(shown[0], first["condition"][:-1])


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", ["scan", "inpaint"])
def test_of_the_lesions_intensities_no_more_than_the_mean_is_shown(name, spatial_dims):
    shape = (24,) * spatial_dims
    label = ball_mask(shape, [12] * spatial_dims, 4)
    plain = make_sample(shape, label=label)
    inside = label > 0
    images = [plain.image.copy() for _ in range(3)]
    images[1][:, inside] = images[0][:, inside][:, ::-1]
    images[2][:, inside] += 0.1
    config = Pix2PixConfig(**tiny_options(spatial_dims, condition=name, augment=False))
    condition = make_condition(name, image_channels=1, classes=(1,), lesion_intensity=True)
    items = [TrainingCrops([plain.edited(i, label)], config, condition, seed=3)[5]["condition"] for i in images]
    assert torch.allclose(items[0], items[1], atol=1e-6)
    assert not torch.allclose(items[0], items[2], atol=1e-3)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_crops_hole_covers_the_lesion(spatial_dims):
    shape = (30,) * spatial_dims
    sample = make_sample(shape, label=ball_mask(shape, [3] * spatial_dims, 4))
    config = Pix2PixConfig(**tiny_options(spatial_dims))
    crops = TrainingCrops([sample], config, make_condition("inpaint", image_channels=1, classes=(1,)), seed=0)
    for draw in range(8):
        item = crops[draw]
        lesion = item["condition"][2] > 0
        assert lesion.any()
        assert item["hole"][0][lesion].all()
        assert (item["condition"][0][item["hole"][0]] == 0).all()


def crops_of(samples, spatial_dims, name="inpaint", *, classes=(1, 2, 3), anatomy=(), **options):
    config = Pix2PixConfig(**tiny_options(spatial_dims, condition=name, **options))
    condition = make_condition(name, image_channels=1, classes=classes, anatomy=anatomy)
    return TrainingCrops(samples, config, condition, seed=0)


def points(shape, places):
    """Return a label of one voxel at each place, of the classes 1, 2, …"""
    label = np.zeros(shape, np.int16)
    for value, place in enumerate(places, start=1):
        label[tuple(place)] = value
    return label


@pytest.mark.parametrize(("spatial_dims", "of_samples"), [(2, 2), (2, 3), (3, 3)])
def test_crops_come_from_every_case_every_lesion_and_all_around_it(spatial_dims, of_samples):
    shape = (60,) * of_samples
    labels = [points(shape, [[30] * of_samples]), points(shape, [[20] * of_samples, [40] * of_samples])]
    labels[0] *= 3
    crops = crops_of([make_sample(shape, label=label) for label in labels], spatial_dims, augment=False)
    found = [np.argwhere(crops[draw]["condition"][2:5].numpy()) for draw in range(40)]
    assert all(len(places) == 1 for places in found)
    assert {int(places[0, 0]) for places in found} == {0, 1, 2}
    assert len({tuple(places[0, 1:]) for places in found}) > 10


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_beyond_a_sample_a_crop_is_air(spatial_dims):
    shape = (18, 20, 21)[:spatial_dims]
    sample = make_sample(shape, label=ball_mask(shape, [9] * spatial_dims, 3))
    item = crops_of([sample], spatial_dims, augment=False)[0]
    assert item["image"].shape[1:] == (24,) * spatial_dims
    assert int((item["image"] == -1).sum()) == 24**spatial_dims - np.prod(shape)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_crop_has_its_lesion_however_it_is_turned(spatial_dims):
    shape = (24,) * spatial_dims
    crops = crops_of([make_sample(shape, label=points(shape, [[1] * spatial_dims]))], spatial_dims)
    assert all(crops[draw]["condition"][2].any() for draw in range(40))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_crops_are_flipped_turned_and_scaled_and_nothing_is_made_up(spatial_dims):
    """Neither intensities nor classes that are not there; a slab across the last axis of a volume stays one."""
    shape = (24,) * spatial_dims
    label = 2 * ball_mask(shape, [*[9] * (spatial_dims - 1), 12], 5)
    sample = make_sample(shape, label=label)
    black = sample.edited(np.full_like(sample.image, -1), label)
    items = [crops_of([black], spatial_dims)[draw] for draw in range(20)]
    masks = [item["condition"][3].numpy() for item in items]
    assert all(np.allclose(item["image"], -1, atol=1e-6) for item in items)
    assert not any(item["condition"][2].any() or item["condition"][4].any() for item in items)
    volumes = [mask.sum() for mask in masks]
    assert min(volumes) < 0.9 * (label > 0).sum() < 1.1 * (label > 0).sum() < max(volumes)
    middles = np.array([ndimage.center_of_mass(mask) for mask in masks])
    for axis in range(2 if spatial_dims == 2 else 1):
        assert middles[:, axis].min() < 11 < 12 < middles[:, axis].max()
    if spatial_dims == 3:
        slab = np.zeros(shape, np.int16)
        slab[..., 8:15] = 1
        for draw in range(20):
            mask = crops_of([make_sample(shape, label=slab)], 3)[draw]["condition"][2].numpy()
            assert np.array_equal(mask.any((0, 1)), mask.all((0, 1)))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_width_of_the_hole_varies_by_a_quarter_and_the_noise_with_it(spatial_dims):
    shape = (24,) * spatial_dims
    label = ball_mask(shape, [12] * spatial_dims, 3)
    items = [crops_of([make_sample(shape, label=label)], spatial_dims, augment=False)[draw] for draw in range(8)]
    narrow, wide = (hole_around(label, 6.0 * share, (1.0,) * spatial_dims)[0] for share in (0.75, 1.25))
    holes = [item["hole"][0].numpy() for item in items]
    assert all(hole[narrow].all() and not hole[~wide].any() for hole in holes)
    assert len({hole.sum() for hole in holes}) > 3
    noise = torch.stack([item["condition"][-1] for item in items])
    assert abs(float(noise.mean())) < 0.1
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    assert not torch.equal(noise[0], noise[1])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_crop_of_a_label_map_shows_the_anatomy_around_the_lesion(spatial_dims):
    shape = (24,) * spatial_dims
    label = ball_mask(shape, [12] * spatial_dims, 3)
    anatomy = (np.indices(shape)[0] > 12).astype(np.int16)
    sample = replace(make_sample(shape, label=label), anatomy=anatomy)
    item = crops_of([sample], spatial_dims, "label", anatomy=(0, 1), augment=False)[0]
    for number, values in enumerate([(anatomy == 0) & (label == 0), (anatomy == 1) & (label == 0), label == 1]):
        assert np.array_equal(item["condition"][number].numpy() > 0, values)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (1.0, 1.0, 4.0), (0.7, 1.3, 2.0)])
@pytest.mark.parametrize("margin_mm", [0.0, 0.4, 2.5, 6.0])
def test_weights_fall_from_the_mask_to_the_margin_in_mm(spacing, margin_mm):
    mask = ball_mask((24,) * len(spacing), [9] * len(spacing), 3)
    hole, weight = hole_around(mask, margin_mm, spacing)
    distance = ndimage.distance_transform_edt(mask == 0, sampling=spacing)
    assert (weight[mask > 0] == 1).all()
    assert (weight[distance >= max(margin_mm, 1e-6)] == 0).all()
    assert np.array_equal(hole, (mask > 0) | (distance < margin_mm))
    ring = hole & (mask == 0)
    np.testing.assert_allclose(weight[ring], 1 - distance[ring] / max(margin_mm, 1e-6), atol=1e-6)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_no_mask_no_hole(spatial_dims):
    hole, weight = hole_around(np.zeros((8,) * spatial_dims, np.int16), 4.0, (1.0,) * spatial_dims)
    assert not hole.any()
    assert not weight.any()


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_without_lesion_leaves_the_rest_and_takes_the_contrast(spatial_dims):
    shape = (32,) * spatial_dims
    mask = ball_mask(shape, [14] * spatial_dims, 5)
    rng = generator(1)
    image = (rng.normal(0, 0.05, (2, *shape)) + 0.8 * (mask > 0)).astype(np.float32)
    healed = without_lesion(image, mask, (1.0,) * spatial_dims, generator(2))
    assert np.array_equal(healed[:, mask == 0], image[:, mask == 0])
    assert abs(healed[:, mask > 0].mean() - image[:, mask == 0].mean()) < 0.08
    assert healed[:, mask > 0].std() > 0.01
    assert np.array_equal(healed, without_lesion(image, mask, (1.0,) * spatial_dims, generator(2)))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_lesion_is_replaced_by_the_spread_and_range_of_what_is_around(spatial_dims):
    shape = (40,) * spatial_dims
    mask = ball_mask(shape, [20] * spatial_dims, 9)
    image = np.sign(generator(1).normal(size=(1, *shape))).astype(np.float32) / 2
    healed = without_lesion(image, mask, (1.0,) * spatial_dims, generator(2))[:, mask > 0]
    assert np.abs(healed).max() <= 0.5
    assert healed.std() > 0.3


@pytest.mark.parametrize("spacing", [(3.0, 3.0), (1.0, 3.0), (3.0, 3.0, 3.0)])
def test_a_lesion_is_replaced_by_what_is_near_in_mm(spacing):
    shape = (40,) * len(spacing)
    mask = ball_mask(shape, [20] * len(spacing), 2)
    distance = ndimage.distance_transform_edt(mask == 0, sampling=spacing)
    image = np.where(distance > 25, 1, 0).astype(np.float32)[None]
    assert np.abs(without_lesion(image, mask, spacing, generator(0))[:, mask > 0]).max() < 0.1


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_lesion_without_surroundings_leaves_nothing(spatial_dims):
    image = np.ones((1, *[6] * spatial_dims), np.float32)
    assert not without_lesion(image, np.ones([6] * spatial_dims, np.int16), (1.0,) * spatial_dims, generator(0)).any()
