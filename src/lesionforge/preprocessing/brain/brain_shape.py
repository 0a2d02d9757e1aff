"""Brains compared by their moments: place and extent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BrainShape:
    """The place and extent of a brain, in millimetres (RAS+).

    Attributes:
        mean: ``(axis,)`` mean position of its voxels; 2 axes for a slice, 3 for a volume.
        covariance: ``(axis, axis)`` covariance of these positions.
    """

    mean: Matrix
    covariance: Matrix

    @classmethod
    def of(cls, brain: BoolArray, affine: Matrix) -> BrainShape:
        """Measure a brain mask after filling its holes.

        Args:
            brain: ``(x, y[, z])``.
            affine: voxel indices to millimetres, 4×4 for a volume, 3×3 for a slice.

        Raises:
            ValueError: if the mask is empty or flat.
        """
        voxels, dims = np.argwhere(ndimage.binary_fill_holes(brain)), brain.ndim
        points = voxels @ affine[:dims, :dims].T + affine[:dims, dims]
        covariance = np.cov(points.T) if len(points) > 3 else np.zeros((dims, dims))
        if np.linalg.eigvalsh(covariance)[0] <= 0:
            raise ValueError("a brain mask needs an extent along every axis")
        return cls(mean=points.mean(0), covariance=covariance)

    def affine_to(self, other: BrainShape) -> Matrix:
        """Return the affine that gives this brain the other's mean and covariance, without rotating it.

        Among all such maps it moves points least. With the covariances C and C', its matrix is
        C^-½ (C^½ C' C^½)^½ C^-½ (the optimal transport between two normal distributions).
        """
        root = _root(self.covariance)
        inverse = np.linalg.inv(root)
        stretch = inverse @ _root(root @ other.covariance @ root) @ inverse
        dims = len(self.mean)
        affine = np.eye(dims + 1)
        affine[:dims, :dims], affine[:dims, dims] = stretch, other.mean - stretch @ self.mean
        return affine


@lru_cache(maxsize=1)
def mni_brain() -> tuple[BoolArray, Matrix]:
    """Return nilearn's brain mask of the MNI152 template, at 2 mm, and its affine."""
    from nilearn.datasets import load_mni152_brain_mask

    image = load_mni152_brain_mask(resolution=2)
    return np.asarray(image.dataobj) > 0, np.asarray(image.affine, np.float64)


@lru_cache(maxsize=1)
def mni_t1() -> FloatArray:
    """Return nilearn's MNI152 T1 template without skull, on the grid of :func:`mni_brain`."""
    from nilearn.datasets import load_mni152_template

    return np.asarray(load_mni152_template(resolution=2).dataobj, np.float32)


def inverse(affine: Matrix) -> Matrix:
    """Return the inverse of an affine."""
    return np.asarray(np.linalg.inv(affine), np.float64)


def _root(matrix: Matrix) -> Matrix:
    """Return the square root of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
