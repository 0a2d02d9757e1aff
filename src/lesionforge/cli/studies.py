"""Commands that score and compare: evaluate, score, benchmark, status, demo."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionforge.benchmark.plan_file import PRESETS, merged, plan_content, preset
from lesionforge.cli.common import (
    CaseList,
    Channels,
    CohortFolder,
    Device,
    DeviceOption,
    Out,
    Role,
    Seed,
    Subjects,
    Target,
    a_cohort,
    command_line,
    console,
    finish,
    nested,
    read_selection,
)
from lesionforge.cli.detections import Agree, print_detections, print_problems
from lesionforge.cli.engines import EngineChoice, EngineOption, Scheduler, Workers, make_engine
from lesionforge.errors import ConfigError, LesionforgeError, one_of

if TYPE_CHECKING:
    import pandas as pd

    from lesionforge.benchmark.healing.healing_plan import HealingPlan
    from lesionforge.benchmark.plan import Plan
    from lesionforge.benchmark.study import Study
    from lesionforge.cohort.case import Cohort


class BelowDice(StrEnum):
    """What lesions count as if they are found with too little overlap."""

    MISSED = "missed"
    IGNORED = "ignored"


def evaluate(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="A folder of CASE.nii.gz or CASE.png, or of CASE.csv.")
    ],
    cohort: CohortFolder,
    out: Annotated[Path | None, typer.Option(help="The CSV for the scores of every case.")] = None,
    target: Annotated[
        Target, typer.Option(help="What the label maps show; anatomy: Dice of each structure.")
    ] = Target.LESIONS,
    in_plane: Annotated[bool, typer.Option(help="Compute HD95 within slices; for uncertain slice spacing.")] = False,
    tolerance_mm: Annotated[
        float, typer.Option(min=0, help="Detections: how far from a lesion a hit may lie, in mm.")
    ] = 2.0,
    readers: Annotated[
        list[Path] | None,
        typer.Option(
            "--reader", help="Detections: a folder of a reader's label maps, for each reader; not the labels."
        ),
    ] = None,
    agree: Annotated[Agree, typer.Option(help="Detections: the lesions of readers that count.")] = Agree.MAJORITY,
    noise_filter: Annotated[
        BelowDice | None,
        typer.Option(
            help="Also compute precision and recall over images; says what lesions found with Dice below 0.25 count as."
        ),
    ] = None,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
) -> None:
    """Score predictions against a cohort's labels, case by case: label maps, or CSVs of detections.

    Example: lesionforge evaluate predictions Dataset002_Test --out scores.csv
    """
    from lesionforge.files import claim_file, write_text
    from lesionforge.scores.collapse import COLLAPSED_BELOW, found_nothing
    from lesionforge.scores.predictions.case_scores import evaluate as evaluate_cases
    from lesionforge.scores.predictions.image_scores import NoiseFilter, class_average, precision_recall
    from lesionforge.training.quiet import quiet

    quiet()
    if out is not None:
        claim_file(out)
    chosen = read_selection(cohort, subjects=subjects, cases=cases, role=role)
    if target is Target.ANATOMY:
        _print_structures(predictions, chosen, cohort, out)
        return
    if any((predictions / f"{case.case_id}.csv").is_file() for case in chosen):
        print_detections(predictions, chosen, out, tolerance_mm=tolerance_mm, readers=readers, agree=agree.value)
        return
    if readers:
        what = f"is for detections, and {predictions} holds no CASE.csv of these cases"
        raise ConfigError("--reader", what, "name the folder that `detect predict` wrote, or leave --reader out")
    counted = None if noise_filter is None else NoiseFilter(below_dice=noise_filter.value)
    table = evaluate_cases(predictions, chosen, in_plane=in_plane, noise_filter=counted)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    scored = table[table["problem"] == ""]
    if found_nothing(scored):
        limit = f"{100 * COLLAPSED_BELOW:.1f} points"
        console.print(f"The predictions found nothing: the mean Dice of cases with lesions is below {limit}")
    _print_scores(scored)
    if "image_dice" in scored and not math.isnan(average := class_average(scored)):
        console.print(f"Dice per image, the mean over classes of their means: {100 * average:.1f} points")
    if counted is not None and len(scored):
        precision, recall = ("none" if math.isnan(v) else f"{100 * v:.1f} points" for v in precision_recall(scored))
        console.print(f"Precision over all images, noise filtered: {precision}, recall: {recall}")
    print_problems(table)


def _print_scores(scored: pd.DataFrame) -> None:
    """Print the mean of every score, and in how many cases with lesions there is no HD95."""
    from lesionforge.scores.predictions.without_distance import without_distance
    from lesionforge.scores.registry import find_score, is_score

    lacking = without_distance(scored)
    for column in filter(is_score, map(str, scored.columns)):
        info, values = find_score(column), scored[column].dropna() * find_score(column).factor
        parts = [f"mean {values.mean():.1f} {info.unit}, median {values.median():.1f}"] if len(values) else []
        missing, cases = lacking.get(column, (0, 0))
        if missing:
            shown = column.removeprefix("hd95").removeprefix("_") or "lesions"
            parts.append(f"no {info.title} in {missing} of {cases} cases with {shown}")
        if parts:
            console.print(f"{info.title}: {'; '.join(parts)}")


def _print_structures(predictions: Path, chosen: Cohort, cohort: Path, out: Path | None) -> None:
    """Score anatomy maps and print the mean Dice of each structure."""
    from lesionforge.files import write_text
    from lesionforge.scores.predictions.structure_scores import evaluate_structures, structure_average

    table = evaluate_structures(predictions, chosen, cohort)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    means = 100 * structure_average(table)
    for structure, mean in means.items():
        console.print(f"Dice of {structure}: mean {mean:.1f} points")
    if len(means):
        console.print(f"Dice, the mean over structures: {means.mean():.1f} points")
    print_problems(table)


def score(
    cohort: CohortFolder,
    against: Annotated[
        Path, typer.Option(callback=a_cohort, help="The cohort of real cases, if possible of other subjects.")
    ],
    out: Annotated[Path | None, typer.Option(help="The CSV for the scores.")] = None,
    channels: Channels = None,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Score how similar a synthetic cohort is to real cases, beside the same scores between real cases.

    --subjects, --cases and --role choose among the real cases.

    Example: lesionforge score Dataset101_Synthetic --against Dataset001_WMH --role final
    """
    from rich.table import Table

    from lesionforge.cohort.layouts import read_cohort
    from lesionforge.files import claim_file, write_text
    from lesionforge.scores.cohorts.fidelity import fidelity
    from lesionforge.training.quiet import quiet

    quiet()
    if out is not None:
        claim_file(out)
    real = read_selection(against, subjects=subjects, cases=cases, role=role, seed=seed)
    scores = fidelity(
        read_cohort(cohort), real, channels=tuple(channels) if channels else None, seed=seed, device=device.value
    )
    if out is not None:
        write_text(out, scores.to_csv(index=False))
    table = Table("score", "drawn", "real", "better", "what it is")
    for row in scores.itertuples():
        table.add_row(str(row.score), f"{row.drawn:.4g}", f"{row.real:.4g}", str(row.better), str(row.description))
    console.print(table)


