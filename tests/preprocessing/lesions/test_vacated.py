"""Anatomy in the place of lesions that were taken away, in 2D and 3D."""

import numpy as np
import pytest

from lesionforge.preprocessing.lesions.vacated import fill_vacated
from tests.masks.scans import SPACINGS, ball, make_scan

both = pytest.mark.parametrize("spatial_dims", [2, 3])
OUTSIDE, LEFT, RIGHT, FLUID = range(4)


def hollow_brain(spatial_dims, share=0.35):
    """A brain of two tissues with a ball of lesion that the map shows as outside, with a rim of fluid."""
    brain = make_scan(spatial_dims).region
    spacing, half = SPACINGS[spatial_dims], brain.shape[0] // 2
    anatomy = np.where(brain, RIGHT, OUTSIDE).astype(np.int16)
    anatomy[:half][brain[:half]] = LEFT
    centre = [share * brain.shape[0], *((n - 1) / 2 for n in brain.shape[1:])]
    rim, lesion = (ball(brain.shape, centre, [mm / step for step in spacing]) for mm in (12.0, 10.0))
    anatomy[rim], anatomy[lesion] = FLUID, OUTSIDE
    return anatomy, lesion.astype(np.int16), spacing


@both
def test_the_place_of_a_lesion_is_the_nearest_parenchyma_and_the_rest_is_as_it_was(spatial_dims):
    anatomy, lesion, spacing = hollow_brain(spatial_dims)
    before = anatomy.copy()
    filled = fill_vacated(anatomy, lesion, parenchyma=(LEFT, RIGHT), spacing=spacing)
    assert (filled[lesion > 0] == LEFT).all()
    assert np.array_equal(filled[lesion == 0], before[lesion == 0])
    assert np.array_equal(anatomy, before)
    anatomy, lesion, spacing = hollow_brain(spatial_dims, share=0.5)
    filled = fill_vacated(anatomy, lesion, parenchyma=(LEFT, RIGHT), spacing=spacing)
    middle = anatomy.shape[0] // 2
    assert set(np.unique(filled[: middle - 1][lesion[: middle - 1] > 0])) == {LEFT}
    assert set(np.unique(filled[middle + 1 :][lesion[middle + 1 :] > 0])) == {RIGHT}


@both
def test_the_edge_of_a_lesion_is_not_taken_for_tissue(spatial_dims):
    anatomy, lesion, spacing = hollow_brain(spatial_dims)
    edge = (np.roll(lesion, 1, axis=0) | np.roll(lesion, -1, axis=0)) & (1 - lesion)
    anatomy[edge > 0] = RIGHT
    filled = fill_vacated(anatomy, lesion, parenchyma=(LEFT, RIGHT), spacing=spacing)
    assert (filled[lesion > 0] == LEFT).all()


@both
def test_without_names_every_value_but_0_is_parenchyma(spatial_dims):
    anatomy, lesion, spacing = hollow_brain(spatial_dims)
    anatomy[anatomy == FLUID] = LEFT
    assert (fill_vacated(anatomy, lesion, parenchyma=(), spacing=spacing)[lesion > 0] == LEFT).all()


@both
def test_there_is_nothing_to_fill_without_lesion_map_or_parenchyma(spatial_dims):
    anatomy, lesion, spacing = hollow_brain(spatial_dims)
    assert fill_vacated(None, lesion, parenchyma=(), spacing=spacing) is None
    for without, parenchyma in ((None, ()), (np.zeros_like(lesion), ()), (lesion, (9,))):
        assert np.array_equal(fill_vacated(anatomy, without, parenchyma=parenchyma, spacing=spacing), anatomy)
