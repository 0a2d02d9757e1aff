"""Audits of offline cases that a plan asks for."""

import json

import pandas as pd
import pytest

from lesionforge.audit.membership import COLUMNS
from lesionforge.benchmark.arms.ahead import Ahead
from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_synthesizer
from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.arms.audit_offline import _attacked, audit_offline, audit_over_folds
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.folds import FoldStudy
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.audits import audits_in
from lesionforge.benchmark.report.case_facts import TEST_CASES, facts_of_cases
from lesionforge.benchmark.report.page import KEYS, REFERENCE
from lesionforge.config import parse_options
from lesionforge.errors import ConfigError
from tests.helpers import tiny_cohort

QUICK = {"encoder": {"steps": 2}, "halves": 5}
INJECTION = {"method": "injection", "options": {"spatial_dims": 2}}
GAN = {"method": "pix2pix", "options": {"roi_size": [32, 32], "channels": [4, 8], "width": 1.0}}


def plan(*, drawn=None, arm=None, **changes):
    injection = {**INJECTION, "masks": "bank", "min_volume": 20, "per_case": 3}
    return parse_options(
        Plan,
        {
            "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [2, 4]},
            "task": {"spatial_dims": 2, "filters": [4, 8], "res_units": 0, "roi_size": [32, 32]},
            "training": {"steps": 1, "batch_size": 2, "device": "cpu", "preview_minutes": None},
            "seeds": [0, 1],
            "synthesizers": {
                "drawn": {**injection, "audit": QUICK, **(drawn or {})},
                "other": injection,
            },
            "arms": {
                "real": {"augment": "none"},
                "both": {"augment": "none", "synthesizer": "drawn", **(arm or {})},
                "others": {"augment": "none", "synthesizer": "other"},
            },
            "baseline": "real",
            **changes,
        },
    )


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("c"), spatial_dims=2, n_subjects=8)


def audited(of_plan, cohort, out):
    """Fit, draw and audit as the jobs of a run do; return the repeat and the message."""
    repeat = make_arms(of_plan, cohort, {}, out).shown
    fit_synthesizer(repeat, "drawn")
    draw_offline(repeat, "drawn")
    return repeat, audit_offline(repeat, "drawn")


def test_it_is_a_job_of_the_largest_training_set_and_first_seed(cohort, tmp_path):
    study = ArmStudy.make(plan(), cohort, {}, tmp_path / "out")
    jobs = {job.name: job for job in study.jobs() if job.function is audit_offline}
    assert list(jobs) == ["n4/seed0/audits/drawn/audit.json"]
    assert jobs["n4/seed0/audits/drawn/audit.json"].needs == ("n4/seed0/cohorts/drawn/cases.csv",)
    ahead = Ahead(study=make_arms(plan(drawn={"audit": None}), cohort, {}, tmp_path / "out"))
    ahead.add_audits(ahead.study.shown)
    assert not ahead.jobs


def test_held_out_subjects_are_the_control_and_the_report_finds_it(cohort, tmp_path):
    repeat, said = audited(plan(), cohort, tmp_path / "out")
    assert said.startswith("drawn, n = 4, seed 0: ")
    assert said.endswith(" copies among 12 synthetic cases")
    attacks = pd.read_csv(repeat.audit_folder("drawn") / "attacks.csv")
    held_out = {*repeat.study.test.subjects, *repeat.study.development.subjects}
    assert set(attacks.loc[~attacks["member"], "subject_id"]) == held_out
    assert set(attacks.loc[attacks["member"], "subject_id"]) <= set(repeat.train.subjects)
    (found,) = audits_in(tmp_path / "out")
    assert found["name"] == "drawn"
    assert [part["title"] for part in found["sections"]][1:] == ["Copies", "Membership", "Controls"]
    assert repeat.model_folder("other") == repeat.model_folder("drawn")
    assert "## Audit of drawn\n" in (repeat.model_folder("drawn") / "model_card.md").read_text()


