"""One simulated subject in memory: settings, head, lesion, channels and label map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.errors import ConfigError
from lesionforge.seeding import generator
from lesionforge.simulation.given_maps import FEWEST_VOXELS, deform_map, head_of, place_mask
from lesionforge.simulation.head import (
    MAPS,
    Anatomy,
    Deformation,
    Grid,
    deform,
    mass_effect,
    random_deformation,
    template_positions,
    thicken,
)
from lesionforge.simulation.lesion_shapes import (
    LESION_CLASSES,
    LESION_KINDS,
    LesionKind,
    draw_centre,
    draw_regions,
    draw_volume,
)
from lesionforge.simulation.scanner import CONTRASTS, LESION_STRENGTH, Contrast, SimulatedLesion, acquire
from lesionforge.simulation.swi_subject import VEIN_MM, simulate_swi


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Settings of a simulated cohort; see :func:`make_template_cohort`."""

    n_subjects: int
    spatial_dims: int
    contrasts: tuple[Contrast, ...]
    lesion: LesionKind
    healthy_fraction: float
    spacing: float
    slice_thickness: float
    skull: bool
    seed: int
    maps: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = {
            "n_subjects": (self.n_subjects >= 1, "ask for at least one"),
            "spatial_dims": (self.spatial_dims in (2, 3), "choose 2 or 3"),
            "contrast": (bool(self.contrasts) and set(self.contrasts) <= set(CONTRASTS), f"choose from {CONTRASTS}"),
            "lesion": (self.lesion in LESION_KINDS, f"choose from {LESION_KINDS}"),
            "healthy_fraction": (0 <= self.healthy_fraction <= 1, "choose a number from 0 to 1"),
            "spacing": (0.9 <= self.spacing <= 6, "choose millimetres from 0.9 to 6"),
            "slice_thickness": (
                self.spacing <= self.slice_thickness <= 10,
                "choose millimetres from the spacing to 10",
            ),
        }
        for name, (fine, remedy) in problems.items():
            if not fine:
                value = self.contrasts if name == "contrast" else getattr(self, name)
                raise ConfigError(name, f"{value!r} does not fit a simulated cohort", remedy)
        if self.masks and (not self.maps or self.lesion != "stroke"):
            raise ConfigError("masks", "need label maps and strokes", "give maps and lesion='stroke'")
        if self.lesion == "microbleed" and self.contrasts != ("SWI",):
            raise ConfigError("contrast", f"{', '.join(self.contrasts)} does not show microbleeds", "choose SWI alone")
        if self.lesion == "microbleed" and self.maps:
            raise ConfigError("maps", "have no base of the skull, which a scan of microbleeds shows", "leave them out")
        if len(set(self.contrasts)) < len(self.contrasts):
            raise ConfigError("contrast", f"{self.contrasts!r} names a contrast twice", "name each contrast once")

    @property
    def name(self) -> str:
        """Name of the cohort in ``dataset.json``."""
        return f"Simulated_{self.lesion}_{'_'.join(self.contrasts)}"

    @property
    def labels(self) -> dict[str, int]:
        """Class name → label, background included."""
        return {name: i for i, name in enumerate(("background", *LESION_CLASSES[self.lesion]))}

    @property
    def file_ending(self) -> str:
        """``.png`` for slices, ``.nii.gz`` for volumes."""
        return ".png" if self.spatial_dims == 2 else ".nii.gz"

    @property
    def grid(self) -> Grid:
        """Grid of the written volumes."""
        return Grid.covering((self.spacing, self.spacing, self.slice_thickness))

    @property
    def fine_slices(self) -> int:
        """Number of simulated slices that are averaged into one thick slice."""
        return max(1, round(self.slice_thickness / self.spacing))

    @property
    def fine_grid(self) -> Grid:
        """Grid on which heads are simulated, before slices are averaged."""
        (nx, ny, nz), (dx, dy, dz) = self.grid.shape, self.grid.spacing
        return Grid(shape=(nx, ny, nz * self.fine_slices), spacing=(dx, dy, dz / self.fine_slices))

    @property
    def template_resolution(self) -> int:
        """Resolution in millimetres of the template that is sampled."""
        return 1 if self.spacing < 2 else 2

    def map_of(self, number: int) -> str | None:
        """Return the label map for the head of subject ``number``, or ``None`` without maps.

        Each map is used once before any is used again. The order changes every time, so that each map sometimes gets
        lesions.
        """
        if not self.maps:
            return None
        turn, place = divmod(number, len(self.maps))
        return self.maps[generator(self.seed, "maps", turn).permutation(len(self.maps))[place]]

    def is_healthy(self, number: int) -> bool:
        """Return whether subject ``number`` has no lesion; healthy subjects are spread evenly."""
        return int((number + 1) * self.healthy_fraction) > int(number * self.healthy_fraction)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """The arrays of one simulated subject.

    Attributes:
        image: ``(channel, x, y, z)``, or ``(channel, row, column)`` for a slice.
        label: lesion classes on the same grid.
        anatomy: tissues as in ``ANATOMY_LABELS``, or the structures of a label map.
        affine: ``(4, 4)`` affine from voxel indices to millimetres.
        mask_id: name of the given lesion mask, or empty if the lesion was drawn.
        findings: with microbleeds, kind (``microbleed``, ``vein``, ``calcification``, ``air``) → ``(n, 3)`` positions
            in mm, or for a slice ``(n, 2)`` rows and columns.
    """

    image: FloatArray
    label: LabelArray
    anatomy: LabelArray
    affine: NDArray[np.float64]
    mask_id: str = ""
    findings: Mapping[str, FloatArray] = field(default_factory=dict)


