"""The row of a report on how much the rule of scoring matters to each arm."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.benchmark.arms.control import Lengths
from lesionforge.benchmark.arms.repeats import Arms, TrainSize
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import LesionforgeError
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import value_of

Rows = dict[tuple[str, str, int], list[dict[str, Any]]]


def describe_by_rule(studies: Sequence[tuple[Arms, Lengths]]) -> dict[str, str]:
    """Return row name → text: the watched score of each arm under several rules of scoring; mean over the seeds.

    The arms are those of the largest training set. A task without such rules has no row.

    Args:
        studies: the study that was run, or those of all folds, each with the training length of its arms.
    """
    plan = studies[0][0].plan
    task, size = plan.task_class, max(plan.subjects.numbers)
    if not task.scoring:
        return {}
    score = find_score(task.watched_score)
    name = f"{score.title} by {', '.join(task.scoring)}"
    try:
        rows = _rows(studies, size)
    except LesionforgeError as error:
        return {name: f"not known: {error}"}
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (arm, rule, _), of_training in rows.items():
        table = pd.DataFrame(of_training)
        values[arm][rule].append(value_of(table, metric_in(table, score.name)) * score.factor)
    parts = [
        f"{arm}: " + ", ".join(f"{np.mean(of_rule):.1f} with {rule}" for rule, of_rule in by_rule.items())
        for arm, by_rule in values.items()
    ]
    return {name: f"{'; '.join(parts)} (n = {size:g}, mean over the seeds)"} if parts else {}


def _rows(studies: Sequence[tuple[Arms, Lengths]], size: TrainSize) -> Rows:
    """Return (arm, rule, seed) → a row per test case; every scan is read once."""
    rows: Rows = defaultdict(list)
    for study, lengths in studies:
        for case in study.test:
            scan = load_scan(case, study.channels[:1])
            for arm, seed in product(study.shown.arms, study.plan.seeds):
                folder = study.repeat(size, seed).training(arm, lengths.steps(size)).folder / "predictions"
                for rule, scores in study.plan.task_class.scores_by_rule(folder, scan).items():
                    rows[arm, rule, seed].append({"subject_id": case.subject_id, **scores})
    return rows
