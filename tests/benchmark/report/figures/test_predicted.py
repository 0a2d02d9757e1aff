"""The report pictures the subjects in which an arm gains and loses most."""

import shutil

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.report.case_facts import TEST_CASES
from lesionforge.benchmark.report.figures.predicted import extremes
from lesionforge.cohort.scan import load_scan, save_label
from tests.benchmark.arms.tiny_plan import tiny_plan
from tests.helpers import tiny_cohort


@pytest.fixture(params=[2, 3])
def run(request, tmp_path):
    """Eight test subjects, the last lesion-free; the arm finds all of the first lesion and a false one in the last."""
    dims = request.param
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=dims, n_subjects=10, n_healthy=1, shape=(24,) * dims)
    roles = {"pool": cohort.subjects[:1], "development": cohort.subjects[1:2], "final": cohort.subjects[2:]}
    split = {"train": "pool", "development": "development", "test": "final", "numbers": [1]}
    arms = make_arms(
        tiny_plan(dims, arms={"drawn": {}}, synthesizer={}, subjects=split), cohort, roles, tmp_path / "out"
    )
    rows, cases = [], list(arms.test)
    for name in ("real", "drawn"):
        folder = arms.repeat(1, 0).training(name, 1).folder / "predictions"
        folder.mkdir(parents=True)
        for number, case in enumerate(cases):
            scan = load_scan(case, cohort.channels)
            found = np.zeros(scan.spatial_shape, np.int16)
            if name == "drawn" and number == 0:
                found = scan.label
            if name == "drawn" and case is cases[-1]:
                found[..., 3] = 1
            save_label(folder / f"{case.case_id}{case.file_ending}", found, scan.file)
            gain = {0: 0.5, len(cases) - 1: -0.4}.get(number, 0.1) * (name == "drawn")
            row = {"arm": name, "train_size": 1, "seed": 0, "case_id": case.case_id, "subject_id": case.subject_id}
            rows.append(row | {"dice": 0.5 + gain})
    pd.DataFrame(rows).to_csv(arms.out / "results.csv", index=False)
    facts = pd.DataFrame({"case_id": [c.case_id for c in cases], "subject_id": [c.subject_id for c in cases]})
    facts.to_csv(arms.out / TEST_CASES, index=False)
    return FinishedRun(arms, 1)


def test_the_best_and_the_worst_subject_of_an_arm_are_shown_beside_the_baseline(run):
    first, last = run.study.test.cases[0].subject_id, run.study.test.cases[-1].subject_id
    titles = [panel.get_title() for panel in extremes(run).figure.axes]
    assert titles[0] == f"{first}, seed 0\nbest of drawn: +50.0"
    assert titles[1:3] == ["real\nDice 0.0", "drawn\nDice 100.0"]
    assert titles[3] == f"{last}, seed 0\nworst of drawn: −40.0"
    assert titles[4:] == ["real\nDice 100.0", "drawn\nDice 0.0"], "nothing to find, and a false alarm"
    assert extremes(run).figure.axes[5].collections, "the slice with the false alarm is shown"


def test_of_a_subject_with_two_cases_that_of_the_gain_is_shown(run):
    """The subject gains in the mean, but loses in the case in which the fixture's arm finds all."""
    file, (first, second, *_) = run.study.out / "results.csv", run.study.test.cases
    results = pd.read_csv(file)
    results.loc[results["case_id"] == second.case_id, "subject_id"] = first.subject_id
    for case, dice in ((first, 0.3), (second, 1.0)):
        results.loc[(results["case_id"] == case.case_id) & (results["arm"] == "drawn"), "dice"] = dice
    results.to_csv(file, index=False)
    titles = [panel.get_title() for panel in extremes(run).figure.axes]
    assert titles[0].endswith("best of drawn: +15.0")
    assert titles[2] == "drawn\nDice 0.0"


def test_of_several_seeds_that_of_the_gain_is_shown(run):
    """The arm of the second seed finds nothing, and gains nothing in the first subject."""
    study, first = run.study, run.study.test.cases[0]
    for name in ("real", "drawn"):
        shutil.copytree(
            study.repeat(1, 0).training("real", 1).folder / "predictions",
            study.repeat(1, 1).training(name, 1).folder / "predictions",
        )
    once = pd.read_csv(study.out / "results.csv")
    for other in (0, 1):
        of_other = once.assign(seed=1 - other, dice=0.5)
        pd.concat([once.assign(seed=other), of_other]).to_csv(study.out / "results.csv", index=False)
        titles = [panel.get_title() for panel in extremes(run).figure.axes]
        assert titles[0] == f"{first.subject_id}, seed {other}\nbest of drawn: +25.0"
        assert titles[2] == f"drawn\nDice {100 - 100 * other}.0"


def test_there_is_no_picture_where_the_report_names_no_subject(run):
    few = pd.read_csv(run.study.out / TEST_CASES).iloc[:5]
    few.to_csv(run.study.out / TEST_CASES, index=False)
    assert extremes(run) is None
    (run.study.out / TEST_CASES).unlink()
    assert extremes(run) is None
