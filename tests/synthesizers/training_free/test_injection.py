import numpy as np
import pytest

from lesionforge.preprocessing.lesions.lesion_intensity import measure, relative, surroundings
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.synthesizers.training_free.injection import Injection
from tests.helpers import NESTED, tiny_cohort
from tests.synthesizers.models import ball_mask, fit_library, make_sample, read_samples

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
SHAPES = {2: (48, 48), 3: (32, 32, 16)}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    return {
        dims: tiny_cohort(tmp_path_factory.mktemp(f"c{dims}"), spatial_dims=dims, n_subjects=3, labels=NESTED)
        for dims in (2, 3)
    }


def contrast(image, mask, spacing, classes, margin_mm):
    around = surroundings(image, mask, spacing, margin_mm=margin_mm)
    return relative(measure(image, mask, classes), around)


@BOTH
def test_the_contrast_of_a_training_lesion_is_injected_and_texture_stays(spatial_dims, cohorts, tmp_path):
    model = fit_library("injection", cohorts[spatial_dims], tmp_path / "model", margin_mm=0)
    sample = make_sample(SHAPES[spatial_dims])
    sample.image[:] = sample.image * 0.1 - 0.6
    centre = [n // 2 for n in SHAPES[spatial_dims]]
    mask = ball_mask(SHAPES[spatial_dims], centre, 6)
    mask[ball_mask(SHAPES[spatial_dims], centre, 3) > 0] = 2
    drawn = model.synthesize(sample, mask, generator(1))
    found = contrast(drawn.image, mask, sample.spacing, (1, 2), 0)
    assert min(np.abs(found - known).max() for known in model.contrasts) < 1e-3
    assert np.array_equal(drawn.image[:, mask == 0], sample.image[:, mask == 0])
    for value in (1, 2):
        before, after = (s.image[0][mask == value] for s in (sample, drawn))
        assert np.corrcoef(before, after)[0, 1] > 0.999
    assert np.array_equal(drawn.label, mask)
    assert (found > 1.1).all()


@BOTH
def test_the_change_fades_over_the_margin_alone(spatial_dims, cohorts, tmp_path):
    model = fit_library("injection", cohorts[spatial_dims], tmp_path / "model", margin_mm=3)
    sample = make_sample(SHAPES[spatial_dims])
    sample.image[:] = -0.5
    mask = ball_mask(SHAPES[spatial_dims], [n // 2 for n in SHAPES[spatial_dims]], 4)
    drawn = model.synthesize(sample, mask, generator(1))
    from scipy import ndimage

    distance = ndimage.distance_transform_edt(mask == 0)
    gain = drawn.image[0] - sample.image[0]
    assert (gain[distance >= 3] == 0).all()
    assert (gain[(distance > 0) & (distance < 3)] > 0).all()
    assert gain[(distance > 0) & (distance < 1.5)].min() > gain[(distance > 2) & (distance < 3)].max()
    assert model.margin_mm() == 3


@BOTH
def test_another_seed_injects_another_contrast_and_a_saved_model_the_same(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    model = fit_library("injection", cohort, tmp_path / "model")
    loaded = load_synthesizer(tmp_path / "model")
    assert isinstance(loaded, Injection)
    sample = read_samples(cohort)[0]
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 3)
    images = [m.synthesize(sample, mask, generator(3)).image for m in (model, loaded)]
    assert np.array_equal(*images)
    assert len({model.synthesize(sample, mask, generator(seed)).image.tobytes() for seed in range(8)}) > 1


@BOTH
def test_an_empty_mask_changes_nothing(spatial_dims, cohorts, tmp_path):
    model = fit_library("injection", cohorts[spatial_dims], tmp_path / "model")
    sample = make_sample(SHAPES[spatial_dims])
    assert model.synthesize(sample, np.zeros(SHAPES[spatial_dims], np.int16), generator(0)) is sample
