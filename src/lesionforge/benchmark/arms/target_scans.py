"""Which scans a plan's synthesizer draws its offline cases into: the training cases, or healthy ones made like them."""

from __future__ import annotations

import shutil
from pathlib import Path

from lesionforge.benchmark.arms.repeats import Arms, Repeat, TrainSize
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_copy, leaving_out
from lesionforge.errors import ConfigError
from lesionforge.production.match import FACTS, Auc, describe_auc, match_cohort, told_apart
from lesionforge.production.synthesize import lesion_free_scans
from lesionforge.reading import read_json


def check_targets(study: Arms, cohort: Cohort) -> None:
    """Read all healthy cohorts of a plan, and look for the lesion-free scans it needs, before anything is trained.

    Args:
        study: before anything is trained.
        cohort: the cohort of the benchmark.

    Raises:
        CohortError: if one cannot be read, or a training set without lesion-free scans is to be drawn into.
        ConfigError: if one names a case like the cohort does.
        LeakError: if one holds an image of a subject that is tested or chosen on.
    """
    if any(plan.lesion_free and plan.targets is None for plan in study.plan.synthesizers.values()):
        for train in study.train.values():
            lesion_free_scans(train)
    known = {case.case_id for case in cohort}
    tested = study.test.with_cases({case.case_id: case for case in (*study.test, *study.development)}.values())
    for path in dict.fromkeys(filter(None, (plan.targets for plan in study.plan.synthesizers.values()))):
        targets = read_cohort(path)
        both = sorted(known & {case.case_id for case in targets})
        if both:
            what = f"has a case {both[0]}, as {cohort.name} has"
            raise ConfigError(
                path, what, "give its cases other ids, or leave the targets out: training cases are drawn into"
            )
        check_no_copy({str(path): targets, "held out": tested})


def match_targets(repeat: Repeat, name: str) -> str:
    """Match healthy scans of another cohort with the training cases; whoever is tested or chosen on is left out."""
    targets, out = repeat.plan.synthesizers[name].targets, repeat.targets_folder(name)
    assert targets is not None
    for unfinished in (out, *out.parent.glob(f".{out.name}.*")):
        shutil.rmtree(unfinished, ignore_errors=True)
    allowed = leaving_out(read_cohort(targets), repeat.study.held_out, repeat.study.people)
    match_cohort(allowed, repeat.train, out=out, seed=repeat.seed)
    return f"{name}, {repeat}: healthy scans matched"


def target_scans(repeat: Repeat, name: str) -> Cohort:
    """Return what a synthesizer draws into: the training cases, or the healthy scans that were matched with them."""
    if repeat.plan.synthesizers[name].targets is None:
        return repeat.train
    return read_cohort(repeat.targets_folder(name))


def describe_targets(study: Arms) -> dict[str, str]:
    """Return, for each synthesizer with healthy targets, how well these could be told from the training cases."""
    shown = max(study.plan.subjects.numbers), study.plan.seeds[0]
    aucs = {name: of_name[shown] for name, of_name in _aucs(study).items() if shown in of_name}
    return {f"Healthy scans of {name}": describe_auc(auc) for name, auc in aucs.items()}


def target_warnings(study: Arms) -> list[str]:
    """Return a line for each synthesizer whose healthy targets can be told from the training cases, or may be."""
    warnings = []
    for name, aucs in _aucs(study).items():
        apart = [f"n = {size:g}, seed {seed}" for (size, seed), auc in aucs.items() if told_apart(auc)]
        unknown = sorted({size for (size, _), auc in aucs.items() if None in auc["after"].values()})
        what = f"The healthy scans that {name} draws into"
        if apart:
            warnings.append(f"{what} can be told from training scans by level or brightness alone: {'; '.join(apart)}.")
        if unknown:
            sizes = ", ".join(f"{size:g}" for size in unknown)
            warnings.append(f"{what} could not be compared with the training scans of n = {sizes}: too few subjects.")
    return warnings


def _aucs(study: Arms) -> dict[str, dict[tuple[TrainSize, int], Auc]]:
    """Return synthesizer → size and seed → AUC, where the healthy scans are matched."""
    found: dict[str, dict[tuple[TrainSize, int], Auc]] = {}
    for name, plan in study.plan.synthesizers.items():
        for repeat in study.repeats if plan.targets is not None else ():
            file = repeat.targets_folder(name) / FACTS
            if file.is_file():
                found.setdefault(name, {})[repeat.train_size, repeat.seed] = _read_auc(file)
    return found


def _read_auc(file: Path) -> Auc:
    auc: Auc = read_json(file)["auc"]
    return auc
