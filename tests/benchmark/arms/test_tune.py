import math

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.arms import tune
from lesionforge.benchmark.arms.choice import Choice
from lesionforge.benchmark.arms.tune import best, trials, tuned
from lesionforge.benchmark.plan import Plan, Tune
from lesionforge.benchmark.setting import make_setting
from tests.helpers import tiny_cohort

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


def search(monkeypatch, cohort, folder, score, **changes):
    asked = []

    def development_score(setting, number, seed, name, steps):
        asked.append((number, seed, name, steps, setting.arm_folder(number, seed, name, steps).name))
        return score(number, seed, setting.task_of(number, name), setting.training_of(number, seed=seed, steps=steps))

    monkeypatch.setattr(tune, "development_score", development_score)
    setting = make_setting(Plan.model_validate(PLAN | changes), cohort, {}, folder)
    return tuned(setting, lambda job, jobs: (job(*one) for one in jobs), lambda line: None), asked


def hill(number, seed, task, training):
    """A score with its top at ct, 0.009 and, but for two subjects, 16."""
    batch = 8 if number == 2 else 16
    return (
        (task.augment == "ct") - abs(math.log(task.learning_rate / 0.009)) - abs(math.log(training.batch_size / batch))
    )


def test_the_best_of_each_option_is_kept_at_each_size_and_the_arms_inherit_it(monkeypatch, cohort, tmp_path):
    setting, _ = search(monkeypatch, cohort, tmp_path, hill)
    for number, batch in ((2, 8), (3, 16), (4, 16)):
        assert setting.choice(number) == Choice(augment="ct", learning_rate=pytest.approx(0.009), batch_size=batch)
        assert setting.task_of(number, "real").augment == "ct"
        assert setting.task_of(number, "bare").augment == "none"
        assert setting.task_of(number, "bare").learning_rate == pytest.approx(0.009)
        assert setting.task_of(number, "slow").learning_rate == 1e-5
        assert setting.training_of(number, seed=1, steps=5).batch_size == batch


def test_every_trial_is_trained_once_with_every_seed_in_a_folder_of_its_own(monkeypatch, cohort, tmp_path):
    _, asked = search(monkeypatch, cohort, tmp_path, hill)
    assert len(set(asked)) == len(asked) == 3 * 3 * 6
    assert {name for _, _, name, _, _ in asked} == {"real"}
    folders = {(number, seed, folder) for number, seed, _, _, folder in asked}
    assert len(folders) == len(asked)
    assert (2, 0, "real_2") in folders
    assert (2, 0, "real_2_ct-lr0.009-b8") in folders


def test_the_table_holds_every_trial(monkeypatch, cohort, tmp_path):
    setting, asked = search(monkeypatch, cohort, tmp_path, hill)
    table = pd.read_csv(tmp_path / "tuning.csv")
    assert len(table) == len(asked)
    kept = table[table["kept"]].groupby("fraction")["options"].unique()
    assert {number: list(names) for number, names in kept.items()} == {
        number: [str(setting.choice(number))] for number in (2, 3, 4)
    }


def test_one_search_may_be_for_all_sizes_and_with_fewer_seeds(monkeypatch, cohort, tmp_path):
    setting, asked = search(monkeypatch, cohort, tmp_path, hill, tune={"number": 2, "seeds": 1, "augment": ["ct"]})
    assert {(number, seed) for number, seed, *_ in asked} == {(2, 0)}
    (choice,) = {setting.choice(number) for number in (2, 3, 4)}
    assert choice == Choice(augment="ct", learning_rate=pytest.approx(0.009), batch_size=8)


def test_without_a_search_the_plan_is_as_it_was(monkeypatch, cohort, tmp_path):
    setting, asked = search(monkeypatch, cohort, tmp_path, hill, tune=None)
    assert not asked
    assert setting.task_of(2, "real") == setting.plan.task_of("real")
    assert setting.arm_folder(2, 0, "real", 2).name == "real_2"
    assert not (tmp_path / "tuning.csv").exists()


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
