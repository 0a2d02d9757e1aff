import numpy as np
import pytest

from lesionforge.preprocessing.lesions.lesion_intensity import absolute, draw, measure, paint, relative, surroundings
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.seeding import generator
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from tests.synthesizers.models import ball_mask, make_sample, train_pix2pix

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
CLASSES = (1, 2, 5)


def two_classes(spatial_dims):
    shape = (24,) * spatial_dims
    return ball_mask(shape, [12] * spatial_dims, 6) + ball_mask(shape, [12] * spatial_dims, 3)


@DIMS
def test_what_is_painted_is_what_is_measured(spatial_dims):
    mask = two_classes(spatial_dims)
    image = generator(0).uniform(-1, 1, (2, *mask.shape)).astype(np.float32)
    found = measure(image, mask, CLASSES)
    assert found.shape == (3, 2)
    assert found[0] == pytest.approx(image[:, mask == 1].mean(axis=1), abs=1e-6)
    assert np.isnan(found[2]).all()
    painted = paint(found, mask, CLASSES)
    assert painted.shape == image.shape
    assert np.array_equal(painted != 0, np.broadcast_to(mask > 0, image.shape))
    assert measure(painted, mask, CLASSES)[:2] == pytest.approx(found[:2], abs=1e-6)


@DIMS
def test_what_is_around_is_a_ring_beyond_the_margin_without_other_lesions(spatial_dims):
    shape, spacing = (40,) * spatial_dims, (1.0,) * spatial_dims
    mask = ball_mask(shape, [20] * spatial_dims, 5)
    image = np.full((1, *shape), 0.2, np.float32)
    near, _ = hole_around(mask, 3.0, spacing)
    image[:, near] = 0.9
    assert surroundings(image, mask, spacing, margin_mm=3.0) == pytest.approx([0.2])
    other = np.indices(shape)[0] > 20
    image[:, other] = 0.8
    image[:, 26:] = 0.8
    assert surroundings(image, mask, spacing, margin_mm=3.0, leave_out=other) == pytest.approx([0.2])
    assert surroundings(image, mask, spacing, margin_mm=3.0, leave_out=~other) == pytest.approx([0.8])
    everywhere = np.ones(shape, np.int16)
    assert surroundings(image, everywhere, spacing, margin_mm=3.0) == pytest.approx([np.median(image)])


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0), (1.0, 1.0, 4.0)])
def test_what_is_around_is_the_median_of_8_mm(spacing):
    shape = (48,) * len(spacing)
    mask = ball_mask(shape, [24] * len(spacing), 3)
    to_margin, to_end = (hole_around(mask, width, spacing)[0] for width in (3.01, 11.01))
    ring = to_end & ~to_margin
    for level in (-0.4, 0.4):
        image = np.where(ring, level, -level).astype(np.float32)[None]
        assert surroundings(image, mask, spacing, margin_mm=3.0) == pytest.approx([level])
        inner, _ = hole_around(mask, 6.0, spacing)
        image[:, ring & inner] = -1
        assert np.mean(image[:, ring] == -1) < 0.5
        assert surroundings(image, mask, spacing, margin_mm=3.0) == pytest.approx([level])


def test_a_lesions_contrast_is_carried_to_a_darker_place():
    """Counted from black, which is -1: half as bright surroundings have a lesion half as bright."""
    lesion, around = np.array([[0.2]], np.float32), np.array([0.0], np.float32)
    assert absolute(relative(lesion, around), around) == pytest.approx(lesion)
    assert absolute(relative(lesion, around), np.array([-0.5], np.float32)) == pytest.approx(np.array([[-0.4]]))
    assert absolute(np.array([[99.0]], np.float32), around) == 1
    black = np.array([-1.0], np.float32)
    assert absolute(relative(lesion, black), black) == pytest.approx(lesion)


def test_new_lesions_get_the_intensities_of_one_training_crop_with_their_classes():
    known = np.array([[[1.0], [2.0], [np.nan]], [[3.0], [np.nan], [np.nan]], [[5.0], [6.0], [np.nan]]], np.float32)
    rng = generator(0)
    only_first, both = np.array([0, 1], np.int16), np.array([1, 2], np.int16)
    drawn = {tuple(draw(known, only_first, CLASSES, rng).ravel()) for _ in range(50)}
    assert drawn == {(1.0, 2.0, 1.0), (3.0, 4.0, 1.0), (5.0, 6.0, 1.0)}
    assert {tuple(draw(known, both, CLASSES, rng).ravel()) for _ in range(50)} == {(1.0, 2.0, 1.0), (5.0, 6.0, 1.0)}
    assert draw(known, np.array([5], np.int16), CLASSES, rng)[2, 0] == 1.0


@DIMS
@pytest.mark.parametrize("condition", ["scan", "inpaint"])
def test_a_model_knows_the_intensities_of_its_training_lesions(condition, spatial_dims, cohorts, tmp_path):
    model = train_pix2pix(cohorts[spatial_dims], tmp_path / "m", spatial_dims=spatial_dims, condition=condition)
    assert model.intensities.shape[1:] == (1, 1)
    assert len(np.unique(model.intensities)) > 1
    assert (model.intensities > 1).all(), "lesions of the simulated scans are bright"
    loaded = Pix2Pix.from_tensors(model.info, model.tensors())
    assert np.array_equal(loaded.intensities, model.intensities)


@DIMS
def test_the_intensity_asked_for_reaches_the_generator(spatial_dims, cohorts, tmp_path):
    images = []
    for multiple in (0.5, 2.0):
        model = train_pix2pix(cohorts[spatial_dims], tmp_path / f"{multiple}", spatial_dims=spatial_dims)
        model.intensities = np.full_like(model.intensities, multiple)
        sample = make_sample((24,) * spatial_dims)
        images.append(model.synthesize(sample, ball_mask((24,) * spatial_dims, [12] * spatial_dims, 4), generator(0)))
    assert not np.array_equal(images[0].image, images[1].image)