@pytest.mark.slow
def test_a_generator_with_its_critic_is_attacked_from_within(cohort, tmp_path):
    short = {"training": {"steps": 1, "batch_size": 2, "device": "cpu", "preview_minutes": None}}
    repeat, _ = audited(plan(drawn={**GAN, **short}), cohort, tmp_path / "out")
    attacks = pd.read_csv(repeat.audit_folder("drawn") / "attacks.csv")
    assert {"critic score", "reconstruction error"} <= set(attacks["attack"])
    control = pd.read_csv(repeat.audit_folder("drawn") / "without_generator.csv")
    assert {f"{name}, untrained networks" for name in ("critic score", "reconstruction error")} <= set(
        control["attack"]
    )


def test_the_critic_of_the_last_step_does_not_judge_a_selected_candidate(cohort, tmp_path):
    options = {**GAN["options"], "candidates": [1, 2]}
    short = {"training": {"steps": 1, "batch_size": 2, "device": "cpu", "preview_minutes": None}}
    selected = plan(drawn={**GAN, **short, "options": options, "selection": {}})
    repeat = make_arms(selected, cohort, {}, tmp_path / "out").shown
    assert _attacked(repeat, "drawn") is None
    repeat = make_arms(plan(drawn={**GAN, **short}), cohort, {}, tmp_path / "out").shown
    fit_synthesizer(repeat, "drawn")
    assert _attacked(repeat, "drawn") == repeat.model_folder("drawn")


def test_cases_that_allow_no_audit_stop_nothing(cohort, tmp_path):
    repeat, said = audited(plan(drawn={"per_case": 1}), cohort, tmp_path / "out")
    assert "not audited" in said
    assert "has 4 synthetic cases" in said
    (found,) = audits_in(tmp_path / "out")
    assert "has 4 synthetic cases" in found["sections"][0]["main"][0]
    audit_over_folds([repeat.audit_folder("drawn")] * 2, tmp_path / "together")
    assert not (tmp_path / "together").exists()


def test_folds_say_together_whether_members_score_higher(cohort, tmp_path):
    folds = plan(subjects={"folds": 3, "numbers": [2]}, seeds=[0])
    study = FoldStudy.make(folds, cohort, tmp_path / "out")
    scores = pd.DataFrame([("real", 2, 0, "a", "a", 0.5)], columns=[*KEYS, "dice"])
    for name, fold in study.of_folds.items():
        repeat = fold.arms.shown
        folder = repeat.audit_folder("drawn")
        folder.mkdir(parents=True)
        subjects = [*repeat.train.subjects, *repeat.study.test.subjects]
        rows = [("near", one, one in repeat.train.subjects, float(one in repeat.train.subjects)) for one in subjects]
        pd.DataFrame(rows, columns=[*COLUMNS]).to_csv(folder / "attacks.csv", index=False)
        for table in ("results.csv", REFERENCE):
            scores.to_csv(tmp_path / "out" / name / table, index=False)
        facts = facts_of_cases(fold.test.with_cases([]), fold.arms.channels)
        facts.to_csv(tmp_path / "out" / name / TEST_CASES, index=False)
    study.collect()
    (found,) = audits_in(tmp_path / "out")
    both = json.dumps(found["sections"])
    assert found["sections"][0]["title"] == "Membership over folds"
    assert "subjects score higher with a generator that was fitted on them" in both


def test_cases_that_no_arm_uses_are_not_audited():
    with pytest.raises(ConfigError, match="synthesizer 'drawn' is audited, but no arm uses its cases offline"):
        plan(arm={"use": "on_the_fly"}, drawn={"per_case": None, "cases": 20})
    with pytest.raises(ConfigError, match="encoder"):
        plan(drawn={"audit": {"encoder": {"pace": 2}}})


def test_an_option_leaves_the_others_at_their_defaults():
    audit = plan().synthesizers["drawn"].audit
    assert (audit.encoder.steps, audit.encoder.batch_size, audit.planted) == (2, 32, 5)
    assert Plan.model_validate(plan().model_dump()) == plan()
