"""Which scans a plan's synthesizer draws its offline cases into: the training cases, or healthy ones made like them."""

from __future__ import annotations

import shutil
from pathlib import Path

from lesionforge.benchmark.setting import Number, Setting
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_copy, leaving_out
from lesionforge.errors import ConfigError
from lesionforge.preprocessing.matching.match import FACTS, Auc, describe_auc, match_cohort, told_apart
from lesionforge.production.synthesize import lesion_free_scans
from lesionforge.reading import read_json


def check_targets(setting: Setting, cohort: Cohort) -> None:
    """Read all healthy cohorts of a plan, and look for the lesion-free scans it needs, before anything is trained.

    Args:
        setting: of the run.
        cohort: the cohort of the benchmark.

    Raises:
        CohortError: if one cannot be read, or a training set without lesion-free scans is to be drawn into.
        ConfigError: if one names a case like the cohort does.
        LeakError: if one holds an image of a subject that is tested or chosen on.
    """
    if any(plan.lesion_free and plan.targets is None for plan in setting.plan.synthesizers.values()):
        for train in setting.train.values():
            lesion_free_scans(train)
    known = {case.case_id for case in cohort}
    tested = setting.test.with_cases({case.case_id: case for case in (*setting.test, *setting.development)}.values())
    for path in dict.fromkeys(filter(None, (plan.targets for plan in setting.plan.synthesizers.values()))):
        targets = read_cohort(path)
        both = sorted(known & {case.case_id for case in targets})
        if both:
            what = f"has a case {both[0]}, as {cohort.name} has"
            raise ConfigError(
                path, what, "give its cases other ids, or leave the targets out: training cases are drawn into"
            )
        check_no_copy({str(path): targets, "held out": tested})


def target_scans(setting: Setting, number: Number, seed: int, name: str) -> Cohort:
    """Return what a synthesizer draws into; healthy scans of another cohort are matched first, unless that is done.

    Of these, subjects that are tested or chosen on are left out.
    """
    train, targets = setting.train[number, seed], setting.plan.synthesizers[name].targets
    if targets is None:
        return train
    out = setting.targets_folder(number, seed, name)
    if not (out / FACTS).is_file():
        for unfinished in (out, *out.parent.glob(f".{out.name}.*")):
            shutil.rmtree(unfinished, ignore_errors=True)
        allowed = leaving_out(read_cohort(targets), setting.held_out, setting.people)
        match_cohort(allowed, train, out=out, seed=seed)
    return read_cohort(out)


def describe_targets(setting: Setting) -> dict[str, str]:
    """Return, for each synthesizer with healthy targets, how well these could be told from the training cases."""
    number, seed = max(setting.plan.subjects.numbers), setting.plan.seeds[0]
    return {
        f"Healthy scans of {name}": describe_auc(auc)
        for (name, of_number, of_seed), auc in _aucs(setting).items()
        if (of_number, of_seed) == (number, seed)
    }


def target_warnings(setting: Setting) -> list[str]:
    """Return a line for each synthesizer whose healthy targets can be told from the training cases, or may be."""
    warnings = []
    for name in dict.fromkeys(name for name, _, _ in _aucs(setting)):
        aucs = {(number, seed): auc for (of, number, seed), auc in _aucs(setting).items() if of == name}
        apart = [f"n = {number:g}, seed {seed}" for (number, seed), auc in aucs.items() if told_apart(auc)]
        unknown = sorted({number for (number, _), auc in aucs.items() if None in auc["after"].values()})
        what = f"The healthy scans that {name} draws into"
        if apart:
            warnings.append(f"{what} can be told from training scans by level or brightness alone: {'; '.join(apart)}.")
        if unknown:
            sizes = ", ".join(f"{number:g}" for number in unknown)
            warnings.append(f"{what} could not be compared with the training scans of n = {sizes}: too few subjects.")
    return warnings


def _aucs(setting: Setting) -> dict[tuple[str, Number, int], Auc]:
    """Return synthesizer, size and seed → AUC, where the healthy scans are matched."""
    keys = [
        (name, number, seed)
        for name, plan in setting.plan.synthesizers.items()
        if plan.targets is not None
        for number in setting.plan.subjects.numbers
        for seed in setting.plan.seeds
    ]
    files = {key: setting.targets_folder(key[1], key[2], key[0]) / FACTS for key in keys}
    return {key: _read_auc(file) for key, file in files.items() if file.is_file()}


def _read_auc(file: Path) -> Auc:
    auc: Auc = read_json(file)["auc"]
    return auc
