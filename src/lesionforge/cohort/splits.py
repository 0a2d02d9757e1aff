"""Splits by subject, stratified by lesion load; nested fractions; nnU-Net's ``splits_final.json``; roles."""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.leaks import check_no_leak, checked_split
from lesionforge.cohort.people import alike
from lesionforge.cohort.scan import read_label
from lesionforge.errors import CohortError, ConfigError, DoubtWarning, LeakError, choose_from
from lesionforge.files import write_json
from lesionforge.reading import read_json
from lesionforge.seeding import generator

Fold = tuple[Cohort, Cohort]
"""Training and validation cases."""


def lesion_load(case: Case) -> float:
    """Return the lesion volume of a case in mm³ (mm² in 2D): 0 if lesion-free, NaN if unknown."""
    if not case.outlined:
        return float("nan")
    if case.label is None:
        return 0.0
    label, affine = read_label(case.label)
    return float(np.count_nonzero(label)) * abs(float(np.linalg.det(affine[:3, :3])))


def nested_subjects(cohort: Cohort, seed: int) -> tuple[str, ...]:
    """Return all subjects in an order in which every prefix and every stretch is stratified by lesion load.

    The first n subjects are the training set of size n, so the sets of a series of sizes nest. Subjects are sorted
    by load (healthy first, unknown last, ties shuffled), and the halves of that list are interleaved, each ordered in
    the same way. Cases drawn from others do not count.
    """
    rng = generator(seed, "subjects")
    return tuple(_spread(_by_load(cohort, rng), rng))


def subjects_in_order(cohort: Cohort) -> tuple[str, ...]:
    """Return all subjects in the order of the cases. Cases drawn from others do not count."""
    return cohort.with_cases([case for case in cohort if not case.derived]).subjects


def take_subjects(cohort: Cohort, amount: int | float, seed: int) -> Cohort:
    """Return the cases of a stratified choice of subjects; choices of growing ``amount`` nest.

    Args:
        cohort: the cohort to choose from.
        amount: a number of subjects (int), or a fraction of all (float, above 0, at most 1).
        seed: seed of the order; see :func:`nested_subjects`.

    Raises:
        ConfigError: if the amount leaves no subject, or exceeds the number of subjects.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> len(take_subjects(cohort, 3, seed=0).subjects), len(take_subjects(cohort, 0.5, seed=0).subjects)
        (3, 2)
        >>> set(take_subjects(cohort, 2, seed=0).subjects) <= set(take_subjects(cohort, 3, seed=0).subjects)
        True
    """
    return nested_sets(cohort, [amount], seed)[amount]


def nested_sets(cohort: Cohort, amounts: Iterable[int | float], seed: int) -> dict[int | float, Cohort]:
    """Return the result of :func:`take_subjects` for several amounts; the results nest.

    Raises:
        ConfigError: if an amount leaves no subject, or exceeds the number of subjects.
    """
    order = nested_subjects(cohort, seed)
    sets = {}
    for amount in amounts:
        number = round(amount * len(order)) if isinstance(amount, float) else amount
        if not 1 <= number <= len(order):
            end = "leaves 0 of them" if number < 1 else "are more than there are"
            what = f"{amount} of {len(order)} subjects {end}"
            raise ConfigError(
                f"subjects of {cohort.name}", what, "choose a number or fraction that leaves at least one"
            )
        sets[amount] = _training_part(cohort, order[:number])
    return sets


def split_by_subject(
    cohort: Cohort, fractions: Mapping[str, float], seed: int, *, stratified: bool = True
) -> dict[str, Cohort]:
    """Split into named parts by subject.

    Args:
        cohort: the cohort to split; cases drawn from others only go to the part ``train``, and only if all of their
            parents are in it.
        fractions: part → share of the subjects; the sum is at most 1.
        seed: seed of the order; see :func:`nested_subjects`.
        stratified: whether the order is random and stratified by lesion load; otherwise it is that of the cases, and
            the parts differ in whatever the cases are sorted by.

    Raises:
        ConfigError: if a fraction is negative, their sum is above 1, or a part would get no subject.
        LeakError: if two parts hold the same image.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> parts = split_by_subject(cohort, {"train": 0.5, "test": 0.5}, seed=0)
        >>> {name: len(part.subjects) for name, part in parts.items()}
        {'train': 2, 'test': 2}
    """
    if any(share < 0 for share in fractions.values()) or sum(fractions.values()) > 1 + 1e-9:
        raise ConfigError("split", f"the fractions are {dict(fractions)}", "give fractions that add up to at most 1")
    order = nested_subjects(cohort, seed) if stratified else subjects_in_order(cohort)
    ends = np.rint(np.cumsum(list(fractions.values())) * len(order)).astype(int)
    parts: dict[str, Cohort] = {}
    for name, start, end in zip(fractions, [0, *ends[:-1]], ends, strict=True):
        if start == end:
            what = f"the part {name} ({fractions[name]:g} of {len(order)} subjects) has no subject"
            raise ConfigError("split", what, "give it a larger fraction")
        part = _training_part if name == "train" else _test_part
        parts[name] = part(cohort, order[start:end])
    checked_split(parts)
    return parts


