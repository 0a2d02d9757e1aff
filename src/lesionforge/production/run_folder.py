"""The folder of a synthesis run; it is a cohort folder when the run is finished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.digest import digest_of
from lesionforge.cohort.layouts.cases_csv import write_cases_csv, write_problems
from lesionforge.cohort.layouts.dataset_json import write_dataset_json
from lesionforge.cohort.provenance import read_record
from lesionforge.errors import CohortError, LesionforgeError, OutputError
from lesionforge.files import claim_output, clear_leftovers, write_json
from lesionforge.reading import read_json
from lesionforge.training.model_folder import ModelInfo

SETTINGS = "synthesis.json"


class Drawer(Protocol):
    """A model with its description and the hash of its weights."""

    @property
    def info(self) -> ModelInfo:
        """Training cases, options and preprocessing of the model."""

    @property
    def digest(self) -> str:
        """SHA-256 of the weights."""


def claim_run_folder(out: Path, settings: Mapping[str, object], *, file: str = SETTINGS) -> None:
    """Write the settings into a new folder, or check that the folder holds a run with the same settings.

    Args:
        out: the folder.
        settings: everything that the result depends on, as read back from JSON.
        file: name of the settings file.

    Raises:
        OutputError: if the folder holds another run, or something else.
        CohortError: if the settings of the existing run are damaged.
    """
    path = out / file
    if path.is_file():
        content = read_json(path, remedy="name a new folder")
        before = content if isinstance(content, dict) else {}
        changed = [name for name in dict.fromkeys((*settings, *before)) if before.get(name) != settings.get(name)]
        if changed:
            what = f"holds another run's cases: {_said(changed)} not the same"
            raise OutputError(out, what, "name a new folder, or repeat that run's arguments")
        clear_leftovers(out)
        return
    claim_output(out)
    write_json(path, settings)


def _said(changed: Sequence[str]) -> str:
    """Return the first setting that differs, as text; a hash stands for weights, masks or files."""
    name = changed[0]
    plain = name.removesuffix("_sha256")
    said = f"the contents of its {plain}" if plain != name else f"its {name}"
    return f"{said} {'are' if said.startswith('the contents') or name.endswith('s') else 'is'}"


def model_settings(name: str, model: Drawer) -> dict[str, object]:
    """Return the settings that identify a model, including the hash of its weights."""
    return {name: model.info.model_dump(mode="json"), f"{name}_sha256": model.digest}


def case_settings(name: str, cases: Iterable[Case]) -> dict[str, object]:
    """Return the settings that identify cases, including the hash of their files."""
    cases = list(cases)
    return {name: [case.case_id for case in cases], f"{name}_sha256": digest_of(cases)}


def check_sources(out: Path, cases: Iterable[Case]) -> None:
    """Check that the finished cases in ``out`` were made from the present scans, according to their records.

    A damaged record is reported later, when its case is due.

    Raises:
        OutputError: if a scan has changed; names the first such scan.
    """
    known = {case.case_id: case for case in cases}
    digests: dict[str, str] = {}
    for record in sorted((out / "provenance").glob("[!.]*.json")):
        try:
            facts = read_record(record, "source_case", "source_sha256")
        except CohortError:
            continue
        name = facts["source_case"]
        if name in known and digests.setdefault(name, digest_of([known[name]])) != facts["source_sha256"]:
            what = f"holds cases that were made from another scan, or another label, named {name}"
            raise OutputError(out, what, "name a new folder")


def finish_run_folder(out: Path, result: Cohort, problems: Sequence[LesionforgeError], *, file_ending: str) -> None:
    """Write ``dataset.json``, ``cases.csv`` and, if needed, ``problems.csv``; delete what killed runs left."""
    clear_leftovers(out)
    write_dataset_json(
        out,
        channels=result.channels,
        labels=result.labels,
        num_training=len(result.annotated()),
        file_ending=file_ending,
    )
    write_problems(out / "problems.csv", problems)
    write_cases_csv(out, result, channels=result.channels)
