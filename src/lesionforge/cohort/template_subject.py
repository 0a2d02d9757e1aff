"""One simulated subject in memory: settings, head, lesion, channels, label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.cohort.template_anatomy import Anatomy, Grid, deform, mass_effect, random_deformation, thicken
from lesionforge.cohort.template_contrast import CONTRASTS, LESION_STRENGTH, Contrast, Lesion, acquire
from lesionforge.cohort.template_lesions import (
    LESION_CLASSES,
    LESION_KINDS,
    LesionKind,
    draw_centre,
    draw_regions,
    draw_volume,
)
from lesionforge.errors import ConfigError
from lesionforge.seeding import generator


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """The settings of a simulated cohort; see :func:`make_template_cohort`."""

    n_subjects: int
    spatial_dims: int
    contrasts: tuple[Contrast, ...]
    lesion: LesionKind
    healthy_fraction: float
    spacing: float
    slice_thickness: float
    skull: bool
    seed: int

    def __post_init__(self) -> None:
        problems = {
            "n_subjects": (self.n_subjects >= 1, "ask for at least one"),
            "spatial_dims": (self.spatial_dims in (2, 3), "choose 2 or 3"),
            "contrast": (bool(self.contrasts) and set(self.contrasts) <= set(CONTRASTS), f"choose from {CONTRASTS}"),
            "lesion": (self.lesion in LESION_KINDS, f"choose from {LESION_KINDS}"),
            "healthy_fraction": (0 <= self.healthy_fraction <= 1, "choose a number from 0 to 1"),
            "spacing": (1 <= self.spacing <= 6, "choose millimetres from 1 to 6"),
            "slice_thickness": (
                self.spacing <= self.slice_thickness <= 10,
                "choose millimetres from the spacing to 10",
            ),
        }
        for name, (fine, remedy) in problems.items():
            if not fine:
                value = self.contrasts if name == "contrast" else getattr(self, name)
                raise ConfigError(name, f"{value!r} does not fit a simulated cohort", remedy)
        if len(set(self.contrasts)) < len(self.contrasts):
            raise ConfigError("contrast", f"{self.contrasts!r} names one twice", "name each contrast once")

    @property
    def name(self) -> str:
        """Name of the cohort."""
        return f"Simulated_{self.lesion}_{'_'.join(self.contrasts)}"

    @property
    def labels(self) -> dict[str, int]:
        """Lesion class name → integer."""
        return {name: i for i, name in enumerate(("background", *LESION_CLASSES[self.lesion]))}

    @property
    def file_ending(self) -> str:
        """``.png`` for slices, ``.nii.gz`` for volumes."""
        return ".png" if self.spatial_dims == 2 else ".nii.gz"

    @property
    def grid(self) -> Grid:
        """The voxels of the volumes."""
        return Grid.covering((self.spacing, self.spacing, self.slice_thickness))

    @property
    def fine_slices(self) -> int:
        """How many simulated slices are averaged into one thick slice."""
        return max(1, round(self.slice_thickness / self.spacing))

    @property
    def fine_grid(self) -> Grid:
        """The voxels that heads are simulated on, before slices are averaged."""
        (nx, ny, nz), (dx, dy, dz) = self.grid.shape, self.grid.spacing
        return Grid(shape=(nx, ny, nz * self.fine_slices), spacing=(dx, dy, dz / self.fine_slices))

    @property
    def template_resolution(self) -> int:
        """Millimetres of the template maps to sample from."""
        return 1 if self.spacing < 2 else 2

    def is_healthy(self, number: int) -> bool:
        """Return whether subject ``number`` has no lesion; healthy and other subjects alternate evenly."""
        return int((number + 1) * self.healthy_fraction) > int(number * self.healthy_fraction)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """The arrays of one simulated subject.

    Attributes:
        image: ``(channel, x, y, z)``, or ``(channel, row, column)`` for a slice.
        label: lesion classes on the same grid.
        anatomy: tissues as in ``ANATOMY_LABELS``.
        affine: 4×4, voxel indices to millimetres.
    """

    image: FloatArray
    label: LabelArray
    anatomy: LabelArray
    affine: NDArray[np.float64]


def simulate_subject(simulation: Simulation, number: int) -> Simulated:
    """Simulate subject ``number`` in memory."""
    rng = generator(simulation.seed, "simulated subject", number)
    slices, fine = simulation.fine_slices, simulation.fine_grid
    anatomy, lesion = _head(simulation, fine, healthy=simulation.is_healthy(number), rng=rng)
    channels = [
        acquire(contrast, anatomy, fine, lesion, slices=slices, skull=simulation.skull, rng=rng)
        for contrast in simulation.contrasts
    ]
    tissue = anatomy.thick(slices).labels()
    label = np.zeros(tissue.shape, np.int16)
    if lesion is not None:
        label = _label(lesion, slices, tissue > 0)
    volume = Simulated(image=np.stack(channels), label=label, anatomy=tissue, affine=simulation.grid.affine)
    return volume if simulation.spatial_dims == 3 else _slice(volume, rng)


def _head(
    simulation: Simulation, grid: Grid, *, healthy: bool, rng: np.random.Generator
) -> tuple[Anatomy, Lesion | None]:
    kind, resolution = simulation.lesion, simulation.template_resolution
    deformation = random_deformation(rng, grid)
    anatomy = deform(resolution, grid, deformation)
    if healthy:
        return anatomy, None
    volume = draw_volume(kind, rng)
    centre = draw_centre(kind, grid, anatomy, rng)
    if kind == "tumour":
        push = mass_effect(grid, centre, (volume / 4.19) ** (1 / 3), rng.uniform(0, 5))
        anatomy = deform(resolution, grid, deformation, push)
    regions = draw_regions(kind, grid, anatomy, centre, volume, rng)
    softness = [rng.uniform(0.8, 2.2) / step for step in grid.spacing]
    inside = np.clip(anatomy.parenchyma * 2, 0, 1)
    shares = {
        name: np.minimum(ndimage.gaussian_filter(region.astype(np.float32), softness), inside)
        for name, region in zip(LESION_CLASSES[kind], regions, strict=True)
    }
    return anatomy, Lesion(kind=kind, shares=shares, strength=float(rng.uniform(*LESION_STRENGTH[kind])))


def _label(lesion: Lesion, slices: int, brain: BoolArray) -> LabelArray:
    """Return the classes that fill half of each thick voxel, at least the voxel that the lesion fills most."""
    label = np.zeros(brain.shape, np.int16)
    for value, share in enumerate(lesion.shares.values(), start=1):
        thick = np.where(brain, thicken(share, slices), 0)
        enough = min(0.5, float(thick.max())) if value == 1 else 0.5
        label[(thick >= enough) & (label == value - 1) & brain] = value
    return label


def _slice(volume: Simulated, rng: np.random.Generator) -> Simulated:
    """Return the axial slice with most lesion, or a random one with much brain, anterior up."""
    lesion_area = (volume.label > 0).sum((0, 1))
    brain_area = (volume.anatomy > 0).sum((0, 1))
    z = lesion_area.argmax() if lesion_area.any() else rng.choice(np.flatnonzero(brain_area > 0.5 * brain_area.max()))
    return Simulated(
        image=np.rot90(volume.image[..., z], axes=(1, 2)),
        label=np.rot90(volume.label[..., z]),
        anatomy=np.rot90(volume.anatomy[..., z]),
        affine=np.eye(4),
    )
