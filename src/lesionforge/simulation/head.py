"""Heads of the built-in cohort: MNI152 tissue maps with a simple skull and face, randomly deformed.

Everything here is simulated. The brain comes from the MNI152 (2009a) averages of T1, grey and white matter, which
nilearn contains, so no network access is needed. The averages end at the brain's surface. Skull, scalp, face and eyes
are shells and spheres around it: enough to show a network bright fat and dark bone, but not an anatomical model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.spatial.transform import Rotation

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.simulation.separable import along_axes

ANATOMY_LABELS = {"outside": 0, "CSF": 1, "grey matter": 2, "white matter": 3}
"""Classes of ``anatomyTr`` in the built-in cohort; skull, scalp and face belong to ``outside``."""

FIELD_OF_VIEW_MM = (192.0, 240.0, 168.0)
FIELD_CENTRE_MM = (0.0, -15.0, 12.0)
TISSUE_INTENSITIES = {"csf": 0.27, "gm": 0.66, "wm": 0.86}
VENTRICLE_CENTRE_MM = (0.0, -10.0, 14.0)
EYES_MM = ((32.0, 62.0, -38.0), (-32.0, 62.0, -38.0))
EYE_RADIUS_MM = 12.0
JAW_CUT_MM = -25.0
FINE_VOXELS = 4_000_000
"""Grids with more voxels than this, of about 1.25 mm or less, are computed in faster ways."""
SLAB = 8
"""Planes that are deformed at a time, so that what is computed stays near the processor and memory is used again."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A voxel grid in MNI space.

    Attributes:
        shape: number of voxels along x, y, z.
        spacing: voxel spacing in millimetres along x, y, z.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def covering(cls, spacing: Sequence[float]) -> Grid:
        """Return the grid with this spacing that covers a whole head."""
        x, y, z = (max(round(size / step), 1) for size, step in zip(FIELD_OF_VIEW_MM, spacing, strict=True))
        return cls(shape=(x, y, z), spacing=(float(spacing[0]), float(spacing[1]), float(spacing[2])))

    @property
    def affine(self) -> NDArray[np.float64]:
        """Affine from voxel indices to MNI millimetres, ``(4, 4)``."""
        affine = np.diag([*self.spacing, 1.0])
        affine[:3, 3] = np.array(FIELD_CENTRE_MM) - (np.array(self.shape) - 1) / 2 * np.array(self.spacing)
        return affine

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm³."""
        return float(np.prod(self.spacing))

    @cached_property
    def positions(self) -> FloatArray:
        """Voxel centres in millimetres, ``(3, x, y, z)``."""
        positions = np.empty((3, *self.shape), np.float32)
        for axis, (n, step, start) in enumerate(zip(self.shape, self.spacing, self.affine[:3, 3], strict=True)):
            np.moveaxis(positions[axis], axis, -1)[...] = np.arange(n) * step + start
        return positions


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """Tissue shares of a head on one grid; each array is ``(x, y, z)``.

    Attributes:
        csf, gm, wm: share of the voxel, 0 to 1, inside the skull.
        bone, fat, muscle, eye: share of the voxel, 0 to 1, outside the brain.
        detail: deviation of the T1 average from its tissues (deep nuclei, brain stem), about ±0.1.
        ventricle_mm: distance to the ventricles in mm; 0 outside the skull.
    """

    csf: FloatArray
    gm: FloatArray
    wm: FloatArray
    bone: FloatArray
    fat: FloatArray
    muscle: FloatArray
    eye: FloatArray
    detail: FloatArray
    ventricle_mm: FloatArray

    @cached_property
    def parenchyma(self) -> FloatArray:
        """Share of brain tissue (grey and white matter)."""
        return self.gm + self.wm

    def labels(self) -> LabelArray:
        """Return the tissue with the largest share in each voxel, as in :data:`ANATOMY_LABELS`."""
        largest = 1 - self.csf - self.gm - self.wm
        labels = np.zeros(largest.shape, np.int16)
        for value, share in enumerate((self.csf, self.gm, self.wm), start=1):
            labels[share > largest] = value
            np.maximum(largest, share, out=largest)
        return labels

    def thick(self, slices: int) -> Anatomy:
        """Return the anatomy averaged over blocks of ``slices`` slices along z."""
        return Anatomy(**{name: thicken(getattr(self, name), slices) for name in MAPS})


MAPS = tuple(field.name for field in fields(Anatomy))
INSIDE_AND_SHELL = (("csf", "gm", "wm", "detail", "ventricle_mm"), ("bone", "fat", "muscle", "eye"))


def thicken(values: FloatArray, slices: int) -> FloatArray:
    """Average blocks of ``slices`` slices along z, as a thick slice does."""
    if slices == 1:
        return values
    return np.asarray(values.reshape(*values.shape[:2], -1, slices).mean(-1), np.float32)


def slabs(grid: Grid) -> list[slice]:
    """Return the planes along x in parts of :data:`SLAB`."""
    return [slice(start, start + SLAB) for start in range(0, grid.shape[0], SLAB)]


def smooth_noise(rng: np.random.Generator, grid: Grid, scale_mm: float) -> FloatArray:
    """Return ``(x, y, z)`` noise with mean 0 and standard deviation 1 that varies over about ``scale_mm``.

    The noise is a sum of Gaussian bumps on a coarse lattice. It is computed without BLAS, because BLAS threads could
    change the last bits. Grids of more than :data:`FINE_VOXELS` voxels leave out what a bump adds far from its
    centre, less than 2e-7 of its height.
    """
    steps = [max(scale_mm / spacing, 1.0) for spacing in grid.spacing]
    counts = [int(np.ceil(n / step)) + 3 for n, step in zip(grid.shape, steps, strict=True)]
    noise = rng.standard_normal(counts, np.float32)
    bumps = []
    for n, step, count in zip(grid.shape, steps, counts, strict=True):
        offsets = np.arange(n)[:, None] / step - (np.arange(count) - 1)
        bumps.append(np.exp(-((offsets / 0.75) ** 2)).astype(np.float32))
    if np.prod(grid.shape) > FINE_VOXELS:
        noise = along_axes(noise, [np.where(bump > 1e-7, bump, np.float32(0)) for bump in bumps])
        noise -= noise.mean()
        noise /= np.sqrt(np.mean([np.square(plane).mean() for plane in noise]))
        return noise
    for bump in bumps:
        noise = np.einsum("ij,jkl->kli", bump, noise)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


@lru_cache(maxsize=2)
def template_head(resolution: int) -> tuple[Anatomy, NDArray[np.float64]]:
    """Return the undeformed head on the MNI152 grid of ``resolution`` millimetres, and its affine."""
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    loaders = (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
    images: list[Any] = [load(resolution=resolution) for load in loaders]
    affine: NDArray[np.float64] = np.asarray(images[0].affine, np.float64)
    t1, gm, wm = (np.clip(image.get_fdata(dtype=np.float32), 0, 1) for image in images)
    total = np.maximum(gm + wm, 1)
    gm, wm = gm / total, wm / total
    positions = np.stack(np.meshgrid(*(np.arange(n) * resolution for n in t1.shape), indexing="ij"))
    positions = (positions + affine[:3, 3].reshape(3, 1, 1, 1)).astype(np.float32)

    hull = ndimage.gaussian_filter((t1 > 0.1).astype(np.float32), 6 / resolution) > 0.4
    hull |= ndimage.binary_opening(t1 > 0.1, iterations=2)
    outside_mm = ndimage.distance_transform_edt(~hull, sampling=resolution)
    inside_mm = ndimage.distance_transform_edt(hull, sampling=resolution)
    cranium = (outside_mm <= 2).astype(np.float32)
    csf = np.clip(cranium - gm - wm, 0, 1)
    ventricle = _ventricles(csf, inside_mm, positions)
    expected = sum(TISSUE_INTENSITIES[name] * tissue for name, tissue in (("csf", csf), ("gm", gm), ("wm", wm)))
    detail = np.where(gm + wm > 0.7, np.clip(t1 - expected, -0.2, 0.2), 0)
    maps = {
        "csf": csf,
        "gm": gm,
        "wm": wm,
        **_shells(outside_mm, cranium, positions, resolution),
        "detail": detail,
        "ventricle_mm": ndimage.distance_transform_edt(~ventricle, sampling=resolution),
    }
    return Anatomy(**{name: values.astype(np.float32) for name, values in maps.items()}), affine


def _ventricles(csf: FloatArray, inside_mm: NDArray[np.float64], positions: FloatArray) -> BoolArray:
    x, y, z = positions
    box = (np.abs(x) < 34) & (y > -65) & (y < 40) & (z > -6) & (z < 34)
    return np.asarray((csf > 0.5) & (inside_mm > 22) & box)


def _shells(
    outside_mm: NDArray[np.float64], cranium: FloatArray, positions: FloatArray, resolution: int
) -> dict[str, NDArray[np.float64]]:
    """Return bone, fat, muscle and eyes around the brain; the face extends the outline of the head downwards."""
    z = positions[2]
    level = int(np.abs(z[0, 0] - JAW_CUT_MM).argmin())
    outline_mm = ndimage.distance_transform_edt(outside_mm[:, :, level] > 0, sampling=resolution)
    head = (outside_mm < 15) | ((z < JAW_CUT_MM) & (outline_mm[:, :, None] < 13))
    depth_mm = ndimage.distance_transform_edt(head, sampling=resolution)
    eyes = np.zeros(head.shape, bool)
    for centre in EYES_MM:
        eyes |= np.linalg.norm(positions - np.reshape(centre, (3, 1, 1, 1)), axis=0) < EYE_RADIUS_MM
    head |= eyes
    free = head & (cranium == 0) & ~eyes
    bone = free & (outside_mm <= 8)
    fat = free & ~bone & (depth_mm < 7)
    muscle = free & ~bone & ~fat
    return {"bone": bone, "fat": fat, "muscle": muscle, "eye": eyes & (cranium == 0)}


@dataclass(frozen=True, kw_only=True)
class Deformation:
    """The deformation of the template that gives one simulated head.

    Attributes:
        matrix: ``(3, 3)`` rotation and scaling about the centre of the field of view.
        shift: ``(3,)`` translation in mm.
        displacement: ``(3, x, y, z)`` smooth displacement in mm.
        atrophy: exponent on the share of grey matter; above 1 it widens the sulci.
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    displacement: FloatArray
    atrophy: float


