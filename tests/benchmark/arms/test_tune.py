import math

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.arms.ahead import Ahead
from lesionforge.benchmark.arms.arm_study import decide
from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.arms.control import Length, Lengths
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.arms.tune import Searches, _at_the_edge, best, describe_tuning, search_doubts, trials
from lesionforge.benchmark.plan import Plan, Tune
from lesionforge.benchmark.report.method_notes import method_notes
from tests.helpers import tiny_cohort

SEARCH_ROW = "Search for the best baseline"
PLAN = {
    "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [2, 3]},
    "task": {"learning_rate": 0.003},
    "training": {"steps": 2, "batch_size": 8},
    "arms": {"real": {}, "bare": {"augment": "none"}, "slow": {"task": {"learning_rate": 1e-5}}},
    "baseline": "real",
    "tune": {},
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("cohort"), spatial_dims=2, n_subjects=8)


def search(cohort, folder, score, found_nothing=lambda training: False, **changes):
    """Return the study that was found, the table, and the trainings whose scores were asked for."""
    asked = []

    def scored(training):
        asked.append(training)
        return score(training)

    arms = make_arms(Plan.model_validate(PLAN | changes), cohort, {}, folder)
    searches = Searches(Ahead(study=arms, scored=scored, found_nothing=found_nothing))
    return searches.arms(*arms.sizes), searches.table(), asked


def test_no_size_waits_for_the_search_of_another(cohort, tmp_path):
    """The trials of the second option are known at one size while the first are missing at the others."""

    def scored(training):
        return hill(training) if training.repeat.train_size == 2 else None

    arms = make_arms(Plan.model_validate(PLAN | {"control": None}), cohort, {}, tmp_path)
    ahead = Ahead(study=arms, scored=scored, found_nothing=lambda training: False)
    assert decide(ahead) is None
    known = {job.rpartition("/")[0] for job in ahead.jobs}
    assert any("n2/seed0/arms/bare" in name for name in known), "the arms of the size whose search is complete"
    assert any("n3/seed0/arms/real_2_ct" in name for name in known)
    assert not any("n3/seed0/arms/bare" in name for name in known)


def hill(training):
    """A score with its top at ct, 0.009 and, but for two subjects, 16."""
    best_batch = 8 if training.repeat.train_size == 2 else 16
    rate, batch = training.task.learning_rate, training.options(training.steps).batch_size
    return (training.task.augment == "ct") - abs(math.log(rate / 0.009)) - abs(math.log(batch / best_batch))


def test_the_best_of_each_option_is_kept_at_each_size_and_the_arms_inherit_it(cohort, tmp_path):
    arms, *_ = search(cohort, tmp_path, hill)
    for number, batch in ((2, 8), (3, 16), (4, 16)):
        assert arms.choice(number) == Choice(augment="ct", learning_rate=pytest.approx(0.009), batch_size=batch)
        assert arms.task_of(number, "real").augment == "ct"
        assert arms.task_of(number, "bare").augment == "none"
        assert arms.task_of(number, "bare").learning_rate == pytest.approx(0.009)
        assert arms.task_of(number, "slow").learning_rate == 1e-5
        assert arms.repeat(number, 1).training("slow", 5).options(5).batch_size == batch


def test_every_trial_is_trained_once_with_every_seed_in_a_folder_of_its_own(cohort, tmp_path):
    _, _, asked = search(cohort, tmp_path, hill)
    folders = {training.folder.relative_to(tmp_path / "runs").as_posix() for training in asked}
    beyond = 1 + 2 / 3  # one learning rate at each size, one batch size at two of three
    assert len(folders) == len(asked) == 3 * 3 * (6 + beyond)
    assert {training.name for training in asked} == {"real"}
    assert {training.steps for training in asked} == {2}
    assert "n2/seed0/arms/real_2" in folders
    assert "n2/seed0/arms/real_2_ct-lr0.009-b8" in folders


def test_the_table_holds_every_trial(cohort, tmp_path):
    arms, table, asked = search(cohort, tmp_path, hill)
    assert len(table) == len(asked)
    kept = table[table["kept"]].groupby("train_size")["options"].unique()
    assert {number: list(names) for number, names in kept.items()} == {
        number: [str(arms.choice(number))] for number in (2, 3, 4)
    }


def test_one_search_may_be_for_all_sizes_and_with_fewer_seeds(cohort, tmp_path):
    arms, _, asked = search(cohort, tmp_path, hill, tune={"number": 2, "seeds": 1, "augment": ["ct"]})
    assert {(training.repeat.train_size, training.repeat.seed) for training in asked} == {(2, 0)}
    (choice,) = {arms.choice(number) for number in (2, 3, 4)}
    assert choice == Choice(augment="ct", learning_rate=pytest.approx(0.009), batch_size=8)


