import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.scan import read_label
from lesionforge.cohort.splits import (
    kfold,
    lesion_load,
    nested_subjects,
    of_role,
    read_roles,
    read_splits_final,
    split_by_count,
    split_by_subject,
    take_subjects,
    write_splits_final,
)
from lesionforge.errors import CohortError, ConfigError, DoubtWarning, LeakError
from tests.helpers import tiny_cohort, write_array

SEEDS = range(5)


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> Cohort:
    """40 subjects: 20 lesion-free ones, then 20 with 1, 2, …, 20 lesion pixels; two cases each."""
    folder = tmp_path_factory.mktemp("graded")
    cases = []
    for index in range(40):
        size = max(0, index - 19)
        label = np.zeros((5, 8), np.uint8)
        label.flat[:size] = 1
        path = folder / f"{index}.png"
        write_array(path, label)
        for visit in "ab":
            annotation = Annotation.LESION if size else Annotation.LESION_FREE
            cases.append(
                Case(
                    case_id=f"c{index:02d}{visit}",
                    subject_id=f"s{index:02d}",
                    images={},
                    annotation=annotation,
                    label=path,
                )
            )
    return Cohort(name="graded", channels=("FLAIR",), labels={"background": 0, "lesion": 1}, cases=tuple(cases))


def drawn(case: Case, *parents: str) -> Case:
    return replace(case, case_id=f"syn_{case.case_id}", origin="synthetic", source_case=case.case_id, parents=parents)


def loads(cohort: Cohort) -> list[float]:
    return [max(0.0, float(subject[1:]) - 19) for subject in cohort.subjects]


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_lesion_load_is_a_volume(tmp_path, spatial_dims):
    affine = np.array([[0, -2.0, 0, 5], [3.0, 0, 0, 1], [0, 0, 1.5, 2], [0, 0, 0, 1]])
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=3, n_healthy=1, n_unknown=1, affine=affine)
    voxels = np.count_nonzero(read_label(cohort["case_000"].label)[0])
    assert lesion_load(cohort["case_000"]) == pytest.approx(voxels * (9.0 if spatial_dims == 3 else 1.0))
    assert lesion_load(cohort["case_001"]) == 0
    assert np.isnan(lesion_load(cohort["case_002"]))


@pytest.mark.parametrize("seed", SEEDS)
def test_fractions_nest_and_are_stratified(graded, seed):
    sets = {n: take_subjects(graded, n, seed) for n in (4, 8, 16, 40)}
    for small, large in ((4, 8), (8, 16), (16, 40)):
        assert set(sets[small].subjects) < set(sets[large].subjects)
    for n, chosen in sets.items():
        assert len(chosen.subjects) == n
        assert len(chosen) == 2 * n
        found = loads(chosen)
        assert sum(load == 0 for load in found) == n // 2
        if n >= 8:
            assert sum(load > 10 for load in found) == pytest.approx(n / 4, abs=0.5)
    assert set(take_subjects(graded, 0.025, seed).subjects) < set(take_subjects(graded, 0.1, seed).subjects)
    assert take_subjects(graded, 0.1, seed) == sets[4]
    assert take_subjects(graded, 1.0, seed) == graded


def test_the_seed_decides(graded):
    assert nested_subjects(graded, 3) == nested_subjects(graded, 3)
    assert len({nested_subjects(graded, seed) for seed in SEEDS}) == len(SEEDS)
    first = {nested_subjects(graded, seed)[0] for seed in range(60)}
    assert len(first) > 20


@pytest.mark.parametrize("n_subjects", range(1, 8))
def test_every_subject_is_in_the_order_once(graded, n_subjects):
    few = graded.of_subjects(graded.subjects[40 - n_subjects :])
    assert sorted(nested_subjects(few, 0)) == sorted(few.subjects)


def test_the_order_does_not_depend_on_the_order_of_cases(graded):
    assert nested_subjects(graded.with_cases(graded.cases[::-1]), 1) == nested_subjects(graded, 1)


