"""What the training and validation cases of an export may be, whatever the format."""

import json
from collections import Counter

import pytest

from lesionforge.cohort.export.export_cohorts import export_cohorts
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.splits import read_splits_final
from lesionforge.errors import ConfigError, LeakError
from tests.cohort.export.cohorts import content, drawn_cohort, real_cohort, splits_of

OUT = "Dataset201_Mixed"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two scans of each of six people, and four cases drawn from each of four of them, of nobody else."""
    place = tmp_path_factory.mktemp("cohorts")
    real = real_cohort(place / "Dataset001_Real", cases_per_subject=2)
    drawn_cohort(place / "Dataset101_Drawn", real.of_subjects(real.subjects[:4]), per_case=4)
    return [place / "Dataset001_Real", place / "Dataset101_Drawn"]


def export(folders, out, **options):
    return export_cohorts(folders, out, method="nnunet", **options)


def leaks(folder):
    """Return the drawn cases of each fold that lead to a subject it is validated on."""
    cohort = read_cohort(folder)
    found = []
    for fold in splits_of(folder):
        validated = {cohort[case_id].subject_id for case_id in fold["val"]}
        found += [case_id for case_id in fold["train"] if cohort[case_id].ancestry & validated]
    return found


def test_folds_are_of_subjects_and_validation_cases_are_real(folders, tmp_path):
    export(folders, tmp_path / OUT, folds=3)
    cohort, folds = read_cohort(tmp_path / OUT), splits_of(tmp_path / OUT)
    assert len(folds) == 3
    assert leaks(tmp_path / OUT) == []
    assert not any(cohort[case_id].derived for fold in folds for case_id in fold["val"])
    real = {case.case_id for case in cohort if not case.derived}
    assert Counter(case_id for fold in folds for case_id in fold["val"]) == dict.fromkeys(real, 1)
    for fold in folds:
        held_out = {cohort[case_id].subject_id for case_id in fold["val"]}
        fitting = {case.case_id for case in cohort if not case.ancestry & held_out}
        assert set(fold["train"]) == fitting
    read_splits_final(tmp_path / OUT / "splits_final.json", cohort)


def test_the_folds_of_real_cases_do_not_depend_on_the_drawn_ones(folders, tmp_path):
    export(folders, tmp_path / OUT, folds=3, seed=5)
    export(folders[:1], tmp_path / "Dataset202_Real", folds=3, seed=5)
    mixed, alone = splits_of(tmp_path / OUT), splits_of(tmp_path / "Dataset202_Real")
    assert [fold["val"] for fold in mixed] == [fold["val"] for fold in alone]


def test_a_mask_counts_for_the_subject_that_its_name_leads_to(tmp_path):
    real = real_cohort(tmp_path / "real", n_subjects=4)
    drawn_cohort(tmp_path / "drawn", real.of_subjects(["sub_00"]), per_case=3, mask_of=lambda case: "sub_01_mask")
    export([tmp_path / "real", tmp_path / "drawn"], tmp_path / OUT, folds=4)
    cohort = read_cohort(tmp_path / OUT)
    for fold in splits_of(tmp_path / OUT):
        held_out = {cohort[case_id].subject_id for case_id in fold["val"]}
        drawn = [case_id for case_id in fold["train"] if cohort[case_id].derived]
        assert bool(drawn) is not bool(held_out & {"sub_00", "sub_01"})


def test_cases_of_a_model_that_saw_everybody_are_in_no_training_set(tmp_path):
    real = real_cohort(tmp_path / "real", n_subjects=4)
    drawn = drawn_cohort(tmp_path / "drawn", real.of_subjects(["sub_00"]), parents=real.subjects)
    made = export([tmp_path / "real", tmp_path / "drawn"], tmp_path / OUT, folds=2)
    assert set(made.unused) == {case.case_id for case in drawn}
    assert not set(made.unused) & {case_id for fold in splits_of(tmp_path / OUT) for case_id in fold["train"]}


def test_one_fold_validates_on_those_that_no_drawn_case_leads_to(folders, tmp_path):
    export(folders, tmp_path / OUT, folds=1, ratio=1.0)
    (fold,), cohort = splits_of(tmp_path / OUT), read_cohort(tmp_path / OUT)
    assert {cohort[case_id].subject_id for case_id in fold["val"]} == {"sub_04", "sub_05"}
    assert sum(cohort[case_id].derived for case_id in fold["train"]) == 8
    with pytest.raises(ConfigError, match="2 folds or more"):
        export(folders[:1], tmp_path / "Dataset202_Real", folds=1)
    drawn_cohort(tmp_path / "all", read_cohort(folders[0]))
    with pytest.raises(ConfigError, match="fewer subjects"):
        export([folders[0], tmp_path / "all"], tmp_path / "Dataset203_All", folds=1)


def test_without_folds_everything_is_trained_on(folders, tmp_path):
    made = export(folders, tmp_path / OUT, folds=0)
    assert (made.folds, made.lists) == ((), ())
    assert not {"splits_final.json", "dataset_0.json"} & {path.name for path in (tmp_path / OUT).iterdir()}
    assert len(made.written.cohort) == 12 + 32


@pytest.mark.parametrize(("ratio", "each"), [(0.5, 4), (1.0, 8), (0.0, 0)])
def test_a_ratio_holds_in_every_training_set(folders, tmp_path, ratio, each):
    made = export(folders, tmp_path / OUT, folds=3, ratio=ratio)
    cohort, used = read_cohort(tmp_path / OUT), set()
    for fold in splits_of(tmp_path / OUT):
        drawn = {case_id for case_id in fold["train"] if cohort[case_id].derived}
        assert (len(drawn), len(fold["train"])) == (each, 8 + each)
        used |= drawn
    assert used == {case.case_id for case in cohort if case.derived}
    assert made.unused == ()


def test_a_ratio_is_balanced_over_scans_then_masks_and_larger_ones_hold_smaller_ones(folders, tmp_path):
    chosen = []
    for number, ratio in enumerate((1 / 3, 2 / 3), start=201):
        out = tmp_path / f"Dataset{number}_Ratio"
        export(folders, out, folds=0, ratio=ratio, seed=3)
        drawn = [case for case in read_cohort(out) if case.derived]
        for of in ("subject_id", "mask_id"):
            counts = Counter(getattr(case, of) for case in drawn)
            assert max(counts.values()) - min(counts.values()) <= 1
        chosen.append({case.case_id for case in drawn})
    assert [len(ids) for ids in chosen] == [4, 8]
    assert chosen[0] < chosen[1]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_choice(folders, tmp_path):
    made = []
    for number, seed in enumerate((0, 0, 1)):
        out = tmp_path / str(number) / OUT
        export(folders, out, folds=3, ratio=0.5, seed=seed)
        made.append(content(out))
    assert made[0] == made[1]
    assert made[0].keys() != made[2].keys()


def test_a_ratio_that_cannot_be_had_names_the_one_that_can(folders, tmp_path):
    with pytest.raises(ConfigError, match=r"`ratio`: .*fold \d may use \d+; ask for `ratio=1:\d\.?\d*` at most"):
        export(folders, tmp_path / OUT, folds=3, ratio=5.0)
    assert list(tmp_path.iterdir()) == []


def write_splits(path, *folds):
    path.write_text(json.dumps([{"train": train, "val": val} for train, val in folds]))
    return path


def test_a_given_split_that_leaks_is_refused_in_one_line(folders, tmp_path):
    leaking = [
        (["case_000", "case_002_s00"], ["case_003"]),
        (["case_000"], ["case_001"]),
        (["case_000"], ["case_002_s00"]),
    ]
    for number, fold in enumerate(leaking):
        splits = write_splits(tmp_path / f"splits_{number}.json", (["case_000"], ["case_008"]), fold)
        with pytest.raises(LeakError, match=rf"splits_{number}.json: fold 1: .+; .+") as refused:
            export(folders, tmp_path / OUT, splits=splits)
        assert "\n" not in str(refused.value)
        assert not (tmp_path / OUT).exists()


def test_a_given_split_is_taken_as_it_is(folders, tmp_path):
    fold = (["case_000", "case_002_s00"], ["case_008"])
    splits = write_splits(tmp_path / "splits.json", fold)
    export(folders, tmp_path / OUT, splits=splits)
    assert splits_of(tmp_path / OUT) == [{"train": fold[0], "val": fold[1]}]
    with pytest.raises(ConfigError, match="`ratio`"):
        export(folders, tmp_path / "Dataset202_B", splits=splits, ratio=1.0)


def test_drawn_cases_are_added_to_a_given_split_of_real_ones(folders, tmp_path):
    splits = write_splits(tmp_path / "splits.json", (["case_002", "case_004"], ["case_000", "case_001"]))
    export(folders, tmp_path / OUT, splits=splits, ratio=2.0)
    (fold,) = splits_of(tmp_path / OUT)
    assert len(fold["train"]) == 2 + 4
    assert leaks(tmp_path / OUT) == []


def test_the_same_image_under_two_subjects_is_refused(tmp_path):
    for name in "ab":
        real_cohort(tmp_path / name, n_subjects=4)
    table = (tmp_path / "b" / "cases.csv").read_text()
    (tmp_path / "b" / "cases.csv").write_text(table.replace("sub_", "other_"))
    with pytest.raises(LeakError, match="the same image"):
        export([tmp_path / "a", tmp_path / "b"], tmp_path / OUT, folds=4)
