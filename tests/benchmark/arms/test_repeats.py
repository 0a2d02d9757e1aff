from dataclasses import replace

import numpy as np
import pytest

from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Plan
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.errors import CohortError, ConfigError, DoubtWarning, LeakError
from lesionforge.preprocessing.pipeline import Preprocessing
from tests.helpers import tiny_cohort

ROLES = {"pool": ["sub_00", "sub_01", "sub_02", "sub_03"], "development": ["sub_04"], "final": ["sub_05", "sub_06"]}


def plan(**changes):
    synthesizers = {"a": {"method": "carvemix"}}
    return Plan.model_validate({"synthesizers": synthesizers, "arms": {"real": {}}, "baseline": "real", **changes})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    return tiny_cohort(folder, spatial_dims=3, n_subjects=8, n_unknown=1, cases_per_subject=2, channels=("FLAIR", "T1"))


def test_roles_are_taken(cohort, tmp_path):
    arms = make_arms(plan(subjects={"numbers": [4]}), cohort, ROLES, tmp_path)
    assert set(arms.train[4, 0].subjects) == set(ROLES["pool"])
    assert set(arms.development.subjects) == set(ROLES["development"])
    assert set(arms.test.subjects) == set(ROLES["final"])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_training_sets_nest_and_share_no_subject_with_the_rest(cohort, tmp_path, spatial_dims):
    def made(*numbers):
        subjects = {"train": 0.6, "development": 0.1, "test": 0.3, "numbers": numbers}
        return make_arms(plan(subjects=subjects, task={"spatial_dims": spatial_dims}), cohort, {}, tmp_path)

    arms = made(1, 2, 4)
    sets = [set(arms.train[number, 0].subjects) for number in (1, 2, 4)]
    assert [len(found) for found in sets] == [1, 2, 4]
    assert sets[0] < sets[1] < sets[2]
    assert set(made(0.5).train[0.5, 0].subjects) == sets[1]
    parts = [sets[2], set(arms.development.subjects), set(arms.test.subjects)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 7
    assert "sub_07" not in set.union(*parts)
    assert len(arms.preprocessing[4, 0].spacing) == spatial_dims


def test_the_seed_decides_who_is_split_off_and_taken(cohort, tmp_path):
    def parts(**subjects):
        subjects = {"train": 0.4, "development": 0.3, "test": 0.3, "numbers": [2], **subjects}
        plans = [plan(subjects=subjects | {"seed": seed}) for seed in range(5)]
        found = [make_arms(one, cohort, ROLES, tmp_path) for one in plans]
        return {one.test.subjects for one in found}, {one.train[2, 0].subjects for one in found}

    tested, _ = parts()
    assert len(tested) > 1
    tested, taken = parts(train="pool", development="development", test="final")
    assert len(tested) == 1
    assert len(taken) > 1


def test_preprocessing_knows_the_training_cases_of_its_size_alone(tmp_path):
    fine, coarse = (
        tiny_cohort(tmp_path / name, spatial_dims=3, n_subjects=3, affine=np.diag([size, size, size, 1]), seed=size)
        for name, size in (("fine", 1), ("coarse", 3))
    )
    coarse = [replace(case, case_id=f"{case.case_id}c", subject_id=f"{case.subject_id}c") for case in coarse]
    mixed = fine.with_cases((*fine, *coarse))
    roles = {"pool": [*fine.subjects[:2], "sub_00c"], "development": ["sub_01c"], "final": ["sub_02c", "sub_02"]}
    for seed in range(4):
        arms = make_arms(plan(subjects={"numbers": [2, 3], "seed": seed}), mixed, roles, tmp_path)
        for key, cases in arms.train.items():
            alone = Preprocessing.fit(fingerprint(cases, ("FLAIR",)), spatial_dims=2)
            assert arms.preprocessing[key] == alone


def test_classes_that_no_training_case_shows_are_known(cohort, tmp_path):
    for labels, absent in ((cohort.labels, ()), ({**cohort.labels, "ghost": 7}, ("ghost",))):
        arms = make_arms(plan(subjects={"numbers": [2]}), replace(cohort, labels=labels), ROLES, tmp_path)
        assert arms.absent == {(number, seed): absent for number in (2, 4) for seed in (0, 1, 2)}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("many"), spatial_dims=2, n_subjects=16)


