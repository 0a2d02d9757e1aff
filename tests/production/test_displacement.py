"""Tissue around drawn lesions is displaced: image and label alike, within a distance, and the skull stays."""

import numpy as np
import pytest

from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.report.method_notes import _describe_number
from lesionforge.cohort.scan import load_scan, read_raw
from lesionforge.errors import ConfigError
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.ellipsoids import Ellipsoids
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.production.displacement import REACH_MM, displace
from lesionforge.production.on_the_fly import SynthesizeLesiond
from tests.synthesizers.folders import synthesize
from tests.synthesizers.models import read_samples, untrained_pix2pix

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
SPACING = (1.0, 1.0, 2.0)
REGION_MM = 26.0


class Most:
    """A generator that draws the greatest value of a range."""

    def uniform(self, low, high):
        return high


@pytest.fixture
def ball(spatial_dims):
    """Radius from the centre in mm, and a lesion of 8 mm there."""
    spacing = SPACING[:spatial_dims]
    shape = tuple(int(60 / mm) + 1 for mm in spacing)
    radius = np.linalg.norm((np.indices(shape).T * spacing - 30.0).T, axis=0)
    return radius, (radius < 8).astype(np.int16), spacing


@DIMS
def test_tissue_moves_outwards_within_its_reach_and_the_edge_of_the_region_stays(ball, spatial_dims):
    radius, lesion, spacing = ball
    image, label = np.stack([radius, 2.0 * lesion]).astype(np.float32), lesion
    region = radius < REGION_MM
    new, after, moved = displace(image, label, lesion, region, spacing, Most(), most_mm=4.0)
    assert np.array_equal(new[:, ~moved], image[:, ~moved])
    assert np.array_equal(after[~moved], label[~moved])
    assert radius[moved].max() < 8 + REACH_MM[1] + 2
    outwards = radius - new[0]
    assert outwards.min() > -0.1
    edge = (radius > 8.5) & (radius < 10)
    assert outwards[edge] == pytest.approx(np.full(edge.sum(), 4), abs=1.5)
    assert outwards[radius > 18].max() < 0.5 * outwards[edge].min()
    assert np.array_equal(new[:, ~region], image[:, ~region])
    assert np.count_nonzero(after) == pytest.approx(np.count_nonzero(lesion) * 1.45**spatial_dims, rel=0.25)
    assert (new[1] > 1)[after > 0].mean() > 0.9
    assert not (new[1] > 1.5)[after == 0].any()


@DIMS
def test_small_lesions_move_less_and_two_lesions_move_tissue_apart_from_each_other(ball, spatial_dims):
    radius, lesion, spacing = ball
    small = (radius < 1.5).astype(np.int16)
    everywhere = np.ones_like(small, bool)
    new, label, _ = displace(radius[None].astype(np.float32), small, small, everywhere, spacing, Most(), most_mm=4.0)
    assert (radius - new[0])[small > 0].max() <= 0.75
    assert label.any()
    two = np.concatenate([lesion, lesion])
    _, label, _ = displace(np.zeros((1, *two.shape)), two, two, two >= 0, spacing, Most(), most_mm=3.0)
    assert label[two > 0].all()
    assert np.count_nonzero(label) > np.count_nonzero(two)


@DIMS
def test_on_disk_the_drawing_is_that_of_a_run_without_and_far_voxels_are_those_of_the_file(
    spatial_dims, rich_cohorts, tmp_path
):
    cohort = rich_cohorts[spatial_dims]
    model, masks = untrained_pix2pix(cohort, margin_mm=4.0), MaskBank(cohort)
    plain = synthesize(model, cohort, masks, tmp_path / "plain", n=2)
    run = synthesize(model, cohort, masks, tmp_path / "out", n=2, displacement=4.0)
    grown = 0
    for case in run.cohort:
        source, twin = (
            load_scan(one, cohort.channels) for one in (cohort[case.source_case], plain.cohort[case.case_id])
        )
        new = load_scan(case, cohort.channels)
        mask = np.where(twin.label != source.label, twin.label, 0).astype(np.int16)
        near, _ = hole_around(mask, REACH_MM[1] + 1, source.spacing)
        grown += np.count_nonzero(new.label) - np.count_nonzero(twin.label)
        assert not np.array_equal(new.image, twin.image)
        assert np.array_equal(new.label[~near], source.label[~near])
        for name in cohort.channels:
            before, after = (read_raw(one.images[name])[0] for one in (cohort[case.source_case], case))
            assert np.array_equal(after[~near], before[~near])
    assert grown > 0
    with pytest.raises(Exception, match="displacement"):
        synthesize(model, cohort, masks, tmp_path / "out", n=2)


@DIMS
def test_on_the_fly_the_label_moves_with_the_image(spatial_dims, rich_cohorts):
    cohort = rich_cohorts[spatial_dims]
    small = Ellipsoids(count=(1, 1), diameter_mm=(12.0, 14.0))
    model, sample, grown = untrained_pix2pix(cohort), read_samples(cohort)[0], 0
    for seed in range(4):
        items = []
        for most in (0.0, 4.0):
            transform = SynthesizeLesiond(model, small, prob=1.0, min_volume=10.0, displacement=most)
            transform.set_random_state(seed)
            items.append(transform(sample.as_item()))
        plain, moved = (np.asarray(item["label"]) for item in items)
        grown += np.count_nonzero(moved) - np.count_nonzero(plain)
        assert np.any(items[0]["image"] != items[1]["image"])
        assert moved.dtype == plain.dtype
    assert grown > 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"displacement": 5}, "out of range"),
        ({"displacement": -1}, "out of range"),
        ({"method": "carvemix"}, "no masks"),
    ],
)
def test_displacements_that_make_no_sense_are_refused(change, what):
    wanted = {"method": "copy_paste", "displacement": 4}
    assert _describe_number(SynthesizerPlan(**wanted)) == "100 cases, tissue around them displaced by up to 4 mm"
    with pytest.raises(ValueError, match=what):
        SynthesizerPlan(**wanted | change)


def test_a_method_without_masks_is_refused_by_every_way_of_drawing(rich_cohorts, tmp_path):
    cohort = rich_cohorts[2]
    with pytest.raises(ConfigError, match="out of range"):
        synthesize(untrained_pix2pix(cohort), cohort, MaskBank(cohort), tmp_path / "out", displacement=9.0)
    with pytest.raises(ConfigError, match="out of range"):
        SynthesizeLesiond(untrained_pix2pix(cohort), MaskBank(cohort), displacement=9.0)
