"""The command that edits lesion labels: edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesionforge.cli.common import (
    CaseList,
    CohortFolder,
    Device,
    DeviceOption,
    Role,
    Seed,
    Subjects,
    a_cohort,
    a_model,
    console,
    finish,
    nested,
    progress_bar,
    read_selection,
)


def edit(
    cohort: CohortFolder,
    out: Annotated[Path, typer.Argument(metavar="COHORT2", help="The cohort folder to write.")],
    edit: Annotated[
        list[str] | None,
        typer.Option(
            help="enlarge, shrink, shift, mirror or transplant; by default each of them that there are scans for."
        ),
    ] = None,
    onto: Annotated[
        Path | None,
        typer.Option(
            callback=a_cohort, help="transplant: the cohort of lesion-free scans; by default those of COHORT."
        ),
    ] = None,
    per_case: Annotated[int, typer.Option(min=1, help="How often each edit is made of a scan.")] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set an option of the edits: factor=[1.2,1.5], distance_mm=[5,15], over_fluid=core or nested=[2,1,3].",
        ),
    ] = None,
    min_volume: Annotated[
        float | None,
        typer.Option(
            help="Least volume of the edited lesions, in mm³ (mm² in 2D); by default half that of the smallest."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(callback=a_model, help="A model that draws from label maps, for the picture of the edits."),
    ] = None,
    channels: Annotated[
        list[str] | None,
        typer.Option(
            "--channels", "--channel", help="Image channels to keep; by default those of --model, or all without one."
        ),
    ] = None,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Edit the lesion labels of a cohort: larger, smaller, shifted, mirrored, or on a lesion-free brain.

    The edited labels have no images yet: `synthesize MODEL COHORT2 --masks own --blend full` draws them. The same
    command continues a stopped run.

    Example: lesionforge edit Dataset001_Tumour Dataset002_Edited --edit shift --edit enlarge
    """
    from lesionforge.production.edit import edit_cohort
    from lesionforge.production.edit_sheet import check_draws_labels, edit_sheet
    from lesionforge.production.in_fluid import describe_in_fluid
    from lesionforge.synthesizers.registry import load_synthesizer

    drawer = None if model is None else load_synthesizer(model, device=device.value)
    if drawer is not None:
        check_draws_labels(drawer)
    chosen = read_selection(cohort, subjects=subjects, cases=cases, role=role, seed=seed)
    kept = channels or (chosen.channels if drawer is None else drawer.info.preprocessing.channels)
    chosen = chosen.having(kept).with_channels(kept)
    healthy = None if onto is None else read_selection(onto)
    with progress_bar("editing") as progress:
        result = edit_cohort(
            chosen,
            out=out,
            edits=edit,
            onto=healthy,
            options=nested(settings),
            per_case=per_case,
            min_volume=min_volume,
            seed=seed,
            progress=progress,
        )
    console.print(f"{out}: {len(result.cohort)} cases with edited labels, to be drawn with --masks own --blend full")
    if len(result.cohort):
        console.print(describe_in_fluid(out, result.cohort))
        console.print(f"{edit_sheet(chosen, result.cohort, out / 'edits.png', onto=healthy, model=drawer, seed=seed)}")
    finish(result.problems, out / "problems.csv")
