"""Where bodies of a simulated SWI head lie: bleeds near the grey-white border, veins through slices; and its noise."""

import numpy as np
import pytest

from lesionforge.simulation.head import Anatomy, Grid, deform, random_deformation
from lesionforge.simulation.microbleeds import draw_microbleeds
from lesionforge.simulation.swi_subject import scan_signal
from lesionforge.simulation.veins import STEP_MM, draw_veins

GRID = Grid.covering((3.0, 3.0, 3.0))


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return deform(2, GRID, random_deformation(np.random.default_rng(0), GRID))


def voxels_of(places: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(np.rint((places - GRID.affine[:3, 3]) / GRID.spacing).astype(int).T)


def test_many_bleeds_lie_near_the_border_of_grey_and_white_matter(anatomy: Anatomy) -> None:
    """They do so more often than voxels of the brain do, and not all of them."""
    rng = np.random.default_rng(1)
    everywhere = np.ones(GRID.shape, bool)
    bleeds = [bleed for _ in range(60) for bleed in draw_microbleeds(anatomy, GRID, everywhere, rng)]
    border = (np.minimum(anatomy.gm, anatomy.wm) > 0.2) & (anatomy.parenchyma > 0.9)
    share = border[voxels_of(np.stack([bleed.centre for bleed in bleeds]))].mean()
    assert 1.3 * border[anatomy.parenchyma > 0.5].mean() < share < 0.9


def test_some_veins_run_through_the_slice_and_some_along_it(anatomy: Anatomy) -> None:
    """A vein within 30° of the slice's normal looks round in the slice."""
    veins = draw_veins(anatomy, GRID, 0.4, np.random.default_rng(1))
    steps = np.concatenate([np.diff(vein.points, axis=0) for vein in veins]) / STEP_MM
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), 1, rtol=1e-3)
    through = np.abs(steps[:, 2]) > np.cos(np.radians(30))
    along = np.abs(steps[:, 2]) < np.sin(np.radians(30))
    assert through.mean() > 0.1
    assert along.mean() > 0.2


def test_veins_bend_smoothly(anatomy: Anatomy) -> None:
    for vein in draw_veins(anatomy, GRID, 0.4, np.random.default_rng(1)):
        steps = np.diff(vein.points, axis=0) / STEP_MM
        assert (steps[1:] * steps[:-1]).sum(1).min() > 0.5
        assert 0.1 < vein.radii.min() <= vein.radii.max() < 1.5


def test_noise_is_that_of_the_complex_signal() -> None:
    """In air the magnitude is Rayleigh distributed and the phase uniform; in tissue, noise is Gaussian.

    So the SWI of air, magnitude times the phase mask, has a squared mean of 0.51 of its mean square; noise that was
    added to the magnitude and cut at 0 would have 0.32, its absolute value 0.64.
    """
    rng, signal = np.random.default_rng(0), np.zeros((64, 64, 8), np.complex64)
    air = scan_signal(signal, (1, 1, 1), rng)
    assert (air >= 0).all()
    assert air.mean() ** 2 / (air**2).mean() == pytest.approx(0.51, abs=0.03)
    tissue = scan_signal(np.ones_like(signal), (1, 1, 1), rng)
    assert 0.01 < tissue.std() / tissue.mean() < 0.06
    assert abs(float(((tissue - tissue.mean()) ** 3).mean() / tissue.std() ** 3)) < 0.5
