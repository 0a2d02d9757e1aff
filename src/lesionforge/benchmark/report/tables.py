"""The tables and lists of a benchmark report, as plain-text cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lesionforge.benchmark.report.collapse import collapse_rule
from lesionforge.benchmark.report.verdict import Outcome, comparisons, difference_of, outcome
from lesionforge.benchmark.report.wording import amount, count, p_text, signed, size_names
from lesionforge.scores.predictions.without_distance import without_distance
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import subject_means
from lesionforge.scores.statistics.intervals import MIN_SUBJECTS

STATISTICS = (
    "The unit is the subject; its value is the mean over its cases and over the seeds. Subjects and seeds are taken "
    "for random draws: a 95 % interval allows for other test subjects and, with two seeds or more, for other "
    "trainings. It is put together from an interval over subjects (the union of Student's t and Hall's "
    "transformation for skewed values) and one over seeds (Student's t). With one seed it is about the networks at "
    "hand alone. p belongs to the same model: the interval of confidence 1 − p just reaches 0. Holm's correction is "
    "over all arms and sizes of one score. A gain or a loss needs an interval that excludes 0 and p < 0.05 after the "
    "correction. Differences are of the same seed and case; those for which one of the arms has no value are left out."
)


def arm_row(row: pd.Series[Any], primary: str, *, undertrained: bool = False) -> dict[str, Any]:
    """Return the cells of one arm and size in the table of the primary score."""
    info, difference = find_score(primary), difference_of(row)
    cells = {
        "arm": row["arm"],
        "train_size": row["train_size"],
        "mean": f"{amount(row['mean'], info)} [{amount(row['ci_low'], info)}, {amount(row['ci_high'], info)}]",
        "seeds": f"{amount(row['seed_low'], info)} to {amount(row['seed_high'], info)}",
    }
    if math.isnan(difference.mean):
        return cells | dict.fromkeys(("difference", "detectable", "p", "p_holm", "outcome", "css"), "")
    kind = outcome(difference, primary, undertrained=undertrained)
    return cells | {
        "difference": _difference(row, primary),
        "detectable": amount(row["detectable"], info),
        "p": p_text(row["p"]),
        "p_holm": p_text(row["p_holm"]),
        "outcome": kind.value,
        "css": css_class(kind),
    }


def all_scores(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table per size, with a row per score and a column per arm."""
    arms = list(dict.fromkeys(summary["arm"]))
    sizes = size_names(summary["train_size"])
    tables = []
    for train_size, name in sizes.items():
        part = summary[summary["train_size"] == train_size]
        rows = []
        for metric in dict.fromkeys(summary["metric"]):
            info = find_score(metric)
            cells = [_cell(part, metric, arm) for arm in arms]
            if any(cell["mean"] != "–" for cell in cells):
                direction = {True: " ↑", False: " ↓", None: ""}[info.higher_is_better]
                rows.append({"title": info.title, "unit": info.unit, "direction": direction, "cells": cells})
        tables.append({"train_size": name if len(sizes) > 1 else "", "arms": arms, "rows": rows})
    return tables


def _cell(part: pd.DataFrame, metric: str, arm: str) -> dict[str, str]:
    rows = part[(part["metric"] == metric) & (part["arm"] == arm)]
    if rows.empty:
        return {"mean": "–", "difference": ""}
    row = rows.iloc[0]
    known = not math.isnan(row["difference"])
    return {"mean": amount(row["mean"], find_score(metric)), "difference": _difference(row, metric) if known else ""}


def _difference(row: pd.Series[Any], metric: str) -> str:
    info = find_score(metric)
    values = [signed(row[name], info) for name in ("difference", "diff_low", "diff_high")]
    return f"{values[0]} [{values[1]}, {values[2]}]"


def subject_tables(results: pd.DataFrame, metric: str) -> list[dict[str, Any]]:
    """Return a table per size, with a row per test subject and a column per arm: means over cases and seeds."""
    info, sizes = find_score(metric), size_names(results["train_size"])
    arms = list(dict.fromkeys(results["arm"]))
    values = subject_means(results, metric_in(results, metric)).unstack("arm").reindex(columns=arms)
    tables = []
    for train_size, name in sizes.items():
        if train_size in values.index.get_level_values("train_size"):
            part = values.xs(train_size, level="train_size").sort_index()
            rows = [
                {
                    "subject": subject,
                    "cells": [
                        {"text": amount(value, info), "value": "" if math.isnan(value) else f"{value:.9g}"}
                        for value in row
                    ],
                }
                for subject, row in zip(part.index, part.to_numpy(), strict=True)
            ]
            tables.append({"train_size": name if len(sizes) > 1 else "", "arms": arms, "rows": rows})
    return tables


def css_class(kind: Outcome) -> str:
    """Return the CSS class of an outcome."""
    return kind.value if kind in (Outcome.GAIN, Outcome.LOSS) else "neither"


def method_rows(results: pd.DataFrame, notes: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the rows of "Data and method": facts from the results, then ``notes``, then the scoring rules."""
    seeds = sorted(results["seed"].unique())
    rows = [
        ("Test set", f"{results['subject_id'].nunique()} subjects, {results['case_id'].nunique()} cases"),
        ("Arms", ", ".join(dict.fromkeys(results["arm"]))),
        ("Seeds", f"{len(seeds)} ({', '.join(map(str, seeds))})"),
    ]
    if results["train_size"].nunique() > 1:
        rows.append(("Real training subjects", ", ".join(size_names(results["train_size"]).values())))
    rules = {
        "Collapsed trainings": collapse_rule(results),
        "Statistics": STATISTICS,
    }
    return [*rows, *notes.items(), *rules.items()]


def reading_warnings(results: pd.DataFrame, summary: pd.DataFrame, *, baseline: str, primary: str) -> list[str]:
    """Return warnings that a reader needs to interpret the numbers, one line each."""
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
    without = int(results[primary].isna().sum()) if primary in results else 0
    if without:
        warnings.append(
            f"{find_score(primary).title} has no value in {without} of {len(results)} rows, which are left out."
        )
    return warnings


def lacking_distance(results: pd.DataFrame) -> list[str]:
    """Return a sentence per HD95, of all classes or of one, with the cases of each arm that lack it; [] if none do."""
    found: dict[str, list[str]] = {}
    for arm, of_arm in results.groupby("arm", sort=False):
        for name, (missing, cases) in without_distance(of_arm).items():
            if missing:
                found.setdefault(name, []).append(f"{arm} in {missing} of {count(cases, 'case')}")
    return [
        f"{find_score(name).title} has no value where nothing was found: {'; '.join(parts)}, all seeds together."
        for name, parts in found.items()
    ]


def _missing_cases(results: pd.DataFrame) -> list[str]:
    expected, sizes = set(results["case_id"]), size_names(results["train_size"])
    warnings = []
    for arm, train_size in results[["arm", "train_size"]].drop_duplicates().itertuples(index=False):
        part = results[(results["arm"] == arm) & (results["train_size"] == train_size)]
        for seed in sorted(results["seed"].unique()):
            missing = sorted(expected - set(part.loc[part["seed"] == seed, "case_id"]))
            if missing:
                named = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
                where = f"{_place(arm, train_size, sizes)}, seed {seed}"
                warnings.append(f"{where}: {len(missing)} of {len(expected)} test cases are missing ({named}).")
    return warnings


def _place(arm: str, train_size: float, sizes: Mapping[float, str]) -> str:
    return f"{arm}, {sizes[train_size]}" if len(sizes) > 1 else str(arm)
