"""The section of a report on sizes of the training set at equal steps, beside each at its own length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lesionforge.benchmark.report.wording import amount, size_names
from lesionforge.scores.registry import find_score
from lesionforge.scores.score import Score

TRIED = "lengths.csv"
"""Table of what the control of the training length tried."""


@dataclass(frozen=True, kw_only=True)
class EqualSteps:
    """Content of the report's section.

    Attributes:
        steps: numbers of steps, in ascending order.
        rows: a row per size, arm and fold, with a cell per number of steps.
        folds: whether there are folds; each tried lengths of its own, so means over them could not be compared.
    """

    steps: Sequence[int]
    rows: Sequence[dict[str, Any]]
    folds: bool


def equal_steps(tried: pd.DataFrame, *, metric: str) -> EqualSteps:
    """Return the development scores of all sizes at each length that the control tried, as means over trainings.

    Args:
        tried: content of ``lengths.csv``, with the column ``fold`` if there are folds.
        metric: the primary score.
    """
    info, steps = find_score(metric), sorted(set(tried["steps"]))
    folds = "fold" in tried
    named = tried.assign(
        size=tried["train_size"].map(size_names(tried["train_size"])), fold=tried["fold"] if folds else ""
    )
    rows = []
    for (_, size, arm, fold), part in named.groupby(["train_size", "size", "arm", "fold"], sort=True):
        of_length = dict(list(part.groupby("steps")))
        cells = [_cell(of_length[n], info) if n in of_length else {"text": "–", "kept": False} for n in steps]
        rows.append({"size": size, "arm": arm, "fold": fold, "cells": cells})
    return EqualSteps(steps=steps, rows=rows, folds=folds)


def _cell(trainings: pd.DataFrame, info: Score[Any]) -> dict[str, Any]:
    nothing = int(trainings["found_nothing"].sum())
    collapsed = f" ({nothing} of {len(trainings)} found nothing)" if nothing else ""
    return {"text": amount(trainings["score"].mean(), info) + collapsed, "kept": bool(trainings["kept"].any())}
