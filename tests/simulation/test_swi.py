"""Susceptibility-weighted imaging from physics: the field of a sphere, dephasing, blooming, and the phase mask."""

import numpy as np
import pytest

from lesionforge.cohort.scan import FloatArray
from lesionforge.simulation.dipole import dipole_field
from lesionforge.simulation.inclusions import Inclusion, fill
from lesionforge.simulation.lattice import Lattice, resample
from lesionforge.simulation.sub_voxels import SubVoxels
from lesionforge.simulation.swi import (
    CYCLES_PER_PPM_MS,
    ComplexArray,
    high_pass_phase,
    low_pass,
    voxel_signal,
    weighted,
)

SIDE = 32


def lattice(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Lattice:
    step = np.array(spacing)
    return Lattice(origin=-step * (np.array(shape) - 1) / 2, spacing=step, shape=shape)


def uniform(te_ms: float = 20.0, *, veins: tuple[Inclusion, ...] = (), chi_ppm: float = 0.0) -> SubVoxels:
    """Voxels of 1 mm of one tissue, of signal 1, in the middle of which bodies may be put."""
    shape = (SIDE, SIDE, SIDE)
    tissue, chi = np.ones(shape, np.float32), np.full(shape, chi_ppm, np.float32)
    return SubVoxels.of(tissue, chi, lattice(shape, (1, 1, 1)), veins=veins, factors=(2, 2, 2), te_ms=te_ms)


def ball(chi_ppm: float, radius: float = 1.0, kind: str = "microbleed") -> Inclusion:
    points, radii = np.full((1, 3), 0.5, np.float32), np.array([radius], np.float32)
    return Inclusion(kind=kind, points=points, radii=radii, chi_ppm=chi_ppm)


def scanned(body: Inclusion, te_ms: float = 20.0) -> ComplexArray:
    voxels = uniform(te_ms)
    voxels.add(body)
    return voxels.signal(voxels.everywhere)


def swi(signal: ComplexArray) -> FloatArray:
    return weighted(signal, high_pass_phase(signal, low_pass(signal, (1, 1, 1))))


@pytest.mark.parametrize(("shape", "spacing"), [((64, 64, 64), (1, 1, 1)), ((64, 64, 40), (1, 1, 1.6))])
@pytest.mark.parametrize("chi_ppm", [1.0, -2.0])
def test_the_field_of_a_sphere_is_that_of_a_dipole(shape, spacing, chi_ppm):
    radius, points = 9.0, lattice(shape, spacing)
    fine = points.divided((4, 4, 4))
    inside = sum(axis**2 for axis in np.ix_(*fine.axes)) <= radius**2
    sphere = inside.reshape(*np.stack([shape, (4, 4, 4)], 1).ravel()).mean((1, 3, 5))
    field = dipole_field((chi_ppm * sphere).astype(np.float32), spacing, pad_mm=64)

    x, y, z = np.ix_(*points.axes)
    r = np.sqrt(x**2 + y**2 + z**2)
    expected = chi_ppm / 3 * (radius / r) ** 3 * (3 * (z / r) ** 2 - 1)
    largest = 2 * abs(chi_ppm) / 3 * (radius / r) ** 3
    around = (r > radius + 2 * max(spacing)) & (r < 28)
    assert (np.abs(field - expected) / largest)[around].max() < 0.02
    assert np.abs(field[r < radius - 2 * max(spacing)]).max() < 0.02 * abs(chi_ppm)


def test_a_far_copy_changes_nothing():
    chi = np.zeros((20, 20, 20), np.float32)
    chi[9:11, 9:11, 9:11] = 1
    near, far = (dipole_field(chi, (1, 1, 1), pad_mm=pad) for pad in (20, 80))
    assert np.abs(near - far).max() < 0.01 * np.abs(far).max()


def test_a_linear_field_dephases_a_voxel_as_a_sinc():
    for across in (0.2, 0.5, 0.8):
        cycles = np.broadcast_to((np.arange(24) * across / 4).astype(np.float32)[:, None, None], (24, 4, 4))
        signal = voxel_signal(np.ones((24, 4, 4), np.float32), cycles, (4, 4, 4))
        assert np.abs(signal[2:-2]) == pytest.approx(np.sinc(across), abs=0.01)


def test_the_phase_is_negative_where_the_field_is_high():
    signal = voxel_signal(np.ones((4, 4, 4), np.float32), np.full((4, 4, 4), 0.1, np.float32), (2, 2, 2))
    assert np.angle(signal) == pytest.approx(-0.2 * np.pi)


def test_blooming_grows_with_the_echo_time():
    dark = [(np.abs(scanned(ball(1.0, 1.5), te_ms)) < 0.7).sum() for te_ms in (5.0, 10.0, 20.0, 40.0)]
    assert dark == sorted(set(dark)), "each echo time shows more dark voxels than the one before"
    assert dark[-1] > 3 * 4 / 3 * np.pi * 1.5**3


def test_blooming_grows_with_the_susceptibility():
    dark = [(np.abs(scanned(ball(chi, 1.5))) < 0.7).sum() for chi in (0.3, 1.0, 3.0)]
    assert dark == sorted(set(dark))


def test_a_calcification_is_as_dark_as_a_bleed_and_opposite_in_phase():
    bleed, calcium = scanned(ball(1.2)), scanned(ball(-1.2, kind="calcification"))
    middle = (SIDE // 2,) * 3
    assert abs(bleed[middle]) < 0.4
    assert abs(calcium[middle]) < 0.4
    seen = (np.abs(bleed) > 0.3) & (np.abs(np.angle(bleed)) > 0.02)
    np.testing.assert_allclose(np.angle(calcium[seen]), -np.angle(bleed[seen]), atol=1e-3)
    above = (SIDE // 2, SIDE // 2, SIDE // 2 + 3)
    assert np.angle(bleed[above]) < 0 < np.angle(calcium[above])


def test_a_vein_is_darker_in_swi_than_in_magnitude():
    along = np.arange(-20, 20, 0.25, dtype=np.float32)
    points = np.stack([np.full_like(along, 0.5), np.full_like(along, 0.5), along], 1)
    vein = Inclusion(kind="vein", points=points, radii=np.full(len(along), 0.6, np.float32), chi_ppm=0.4)
    voxels = uniform(veins=(vein,))
    signal = voxels.signal(voxels.everywhere)
    inside = (SIDE // 2, SIDE // 2, SIDE // 2)
    magnitude, suppressed = np.abs(signal)[inside], swi(signal)[inside]
    assert np.angle(signal[inside]) < -0.2
    assert suppressed < 0.6 * magnitude < 0.6


def test_the_phase_mask_is_taken_to_the_fourth_power():
    """It falls from 1 at a phase of 0 to 0 at −π, and is 1 for all positive phase."""
    phase = np.array([0, np.pi / 2, -np.pi / 4, -np.pi / 2, -np.pi], np.float32)
    shown = weighted(np.full(5, 2, np.complex64), phase)
    assert shown == pytest.approx(2 * np.array([1, 1, 0.75, 0.5, 0]) ** 4)


def test_the_filter_takes_smooth_phase_off_and_leaves_that_of_small_bodies():
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    smooth = np.exp(1j * 6 * (x[:, None, None] ** 2 + x[None, :, None])).astype(np.complex64) * np.ones(4, np.complex64)
    middle = (slice(16, -16), slice(16, -16))
    assert np.abs(high_pass_phase(smooth, low_pass(smooth, (1, 1, 1)))[middle]).max() < 0.15
    spot = smooth.copy()
    spot[32, 32] *= np.exp(-1j).astype(np.complex64)
    assert high_pass_phase(spot, low_pass(spot, (1, 1, 1)))[32, 32].max() < -0.7


@pytest.mark.parametrize("radius", [0.15, 0.25, 0.6, 1.2])
def test_a_tube_keeps_its_volume(radius):
    along = np.arange(-8, 8, 0.1, dtype=np.float32)
    points = np.stack([0.07 * along, 0.03 * along, along], 1)
    tube = Inclusion(kind="vein", points=points, radii=np.full(len(along), radius, np.float32), chi_ppm=0.4)
    box = lattice((24, 24, 24), (0.5, 0.5, 0.5))
    assert fill([tube], box).sum() * 0.125 == pytest.approx(np.pi * radius**2 * 12, rel=0.15)


def test_bodies_are_found_where_they_lie_and_nowhere_else():
    box = lattice((20, 20, 20), (0.5, 0.5, 0.5))
    shares = fill([ball(1.0, radius=2.0)], box)
    x, y, z = np.ix_(*box.axes)
    distance = np.sqrt((x - 0.5) ** 2 + (y - 0.5) ** 2 + (z - 0.5) ** 2)
    assert (shares[distance < 1.7] == 1).all()
    assert not shares[distance > 2.3].any()
    assert not fill([], box).any()


def test_values_are_resampled_where_they_lie():
    coarse, fine = lattice((6, 7, 8), (2, 2, 2)), lattice((10, 10, 10), (0.9, 0.9, 0.9))
    x, y, z = np.ix_(*coarse.axes)
    ramp = (x + 2 * y - z).astype(np.float32)
    x, y, z = np.ix_(*fine.axes)
    np.testing.assert_allclose(resample(ramp, coarse, fine), x + 2 * y - z, atol=1e-4)


def test_cycles_at_the_echo_time():
    """1 ppm at 3 T is 127.7 Hz, so 2.55 cycles in 20 ms."""
    assert pytest.approx(2.555, abs=0.01) == CYCLES_PER_PPM_MS * 20
