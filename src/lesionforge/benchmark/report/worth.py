"""The section of a report on the worth of a gain: its share of the gap to the whole pool, and the uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lesionforge.benchmark.report.figures.charts import Illustration
from lesionforge.benchmark.report.figures.gap_charts import gap_figure, training_sets_figure
from lesionforge.benchmark.report.gap import gap_sentences, gap_table, percent_interval
from lesionforge.benchmark.report.patients import patients_table, patients_text
from lesionforge.benchmark.report.spread import spread_table
from lesionforge.benchmark.report.wording import amount, signed, size_names
from lesionforge.scores.registry import find_score
from lesionforge.scores.score import Score


@dataclass(frozen=True, kw_only=True)
class Worth:
    """Content of the report's section on gains and gaps.

    Attributes:
        pool: text that describes the reference's training subjects.
        lines: a sentence for each comparison.
        gaps: rows of the table of shares.
        patients: rows of the table of the numbers of patients that arms are worth.
        spreads: rows of the table of standard deviations.
        figures: figures of the shares of the gap and of the mean score of each training run.
        table: output of :func:`~lesionforge.benchmark.report.gap.gap_table`.
        patients_table: output of :func:`~lesionforge.benchmark.report.patients.patients_table`.
    """

    pool: str
    lines: Sequence[str]
    gaps: Sequence[dict[str, Any]]
    patients: Sequence[dict[str, Any]]
    spreads: Sequence[dict[str, Any]]
    figures: Sequence[Illustration]
    table: pd.DataFrame
    patients_table: pd.DataFrame


def worth(
    results: pd.DataFrame, reference: pd.DataFrame, *, baseline: str, primary: str, arm: str | None = None
) -> Worth:
    """Compare the gains of the arms with the gap to the whole pool.

    Args:
        results: content of ``results.csv``.
        reference: content of ``reference.csv``.
        baseline: name of the baseline.
        primary: the primary score.
        arm: the primary arm; without it, ``lines`` covers all arms.
    """
    pool = pool_name(reference)
    table = gap_table(results, reference, baseline=baseline, metric=primary)
    patients = patients_table(results, reference, baseline=baseline, metric=primary)
    of_arm = table if arm is None or table.empty else table[table["arm"] == arm]
    of_arms, of_pool = (_with_one_whole_set(rows, reference) for rows in (results, reference))
    figures = [
        Illustration("training_sets.svg", _training_sets_caption(primary), training_sets_figure(of_arms, primary))
    ]
    if (shares := gap_figure(table)) is not None:
        caption = (
            f"Share of the gap in {find_score(primary).title} between {baseline} on these subjects and on {pool} that "
            "each arm closes, with 95 % intervals; intervals are cut at the edges."
        )
        figures.insert(0, Illustration("gap.svg", caption, shares))
    spreads = pd.DataFrame() if find_score(primary).level == "set" else _spreads(of_arms, of_pool, primary, pool)
    return Worth(
        pool=pool,
        lines=gap_sentences(of_arm, baseline=baseline, pool=pool),
        gaps=[_gap_cells(row, find_score(primary)) for row in table.to_dict("records")],
        patients=[_patients_cells(row) for row in patients.to_dict("records")],
        spreads=[_spread_cells(row, find_score(primary)) for row in spreads.to_dict("records")],
        figures=figures,
        table=table,
        patients_table=patients,
    )


def _with_one_whole_set(rows: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with one training set where all subjects of the pool are trained on, whatever their seed."""
    is_whole = rows["train_size"].isin(reference["train_size"])
    return rows.assign(training_set=rows["training_set"].where(~is_whole, 0))


def _spreads(results: pd.DataFrame, reference: pd.DataFrame, primary: str, pool: str) -> pd.DataFrame:
    """Return the standard deviations of the arms at each size, and of the baseline trained on the whole pool."""
    of_arms, of_pool = (spread_table(table, metric=primary) for table in (results, reference))
    sizes = of_arms["train_size"].map(size_names(results["train_size"]))
    return pd.concat([of_arms.assign(size=sizes), of_pool.assign(size=pool)])


def pool_name(reference: pd.DataFrame) -> str:
    """Return a text that describes the training subjects of the reference."""
    sizes = sorted(set(reference["train_size"]))
    if sizes[-1] <= 1:
        return "the whole pool"
    return f"all {' or '.join(f'{size:g}' for size in sizes)}"


def _training_sets_caption(primary: str) -> str:
    return (
        f"Mean {find_score(primary).title} of every training. Trainings on the same subjects have the same marker, "
        "so what equal markers have in common is the choice of subjects."
    )


def _gap_cells(row: dict[Any, Any], info: Score[Any]) -> dict[str, Any]:
    cells = {"arm": row["arm"], "train_size": row["train_size"], "seeds": row["n_seeds"]}
    if math.isnan(row["gap"]):
        return cells | dict.fromkeys(("few", "whole", "gap", "gain", "share"), "–")
    ends = f"{signed(row['gap_low'], info)}, {signed(row['gap_high'], info)}"
    return cells | {
        "few": amount(row["baseline_mean"], info),
        "whole": amount(row["reference_mean"], info),
        "gap": f"{signed(row['gap'], info)} [{ends}]",
        "gain": signed(row["gain"], info),
        "share": percent_interval(row),
    }


def _patients_cells(row: dict[Any, Any]) -> dict[str, Any]:
    facts = {"arm": row["arm"], "train_size": row["train_size"], "seeds": row["n_seeds"]}
    return facts | {"patients": patients_text(row)}


def _spread_cells(row: dict[Any, Any], info: Score[Any]) -> dict[str, Any]:
    deviations = {name: amount(row[name], info) for name in ("subjects", "training_sets", "trainings", "both")}
    return deviations | {name: row[name] for name in ("arm", "size", "n_training_sets", "n_seeds")}