def simulate_subject(simulation: Simulation, number: int) -> Simulated:
    """Simulate subject ``number`` in memory."""
    rng = generator(simulation.seed, "simulated subject", number)
    if simulation.lesion == "microbleed":
        volume = _with_microbleeds(simulation, number, rng)
    else:
        volume = _with_lesion(simulation, number, rng)
    return volume if simulation.spatial_dims == 3 else _slice(volume, rng)


def _with_microbleeds(simulation: Simulation, number: int, rng: np.random.Generator) -> Simulated:
    """Return a volume in which microbleeds are seen by susceptibility-weighted imaging."""
    grid, slices = simulation.fine_grid, simulation.fine_slices
    deformation = random_deformation(rng, grid)
    anatomy = deform(simulation.template_resolution, grid, deformation, maps=set(MAPS) - {"detail"})
    scan = simulate_swi(
        anatomy,
        grid,
        template_positions(grid, deformation),
        slices=slices,
        bleeding=not simulation.is_healthy(number),
        skull=simulation.skull,
        rng=rng,
    )
    return Simulated(
        image=scan.image[None],
        label=scan.label,
        anatomy=scan.tissue,
        affine=simulation.grid.affine,
        findings=scan.findings,
    )


def _with_lesion(simulation: Simulation, number: int, rng: np.random.Generator) -> Simulated:
    """Return a volume with one lesion at most, whose contrast is typical of the sequence."""
    slices, fine = simulation.fine_slices, simulation.fine_grid
    head = _head(simulation, fine, number, rng=rng)
    anatomy, lesion = head.anatomy, head.lesion
    channels = [
        acquire(contrast, anatomy, fine, lesion, slices=slices, skull=simulation.skull, rng=rng)
        for contrast in simulation.contrasts
    ]
    tissue = anatomy.thick(slices).labels()
    label = np.zeros(tissue.shape, np.int16)
    if lesion is not None:
        label = _label(lesion, slices, tissue > 0)
    if head.structures is not None:
        tissue = _middle_slices(head.structures, slices)
    return Simulated(
        image=np.stack(channels), label=label, anatomy=tissue, affine=simulation.grid.affine, mask_id=head.mask_id
    )


@dataclass(frozen=True, kw_only=True)
class _Head:
    """A head on the fine grid, with its lesion if it has one."""

    anatomy: Anatomy
    lesion: SimulatedLesion | None = None
    structures: LabelArray | None = None
    mask_id: str = ""


def _head(simulation: Simulation, grid: Grid, number: int, *, rng: np.random.Generator) -> _Head:
    deformation, path = random_deformation(rng, grid), simulation.map_of(number)
    if path is not None:
        return _head_of_map(simulation, path, grid, deformation, number, rng)
    kind, resolution = simulation.lesion, simulation.template_resolution
    if simulation.is_healthy(number):
        return _Head(anatomy=deform(resolution, grid, deformation))
    volume = draw_volume(kind, rng)
    if kind == "tumour":
        tissue = deform(resolution, grid, deformation, maps=("gm", "wm"))
        centre = draw_centre(kind, grid, tissue, rng)
        push = mass_effect(grid, centre, (volume / 4.19) ** (1 / 3), rng.uniform(0, 5))
        anatomy = deform(resolution, grid, deformation, push)
    else:
        anatomy = deform(resolution, grid, deformation)
        centre = draw_centre(kind, grid, anatomy, rng)
    regions = draw_regions(kind, grid, anatomy, centre, volume, rng)
    return _Head(anatomy=anatomy, lesion=_soften(kind, regions, anatomy, grid, rng))


