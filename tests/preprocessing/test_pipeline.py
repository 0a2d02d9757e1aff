"""Scan space to model space and back."""

import itertools
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.cohort.inspection.measure import measure
from lesionforge.cohort.scan import Scan, load_scan, read_raw, save_edited
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.intensity import Percentile, Window, to_file, to_model
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.training.fitting import given_or_fitted
from tests.helpers import tiny_cohort, write_array

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
RANGES = pytest.mark.parametrize("output", [(0.0, 1.0), (-1.0, 1.0)])
SHAPES = {2: (16, 11), 3: (16, 11, 7)}
LOSSLESS = Percentile(upper=100)


def oriented(codes, spacing=(1.0, 1.2, 3.0), *, oblique=False):
    """Return an affine whose voxel axes run along ``codes``."""
    affine = np.eye(4)
    for axis, code in enumerate(codes):
        row = next(i for i, pair in enumerate(("LR", "PA", "IS")) if code in pair)
        affine[:3, axis] = 0
        affine[row, axis] = spacing[axis] * (1 if code in "RAS" else -1)
    if oblique:
        c, s = np.cos(0.3), np.sin(0.3)
        affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ affine[:3, :3]
    affine[:3, 3] = 11.5, -7.0, 3.25
    return affine


AFFINES = {
    "RAS": oriented("RAS"),
    "LIA": oriented("LIA"),
    "SPR": oriented("SPR"),
    "oblique PIR": oriented("PIR", oblique=True),
}