def split_by_count(
    cohort: Cohort, counts: Mapping[str, tuple[int, int]], seed: int, *, stratified: bool = True
) -> dict[str, Cohort]:
    """Split into named parts with given numbers of subjects with and without lesions.

    Args:
        cohort: the cohort to split; cases drawn from others only go to the part ``train``, and only if all of their
            parents are in it.
        counts: part → number of subjects with a lesion in any case, and of lesion-free subjects.
        seed: seed of the order; see :func:`nested_subjects`.
        stratified: see :func:`split_by_subject`.

    Raises:
        ConfigError: if there are too few subjects of a kind, or a part would get no subject.
        LeakError: if two parts hold the same image.
    """
    lesions = {case.subject_id for case in cohort if case.annotation is not Annotation.LESION_FREE}
    order = nested_subjects(cohort, seed) if stratified else subjects_in_order(cohort)
    left = {
        "with lesions": [subject for subject in order if subject in lesions],
        "without lesions": [subject for subject in order if subject not in lesions],
    }
    for (kind, subjects), numbers in zip(left.items(), zip(*counts.values(), strict=True), strict=True):
        if sum(numbers) > len(subjects):
            what = f"{sum(numbers)} subjects {kind} are asked for, but {cohort.name} has {len(subjects)}"
            raise ConfigError("split", what, "ask for fewer")
    parts: dict[str, Cohort] = {}
    for name, numbers in counts.items():
        if not any(numbers):
            raise ConfigError("split", f"the part {name} has no subject", "ask for one at least")
        chosen: list[str] = []
        for kind, number in zip(left, numbers, strict=True):
            chosen += left[kind][:number]
            left[kind] = left[kind][number:]
        parts[name] = (_training_part if name == "train" else _test_part)(cohort, chosen)
    checked_split(parts)
    return parts


def kfold(cohort: Cohort, k: int, seed: int) -> list[Fold]:
    """Return k folds of training and validation cases by subject, stratified by lesion load.

    Raises:
        ConfigError: if k is below 2 or above the number of subjects.
        LeakError: if two folds hold the same image.
    """
    rng = generator(seed, "folds")
    subjects = _by_load(cohort, rng)
    if not 2 <= k <= len(subjects):
        remedy = (
            "use 2 up to the number of subjects" if len(subjects) > 1 else "annotate more, or make no folds, `folds=0`"
        )
        raise ConfigError("folds", f"{k} folds of {len(subjects)} subjects", remedy)
    fold_of: dict[str, int] = {}
    for start in range(0, len(subjects), k):
        block = subjects[start : start + k]
        fold_of |= dict(zip(block, rng.permutation(k).tolist(), strict=False))
    folds = [
        (
            _training_part(cohort, [subject for subject in subjects if fold_of[subject] != fold]),
            _test_part(cohort, [subject for subject in subjects if fold_of[subject] == fold]),
        )
        for fold in range(k)
    ]
    checked_split({f"fold {number}": held_out for number, (_, held_out) in enumerate(folds)})
    return folds


def write_splits_final(path: Path, folds: Sequence[Fold]) -> None:
    """Write folds as nnU-Net's ``splits_final.json``, a list of ``{"train": [case ids], "val": [case ids]}``.

    Raises:
        LeakError: if a validation subject is a parent of a training case, or both hold the same image.
    """
    for train, val in folds:
        check_no_leak(train, val)
        checked_split({"train": train, "val": val})
    ids = [{"train": [case.case_id for case in train], "val": [case.case_id for case in val]} for train, val in folds]
    write_json(path, ids)


def read_splits_final(path: Path, cohort: Cohort) -> list[Fold]:
    """Read nnU-Net's ``splits_final.json`` for a cohort.

    Raises:
        CohortError: if the file is not such a list, or names a case that the cohort does not have.
        LeakError: if a subject or an image is on both sides, or a validation case was drawn from others.
    """
    content = read_json(path, remedy="name a JSON file")
    if not isinstance(content, list) or not all(
        isinstance(fold, dict) and _is_names(fold.get("train")) and _is_names(fold.get("val")) for fold in content
    ):
        raise CohortError(path, "is not a list of folds", 'write [{"train": [case ids], "val": [case ids]}, …]')
    folds = []
    for number, fold in enumerate(content):
        try:
            train, val = cohort.subset(fold["train"]), cohort.subset(fold["val"])
            check_no_leak(train, val)
            checked_split({"train": train, "val": val})
        except (CohortError, LeakError) as error:
            raise type(error)(path, f"fold {number}: {error.where} {error.what}", error.remedy) from error
        folds.append((train, val))
    return folds


