"""The tables and lists of a benchmark report, as plain text cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesionforge.benchmark.verdict import (
    MIN_SUBJECTS,
    Outcome,
    amount,
    comparisons,
    difference_of,
    fraction_names,
    outcome,
    signed,
)
from lesionforge.scores import EMPTY_MASK_RULE, HIT_RULE, score_info
from lesionforge.scores.statistics import RESAMPLES

STATISTICS = (
    "The unit is the subject: its value is the mean over its cases and over the seeds. Means and differences between "
    f"arms, paired by subject, have 95 % percentile-bootstrap intervals ({RESAMPLES:,} resamples of the subjects). "
    "They say how much the result depends on the choice of test subjects; the range over seeds says how much it "
    "depends on the training run. p: Wilcoxon's signed-rank test, two-sided; Holm's correction over all arms and "
    "fractions of one score. A difference uses the cases for which both arms have a value."
)


def arm_row(row: pd.Series[Any], primary: str) -> dict[str, Any]:
    """Return the cells of one arm at one fraction in the table of the primary score."""
    info, difference = score_info(primary), difference_of(row)
    cells = {
        "arm": row["arm"],
        "fraction": row["fraction"],
        "mean": f"{amount(row['mean'], info)} [{amount(row['ci_low'], info)}, {amount(row['ci_high'], info)}]",
        "seeds": f"{amount(row['seed_low'], info)} to {amount(row['seed_high'], info)}",
    }
    if math.isnan(difference.mean):
        return cells | dict.fromkeys(("difference", "effect", "p", "p_holm", "outcome", "css"), "")
    kind = outcome(difference, primary)
    return cells | {
        "difference": _difference(row, primary),
        "effect": f"{row['effect']:+.2f}".replace("-", "−"),
        "p": _p(row["p_wilcoxon"]),
        "p_holm": _p(row["p_holm"]),
        "outcome": kind.value,
        "css": css_class(kind),
    }


def all_scores(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table per fraction: a row per score, a column per arm."""
    arms = list(dict.fromkeys(summary["arm"]))
    sizes = fraction_names(summary["fraction"])
    tables = []
    for fraction, name in sizes.items():
        part = summary[summary["fraction"] == fraction]
        rows = []
        for metric in dict.fromkeys(summary["metric"]):
            info = score_info(metric)
            cells = [_cell(part, metric, arm) for arm in arms]
            if any(cell["mean"] != "–" for cell in cells):
                direction = {True: " ↑", False: " ↓", None: ""}[info.higher_is_better]
                rows.append({"title": info.title, "unit": info.unit, "direction": direction, "cells": cells})
        tables.append({"fraction": name if len(sizes) > 1 else "", "arms": arms, "rows": rows})
    return tables


def _cell(part: pd.DataFrame, metric: str, arm: str) -> dict[str, str]:
    rows = part[(part["metric"] == metric) & (part["arm"] == arm)]
    if rows.empty:
        return {"mean": "–", "difference": ""}
    row = rows.iloc[0]
    known = not math.isnan(row["difference"])
    return {"mean": amount(row["mean"], score_info(metric)), "difference": _difference(row, metric) if known else ""}


def _difference(row: pd.Series[Any], metric: str) -> str:
    info = score_info(metric)
    values = [signed(row[name], info) for name in ("difference", "diff_low", "diff_high")]
    return f"{values[0]} [{values[1]}, {values[2]}]"


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def css_class(kind: Outcome) -> str:
    """Return the style class of an outcome."""
    return kind.value if kind in (Outcome.GAIN, Outcome.LOSS) else "neither"


