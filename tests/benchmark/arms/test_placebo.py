"""Controls: arms that train on something else than drawings, or for longer."""

import re
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import yaml

from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_synthesizer
from lesionforge.benchmark.arms.ingredients import ingredients, lengths, on_the_fly
from lesionforge.benchmark.arms.placebo import with_shuffled_labels
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.estimate.timing import _short_arm
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.method_notes import describe_arm
from lesionforge.benchmark.run import make_study, run_benchmark
from lesionforge.cohort.case import Annotation
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.config import parse_options
from lesionforge.errors import CohortError, ConfigError
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.training.items.lesion_planes import Planes
from tests.helpers import tiny_cohort

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
PAGE = Path(__file__).parents[3] / "docs" / "choosing-a-method.md"


def snippet():
    """The plan of the page, as it can be copied."""
    chapter = PAGE.read_text(encoding="utf-8").split("## Controls")[1]
    return yaml.safe_load(re.search(r"```yaml\n(.*?)```", chapter, re.DOTALL)[1])


def plan(spatial_dims=2, **changes):
    """The plan of the page with a method that needs no training, at a tiny size."""
    content = snippet()
    for synthesizer in content["synthesizers"].values():
        small = {"method": "injection", "options": {"spatial_dims": spatial_dims}, "cases": 8, "min_volume": 20}
        synthesizer |= small
    content["synthesizers"]["inpaint"]["masks"] = "bank"
    content["arms"]["on_the_fly"] = {"synthesizer": "inpaint", "use": "on_the_fly", "placebo": "undrawn"}
    for arm in content["arms"].values():
        arm["augment"] = "none"
    return parse_options(
        Plan,
        {
            **content,
            "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [1.0]},
            "task": {"spatial_dims": spatial_dims, "filters": [4, 8], "res_units": 0, "roi_size": [16] * spatial_dims},
            "training": {"steps": 2, "batch_size": 2, "device": "cpu", "preview_minutes": None},
            "seeds": [0],
            **changes,
        },
    )


@pytest.fixture(scope="module")
def repeats(tmp_path_factory):
    """A training set with offline cases, by dimensions."""
    made = {}
    for dims in (2, 3):
        folder = tmp_path_factory.mktemp(f"placebo{dims}")
        cohort = tiny_cohort(folder / "c", spatial_dims=dims, n_subjects=8, n_healthy=4)
        repeat = make_arms(plan(dims), cohort, {}, folder / "out").repeat(1.0, 0)
        fit_synthesizer(repeat, "inpaint")
        for name in ("inpaint", "redrawn"):
            draw_offline(repeat, name)
        made[dims] = repeat
    return made


def test_the_plan_of_the_page_can_be_copied():
    copied = parse_options(Plan, snippet())
    assert {arm.placebo for arm in copied.arms.values()} == {None, "undrawn", "shuffled_labels"}


@BOTH
@pytest.mark.parametrize(("arm", "with_lesion"), [("negatives", False), ("no_op", True)])
def test_undrawn_cases_are_the_scans_as_they_were(arm, with_lesion, spatial_dims, repeats):
    repeat = repeats[spatial_dims]
    found = ingredients(repeat.training(arm, 2)).synthetic
    drawn = read_cohort(repeat.cohort_folder(repeat.plan.arms[arm].synthesizer))
    assert [case.case_id for case in found] == [case.case_id for case in drawn]
    assert found.ancestry == drawn.ancestry
    for case, drawing in zip(found, drawn, strict=True):
        shown, scan = load_scan(case, found.channels), load_scan(repeat.train[case.source_case], found.channels)
        assert np.array_equal(shown.image, scan.image)
        assert np.array_equal(shown.label, scan.label)
        assert shown.label.any() == with_lesion
        assert case.annotation is (Annotation.LESION if with_lesion else Annotation.LESION_FREE)
        assert not np.array_equal(load_scan(drawing, found.channels).image, scan.image)


@BOTH
def test_undrawn_on_the_fly_shows_the_slices_that_would_be_drawn_into(spatial_dims, repeats):
    repeat = repeats[spatial_dims]
    model = load_synthesizer(repeat.model_folder("inpaint"))
    source = on_the_fly(repeat.training("on_the_fly", 2), model)
    assert source.transform is None
    assert source.lesion_share == 0
    planes, rng = Planes(source.samples, spatial_dims), np.random.default_rng(0)
    assert not any(planes.pick(False, rng).label.any() for _ in range(10))
    assert {sample.case_id for sample in source.samples} == {case.case_id for case in repeat.train.healthy()}