def benchmark(
    plan: Annotated[str, typer.Argument(metavar="PLAN.yaml", help=f"A plan, or a preset: {one_of(PRESETS)}.")],
    data: Annotated[Path, typer.Option("--data", callback=a_cohort, help="A cohort folder.")],
    out: Out,
    scale: Annotated[str | None, typer.Option(help="A scale of the plan, such as cpu or paper.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change an entry of the plan, such as mask_generators.strokes.masks=DIR."
        ),
    ] = None,
    tune_baseline: Annotated[
        bool,
        typer.Option(help="First search for the best baseline on development subjects, as `tune:` in a plan does."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only estimate trainings, memory and hours on this machine; write nothing into --out."
        ),
    ] = False,
    workers: Workers = 1,
    engine: EngineOption = EngineChoice.LOCAL,
    scheduler: Scheduler = None,
    list_jobs: Annotated[
        bool, typer.Option("--list-jobs", help="Only print the jobs that are known so far; --out stays untouched.")
    ] = False,
    job: Annotated[
        str | None, typer.Option("--job", metavar="NAME", help="Only run this job, such as from a job array.")
    ] = None,
) -> None:
    """Train the same task on different mixtures of cohorts and report, with intervals, what helped.

    The same command continues a stopped run. `lesionforge status` shows its progress.

    Example: lesionforge benchmark first --data Dataset001_Tumour --out benchmark --workers 2
    """
    from lesionforge.cohort.inspection.readable import readable
    from lesionforge.cohort.layouts import read_cohort
    from lesionforge.cohort.layouts.cases_csv import write_problems
    from lesionforge.cohort.splits import read_roles

    changes, file = merged({"tune": {}} if tune_baseline else {}, nested(settings)), data / "roles.json"
    plan_content(preset(plan), scale=scale, changes=changes)
    cohort, roles = read_cohort(data), read_roles(file) if file.is_file() else None

    # These import torch, which takes seconds: missing files were reported before.
    from lesionforge.benchmark.kinds import source_of, study_plan
    from lesionforge.benchmark.run import make_study, run_benchmark, run_job
    from lesionforge.training.quiet import quiet

    quiet()
    study = study_plan(preset(plan), scale=scale, changes=changes)
    if dry_run:
        _print_estimate(study, cohort, roles, workers)
        return
    source = source_of(preset(plan), scale=scale, changes=changes, command=command_line())
    problems: list[LesionforgeError] = []
    cohort = readable(cohort, on_problem=problems.append)
    if list_jobs:
        _print_jobs(make_study(study, cohort, roles or {}, out))
        return
    if job is not None:
        console.print(run_job(make_study(study, cohort, roles or {}, out), job))
        return
    where = make_engine(engine, scheduler, workers, study.training.device)
    verdict = run_benchmark(study, cohort, out=out, roles=roles, engine=where, say=console.print, source=source)
    console.print(f"report: {out / 'report.html'}\n{verdict}")
    write_problems(out / "problems.csv", problems)
    finish(problems, out / "problems.csv")


