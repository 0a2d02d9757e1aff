"""The command that chooses among a generator's candidates: select."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionforge.cli.common import (
    CaseList,
    Device,
    DeviceOption,
    Out,
    Role,
    Seed,
    Settings,
    Subjects,
    a_cohort,
    a_model,
    console,
    finish,
    nested,
    read_selection,
)
from lesionforge.cli.engines import EngineChoice, EngineOption, Scheduler, Workers, make_engine
from lesionforge.errors import ConfigError

if TYPE_CHECKING:
    from lesionforge.cohort.case import Cohort
    from lesionforge.production.select import Selection


def select(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", callback=a_model, help="The model folder of a training that kept candidates."),
    ],
    against: Annotated[Path, typer.Option(callback=a_cohort, help="The cohort that the generator was trained on.")],
    out: Out,
    segmentor: Annotated[
        Path | None,
        typer.Option(
            callback=a_model,
            help="A model trained with `segment train` for the FCN score; by default one is trained here.",
        ),
    ] = None,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    settings: Settings = None,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
    workers: Workers = 1,
    engine: EngineOption = EngineChoice.LOCAL,
    scheduler: Scheduler = None,
) -> None:
    """Let every candidate of a generator draw the masks of real cases, score the images, and recommend a candidate.

    The masks are those of the generator's training cases; --subjects, --cases or --role choose other cases of the
    cohort. The same command continues a stopped run.

    Example: lesionforge select model --against Dataset001_CT --out selection
    """
    from lesionforge.config import parse_options
    from lesionforge.production.select import SelectionConfig, select_candidates
    from lesionforge.scores.drawn_images.quality import rule
    from lesionforge.tasks.segmentation.loading import load_segmentation
    from lesionforge.training.quiet import quiet

    quiet()
    real = read_selection(against, subjects=subjects, cases=cases, role=role, seed=seed)
    if subjects is None and cases is None and role is None:
        real = _training_cases(run, real)
    config = parse_options(SelectionConfig, nested(settings))
    result = select_candidates(
        run,
        real,
        out=out,
        segmentor=None if segmentor is None else load_segmentation(segmentor),
        config=config,
        seed=seed,
        device=device.value,
        engine=make_engine(engine, scheduler, workers, device.value),
        say=console.print,
    )
    _show(result)
    console.print(f"recommended: {result.recommended}. {rule(config.counted)}")
    console.print(f"table: {out / 'candidates.csv'}\npicture: {out / 'candidates.png'}")
    finish(result.problems, out / "problems.csv")


def _training_cases(run: Path, cohort: Cohort) -> Cohort:
    """Return the cases of a cohort that a model was trained on.

    Raises:
        ConfigError: if there are none.
    """
    from lesionforge.training.model_folder import read_info

    trained = set(read_info(run).training_cases)
    known = cohort.with_cases([case for case in cohort if case.case_id in trained])
    if not len(known):
        what = f"holds no case that {run} was trained on"
        raise ConfigError(cohort.name, what, "name the training cohort, or choose cases with --role or --cases")
    return known


def _show(result: Selection) -> None:
    from rich.table import Table

    from lesionforge.scores.drawn_images.quality import QUALITY_SCORES

    table = Table("score", *map(str, result.summary.index))
    for name, info in QUALITY_SCORES.items():
        table.add_row(info.title, *(_number(value * info.factor) for value in result.summary[name]))
    table.add_row("sum of ranks", *map(_number, result.summary["rank_sum"]))
    console.print(table)
    for note in result.notes:
        console.print(f"note: {note}", style="yellow")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"
