"""Which scans a plan's synthesizer draws its offline cases into: the training cases, or healthy ones made like them."""

from __future__ import annotations

import json
import shutil
from typing import Any

from lesionforge.benchmark.setting import Number, Setting
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.preprocessing.matching import FACTS, describe_auc, match_cohort, told_apart


def target_scans(setting: Setting, number: Number, seed: int, name: str) -> Cohort:
    """Return what a synthesizer draws into; healthy scans of another cohort are matched first, unless that is done."""
    train, targets = setting.train[number], setting.plan.synthesizers[name].targets
    if targets is None:
        return train
    out = setting.targets_folder(number, seed, name)
    if not (out / FACTS).is_file():
        shutil.rmtree(out, ignore_errors=True)
        match_cohort(read_cohort(targets), train, out=out, seed=seed)
    return read_cohort(out)


def describe_targets(setting: Setting) -> dict[str, str]:
    """Return, for each synthesizer with healthy targets, how well these could be told from the training cases."""
    return {f"Healthy scans of {name}": describe_auc(auc) for name, auc in _aucs(setting).items()}


def target_warnings(setting: Setting) -> list[str]:
    """Return a line for each synthesizer whose healthy targets can still be told from the training cases."""
    return [
        f"The healthy scans that {name} draws into can be told from the training scans by level or brightness alone."
        for name, auc in _aucs(setting).items()
        if told_apart(auc)
    ]


def _aucs(setting: Setting) -> dict[str, Any]:
    """Return synthesizer → AUC, at the largest training set and the first seed."""
    number, seed = max(setting.plan.subjects.numbers), setting.plan.seeds[0]
    files = {
        name: setting.targets_folder(number, seed, name) / FACTS
        for name, plan in setting.plan.synthesizers.items()
        if plan.targets is not None
    }
    return {name: json.loads(file.read_text(encoding="utf-8"))["auc"] for name, file in files.items() if file.is_file()}
