"""Holes that are redrawn without a lesion: on disk and on the fly."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from monai.transforms import Compose

from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.report.method_notes import _describe_number
from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.provenance import read_record
from lesionforge.cohort.scan import load_scan, read_raw
from lesionforge.errors import ConfigError
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.ellipsoids import Ellipsoids
from lesionforge.masks.own import OwnMasks, OwnOrOther
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.production.keep_best import KeepBest, synthesize_best
from lesionforge.production.on_the_fly import SynthesizeLesiond
from lesionforge.seeding import generator
from lesionforge.tasks.detection.patches import PatchSet
from lesionforge.tasks.segmentation.training_set import TrainingSet
from lesionforge.training.items.source import Source
from tests.synthesizers.folders import contents, synthesize
from tests.synthesizers.models import read_samples, untrained_pix2pix

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
SMALL = Ellipsoids(count=(1, 1), diameter_mm=(8.0, 14.0))
MARGIN = 4.0


@pytest.fixture(scope="module")
def models(rich_cohorts):
    return {
        dims: untrained_pix2pix(cohort, margin_mm=MARGIN, healthy_holes=0.2) for dims, cohort in rich_cohorts.items()
    }


@DIMS
def test_a_negative_has_the_label_of_its_scan_and_differs_in_the_hole_alone(
    spatial_dims, models, rich_cohorts, tmp_path
):
    cohort, model = rich_cohorts[spatial_dims], models[spatial_dims]
    masks = MaskBank(cohort)
    plain = synthesize(model, cohort, masks, tmp_path / "plain", n=4)
    run = synthesize(model, cohort, masks, tmp_path / "out", n=4, negatives=0.5)
    assert not run.problems
    all_of_them = synthesize(model, cohort, masks, tmp_path / "all", n=4, negatives=1.0)
    assert [case.extra.get("negative") for case in all_of_them.cohort] == ["True"] * 4
    negative = [case for case in read_cohort(tmp_path / "out") if case.extra.get("negative") == "True"]
    assert 0 < len(negative) < 4
    for case in run.cohort:
        source, twin = cohort[case.source_case], plain.cohort[case.case_id]
        record = read_record(tmp_path / "out" / "provenance" / f"{case.case_id}.json")
        assert record.get("negative", False) == (case.case_id in {one.case_id for one in negative})
        assert case.parents == twin.parents
        if not record.get("negative"):
            assert all(case.images[name].read_bytes() == twin.images[name].read_bytes() for name in cohort.channels)
            continue
        new, old, drawn = (load_scan(one, cohort.channels).label for one in (case, source, twin))
        assert np.array_equal(new, old)
        assert case.annotation == (Annotation.LESION if old.any() else Annotation.LESION_FREE)
        mask = np.where(drawn != old, drawn, 0)
        hole, _ = hole_around(mask, MARGIN, load_scan(source, cohort.channels).spacing)
        for name in cohort.channels:
            before, after = (read_raw(one.images[name])[0] for one in (source, case))
            assert np.array_equal(after[~hole], before[~hole])
            assert (after != before)[mask > 0].mean() > 0.5


@DIMS
def test_mimics_are_drawn_as_faint_lesions_beside_the_scans_own_and_have_no_label(spatial_dims, rich_cohorts):
    cohort = rich_cohorts[spatial_dims]
    mimic, plain = (untrained_pix2pix(cohort, margin_mm=MARGIN, **options) for options in ({"mimics": 1.0}, {}))
    sample = read_samples(cohort)[0]
    mask = SMALL.sample(sample.as_scan(), generator(0), min_volume=10.0).mask
    drawn, lesion = mimic.redraw_healthy(sample, mask, generator(1)), plain.synthesize(sample, mask, generator(1))
    assert np.array_equal(drawn.label, sample.label)
    hole, _ = hole_around(mask, MARGIN, sample.spacing)
    own = sample.label > 0
    changed = (drawn.image != sample.image).any(0)
    assert not changed[~hole | own].any()
    assert changed[hole & ~own].mean() > 0.5
    assert not np.array_equal(drawn.image, lesion.image)
    full = mimic.synthesize(sample, mask, generator(1))
    assert np.array_equal(full.image, lesion.image)


@DIMS
def test_negatives_beside_redrawn_lesions_lie_elsewhere(spatial_dims, models, rich_cohorts, tmp_path):
    cohort = rich_cohorts[spatial_dims]
    masks = OwnOrOther(SMALL, 0.9)
    plain = synthesize(models[spatial_dims], cohort, masks, tmp_path / "plain", n=6, min_volume=10.0)
    run = synthesize(models[spatial_dims], cohort, masks, tmp_path / "out", n=6, min_volume=10.0, negatives=0.5)
    negatives = [case for case in run.cohort if case.negative]
    assert 0 < len(negatives) < 6
    for case in run.cohort:
        source = load_scan(cohort[case.source_case], cohort.channels)
        new = load_scan(case, cohort.channels)
        own = source.label > 0
        if case.negative:
            assert np.array_equal(new.label, source.label)
            assert np.array_equal(new.image[:, own], source.image[:, own])
            assert not np.array_equal(new.image, source.image)
        else:
            assert np.array_equal(new.image, load_scan(plain.cohort[case.case_id], cohort.channels).image)


def test_a_stopped_run_goes_on_with_the_same_negatives(models, rich_cohorts, tmp_path):
    cohort, out = rich_cohorts[2], tmp_path / "out"
    draw = partial(synthesize, models[2], cohort, MaskBank(cohort), out, n=4)
    draw(negatives=0.5)
    before = contents(out)
    for record in sorted((out / "provenance").iterdir())[::2]:
        record.unlink()
    draw(negatives=0.5)
    assert contents(out) == before
    with pytest.raises(Exception, match="negatives"):
        draw()


@pytest.mark.parametrize(
    ("masks", "options", "what"),
    [
        (SMALL, {"negatives": 1.5}, "is no share"),
        (OwnMasks(), {"negatives": 0.2}, "would be gone while its label stays"),
    ],
)
def test_negatives_that_make_no_sense_are_refused_in_one_line(masks, options, what, models, rich_cohorts, tmp_path):
    with pytest.raises(ConfigError, match=what) as error:
        synthesize(models[2], rich_cohorts[2], masks, tmp_path / "out", **options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_draw_them_is_refused(rich_cohorts, tmp_path):
    model = untrained_pix2pix(rich_cohorts[2])
    with pytest.raises(ConfigError, match="healthy_holes"):
        synthesize(model, rich_cohorts[2], SMALL, tmp_path / "out", negatives=0.2)
    with pytest.raises(ConfigError, match="healthy_holes"):
        SynthesizeLesiond(model, SMALL, negatives=0.2)


def test_no_score_chooses_among_negatives(models, rich_cohorts, tmp_path):
    keep = KeepBest(share=0.5, by="sharpness")
    with pytest.raises(ConfigError, match="negatives lack"):
        synthesize_best(models[2], rich_cohorts[2], SMALL, keep=keep, out=tmp_path / "out", n=2, negatives=0.2)


@DIMS
def test_on_the_fly_an_item_says_where_it_was_redrawn(spatial_dims, models, rich_cohorts):
    transform = SynthesizeLesiond(models[spatial_dims], SMALL, prob=0.8, min_volume=10.0, negatives=0.5)
    transform.set_random_state(0)
    sample, kinds = read_samples(rich_cohorts[spatial_dims])[0], set()
    for _ in range(16):
        item = transform(sample.as_item())
        negative, changed = item["negative"][0] > 0, (item["image"] != sample.image).any(0)
        drawn = not np.array_equal(item["label"][0], sample.label)
        assert not (drawn and negative.any())
        if negative.any():
            hole, _ = hole_around(negative.astype(np.int16), MARGIN, sample.spacing)
            assert not changed[~hole].any()
            assert changed[negative].mean() > 0.9
        kinds.add("lesion" if drawn else "negative" if negative.any() else "untouched")
        assert item["negative"].shape == item["label"].shape
        assert item["negative"].dtype == item["label"].dtype
    assert kinds == {"lesion", "negative", "untouched"}


@DIMS
def test_training_items_are_cut_at_negatives_too_and_show_no_lesion_there(spatial_dims, models, rich_cohorts):
    free = [replace(s, label=np.zeros_like(s.label)) for s in read_samples(rich_cohorts[spatial_dims])]
    transform = SynthesizeLesiond(models[spatial_dims], SMALL, prob=1.0, min_volume=10.0, negatives=0.5)
    source, none = Source(samples=free, transform=Compose([transform]), lesion_share=1.0), Source(samples=free)
    size = (8,) * spatial_dims
    options = {"roi_size": size, "augment": None, "seed": 0}
    drawn, plain = (TrainingSet([one], spatial_dims=spatial_dims, background=-1.0, **options) for one in (source, none))
    lesions = [bool(drawn[draw]["label"].any()) for draw in range(16)]
    assert 2 < sum(lesions) < 14
    assert len(drawn[0]["image"]) == len(plain[0]["image"])
    patches = PatchSet([source], [[]], output=(-1.0, 1.0), **options)
    told = [bool(patches[draw]["lesion"]) for draw in range(16)]
    assert 2 < sum(told) < 14


def test_a_plan_needs_a_generator_that_fills_holes_and_masks_of_others():
    holes = {"method": "pix2pix", "options": {"healthy_holes": 0.2}, "negatives": 0.2}
    assert SynthesizerPlan(**holes).negatives == 0.2
    assert SynthesizerPlan(**holes, own_share=0.5).negatives == 0.2
    assert SynthesizerPlan(**holes | {"options": {"mimics": 1}}).negatives == 0.2
    assert _describe_number(SynthesizerPlan(**holes)) == "100 cases, 20% of them redrawn without a lesion"
    for change, what in (
        ({"options": {}}, "set healthy_holes"),
        ({"method": "copy_paste", "options": {}}, "set healthy_holes"),
        ({"masks": "own"}, "while its label stays"),
        ({"options": {"mimics": 0.5}}, "negatives that are not mimics need healthy_holes"),
        ({"options": {"mimics": 1, "lesion_intensity": False}}, "mimics are lesions of little contrast"),
        ({"options": {"mimics": 1, "condition": "scan"}}, "mimics needs condition=inpaint"),
        ({"negatives": 1.1}, "less than or equal to 1"),
    ):
        with pytest.raises(ValueError, match=what):
            SynthesizerPlan(**{**holes, **change})


def test_generators_of_negatives_draw_lesions_as_before(models, rich_cohorts):
    sample = read_samples(rich_cohorts[2])[0]
    mask = np.zeros_like(sample.label)
    mask[20:26, 20:26] = 1
    plain = untrained_pix2pix(rich_cohorts[2], margin_mm=MARGIN)
    images = [model.synthesize(sample, mask, generator(0)).image for model in (plain, models[2])]
    assert np.array_equal(*images)
