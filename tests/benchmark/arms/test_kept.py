"""Arms that keep the drawings which a segmentation network of other subjects finds neither badly nor too well."""

from contextlib import nullcontext

import pandas as pd
import pytest

from lesionforge.benchmark.arms import judged
from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_synthesizer
from lesionforge.benchmark.arms.ingredients import ingredients
from lesionforge.benchmark.arms.judged import SCORES, describe_kept, judge_offline
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.report.method_notes import describe_arm
from lesionforge.benchmark.run import run_benchmark
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.people import People
from lesionforge.errors import CohortError, ConfigError
from tests.benchmark.arms.tiny_plan import tiny_plan
from tests.helpers import tiny_cohort

KEPT = [0.3, 0.9]


def plan(spatial_dims=2, *, masks="bank", arm=None, **changes):
    arms = {"all": {}, "kept": {"kept": KEPT, **(arm or {})}}
    return tiny_plan(spatial_dims, arms=arms, synthesizer={"masks": masks, "cases": 10}, **changes)


@pytest.fixture
def judging(monkeypatch):
    """Records which network judges which drawings, and gives them the scores 0.0, 0.1, ... in turn."""
    seen = []

    def score(task, cohort):
        seen.append((set(task.info.training_subjects), cohort.cases))
        before = sum(len(cases) for _, cases in seen[:-1])
        rows = [(case.case_id, case.subject_id, (before + n) / 10) for n, case in enumerate(cohort)]
        return pd.DataFrame(rows, columns=["case_id", "subject_id", "fcn_score"])

    monkeypatch.setattr(judged, "segmentability", score)
    return seen