def make_scan(spatial_dims, *, shape=None, affine=None, channels=("FLAIR",), dtype=np.float32, seed=0):
    """Return a scan with texture everywhere, a lesion, an anatomy map and a region, without files."""
    rng = np.random.default_rng(seed)
    shape = shape or SHAPES[spatial_dims]
    image = rng.integers(0, 200, (len(channels), *shape))
    image = image.astype(dtype) if np.issubdtype(dtype, np.integer) else rng.gamma(2.0, 30.0, image.shape)
    label = np.zeros(shape, np.int16)
    label[tuple(slice(n // 3, 2 * n // 3) for n in shape)] = 1
    return Scan(
        case=Case(case_id="a", subject_id="s", images={}, annotation=Annotation.LESION),
        channels=tuple(channels),
        image=image.astype(np.float32),
        label=label,
        affine=np.eye(4) if affine is None else affine,
        anatomy=rng.integers(0, 4, shape).astype(np.int16),
        region=rng.random(shape) < 0.5,
    )


def preprocessing(spatial_dims, **options):
    """Return a preprocessing that loses nothing unless told otherwise."""
    return Preprocessing(spatial_dims=spatial_dims, **{"channels": ("FLAIR",), "intensity": LOSSLESS, **options})


def variants(spatial_dims):
    """Yield scans of all orientations with model sizes that crop, pad, and do both; 2D models of volumes too."""
    for name, affine in AFFINES.items() if spatial_dims == 3 else [("slice", None)]:
        for shape in (None, (18, 18, 18)[:spatial_dims], (7, 8, 5)[:spatial_dims], (21, 6, 12)[:spatial_dims]):
            yield name, make_scan(spatial_dims, affine=affine), preprocessing(spatial_dims, shape=shape)
            if spatial_dims == 3:
                plane = shape and shape[:2]
                yield name, make_scan(3, affine=affine), preprocessing(2, shape=plane)


@BOTH
def test_there_and_back_is_exact(spatial_dims):
    for name, scan, pipeline in variants(spatial_dims):
        sample = pipeline.forward(scan)
        back, touched = pipeline.inverse(sample.image, scan)
        assert not touched.any(), name
        assert np.array_equal(back, scan.image), name
        grid = pipeline.geometry(scan)
        for array, model in ((scan.label, sample.label), (scan.anatomy, sample.anatomy), (scan.region, sample.region)):
            covered = grid.to_scan(np.ones(grid.shape, np.int16), label=True) > 0
            restored = grid.to_scan(model.astype(np.int16), label=True)
            assert np.array_equal(restored[covered], array[covered]), name
            assert not restored[~covered].any()
        assert sample.image.shape[1:] == sample.label.shape == grid.shape


@BOTH
@RANGES
def test_an_edit_arrives_where_it_was_made_and_nowhere_else(spatial_dims, output):
    for name, scan, pipeline in variants(spatial_dims):
        pipeline = pipeline.model_copy(update={"output": output})
        sample = pipeline.forward(scan)
        edited = sample.image.copy()
        where = sample.label > 0
        middle = sum(output) / 2
        edited[:, where] = middle
        back, touched = pipeline.inverse(edited, scan)
        grid = pipeline.geometry(scan)
        expected = grid.to_scan(where.astype(np.int16), label=True) > 0
        assert not touched[~expected].any(), name
        assert touched[expected].mean() > 0.9
        assert np.array_equal(back[:, ~touched], scan.image[:, ~touched]), name
        np.testing.assert_allclose(back[:, touched], scan.image.max() / 2, rtol=1e-4)
        limited, part = pipeline.inverse(edited, scan, within=scan.region)
        assert np.array_equal(part, touched & scan.region)
        assert np.array_equal(limited[:, ~part], scan.image[:, ~part])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("scaled", [False, True])
def test_files_keep_their_bytes_affine_and_type(dtype, name, scaled, tmp_path):
    scan = make_scan(3, affine=AFFINES[name], dtype=dtype)
    source, target = tmp_path / "source.nii.gz", tmp_path / "target.nii.gz"
    image = nib.Nifti1Image(scan.image[0].astype(dtype), scan.affine)
    if scaled:
        image.header.set_slope_inter(0.37, -12.5)
    nib.save(image, source)
    case = replace(scan.case, images={"FLAIR": source}, annotation=Annotation.UNKNOWN)
    loaded = load_scan(case, ["FLAIR"])
    pipeline = preprocessing(3, shape=(12, 40, 8))
    sample = pipeline.forward(loaded)
    same, untouched = pipeline.inverse(sample.image, loaded)
    before, affine, *scale = read_raw(source)
    for touched in (untouched, np.ones_like(untouched)):
        save_edited(source, target, same[0], touched)
        if np.issubdtype(dtype, np.integer) or not scaled or not touched.any():
            assert before.tobytes() == read_raw(target)[0].tobytes()
    edited = sample.image.copy()
    edited[:, 3:6, 17:22, 2:5] = 0.0
    back, touched = pipeline.inverse(edited, loaded)
    save_edited(source, target, back[0], touched)
    after, affine_after, *scale_after = read_raw(target)
    assert after.dtype == before.dtype == dtype
    assert scale == scale_after
    assert np.array_equal(affine, affine_after)
    assert 20 < touched.sum() <= 3 * 5 * 3
    assert np.array_equal(after[~touched], before[~touched])
    stored = (back[0][touched] - scale[1]) / scale[0]
    np.testing.assert_allclose(after[touched], stored, atol=0.51 if np.issubdtype(dtype, np.integer) else 1e-3)


def test_a_slice_keeps_its_bytes(tmp_path):
    scan = make_scan(2, dtype=np.uint8)
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    write_array(source, scan.image[0])
    loaded = load_scan(replace(scan.case, images={"FLAIR": source}, annotation=Annotation.UNKNOWN), ["FLAIR"])
    pipeline = preprocessing(2, shape=(24, 10))
    edited = pipeline.forward(loaded).image.copy()
    edited[:, 8:12, 4:6] = 1.0
    back, touched = pipeline.inverse(edited, loaded)
    save_edited(source, target, back[0], touched)
    before, after = read_raw(source)[0], read_raw(target)[0]
    assert np.array_equal(after[~touched], before[~touched])
    assert (after[touched] == before.max()).all()
    assert touched.any()


RESAMPLED = {"finer": 0.6, "coarser": 1.7}


@BOTH
@pytest.mark.parametrize("factor", RESAMPLED.values(), ids=RESAMPLED)
def test_with_resampling_an_edit_arrives_at_its_place_and_the_rest_stays_exact(spatial_dims, factor):
    shape = (26, 24, 22)[:spatial_dims]
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 3)
    for affine in (AFFINES["LIA"], AFFINES["oblique PIR"]) if spatial_dims == 3 else [None]:
        scan = make_scan(spatial_dims, shape=shape, affine=affine)
        scan = replace(scan, image=(100 + 500 * smooth)[None].astype(np.float32))
        model_spacing = tuple(factor * s for s in sorted(scan.spacing))
        pipeline = preprocessing(spatial_dims, spacing=model_spacing)
        sample = pipeline.forward(scan)
        np.testing.assert_allclose(sample.spacing, model_spacing, rtol=0.06)
        same, none = pipeline.inverse(sample.image, scan)
        assert not none.any()
        assert np.array_equal(same, scan.image)
        centre = tuple(n // 3 for n in sample.label.shape)
        ball = np.ones(sample.label.shape)
        ball[centre] = 0
        inside = ndimage.distance_transform_edt(ball, sampling=sample.spacing) < 6
        edited = sample.image + 0.5 * inside
        back, touched = pipeline.inverse(edited.astype(np.float32), scan)
        assert np.array_equal(back[:, ~touched], scan.image[:, ~touched])
        assert not touched.all()
        grid = pipeline.geometry(scan)
        expected = grid.to_scan(inside.astype(np.int16), label=True) > 0
        assert touched[expected].all()
        change = np.abs(back - scan.image)[0]
        reach = 2 * max(max(scan.spacing), max(sample.spacing))
        far = ndimage.distance_transform_edt(~expected, sampling=scan.spacing) > 2 * reach
        assert change[far].max() == 0
        found, wanted = (np.array(ndimage.center_of_mass(weight)) for weight in (change, expected.astype(float)))
        assert np.abs((found - wanted) * scan.spacing).max() < 0.5 * reach
        limited, part = pipeline.inverse(edited.astype(np.float32), scan, within=expected)
        assert not part[~expected].any()
        assert np.array_equal(limited[:, ~expected], scan.image[:, ~expected])


@BOTH
def test_detail_that_resampling_loses_stays_in_what_is_edited(spatial_dims):
    scan = make_scan(spatial_dims, shape=(32,) * spatial_dims)
    pipeline = preprocessing(spatial_dims, spacing=(2.0,) * spatial_dims)
    sample = pipeline.forward(scan)
    back, touched = pipeline.inverse(sample.image - np.float32(0.1), scan)
    assert touched.all()
    step = 0.1 / 2 * scan.image.max()
    np.testing.assert_allclose(back, scan.image - step, atol=1e-3 * scan.image.max())


@BOTH
@RANGES
def test_percentile_of_the_scan_itself_and_of_each_channel(spatial_dims, output):
    scan = make_scan(spatial_dims, channels=("FLAIR", "T1"))
    image = scan.image - 20
    image[1] *= 7
    image.reshape(2, -1)[:, 0] = 1e6
    scan = replace(scan, image=image)
    pipeline = preprocessing(spatial_dims, channels=("FLAIR", "T1"), intensity=Percentile(), output=output)
    sample = pipeline.forward(scan)
    low, high = output
    for channel, model in zip(image, sample.image.reshape(2, *scan.spatial_shape), strict=True):
        top = np.percentile(channel, 99.5)
        expected = np.clip(channel / top, 0, 1) * (high - low) + low
        np.testing.assert_allclose(model, expected, atol=1e-5)
        assert (model.min(), model.max()) == output
    assert pipeline.limits(scan) == [(0.0, pytest.approx(np.percentile(c, 99.5))) for c in image]


@RANGES
def test_a_window_is_the_same_for_every_scan(output):
    scan = make_scan(3)
    window = Window(lower=-20, upper=100)
    pipeline = preprocessing(3, intensity=window, output=output)
    other = replace(scan, image=scan.image * 3 - 200)
    assert pipeline.limits(scan) == pipeline.limits(other) == [(-20.0, 100.0)]
    model = pipeline.forward(other).image
    expected = np.clip((other.image + 20) / 120, 0, 1) * (output[1] - output[0]) + output[0]
    np.testing.assert_allclose(model, expected, atol=1e-5)


@RANGES
def test_intensities_go_there_and_back_within_the_limits(output):
    values = np.linspace(-20, 100, 1000, dtype=np.float32)
    model = to_model(values, (-20.0, 100.0), output)
    assert (model.min(), model.max()) == output
    np.testing.assert_allclose(to_file(model, (-20.0, 100.0), output), values, atol=1e-4)


def test_an_image_that_is_nearly_all_zero_has_limits():
    image = np.zeros((1, 30, 30), np.float32)
    image[0, 3, 3] = 40
    sample = preprocessing(2, intensity=Percentile()).forward(replace(make_scan(2, shape=(30, 30)), image=image))
    assert np.isfinite(sample.image).all()
    assert sample.image.max() == 1
    assert sample.image.min() == -1


@BOTH
@RANGES
def test_what_is_padded_is_background(spatial_dims, output):
    scan = make_scan(spatial_dims)
    sample = preprocessing(spatial_dims, shape=(40,) * spatial_dims, output=output).forward(scan)
    corner = (slice(0, 5),) * spatial_dims
    assert (sample.image[(0, *corner)] == output[0]).all()
    assert not sample.label[corner].any()


ORDERS = list(itertools.permutations((1.0, 1.3, 4.0)))


@pytest.mark.parametrize("spacing", ORDERS, ids=str)
@pytest.mark.parametrize("codes", ["RAS", "LIA", "SPR", "PIR"])
def test_a_2d_model_slices_a_volume_along_its_thickest_axis(spacing, codes):
    thick = int(np.argmax(spacing))
    shape = [20, 15, 17]
    shape[thick] = 6
    scan = make_scan(3, shape=tuple(shape), affine=oriented(codes, spacing))
    along = np.zeros(shape) + np.arange(6).reshape([-1 if axis == thick else 1 for axis in range(3)])
    scan = replace(scan, image=(along[None] + 1).astype(np.float32))
    pipeline = preprocessing(2)
    sample = pipeline.forward(scan)
    assert sample.image.shape[-1] == 6
    assert sample.spacing[-1] == pytest.approx(4.0)
    slices = sample.slices()
    assert all(np.ptp(one.image) == 0 for one in slices)
    levels = [float(one.image.mean()) for one in slices]
    assert levels == sorted(levels) or levels == sorted(levels, reverse=True)
    assert len(set(levels)) == 6
    edited = sample.image.copy()
    edited[..., 2] = 0.123
    back, touched = pipeline.inverse(edited, scan)
    assert back.shape == scan.image.shape
    changed = np.flatnonzero(touched.any(axis=tuple(axis for axis in range(3) if axis != thick)))
    assert len(changed) == 1
    assert touched.take(changed[0], axis=thick).all()


def test_slices_are_not_resampled_across():
    scan = make_scan(3, affine=oriented("LIA", (1.0, 4.0, 1.0)), shape=(20, 6, 20))
    sample = preprocessing(2, spacing=(2.0, 2.0)).forward(scan)
    assert sample.image.shape == (1, 10, 10, 6)
    np.testing.assert_allclose(sample.spacing, (2, 2, 4))


@BOTH
def test_a_spacing_within_five_percent_is_taken_as_it_is(spatial_dims):
    scan = make_scan(spatial_dims, affine=np.diag([1.04, 0.96, 1.0, 1]))
    sample = preprocessing(spatial_dims, spacing=(1.0,) * spatial_dims).forward(scan)
    assert sample.image.shape == scan.image.shape
    assert sample.spacing == pytest.approx(scan.spacing)


@BOTH
def test_replace_draws_everything_the_model_covers_and_keeps_the_grid(spatial_dims):
    for name, scan, pipeline in variants(spatial_dims):
        grid = pipeline.geometry(scan)
        drawn = np.random.default_rng(0).uniform(-1, 1, (1, *grid.shape)).astype(np.float32)
        new, covered = pipeline.replace(drawn, scan)
        assert new.shape == scan.image.shape
        assert new.dtype == np.float32
        assert np.array_equal(new[:, ~covered], scan.image[:, ~covered]), name
        top = scan.image.max()
        assert covered.any()
        assert new[:, covered].min() >= 0
        assert new[:, covered].max() <= top * 1.001
        again = pipeline.forward(replace(scan, image=np.where(covered, new, 0.0)))
        inside = grid.to_model(np.ones(scan.spatial_shape, np.int16), label=True) > 0
        scale = np.where(covered, new, 0.0).max() / top
        np.testing.assert_allclose((again.image[:, inside] + 1) * scale, drawn[:, inside] + 1, atol=1e-4)


@BOTH
def test_replace_writes_the_files_type(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=1)
    (case,) = cohort.cases
    scan = load_scan(case, cohort.channels)
    pipeline = preprocessing(spatial_dims)
    drawn = np.zeros((1, *pipeline.geometry(scan).shape), np.float32)
    new, covered = pipeline.replace(drawn, scan)
    source = case.images["FLAIR"]
    target = tmp_path / f"new{'.png' if spatial_dims == 2 else '.nii.gz'}"
    save_edited(source, target, new[0], covered)
    before, affine, *_ = read_raw(source)
    after, affine_after, *_ = read_raw(target)
    assert after.dtype == before.dtype
    assert after.shape == before.shape
    assert np.array_equal(affine, affine_after)
    np.testing.assert_allclose(after, before.max() / 2, atol=1)


def test_target_spacing_is_the_median_of_the_training_cases_alone(tmp_path):
    spacings = [1.0, 1.5, 4.0, 9.0, 9.0]
    cases = []
    for number, step in enumerate(spacings):
        folder = tmp_path / str(number)
        part = tiny_cohort(
            folder, spatial_dims=3, n_subjects=1, shape=(12, 12, 8), affine=np.diag([step, 2 * step, 3 * step, 1])
        )
        cases.append(replace(part.cases[0], case_id=f"c{number}", subject_id=f"s{number}"))
    cohort = part.with_cases(cases)
    train = cohort.subset(["c0", "c1", "c2"])
    fitted = Preprocessing.fit(fingerprint(train, ("FLAIR",)), spatial_dims=3)
    assert fitted.spacing == pytest.approx((1.5, 3.0, 4.5))
    assert Preprocessing.fit(fingerprint(train, ("FLAIR",)), spatial_dims=2).spacing == pytest.approx((1.5, 3.0))
    assert Preprocessing.fit(fingerprint(cohort, ("FLAIR",)), spatial_dims=3).spacing == pytest.approx((4.0, 8.0, 12.0))
    held_out = load_scan(cases[3], ("FLAIR",))
    assert fitted.forward(held_out).spacing == pytest.approx((1.5, 3.0, 4.5), rel=0.05)


def test_target_spacing_is_that_of_the_turned_axes(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=3, n_subjects=2, affine=oriented("LIA", (1.0, 4.0, 1.5)))
    facts = fingerprint(cohort, ("FLAIR",))
    assert Preprocessing.fit(facts, spatial_dims=3).spacing == pytest.approx((1.0, 1.5, 4.0))
    assert Preprocessing.fit(facts, spatial_dims=2).spacing == pytest.approx((1.0, 1.5))


def test_volumes_cannot_be_made_of_slices(tmp_path):
    facts = fingerprint(tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1), ("FLAIR",))
    with pytest.raises(ConfigError, match="no third axis"):
        Preprocessing.fit(facts, spatial_dims=3)


@BOTH
def test_it_survives_json(spatial_dims):
    window = Window(lower=-5, upper=80)
    for options in ({}, {"intensity": window, "output": (0.0, 1.0), "shape": (8,) * spatial_dims}):
        before = preprocessing(spatial_dims, **options)
        assert Preprocessing.model_validate_json(before.model_dump_json()) == before


@BOTH
def test_a_sample_becomes_an_item_and_a_scan_and_comes_back(spatial_dims):
    sample = replace(preprocessing(spatial_dims).forward(make_scan(spatial_dims)), height=0.3)
    back = Sample.from_item(sample.as_item())
    for name in ("image", "label", "anatomy", "region"):
        assert np.array_equal(getattr(back, name), getattr(sample, name)), name
        assert getattr(back, name).dtype == getattr(sample, name).dtype
    assert (back.spacing, back.case_id, back.subject_id, back.height) == (sample.spacing, "a", "s", 0.3)
    bare = Sample.from_item({"image": sample.image, "label": sample.label[None]})
    assert bare.spacing == (1.0,) * spatial_dims
    assert bare.anatomy is None
    assert bare.region is None
    scan = sample.as_scan()
    assert scan.spacing == pytest.approx(sample.spacing)
    assert scan.spatial_dims == spatial_dims
    assert np.array_equal(scan.label, sample.label)
    with pytest.raises(CohortError, match="unknown"):
        replace(sample, label=None).as_item()


def test_a_slice_is_a_plane_of_every_map():
    sample = preprocessing(3).forward(make_scan(3))
    cuts = sample.slices()
    assert len(cuts) == sample.image.shape[-1]
    for z, cut in enumerate(cuts):
        assert np.array_equal(cut.image, sample.image[..., z])
        assert np.array_equal(cut.label, sample.label[..., z])
        assert np.array_equal(cut.anatomy, sample.anatomy[..., z])
        assert np.array_equal(cut.region, sample.region[..., z])
        assert cut.spacing == sample.spacing[:2]
    heights = [cut.height for cut in cuts]
    assert heights == sorted(heights)
    assert 0 < heights[0] < heights[-1] < 1
    assert replace(sample, label=None, region=None).slice(0).label is None


@BOTH
def test_a_new_lesion_joins_the_old_one(spatial_dims):
    sample = preprocessing(spatial_dims).forward(make_scan(spatial_dims))
    mask = np.zeros_like(sample.label)
    mask[tuple(slice(0, n // 2) for n in mask.shape)] = 2
    joined = sample.with_lesion(sample.image + 1, mask)
    assert np.array_equal(joined.label, np.where(mask > 0, mask, sample.label))
    assert np.array_equal(joined.image, sample.image + 1)
    assert joined.label.dtype == np.int16
    assert {0, 1, 2} == set(np.unique(joined.label))
    assert np.array_equal(replace(sample, label=None).with_lesion(sample.image, mask).label, mask)
    assert (joined.case_id, joined.spacing) == (sample.case_id, sample.spacing)


@pytest.mark.parametrize("thickness", [0.1, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("codes", ["RAS", "LIA", "SPL"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_is_that_slice_whatever_its_thickness_says(thickness, codes, axis):
    shape, spacing = [30, 40, 20], [3.0, 3.0, 3.0]
    shape[axis], spacing[axis] = 1, thickness
    scan = make_scan(3, shape=tuple(shape), affine=oriented(codes, tuple(spacing)))
    sample = preprocessing(2).forward(scan)
    assert sample.image.shape[-1] == 1
    assert sorted(sample.image.shape[1:3]) == sorted(size for size in shape if size > 1)
    assert measure(scan).case.slices == 1


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_channels_in_another_order_than_in_training_are_refused_in_one_line(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "in", spatial_dims=spatial_dims, channels=("T1", "FLAIR"))
    preprocessing = Preprocessing(spatial_dims=spatial_dims, channels=("T1", "FLAIR"))
    turned = load_scan(cohort.cases[0], ("FLAIR", "T1"))
    with pytest.raises(
        ConfigError, match=r"case_000: was read with the channels FLAIR, T1, .* T1, FLAIR, in this order"
    ):
        preprocessing.forward(turned)
    with pytest.raises(ConfigError, match=r"takes the channels T1, FLAIR, but the training cases have FLAIR, T1"):
        given_or_fitted(preprocessing, fingerprint(cohort, ("FLAIR", "T1")), spatial_dims=spatial_dims)
