"""Does sampling image and label on one grid pay?

Compares the patch augmentation of detection and the classical augmentation of segmentation with the same transforms
made of MONAI's ``RandFlipd`` and ``RandAffined``, seeded and applied as MONAI does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from comparison import Comparison, alternate, show
from data import one_thread
from monai.transforms import Compose, RandAffined, RandFlipd, RandScaleIntensityd, RandShiftIntensityd

from lesionforge.augmentation.classical import BOTH, IMAGE, Shift, classical_augmentation, intensity_transforms
from lesionforge.augmentation.patches import FACTOR, OFFSET, ROTATION, SCALE, SHEAR, patch_augmentation
from lesionforge.augmentation.seeded import apply_seeded

ITEMS, ROUNDS = 64, 7


def measure() -> list[Comparison]:
    one_thread()
    cases = {
        "classical, crops of 64 × 64": ((64, 64), classical_augmentation(2, background=-1.0), slices()),
        "patches of 16 × 16 × 16": ((16, 16, 16), patch_augmentation(3), patches()),
    }
    return [
        Comparison(
            name=name,
            first="MONAI's transforms",
            second="ours",
            pairs=[(first, second) for first, second in alternate(ROUNDS, theirs(monai, shape), ours(own, shape))],
            at_least=2,
        )
        for name, (shape, own, monai) in cases.items()
    ]


def slices() -> Compose:
    """Return nnU-Net's list with MONAI's rotation, scaling and flips."""
    move = RandAffined(
        BOTH,
        prob=1 - 0.8 * 0.8,
        rotate_range=[np.pi],
        scale_range=[(-0.3, 0.4)] * 2,
        mode=("bilinear", "nearest"),
        padding_mode="zeros",
    )
    flips = [RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in range(2)]
    return Compose([Shift(1.0), move, *intensity_transforms(), *flips, Shift(-1.0)])


def patches() -> Compose:
    """Return the patch augmentation with MONAI's moves and flips."""
    move = RandAffined(
        IMAGE,
        prob=0.75,
        rotate_range=[0.0, 0.0, ROTATION],
        shear_range=[SHEAR, 0.0, SHEAR, 0.0, 0.0, 0.0],
        scale_range=[SCALE] * 3,
        mode="bilinear",
        padding_mode="border",
    )
    flips = [RandFlipd(IMAGE, prob=0.5, spatial_axis=axis) for axis in (0, 1)]
    scaling = RandScaleIntensityd(IMAGE, factors=FACTOR, prob=0.75)
    return Compose([*flips, move, scaling, RandShiftIntensityd(IMAGE, offsets=OFFSET, prob=0.75)])


def item(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return {"image": image, "label": (image > 1).astype(np.float32)} if len(shape) == 2 else {"image": image}


def ours(augment: Compose, shape: tuple[int, ...]) -> Callable[[], None]:
    given = item(shape)

    def run() -> None:
        for seed in range(ITEMS):
            apply_seeded(augment, given, seed)

    return run


def theirs(augment: Compose, shape: tuple[int, ...]) -> Callable[[], None]:
    given = item(shape)

    def run() -> None:
        for seed in range(ITEMS):
            augment.set_random_state(seed)
            augment(given)

    return run


if __name__ == "__main__":
    show("Augmentation of training items", measure())