def random_deformation(rng: np.random.Generator, grid: Grid) -> Deformation:
    """Draw the size, pose, shape, ventricle size and sulcal width of a head."""
    angles = rng.normal(0, [4, 2, 3])
    scale = 1 / (rng.normal(1, 0.03) * rng.normal(1, 0.025, 3))
    displacement = np.empty((3, *grid.shape), np.float32)
    for axis in range(3):
        np.multiply(smooth_noise(rng, grid, 45), rng.uniform(1.5, 3.5), out=displacement[axis])
    for axis in range(3):
        displacement[axis] += smooth_noise(rng, grid, 14) * rng.uniform(0.4, 1.2)
    strength = rng.uniform(-0.1, 0.35)
    for slab in slabs(grid):
        offset = grid.positions[:, slab] - np.reshape(VENTRICLE_CENTRE_MM, (3, 1, 1, 1))
        shrink = strength * np.exp(-((np.linalg.norm(offset, axis=0) / 35) ** 2))
        displacement[:, slab] -= offset * shrink
    return Deformation(
        matrix=Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * scale,
        shift=rng.normal(0, 3, 3),
        displacement=displacement,
        atrophy=float(rng.uniform(0.8, 1.7)),
    )


def mass_effect(grid: Grid, centre: FloatArray, radius_mm: float, push_mm: float) -> FloatArray:
    """Return the ``(3, x, y, z)`` displacement by a mass at ``centre`` (mm) that pushes tissue outwards."""
    offset = grid.positions - centre.reshape(3, 1, 1, 1)
    distance = np.linalg.norm(offset, axis=0)
    strength = push_mm * np.exp(-((distance / (1.5 * radius_mm)) ** 2)) / np.maximum(distance, radius_mm / 2)
    return np.asarray(-offset * strength, np.float32)


