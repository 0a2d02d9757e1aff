"""TumorCP: lesions are varied as objects and pasted as they are."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.errors import ConfigError, PlacementError
from lesionforge.preprocessing.lesions.lesion_library import cut_lesion
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.synthesizers.training_free.object_paste import (
    ObjectPasteConfig,
    blurred,
    displacement,
    moved,
    with_gamma,
)
from tests.helpers import NESTED, tiny_cohort
from tests.synthesizers.models import ball_mask, fit_library, make_sample, read_samples

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
SHAPES = {2: (64, 64), 3: (32, 32, 16)}
STILL = {"prob": 0.0}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A cohort and a fitted model that leaves lesions as they are, by dimensions."""
    made = {}
    for dims in (2, 3):
        folder = tmp_path_factory.mktemp(f"objects{dims}")
        cohort = tiny_cohort(folder / "c", spatial_dims=dims, n_subjects=3, labels=NESTED)
        made[dims] = cohort, fit_library("object_paste", cohort, folder / "model", **STILL), folder / "model"
    return made


def nothing(sample):
    return np.zeros_like(sample.label)


def cut(spatial_dims, spacing=None, *, radius=5):
    """A lesion of two classes, brighter along the first axis."""
    shape = {2: (24, 24), 3: (24, 24, 24)}[spatial_dims]
    label = ball_mask(shape, [n // 2 for n in shape], radius)
    label[ball_mask(shape, [n // 2 for n in shape], radius // 2) > 0] = 2
    sample = make_sample(shape, spacing=spacing, label=label)
    sample.image[0] = np.indices(shape)[0] / 24 - 0.5
    return cut_lesion(sample, 0, context_mm=3)


def options(**given):
    """Nothing is changed but what is given."""
    still = {"scale": (1, 1), "rotation_deg": 0, "elastic_alpha": (0, 0)}
    return ObjectPasteConfig(**{"prob": 1.0, **still, **given})


@BOTH
def test_a_lesion_is_pasted_with_its_own_intensities_and_classes(spatial_dims, models):
    cohort, model, _ = models[spatial_dims]
    (target,) = read_samples(cohort.subset(["case_001"]))
    drawn = model.synthesize(target, nothing(target), generator(0))
    new = drawn.label != target.label
    assert new.any()
    assert not (new & (target.label > 0)).any()
    assert np.array_equal(drawn.image[:, ~new], target.image[:, ~new])
    known = np.concatenate([cut.image_for(target)[0][cut.label > 0] for cut in model.lesions])
    assert np.isin(drawn.image[0][new].round(4), known.round(4)).all()
    assert target.region[new].all()


@BOTH
@pytest.mark.parametrize(("own", "others"), [(1.0, 0.0), (0.0, 1.0)])
def test_whose_lesion_is_pasted_is_an_option(own, others, spatial_dims, models):
    cohort, model, _ = models[spatial_dims]
    sample = read_samples(cohort.subset(["case_001"]))[0]
    info = model.info.model_copy(update={"config": {**model.info.config, "own": own, "others": others}})
    model = type(model)(info, model.lesions)
    for seed in range(5):
        (lesion,) = model.chosen(sample, generator(seed))
        assert (info.training_cases[lesion.case] == "case_001") == (own == 1)
    stranger = replace(sample, case_id="stranger")
    if own:
        with pytest.raises(PlacementError, match="no lesion to paste"):
            model.chosen(stranger, generator(0))
    else:
        assert len(model.chosen(stranger, generator(0))) == 1


@BOTH
def test_by_default_two_of_three_drawings_paste_both(spatial_dims, models):
    """0.64 of 0.96: both, given that one is."""
    cohort, model, _ = models[spatial_dims]
    sample, rng = read_samples(cohort.subset(["case_001"]))[0], generator(3)
    counts = [len(model.chosen(sample, rng)) for _ in range(600)]
    assert set(counts) == {1, 2}
    assert np.mean([count == 2 for count in counts]) == pytest.approx(2 / 3, abs=0.06)


@BOTH
def test_the_same_seed_pastes_the_same_also_with_a_loaded_model(spatial_dims, models):
    cohort, model, folder = models[spatial_dims]
    sample, loaded = read_samples(cohort)[0], load_synthesizer(folder)
    images = [m.synthesize(sample, nothing(sample), generator(5)).image for m in (model, loaded)]
    assert np.array_equal(*images)
    seeds = {model.synthesize(sample, nothing(sample), generator(seed)).image.tobytes() for seed in range(4)}
    assert len(seeds) == 4


@BOTH
def test_without_room_there_is_no_lesion(spatial_dims, models):
    cohort, model, _ = models[spatial_dims]
    sample = read_samples(cohort)[0]
    with pytest.raises(PlacementError, match="no lesion fits"):
        model.synthesize(replace(sample, region=np.zeros_like(sample.region)), nothing(sample), generator(0))


@BOTH
def test_image_and_label_are_scaled_alike(spatial_dims):
    lesion = cut(spatial_dims)
    for voxels in (0.8, 1.25):
        image, label = moved(lesion, lesion.image, lesion.spacing, options(scale=(voxels, voxels)), generator(0))
        ratio = np.count_nonzero(label) / np.count_nonzero(lesion.label)
        assert ratio == pytest.approx(voxels**-spatial_dims, rel=0.2)
        slope = np.diff(image[0], axis=0)[(label[1:] > 0) & (label[:-1] > 0)]
        assert slope == pytest.approx(voxels / 24, abs=2e-3)
        assert set(np.unique(label)) == {0, 1, 2}


@BOTH
def test_image_and_label_are_turned_alike(spatial_dims):
    lesion = cut(spatial_dims)
    lesion.label[lesion.image[0] < -0.05] = 0
    image, label = moved(lesion, lesion.image, lesion.spacing, options(rotation_deg=180), generator(1))
    wide = [np.count_nonzero(part) for part in (label, lesion.label)]
    assert wide[0] == pytest.approx(wide[1], rel=0.1)
    assert image[0][label > 0].min() == pytest.approx(-0.05, abs=0.04)
    gradient = np.array([np.diff(image[0], axis=a)[_inner(label, a)].mean() for a in range(spatial_dims)])
    assert np.linalg.norm(gradient) == pytest.approx(1 / 24, rel=0.05)
    assert abs(gradient[0]) < 0.95 / 24


def _inner(label, axis):
    inside = np.moveaxis(label > 0, axis, 0)
    return np.moveaxis(inside[1:] & inside[:-1], 0, axis)


@BOTH
def test_a_lesion_keeps_its_size_on_another_spacing(spatial_dims):
    lesion, spacing = cut(spatial_dims), (0.5, *[2.0] * (spatial_dims - 1))
    _, label = moved(lesion, lesion.image, spacing, options(), generator(0))
    volumes = [np.count_nonzero(part) * np.prod(mm) for part, mm in ((label, spacing), (lesion.label, lesion.spacing))]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.3)


@BOTH
def test_a_lesion_between_the_voxels_is_one_voxel(spatial_dims):
    lesion = cut(spatial_dims, radius=1)
    image, label = moved(lesion, lesion.image, (30.0,) * spatial_dims, options(), generator(0))
    assert label.size == image[0].size == 1
    assert label.item() > 0


def test_the_displacement_is_as_strong_as_published():
    """A field of alpha 900 and sigma 9 has a standard deviation of some 2.9 voxels far from the ends."""
    stronger = 900 / np.sqrt(3) * (2 * np.sqrt(np.pi) * 9) ** -1.5
    field = displacement((400, 400), 900, 9, generator(0))[:, 50:-50, 50:-50]
    assert field.std() == pytest.approx(stronger, rel=0.15)
    small = displacement((30, 30, 30), 900, 3, generator(0))[:, 9:-9, 9:-9, 9:-9]
    assert small.std() == pytest.approx(900 / np.sqrt(3) * (2 * np.sqrt(np.pi) * 3) ** -1.5, rel=0.3)


def test_gamma_keeps_mean_spread_and_order():
    values = generator(0).uniform(-0.5, 0.5, (2, 200)).astype(np.float32)
    for gamma in (0.7, 1.5):
        changed = with_gamma(values, gamma)
        assert changed.mean(1) == pytest.approx(values.mean(1), abs=1e-3)
        assert changed.std(1) == pytest.approx(values.std(1), abs=1e-3)
        assert np.array_equal(np.argsort(changed[0]), np.argsort(values[0]))
        assert np.abs(changed - values).max() > 0.02
    flat = np.full((1, 5), 0.3, np.float32)
    assert with_gamma(flat, 1.5) == pytest.approx(flat)


@BOTH
def test_blur_takes_nothing_from_beside_the_lesion(spatial_dims):
    lesion = cut(spatial_dims)
    image = np.where(lesion.label > 0, 0.5, -1)[None].astype(np.float32)
    image[:, *(n // 2 for n in lesion.label.shape)] = 0.9
    smooth = blurred(image, lesion.label, 2.0)[0][lesion.label > 0]
    assert smooth.min() >= 0.5 - 1e-5
    assert 0.5 < smooth.max() < 0.6
    assert (blurred(image, lesion.label, 2.0)[0][lesion.label == 0] == 0).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [({"own": 0, "others": 0}, "one of them must be above 0"), ({"gamma": (1.5, 0.7)}, "the smaller first")],
)
def test_options_that_make_no_sense_are_refused(given, said, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=1)
    with pytest.raises(ConfigError, match=said):
        fit_library("object_paste", cohort, tmp_path / "m", **given)


@BOTH
def test_every_change_leaves_a_lesion_to_paste(spatial_dims, models):
    """All changes at once, with the published ranges."""
    cohort, model, _ = models[spatial_dims]
    info = model.info.model_copy(update={"config": {**model.info.config, "prob": 1.0}})
    changing = type(model)(info, model.lesions)
    sample = read_samples(cohort)[0]
    for seed in range(3):
        drawn = changing.synthesize(sample, nothing(sample), generator(seed))
        new = drawn.label != sample.label
        assert ndimage.label(new)[1] >= 1
        assert np.isfinite(drawn.image).all()
        assert np.array_equal(drawn.image[:, ~new], sample.image[:, ~new])
