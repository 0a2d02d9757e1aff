"""The section of a report on where an arm gains: by lesion size, by contrast, and in which subject most and least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.benchmark.report.case_facts import CONTRAST, SIZES
from lesionforge.benchmark.report.wording import signed, size_names
from lesionforge.scores.registry import find_score
from lesionforge.scores.score import Score
from lesionforge.scores.statistics.arm_statistics import case_differences, paired_differences
from lesionforge.scores.statistics.intervals import mean_interval

FEWEST = 6
"""Test subjects with a lesion below which there are no thirds."""
NAMES = {
    **dict.fromkeys(SIZES.values(), ("smallest lesions", "middle", "largest lesions")),
    CONTRAST: ("least contrast", "middle", "most contrast"),
}
UNITS = {"lesion_area_mm2": " mm²", "lesion_volume_ml": " ml", CONTRAST: ""}


@dataclass(frozen=True, kw_only=True)
class ByTertile:
    """Content of the report's section.

    Attributes:
        titles: heading of each third.
        rows: a row per arm and size, with a cell per third.
        extremes: a sentence per arm and size on the subjects of the greatest gain and of the greatest loss.
        table: output of :func:`tertile_table`.
    """

    titles: Sequence[str]
    rows: Sequence[dict[str, Any]]
    extremes: Sequence[str]
    table: pd.DataFrame


def by_tertile(results: pd.DataFrame, facts: pd.DataFrame, *, baseline: str, metric: str) -> ByTertile | None:
    """Return the gains by thirds of the test subjects, or ``None`` without a comparison or with too few subjects.

    Args:
        results: content of ``results.csv``.
        facts: content of ``test_cases.csv``.
        baseline: name of the arm that gains are measured from.
        metric: the score; a score of a set of cases has no gain per subject.
    """
    info = find_score(metric)
    if info.level == "set" or facts["subject_id"].nunique() < FEWEST or results["arm"].nunique() < 2:
        return None
    table = tertile_table(results, facts, baseline=baseline, metric=metric)
    if table.empty:
        return None
    first = table.drop_duplicates(["of", "third"]).to_dict("records")
    return ByTertile(
        titles=[_title(row) for row in first],
        rows=[
            {"arm": arm, "train_size": size, "cells": [_cell(row, info) for row in part.to_dict("records")]}
            for (arm, size), part in table.groupby(["arm", "train_size"], sort=False)
        ],
        extremes=_extremes(results, baseline, info),
        table=table,
    )


def tertile_table(results: pd.DataFrame, facts: pd.DataFrame, *, baseline: str, metric: str) -> pd.DataFrame:
    """Return the gain of each arm over the baseline by thirds of the test subjects.

    Returns:
        A row per arm × train_size × fact (``of``) × ``third`` (1 to 3, in ascending order): the range of the fact
        (``least, most``), ``n_subjects``, and the ``gain`` with its 95 % interval ``gain_low, gain_high``.
    """
    pairs, rows = paired_differences(results, metric, baseline=baseline), []
    columns = [name for name in NAMES if name in facts and facts[name].notna().any()]
    for (arm, size), part in pairs.groupby(["arm", "train_size"], sort=False):
        for column in columns:
            of_subjects = facts.groupby("subject_id")[column].mean().dropna().sort_values(kind="stable")
            for third, chosen in enumerate(np.array_split(np.arange(len(of_subjects)), 3), start=1):
                values = of_subjects.iloc[chosen]
                gains = part[part["subject_id"].isin(values.index)]
                found = mean_interval(gains.pivot_table("difference", "subject_id", "training").to_numpy())
                row = {"arm": arm, "train_size": size, "metric": metric, "of": column, "third": third}
                row |= {"least": values.min(), "most": values.max(), "n_subjects": found.n}
                rows.append(row | {"gain": found.mean, "gain_low": found.low, "gain_high": found.high})
    return pd.DataFrame(rows)


def _title(row: dict[Any, Any]) -> str:
    name, unit = NAMES[row["of"]][row["third"] - 1], UNITS[row["of"]]
    return f"{name}, {row['least']:.2g} to {row['most']:.2g}{unit}".replace("-", "−")


def _cell(row: dict[Any, Any], info: Score[Any]) -> str:
    ends = ", ".join(signed(row[end], info) for end in ("gain_low", "gain_high"))
    return f"{signed(row['gain'], info)} [{ends}], {row['n_subjects']} subjects"


def _extremes(results: pd.DataFrame, baseline: str, info: Score[Any]) -> list[str]:
    """Return a sentence per arm and size."""
    sizes, lines = size_names(results["train_size"]), list[str]()
    for (arm, size), gains in extreme_subjects(results, baseline, info).items():
        best, worst = (f"{gains.index[at]} ({signed(gains.iloc[at], info)})" for at in (0, -1))
        place = f"{arm}, {sizes[size]}" if len(sizes) > 1 else arm
        lines.append(f"{place}: best in subject {best}, worst in subject {worst}.")
    return lines


def extreme_subjects(
    results: pd.DataFrame, baseline: str, info: Score[Any]
) -> dict[tuple[str, float], pd.Series[float]]:
    """Return (arm, size) → gain of each test subject, the best first: the mean over its cases and the seeds."""
    pairs = paired_differences(results, info.name, baseline=baseline)
    means = pairs.groupby(["arm", "train_size", "subject_id"], sort=False)["difference"].mean()
    return {
        (arm, size): _best_first(means[arm, size], info)
        for arm in dict.fromkeys(pairs["arm"])
        for size in sorted(set(results["train_size"]))
        if (arm, size) in means.index
    }


def extreme_predictions(
    results: pd.DataFrame, baseline: str, info: Score[Any], subject: str
) -> dict[Any, pd.Series[float]]:
    """Return (arm, size) → gain of each prediction of a test subject by ``case_id`` and ``seed``, the best first."""
    pairs = case_differences(results[results["subject_id"] == subject], info.name, baseline=baseline)
    return {
        key: _best_first(part.set_index(["case_id", "seed"])["difference"], info)
        for key, part in pairs.groupby(["arm", "train_size"], sort=False)
    }


def _best_first(gains: pd.Series[float], info: Score[Any]) -> pd.Series[float]:
    return gains.sort_values(ascending=info.higher_is_better is False, kind="stable")