def test_the_report_names_the_steps_and_batch_sizes_that_were_used(cohort, tmp_path):
    arms, table, _ = search(cohort, tmp_path, hill)
    table.to_csv(tmp_path / "tuning.csv", index=False)
    by_size = Lengths(of={2: Length(steps=40), 3: Length(steps=80), 4: Length(steps=80)})
    told = method_notes(arms, by_size)["Length of every arm"]
    sizes = "n = 2: 40 steps of batch size 8, n = 3: 80 steps of batch size 16, n = 4: 80 steps of batch size 16"
    assert told == f"{sizes}; the last weights are used"
    large = Lengths(of={size: Length(steps=80) for size in (3, 4)})
    told = method_notes(arms, large)["Length of every arm"]
    assert told == "80 steps of batch size 16; the last weights are used"


def test_while_the_best_lies_at_the_edge_further_values_are_tried(cohort, tmp_path):
    def steep(training):
        return training.task.learning_rate

    for further, best_rate in ((0, 0.009), (1, 0.027), (2, 0.081)):
        tune = {"number": 2, "seeds": 1, "augment": [], "batch_size": [], "further": further}
        arms, table, asked = search(cohort, tmp_path, steep, tune=tune)
        assert arms.choice(2).learning_rate == pytest.approx(best_rate)
        assert len(asked) == 3 + further
        table.to_csv(tmp_path / "tuning.csv", index=False)
        assert "(the best learning rate lies at the edge of what was tried)" in describe_tuning(arms)[SEARCH_ROW]
        (doubt,) = search_doubts(arms)
        assert doubt.startswith("Search for the best baseline, n = 2: the best learning rate lies at the edge")
    arms, table, _ = search(cohort, tmp_path, hill, tune={"number": 2, "augment": ["ct"]})
    table.to_csv(tmp_path / "tuning.csv", index=False)
    assert "the best batch size lies at the edge" in describe_tuning(arms)[SEARCH_ROW], "no smaller one was tried"


@pytest.mark.parametrize(
    ("kept", "said"), [(0, "the best learning rate and batch size lie at"), (1, "the best batch size lies at"), (2, "")]
)
def test_every_option_whose_best_value_is_the_last_tried_is_named(kept, said):
    rows = pd.DataFrame({"learning_rate": [0.1, 0.2, 0.2, 0.4], "batch_size": [2, 8, 4, 8], "kept": False})
    rows.loc[kept, "kept"] = True
    remark = _at_the_edge(rows)
    assert remark.startswith(said)
    assert bool(remark) == bool(said)


def test_trials_that_found_nothing_are_named(cohort, tmp_path):
    arms, table, _ = search(
        cohort, tmp_path, hill, lambda training: training.task.augment == "none" and training.repeat.seed == 0
    )
    table.to_csv(tmp_path / "tuning.csv", index=False)
    assert set(table.loc[table["found_nothing"], "options"]) == {"none-lr0.003-b8"}
    assert "(1 of 3 found nothing)" in describe_tuning(arms)[SEARCH_ROW]


def test_a_best_amid_what_was_tried_leaves_no_doubt(cohort, tmp_path):
    arms, table, _ = search(cohort, tmp_path, hill, tune={"number": 3, "learning_rate": [0.33, 3, 9]})
    table.to_csv(tmp_path / "tuning.csv", index=False)
    kept = table[table["kept"]].iloc[0]
    assert table["learning_rate"].min() < kept["learning_rate"] < table["learning_rate"].max()
    assert "learning rate" not in " ".join(search_doubts(arms))


def test_without_a_search_the_plan_is_as_it_was(cohort, tmp_path):
    arms, table, asked = search(cohort, tmp_path, hill, tune=None)
    assert not asked
    assert table is None
    assert arms.task_of(2, "real") == arms.plan.task_of("real")
    assert arms.repeat(2, 0).training("real", 2).folder.name == "real_2"
    assert search_doubts(arms) == ["No other options of the baseline were tried, so a better baseline is possible."]


def test_the_best_has_the_best_mean_of_its_seeds_and_no_value_never_wins():
    first, second = (Choice(augment=kind, learning_rate=1e-3, batch_size=8) for kind in ("none", "ct"))
    assert best({first: [0.5, 0.5], second: [0.2, 0.9]}, "dice") == second
    assert best({first: [0.5, 0.5], second: [0.2, 0.9]}, "hd95") == first
    assert best({first: [0.5, 0.5], second: [0.5, 0.5]}, "dice") == first
    assert best({first: [0.0], second: [np.nan]}, "dice") == first
    assert best({first: [99.0], second: [np.nan]}, "hd95") == first


def test_a_batch_from_the_fingerprint_is_left_alone():
    choice = Choice(augment="none", learning_rate=1e-3, batch_size=None)
    assert trials(Tune(batch_size=(2.0,)), "batch_size", choice) == [choice]
    assert [
        one.batch_size
        for one in trials(
            Tune(batch_size=(0.01, 2.0)), "batch_size", Choice(augment="none", learning_rate=1e-3, batch_size=4)
        )
    ] == [4, 1, 8]
