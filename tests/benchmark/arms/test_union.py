"""Arms whose real and synthetic cases are one training set, and synthetic cohorts as large as the training set asks."""

import pytest

from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_synthesizer, train
from lesionforge.benchmark.arms.ingredients import lengths
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.estimate.work import cases_drawn
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.method_notes import describe_arm
from lesionforge.cohort.layouts import read_cohort
from lesionforge.errors import ConfigError
from lesionforge.training.model_folder import read_info
from tests.benchmark.arms.tiny_plan import tiny_plan
from tests.helpers import tiny_cohort


def plan(spatial_dims=2, *, arm=None, synthesizer=None):
    return tiny_plan(spatial_dims, arms={"both": arm or {"union": True}}, synthesizer=synthesizer or {"per_case": 3})


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_case_counts_alike_whether_real_or_drawn(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=8)
    repeat = make_arms(plan(spatial_dims), cohort, {}, tmp_path / "out").repeat(1.0, 0)
    assert cases_drawn(repeat, "drawn") == 3 * len(repeat.train)
    fit_synthesizer(repeat, "drawn")
    draw_offline(repeat, "drawn")
    drawn = read_cohort(repeat.cohort_folder("drawn"))
    assert len(drawn) == 3 * len(repeat.train)
    training = repeat.training("both", 1)
    train(training)
    assert read_info(training.folder).training["share"] == pytest.approx(0.75)


def test_the_report_says_so():
    assert describe_arm(plan(), "both") == (
        "real and injection (3 cases for each training case offline) as one training set, no augmentation"
    )


def test_an_epoch_of_the_paper_visits_all_cases():
    of_plan = plan().model_copy(update={"budget": "paper"})
    assert lengths(of_plan, of_plan.arms["both"], 1, real=4, synthetic=12) == (300 * 8, 0)


@pytest.mark.parametrize(
    ("arm", "what"),
    [
        ({"use": "on_the_fly"}, "union needs a synthesizer and its offline cases"),
        ({"synthesizer": None}, "union needs a synthesizer and its offline cases"),
        ({"share": 0.2}, "union fixes the share"),
        ({"finetune": 0.2}, "union fixes the share"),
    ],
)
def test_what_union_leaves_no_choice_about_is_refused(arm, what):
    with pytest.raises(ConfigError, match=what):
        plan(arm={"union": True, **arm})


def test_two_numbers_of_cases_are_one_too_many():
    with pytest.raises(ConfigError, match="cases has no effect beside per_case"):
        plan(synthesizer={"per_case": 3, "cases": 40})
    with pytest.raises(ConfigError, match=r"per_case: input should be greater than or equal to 1"):
        plan(synthesizer={"per_case": 0})


def test_a_plan_is_the_same_when_it_is_read_again():
    assert Plan.model_validate(plan().model_dump()) == plan()
