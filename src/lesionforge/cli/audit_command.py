"""The command that audits a synthetic cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesionforge.cli.common import (
    Channels,
    Device,
    DeviceOption,
    Role,
    Seed,
    a_cohort,
    a_model,
    console,
    finish,
    nested,
    read_selection,
)


def audit(
    synthetic: Annotated[
        Path, typer.Argument(metavar="SYNTHETIC", callback=a_cohort, help="The cohort of synthetic cases.")
    ],
    against: Annotated[
        Path, typer.Option(callback=a_cohort, help="The cohort that the generator was fitted on (see --role).")
    ],
    control: Annotated[
        Path, typer.Option(callback=a_cohort, help="A cohort of held-out real cases (see --control-role).")
    ],
    out: Annotated[Path | None, typer.Option(help="The new folder for the report.")] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            callback=a_model, help="The generator's model folder: for white-box attacks; its card gets the findings."
        ),
    ] = None,
    channels: Channels = None,
    role: Role = None,
    control_role: Annotated[
        str | None, typer.Option(help="Hold out the subjects of a role in the control's roles.json.")
    ] = None,
    folds: Annotated[
        list[Path] | None,
        typer.Option(
            "--fold", help="The report of another generator, fitted on another fold of the same subjects; repeatable."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set an option of the audit, such as encoder.steps=1000."),
    ] = None,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Say what in a synthetic cohort is real, which cases copy a training case, and whether members can be told.

    Example: lesionforge audit Drawn --against Dataset001 --role pool --control Dataset001 --control-role final
    """
    from lesionforge.audit.audit_config import AuditConfig
    from lesionforge.audit.audit_folder import read_attacks, write_audit, write_card
    from lesionforge.audit.cohort_audit import audit_cohort
    from lesionforge.cohort.layouts import read_cohort
    from lesionforge.config import parse_options
    from lesionforge.errors import OutputError
    from lesionforge.files import contents
    from lesionforge.training.quiet import quiet

    quiet()
    if out is not None and (out.is_file() or contents(out)):
        raise OutputError(out, "the output folder is not empty", "name a new folder, or move this one away")
    config = parse_options(AuditConfig, nested(settings))
    report = audit_cohort(
        read_cohort(synthetic),
        read_selection(against, role=role),
        read_selection(control, role=control_role),
        channels=channels,
        config=config,
        model=model,
        folds=[read_attacks(folder) for folder in folds or ()],
        seed=seed,
        device=device.value,
        say=console.print,
    )
    for section in report.sections:
        console.print(f"\n{section.title}", style="bold")
        for line in section.lines:
            console.print(f"  {line}")
        console.print(f"  What this cannot show: {section.cannot}", style="italic")
    if out is not None:
        write_audit(report, out=out, config=config)
        console.print(f"\nsee {out / 'audit.md'}")
    if model is not None:
        write_card(report, model)
        console.print(f"see {model / 'model_card.md'}")
    finish(report.problems, (out or Path()) / "problems.csv")
