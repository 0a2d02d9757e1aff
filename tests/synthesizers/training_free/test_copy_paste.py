from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.errors import ConfigError, OutputError
from lesionforge.masks.bank import MaskBank
from lesionforge.preprocessing.lesions.lesion_library import (
    cut_lesion,
    library_from_tensors,
    library_tensors,
    one_by_one,
)
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import SYNTHESIZERS, load_synthesizer
from lesionforge.synthesizers.training_free.copy_paste import best_fit, solve_poisson, stretch
from tests.helpers import tiny_cohort
from tests.synthesizers.models import ball_mask, fit_library, make_sample, read_samples, tiny_training

EDGES = ("hard", "feathered", "poisson")
DIMS = [2, 3]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Cohorts of one lesion a case, so that a mask is one lesion."""
    return {
        dims: tiny_cohort(tmp_path_factory.mktemp(f"single{dims}"), spatial_dims=dims, channels=("FLAIR", "T1"), seed=4)
        for dims in DIMS
    }


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_banks_own_mask_brings_its_own_lesion(spatial_dims, single, tmp_path):
    """Pasted with a hard edge, unedited, its intensities are those it has in its own scan."""
    model = fit_library("copy_paste", single[spatial_dims], tmp_path / "m", edge="hard")
    samples = read_samples(single[spatial_dims], model.info.preprocessing)
    bank = MaskBank(single[spatial_dims])
    for sample, lesion in zip(samples, bank.lesions, strict=True):
        shape = sample.image.shape[1:]
        target = make_sample(shape, channels=2, spacing=sample.spacing)
        mask = np.zeros(shape, np.int16)
        corner = [min(2 + i, n - m) for i, (n, m) in enumerate(zip(shape, lesion.mask.shape, strict=True))]
        mask[tuple(slice(c, c + n) for c, n in zip(corner, lesion.mask.shape, strict=True))] = lesion.mask
        drawn = model.synthesize(target, mask, generator(0))
        assert np.array_equal(drawn.image[:, mask > 0], sample.image[:, sample.label > 0])
        assert np.array_equal(drawn.image[:, mask == 0], target.image[:, mask == 0])
        assert np.array_equal(drawn.label, mask)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("edge", EDGES)
def test_a_saved_library_pastes_the_same_bytes(edge, spatial_dims, rich_cohorts, tmp_path):
    model = fit_library("copy_paste", rich_cohorts[spatial_dims], tmp_path / "m", edge=edge)
    loaded = load_synthesizer(tmp_path / "m")
    sample = read_samples(rich_cohorts[spatial_dims], model.info.preprocessing)[0]
    shape = sample.image.shape[1:]
    mask = ball_mask(shape, [n // 3 for n in shape], 4) + ball_mask(shape, [n // 3 for n in shape], 2)
    first, second = (m.synthesize(sample, mask, generator(5)) for m in (model, loaded))
    assert first.image.tobytes() == second.image.tobytes()
    assert loaded.info == model.info
    with pytest.raises(OutputError):
        fit_library("copy_paste", rich_cohorts[spatial_dims], tmp_path / "m", edge=edge)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("darker", [1.0, 0.5])
def test_a_lesion_pasted_where_it_was_changes_nothing(darker, edge, spatial_dims, single, tmp_path):
    """Nor if its scan has been darkened, counted from black."""
    model = fit_library("copy_paste", single[spatial_dims], tmp_path / "m", edge=edge, margin_mm=4.0)
    for sample in read_samples(single[spatial_dims], model.info.preprocessing):
        image, level = (sample.image + 1) * np.float32(darker) - 1, tuple(darker * value for value in sample.level)
        drawn = model.synthesize(replace(sample, image=image, level=level), sample.label, generator(0))
        np.testing.assert_allclose(drawn.image, image, atol=5e-3)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_intensities_stay_in_range_in_a_brighter_scan(spatial_dims):
    shape = (20,) * spatial_dims
    sample = replace(make_sample(shape, label=ball_mask(shape, [9] * spatial_dims, 4)), level=(0.4,))
    lesion = cut_lesion(sample, 0, context_mm=2)
    brighter = lesion.image_for(replace(sample, level=(0.8,)))
    assert brighter.max() == 1
    np.testing.assert_allclose(brighter, np.minimum(2 * (lesion.image + 1), 2) - 1, atol=1e-6)
    assert np.array_equal(lesion.image_for(replace(sample, level=())), lesion.image)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_the_lesion_of_most_alike_size_in_mm_and_shape_is_taken(spatial_dims):
    shape = (40,) * spatial_dims
    middle = [20] * spatial_dims
    labels = {
        "large": (ball_mask(shape, middle, 9), 1.0),
        "small": (ball_mask(shape, middle, 4), 1.0),
        "small in voxels": (ball_mask(shape, middle, 4), 2.0),
        "box": ((np.abs(np.indices(shape) - 20).max(0) < 4).astype(np.int16), 1.0),
    }
    lesions = {
        name: cut_lesion(make_sample(shape, label=label, spacing=(mm,) * spatial_dims), 0, context_mm=0)
        for name, (label, mm) in labels.items()
    }
    names = {id(lesion): name for name, lesion in lesions.items()}

    def chosen(mask, mm=1.0):
        found = (best_fit([*lesions.values()], mask, (mm,) * spatial_dims, generator(seed)) for seed in range(10))
        return {names[id(lesion)] for lesion in found}

    assert chosen(ball_mask(shape, middle, 4)) == {"small"}
    assert chosen(ball_mask(shape, middle, 9.3)) == {"large"}
    assert chosen(ball_mask(shape, middle, 4), 2.0) == {"small in voxels"}
    assert chosen(labels["box"][0]) == {"box"}
    lesions["twin"] = replace(lesions["box"])
    names[id(lesions["twin"])] = "twin"
    assert chosen(labels["box"][0]) == {"box", "twin"}


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_inside_the_mask_only_lesion_is_pasted_and_around_it_only_what_was_around(spatial_dims):
    """However the lesion is stretched, be it so thin that little of it would be left, or all that there is."""
    shape, middle = (28,) * spatial_dims, [14] * spatial_dims
    labels = {
        "ball": ball_mask(shape, middle, 4),
        "shell": ball_mask(shape, middle, 9) - ball_mask(shape, middle, 8),
        "all": np.ones(shape, np.int16),
    }
    box = (np.abs(np.indices(shape) - 14).max(0) <= 4).astype(np.int16)
    for name, label in labels.items():
        sample = make_sample(shape, label=label)
        sample.image[:] = np.where(label > 0, 0.8, -0.3)
        lesion = cut_lesion(sample, 0, context_mm=6)
        for mask in (box, *(ball_mask(shape, middle, radius) for radius in (0.5, 1, 3, 11))):
            hole, _ = hole_around(mask, 3.0, sample.spacing)
            drawn = stretch(lesion, lesion.image, mask, hole)[0]
            np.testing.assert_allclose(drawn[mask > 0], 0.8, atol=1e-6, err_msg=name)
            around = 0.8 if name == "all" else -0.3
            np.testing.assert_allclose(drawn[hole & (mask == 0)], around, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_library_comes_back_as_it_was(spatial_dims):
    shape, spacing = (20, 18, 16)[:spatial_dims], (0.7, 1.1, 3.3)[:spatial_dims]
    sample = make_sample(shape, channels=2, spacing=spacing, label=ball_mask(shape, [8] * spatial_dims, 4))
    lesion = cut_lesion(replace(sample, height=0.3, level=(0.31, 0.47)), 5, context_mm=2)
    (back,) = library_from_tensors(library_tensors([lesion]))
    for field in fields(lesion):
        assert np.array_equal(getattr(back, field.name), getattr(lesion, field.name)), field.name


@pytest.mark.parametrize("method", ["copy_paste", "carvemix"])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_library_keeps_the_grid_of_its_files(spatial_dims, method, cohorts, tmp_path):
    """Unless slices are cut from volumes, or a task's preprocessing is shared."""
    assert fit_library(method, cohorts[spatial_dims], tmp_path / "own").info.preprocessing.spacing is None
    for dims in DIMS:
        given = Preprocessing(spatial_dims=dims, channels=("FLAIR",), spacing=(2.5,) * dims)
        model = SYNTHESIZERS[method].fit(
            cohorts[3],
            channels=("FLAIR",),
            config={"spatial_dims": spatial_dims},
            training=tiny_training(),
            out=tmp_path / str(dims),
            preprocessing=given,
        )
        assert (model.info.preprocessing == given) == (dims == spatial_dims)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_an_empty_mask_pastes_nothing(spatial_dims, cohorts, tmp_path):
    model = fit_library("copy_paste", cohorts[spatial_dims], tmp_path / "m")
    sample = read_samples(cohorts[spatial_dims])[0]
    drawn = model.synthesize(sample, np.zeros_like(sample.label), generator(0))
    assert np.array_equal(drawn.image, sample.image)
    assert np.array_equal(drawn.label, sample.label)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("edge", EDGES)
