"""Simulation of a scanner: contrast, bias field, thick slices and noise for a head with its lesion.

Intensities are typical relative values chosen by eye, not measurements of any scanner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import FloatArray
from lesionforge.simulation.head import Anatomy, Grid, smooth_noise, thicken
from lesionforge.simulation.lesion_shapes import LesionKind

Contrast = Literal["FLAIR", "DWI", "T1", "SWI"]

CONTRASTS: tuple[Contrast, ...] = get_args(Contrast)

TISSUE_INTENSITY: dict[Contrast, dict[str, float]] = {
    "FLAIR": {"csf": 0.14, "gm": 0.60, "wm": 0.48, "bone": 0.10, "fat": 0.80, "muscle": 0.35, "eye": 0.12},
    "DWI": {"csf": 0.15, "gm": 0.58, "wm": 0.50, "bone": 0.04, "fat": 0.12, "muscle": 0.14, "eye": 0.12},
    "T1": {"csf": 0.22, "gm": 0.60, "wm": 0.85, "bone": 0.12, "fat": 1.25, "muscle": 0.50, "eye": 0.22},
    "SWI": {"csf": 0.72, "gm": 0.66, "wm": 0.55, "bone": 0.05, "fat": 0.45, "muscle": 0.35, "eye": 0.70},
}
"""Typical relative intensity of each tissue."""

LESION_INTENSITY: dict[Contrast, dict[str, float]] = {
    "FLAIR": {"oedema": 1.0, "core": 0.66, "enhancing": 1.15, "stroke": 0.95, "white_matter_lesion": 1.0},
    "DWI": {"oedema": 0.70, "core": 0.38, "enhancing": 0.90, "stroke": 1.30, "white_matter_lesion": 0.70},
    "T1": {"oedema": 0.52, "core": 0.34, "enhancing": 0.68, "stroke": 0.42, "white_matter_lesion": 0.52},
    "SWI": {"oedema": 0.80, "core": 0.45, "enhancing": 0.28, "stroke": 0.78, "white_matter_lesion": 0.76},
}
"""Typical relative intensity of each lesion class at full strength."""

LESION_STRENGTH: dict[LesionKind, tuple[float, float]] = {
    "tumour": (0.35, 1.0),
    "stroke": (0.2, 1.0),
    "white_matter": (0.45, 1.0),
}
"""Range of the strength of a lesion; at 0.3, most of the healthy tissue still shows through."""

DETAIL_WEIGHT: dict[Contrast, float] = {"FLAIR": -0.5, "DWI": -0.4, "T1": 1.0, "SWI": 0.4}
PERIVENTRICULAR_WEIGHT: dict[Contrast, float] = {"FLAIR": 0.35, "DWI": 0.1, "T1": -0.08, "SWI": 0.1}
CORTICAL_WEIGHT: dict[Contrast, float] = {"FLAIR": 0.25, "DWI": 0.25, "T1": 0.0, "SWI": 0.1}
"""How much patches of lesion-free cortex may stand out, as by flow or susceptibility, to mislead segmentation."""


@dataclass(frozen=True, kw_only=True)
class SimulatedLesion:
    """A lesion on the fine grid of an anatomy.

    Attributes:
        kind: ``tumour``, ``stroke`` or ``white_matter``.
        shares: class name → ``(x, y, z)`` share of the voxel, 0 to 1, with a soft edge, in the order of the classes.
        strength: how far the lesion replaces the intensity of the tissue, 0 to 1.
    """

    kind: LesionKind
    shares: Mapping[str, FloatArray]
    strength: float


def acquire(
    contrast: Contrast,
    anatomy: Anatomy,
    grid: Grid,
    lesion: SimulatedLesion | None,
    *,
    slices: int,
    skull: bool,
    rng: np.random.Generator,
) -> FloatArray:
    """Simulate one channel of a scan.

    Args:
        contrast: the sequence.
        anatomy: the head on the fine grid.
        grid: the fine grid.
        lesion: lesion to draw, or ``None``.
        slices: number of fine slices averaged into one thick slice.
        skull: whether skull, scalp and face are visible; otherwise they are black, as after skull stripping.
        rng: source of all randomness.

    Returns:
        ``(x, y, z / slices)`` magnitude image in arbitrary units, 0 or more.
    """
    image = _tissue(contrast, anatomy, grid, skull=skull, rng=rng)
    if lesion is not None:
        image = _draw_lesion(contrast, image, lesion, grid, rng)
    image *= np.exp(rng.uniform(0.04, 0.16) * smooth_noise(rng, grid, 90))
    image = thicken(ndimage.gaussian_filter(image, (0.35, 0.35, 0)), slices)
    noisy = _rician(image, rng.uniform(0.015, 0.045), rng)
    if not skull:
        share = thicken(anatomy.csf + anatomy.parenchyma, slices)
        noisy[share <= 0.5] = 0
    return np.asarray(noisy * rng.uniform(300, 1200), np.float32)


def _tissue(contrast: Contrast, anatomy: Anatomy, grid: Grid, *, skull: bool, rng: np.random.Generator) -> FloatArray:
    """Return the lesion-free image: tissues with random intensity and regional variation."""
    names: Sequence[str] = ("csf", "gm", "wm", "bone", "fat", "muscle", "eye") if skull else ("csf", "gm", "wm")
    spread = {"csf": 0.15, "gm": 0.04, "wm": 0.04, "bone": 0.3, "fat": 0.25, "muscle": 0.2, "eye": 0.15}
    mottle = {"csf": 0.2, "gm": 0.06, "wm": 0.035, "bone": 0.5, "fat": 0.2, "muscle": 0.35, "eye": 0.1}
    image = np.zeros(grid.shape, np.float32)
    for name, typical in TISSUE_INTENSITY[contrast].items():
        level = typical * rng.normal(1, spread[name])
        regional = 1 + mottle[name] * smooth_noise(rng, grid, 9)
        if name in names:
            share: FloatArray = getattr(anatomy, name)
            image += share * np.clip(level * regional, 0, None)
    image += DETAIL_WEIGHT[contrast] * anatomy.detail
    glow = PERIVENTRICULAR_WEIGHT[contrast] * rng.uniform(0, 1)
    image += glow * anatomy.wm * np.exp(-anatomy.ventricle_mm / 4)
    patches = np.clip(smooth_noise(rng, grid, 12) - 1.2, 0, 1)
    image += CORTICAL_WEIGHT[contrast] * rng.uniform(0, 1) * anatomy.gm * patches
    return np.asarray(np.clip(image, 0, None), np.float32)


def _draw_lesion(
    contrast: Contrast, image: FloatArray, lesion: SimulatedLesion, grid: Grid, rng: np.random.Generator
) -> FloatArray:
    strength = float(np.clip(lesion.strength * rng.uniform(0.85, 1.15), 0, 1))
    for name, share in lesion.shares.items():
        level = LESION_INTENSITY[contrast][name] * rng.normal(1, 0.07)
        texture = 1 + 0.08 * smooth_noise(rng, grid, 12) + 0.06 * smooth_noise(rng, grid, 4)
        image = np.asarray(image + share * strength * (level * texture - image), np.float32)
    return np.asarray(np.clip(image, 0, None), np.float32)


def _rician(image: FloatArray, sigma: float, rng: np.random.Generator) -> FloatArray:
    """Return the magnitude of the image after Gaussian noise is added to its real and imaginary parts."""
    real = image + sigma * rng.standard_normal(image.shape, np.float32)
    imaginary = sigma * rng.standard_normal(image.shape, np.float32)
    return np.asarray(np.hypot(real, imaginary), np.float32)