def deform(
    resolution: int,
    grid: Grid,
    deformation: Deformation,
    extra: FloatArray | None = None,
    *,
    maps: Collection[str] = MAPS,
) -> Anatomy:
    """Return the deformed template head on ``grid``.

    Args:
        resolution: resolution of the sampled template in millimetres.
        grid: grid of the result.
        deformation: the deformation of this head.
        extra: further ``(3, x, y, z)`` displacement in mm, such as that of :func:`mass_effect`.
        maps: names of the maps that are needed; the others are 0.
    """
    _, affine = template_head(resolution)
    reach = _reach(resolution)
    together = INSIDE_AND_SHELL if np.prod(grid.shape) > FINE_VOXELS else tuple((name,) for name in MAPS)
    groups = [wanted for group in together if (wanted := tuple(name for name in group if name in maps))]
    sampled = {name: np.zeros(grid.shape, np.float32) for name in MAPS}
    for slab in slabs(grid):
        positions = grid.positions[:, slab] + deformation.displacement[:, slab]
        if extra is not None:
            positions = positions + extra[:, slab]
        indices = in_template(positions, deformation)
        indices -= affine[:3, 3].reshape(3, 1, 1, 1)
        indices = (indices / resolution).reshape(3, -1)
        axes = zip(indices, reach.shape, strict=True)
        reached = reach[tuple(np.clip((axis + 0.5).astype(np.int16), 0, n - 1) for axis, n in axes)]
        for group in groups:
            voxels = np.flatnonzero(reached & sum(1 << MAPS.index(name) for name in group))
            values = _read(resolution, group, indices.take(voxels, axis=1))
            for name, column in zip(group, values.T, strict=True):
                sampled[name][slab].ravel()[voxels] = column
    inside = sampled["csf"] + sampled["gm"] + sampled["wm"]
    sampled["gm"] = sampled["gm"] ** deformation.atrophy
    sampled["csf"] = np.clip(inside - sampled["gm"] - sampled["wm"], 0, 1)
    return Anatomy(**{name: values.astype(np.float32, copy=False) for name, values in sampled.items()})