@pytest.mark.parametrize("amount", [0, 41, 0.01, 1.5, -1])
def test_amounts_that_leave_no_subject_are_refused(graded, amount):
    with pytest.raises(ConfigError, match=f"{amount} of 40 subjects"):
        take_subjects(graded, amount, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_splits_are_by_subject_and_stratified(graded, seed):
    parts = split_by_subject(graded, {"train": 0.7, "development": 0.1, "test": 0.2}, seed)
    assert [len(part.subjects) for part in parts.values()] == [28, 4, 8]
    assert sum(len(part) for part in parts.values()) == len(graded)
    assert len({subject for part in parts.values() for subject in part.subjects}) == 40
    for part in parts.values():
        healthy = sum(load == 0 for load in loads(part)) / len(part.subjects)
        assert healthy == pytest.approx(0.5, abs=0.26)
        assert np.mean(loads(part)) == pytest.approx(np.mean(loads(graded)), rel=0.6)


def test_a_split_in_the_order_of_the_cases_puts_the_first_ones_into_training(graded):
    graded = graded.with_cases([*graded.cases, drawn(graded.cases[0], graded.subjects[0])])
    for seed in SEEDS:
        parts = split_by_subject(graded, {"train": 0.8, "test": 0.2}, seed, stratified=False)
        assert parts["train"].subjects[:32] == graded.subjects[:32]
        assert parts["test"].subjects == graded.subjects[32:40]
    by_count = split_by_count(graded, {"train": (3, 2), "test": (1, 4)}, 0, stratified=False)
    with_lesions = [s for s in graded.subjects[:40] if graded.of_subjects([s]).with_lesions()]
    without = [s for s in graded.subjects[:40] if s not in with_lesions]
    assert {*by_count["train"].subjects} == {*with_lesions[:3], *without[:2]}
    assert {*by_count["test"].subjects} == {*with_lesions[3:4], *without[2:6]}


@pytest.mark.parametrize(
    "fractions", [{"train": 0.99, "test": 0.01}, {"train": 0.7, "test": 0.4}, {"train": 1.2, "test": -0.2}]
)
def test_fractions_that_do_not_fit_are_refused(graded, fractions):
    with pytest.raises(ConfigError, match="split"):
        split_by_subject(graded, fractions, 0)


@pytest.mark.parametrize("k", [2, 5])
def test_every_subject_is_validated_once(graded, k):
    folds = kfold(graded, k, 0)
    validated = [subject for _, val in folds for subject in val.subjects]
    assert sorted(validated) == sorted(graded.subjects)
    for train, val in folds:
        assert not set(train.subjects) & set(val.subjects)
        assert len(train) + len(val) == len(graded)
        assert sum(load == 0 for load in loads(val)) == pytest.approx(20 / k, abs=1)
        assert sum(loads(val)) == pytest.approx(sum(loads(graded)) / k, rel=0.25)


@pytest.mark.parametrize("k", [1, 41])
def test_folds_that_leave_no_subject_are_refused(graded, k):
    with pytest.raises(ConfigError, match=f"{k} folds of 40"):
        kfold(graded, k, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_drawn_cases_are_only_trained_on_and_only_with_all_their_parents(graded, seed):
    partner = dict(zip(graded.subjects, graded.subjects[1:] + graded.subjects[:1], strict=True))
    synthetic = [drawn(case, case.subject_id, partner[case.subject_id]) for case in graded]
    both = graded.with_cases([*graded.cases, *synthetic])
    assert nested_subjects(both, seed) == nested_subjects(graded, seed)
    parts = split_by_subject(both, {"train": 0.7, "test": 0.3}, seed)
    assert not any(case.derived for case in parts["test"])
    chosen = set(parts["train"].subjects)
    kept = {case.case_id for case in parts["train"] if case.derived}
    assert kept == {case.case_id for case in synthetic if set(case.parents) <= chosen}
    for train, val in kfold(both, 4, seed):
        assert not train.ancestry & val.ancestry
        assert not any(case.derived for case in val)


def test_drawn_cases_do_not_change_the_order(graded):
    lesion = graded["c39a"].label
    into_healthy = [
        replace(drawn(case, "s39"), label=lesion, annotation=Annotation.LESION) for case in graded.cases[:9]
    ]
    stranger = replace(drawn(graded.cases[0], "s39"), case_id="other", subject_id="nobody")
    assert nested_subjects(graded.with_cases([*into_healthy, stranger, *graded.cases]), 2) == nested_subjects(graded, 2)


def test_the_seed_decides_the_folds(graded):
    with_lesions = graded.with_lesions()
    assert kfold(with_lesions, 4, 1) == kfold(with_lesions, 4, 1)
    assert len({kfold(with_lesions, 4, seed)[0][1].subjects for seed in SEEDS}) > 1


def test_splits_final_is_written_and_read(graded, tmp_path):
    folds = kfold(graded, 4, 0)
    path = tmp_path / "splits_final.json"
    write_splits_final(path, folds)
    content = json.loads(path.read_text())
    assert [sorted(fold) for fold in content] == [["train", "val"]] * 4
    assert content[0]["val"] == [case.case_id for case in folds[0][1]]
    assert read_splits_final(path, graded) == folds


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_splits_final_with_a_leak_is_refused(graded, tmp_path):
    path = write(tmp_path / "splits_final.json", [{"train": ["c00a"], "val": ["c00b"]}])
    with pytest.raises(LeakError, match=r"splits_final\.json: fold 0.*s00"):
        read_splits_final(path, graded)
    with pytest.raises(LeakError, match="s00"):
        write_splits_final(path, [(graded.subset(["c00a"]), graded.subset(["c00b"]))])
    both = graded.with_cases([*graded.cases, drawn(graded.cases[0], "s00")])
    write(path, [{"train": ["c01a"], "val": ["syn_c00a"]}])
    with pytest.raises(LeakError, match="and is a test case"):
        read_splits_final(path, both)


@pytest.mark.parametrize("content", [{"train": []}, [{"train": ["c00a"]}], [{"train": "c00a", "val": ["c01a"]}], [3]])
def test_splits_final_of_another_form_is_refused(graded, tmp_path, content):
    with pytest.raises(CohortError, match="not a list of folds"):
        read_splits_final(write(tmp_path / "splits_final.json", content), graded)


def test_splits_final_with_a_strange_case_is_refused(graded, tmp_path):
    path = write(tmp_path / "splits_final.json", [{"train": ["x"], "val": ["c01a"]}])
    with pytest.raises(CohortError, match="fold 0: x"):
        read_splits_final(path, graded)
    with pytest.raises(CohortError, match="no such file"):
        read_splits_final(tmp_path / "none.json", graded)


def test_roles_are_read(graded, tmp_path):
    path = write(tmp_path / "roles.json", {"pool": ["s00", "s39"], "final": ["s05"]})
    roles = read_roles(path)
    assert roles == {"pool": ("s00", "s39"), "final": ("s05",)}
    assert of_role(graded, roles, "pool").subjects == ("s00", "s39")
    with pytest.raises(ConfigError, match="choose from pool, final"):
        of_role(graded, roles, "test")
    with pytest.raises(ConfigError, match="none of its subjects"):
        of_role(graded.of_subjects(["s01"]), roles, "pool")


def test_roles_that_overlap_or_have_another_form_are_refused(tmp_path):
    with pytest.raises(LeakError, match="s00 is in pool and final"):
        read_roles(write(tmp_path / "roles.json", {"pool": ["s00"], "final": ["s00"]}))
    with pytest.raises(CohortError, match="mapping of roles"):
        read_roles(write(tmp_path / "roles.json", ["s00"]))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_split_by_count_has_as_many_subjects_of_each_kind_as_asked_for_and_all_loads_alike(graded, seed):
    counts = {"train": (10, 8), "development": (2, 0), "test": (6, 7)}
    parts = split_by_count(graded, counts, seed)
    found = {name: loads(part) for name, part in parts.items()}
    assert {name: (sum(x > 0 for x in of), sum(x == 0 for x in of)) for name, of in found.items()} == counts
    everyone = [subject for part in parts.values() for subject in part.subjects]
    assert len(everyone) == len(set(everyone))
    assert all(len(part) == 2 * len(part.subjects) for part in parts.values()), "all cases of a subject stay together"
    for name in ("train", "test"):
        assert np.mean([load for load in found[name] if load]) == pytest.approx(10.5, abs=3)


def test_a_split_by_count_depends_on_the_seed_alone(graded):
    def trained(seed):
        return split_by_count(graded, {"train": (5, 5), "test": (5, 5)}, seed)["train"].subjects

    assert trained(0) == trained(0)
    assert len({trained(seed) for seed in SEEDS}) > 1


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ({"train": (15, 0), "test": (6, 0)}, "21 subjects with lesions are asked for, but graded has 20"),
        ({"train": (1, 15), "test": (0, 6)}, "21 subjects without lesions are asked for, but graded has 20"),
        ({"train": (1, 1), "test": (0, 0)}, "the part test has no subject"),
    ],
)
def test_a_split_by_count_that_cannot_be_is_refused(graded, counts, what):
    with pytest.raises(ConfigError, match=what):
        split_by_count(graded, counts, 0)