def _print_jobs(study: Study) -> None:
    """Print a line for each job that is known so far: its state, its name, and what it needs."""
    for job in study.jobs():
        needs = f"  needs {' '.join(job.needs)}" if job.needs else ""
        console.print(f"{'done' if job.done else 'left'}  {job.name}{needs}")


def status(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a benchmark, running or not.")],
    every: Annotated[bool, typer.Option("--all", help="List the jobs that are done or left, too.")] = False,
) -> None:
    """Say how far a benchmark is, from its folder alone: jobs that are done, running, failed and left.

    Example: lesionforge status benchmark
    """
    from lesionforge.benchmark.progress_file import STATES
    from lesionforge.benchmark.progress_file import status as read_status

    jobs = read_status(folder)
    counts = jobs["state"].value_counts()
    console.print(", ".join(f"{counts.get(state, 0)} {state}" for state in STATES))
    for row in jobs.to_dict("records"):
        if every or row["state"] in ("running", "failed"):
            console.print(f"{row['state']}  {row['name']}{': ' + row['why'] if row['why'] else ''}")


def _print_estimate(
    plan: Plan | HealingPlan, cohort: Cohort, roles: Mapping[str, Sequence[str]] | None, workers: int
) -> None:
    """Time one step of every network of a plan, and print the estimate."""
    from rich.box import SIMPLE
    from rich.table import Column, Table

    from lesionforge.benchmark.estimate.dry_run import dry_run

    estimate = dry_run(plan, cohort, roles=roles, workers=workers)
    titles = ("stage", "name", "runs", "steps of each", "images", "parameters", "memory", "a step", "hours")
    table = Table(*(Column(title, overflow="fold") for title in titles), box=SIMPLE, padding=(0, 1, 0, 0))
    for row in estimate.table().to_dict("records"):
        table.add_row(
            row["stage"],
            row["name"],
            _range(row["runs_least"], row["runs_most"]),
            ", ".join(f"{count:,}" for count in row["each"]) + (" cases" if row["cases_most"] else ""),
            _range(row["images_least"], row["images_most"]),
            f"{row['parameters'] / 1e6:.2f} M",
            f"{row['memory'] / 1e9:.1f} GB",
            f"{row['seconds']:.3g} s",
            _range(row["hours_least"], row["hours_most"], ".2f"),
        )
    console.print(table)
    for line in estimate.left_out:
        console.print(line)
    least, most = estimate.steps
    console.print(f"{_range(least, most)} steps in all: {estimate.sentence()}")


def _range(least: float, most: float, form: str = ",") -> str:
    low, high = format(least, form), format(most, form)
    return low if low == high else f"{low} to {high}"


def demo(
    out: Annotated[Path, typer.Option(help="A new folder, or the folder of a stopped demo.")] = Path("demo"),
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
) -> None:
    """Run the whole pipeline once on simulated scans: cohort, synthesizer, synthetic cohort, benchmark, report.

    Example: lesionforge demo --out demo
    """
    from lesionforge.benchmark.demo import run_demo
    from lesionforge.training.quiet import quiet

    quiet()
    run_demo(out, seed=seed, workers=workers, say=console.print, command=command_line())
