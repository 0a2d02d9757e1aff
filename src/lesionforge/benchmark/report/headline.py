"""The headline of a benchmark report: the main results in a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lesionforge.benchmark.report.collapse import collapse_lines
from lesionforge.benchmark.report.verdict import Outcome, comparisons, difference_of, outcome, verdict
from lesionforge.benchmark.report.wording import amount, size_names
from lesionforge.scores.registry import find_score, metric_in, scores_in
from lesionforge.scores.statistics.arm_statistics import seed_differences

WORDS = {
    Outcome.GAIN: "better with",
    Outcome.UNCONTROLLED: "ahead, though the baseline may be undertrained, with",
    Outcome.LOSS: "worse with",
    Outcome.CHANGE: "different with",
    Outcome.NULL: "no difference could be shown for",
    Outcome.TOO_FEW: "too few subjects to tell for",
}

Against = Mapping[tuple[str, float], tuple[str, ...]]


def headline(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    *,
    baseline: str,
    metric: str,
    arm: str | None = None,
    undertrained: str | None = None,
) -> list[str]:
    """Return the lines at the top of the report.

    The first line is about the primary score. If lesion-free cases are scored, further lines are about the same score
    without them, if there is one, and about false alarms. Lines about collapsed training runs
    and a possibly undertrained baseline follow.

    Args:
        results: output of :func:`lesionforge.benchmark.report.page.read_results`.
        summary: output of :func:`lesionforge.benchmark.report.page.summarize`.
        baseline: name of the baseline.
        metric: the primary score.
        arm: the primary arm, declared beforehand; without it all arms are listed, best first.
        undertrained: why the baseline may be undertrained, or ``None``.
    """
    compared = [name for name in dict.fromkeys(results["arm"]) if name != baseline and arm in (None, name)]
    if not compared:
        return [f"There is nothing to compare with {baseline}."]
    alarm, *sizes = _of_lesion_free_cases(results) or [""]
    beside = (find_score(metric).without_lesion_free, alarm) if alarm else ()
    scores = [metric, *(name for name in beside if name in results and name != metric)]
    lines = [
        _line(results, summary, baseline=baseline, metric=name, arm=arm, undertrained=undertrained) for name in scores
    ]
    if alarm in scores:
        lines[scores.index(alarm)] += _false_positives(summary, (baseline, *compared), sizes)
    lines += collapse_lines(results, baseline=baseline, metric=metric, arms=compared)
    if undertrained is not None and undertrained not in lines[0]:
        lines.append(f"The baseline may be undertrained: {undertrained}.")
    return lines


def _line(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    *,
    baseline: str,
    metric: str,
    arm: str | None,
    undertrained: str | None,
) -> str:
    """Return the verdict if there is only one comparison, else a list of all comparisons by outcome."""
    rows = comparisons(summary, baseline=baseline, metric=metric)
    if arm is not None:
        rows = rows[rows["arm"] == arm]
    against = seeds_against(results, summary, baseline=baseline, metric=metric)
    if len(rows) == 1:
        row = rows.iloc[0]
        return verdict(
            difference_of(row),
            str(row["arm"]),
            baseline,
            metric,
            n_seeds=int(row["n_seeds"]),
            against=against[row["arm"], row["train_size"]],
            undertrained=undertrained,
        )
    unsure = undertrained is not None
    kinds = [outcome(difference_of(row), metric, undertrained=unsure) for _, row in rows.iterrows()]
    parts = []
    for kind, words in WORDS.items():
        of_kind = rows[[found is kind for found in kinds]]
        if len(of_kind):
            parts.append(f"{words} {_names(of_kind, kind, metric, size_names(rows['train_size']), against)}")
    rule = "by 95 % intervals and p after Holm's correction"
    return f"{find_score(metric).title} against {baseline}, {rule}: {'; '.join(parts)}."


def seeds_against(results: pd.DataFrame, summary: pd.DataFrame, *, baseline: str, metric: str) -> Against:
    """Return (arm, train_size) → seeds whose difference does not have the sign of the mean over all seeds."""
    per_seed = seed_differences(results, metric_in(results, metric), baseline=baseline).reset_index()
    found = {}
    for row in comparisons(summary, baseline=baseline, metric=metric).to_dict("records"):
        of_row = per_seed[(per_seed["arm"] == row["arm"]) & (per_seed["train_size"] == row["train_size"])]
        seeds = of_row.loc[of_row["difference"] * row["difference"] <= 0, "seed"]
        found[row["arm"], row["train_size"]] = tuple(str(seed) for seed in sorted(seeds))
    return found


def _names(rows: pd.DataFrame, kind: Outcome, metric: str, sizes: Mapping[float, str], against: Against) -> str:
    """Return the arms of one outcome, each with its sizes and the limitations of the outcome."""
    names = []
    for arm in dict.fromkeys(rows["arm"]):
        parts = []
        for _, row in rows[rows["arm"] == arm].iterrows():
            size = [sizes[row["train_size"]]] if len(sizes) > 1 else []
            parts += [" ".join((*size, limit)) for limit in _limits(row, kind, metric, against)] or size
        names.append(f"{arm} ({', '.join(parts)})" if parts else str(arm))
    return ", ".join(names)


def _limits(row: pd.Series[float], kind: Outcome, metric: str, against: Against) -> list[str]:
    if kind is Outcome.NULL:
        info = find_score(metric)
        return [f"{amount(row['detectable'], info)} {info.unit} would have been seen with 80 % power"]
    seeds = against[str(row["arm"]), row["train_size"]]
    return [f"not in seed {' and '.join(seeds)}"] if seeds and kind is not Outcome.TOO_FEW else []


def _of_lesion_free_cases(results: pd.DataFrame) -> list[str]:
    """Return the names of the scores of lesion-free cases that have values, the rate of false alarms first."""
    names = [name for name in scores_in(results) if name in results and results[name].notna().any()]
    return [name for name in names if find_score(name).of_cases == "lesion_free"]


def _false_positives(summary: pd.DataFrame, arms: tuple[str, ...], scores: Sequence[str]) -> str:
    """Return a sentence on the first of the scores of what is predicted in lesion-free cases, such as its volume."""
    for name in scores:
        rows = summary[(summary["metric"] == name) & summary["arm"].isin(arms)].dropna(subset="mean")
        if len(rows):
            info, sizes = find_score(name), size_names(summary["train_size"])
            values = [
                f"{row['arm']}{', ' + sizes[row['train_size']] if len(sizes) > 1 else ''} {amount(row['mean'], info)}"
                for _, row in rows.iterrows()
            ]
            return f" {info.title} in {info.unit}: {'; '.join(values)}."
    return ""
