"""One simulated subject seen by susceptibility-weighted imaging: head, veins, bleeds and mimics, scan and label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray
from lesionforge.simulation.difficulty import NOISE
from lesionforge.simulation.dipole import dipole_field
from lesionforge.simulation.ellipsoids import raise_in_ellipsoid
from lesionforge.simulation.head import ANATOMY_LABELS, Anatomy, Grid, smooth_noise, thicken
from lesionforge.simulation.inclusions import Inclusion
from lesionforge.simulation.lattice import Box, Lattice, resample
from lesionforge.simulation.materials import AIR_PPM, NUCLEI, R2STAR_PER_PPM, TISSUES, VENOUS_PPM
from lesionforge.simulation.microbleeds import draw_microbleeds
from lesionforge.simulation.mimics import draw_air, draw_calcifications
from lesionforge.simulation.sub_voxels import SubVoxels
from lesionforge.simulation.swi import (
    CYCLES_PER_PPM_MS,
    TE_MS,
    ComplexArray,
    echo,
    high_pass_phase,
    low_pass,
    voxel_signal,
    weighted,
)
from lesionforge.simulation.veins import STEP_MM, draw_veins

SUB_VOXEL_MM, MOST_SUB_VOXELS = 0.5, 4
"""Voxels are divided into sub-voxels of at most this size, but into no more than this number along an axis."""
AIR_FIELD_MM = 2.0
"""The field of air and bone is smooth in the brain; it is computed in cubes of this size."""
NECK_MM, AIR_PAD_MM = 60.0, 60.0
MARGIN_MM = 2.0
LOST_SHARE = 0.7
"""Where the field of air and bone leaves less than this share of the SWI, nothing is seen."""
VEIN_MM, CUBE_MM, CUBE_SHARE = 6.0, 10.0, 0.1
"""The findings have a point of a vein each time it has run so far, and one of air in each cube of this size of which
more than this share is lost tissue. Fluid loses signal beside bone all around the brain, where it looks like no bleed.
"""
CLEAR_MM = 5.0
"""No bleed is put where more than a tenth of the cube that reaches this far is lost."""
VISIBLE_SHARE = 0.2
"""A voxel belongs to a bleed if the bleed lowers the noise-free SWI there by this share of its surroundings."""
TISSUE_SPREAD = {"csf": 0.06, "gm": 0.03, "wm": 0.03, "bone": 0.3, "fat": 0.2, "muscle": 0.15, "eye": 0.1}
TISSUE_MOTTLE = {"csf": 0.04, "gm": 0.05, "wm": 0.03, "bone": 0.5, "fat": 0.2, "muscle": 0.3, "eye": 0.05}
"""How much the signal of a tissue varies between subjects and between its regions, as a share."""


@dataclass(frozen=True, kw_only=True)
class SwiScan:
    """What a scan shows and holds.

    Attributes:
        image: ``(x, y, z)`` SWI in arbitrary units, 0 or more.
        label: 1 where a bleed is visible.
        tissue: tissue with the largest share, as in ``ANATOMY_LABELS``.
        findings: kind (``microbleed``, ``vein``, ``calcification``, ``air``) → ``(n, 3)`` positions in mm; a vein has
            one every few mm.
    """

    image: FloatArray
    label: LabelArray
    tissue: LabelArray
    findings: Mapping[str, FloatArray]


def simulate_swi(
    anatomy: Anatomy,
    grid: Grid,
    in_template: FloatArray,
    *,
    slices: int,
    bleeding: bool,
    skull: bool,
    rng: np.random.Generator,
) -> SwiScan:
    """Simulate the SWI of a head.

    Args:
        anatomy: the head.
        grid: its grid.
        in_template: ``(3, x, y, z)`` position of each voxel in the template in mm.
        slices: number of slices of the grid in a slice of the scan.
        bleeding: whether the head has microbleeds.
        skull: whether skull, scalp and face are visible.
        rng: source of all randomness.
    """
    iron, air = _iron(in_template, anatomy), draw_air(anatomy, in_template, rng)
    tissue = _tissue_signal(anatomy, iron, air, grid, rng)
    veins = draw_veins(anatomy, grid, float(rng.uniform(*VENOUS_PPM)), rng)
    calcifications = draw_calcifications(anatomy, grid, in_template, rng)
    spacing = (*grid.spacing[:2], grid.spacing[2] * slices)
    background = _air_field(anatomy, air, grid)
    signal = voxel_signal(tissue, resample(*background, Lattice.of(grid)), (1, 1, slices))
    labels = anatomy.thick(slices).labels()
    brain = labels > 0
    lost = brain & (_swi(signal, spacing) < LOST_SHARE * thicken(tissue, slices))
    near = ndimage.uniform_filter(lost.astype(np.float32), [round(2 * CLEAR_MM / step) | 1 for step in spacing]) > 0.1
    visible = np.repeat(~near, slices, axis=2)
    bleeds = draw_microbleeds(anatomy, grid, visible, rng) if bleeding else []

    part = _brain_part(anatomy, grid, slices)
    fields = _sub_voxels(anatomy, tissue, iron, veins, part, grid, slices)
    np.add(fields.cycles, resample(*background, fields.lattice), out=fields.cycles)
    for body in calcifications:
        fields.add(body)
    inside = (part[0], part[1], slice(part[2].start // slices, part[2].stop // slices))
    signal[inside] = fields.signal(fields.everywhere)
    bled = signal.copy()
    boxes = [fields.add(body) for body in bleeds]
    for box in boxes:
        bled[inside][fields.voxels(box)] = fields.signal(box)

    label = np.zeros(signal.shape, np.int16)
    smooth = low_pass(signal, spacing) if bleeds else signal
    label[inside] = _outlines(
        fields, bleeds, boxes, without=signal[inside], bled=bled[inside], smooth=smooth[inside], brain=brain[inside]
    )
    image = scan_signal(bled, spacing, rng)
    if not skull:
        image[~brain] = 0
    findings = {
        "microbleed": _centres(bleeds),
        "vein": np.concatenate([vein.points[:: round(VEIN_MM / STEP_MM)] for vein in veins]),
        "calcification": _centres(calcifications),
        "air": _cubes(lost & (labels > ANATOMY_LABELS["CSF"]), grid, slices),
    }
    return SwiScan(image=image, label=label, tissue=labels, findings=findings)


def _iron(in_template: FloatArray, anatomy: Anatomy) -> FloatArray:
    """Return the excess susceptibility of the nuclei that hold iron, ``(x, y, z)`` in ppm."""
    brain = np.flatnonzero(anatomy.parenchyma > 0.3)
    iron, places = np.zeros(len(brain), np.float32), in_template.reshape(3, -1)[:, brain]
    for centre, radii, excess in NUCLEI:
        for side in (1, -1):
            raise_in_ellipsoid(iron, places, np.multiply(centre, (side, 1, 1)), radii, height=excess, edge=0.4)
    everywhere = np.zeros_like(anatomy.gm)
    everywhere.ravel()[brain] = iron
    return everywhere * anatomy.parenchyma


def _tissue_signal(
    anatomy: Anatomy, iron: FloatArray, air: FloatArray, grid: Grid, rng: np.random.Generator
) -> FloatArray:
    """Return the signal of each voxel at the echo time, before dephasing, relative to white matter."""
    signal = np.zeros(grid.shape, np.float32)
    for name, material in TISSUES.items():
        level = echo(material) / echo(TISSUES["wm"]) * rng.normal(1, TISSUE_SPREAD[name])
        values = smooth_noise(rng, grid, 9)
        values *= level * TISSUE_MOTTLE[name]
        values += level
        np.maximum(values, 0, out=values)
        values *= getattr(anatomy, name)
        signal += values
    strength = rng.uniform(0.04, 0.16)
    bias = smooth_noise(rng, grid, 90)
    signal *= np.exp(np.multiply(bias, strength, out=bias), out=bias)
    decay = np.float32(-TE_MS / 1000 * R2STAR_PER_PPM) * iron
    signal *= np.exp(decay, out=decay)
    signal *= 1 - air
    return signal


def _air_field(anatomy: Anatomy, air: FloatArray, grid: Grid) -> tuple[FloatArray, Lattice]:
    """Return the cycles by the field of air, bone and fat on a coarse lattice.

    The head goes on below the volume as it is in the lowest slice.
    """
    fine = Lattice.of(grid)
    coarse = fine.covering(AIR_FIELD_MM)
    chi, inside = 1 - air, np.zeros_like(air)
    for name in TISSUES:
        inside += getattr(anatomy, name)
    chi *= -AIR_PPM
    chi *= np.minimum(inside, 1, out=inside)
    chi += anatomy.bone * TISSUES["bone"].chi_ppm + anatomy.fat * TISSUES["fat"].chi_ppm
    chi = resample(chi, fine, coarse)
    neck = round(NECK_MM / AIR_FIELD_MM)
    chi = np.pad(chi, ((0, 0), (0, 0), (neck, 0)), mode="edge")
    field_ppm = dipole_field(chi, coarse.spacing, pad_mm=AIR_PAD_MM)[..., neck:]
    return field_ppm * np.float32(CYCLES_PER_PPM_MS * TE_MS), coarse


def _brain_part(anatomy: Anatomy, grid: Grid, slices: int) -> Box:
    """Return the box of voxels around the inside of the skull, in whole thick slices."""
    lattice = Lattice.of(grid)
    inside = anatomy.csf + anatomy.parenchyma > 0.5
    (box,) = ndimage.find_objects(inside.astype(np.int8))
    low = np.array([axis[found.start] for axis, found in zip(lattice.axes, box, strict=True)])
    high = np.array([axis[found.stop - 1] for axis, found in zip(lattice.axes, box, strict=True)])
    return lattice.box_around(low - MARGIN_MM, high + MARGIN_MM, (1, 1, slices))


def _sub_voxels(
    anatomy: Anatomy,
    tissue: FloatArray,
    iron: FloatArray,
    veins: Sequence[Inclusion],
    part: Box,
    grid: Grid,
    slices: int,
) -> SubVoxels:
    """Return the sub-voxels of a part of a head, with its tissues and veins."""
    x, y, z = (int(np.clip(np.ceil(step / SUB_VOXEL_MM), 2, MOST_SUB_VOXELS)) for step in grid.spacing)
    chi = iron[part] + sum(getattr(anatomy, name)[part] * TISSUES[name].chi_ppm for name in ("csf", "gm", "wm"))
    voxels = Lattice.of(grid).part(part)
    return SubVoxels.of(tissue[part], chi, voxels, veins=veins, factors=(x, y, z), slices=slices)


def _outlines(
    fields: SubVoxels,
    bleeds: Sequence[Inclusion],
    boxes: Sequence[Box],
    *,
    without: ComplexArray,
    bled: ComplexArray,
    smooth: ComplexArray,
    brain: BoolArray,
) -> LabelArray:
    """Return the outlines of bleeds as an annotator draws them, 1 in each.

    A voxel belongs to a bleed if the bleed lowers the noise-free SWI there by :data:`VISIBLE_SHARE` of its
    surroundings or more and if it is connected with the bleed; holes are filled. The voxel that loses most belongs to
    it in any case. Outlines do not touch.
    """
    label = np.zeros(brain.shape, np.int16)
    for bleed, box in zip(bleeds, boxes, strict=True):
        voxels = fields.voxels(box)
        before, after = (
            weighted(signal[voxels], high_pass_phase(signal[voxels], smooth[voxels])) for signal in (without, bled)
        )
        free = brain[voxels] & ~ndimage.binary_dilation(label[voxels] > 0, np.ones((3, 3, 3)))
        drop = np.where(free, (before - after) / np.abs(smooth[voxels]), -1)
        place = fields.share(bleed, box)
        parts, _ = ndimage.label(drop >= min(VISIBLE_SHARE, drop.max()))
        overlap = np.bincount(parts.ravel(), place.ravel() + 1e-9)
        chosen = parts == 1 + overlap[1:].argmax()
        label[voxels][ndimage.binary_fill_holes(chosen) & free] = 1
    return label


def scan_signal(signal: ComplexArray, spacing: tuple[float, ...], rng: np.random.Generator) -> FloatArray:
    """Return the SWI of a signal with complex noise.

    Args:
        signal: ``(x, y, z)`` noise-free signal, relative to white matter.
        spacing: voxel spacing in mm.
        rng: source of all randomness.

    Returns:
        ``(x, y, z)``, 0 or more, in arbitrary units.
    """
    sigma = np.float32(rng.uniform(*NOISE))
    noisy, noise = signal.copy(), np.empty(signal.shape, np.float32)
    for part in (noisy.real, noisy.imag):
        rng.standard_normal(out=noise, dtype=np.float32)
        part += np.multiply(noise, sigma, out=noise)
    return _swi(noisy, spacing) * np.float32(rng.uniform(300, 1200))


def _swi(signal: ComplexArray, spacing: tuple[float, ...]) -> FloatArray:
    """Return the SWI of a complex image, plane by plane, so that memory is used again."""
    swi = np.empty(signal.shape, np.float32)
    for shown, plane, smooth in zip(swi, signal, low_pass(signal, spacing), strict=True):
        shown[...] = weighted(plane, high_pass_phase(plane, smooth))
    return swi


def _centres(bodies: Sequence[Inclusion]) -> FloatArray:
    return np.array([body.centre for body in bodies], np.float32).reshape(-1, 3)


def _cubes(lost: BoolArray, grid: Grid, slices: int) -> FloatArray:
    """Return the centres, in mm, of the cubes of which enough is lost."""
    spacing = np.array(grid.spacing) * (1, 1, slices)
    origin = grid.affine[:3, 3] + (0, 0, grid.spacing[2] * (slices - 1) / 2)
    numbers = np.rint((np.argwhere(lost) * spacing + origin) / CUBE_MM)
    cubes, voxels = np.unique(numbers, axis=0, return_counts=True)
    enough = voxels * np.prod(spacing) > CUBE_SHARE * CUBE_MM**3
    return np.asarray(cubes[enough] * CUBE_MM, np.float32)
