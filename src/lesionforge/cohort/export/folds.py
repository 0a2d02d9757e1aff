"""The folds of an export: real cases are validated on, and no synthetic case is trained on that leads to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.export.ratio import balanced_order, take_ratio
from lesionforge.cohort.leaks import check_no_leak, checked_split, leaving_out
from lesionforge.cohort.people import People
from lesionforge.cohort.splits import Fold, kfold
from lesionforge.errors import ConfigError


def export_folds(
    real: Cohort, drawn: Cohort, *, folds: int, given: Sequence[Fold] | None, ratio: float | None, seed: int
) -> list[Fold]:
    """Return training and validation cases of each fold.

    Args:
        real: the cases that may be validated on.
        drawn: synthetic cases.
        folds: number of folds by subject, stratified by lesion load; with 1, the subjects that no synthetic case leads
            to are validated on; with 0 there is one training set and nothing to validate on.
        given: folds to use instead. If they hold real cases only, the synthetic ones are added to each fold that they
            do not leak into.
        ratio: synthetic cases for each real one in a training set; all that fit if ``None``.
        seed: of the folds, and of the choice of synthetic cases.

    Raises:
        ConfigError: if there are not as many subjects or synthetic cases as asked for.
        LeakError: if the same image is on both sides of a fold.
    """
    if ratio and not drawn.cases:
        raise ConfigError("`ratio`", "there are no synthetic cases", "name a cohort that was drawn, or leave it out")
    if given is not None:
        given = [(_kept(train, (*real, *drawn)), _kept(val, real)) for train, val in given]
        if any(case.derived for train, _ in given for case in train):
            if ratio is not None:
                what = "the split says which synthetic cases are trained on"
                raise ConfigError("`ratio`", what, "leave it out, or name real cases only in that file")
            return list(given)
    elif folds == 0:
        return [(_mixed(real, balanced_order(drawn, seed), ratio, "the training set"), real.with_cases(()))]
    else:
        given = [_held_out(real, drawn)] if folds == 1 else kfold(real, folds, seed)
    people, order = People(real), drawn.with_cases(balanced_order(drawn, seed))
    result = []
    for number, (train, val) in enumerate(given):
        fitting = leaving_out(order, val.ancestry, people)
        mixed = _mixed(train, fitting.cases, ratio, f"fold {number}")
        check_no_leak(mixed, val)
        checked_split({"train": mixed, "val": val})
        result.append((mixed, val))
    return result


def _kept(part: Cohort, usable: Iterable[Case]) -> Cohort:
    return part.subset({case.case_id for case in usable} & {case.case_id for case in part})


def _mixed(train: Cohort, drawn: Sequence[Case], ratio: float | None, where: str) -> Cohort:
    """Return real training cases with synthetic ones, ordered by id."""
    measured = [case for case in train if not case.derived]
    taken = drawn if ratio is None else take_ratio(len(measured), drawn, ratio, where)
    return train.with_cases((*measured, *taken)).in_order()


def _held_out(real: Cohort, drawn: Cohort) -> Fold:
    """Return the cases of subjects that a synthetic case leads to, to be trained on, and the others.

    Raises:
        ConfigError: if one of them is empty.
    """
    people = People(real)
    behind = frozenset[str]().union(*(people.behind_case(case) | case.ancestry for case in drawn))
    val = real.with_cases([case for case in real if not case.ancestry & behind])
    train = real.with_cases([case for case in real if case.subject_id not in val.subjects])
    if not val.cases or not train.cases:
        behind_one = "every" if train.cases else "no"
        what = f"1 validates on subjects that no synthetic case leads to, but {behind_one} subject is behind one"
        remedy = "train and draw on some of the subjects only" if train.cases else "ask for 2 folds or more"
        raise ConfigError("`folds`", what, remedy)
    return train, val