def method_rows(results: pd.DataFrame, notes: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the rows of "Data and method": what the results tell, the caller's notes, then the rules."""
    seeds = sorted(results["seed"].unique())
    rows = [
        ("Test set", f"{results['subject_id'].nunique()} subjects, {results['case_id'].nunique()} cases"),
        ("Arms", ", ".join(dict.fromkeys(results["arm"]))),
        ("Seeds", f"{len(seeds)} ({', '.join(map(str, seeds))})"),
    ]
    if results["fraction"].nunique() > 1:
        rows.append(("Real training subjects", ", ".join(fraction_names(results["fraction"]).values())))
    return [*rows, *notes.items(), ("Empty masks", EMPTY_MASK_RULE), ("Lesions", HIT_RULE), ("Statistics", STATISTICS)]


def reading_warnings(results: pd.DataFrame, summary: pd.DataFrame, *, baseline: str, primary: str) -> list[str]:
    """Return what a reader should know before believing the numbers, one line each."""
    warnings = []
    if results["seed"].nunique() == 1:
        warnings.append(
            "One training seed: how much of a difference comes from the training run itself cannot be told. Use three."
        )
    rows = comparisons(summary, baseline=baseline, metric=primary)
    few = sorted({int(n) for n in rows["n_pairs"] if n < MIN_SUBJECTS})
    if few:
        warnings.append(f"Comparisons with {few[0]} subjects: at least {MIN_SUBJECTS} are needed to claim anything.")
    warnings += _missing_cases(results)
    warnings += _failed_trainings(results, primary)
    without = int(results[primary].isna().sum())
    if without:
        warnings.append(
            f"{score_info(primary).title} has no value in {without} of {len(results)} rows, which are left out."
        )
    sizes = fraction_names(results["fraction"])
    for _, row in rows.iterrows():
        place = _place(row["arm"], row["fraction"], sizes)
        warnings += [f"{place}: {why}." for why in _fragile(row, primary, of=len(rows))]
    return warnings


def _missing_cases(results: pd.DataFrame) -> list[str]:
    expected, sizes = set(results["case_id"]), fraction_names(results["fraction"])
    warnings = []
    for arm, fraction in results[["arm", "fraction"]].drop_duplicates().itertuples(index=False):
        part = results[(results["arm"] == arm) & (results["fraction"] == fraction)]
        for seed in sorted(results["seed"].unique()):
            missing = sorted(expected - set(part.loc[part["seed"] == seed, "case_id"]))
            if missing:
                named = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
                where = f"{_place(arm, fraction, sizes)}, seed {seed}"
                warnings.append(f"{where}: {len(missing)} of {len(expected)} test cases are missing ({named}).")
    return warnings


def _failed_trainings(results: pd.DataFrame, primary: str) -> list[str]:
    info, sizes, warnings = score_info(primary), fraction_names(results["fraction"]), []
    if info.higher_is_better:
        best = results.groupby(["arm", "fraction", "seed"], sort=False)[primary].max()
        for arm, fraction, seed in best[best == 0].index:
            where = f"{_place(arm, fraction, sizes)}, seed {seed}"
            warnings.append(
                f"{where}: {info.title} is 0 in every case, so its training failed; means are of all seeds."
            )
    return warnings


def _place(arm: str, fraction: float, sizes: Mapping[float, str]) -> str:
    return f"{arm}, {sizes[fraction]}" if len(sizes) > 1 else str(arm)


def _fragile(row: pd.Series[Any], primary: str, *, of: int) -> list[str]:
    """Return why a gain or loss of one comparison may not hold."""
    if outcome(difference_of(row), primary) not in (Outcome.GAIN, Outcome.LOSS, Outcome.CHANGE):
        return []
    info, reasons = score_info(primary), []
    if row["diff_seed_low"] < 0 < row["diff_seed_high"]:
        ends = f"{signed(row['diff_seed_low'], info)} to {signed(row['diff_seed_high'], info)} {info.unit}"
        reasons.append(f"the sign of the difference changes with the training seed ({ends})")
    if row["p_holm"] >= 0.05:
        p = f"p = {row['p_holm']:.2f} after Holm's correction"
        reasons.append(f"with {of} comparisons the difference may be chance ({p})")
    return reasons