def test_what_was_drawn_from_others_does_not_count(graded):
    both = graded.with_cases((*graded, *(drawn(case, case.subject_id) for case in graded)))
    parts = split_by_count(both, {"train": (10, 10), "test": (10, 10)}, 0)
    assert len(parts["train"].subjects) == len(parts["test"].subjects) == 20
    assert not any(case.derived for case in parts["test"])


SPLITS = {
    "by subject": lambda cohort: split_by_subject(cohort, {"train": 0.5, "test": 0.5}, 0),
    "by count": lambda cohort: split_by_count(cohort, {"train": (2, 0), "test": (2, 0)}, 0),
    "folds": lambda cohort: kfold(cohort, 4, 0),
}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("split", SPLITS)
def test_a_scan_under_two_names_in_two_parts_is_refused(split, spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims)
    SPLITS[split](cohort)
    one, other = _of_two_parts(SPLITS[split](cohort))
    other.images["FLAIR"].write_bytes(one.images["FLAIR"].read_bytes())
    with pytest.raises(LeakError, match="hold the same image") as caught:
        SPLITS[split](cohort)
    assert all(case.case_id in str(caught.value) for case in (one, other))
    assert "; give both the same subject_id" in str(caught.value)


def _of_two_parts(split):
    parts = list(split.values()) if isinstance(split, dict) else [held_out for _, held_out in split]
    return parts[0].cases[0], parts[1].cases[0]