def test_the_edge_stays_within_its_margin(edge, spatial_dims, single, tmp_path):
    model = fit_library("copy_paste", single[spatial_dims], tmp_path / "m", edge=edge, margin_mm=5.0)
    shape = {2: (60, 50), 3: (40, 36, 20)}[spatial_dims]
    places = {
        "middle": ball_mask(shape, [n // 2 for n in shape], 5),
        "corner": ball_mask(shape, [0] * spatial_dims, 6),
        "side by side": ball_mask(shape, [8] * spatial_dims, 3) + ball_mask(shape, [16] + [8] * (spatial_dims - 1), 3),
        "larger than any": ball_mask(shape, [n // 2 for n in shape], 14),
        "one voxel": ball_mask(shape, [9] * spatial_dims, 0.5),
    }
    for name, mask in places.items():
        sample = make_sample(shape, channels=2, spacing={2: (1.0, 1.0), 3: (2.0, 2.0, 2.0)}[spatial_dims])
        before = sample.image.copy()
        drawn = model.synthesize(sample, mask, generator(0))
        hole, _ = hole_around(mask, model.margin_mm(), sample.spacing)
        changed = (drawn.image != sample.image).any(0)
        assert not changed[~hole].any(), name
        assert changed[mask > 0].mean() > 0.9, name
        assert changed[hole & (mask == 0)].any() == (edge != "hard"), name
        assert np.abs(drawn.image).max() <= max(1, *(lesion.image.max() for lesion in model.lesions)), name
        assert np.array_equal(sample.image, before), name


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_lesions_stay_brighter_than_their_place(spatial_dims, single, tmp_path):
    """All lesions of the cohort are bright: whatever the edge, the pasted ones are."""
    for edge in EDGES:
        model = fit_library("copy_paste", single[spatial_dims], tmp_path / edge, edge=edge)
        samples = read_samples(single[spatial_dims], model.info.preprocessing)
        shape = samples[0].image.shape[1:]
        flat = make_sample(shape, channels=2, spacing=samples[0].spacing)
        normal = np.median(samples[0].image[0][(samples[0].label == 0) & (samples[0].image[0] > -0.5)])
        flat = flat.edited(np.full_like(flat.image, normal), flat.label)
        mask = ball_mask(shape, [n // 2 for n in shape], 4)
        drawn = model.synthesize(flat, mask, generator(0))
        assert drawn.image[0][mask > 0].mean() > normal + 0.1, edge


def test_slices_of_a_volume_get_slices_of_lesions(cohorts, tmp_path):
    model = fit_library("copy_paste", cohorts[3], tmp_path / "m", spatial_dims=2, edge="feathered", margin_mm=4.0)
    assert {lesion.label.ndim for lesion in model.lesions} == {2}
    sample = read_samples(cohorts[3], model.info.preprocessing)[0]
    mask = np.zeros(sample.image.shape[1:], np.int16)
    mask[10:16, 10:17, 6:9] = 1
    drawn = model.synthesize(sample, mask, generator(0))
    assert np.array_equal(np.flatnonzero((drawn.image != sample.image).any((0, 1, 2))), [6, 7, 8])


@pytest.mark.parametrize("method", ["copy_paste", "carvemix"])
def test_whole_lesions_do_not_go_into_slices(method, cohorts, tmp_path):
    model = fit_library(method, cohorts[3], tmp_path / "m")
    with pytest.raises(ConfigError, match="spatial_dims=2") as error:
        model.synthesize(make_sample((32, 32)), ball_mask((32, 32), (16, 16), 4), generator(0))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["copy_paste", "carvemix"])
def test_a_library_of_whole_lesions_is_not_made_from_slices(method, cohorts, tmp_path):
    with pytest.raises(ConfigError, match="slices"):
        fit_library(method, cohorts[2], tmp_path / "m", spatial_dims=3)


def test_an_unknown_option_is_named(cohorts, tmp_path):
    for options in ({"edges": "hard"}, {"edge": "soft"}, {"margin_mm": 0}):
        with pytest.raises(ConfigError) as error:
            fit_library("copy_paste", cohorts[2], tmp_path / "m", **options)
        assert next(iter(options)) in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(21, 19), (13, 12, 11)])
def test_poisson_without_gradients_is_harmonic(shape):
    """A constant source: each filled voxel is the mean of its neighbours, so the rim's values bound it."""
    grid = np.indices(shape)
    target = (grid[0] * 0.3 + grid[1] ** 2 * 0.01).astype(np.float32)
    hole = ball_mask(shape, [n // 2 for n in shape], 4) > 0
    filled = solve_poisson(np.full(shape, 7.0, np.float32), target, hole)
    assert np.array_equal(filled[~hole], target[~hole])
    neighbours = np.ones([3] * len(shape)) * 0
    for axis in range(len(shape)):
        for step in (0, 2):
            at = [1] * len(shape)
            at[axis] = step
            neighbours[tuple(at)] = 1 / (2 * len(shape))
    mean = ndimage.convolve(filled.astype(float), neighbours)
    np.testing.assert_allclose(filled[hole], mean[hole], atol=2e-3)
    rim = ndimage.binary_dilation(hole) & ~hole
    assert target[rim].min() - 1e-3 <= filled[hole].min()
    assert filled[hole].max() <= target[rim].max() + 1e-3


@pytest.mark.parametrize("shape", [(21, 19), (13, 12, 11)])
def test_poisson_meets_the_rim_and_keeps_the_gradients(shape):
    """A source that is the target plus a constant fits exactly: its gradients and the rim's values agree."""
    rng = generator(0)
    target = rng.uniform(-1, 1, shape).astype(np.float32)
    for centre in ([n // 2 for n in shape], [0] * len(shape)):
        hole = ball_mask(shape, centre, 5) > 0
        filled = solve_poisson(target + 3, target, hole)
        np.testing.assert_allclose(filled, target, atol=2e-3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Cohorts of two lesions a case, a large one of value 0.9 and a small one of value 0.5, in dark tissue."""
    made = {}
    for dims in DIMS:
        shape = (44, 40, 12)[:dims]
        large, small = ball_mask(shape, [12, 12, 6][:dims], 5), ball_mask(shape, [32, 28, 6][:dims], 2)
        sample = make_sample(shape, label=np.maximum(large, small))
        sample.image[:] = np.where(large > 0, 0.9, np.where(small > 0, 0.5, -0.4))
        made[dims] = sample
    return made


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("edge", ["hard", "feathered"])
def test_each_lesion_of_a_mask_gets_the_lesion_that_fits_it(edge, spatial_dims, pairs, cohorts, tmp_path):
    """Whatever their arrangement is; nor does the margin of one reach into the other."""
    info = fit_library("copy_paste", cohorts[spatial_dims], tmp_path / "m", edge=edge).info
    sample = pairs[spatial_dims]
    model = SYNTHESIZERS["copy_paste"](info, [cut_lesion(sample, 0, context_mm=6)])
    shape = sample.image.shape[1:]
    large, small = ball_mask(shape, [30, 12, 6][:spatial_dims], 5), ball_mask(shape, [30, 24, 6][:spatial_dims], 2)
    target = replace(make_sample(shape, label=np.zeros(shape, np.int16)), level=sample.level)
    target.image[:] = -0.4
    drawn = model.synthesize(target, np.maximum(large, small), generator(0)).image[0]
    np.testing.assert_allclose(drawn[large > 0], 0.9, atol=1e-5)
    np.testing.assert_allclose(drawn[small > 0], 0.5, atol=1e-5)
    np.testing.assert_allclose(drawn[(large == 0) & (small == 0)], -0.4, atol=1e-5)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_lesion_by_itself_has_tissue_where_its_neighbours_were(spatial_dims, pairs):
    sample = pairs[spatial_dims]
    whole = cut_lesion(sample, 3, context_mm=30)
    found = one_by_one(whole, context_mm=30)
    assert sorted(one.volume for one in found) == sorted(
        float(np.count_nonzero((sample.label > 0) & (sample.image[0] == value))) for value in (0.9, 0.5)
    )
    for one in found:
        inside = tuple(slice(a, a + n) for a, n in zip(one.start, one.label.shape, strict=True))
        assert np.array_equal(one.image[0][one.label > 0], sample.image[0][inside][one.label > 0])
        assert (one.image[0][one.label == 0] == np.float32(-0.4)).all()
        assert (one.case, one.shape) == (3, sample.label.shape)
    (alone,) = one_by_one(found[0], context_mm=30)
    assert alone is found[0]
