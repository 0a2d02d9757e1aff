"""Cross-validation over subjects."""

import shutil

import pandas as pd
import pytest

from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.folds import FoldStudy, _doubts
from lesionforge.benchmark.plan import Control, Plan
from lesionforge.benchmark.report.made_of import Source
from lesionforge.benchmark.run import run_benchmark
from lesionforge.engine.job import ready
from lesionforge.errors import ConfigError, OutputError
from tests.helpers import tiny_cohort

FOLDS = 3
CONTENT = {
    "subjects": {"numbers": [2], "folds": FOLDS},
    "task": {"filters": [4, 8], "res_units": 0, "roi_size": [32, 32]},
    "training": {"steps": 1, "batch_size": 2, "epoch_steps": 1, "device": "cpu", "preview_minutes": None},
    "seeds": [0],
    "synthesizers": {"drawn": {"method": "injection", "masks": "bank", "min_volume": 20, "cases": 1}},
    "arms": {"real": {"augment": "none"}, "classical": {"synthesizer": "drawn"}},
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
    verdict = run_benchmark(PLAN, cohort, out=out, say=said.append, source=Source(plan="mine.yaml"))
    return out, verdict, said


def test_every_subject_is_tested_on_once_and_never_trained_on_then(cohort, tmp_path):
    folds = [make_arms(one_fold(fold), cohort, {}, tmp_path) for fold in range(FOLDS)]
    tested = [subject for fold in folds for subject in fold.test.subjects]
    assert sorted(tested) == sorted(cohort.subjects)
    chosen_on = [subject for fold in folds for subject in fold.development.subjects]
    assert sorted(chosen_on) == sorted(cohort.subjects)
    for fold in folds:
        parts = [set(fold.train[2, 0].subjects), set(fold.development.subjects), set(fold.test.subjects)]
        assert sum(map(len, parts)) == len(set.union(*parts))


def test_one_report_holds_the_scores_of_all(study, cohort):
    out, verdict, said = study
    results = pd.read_csv(out / "results.csv")
    assert sorted(results[results["arm"] == "real"]["case_id"]) == sorted(case.case_id for case in cohort)
    assert set(results["fold"]) == {"fold0", "fold1", "fold2"}
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "3 folds by subject" in report
    assert "7, each in one fold" in report
    assert "Seconds a step" in report
    assert "Where an arm gains over real" in report
    assert len(pd.read_csv(out / "test_cases.csv")) == len(cohort.with_lesions())
    assert "Items with a new lesion" in report
    assert "1 where truth and prediction are both empty" in report
    assert "classical" in verdict
    assert sum(line.startswith("fold2: ") for line in said) == 1
    for fold in range(FOLDS):
        assert (out / f"fold{fold}" / "report.html").is_file()
    summary = pd.read_csv(out / "summary.csv")
    assert summary[(summary["metric"] == "dice")]["n_subjects"].eq(7).all()


@pytest.mark.parametrize("control", [None, Control()])
def test_the_tables_of_all_folds_are_put_together(tmp_path, control):
    names = ["fold0", "fold1"]
    for name in names:
        (tmp_path / name).mkdir()
        for table in ("results.csv", "reference.csv", "test_cases.csv", "lengths.csv"):
            row = {"arm": "real", "train_size": 2, "seed": 0, "case_id": name, "subject_id": name, "score": 0.5}
            pd.DataFrame([row]).to_csv(tmp_path / name / table, index=False)
    plan = PLAN.model_copy(update={"control": control})
    FoldStudy(plan=plan, of_folds=dict.fromkeys(names), out=tmp_path).collect()
    written = {path.name for path in tmp_path.glob("*.csv")}
    assert written == {"results.csv", "reference.csv", "test_cases.csv"} | ({"lengths.csv"} if control else set())
    for table in written:
        assert pd.read_csv(tmp_path / table)["case_id"].tolist() == names


@pytest.mark.slow
def test_what_is_done_is_not_done_again(study, cohort, tmp_path):
    first, verdict, _ = study
    out = tmp_path / "out"
    shutil.copytree(first, out)
    models = {path: path.stat().st_mtime_ns for path in out.rglob("arms/**/model.safetensors")}
    pools = [make_arms(one_fold(fold), cohort, {}, out).whole for fold in range(FOLDS)]
    assert len(models) == 2 * FOLDS + sum(whole != 2 for whole in pools)
    assert run_benchmark(PLAN, cohort, out=out) == verdict
    assert {path: path.stat().st_mtime_ns for path in models} == models
    with pytest.raises(OutputError, match="another plan"):
        run_benchmark(PLAN.model_copy(update={"seeds": (1,)}), cohort, out=out)


def test_no_fold_waits_for_another(cohort, tmp_path):
    jobs = FoldStudy.make(PLAN, cohort, tmp_path / "out").jobs()
    assert len({job.name for job in jobs}) == len(jobs)
    assert {job.name.partition("/")[0] for job in jobs} == {"fold0", "fold1", "fold2"}
    for job in jobs:
        fold = job.name.partition("/")[0]
        assert all(need.startswith(f"{fold}/") for need in job.needs)
        assert job.product.is_relative_to(tmp_path / "out" / fold)
    assert {job.name.partition("/")[0] for job in ready(jobs)} == {"fold0", "fold1", "fold2"}


def test_the_reports_of_all_and_of_each_fold_know_their_plan(study):
    out, *_ = study
    for folder in (out, *(out / f"fold{fold}" for fold in range(FOLDS))):
        assert "<td>mine.yaml</td>" in (folder / "report.html").read_text(encoding="utf-8")
        assert (folder / "run.json").is_file()


@pytest.mark.parametrize("subjects", [{"folds": 3, "fold": 3}, {"fold": 0}, {"folds": 2}, {"folds": 3, "fold": -1}])
def test_folds_that_are_not_there_are_refused(subjects):
    with pytest.raises(ValueError, match="fold"):
        Plan.model_validate({**CONTENT, "subjects": {"numbers": [2], **subjects}})


def test_more_folds_than_subjects_are_refused_before_anything_is_written(cohort, tmp_path):
    subjects = PLAN.subjects.model_copy(update={"folds": 8})
    with pytest.raises(ConfigError, match="8 folds of 7 subjects"):
        run_benchmark(PLAN.model_copy(update={"subjects": subjects}), cohort, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="does not say which fold"):
        make_arms(PLAN, cohort, {}, tmp_path / "out")


def test_a_warning_of_several_folds_is_given_once():
    of_folds = {"fold0": ["no core", "few masks"], "fold1": ["no core"], "fold2": []}
    assert _doubts(of_folds) == ["fold0, fold1: no core", "fold0: few masks"]
