"""Tissue around drawn lesions is displaced within a distance; drawings, other lesions, labels and the skull stay."""

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.report.method_notes import _describe_number
from lesionforge.cohort.scan import load_scan, read_raw
from lesionforge.errors import ConfigError
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.ellipsoids import Ellipsoids
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.production.displacement import MOST_MM, REACH_MM, displace
from lesionforge.production.on_the_fly import SynthesizeLesiond
from tests.synthesizers.folders import synthesize
from tests.synthesizers.models import read_samples, untrained_pix2pix

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
SPACING = (1.0, 1.0, 2.0)
REGION_MM = 26.0
MARGIN = 2.0


class Most:
    """A generator that draws the greatest value of a range."""

    def uniform(self, low, high):
        return high


def radius_from(place, shape, spacing):
    return np.linalg.norm((np.indices(shape).T * spacing - place).T, axis=0)


def three_lesions(shape, spacing):
    places = [36.0 + np.array(shift[: len(shape)]) for shift in ((-9, 0, 0), (9, 0, 0), (0, 10, 0))]
    return sum(radius_from(place, shape, spacing) < 3.5 for place in places).astype(np.int16)


def push(image, label, lesions, spacing, region=None, margin=MARGIN):
    region = np.ones(label.shape, bool) if region is None else region
    rng = Most()
    return displace(image, label, lesions, region, spacing, rng, most_mm=MOST_MM, margin_mm=margin)


@pytest.fixture
def ball(spatial_dims):
    """Radius from the centre in mm, and a lesion of 8 mm there."""
    spacing = SPACING[:spatial_dims]
    shape = tuple(int(70 / mm) + 1 for mm in spacing)
    radius = radius_from(36.0, shape, spacing)
    return radius, (radius < 8).astype(np.int16), spacing


def sources(shape, lesions, spacing, **options):
    """Return where each voxel is read from, in mm, ``(axis, x, y[, z])``."""
    mm = (np.indices(shape).T * spacing).T.astype(np.float32)
    return mm, *push(mm, lesions, lesions, spacing, **options)


@DIMS
def test_tissue_moves_outwards_between_the_drawing_and_its_reach_and_the_drawing_stays(ball, spatial_dims):
    radius, lesion, spacing = ball
    region = radius < REGION_MM
    mm, source, moved = sources(radius.shape, lesion, spacing, region=region)
    shift = np.linalg.norm(source - mm, axis=0)
    outwards = radius - np.linalg.norm((source.T - 36.0).T, axis=0)
    assert outwards.min() > -1e-4
    assert shift.max() <= MOST_MM + 1e-4
    hole, _ = hole_around(lesion, MARGIN, spacing)
    near, _ = hole_around(lesion, MARGIN + REACH_MM[1] + 2 * max(spacing), spacing)
    still = hole | ~near | ~region
    assert not moved[still].any()
    assert np.array_equal(source[:, ~moved], mm[:, ~moved])
    free = np.linalg.norm(sources(radius.shape, lesion, spacing)[1] - mm, axis=0)
    assert free.max() == pytest.approx(MOST_MM, abs=0.05)
    assert free[(radius > 8 + MARGIN) & (radius < 9 + MARGIN)].max() < 0.2 * MOST_MM, "no jump at the edge"


@DIMS
def test_tissue_keeps_its_order_and_no_tissue_is_lost_or_doubled(ball, spatial_dims):
    radius, lesion, spacing = ball
    for lesions in (lesion, three_lesions(radius.shape, spacing)):
        _, source, _ = sources(radius.shape, lesions, spacing)
        steps = [np.diff(source[axis], axis=axis) / spacing[axis] for axis in range(spatial_dims)]
        assert min(step.min() for step in steps) > 0.15


@DIMS
@pytest.mark.parametrize("margin", [0.0, MARGIN])
def test_no_lesion_shows_beyond_its_drawing(margin, ball, spatial_dims):
    _, lesion, spacing = ball
    image = lesion[None].astype(np.float32)
    assert np.array_equal(push(image, lesion, lesion, spacing, margin=margin)[0], image)


@DIMS
def test_several_lesions_push_no_further_than_one(ball, spatial_dims):
    radius, _, spacing = ball
    several = three_lesions(radius.shape, spacing)
    assert ndimage.label(several)[1] == 3
    mm, source, moved = sources(radius.shape, several, spacing)
    shift = np.linalg.norm(source - mm, axis=0)
    assert 0.5 * MOST_MM < shift.max() <= MOST_MM + 1e-4
    assert not moved[hole_around(several, MARGIN, spacing)[0]].any()


