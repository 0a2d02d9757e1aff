"""The scans that a synthesizer draws its offline cases into: training cases, or matched lesion-free scans."""

from __future__ import annotations

import shutil
from pathlib import Path

from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.arms.repeats import Arms, Repeat, TrainSize
from lesionforge.benchmark.report.made_of import timed
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.leaks import check_no_copy, leaving_out
from lesionforge.errors import ConfigError
from lesionforge.production.match import FACTS, Auc, describe_auc, match_cohort, told_apart
from lesionforge.production.synthesize import lesion_free_scans
from lesionforge.reading import read_json


def check_targets(study: Arms, cohort: Cohort) -> None:
    """Read the target cohorts of a plan and check them, before any training.

    Args:
        study: the study, before any training.
        cohort: the cohort of the benchmark.

    Raises:
        CohortError: if a target cohort cannot be read.
        ConfigError: if a target cohort and the benchmark's cohort share a case id.
        LeakError: if a target cohort holds an image of a test or development subject.
    """
    known = {case.case_id for case in cohort}
    tested = study.test.with_cases({case.case_id: case for case in (*study.test, *study.development)}.values())
    for path, targets in target_cohorts(study).items():
        both = sorted(known & {case.case_id for case in targets})
        if both:
            what = f"has a case {both[0]}, as {cohort.name} has"
            raise ConfigError(
                path, what, "give its cases other ids, or leave the targets out: training cases are drawn into"
            )
        check_no_copy({str(path): targets, "held out": tested})


def target_cohorts(study: Arms) -> dict[Path, Cohort]:
    """Return folder → target cohort, for all that the plan names.

    Raises:
        CohortError: if one cannot be read.
    """
    paths = [plan.targets for plan in study.plan.synthesizers.values() if plan.targets is not None]
    return {path: read_cohort(path) for path in dict.fromkeys(paths)}


def match_targets(repeat: Repeat, name: str) -> str:
    """Match the lesion-free scans of another cohort to the training cases, leaving out held-out subjects."""
    targets, out = repeat.plan.synthesizers[name].targets, repeat.targets_folder(name)
    assert targets is not None
    for unfinished in (out, *out.parent.glob(f".{out.name}.*")):
        shutil.rmtree(unfinished, ignore_errors=True)
    allowed = leaving_out(read_cohort(targets), repeat.study.held_out, repeat.study.people)
    with timed(out):
        match_cohort(allowed, repeat.train, out=out, seed=repeat.seed)
    return f"{name}, {repeat}: healthy scans matched"


def target_scans(repeat: Repeat, name: str) -> Cohort:
    """Return the scans that a synthesizer draws into: the training cases, or the matched lesion-free scans."""
    if repeat.plan.synthesizers[name].targets is None:
        return repeat.train
    return read_cohort(repeat.targets_folder(name))


def drawn_into(plan: SynthesizerPlan, scans: Cohort) -> Cohort:
    """Return those of the training cases, or of the target scans, that a synthesizer draws into.

    Raises:
        CohortError: if lesion-free scans are needed and there is none.
    """
    if plan.targets is not None or plan.lesion_free:
        return lesion_free_scans(scans)
    return scans.with_lesions() if plan.needs_lesion else scans


def describe_targets(study: Arms) -> dict[str, str]:
    """Return row name → text for the report: how well a classifier tells matched scans from training cases."""
    shown = max(study.plan.subjects.numbers), study.plan.seeds[0]
    aucs = {name: of_name[shown] for name, of_name in _aucs(study).items() if shown in of_name}
    return {f"Healthy scans of {name}": describe_auc(auc) for name, auc in aucs.items()}


def target_warnings(study: Arms) -> list[str]:
    """Return a warning for each synthesizer whose target scans are or may be distinguishable from training cases."""
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
    """Return synthesizer → (size, seed) → AUC, for the target scans that have been matched."""
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
