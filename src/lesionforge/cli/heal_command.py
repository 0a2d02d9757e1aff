"""The command that removes lesions: heal."""

from __future__ import annotations

from typing import Annotated

import typer

from lesionforge.cli.common import (
    CaseList,
    CohortFolder,
    Device,
    DeviceOption,
    ModelFolder,
    Out,
    Role,
    Seed,
    Subjects,
    console,
    finish,
    progress_bar,
    read_selection,
)
from lesionforge.cli.models import BLENDED_BACK, BlendChoice, tell_changed_outside


def heal(
    model: ModelFolder,
    cohort: CohortFolder,
    out: Out,
    blend: Annotated[
        BlendChoice,
        typer.Option(help="Keep the whole drawn image, or keep the scan outside the lesion that was found."),
    ] = BlendChoice.FULL,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
) -> None:
    """Remove the lesions from the scans of a cohort.

    Writes the cohorts healed (pseudo-healthy scans), maps (lesion maps) and reconstructed into --out, as far as the
    model's method makes them. The same command continues a stopped run.

    Example: lesionforge heal model Dataset001_Tumour --out healed --role test
    """
    from lesionforge.cohort.inspection.contact_sheet import contact_sheet
    from lesionforge.healers.registry import load_healer
    from lesionforge.production.heal import heal_cohort
    from lesionforge.training.quiet import quiet

    quiet()
    healer = load_healer(model, device=device.value)
    scans = read_selection(cohort, subjects=subjects, cases=cases, role=role, seed=seed)
    with progress_bar("healing") as progress:
        result = heal_cohort(healer, scans, out=out, blend=blend.value, progress=progress)
    for kind, written in result.cohorts.items():
        console.print(f"{out / kind}: {len(written)} cases")
        if len(written):
            console.print(f"{contact_sheet(written, out / kind / 'sheet.png')}")
    stays = " (goal: below 1 %); with --blend lesion blending takes it back"
    then = stays if blend is BlendChoice.FULL else BLENDED_BACK
    tell_changed_outside(result.changed_outside, f"outside the lesions {healer.method}", then)
    if result.unchanged:
        what = f"{len(result.unchanged)} scans keep their lesions (first: {result.unchanged[0]})"
        why = f"{healer.method} changed them by less than 1 % of the intensity range"
        console.print(f"{what}: {why}; train it again, longer or with another seed", style="yellow")
    if result.resampled:
        spacing = " × ".join(f"{mm:.3g}" for mm in healer.info.preprocessing.spacing or ())
        note = f"{len(result.resampled)} cases have another spacing than the model's training cases ({spacing} mm)"
        console.print(f"{note}: finer detail stays as it was, including lesions")
    finish(result.problems, out / "healed" / "problems.csv")
