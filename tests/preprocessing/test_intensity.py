"""Which intensities become the ends of a model's range, and what becomes of those beyond."""

from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.inspection.measure import head_levels, measure
from lesionforge.cohort.scan import Scan
from lesionforge.preprocessing.intensity import Head, Percentile
from lesionforge.preprocessing.pipeline import Preprocessing

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
SHAPES = {2: (96, 96), 3: (40, 40, 24)}


def brain_scan(spatial_dims, *, lesion=200.0, radius=2.0, air=0, channels=("FLAIR",), seed=0):
    """Return a brain of 100 ± 6 with a lesion of ``lesion`` ± 5 that takes about 0.2 % of the voxels."""
    rng = np.random.default_rng(seed)
    shape = tuple(n + 2 * air for n in SHAPES[spatial_dims])
    grid = np.stack(np.meshgrid(*(np.arange(n) - n / 2 for n in shape), indexing="ij"))
    size = np.reshape(SHAPES[spatial_dims], (-1, *[1] * spatial_dims))
    brain = np.square(2 * grid / size).sum(0) < 0.9
    centre = np.reshape([8.0] + [0.0] * (spatial_dims - 1), (-1, *[1] * spatial_dims))
    label = (np.sqrt(np.square(grid - centre).sum(0)) < radius) if lesion is not None else np.zeros(shape, bool)
    image = np.where(brain, 100 + 6 * rng.standard_normal(shape), 0)
    image[label] = (lesion or 0) + 5 * rng.standard_normal(int(label.sum()))
    return Scan(
        case=Case(case_id=f"a{seed}", subject_id=f"s{seed}", images={}, annotation=Annotation.LESION),
        channels=tuple(channels),
        image=np.stack([np.maximum(image, 0)] * len(channels)).astype(np.float32),
        label=label.astype(np.int16),
        affine=np.eye(4),
    )


def facts_of(*scans):
    return Fingerprint(
        name="made",
        channels=scans[0].channels,
        labels={"background": 0, "lesion": 1},
        spatial_dims=scans[0].spatial_dims,
        cases=tuple(measure(scan).case for scan in scans),
        intensities={},
    )


def fitted(*scans, **options):
    dims = scans[0].spatial_dims
    return Preprocessing.fit(facts_of(*scans), spatial_dims=dims, spacing=(1.0,) * dims, **options)


@BOTH
def test_small_bright_lesions_keep_their_brightness_and_its_spread(spatial_dims):
    scan = brain_scan(spatial_dims)
    pipeline = fitted(scan, brain_scan(spatial_dims, seed=1))
    sample = pipeline.forward(scan)
    inside = sample.image[0][sample.label > 0]
    assert inside.max() <= 1.05
    assert np.median(inside) > 0.6
    back, _ = pipeline.inverse(sample.image, replace(scan, image=scan.image * 0.999))
    lesion = back[0][scan.label > 0]
    assert np.mean(lesion) == pytest.approx(200, abs=3)
    assert np.std(lesion) == pytest.approx(np.std(scan.image[0][scan.label > 0]), rel=0.1)


@BOTH
def test_the_published_rule_flattens_them_and_can_be_chosen(spatial_dims):
    scan = brain_scan(spatial_dims)
    assert fitted(scan, intensity="percentile").intensity == Percentile()
    sample = fitted(scan, intensity="percentile").forward(scan)
    inside = sample.image[0][sample.label > 0]
    assert (inside == 1).mean() > 0.4
    (beyond,) = facts_of(scan).cases[0].beyond.values()
    assert beyond == pytest.approx((inside == 1).mean(), abs=0.1)


@BOTH
@pytest.mark.parametrize("radius", [2.0, 5.0])
def test_a_scan_without_lesion_has_room_for_those_of_the_training_cases(spatial_dims, radius):
    pipeline = fitted(brain_scan(spatial_dims, radius=radius, channels=("FLAIR", "T1")))
    healthy = brain_scan(spatial_dims, lesion=None, seed=3, channels=("FLAIR", "T1"))
    for low, high in pipeline.limits(healthy):
        assert low == 0
        assert 195 < high < 225
    assert pipeline.forward(healthy).image.max() < 0.3


@BOTH
def test_large_or_dark_lesions_leave_the_limits_to_the_head(spatial_dims):
    scan = brain_scan(spatial_dims, lesion=60.0, radius=6.0)
    assert fitted(scan).intensity == Head(reach=(1.0,))
    levels = head_levels(scan.image[0])
    assert fitted(scan).limits(scan) == [(levels.low, levels.high)]


@BOTH
def test_air_around_a_head_changes_nothing(spatial_dims):
    tight, wide = brain_scan(spatial_dims), brain_scan(spatial_dims, air=20)
    assert fitted(tight).limits(wide)[0] == pytest.approx(fitted(tight).limits(tight)[0], rel=0.03)
    published = [Percentile().limits(scan.image)[0][1] for scan in (tight, wide)]
    assert published[0] > published[1]


@BOTH
@pytest.mark.parametrize("background", [0.0, -3.0], ids=["zero outside", "dark outside"])
def test_negative_intensities_are_kept(spatial_dims, background):
    scan = brain_scan(spatial_dims, lesion=130.0)
    image = np.where(scan.image > 0, (scan.image - 100) / 6, background).astype(np.float32)
    scan = replace(scan, image=image)
    pipeline = fitted(scan)
    sample = pipeline.forward(scan)
    brain = image[0] != background
    assert len(np.unique(sample.image[0][brain])) > 0.9 * brain.sum()
    back, touched = pipeline.inverse(sample.image + 0.01, scan)
    assert touched.all()
    (low, high) = pipeline.limits(scan)[0]
    np.testing.assert_allclose(back - image, 0.005 * (high - low), atol=1e-4)


@BOTH
@pytest.mark.parametrize("change", [lambda image: image - 500, lambda image: 0 * image + 7, lambda image: 0 * image])
def test_a_scan_that_is_all_negative_or_constant_stays_finite(spatial_dims, change):
    scan = brain_scan(spatial_dims)
    odd = replace(scan, image=change(scan.image))
    sample = fitted(scan).forward(odd)
    assert np.isfinite(sample.image).all()
    assert np.isfinite(sample.level).all()
    assert np.abs(sample.image).max() < 10
    relative = sample.relative_to_tissue(sample.image, (-1.0, 1.0))
    assert np.isfinite(relative).all()


@BOTH
def test_what_lies_beyond_the_limits_goes_on_linearly(spatial_dims):
    scan = brain_scan(spatial_dims, lesion=150.0)
    image = scan.image.copy()
    image.reshape(-1)[:3] = 1000, 2000, 3000
    sample = fitted(scan).forward(replace(scan, image=image))
    first, second, third = sample.image.reshape(-1)[:3]
    assert first > 1
    assert third - second == pytest.approx(second - first, rel=1e-4)


def test_reach_is_that_of_the_brightest_training_case_channel_by_channel():
    one, other = brain_scan(2, lesion=150.0, channels=("FLAIR", "T1")), brain_scan(2, channels=("FLAIR", "T1"), seed=1)
    other.image[1][other.label > 0] = 90
    facts = facts_of(one, other)
    flair, t1 = facts.reach
    assert flair == pytest.approx(facts.cases[1].reach["FLAIR"])
    assert t1 == pytest.approx(facts.cases[0].reach["T1"])
    assert flair > t1 > 1