SHARES = {"train": 0.75, "development": 0.125, "test": 0.125}


def trained_on(cohort, folder, numbers, seeds=(0, 1, 2, 3), **subjects):
    arms = make_arms(plan(subjects={**SHARES, "numbers": numbers, **subjects}, seeds=seeds), cohort, {}, folder)
    return arms, {key: set(cases.subjects) for key, cases in arms.train.items()}


def test_each_seed_trains_on_subjects_of_its_own_unless_told_otherwise(many, tmp_path):
    arms, sets = trained_on(many, tmp_path, [4])
    assert len({frozenset(sets[4, seed]) for seed in range(4)}) > 1
    assert [arms.training_set(seed) for seed in range(4)] == [0, 1, 2, 3]
    _, again = trained_on(many, tmp_path, [4])
    assert again == sets
    arms, sets = trained_on(many, tmp_path, [4], training_sets=1)
    assert len({frozenset(sets[4, seed]) for seed in range(4)}) == 1
    arms, sets = trained_on(many, tmp_path, [4], seeds=(7, 3, 5, 9), training_sets=2)
    assert [arms.training_set(seed) for seed in (7, 3, 5, 9)] == [0, 1, 0, 1]
    assert sets[4, 7] == sets[4, 5] != sets[4, 3] == sets[4, 9]


def test_smaller_training_sets_are_part_of_larger_ones_and_the_whole_pool_is_there_for_the_reference(many, tmp_path):
    for numbers, whole in (([2, 6], 12), ([0.25, 0.5], 1.0), ([2, 12], 12)):
        arms, sets = trained_on(many, tmp_path, numbers)
        assert arms.whole == whole
        for seed in range(4):
            small, large = (sets[number, seed] for number in numbers)
            assert small < large <= sets[whole, seed] == set(arms.pool.subjects)
        assert {number for number, _ in sets} == {*numbers, whole}
        parts = ArmStudy(plan=arms.plan, arms=arms, out=tmp_path).split()
        assert set(parts) == {"pool", "development", "test"} | {
            f"train n{number:g} set{one}" for number in numbers for one in range(4)
        }


def test_a_repeat_holds_what_its_size_and_seed_have(many, tmp_path):
    arms, _ = trained_on(many, tmp_path, [2, 6], seeds=(5, 7))
    assert [(one.train_size, one.seed) for one in arms.repeats] == [(2, 5), (2, 7), (6, 5), (6, 7)]
    assert [(one.train_size, one.seed) for one in arms.references] == [(12, 5), (12, 7)]
    for one in (*arms.repeats, *arms.references):
        key = one.train_size, one.seed
        assert one.train is arms.train[key]
        assert one.preprocessing is arms.preprocessing[key]
        assert one.subjects_seed == arms.training_set_seed(one.seed)
        assert one.folder == tmp_path / "runs" / one.name
        options = one.training("real", 9).options(4)
        assert (options.seed, options.steps) == (one.seed, 4)
    folders = [
        folder
        for one in (*arms.repeats, *arms.references)
        for folder in (
            one.mask_generator_folder("a"),
            one.model_folder("a"),
            one.selection_folder("a"),
            one.cohort_folder("a"),
            one.targets_folder("a"),
            *(one.training("real", steps).folder for steps in (2, 4)),
        )
    ]
    assert len(set(folders)) == len(folders) == 6 * 7


def test_few_real_subjects_are_those_of_the_training_set(many, tmp_path):
    arms, _ = trained_on(many, tmp_path, [6])
    assert len({arms.training_set_seed(seed) for seed in range(4)}) == 4


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_coarser_spacing_is_for_all_sizes(cohort, tmp_path, spatial_dims):
    task, spacing = {"spatial_dims": spatial_dims}, (2.5,) * spatial_dims
    arms = make_arms(plan(task=task, spacing=spacing, subjects={"numbers": [2, 4]}), cohort, ROLES, tmp_path)
    assert {preprocessing.spacing for preprocessing in arms.preprocessing.values()} == {spacing}
    with pytest.raises(ValueError, match=f"but needs {spatial_dims} numbers"):
        plan(task=task, spacing=(*spacing, 2.5))


