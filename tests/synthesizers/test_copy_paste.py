import numpy as np
import pytest
from scipy import ndimage

from lesionforge.errors import ConfigError, OutputError
from lesionforge.masks.bank import MaskBank
from lesionforge.seeding import generator
from lesionforge.synthesizers.conditions import hole_around
from lesionforge.synthesizers.copy_paste import solve_poisson
from lesionforge.synthesizers.registry import load_synthesizer
from tests.helpers import tiny_cohort
from tests.synthesizers.models import ball_mask, fit_library, make_sample, read_samples

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
        assert np.abs(drawn.image).max() <= 1, name
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
