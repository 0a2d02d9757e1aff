"""Collapsed training runs: networks that find nothing, and the difference between two arms without them."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from lesionforge.benchmark.report.wording import amount, count, seeds_named, signed, size_names
from lesionforge.scores.collapse import COLLAPSED_BELOW, shows_collapse
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import compare_arms, seed_means

TRAINING = ["arm", "train_size", "seed"]


def collapsed_trainings(results: pd.DataFrame) -> pd.DataFrame:
    """Return ``arm, train_size, seed`` of the training runs whose networks find nothing, whatever their other scores.

    A network that predicts nothing scores 1 in lesion-free cases, so only cases with lesions count.
    """
    score = shows_collapse(results)
    if score is None:
        return pd.DataFrame(columns=TRAINING)
    means = seed_means(results, score.name)
    return means[means < COLLAPSED_BELOW].reset_index()[TRAINING]


def collapse_lines(results: pd.DataFrame, *, baseline: str, metric: str, arms: Collection[str]) -> list[str]:
    """Return a line for each arm with collapsed training runs, and a line comparing the arms without these runs.

    Args:
        results: rows of all arms.
        baseline: name of the baseline.
        metric: score to compare.
        arms: names of the arms to compare with the baseline.
    """
    collapsed = collapsed_trainings(results)
    lines = []
    for arm in dict.fromkeys((baseline, *arms)):
        of_arm = collapsed[collapsed["arm"] == arm]
        if len(of_arm):
            made = len(results.loc[results["arm"] == arm, ["train_size", "seed"]].drop_duplicates())
            where = _where(of_arm, results)
            lines.append(f"{len(of_arm)} of {count(made, 'training')} of {arm} found nothing ({where}).")
    for arm in arms:
        lines += _without(results, collapsed[collapsed["arm"].isin((arm, baseline))], arm, baseline, metric)
    return lines


def doubt_about(baseline: str, results: pd.DataFrame, undertrained: str | None) -> str | None:
    """Return why the baseline may be undertrained: what is known of its length, and trainings that found nothing.

    Args:
        baseline: name of the baseline.
        results: rows of all arms.
        undertrained: what the control of the length found, or ``None``.
    """
    collapsed, made = (table[table["arm"] == baseline] for table in (collapsed_trainings(results), results))
    if collapsed.empty:
        return undertrained
    number = count(len(made[["train_size", "seed"]].drop_duplicates()), "training")
    nothing = f"{len(collapsed)} of its {number} found nothing"
    return nothing if undertrained is None else f"{undertrained}; {nothing}"


def _where(trainings: pd.DataFrame, results: pd.DataFrame) -> str:
    sizes = size_names(results["train_size"])
    parts = []
    for train_size in sorted(set(trainings["train_size"])):
        seeds = seeds_named(sorted(trainings.loc[trainings["train_size"] == train_size, "seed"]))
        parts.append(f"{sizes[train_size]}, {seeds}" if len(sizes) > 1 else seeds)
    return "; ".join(parts)


def _without(results: pd.DataFrame, collapsed: pd.DataFrame, arm: str, baseline: str, metric: str) -> list[str]:
    """Return a line per size with the difference over the seeds in which neither arm collapsed."""
    info, sizes, lines = find_score(metric), size_names(results["train_size"]), []
    for train_size in sorted(set(collapsed["train_size"])):
        failed = collapsed.loc[collapsed["train_size"] == train_size, "seed"]
        both = results[results["arm"].isin((arm, baseline)) & (results["train_size"] == train_size)]
        rest = both[~both["seed"].isin(failed)]
        place = f" ({sizes[train_size]})" if len(sizes) > 1 else ""
        what = f"difference in {info.title} between {arm} and {baseline}{place}"
        if not {arm, baseline} <= set(rest["arm"]):
            lines.append(f"Without them there is no {what}: in no seed did both find something.")
            continue
        table = compare_arms(rest, baseline=baseline, metric=metric_in(rest, metric))
        row = table.query("arm == @arm").to_dict("records")[0]
        mean, low, high = (signed(row[name], info) for name in ("difference", "diff_low", "diff_high"))
        lines.append(
            f"Without them the {what} is {mean} {info.unit} "
            f"(95 % interval {low} to {high}, {count(rest['seed'].nunique(), 'seed')})."
        )
    return lines


def collapse_rule(results: pd.DataFrame) -> str:
    """Return the rule for collapsed training runs in a sentence."""
    info = shows_collapse(results)
    if info is None:
        return "The results have no score that tells whether a training found nothing."
    limit = amount(COLLAPSED_BELOW, info)
    return f"A training found nothing if its mean {info.title} is below {limit} {info.unit}."