@pytest.mark.parametrize(
    ("spatial_dims", "masks", "parts"),
    [(2, "bank", 3), (2, "own", 2), (2, "interpolated", 4), pytest.param(3, "bank", 3, marks=pytest.mark.slow)],
)
def test_no_network_judges_a_drawing_of_its_own_subjects(spatial_dims, masks, parts, judging, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=10)
    repeat = make_arms(plan(spatial_dims, masks=masks), cohort, {}, tmp_path / "out").repeat(1.0, 0)
    fit_synthesizer(repeat, "drawn")
    draw_offline(repeat, "drawn")
    judge_offline(repeat, "drawn")
    drawn, people = read_cohort(repeat.cohort_folder("drawn")), People(repeat.train)
    assert sorted(case.case_id for _, cases in judging for case in cases) == sorted(case.case_id for case in drawn)
    for known, cases in judging:
        assert 0 < len(known) <= -(-len(repeat.train.subjects) // parts)
        assert all(known.isdisjoint(people.behind(case.mask_id) | {case.subject_id}) for case in cases)

    scores = pd.read_csv(repeat.judged_folder("drawn") / SCORES).set_index("case_id")["fcn_score"]
    found = ingredients(repeat.training("kept", 1)).synthetic
    assert {case.case_id for case in found} == set(scores.index[(scores >= 0.3) & (scores <= 0.9)])
    assert all(set(repeat.train.subjects) <= set(case.parents) for case in found)
    assert len(ingredients(repeat.training("all", 1)).synthetic) == len(drawn)
    assert describe_kept(repeat.study) == {"Kept drawings": f"kept: {len(found)} of {len(drawn)}"}
    start = "case_id,subject_id,fcn_score,network\ncase_000_s00000,sub_00,"
    (repeat.judged_folder("drawn") / SCORES).write_text(f"{start}0.95,0\n")
    with pytest.raises(CohortError, match=r"no drawing of drawn was found with a Dice of 0\.3 to 0\.9; widen kept"):
        ingredients(repeat.training("kept", 1))
    (repeat.judged_folder("drawn") / SCORES).write_text(f"{start}0,0\ncase_001_s00001,sub_01,0.2,1\n")
    with pytest.raises(CohortError, match=r"to 0\.9; 1 of the 2 networks that judged them found nothing; widen kept"):
        ingredients(repeat.training("kept", 1))
    told = "kept: 0 of 2, 1 of the 2 networks that judged them found nothing"
    assert describe_kept(repeat.study) == {"Kept drawings": told}
    earlier = "case_id,subject_id,fcn_score\ncase_000_s00000,sub_00,0.5\ncase_001_s00001,sub_01,0\n"
    (repeat.judged_folder("drawn") / SCORES).write_text(earlier)
    assert describe_kept(repeat.study) == {"Kept drawings": "kept: 1 of 2"}


def test_too_few_subjects_to_judge_are_told(judging, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=4)
    repeat = make_arms(plan(), cohort, {}, tmp_path / "out").repeat(1.0, 0)
    fit_synthesizer(repeat, "drawn")
    draw_offline(repeat, "drawn")
    what = "has 2 training subjects with a lesion; judging drawings of drawn takes 3"
    with pytest.raises(CohortError, match=what):
        judge_offline(repeat, "drawn")


@pytest.mark.parametrize(
    ("arm", "what"),
    [
        ({"synthesizer": None}, "kept needs a synthesizer and its offline cases"),
        ({"use": "on_the_fly"}, "kept needs a synthesizer and its offline cases"),
        ({"placebo": "shuffled_labels"}, "labels are shuffled among all drawings of a scan"),
        ({"kept": [0.9, 0.3]}, "kept is 0.9 to 0.3: give a range of Dice within 0 to 1"),
        ({"kept": [0.3, 90]}, "kept is 0.3 to 90"),
    ],
)
def test_what_keeps_nothing_is_refused(arm, what):
    with pytest.raises(ConfigError, match=what):
        plan(arm=arm)


def test_a_task_without_masks_keeps_nothing():
    with pytest.raises(ConfigError, match="arm 'kept' keeps drawings by their Dice, which detection does not predict"):
        plan(task={"method": "detection", "spatial_dims": 2})


@pytest.fixture
def with_negatives(tmp_path):
    """A training set whose first and last drawings are marked as negatives."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=10)
    repeat = make_arms(plan(), cohort, {}, tmp_path / "out").repeat(1.0, 0)
    fit_synthesizer(repeat, "drawn")
    draw_offline(repeat, "drawn")
    table = repeat.cohort_folder("drawn") / "cases.csv"
    rows = pd.read_csv(table)
    rows["negative"] = ["True", *[""] * (len(rows) - 2), "True"]
    rows.to_csv(table, index=False)
    return repeat, [rows["case_id"].iloc[0], rows["case_id"].iloc[-1]]


def test_negatives_have_no_lesion_to_be_judged_and_are_all_kept(with_negatives, judging):
    repeat, negatives = with_negatives
    judge_offline(repeat, "drawn")
    judged_ids = {case.case_id for _, cases in judging for case in cases}
    assert judged_ids.isdisjoint(negatives)
    assert len(judged_ids) == len(read_cohort(repeat.cohort_folder("drawn"))) - 2
    scores = pd.read_csv(repeat.judged_folder("drawn") / SCORES).set_index("case_id")["fcn_score"]
    found = ingredients(repeat.training("kept", 1)).synthetic
    good = set(scores.index[scores.between(*KEPT)])
    assert {case.case_id for case in found} == good | set(negatives)
    assert 0 < len(good) < len(judged_ids)


def test_drawings_without_any_lesion_cannot_be_judged(with_negatives):
    repeat, _ = with_negatives
    table = repeat.cohort_folder("drawn") / "cases.csv"
    pd.read_csv(table).assign(negative="True").to_csv(table, index=False)
    with pytest.raises(CohortError, match="holds negatives alone, which show no lesion to be judged"):
        judge_offline(repeat, "drawn")


@pytest.mark.parametrize("negatives", [0.5, 1])
def test_a_plan_with_negatives_alone_keeps_nothing(negatives):
    holes = {"method": "pix2pix", "options": {"healthy_holes": 0.2}, "negatives": negatives}
    said = "arm 'kept' keeps drawings by their lesions, which negatives lack"
    with pytest.raises(ConfigError, match=said) if negatives == 1 else nullcontext():
        plan(synthesizers={"drawn": holes})


def test_the_report_says_which_drawings_are_kept():
    drawn = "injection (10 cases offline) found with a Dice of 0.3 to 0.9"
    assert describe_arm(plan(), "kept") == f"50% {drawn}, the rest real, no augmentation"


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_benchmark_judges_before_it_trains(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=10)
    run_benchmark(plan(spatial_dims, arm={"kept": [0.0, 1.0]}), cohort, out=tmp_path / "out")
    assert "Kept drawings" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
