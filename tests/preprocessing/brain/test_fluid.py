"""Ventricles are told from tissue where the image shows them: on simulated heads, whose tissue is known."""

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.preprocessing.brain.fluid import find_fluid
from lesionforge.simulation.simulated_subject import Simulation, simulate_subject

both = pytest.mark.parametrize("spatial_dims", [2, 3])
contrasts = pytest.mark.parametrize(
    ("contrast", "lesion"), [("FLAIR", "white_matter"), ("T1", "tumour"), ("DWI", "stroke")]
)
CSF = 1


@cache
def head(contrast="FLAIR", lesion="white_matter", thick=2.0):
    """Return image, anatomy and label of a simulated head, and its spacing."""
    simulation = Simulation(
        n_subjects=1,
        spatial_dims=3,
        contrasts=(contrast,),
        lesion=lesion,
        healthy_fraction=0.0,
        spacing=2.0,
        slice_thickness=thick,
        skull=False,
        seed=0,
    )
    subject = simulate_subject(simulation, 0)
    return subject.image[0].astype(np.float32), subject.anatomy, subject.label > 0, (2.0, 2.0, thick)


def ventricles(anatomy, spacing):
    """Return voxels in the middle of the brain that are fluid and lie between fluid within their slice."""
    depth = ndimage.distance_transform_edt(np.pad(anatomy > 0, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    cross = ndimage.generate_binary_structure(2, 1)[..., None]
    return ndimage.binary_erosion((anatomy == CSF) & (depth > 30), cross)


@contrasts
def test_ventricles_are_found_and_tissue_is_kept(contrast, lesion):
    image, anatomy, lesions, spacing = head(contrast, lesion)
    fluid = find_fluid(image, anatomy > 0, spacing, lesions=lesions)
    assert fluid[ventricles(anatomy, spacing) & ~lesions].mean() >= 0.8
    assert fluid[anatomy > CSF].mean() <= 0.03
    assert not fluid[lesions].any()
    assert not fluid[anatomy == 0].any()


@contrasts
def test_ventricles_are_found_in_a_thin_slice(contrast, lesion):
    volume, anatomy, lesions, spacing = head(contrast, lesion)
    truth = ventricles(anatomy, spacing) & ~lesions
    z = int(truth.sum(axis=(0, 1)).argmax())
    fluid = find_fluid(volume[..., z], anatomy[..., z] > 0, (2.0, 2.0), lesions=lesions[..., z])
    assert fluid.shape == volume.shape[:2]
    assert fluid[truth[..., z]].mean() >= 0.75
    assert fluid[anatomy[..., z] > CSF].mean() <= 0.06  # in T1, a lone slice loses some cortex between sulci


def test_thick_slices_show_the_ventricles():
    image, anatomy, lesions, spacing = head(thick=4.0)
    fluid = find_fluid(image, anatomy > 0, spacing, lesions=lesions)
    assert fluid[ventricles(anatomy, spacing) & ~lesions].mean() >= 0.8
    assert fluid[anatomy > CSF].mean() <= 0.03


def test_bright_fluid_is_found_too():
    image, anatomy, lesions, spacing = head("T1", "tumour")
    inverted = np.where(anatomy > 0, 1.2 * image[anatomy > 0].max() - image, 0)
    fluid = find_fluid(inverted, anatomy > 0, spacing, lesions=lesions)
    assert fluid[ventricles(anatomy, spacing) & ~lesions].mean() >= 0.8
    assert fluid[anatomy > CSF].mean() <= 0.03


def test_direction_brightness_and_slice_axis_do_not_matter():
    image, anatomy, lesions, spacing = head(thick=4.0)
    brain = anatomy > 0
    fluid = find_fluid(image, brain, spacing, lesions=lesions)
    assert np.array_equal(find_fluid(image * np.float32(8), brain, spacing, lesions=lesions), fluid)
    turned = [np.moveaxis(part, -1, 0) for part in (image, brain, lesions)]
    assert np.array_equal(find_fluid(*turned[:2], (4.0, 2.0, 2.0), lesions=turned[2]), np.moveaxis(fluid, -1, 0))
    flipped = [np.flip(part, 0) for part in (image, brain, lesions)]
    assert np.mean(find_fluid(*flipped[:2], spacing, lesions=flipped[2]) == np.flip(fluid, 0)) > 0.99


def test_hounsfield_units():
    image, anatomy, lesions, spacing = head()
    units = np.where(anatomy > 0, 40 * image / image[anatomy > 1].mean(), -1000).astype(np.float32)
    fluid = find_fluid(units, anatomy > 0, spacing, lesions=lesions)
    assert fluid[ventricles(anatomy, spacing) & ~lesions].mean() >= 0.8


def flat_brain(spatial_dims):
    shape = (80, 96, 24)[:spatial_dims]
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    return (grid**2).sum(axis=0) < 0.8, grid, (2.0, 2.0, 6.0)[:spatial_dims]


@both
@pytest.mark.parametrize("kind", ["constant", "noise", "shading", "dark in the middle", "two tissues"])
def test_nothing_is_called_fluid_where_none_is_shown(spatial_dims, kind):
    brain, grid, spacing = flat_brain(spatial_dims)
    noise = np.random.default_rng(0).normal(0, 8, brain.shape)
    radius = np.sqrt((grid**2).sum(axis=0))
    image = {
        "constant": np.full(brain.shape, 100.0),
        "noise": 100 + noise,
        "shading": 100 + 40 * grid[0] + noise,
        "dark in the middle": 100 * (0.5 + 0.5 * radius) + noise,
        "two tissues": np.where(radius < 0.6, 100, 75) + noise,
    }[kind]
    image = np.where(brain, image, 0).astype(np.float32)
    for lesions in (None, np.zeros(brain.shape, bool)):
        assert find_fluid(image, brain, spacing, lesions=lesions) is None


@both
def test_a_brain_of_few_voxels_or_none_has_no_fluid(spatial_dims):
    brain = np.zeros((8, 8, 4)[:spatial_dims], bool)
    image = np.random.default_rng(0).random(brain.shape).astype(np.float32)
    assert find_fluid(image, brain, (1.0,) * spatial_dims) is None
    brain[3:5, 3:5] = True
    assert find_fluid(image, brain, (1.0,) * spatial_dims) is None


@both
def test_a_dark_lesion_on_one_side_is_not_fluid_even_if_it_is_unknown(spatial_dims):
    brain, grid, spacing = flat_brain(spatial_dims)
    lesion = brain & ((grid**2).sum(axis=0) < 0.3**2) & (grid[0] > 0.05)
    image = np.where(lesion, 30, np.where(brain, 100, 0)) + np.random.default_rng(0).normal(0, 4, brain.shape)
    image = np.clip(image, 0, None).astype(np.float32)
    assert find_fluid(image, brain, spacing) is None
    assert find_fluid(image, brain, spacing, lesions=lesion) is None


@pytest.mark.parametrize("known", [True, False])
@both
def test_a_bright_lesion_beside_a_ventricle_stays_out_of_the_fluid(spatial_dims, known):
    brain, grid, spacing = flat_brain(spatial_dims)
    beside = (np.abs(grid[1]) < 0.3) & (np.abs(grid[-1]) < 0.5)
    ventricle = brain & beside & (np.abs(grid[0]) < 0.15)
    lesion = brain & beside & (grid[0] >= 0.15) & (grid[0] < 0.3)
    image = np.select([ventricle, lesion, brain], [30, 190, 100], 0) + np.random.default_rng(0).normal(
        0, 4, brain.shape
    )
    image = np.clip(image, 0, None).astype(np.float32)
    fluid = find_fluid(image, brain, spacing, lesions=lesion if known else None)
    assert fluid[ventricle].mean() > 0.8
    assert not fluid[lesion].any()
    assert fluid[brain & ~ventricle].mean() < 0.01


@pytest.mark.slow
def test_fluid_of_simulated_susceptibility_weighted_scans_is_not_known():
    """It is only a quarter darker than tissue, and veins and bleeds are darker still, so nothing is called fluid."""
    image, anatomy, lesions, spacing = head("SWI", "microbleed")
    truth = ventricles(anatomy, spacing)
    assert 0.65 < image[truth].mean() / image[anatomy > CSF].mean() < 0.85
    for known in (lesions, None):
        assert find_fluid(image, anatomy > 0, spacing, lesions=known) is None
    z = int(truth.sum(axis=(0, 1)).argmax())
    assert find_fluid(image[..., z], anatomy[..., z] > 0, (2.0, 2.0)) is None