def _read(resolution: int, group: tuple[str, ...], indices: NDArray[np.float64]) -> FloatArray:
    """Return ``(n, maps)`` values of maps of the template at ``(3, n)`` indices by linear interpolation.

    Several maps are read at once, in single precision, each index being looked up once for all of them. Outside the
    template all maps are 0.
    """
    if len(group) == 1:
        (values,) = (getattr(template_head(resolution)[0], name) for name in group)
        return np.asarray(ndimage.map_coordinates(values, indices, order=1))[:, None]
    shape, stacked = _stacked(resolution, group)
    low = [np.clip(axis.astype(np.int32), 0, n - 2) for axis, n in zip(indices, shape, strict=True)]
    x, y, z = ((axis - floor).astype(np.float32) for axis, floor in zip(indices, low, strict=True))
    first = np.ravel_multi_index(tuple(low), shape).astype(np.int32)
    corners, weights = np.empty((len(first), 8), np.int32), np.empty((len(first), 8), np.float32)
    for corner, (i, j, k) in enumerate(np.ndindex(2, 2, 2)):
        corners[:, corner] = first + (i * shape[1] + j) * shape[2] + k
        weights[:, corner] = (x if i else 1 - x) * (y if j else 1 - y) * (z if k else 1 - z)
    weights[((indices.T < 0) | (np.array(shape) - 1 < indices.T)).any(1)] = 0
    rows = np.arange(0, corners.size + 1, 8)
    interpolation = sparse.csr_array((weights.ravel(), corners.ravel(), rows), shape=(len(first), len(stacked)))
    return np.asarray(interpolation @ stacked)


@lru_cache(maxsize=4)
def _stacked(resolution: int, group: tuple[str, ...]) -> tuple[tuple[int, ...], FloatArray]:
    """Return the shape of the template and some of its maps side by side, ``(voxels, maps)``."""
    maps = [getattr(template_head(resolution)[0], name) for name in group]
    return maps[0].shape, np.stack([values.ravel() for values in maps], axis=1)


def template_positions(grid: Grid, deformation: Deformation) -> FloatArray:
    """Return where the voxels of a head lie in the template, ``(3, x, y, z)`` in mm."""
    places = np.empty_like(grid.positions)
    for slab in slabs(grid):
        places[:, slab] = in_template(grid.positions[:, slab] + deformation.displacement[:, slab], deformation)
    return places


def in_template(positions: FloatArray, deformation: Deformation) -> NDArray[np.float64]:
    """Return where positions of a head, ``(3, ...)`` in mm and displaced already, lie in the template."""
    centre = np.reshape(FIELD_CENTRE_MM, (3, 1, 1, 1))
    turned = np.einsum("ij,jxyz->ixyz", deformation.matrix, positions - centre)
    turned += centre
    turned += deformation.shift.reshape(3, 1, 1, 1)
    return turned


@lru_cache(maxsize=2)
def _reach(resolution: int) -> NDArray[np.uint16]:
    """Return in which voxels of the template an interpolated map may differ from 0: bit i stands for map i.

    ``ventricle_mm`` counts within the skull only.
    """
    head, _ = template_head(resolution)
    skull = head.csf + head.parenchyma
    reach = np.zeros(skull.shape, np.uint16)
    for bit, name in enumerate(MAPS):
        reach |= ((skull if name == "ventricle_mm" else getattr(head, name)) != 0).astype(np.uint16) << bit
    for axis in range(3):
        rows = np.moveaxis(reach, axis, 0)
        before, after = rows[:-1].copy(), rows[1:].copy()
        rows[:-1] |= after
        rows[1:] |= before
    return reach
