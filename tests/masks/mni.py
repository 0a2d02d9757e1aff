"""Lesion masks in MNI space, made in memory or written as files."""

import nibabel as nib
import numpy as np
from scipy import ndimage

SHAPE, AFFINE = (78, 94, 68), np.array([[2.0, 0, 0, -77], [0, 2, 0, -112], [0, 0, 2, -58], [0, 0, 0, 1]])


def positions(shape, affine):
    """Return the ``(3, x, y, z)`` millimetres of every voxel."""
    return np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)


def ball_at(centre, radius, *, shape=SHAPE, affine=AFFINE):
    """Return the voxels within ``radius`` of a place, in millimetres."""
    distance = np.linalg.norm(positions(shape, affine) - np.array(centre, float).reshape(3, 1, 1, 1), axis=0)
    return (distance < radius).astype(np.int16)


def centre_mm(mask, affine):
    """Return the centroid of a mask in millimetres."""
    return affine[:3, :3] @ np.array(ndimage.center_of_mass(mask)) + affine[:3, 3]


def write_masks(folder, n, *, seed=0, classes=1, left=True):
    """Write ``n`` balls of random size in one hemisphere (or both) of the MNI brain, as ``sub-NNN_lesion.nii.gz``."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(n):
        centre = rng.uniform([-40, -50, 0], [-20 if left else 40, 20, 40])
        radius = rng.uniform(10, 22)
        mask = ball_at(centre, radius)
        for value in range(2, classes + 1):
            mask[ball_at(centre, radius / value) > 0] = value
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), AFFINE), folder / f"sub-{number:03d}_lesion.nii.gz")
    return folder
