"""Collapsed training runs: networks that find nothing, and the difference between two arms without them."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from lesionforge.benchmark.report.wording import amount, count, seeds_named, signed, size_names
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import compare_arms, seed_means

COLLAPSED_BELOW = 0.01
"""Mean Dice of the cases with lesions, 0 to 1, below which a training run counts as collapsed."""

TRAINING = ["arm", "train_size", "seed"]


def collapsed_trainings(results: pd.DataFrame) -> pd.DataFrame:
    """Return ``arm, train_size, seed`` of the training runs whose networks find nothing, whatever their other scores.

    A network that predicts nothing has a Dice of 1 in lesion-free cases, so only cases with lesions count.
    """
    found = _lesion_dice(results)
    if found is None:
        return pd.DataFrame(columns=TRAINING)
    means = seed_means(results.assign(found=found), "found")
    return means[means < COLLAPSED_BELOW].reset_index()[TRAINING]


def _lesion_dice(results: pd.DataFrame) -> pd.Series[float] | None:
    """Return the Dice of the cases with lesions, NaN for other cases, from the first column that provides it."""
    for name in ("lesion_dice", "image_dice"):
        if name in results and results[name].notna().any():
            return results[name]
    if "dice" not in results:
        return None
    if "lesion_sensitivity" in results:
        return results["dice"].where(results["lesion_sensitivity"].notna())
    return results["dice"]


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


def collapse_rule() -> str:
    """Return the rule for collapsed training runs in a sentence."""
    info = find_score("lesion_dice")
    limit = amount(COLLAPSED_BELOW, info)
    return f"A training found nothing if its mean {info.title} is below {limit} {info.unit}."