@DIMS
def test_small_lesions_push_by_no_more_than_their_radius(ball, spatial_dims):
    radius, _, spacing = ball
    mm, source, moved = sources(radius.shape, (radius < 0.5).astype(np.int16), spacing)
    assert moved.any()
    assert np.linalg.norm(source - mm, axis=0).max() <= 1


@DIMS
def test_the_scans_own_lesions_stay_where_and_what_they_are(ball, spatial_dims):
    radius, lesion, spacing = ball
    rng = np.random.default_rng(0)
    own = (rng.random(radius.shape) < 0.01) & (radius > 12)
    label = np.where(own, 2, lesion).astype(np.int16)
    image = np.stack([own, radius]).astype(np.float32)
    new, moved = push(image, label, lesion, spacing)
    assert np.array_equal(new[0], image[0])
    assert moved.any()
    assert not moved[label > 0].any()


@DIMS
def test_on_disk_the_drawing_is_that_of_a_run_without_and_far_voxels_are_those_of_the_file(
    spatial_dims, rich_cohorts, tmp_path
):
    cohort = rich_cohorts[spatial_dims]
    model, masks = untrained_pix2pix(cohort, margin_mm=MARGIN), MaskBank(cohort)
    plain = synthesize(model, cohort, masks, tmp_path / "plain", n=2)
    run = synthesize(model, cohort, masks, tmp_path / "out", n=2, displacement=MOST_MM)
    for case in run.cohort:
        twin_case = plain.cohort[case.case_id]
        source, twin = (load_scan(one, cohort.channels) for one in (cohort[case.source_case], twin_case))
        new = load_scan(case, cohort.channels)
        mask = np.where(twin.label != source.label, twin.label, 0).astype(np.int16)
        reaches = (MARGIN, MARGIN + REACH_MM[1] + max(source.spacing))
        drawing, near = (hole_around(mask, reach, source.spacing)[0] for reach in reaches)
        assert not np.array_equal(new.image, twin.image)
        assert np.array_equal(new.label, twin.label)
        for name in cohort.channels:
            before, after, once = (read_raw(one.images[name])[0] for one in (cohort[case.source_case], case, twin_case))
            assert np.array_equal(after[~near], before[~near])
            assert np.array_equal(after[drawing], once[drawing])
    with pytest.raises(Exception, match="displacement"):
        synthesize(model, cohort, masks, tmp_path / "out", n=2)


@DIMS
def test_on_the_fly_the_image_moves_and_the_label_stays(spatial_dims, rich_cohorts):
    cohort = rich_cohorts[spatial_dims]
    small = Ellipsoids(count=(1, 1), diameter_mm=(12.0, 14.0))
    model, sample = untrained_pix2pix(cohort), read_samples(cohort)[0]
    for seed in range(4):
        items = []
        for most in (0.0, MOST_MM):
            transform = SynthesizeLesiond(model, small, prob=1.0, min_volume=10.0, displacement=most)
            transform.set_random_state(seed)
            items.append(transform(sample.as_item()))
        plain, moved = (np.asarray(item["label"]) for item in items)
        assert np.array_equal(moved, plain)
        assert np.any(items[0]["image"] != items[1]["image"])
        assert moved.dtype == plain.dtype


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"displacement": 3.1}, "out of range"),
        ({"displacement": -1}, "out of range"),
        ({"method": "carvemix"}, "no masks"),
    ],
)
def test_displacements_that_make_no_sense_are_refused(change, what):
    wanted = {"method": "copy_paste", "displacement": 3}
    assert _describe_number(SynthesizerPlan(**wanted)) == "100 cases, tissue around them displaced by up to 3 mm"
    with pytest.raises(ValueError, match=what):
        SynthesizerPlan(**wanted | change)


def test_a_method_without_masks_is_refused_by_every_way_of_drawing(rich_cohorts, tmp_path):
    cohort = rich_cohorts[2]
    with pytest.raises(ConfigError, match="out of range"):
        synthesize(untrained_pix2pix(cohort), cohort, MaskBank(cohort), tmp_path / "out", displacement=9.0)
    with pytest.raises(ConfigError, match="out of range"):
        SynthesizeLesiond(untrained_pix2pix(cohort), MaskBank(cohort), displacement=9.0)
