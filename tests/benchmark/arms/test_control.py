import pytest

from lesionforge.benchmark.arms.ahead import Ahead
from lesionforge.benchmark.arms.control import Lengths, controlled_length
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Plan
from tests.helpers import tiny_cohort


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("cohort"), spatial_dims=2, n_subjects=8)


def lengths(cohort, folder, scores, nothing=(), **changes):
    """Return what the control finds where a training of so many steps scores ``scores[number][steps]``.

    Trainings whose (size, seed, steps) are in ``nothing`` score 0 and find nothing. Beside the result are size, seed,
    arm and steps of every training whose score was asked for.
    """
    plan = {
        "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [2, 3]},
        "training": {"steps": 2},
        "arms": {"real": {}, "none": {"augment": "none"}},
        "baseline": "real",
        "control": {"max_steps": 100},
    }
    asked = []

    def scored(training):
        number = training.repeat.train_size
        asked.append((number, training.repeat.seed, training.name, training.steps))
        if found_nothing(training):
            return 0.0
        return scores[number][training.steps] if number in scores else 0.5

    def found_nothing(training):
        return (training.repeat.train_size, training.repeat.seed, training.steps) in nothing

    arms = make_arms(Plan.model_validate(plan | changes), cohort, {}, folder)
    ahead = Ahead(study=arms, scored=scored, found_nothing=found_nothing)
    return Lengths(of={size: controlled_length(ahead, size) for size in arms.sizes}), asked


def steps_of(found):
    return {size: found.steps(size) for size in found.of}


@pytest.mark.parametrize(
    ("dice", "max_steps", "steps", "words", "doubt"),
    [
        ({2: 0.50, 4: 0.504}, 100, 2, r"changed the development Dice of real by +0.4 points", False),
        ({2: 0.50, 4: 0.49}, 100, 2, "by -1.0 points", False),
        ({2: 0.50, 4: 0.60, 8: 0.605}, 100, 4, "by +0.5 points (60.0 to 60.5", False),
        ({2: 0.50, 4: 0.60}, 4, 4, "no arm gets more than 4 steps", True),
        ({2: 0.50, 4: 0.60}, 3, 2, "no arm gets more than 3 steps", True),
    ],
    ids=["long enough", "worse", "lengthened", "budget reached", "budget in between"],
)
def test_a_size_is_lengthened_until_doubling_no_longer_helps(cohort, tmp_path, dice, max_steps, steps, words, doubt):
    found, asked = lengths(cohort, tmp_path, {3: dice}, control={"max_steps": max_steps})
    assert steps_of(found) == {2: 2, 3: steps, 4: 2}
    assert {n for number, _, _, n in asked if number == 3} == set(dice)
    assert {seed for _, seed, _, _ in asked} == {0, 1, 2}
    assert words in f"{found.describe()} {found.doubt}"
    tried = found.table(seeds=(0, 1, 2)).set_index(["train_size", "steps"])
    assert tried.loc[3].groupby("steps")["score"].mean().to_dict() == pytest.approx(dice)
    assert set(tried.index[tried["kept"]]) == {(2, 2), (3, steps), (4, 2)}
    assert (found.doubt is not None) == doubt
    assert {size for size, length in found.of.items() if length.undertrained} == ({3} if doubt else set())


@pytest.mark.parametrize(
    ("nothing", "dice", "steps", "words", "doubt"),
    [
        ([(3, 1, 2), (3, 1, 4)], {2: 0.5, 4: 0.5}, 2, "(50.0 to 50.0, 2 seeds; 1 of 3 trainings found nothing", True),
        ([(3, 1, 4), (3, 1, 8)], {2: 0.5, 4: 0.6, 8: 0.6}, 4, "1 of 3 trainings", True),
        ([(3, 1, 4)], {2: 0.5, 4: 0.5}, 2, "trainings found nothing before, 1 after", False),
        ([(3, 1, 2)], {2: 0.5, 4: 0.5, 8: 0.5}, 4, "(50.0 to 50.0, 3 seeds)", False),
        ([(3, seed, n) for seed in range(3) for n in (2, 4)], {2: 0.5, 4: 0.5}, 2, "3 of 3 trainings", True),
    ],
    ids=["at both lengths", "at the length chosen", "beyond it", "rescued", "all"],
)
def test_trainings_that_found_nothing_are_named_and_hide_no_gain(cohort, tmp_path, nothing, dice, steps, words, doubt):
    found, _ = lengths(cohort, tmp_path, {3: dice}, nothing=nothing)
    assert found.steps(3) == steps
    table = found.table(seeds=(0, 1, 2))
    lost = table[table["found_nothing"]]
    assert sorted(zip(lost["train_size"], lost["seed"], lost["steps"], strict=True)) == sorted(nothing)
    assert words in found.describe() or words in str(found.doubt)
    assert (found.doubt is not None) == doubt
    if doubt:
        assert "trainings found nothing on the development subjects (n = 3)" in found.doubt


def test_each_size_and_the_whole_pool_has_a_length_of_its_own(cohort, tmp_path):
    scores = {2: {2: 0.5, 4: 0.5}, 3: {2: 0.5, 4: 0.6, 8: 0.6}, 4: {2: 0.5, 4: 0.6, 8: 0.7, 16: 0.7}}
    found, _ = lengths(cohort, tmp_path, scores)
    assert steps_of(found) == {2: 2, 3: 4, 4: 8}
    assert found.doubt is None


def test_the_controlled_arm_may_be_another_but_the_reference_is_the_baseline(cohort, tmp_path):
    found, asked = lengths(cohort, tmp_path, {}, control={"arm": "none"})
    assert found.table(seeds=(0, 1, 2)).groupby("train_size")["arm"].first().tolist() == ["none", "none", "real"]
    assert {(number, name) for number, _, name, _ in asked} == {(2, "none"), (3, "none"), (4, "real")}
    assert found.doubt == "only the length of none was controlled (n = 2, n = 3)"


def test_the_baseline_may_be_named_as_the_controlled_arm(cohort, tmp_path):
    found, _ = lengths(cohort, tmp_path, {}, control={"arm": "real"})
    assert found.doubt is None


@pytest.mark.parametrize(("after", "steps"), [(6.0, 4), (12.0, 2)])
def test_of_a_score_where_less_is_better_a_fall_is_a_gain(cohort, tmp_path, after, steps):
    scores = {number: {2: 9.0, 4: after, 8: after} for number in (2, 3, 4)}
    found, _ = lengths(cohort, tmp_path, scores, primary="hd95")
    assert set(steps_of(found).values()) == {steps}


def test_without_a_control_every_size_may_be_undertrained(cohort, tmp_path):
    found, asked = lengths(cohort, tmp_path, {}, control=None)
    assert not asked
    assert found.table(seeds=(0, 1, 2)).empty
    assert found.describe() == "not made"
    assert found.doubt == "its length was not controlled (n = 2, n = 3, n = 4)"