def _head_of_map(
    simulation: Simulation, path: str, grid: Grid, deformation: Deformation, number: int, rng: np.random.Generator
) -> _Head:
    kind = simulation.lesion
    structures = deform_map(path, grid, deformation)
    anatomy = head_of(structures, grid, rng)
    if simulation.is_healthy(number):
        return _Head(anatomy=anatomy, structures=structures)
    region, mask_id = None, ""
    for mask in _masks_for(simulation, number):
        found = place_mask(mask, structures, grid)
        if np.count_nonzero(found) >= FEWEST_VOXELS * simulation.fine_slices:
            region, mask_id = found, Path(mask).name.split(".")[0]
            break
    if region is None:
        centre = draw_centre(kind, grid, anatomy, rng)
        regions = draw_regions(kind, grid, anatomy, centre, draw_volume(kind, rng), rng)
    else:
        regions = [region]
    lesion = _soften(kind, regions, anatomy, grid, rng)
    return _Head(anatomy=anatomy, lesion=lesion, structures=structures, mask_id=mask_id)


def _masks_for(simulation: Simulation, number: int) -> list[str]:
    """Return the masks that only subject ``number`` may get, in the order in which they are tried."""
    order = generator(simulation.seed, "masks").permutation(len(simulation.masks))
    return [simulation.masks[mask] for mask in order[number :: simulation.n_subjects]]


def _soften(
    kind: LesionKind, regions: list[BoolArray], anatomy: Anatomy, grid: Grid, rng: np.random.Generator
) -> SimulatedLesion:
    """Return a lesion with soft edges and random strength."""
    softness = [rng.uniform(0.8, 2.2) / step for step in grid.spacing]
    inside = np.clip(anatomy.parenchyma * 2, 0, 1)
    shares = {
        name: np.minimum(ndimage.gaussian_filter(region.astype(np.float32), softness), inside)
        for name, region in zip(LESION_CLASSES[kind], regions, strict=True)
    }
    return SimulatedLesion(kind=kind, shares=shares, strength=float(rng.uniform(*LESION_STRENGTH[kind])))


def _middle_slices(structures: LabelArray, slices: int) -> LabelArray:
    """Return the structures in the middle of each thick slice."""
    return np.ascontiguousarray(structures[..., slices // 2 :: slices])


def _label(lesion: SimulatedLesion, slices: int, brain: BoolArray) -> LabelArray:
    """Return the label map of a lesion: the classes that fill at least half of each thick voxel.

    At least the voxel with the largest share of lesion is labelled.
    """
    label = np.zeros(brain.shape, np.int16)
    for value, share in enumerate(lesion.shares.values(), start=1):
        thick = np.where(brain, thicken(share, slices), 0)
        enough = min(0.5, float(thick.max())) if value == 1 else 0.5
        label[(thick >= enough) & (label == value - 1) & brain] = value
    return label


def _slice(volume: Simulated, rng: np.random.Generator) -> Simulated:
    """Return the axial slice with the most lesion, or a random one with much brain, with anterior up."""
    lesion_area = (volume.label > 0).sum((0, 1))
    brain_area = (volume.anatomy > 0).sum((0, 1))
    z = lesion_area.argmax() if lesion_area.any() else rng.choice(np.flatnonzero(brain_area > 0.5 * brain_area.max()))
    return Simulated(
        image=np.rot90(volume.image[..., z], axes=(1, 2)),
        label=np.rot90(volume.label[..., z]),
        anatomy=np.rot90(volume.anatomy[..., z]),
        affine=np.eye(4),
        mask_id=volume.mask_id,
        findings={kind: _in_slice(places, int(z), volume) for kind, places in volume.findings.items()},
    )


def _in_slice(places: FloatArray, z: int, volume: Simulated) -> FloatArray:
    """Return the rows and columns of the places (mm) up to 3 mm beside slice ``z``, turned as the slice is."""
    spacing = np.diag(volume.affine)[:3]
    index = (places - volume.affine[:3, 3]) / spacing
    near = index[np.abs(index[:, 2] - z) * spacing[2] <= spacing[2] / 2 + VEIN_MM / 2]
    return np.stack([volume.label.shape[1] - 1 - near[:, 1], near[:, 0]], axis=1)
