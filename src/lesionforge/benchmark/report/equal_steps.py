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
        rows: a row per size and arm, with a cell per number of steps.
    """

    steps: Sequence[int]
    rows: Sequence[dict[str, Any]]


def equal_steps(tried: pd.DataFrame, *, metric: str) -> EqualSteps:
    """Return the development scores of all sizes at each length that the control tried, as means over trainings.

    Args:
        tried: content of ``lengths.csv``.
        metric: the primary score.
    """
    info, steps = find_score(metric), sorted(set(tried["steps"]))
    named = tried.assign(size=tried["train_size"].map(size_names(tried["train_size"])))
    rows = []
    for (_, size, arm), part in named.groupby(["train_size", "size", "arm"], sort=True):
        of_length = dict(list(part.groupby("steps")))
        cells = [_cell(of_length[n], info) if n in of_length else {"text": "–", "kept": False} for n in steps]
        rows.append({"size": size, "arm": arm, "cells": cells})
    return EqualSteps(steps=steps, rows=rows)


def _cell(trainings: pd.DataFrame, info: Score[Any]) -> dict[str, Any]:
    nothing = int(trainings["found_nothing"].sum())
    collapsed = f" ({nothing} of {len(trainings)} found nothing)" if nothing else ""
    return {"text": amount(trainings["score"].mean(), info) + collapsed, "kept": bool(trainings["kept"].any())}
