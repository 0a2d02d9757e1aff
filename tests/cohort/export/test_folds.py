"""What the training and validation cases of an export may be, whatever the format."""

import json
from collections import Counter

import pytest

from lesionforge.cohort.export.export_cohorts import export_cohorts
from lesionforge.cohort.export.folds import export_folds
from lesionforge.cohort.export.gather import gather_folders
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


def parts(folders):
    """Return the real and the drawn cases of folders."""
    cohort = gather_folders(folders).cohort
    return [cohort.with_cases([case for case in cohort if case.derived is derived]) for derived in (False, True)]


def folds_of(folders, **options):
    """Return training and validation cases of each fold, as an export makes them."""
    return export_folds(*parts(folders), **{"folds": 3, "given": None, "ratio": None, "seed": 0, **options})


def drawn_in(train):
    return [case for case in train if case.derived]


def test_folds_are_of_subjects_and_validation_cases_are_real(folders):
    (real, drawn), folds = parts(folders), folds_of(folders)
    assert len(folds) == 3
    assert Counter(case.case_id for _, val in folds for case in val) == {case.case_id: 1 for case in real}
    for train, val in folds:
        fitting = [case for case in (*real, *drawn) if not case.ancestry & set(val.subjects)]
        assert {case.case_id for case in train} == {case.case_id for case in fitting}


def test_the_folds_of_real_cases_do_not_depend_on_the_drawn_ones(folders):
    mixed, alone = folds_of(folders, seed=5), folds_of(folders[:1], seed=5)
    assert [val for _, val in mixed] == [val for _, val in alone]
    assert mixed != folds_of(folders, seed=6)


def test_a_mask_counts_for_the_subject_that_its_name_leads_to(tmp_path):
    real = real_cohort(tmp_path / "real", n_subjects=4)
    drawn_cohort(tmp_path / "drawn", real.of_subjects(["sub_00"]), per_case=3, mask_of=lambda case: "sub_01_mask")
    for train, val in folds_of([tmp_path / "real", tmp_path / "drawn"], folds=4):
        assert len(drawn_in(train)) == (0 if set(val.subjects) & {"sub_00", "sub_01"} else 3)


def test_cases_of_a_model_that_saw_everybody_are_in_no_training_set(tmp_path):
    real = real_cohort(tmp_path / "real", n_subjects=4)
    drawn = drawn_cohort(tmp_path / "drawn", real.of_subjects(["sub_00"]), parents=real.subjects)
    made = export([tmp_path / "real", tmp_path / "drawn"], tmp_path / OUT, folds=2)
    assert set(made.unused) == {case.case_id for case in drawn}
    assert not set(made.unused) & {case_id for fold in splits_of(tmp_path / OUT) for case_id in fold["train"]}
    with pytest.raises(ConfigError, match="draw with a model of its training cases alone"):
        folds_of([tmp_path / "real", tmp_path / "drawn"], ratio=1.0)


def test_one_fold_validates_on_those_that_no_drawn_case_leads_to(folders, tmp_path):
    ((train, val),) = folds_of(folders, folds=1, ratio=1.0)
    assert val.subjects == ("sub_04", "sub_05")
    assert len(drawn_in(train)) == 8
    with pytest.raises(ConfigError, match="2 folds or more"):
        folds_of(folders[:1], folds=1)
    drawn_cohort(tmp_path / "all", read_cohort(folders[0]))
    with pytest.raises(ConfigError, match="draw on some of the subjects only"):
        folds_of([folders[0], tmp_path / "all"], folds=1)


def test_cases_of_a_model_per_fold_are_trained_on_in_that_fold_alone(folders, tmp_path):
    real = read_cohort(folders[0])
    names = [f"fold_{number}" for number in range(3)]
    for name, (train, _) in zip(names, folds_of(folders[:1]), strict=True):
        drawn_cohort(tmp_path / name, real.of_subjects(train.subjects[:2]), parents=train.subjects)
    cohorts = [folders[0], *(tmp_path / name for name in names)]
    for number, (train, val) in enumerate(folds_of(cohorts, ratio=0.5)):
        assert val == folds_of(folders[:1])[number][1]
        assert {case.images["FLAIR"].parts[-3] for case in drawn_in(train)} == {names[number]}
        assert len(drawn_in(train)) == 4


def test_without_folds_everything_is_trained_on(folders, tmp_path):
    made = export(folders, tmp_path / OUT, folds=0, ratio=0.25)
    assert (made.folds, made.lists) == ((), ())
    assert not {"splits_final.json", "dataset_0.json"} & {path.name for path in (tmp_path / OUT).iterdir()}
    assert len(made.written.cohort) == 12 + 3


@pytest.mark.parametrize(("ratio", "each"), [(0.5, 4), (1.0, 8), (0.0, 0)])
def test_a_ratio_holds_in_every_training_set(folders, ratio, each):
    for train, _ in folds_of(folders, ratio=ratio):
        assert (len(drawn_in(train)), len(train)) == (each, 8 + each)


def test_cases_that_a_ratio_leaves_out_are_not_written(folders, tmp_path):
    made = export(folders, tmp_path / OUT, folds=2, ratio=0.2)
    used = {case_id for fold in splits_of(tmp_path / OUT) for case_id in fold["train"]}
    assert {case.case_id for case in read_cohort(tmp_path / OUT) if case.derived} <= used
    assert made.unused == ()


def test_a_ratio_is_balanced_over_scans_then_masks_and_larger_ones_hold_smaller_ones(folders):
    chosen = []
    for ratio in (1 / 3, 2 / 3):
        ((train, _),) = folds_of(folders, folds=0, ratio=ratio, seed=3)
        for of in ("subject_id", "mask_id"):
            counts = Counter(getattr(case, of) for case in drawn_in(train))
            assert max(counts.values()) - min(counts.values()) <= 1
        chosen.append({case.case_id for case in drawn_in(train)})
    assert [len(ids) for ids in chosen] == [4, 8]
    assert chosen[0] < chosen[1]


def test_the_same_seed_gives_the_same_bytes(folders, tmp_path):
    for name in "ab":
        export(folders, tmp_path / name / OUT, folds=2, ratio=0.2)
    assert content(tmp_path / "a") == content(tmp_path / "b")


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
    given = read_splits_final(splits, gather_folders(folders).cohort)
    ((train, val),) = folds_of(folders, given=given, ratio=2.0)
    assert len(train) == 2 + 4
    assert not any(case.ancestry & set(val.subjects) for case in train)


def test_the_same_image_under_two_subjects_is_refused(tmp_path):
    for name in "ab":
        real_cohort(tmp_path / name, n_subjects=4)
    table = (tmp_path / "b" / "cases.csv").read_text()
    (tmp_path / "b" / "cases.csv").write_text(table.replace("sub_", "other_"))
    with pytest.raises(LeakError, match="the same image"):
        folds_of([tmp_path / "a", tmp_path / "b"], folds=4)