def read_roles(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a file such as ``roles.json``: role (pool, development, final, …) → subjects.

    Raises:
        CohortError: if the file is not such a mapping.
        LeakError: if a subject has two roles.
    """
    content = read_json(path, remedy="name a JSON file")
    if not isinstance(content, dict) or not all(_is_names(subjects) for subjects in content.values()):
        raise CohortError(path, "is not a mapping of roles", 'write {"pool": [subject ids], "final": [subject ids]}')
    role_of: dict[str, str] = {}
    for role, subjects in content.items():
        for subject in subjects:
            if role_of.setdefault(subject, role) != role:
                raise LeakError(path, f"subject {subject} is in {role_of[subject]} and {role}", "give it one role")
    for group in alike(role_of):
        if len(roles_of_group := {role_of[subject] for subject in group}) > 1:
            what = f"{' and '.join(group)} read alike, but have the roles {' and '.join(sorted(roles_of_group))}"
            doubt = f"{path}: {what}; if they are one person, give it one role"
            warnings.warn(doubt, DoubtWarning, stacklevel=2)
    return {role: tuple(subjects) for role, subjects in content.items()}


def copy_roles(
    source: Path, target: Path, subjects: Collection[str], *, renamed: Mapping[str, str] | None = None
) -> None:
    """Copy ``roles.json`` of a cohort folder into another one, if it exists, with only these subjects.

    Args:
        source: the folder to read from.
        target: the folder to write to.
        subjects: the subjects to keep, as they are called in ``target``.
        renamed: subject in ``source`` → its new id in ``target``.

    Raises:
        CohortError: see :func:`read_roles`.
    """
    if (file := source / "roles.json").is_file():
        new = renamed or {}
        roles = {role: [new.get(name, name) for name in names] for role, names in read_roles(file).items()}
        kept = {role: [name for name in names if name in subjects] for role, names in roles.items()}
        write_json(target / "roles.json", kept)


def of_role(cohort: Cohort, roles: Mapping[str, Collection[str]], role: str) -> Cohort:
    """Return the cases of the subjects with a role.

    Raises:
        ConfigError: if there is no such role, or none of its subjects is in the cohort.
    """
    if role not in roles:
        raise ConfigError(f"role {role}", "is not in the roles file", choose_from(roles))
    part = _training_part(cohort, roles[role])
    if not part.cases:
        raise ConfigError(f"role {role}", f"none of its subjects is in {cohort.name}", "check the roles file")
    return part


def _by_load(cohort: Cohort, rng: np.random.Generator) -> list[str]:
    """Return the subjects sorted by the sum of their cases' loads; unknown loads come last, ties are shuffled."""
    loads: dict[str, list[float]] = {}
    for case in cohort:
        if not case.derived:
            loads.setdefault(case.subject_id, []).append(lesion_load(case))
    known = {subject: float(np.nansum(values)) for subject, values in loads.items() if not np.isnan(values).all()}
    shuffled = [str(subject) for subject in rng.permutation(sorted(loads))]
    return sorted(shuffled, key=lambda subject: known.get(subject, float("inf")))


def _spread(subjects: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Interleave the halves of a sorted list, each ordered in the same way; a random half comes first."""
    if len(subjects) < 2:
        return list(subjects)
    middle = len(subjects) // 2
    if len(subjects) % 2 and rng.random() < 0.5:
        middle += 1
    halves = [_spread(subjects[:middle], rng), _spread(subjects[middle:], rng)]
    if len(halves[0]) < len(halves[1]) or (len(halves[0]) == len(halves[1]) and rng.random() < 0.5):
        halves.reverse()
    longer, shorter = halves
    order = [subject for pair in zip(longer, shorter, strict=False) for subject in pair]
    return order + list(longer[len(shorter) :])


def _training_part(cohort: Cohort, subjects: Collection[str]) -> Cohort:
    """Return the cases of the subjects, and the cases drawn only from these subjects."""
    chosen = frozenset(subjects)
    return cohort.with_cases(
        [case for case in cohort if (case.ancestry <= chosen if case.derived else case.subject_id in chosen)]
    )


def _test_part(cohort: Cohort, subjects: Collection[str]) -> Cohort:
    return cohort.with_cases([case for case in cohort.of_subjects(subjects) if not case.derived])


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)
