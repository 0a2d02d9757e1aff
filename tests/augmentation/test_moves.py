"""Moves of an item on one grid are those of MONAI's transforms."""

import numpy as np
import pytest
import torch
from monai.transforms import Affine, Compose
from scipy import ndimage

from lesionforge.augmentation.moves import RandMirrord, RandMoved, affine_matrix, moved
from lesionforge.augmentation.seeded import apply_seeded

SHAPES = {2: (24, 17), 3: (14, 9, 11)}
MOVES = {
    2: {"rotate": (0.4,), "shear": (0.1, -0.2), "translate": (1.3, -2.2), "scale": (1.2, 0.8)},
    3: {
        "rotate": (0.2, -0.3, 0.4),
        "shear": (0.1, 0.0, -0.1, 0.05, 0.0, 0.1),
        "translate": (1.2, -0.7, 2.3),
        "scale": (1.1, 0.9, 1.3),
    },
}
DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])


def item(spatial_dims, channels=2):
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.normal(size=(channels, *SHAPES[spatial_dims])), (0, *[1] * spatial_dims))
    return {"image": image.astype(np.float32), "label": (image[:1] > 0).astype(np.int16)}


@DIMS
@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("part", [("rotate",), ("shear",), ("translate",), ("scale",), tuple(MOVES[2])])
def test_a_move_is_that_of_monai(spatial_dims, padding, part):
    data, moves = item(spatial_dims), {name: MOVES[spatial_dims][name] for name in part}
    found = moved(data, ("image", "label"), affine_matrix(spatial_dims, **moves), padding=padding)
    named = {f"{name}_params": values for name, values in moves.items()}
    for key, mode in (("image", "bilinear"), ("label", "nearest")):
        move = Affine(**named, mode=mode, padding_mode=padding, image_only=True)
        expected = np.asarray(move(data[key].astype(np.float32)))
        assert found[key].shape == data[key].shape
        assert found[key].numpy().dtype == data[key].dtype
        differs = np.abs(found[key].numpy() - expected)
        assert differs.max() < 1e-3 if mode == "bilinear" else (differs > 0).mean() < 0.02


@DIMS
def test_an_image_of_its_own_coordinates_shows_where_each_voxel_came_from(spatial_dims):
    shape = SHAPES[spatial_dims]
    grid = np.indices(shape).astype(np.float64)
    matrix = affine_matrix(spatial_dims, **MOVES[spatial_dims])
    found = moved({"image": grid}, ("image",), matrix, padding="border")["image"].numpy()
    middle = (np.array(shape) - 1) / 2
    centred = grid.reshape(spatial_dims, -1) - middle[:, None]
    expected = matrix[:-1, :-1] @ centred + (matrix[:-1, -1] + middle)[:, None]
    inside = ((expected > 0) & (expected < np.array(shape)[:, None] - 1)).all(0)
    assert inside.mean() > 0.2
    assert np.allclose(found.reshape(spatial_dims, -1)[:, inside], expected[:, inside], atol=1e-3)


@DIMS
def test_mirroring_takes_every_combination_of_axes_and_image_and_label_alike(spatial_dims):
    data, axes = item(spatial_dims, channels=1), tuple(range(spatial_dims))
    data["label"] = data["image"]
    seen = set()
    for seed in range(64):
        found = apply_seeded(Compose([RandMirrord(("image", "label"), axes)]), data, seed)
        assert np.array_equal(found["image"], found["label"])
        (flip,) = [
            flip
            for flip in np.ndindex(*[2] * spatial_dims)
            if np.array_equal(
                np.flip(data["image"], [1 + axis for axis in axes if flip[axis]]), np.asarray(found["image"])
            )
        ]
        seen.add(flip)
    assert len(seen) == 2**spatial_dims


@DIMS
def test_keys_that_an_item_lacks_are_left_out(spatial_dims):
    steps = [
        RandMirrord(("image", "mask"), (0,)),
        RandMoved(("image", "mask"), prob=1.0, rotate=[0.3] * (2 * spatial_dims - 3)),
    ]
    data = item(spatial_dims)
    for key in ("image", "mask"):
        found = apply_seeded(Compose(steps), {key: data["label"], "case": "a"}, 1)
        assert set(found) == {key, "case"}
        assert set(np.unique(np.asarray(found["mask"]) if key == "mask" else [0])) <= {0, 1}


def test_a_move_that_is_not_drawn_changes_nothing_and_the_largest_angle_is_kept_to():
    data = item(2)
    assert np.array_equal(RandMoved(("image",), prob=0.0, rotate=[1.0])(data)["image"], data["image"])
    grid, angles = torch.as_tensor(np.indices((21, 21)).astype(np.float32)), []
    for seed in range(40):
        found = np.asarray(
            apply_seeded(Compose([RandMoved(("image",), prob=1.0, rotate=[0.5])]), {"image": grid}, seed)["image"]
        )
        along = (found[:, 12, 10] - found[:, 8, 10]) / 4
        angles.append(np.arctan2(along[1], along[0]))
    assert 0.4 < np.abs(angles).max() <= 0.5 + 1e-4
    assert min(angles) < 0 < max(angles)
