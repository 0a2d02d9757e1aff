"""Cross-validation over subjects."""

import json

import pandas as pd
import pytest
import yaml

from lesionforge.benchmark.folds import cross_validate
from lesionforge.benchmark.kinds import runner, study_plan
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.run import run_benchmark
from lesionforge.benchmark.setting import make_setting
from lesionforge.errors import ConfigError, OutputError
from tests.helpers import tiny_cohort

FOLDS = 3
CONTENT = {
    "subjects": {"numbers": [2], "folds": FOLDS},
    "task": {"filters": [4, 8], "res_units": 0, "roi_size": [32, 32]},
    "training": {"steps": 1, "batch_size": 2, "epoch_steps": 1, "device": "cpu"},
    "seeds": [0],
    "arms": {"real": {"augment": "none"}, "classical": {}},
    "baseline": "real",
    "examples": 1,
}
PLAN = Plan.model_validate(CONTENT)


def one_fold(fold, plan=PLAN):
    return plan.model_copy(update={"subjects": plan.subjects.model_copy(update={"fold": fold})})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("c"), spatial_dims=2, n_subjects=7, cases_per_subject=2, n_healthy=1)


@pytest.fixture(scope="module")
def study(cohort, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    said = []
    verdict = cross_validate(PLAN, cohort, out=out, say=said.append)
    return out, verdict, said


def test_every_subject_is_tested_on_once_and_never_trained_on_then(cohort, tmp_path):
    settings = [make_setting(one_fold(fold), cohort, {}, tmp_path) for fold in range(FOLDS)]
    tested = [subject for setting in settings for subject in setting.test.subjects]
    assert sorted(tested) == sorted(cohort.subjects)
    chosen_on = [subject for setting in settings for subject in setting.development.subjects]
    assert sorted(chosen_on) == sorted(cohort.subjects)
    for setting in settings:
        parts = [set(setting.train[2, 0].subjects), set(setting.development.subjects), set(setting.test.subjects)]
        assert sum(map(len, parts)) == len(set.union(*parts))


def test_one_report_holds_the_scores_of_all(study, cohort):
    out, verdict, said = study
    results = pd.read_csv(out / "results.csv")
    assert sorted(results[results["arm"] == "real"]["case_id"]) == sorted(case.case_id for case in cohort)
    assert set(results["fold"]) == {"fold0", "fold1", "fold2"}
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "3 folds by subject" in report
    assert "7, each in one fold" in report
    assert "classical" in verdict
    assert sum(line.startswith("fold2: ") for line in said) == 1
    for fold in range(FOLDS):
        assert (out / f"fold{fold}" / "report.html").is_file()
    summary = pd.read_csv(out / "summary.csv")
    assert summary[(summary["metric"] == "dice")]["n_subjects"].eq(7).all()


@pytest.mark.slow
def test_what_is_done_is_not_done_again(study, cohort):
    out, verdict, _ = study
    models = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    pools = [make_setting(one_fold(fold), cohort, {}, out).whole for fold in range(FOLDS)]
    assert len(models) == 2 * FOLDS + sum(whole != 2 for whole in pools)
    assert cross_validate(PLAN, cohort, out=out) == verdict
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")} == models
    with pytest.raises(OutputError, match="another plan"):
        cross_validate(PLAN.model_copy(update={"seeds": (1,)}), cohort, out=out)


@pytest.mark.parametrize(("subjects", "runs"), [({}, cross_validate), ({"fold": 1}, run_benchmark)])
def test_a_plan_with_folds_runs_all_of_them_or_the_one_it_names(tmp_path, subjects, runs):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(CONTENT))), encoding="utf-8")
    study = runner(study_plan(path, changes={"subjects": subjects}))
    assert study.func is runs


@pytest.mark.parametrize("subjects", [{"folds": 3, "fold": 3}, {"fold": 0}, {"folds": 2}, {"folds": 3, "fold": -1}])
def test_folds_that_are_not_there_are_refused(subjects):
    with pytest.raises(ValueError, match="fold"):
        Plan.model_validate({**CONTENT, "subjects": {"numbers": [2], **subjects}})


def test_more_folds_than_subjects_are_refused_before_anything_is_written(cohort, tmp_path):
    subjects = PLAN.subjects.model_copy(update={"folds": 8})
    with pytest.raises(ConfigError, match="8 folds of 7 subjects"):
        cross_validate(PLAN.model_copy(update={"subjects": subjects}), cohort, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="does not say which fold"):
        run_benchmark(PLAN, cohort, out=tmp_path / "out")
