import numpy as np
import pytest
from scipy import ndimage

from lesionforge.augmentation.elastic import elastic_augmentation
from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.tasks.segmentation.training_cases import augmentation

SHAPES = pytest.mark.parametrize("shape", [(48, 40), (48, 40, 12), (32, 28, 24)], ids=["slice", "thin", "volume"])
N = 16


def items(shape, background=0.0):
    """Yield deformed items whose channels are the label and twice the label."""
    texture = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 3)
    label = np.select([texture > 0.05, texture > 0.0], [4, 2], 0)[None].astype(np.float32)
    image = np.concatenate([label, 2 * label]) + background
    for seed in range(N):
        moved = apply_seeded(elastic_augmentation(background=background), {"image": image, "label": label}, seed)
        yield label, np.asarray(moved["image"]) - background, np.asarray(moved["label"])


@SHAPES
@pytest.mark.parametrize("background", [-1.0, 0.0])
def test_channels_and_label_move_together_and_classes_are_not_mixed(shape, background):
    moved = 0
    for before, image, label in items(shape, background):
        assert image.shape == (2, *shape)
        assert label.shape == (1, *shape)
        assert set(np.unique(label)) <= {0, 2, 4}
        assert np.abs(image[0] - label[0]).mean() < 0.4
        assert np.allclose(image[1], 2 * image[0], atol=1e-3)
        moved += not np.array_equal(before, label)
    assert N / 4 < moved < N, "every other item stays as it is"


@SHAPES
def test_it_bends_and_is_no_affine_move(shape):
    """Second differences of the coordinates are 0 under every affine move."""
    grid = np.indices(shape).astype(np.float32) + 100
    inner = (slice(None), *[slice(8, -8)] * 2, *[slice(8, -8) if side > 16 else slice(3, -3) for side in shape[2:]])
    bent = []
    for seed in range(N):
        moved = apply_seeded(elastic_augmentation(background=0.0), {"image": grid, "label": grid[:1]}, seed)
        found = np.asarray(moved["image"])[inner]
        bent.append(float(np.abs(np.diff(found, 2, axis=1)).max()))
        assert np.abs(found - grid[inner]).max() < 0.35 * max(shape), "and moves are small"
    assert 0.02 < max(bent) < 2


def test_slices_of_a_thin_volume_move_alike():
    volume = np.repeat(np.random.default_rng(0).normal(size=(1, 48, 40, 1)), 12, axis=3).astype(np.float32)
    for seed in range(N):
        moved = apply_seeded(elastic_augmentation(background=0.0), {"image": volume, "label": volume}, seed)
        image = np.asarray(moved["image"])
        assert np.array_equal(image, np.broadcast_to(image[..., :1], image.shape))


def test_segmentation_knows_it_by_name():
    assert augmentation("elastic", 3, background=-1.0, spacing=None) is not None