def test_a_scan_on_both_sides_of_a_file_is_refused(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2)
    train, val = cohort.with_cases(cohort.cases[:2]), cohort.with_cases(cohort.cases[2:])
    path = tmp_path / "splits_final.json"
    write_splits_final(path, [(train, val)])
    assert read_splits_final(path, cohort) == [(train, val)]
    val.cases[0].images["FLAIR"].write_bytes(train.cases[0].images["FLAIR"].read_bytes())
    with pytest.raises(LeakError, match=r"splits_final\.json: fold 0: case_000 and case_002 hold the same image"):
        read_splits_final(path, cohort)
    with pytest.raises(LeakError, match="hold the same image"):
        write_splits_final(path, [(train, val)])


@pytest.mark.parametrize("names", [("p05", "P5"), ("p05", "sub-p05"), ("BRATS-01-100", "BRATS-01-101")])
def test_one_person_under_two_names_in_two_parts_is_a_warning_that_names_both(names, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=2)
    named = [replace(case, subject_id=name) for case, name in zip(cohort, names, strict=True)]
    with pytest.warns(DoubtWarning) as warned:
        kfold(cohort.with_cases(named), 2, 0)
    (line,) = [str(warning.message) for warning in warned]
    assert all(name in line for name in names)
    assert "subject_id in cases.csv" in line


def test_roles_of_names_that_read_alike_are_a_warning(tmp_path):
    path = tmp_path / "roles.json"
    path.write_text(json.dumps({"pool": ["p05", "p06"], "final": ["P5", "P07"]}))
    with pytest.warns(DoubtWarning, match=r"roles\.json: p05 and P5 read alike, but have the roles final and pool"):
        read_roles(path)
