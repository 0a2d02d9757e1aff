"""Simulated heads from given label maps of brain structures, and simulated strokes from given lesion masks.

Maps and masks may be real; the scans made from them are simulated.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from lesionforge.cohort.case import ending_of
from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, read_label
from lesionforge.cohort.structures import FREESURFER_STRUCTURES, group_freesurfer
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.brain.brain_shape import BrainShape, Matrix, mni_brain
from lesionforge.simulation.head import FIELD_CENTRE_MM, Anatomy, Deformation, Grid

_WORDS = {
    "csf": ("ventricle", "fluid"),
    "wm": ("white matter", "brainstem"),
    "muscle": ("other tissue",),
}
"""Tissue → words in the names of its structures; all other structures are grey matter."""

FEWEST_VOXELS, DEEP_SPREAD = 20, 0.05


def label_files(folder: Path) -> tuple[str, ...]:
    """Return the sorted paths of the label files in a folder.

    Raises:
        ConfigError: if the folder holds no label file.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    found = tuple(str(path) for path in files if ending_of(path))
    if not found:
        raise ConfigError(folder, "holds no label map", "name a folder of .nii.gz files")
    return found


@lru_cache(maxsize=32)
def read_map(path: str) -> tuple[LabelArray, Matrix, Matrix]:
    """Return the structures of a label map, its affine, and the mean position of its brain in mm.

    Raises:
        CohortError: if the map cannot be read, is a slice, holds no brain, or has a label unknown to FreeSurfer.
    """
    label, affine = read_label(Path(path))
    if label.ndim != 3:
        raise CohortError(path, "is a slice, but heads need volumes", "leave it out")
    structures = group_freesurfer(label, path)
    brain = np.isin(structures, FREESURFER_STRUCTURES.parenchyma)
    if not brain.any():
        raise CohortError(path, "holds no brain", "leave it out")
    middle = np.argwhere(brain).mean(0)
    return structures, affine, affine[:3, :3] @ middle + affine[:3, 3]


def deform_map(path: str, grid: Grid, deformation: Deformation) -> LabelArray:
    """Return the deformed structures of a label map on ``grid``.

    The centre of the map's brain is moved to that of the MNI152 brain.
    """
    structures, affine, middle = read_map(path)
    template, template_affine = mni_brain()
    template_middle = template_affine[:3, :3] @ np.argwhere(template).mean(0) + template_affine[:3, 3]
    centre = np.reshape(FIELD_CENTRE_MM, (3, 1, 1, 1))
    moved = np.einsum("ij,jxyz->ixyz", deformation.matrix, grid.positions + deformation.displacement - centre)
    there = moved + centre + np.reshape(deformation.shift + middle - template_middle, (3, 1, 1, 1))
    inverse = np.linalg.inv(affine)
    index = np.einsum("ij,jxyz->ixyz", inverse[:3, :3], there) + inverse[:3, 3].reshape(3, 1, 1, 1)
    return np.asarray(ndimage.map_coordinates(structures, index, order=0), np.int16)


def head_of(structures: LabelArray, grid: Grid, rng: np.random.Generator) -> Anatomy:
    """Return the tissue shares of a head with the given structures.

    The brightness of each structure varies at random around that of its tissue.

    Args:
        structures: ``(x, y, z)`` labels of :data:`FREESURFER_STRUCTURES`.
        grid: grid of the structures.
        rng: random generator for the brightness of the structures.
    """
    tissue = dict.fromkeys(FREESURFER_STRUCTURES.names, "gm")
    for kind, words in _WORDS.items():
        tissue |= {name: kind for name in tissue if any(word in name for word in words)}
    soft = [0.4 * min(grid.spacing) / step for step in grid.spacing]
    shares: dict[str, FloatArray] = {}
    for kind in ("csf", "gm", "wm", "muscle"):
        values = [value for name, value in FREESURFER_STRUCTURES.names.items() if tissue[name] == kind]
        shares[kind] = ndimage.gaussian_filter(np.isin(structures, values).astype(np.float32), soft)
    offsets = np.concatenate([[0], rng.normal(0, DEEP_SPREAD, len(FREESURFER_STRUCTURES.names))])
    brain = np.isin(structures, FREESURFER_STRUCTURES.parenchyma)
    ventricles = [value for name, value in FREESURFER_STRUCTURES.names.items() if "ventricle" in name]
    nothing = np.zeros(grid.shape, np.float32)
    return Anatomy(
        **shares,
        bone=nothing,
        fat=nothing,
        eye=nothing,
        detail=np.where(brain, offsets[structures], 0).astype(np.float32),
        ventricle_mm=ndimage.distance_transform_edt(~np.isin(structures, ventricles), sampling=grid.spacing).astype(
            np.float32
        ),
    )


def place_mask(path: str, structures: LabelArray, grid: Grid) -> BoolArray:
    """Return a lesion mask from MNI space on the grid of a head, restricted to its parenchyma.

    The mask is transformed by the affine that aligns the moments of the two brains.

    Raises:
        CohortError: if the mask cannot be read or is a slice.
    """
    label, affine = read_label(Path(path))
    if label.ndim != 3:
        raise CohortError(path, "is a slice, but the heads are volumes", "leave it out")
    parenchyma = np.isin(structures, FREESURFER_STRUCTURES.parenchyma)
    to_mni = BrainShape.of(parenchyma, grid.affine).affine_to(BrainShape.of(*mni_brain()))
    to_index = np.linalg.inv(affine) @ to_mni @ grid.affine
    there = ndimage.affine_transform(
        (label > 0).astype(np.float32), to_index[:3, :3], to_index[:3, 3], output_shape=grid.shape, order=1
    )
    return np.asarray((there >= 0.5) & parenchyma)
