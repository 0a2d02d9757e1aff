"""Collapsed training runs: networks that find nothing, and the difference between two arms without them."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from lesionforge.benchmark.report.wording import amount, count, seeds_named, signed, size_names
from lesionforge.scores.collapse import COLLAPSED_BELOW, found_nothing, missed_classes, shows_collapse
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import compare_arms

REPEAT = ["seed", "fold"]
"""Columns that tell the trainings of an arm at one size apart; ``fold`` only in a cross-validation."""


def made_trainings(results: pd.DataFrame) -> pd.DataFrame:
    """Return ``arm, train_size, seed`` of all training runs, and their ``fold`` in a cross-validation."""
    return results[["arm", "train_size", *_repeat(results)]].drop_duplicates()


def collapsed_trainings(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of :func:`made_trainings` whose networks find nothing, whatever their other scores.

    A network that predicts nothing scores 1 in lesion-free cases, so only cases with lesions count.
    """
    made, score = made_trainings(results), shows_collapse(results)
    if score is None:
        return made.iloc[:0]
    by_training = results.groupby(list(made.columns), sort=False)
    collapsed = [key for key, rows in by_training if found_nothing(rows, score.name)]
    return pd.DataFrame(collapsed, columns=made.columns)


def without_collapsed(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all training runs but those that collapsed."""
    collapsed = collapsed_trainings(results)
    keys = list(collapsed.columns)
    lost = set(collapsed.itertuples(index=False, name=None))
    return results[[key not in lost for key in results[keys].itertuples(index=False, name=None)]]


def without_repeats(rows: pd.DataFrame, failed: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of all seeds, or seeds and folds, but those of the failed training runs."""
    keys = _repeat(rows)
    lost = set(failed[keys].itertuples(index=False, name=None))
    return rows[[key not in lost for key in rows[keys].itertuples(index=False, name=None)]]


def _repeat(results: pd.DataFrame) -> list[str]:
    return [name for name in REPEAT if name in results]


def collapse_lines(results: pd.DataFrame, *, baseline: str, metric: str, arms: Collection[str]) -> list[str]:
    """Return a line for each arm with collapsed training runs, and a line comparing the arms without these runs.

    A lesion class that a network never finds, while it finds another, has a line of its own.

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
            made = count(len(made_trainings(results[results["arm"] == arm])), "training")
            lines.append(f"{len(of_arm)} of {made} of {arm} found nothing ({_where(of_arm, results)}).")
        lines += _missed_classes(results, arm)
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
    of_baseline = results[results["arm"] == baseline]
    collapsed = collapsed_trainings(of_baseline)
    if collapsed.empty:
        return undertrained
    nothing = f"{len(collapsed)} of its {count(len(made_trainings(of_baseline)), 'training')} found nothing"
    return nothing if undertrained is None else f"{undertrained}; {nothing}"


def _missed_classes(results: pd.DataFrame, arm: str) -> list[str]:
    """Return a line on the lesion classes that networks of an arm never find, though they find another."""
    rest = without_collapsed(results[results["arm"] == arm])
    keys = ["arm", "train_size", *_repeat(results)]
    by_training = rest.groupby(keys, sort=False)
    missed = [(lesion_class, *key) for key, rows in by_training for lesion_class in missed_classes(rows)]
    if not missed:
        return []
    of_classes = pd.DataFrame(missed, columns=["lesion_class", *keys]).groupby("lesion_class", sort=False)
    parts = [f"{len(trainings)} found no {name} ({_where(trainings, results)})" for name, trainings in of_classes]
    made = count(len(made_trainings(results[results["arm"] == arm])), "training")
    return [f"Of {made} of {arm}, {', '.join(parts)}."]


def _where(trainings: pd.DataFrame, results: pd.DataFrame) -> str:
    sizes = size_names(results["train_size"])
    places = [name for name in ("train_size", "fold") if name in trainings]
    parts = []
    for _, rows in trainings.groupby(places):
        first = rows.iloc[0]
        names = [sizes[first["train_size"]]] if len(sizes) > 1 else []
        names += [str(first["fold"])] if "fold" in places else []
        parts.append(", ".join([*names, seeds_named(sorted(rows["seed"]))]))
    return "; ".join(parts)


def _without(results: pd.DataFrame, collapsed: pd.DataFrame, arm: str, baseline: str, metric: str) -> list[str]:
    """Return a line per size with the difference over the seeds in which neither arm collapsed."""
    info, sizes, lines = find_score(metric), size_names(results["train_size"]), []
    for train_size in sorted(set(collapsed["train_size"])):
        both = results[results["arm"].isin((arm, baseline)) & (results["train_size"] == train_size)]
        rest = without_repeats(both, collapsed[collapsed["train_size"] == train_size])
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
