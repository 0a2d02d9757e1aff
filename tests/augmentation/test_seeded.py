from contextlib import nullcontext

import numpy as np
import pytest
from monai.data import get_track_meta
from monai.transforms import Compose, OneOf, RandFlipd, RandGaussianNoised, RandRotate90d

from lesionforge.augmentation import seeded
from lesionforge.augmentation.classical import classical_augmentation
from lesionforge.augmentation.head_ct import ct_augmentation
from lesionforge.augmentation.seeded import apply_seeded

SHAPES = {2: (24, 20), 3: (20, 18, 14)}


def transforms(spatial_dims):
    keys = ("image", "label")
    noise = RandGaussianNoised("image", prob=0.9)
    return {
        "classical": classical_augmentation(spatial_dims, background=0.0),
        "ct": ct_augmentation(spatial_dims, background=0.0, spacing=None),
        "nested": Compose([Compose([noise]), OneOf([RandFlipd(keys, prob=1.0, spatial_axis=0), RandRotate90d(keys)])]),
    }


def scan(spatial_dims):
    rng = np.random.default_rng(0)
    image = rng.random((2, *SHAPES[spatial_dims]), np.float32)
    return {"image": image, "label": (image[:1] > 0.8).astype(np.float32)}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("kind", ["classical", "ct", "nested"])
def test_the_seed_decides_whatever_was_drawn_before(spatial_dims, kind):
    transform, item = transforms(spatial_dims)[kind], scan(spatial_dims)
    images = [np.asarray(apply_seeded(transform, item, seed)["image"]) for seed in range(8)]
    np.random.seed(1)  # noqa: NPY002
    again = transforms(spatial_dims)[kind]
    for seed in reversed(range(8)):
        assert np.array_equal(apply_seeded(again, item, seed)["image"], images[seed])
    assert len({image.tobytes() for image in images}) > 5


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_record_of_transforms_changes_no_item_and_stays_switched_on(spatial_dims, monkeypatch):
    augment, item = transforms(spatial_dims)["classical"], scan(spatial_dims)
    found = [apply_seeded(augment, item, seed) for seed in range(12)]
    assert get_track_meta()
    monkeypatch.setattr(seeded, "_untracked", nullcontext)
    for seed, without in enumerate(found):
        recorded = apply_seeded(augment, item, seed)
        assert all(np.array_equal(recorded[key], without[key]) for key in item)


def test_a_transform_that_fails_leaves_the_record_switched_on():
    def fail(item):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        apply_seeded(Compose([fail]), {"image": np.zeros((1, 4, 4))}, 0)
    assert get_track_meta()