@BOTH
def test_labels_are_shuffled_among_the_drawings_of_a_scan(spatial_dims, repeats):
    repeat = repeats[spatial_dims]
    drawn = read_cohort(repeat.cohort_folder("inpaint"))
    found = ingredients(repeat.training("shuffled", 2)).synthetic
    assert [case.images for case in found] == [case.images for case in drawn]
    for case, drawing in zip(found, drawn, strict=True):
        assert case.label != drawing.label
        owner = next(other for other in drawn if other.label == case.label)
        assert owner.source_case == case.source_case
    assert sorted(case.label for case in found) == sorted(case.label for case in drawn)
    assert found.cases == ingredients(repeat.training("shuffled", 2)).synthetic.cases
    assert any(with_shuffled_labels(drawn, seed).cases != found.cases for seed in range(6))


def test_a_single_drawing_has_no_other_label_to_take_and_is_left_out(repeats):
    drawn = read_cohort(repeats[2].cohort_folder("inpaint"))
    lone = drawn.cases[0].source_case
    fewer = drawn.with_cases([case for case in drawn if case is drawn.cases[0] or case.source_case != lone])
    assert [case.case_id for case in with_shuffled_labels(fewer, 0)] == [case.case_id for case in fewer.cases[1:]]
    with pytest.raises(CohortError, match=r"no scan with two drawings.*raise `cases`"):
        with_shuffled_labels(drawn.with_cases(drawn.cases[:1]), 0)


@pytest.mark.parametrize(("cases", "refused"), [(7, True), (8, False)])
def test_labels_that_could_not_be_shuffled_are_refused_before_anything_trains(repeats, tmp_path, cases, refused):
    few = plan()
    few.synthesizers["inpaint"] = few.synthesizers["inpaint"].model_copy(update={"cases": cases, "lesion_free": False})
    said = rf"arm shuffled, n = 1, seed 0: .*but {cases} cases are drawn into 4 scans; raise `cases` of inpaint to 8"
    with pytest.raises(ConfigError, match=said) if refused else nullcontext():
        make_study(few, read_cohort(repeats[2].study.out.parent / "c"), {}, tmp_path)


def test_a_longer_arm_has_more_steps_and_the_report_says_so():
    of_plan = plan()
    assert lengths(of_plan, of_plan.arms["longer"], 10, real=4, synthetic=0) == (20, 0)
    assert lengths(of_plan, of_plan.arms["classical"], 10, real=4, synthetic=0) == (10, 0)
    tuned = of_plan.arms["drawn"].model_copy(update={"longer": 3.0, "finetune": 0.5})
    assert lengths(of_plan, tuned, 10, real=4, synthetic=4) == (15, 15)
    assert describe_arm(of_plan, "longer") == "real, no augmentation, for 2 times the steps"


def test_the_report_says_what_stands_in_for_drawings():
    drawn = "injection (8 cases offline)"
    expected = {
        "shuffled": f"50% {drawn} with labels shuffled among the drawings of a scan, the rest real, no augmentation",
        "no_op": f"50% the scans before {drawn}, the rest real, no augmentation",
        "on_the_fly": "real, 50% of the items as injection would draw into them, undrawn, no augmentation",
    }
    assert {name: describe_arm(plan(), name) for name in expected} == expected


def test_an_estimate_times_controls_without_offline_cases():
    for arm in plan().arms.values():
        short = _short_arm(arm)
        assert type(arm).model_validate(short.model_dump()) == short
        assert short.longer is None


@pytest.mark.parametrize(
    ("arm", "what"),
    [
        ({"placebo": "undrawn"}, "name the synthesizer that makes them"),
        ({"synthesizer": "inpaint", "use": "on_the_fly", "placebo": "shuffled_labels"}, "labels are shuffled among"),
        ({"synthesizer": "redrawn", "placebo": "shuffled_labels"}, "drawings in a scan have the same"),
        ({"longer": 1.0}, "greater than 1"),
    ],
)
def test_controls_that_control_nothing_are_refused(arm, what):
    with pytest.raises(ConfigError, match=what):
        plan(arms={"classical": {}, "other": arm})


def test_the_length_of_baseline_and_paper_is_given_otherwise():
    with pytest.raises(ConfigError, match=r"set training\.steps instead"):
        plan(arms={"classical": {"longer": 2}})
    with pytest.raises(ConfigError, match="the budget of the paper is fixed"):
        plan(budget="paper")


@pytest.mark.slow
@BOTH
def test_all_controls_run_beside_the_arm_that_they_control(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=8, n_healthy=4)
    run_benchmark(plan(spatial_dims), cohort, out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "2 times as long: longer" in page