@pytest.mark.parametrize("primary", ["dice_core", "hd95_nonsense", "area_difference_mm2"])
def test_a_primary_score_that_the_cohort_cannot_have_is_refused_at_once(cohort, tmp_path, primary):
    what = f"primary: '{primary}' is not a score of Tiny; choose from dice, lesion_dice, hd95"
    with pytest.raises(ConfigError, match=what):
        make_arms(plan(primary=primary, subjects={"numbers": [2]}), cohort, ROLES, tmp_path)


def test_only_the_channels_of_the_plan_are_used(cohort, tmp_path):
    arms = make_arms(plan(subjects={"numbers": [2]}, channels=["T1"]), cohort, ROLES, tmp_path)
    assert arms.channels == arms.preprocessing[2, 0].channels == ("T1",)
    assert all(set(case.images) == {"T1"} for case in (*arms.train[2, 0], *arms.development, *arms.test))
    with pytest.raises(CohortError, match="no channel 'T2'"):
        make_arms(plan(channels=["T2"]), cohort, ROLES, tmp_path)


@pytest.mark.parametrize(
    ("subjects", "what"),
    [
        ({"train": 0.5}, "mixes roles, shares and numbers"),
        ({"train": {"lesion": 2}}, "mixes roles, shares and numbers"),
        (
            {part: {"lesion": 9} for part in ("train", "development", "test")},
            "27 subjects with lesions are asked for",
        ),
        ({"train": "test"}, "role test: is not in the roles file"),
        ({"numbers": [5]}, "5 of 4 subjects"),
        ({"numbers": [0.01]}, "leaves 0 of them"),
        ({"train": 0.9, "development": 0.01, "test": 0.09}, "the part development .* has no subject"),
    ],
)
def test_subjects_that_are_not_there_are_told(cohort, tmp_path, subjects, what):
    with pytest.raises(ConfigError, match=what):
        make_arms(plan(subjects=subjects), cohort, ROLES, tmp_path)


def test_subjects_may_be_counted_by_kind(tmp_path):
    """As the stroke paper splits: positives into training and test, negatives for drawing and for false alarms."""
    cohort = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=9, n_healthy=4)
    subjects = {
        "train": {"lesion": 3, "lesion_free": 2},
        "development": {"lesion": 1},
        "test": {"lesion": 1, "lesion_free": 2},
        "numbers": [1.0],
    }
    arms = make_arms(plan(subjects=subjects), cohort, {}, tmp_path)
    parts = (arms.train[1.0, 0], arms.development, arms.test)
    assert [(len(part.with_lesions()), len(part.healthy())) for part in parts] == [(3, 2), (1, 0), (1, 2)]
    assert len({subject for part in parts for subject in part.subjects}) == 9


BY_ROLE = {"train": "pool", "development": "development", "test": "final", "numbers": [1]}


@pytest.mark.parametrize("part", ["development", "final"])
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_scan_under_two_names_in_two_roles_is_refused(spatial_dims, part, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims)
    roles = {"pool": cohort.subjects[:2], "development": cohort.subjects[2:3], "final": cohort.subjects[3:]}
    made = make_arms(plan(subjects=BY_ROLE), cohort, roles, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*"))
    other = {"development": made.development, "final": made.test}[part].cases[0]
    other.images["FLAIR"].write_bytes(made.pool.cases[0].images["FLAIR"].read_bytes())
    with pytest.raises(LeakError, match=f"case_000 and {other.case_id}: hold the same image"):
        make_arms(plan(subjects=BY_ROLE), cohort, roles, tmp_path / "out")


def test_names_that_read_alike_in_two_roles_are_a_warning_that_names_both(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2)
    names = ("p05", "p06", "q", "sub-P5")
    cohort = cohort.with_cases([replace(case, subject_id=name) for case, name in zip(cohort, names, strict=True)])
    roles = {"pool": names[:2], "development": names[2:3], "final": names[3:]}
    with pytest.warns(DoubtWarning, match="p05 and sub-P5 read alike"):
        make_arms(plan(subjects=BY_ROLE), cohort, roles, tmp_path / "out")
