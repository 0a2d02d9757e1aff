"""The folder of a synthesis run, which is a cohort when it is finished."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.cases_csv import write_cases_csv, write_problems
from lesionforge.cohort.layouts.dataset_json import write_dataset_json
from lesionforge.errors import LesionforgeError, OutputError
from lesionforge.files import write_json
from lesionforge.reading import read_json

SETTINGS = "synthesis.json"


def claim_run_folder(out: Path, settings: Mapping[str, object], *, file: str = SETTINGS) -> None:
    """Write the settings into a new folder, or see that they are those of the run that is there.

    Args:
        out: the folder.
        settings: all that the result depends on, as JSON would give it back.
        file: its name for the settings.

    Raises:
        OutputError: if the folder holds another run, or something else.
        CohortError: if the settings of the run that is there are damaged.
    """
    path = out / file
    if path.is_file():
        if read_json(path, remedy="name a new folder") != settings:
            raise OutputError(out, "holds another run's cases", "name a new folder, or repeat that run's arguments")
        return
    if out.is_file() or (out.exists() and any(out.iterdir())):
        raise OutputError(out, "the output folder is not empty", "name a new folder, or move this one away")
    write_json(path, settings)


def finish_run_folder(out: Path, result: Cohort, problems: Sequence[LesionforgeError], *, file_ending: str) -> None:
    """Write ``dataset.json``, ``cases.csv``, and ``problems.csv`` if there are any; clear away what a kill left."""
    for leftover in out.rglob(".*.partial.*"):
        leftover.unlink(missing_ok=True)
    write_dataset_json(
        out,
        channels=result.channels,
        labels=result.labels,
        num_training=len(result.annotated()),
        file_ending=file_ending,
    )
    write_problems(out / "problems.csv", problems)
    write_cases_csv(out, result, channels=result.channels)
