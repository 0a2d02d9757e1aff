"""What several commands share: options, selections of cases, progress."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from lesionforge.cli.spoken import spoken
from lesionforge.errors import CohortError, ConfigError, LesionforgeError
from lesionforge.progress import progress_bar as progress_bar
from lesionforge.reading import parse_yaml, read_text

if TYPE_CHECKING:
    from lesionforge.cohort.case import Cohort


WIDTH_OF_FILES = 120
"""Columns of a table that goes into a file or a pipe."""


def command_line() -> str:
    """Return the command as the user typed it."""
    return shlex.join(["lesionforge", *sys.argv[1:]])


console = Console(soft_wrap=True, highlight=False, markup=False)
if not console.is_terminal:
    console.width = max(console.width, WIDTH_OF_FILES)


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Target(StrEnum):
    """What a label map shows."""

    LESIONS = "lesions"
    ANATOMY = "anatomy"


def a_cohort(folder: Path | None) -> Path | None:
    """Check that a folder describes a cohort, and return it; called before a command imports slow packages.

    Raises:
        CohortError: if it does not.
    """
    from lesionforge.cohort.layouts.dataset_json import read_dataset_json

    if folder is not None:
        read_dataset_json(folder)
    return folder


def a_cohort_or_masks(folder: Path) -> Path:
    """Check that a folder of a cohort or of masks exists, and return it; see :func:`a_cohort`.

    Raises:
        CohortError: if it does not exist.
    """
    if not folder.is_dir():
        remedy = "name a cohort folder, or a folder of masks for maskgan"
        raise CohortError(folder, "there is no such folder", remedy)
    return folder


def a_model(folder: Path | None) -> Path | None:
    """Check that a folder describes a model, and return it; see :func:`a_cohort`.

    Raises:
        ModelError: if it does not.
    """
    from lesionforge.training.model_file import model_file

    if folder is not None:
        model_file(folder)
    return folder


def a_case_list(file: Path | None) -> Path | None:
    """Check that a file can be read as text, and return it; see :func:`a_cohort`.

    Raises:
        ConfigError: if it cannot be read.
    """
    if file is not None:
        read_text(file, fault=ConfigError, remedy="write one case id in each line")
    return file


CohortFolder = Annotated[
    Path, typer.Argument(metavar="COHORT", callback=a_cohort, help="The cohort folder (nnU-Net's raw layout).")
]
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", callback=a_model, help="The model folder.")]
Out = Annotated[Path, typer.Option("--out", help="The new folder for the result.")]
Steps = Annotated[int | None, typer.Option(help="Number of optimiser steps.")]
TimeBudget = Annotated[
    str | None, typer.Option(help="Train for at most 90s, 10m or 2h, not counting the time to read scans.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume the run in --out.")]
Seed = Annotated[int, typer.Option(help="Random seed.")]
LoaderWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Number of loader processes, by default only on CUDA; the result does not depend on it.",
    ),
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute; auto takes CUDA if there is a GPU.")]
Channels = Annotated[
    list[str] | None, typer.Option("--channels", "--channel", help="Image channels to use; all by default.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--keep-column", help="Keep a further column of the table; all others are left out."),
]
Subjects = Annotated[str | None, typer.Option(help="Use a number of subjects (8) or a share of them (0.1).")]
CaseList = Annotated[
    Path | None,
    typer.Option("--cases", callback=a_case_list, help="Use the cases of a text file with one case id in each line."),
]
Role = Annotated[str | None, typer.Option(help="Use the subjects of a role in the cohort's roles.json.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set an option of the method, or with `training.KEY` an option of the training.",
    ),
]


def read_selection(
    folder: Path,
    *,
    subjects: str | None = None,
    cases: Path | None = None,
    role: str | None = None,
    seed: int = 0,
    read: Callable[[Path], Cohort] | None = None,
) -> Cohort:
    """Read a cohort and keep the selected cases.

    Args:
        folder: the cohort folder.
        subjects: a number of subjects, or a share of them.
        cases: a file with a case id in each line.
        role: a role in the folder's ``roles.json``.
        seed: decides which subjects are drawn.
        read: reads the folder if its layout is not nnU-Net's.

    Raises:
        ConfigError: if the selection is invalid.
        CohortError: if it leaves no case.
    """
    from lesionforge.cohort.layouts import read_cohort
    from lesionforge.cohort.splits import of_role, read_roles, take_subjects

    cohort = (read or read_cohort)(folder)
    if role is not None:
        roles = folder / "roles.json"
        if not roles.is_file():
            raise ConfigError(roles, "there is no such file", 'write {"pool": [subject ids]} there, or drop --role')
        cohort = of_role(cohort, read_roles(roles), role)
    if cases is not None:
        cohort = cohort.subset(read_text(cases, fault=ConfigError, remedy="write one case id in each line").split())
    if subjects is not None:
        try:
            amount = float(subjects) if "." in subjects else int(subjects)
        except ValueError as error:
            raise ConfigError("--subjects", f"{subjects!r} is not a number", "give 8, or 0.1 for a tenth") from error
        cohort = take_subjects(cohort, amount, seed)
    return cohort


def nested(settings: Sequence[str] | None, flag: str = "--set") -> dict[str, Any]:
    """Return ``key=value`` texts of a flag as a dictionary; ``a.b=1`` is ``{"a": {"b": 1}}``.

    Raises:
        ConfigError: if a text does not have this form.
    """
    result: dict[str, Any] = {}
    for text in settings or ():
        key, sign, value = text.partition("=")
        if not sign:
            raise ConfigError(flag, f"{text!r} is not KEY=VALUE", f"write, for example, {flag} lambda_l1=100")
        content = parse_yaml(value, f"{flag} {key}", fault=ConfigError, remedy="quote it, or close its brackets")
        *path, last = key.strip().split(".")
        group = result
        for part in path:
            group = group.setdefault(part, {})
            if not isinstance(group, dict):
                raise ConfigError(flag, f"{part!r} is given both as a value and as a group", f"leave out {text}")
        group[last] = content
    return result


def parse_settings(settings: Sequence[str] | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the method and those of the training from ``key=value`` texts.

    Raises:
        ConfigError: if a text does not have this form.
    """
    method = nested(settings)
    training = method.pop("training", {})
    if not isinstance(training, dict):
        raise ConfigError("--set", "'training' is a group", "write, for example, --set training.batch_size=4")
    return method, training


def parse_duration(text: str) -> float:
    """Return the seconds of ``90s``, ``10m`` or ``1.5h``.

    Raises:
        ConfigError: if the text does not have this form.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None or not 0 < float(match[1]) < 1e9:
        raise ConfigError("--time-budget", f"{text!r} is not a duration", "write 90s, 10m or 2h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def key_value(options: Sequence[str] | None, name: str) -> dict[str, str]:
    """Return ``NAME=VALUE`` options as a dictionary.

    Raises:
        ConfigError: if an option does not have this form, or a name is given twice.
    """
    pairs = [option.partition("=") for option in options or ()]
    for key, sign, value in pairs:
        if not (key and sign and value):
            raise ConfigError(name, f"{key!r} is not NAME=VALUE", f"write, for example, {name} FLAIR=flair.nii.gz")
    found = dict[str, str]()
    for key, _, value in pairs:
        if found.setdefault(key, value) != value:
            raise ConfigError(name, f"{key} is given twice, as {found[key]} and as {value}", "give it once")
    return found


def whole(text: str, option: str) -> int:
    """Return the whole number in the value of an option.

    Raises:
        ConfigError: if it is none.
    """
    if not text.isdecimal():
        example = {"--label": "oedema=2", "--parenchyma": "1,2,3", "--size": "128,128,40"}[option]
        raise ConfigError(option, f"{text!r} is not a whole number", f"write, for example, {option} {example}")
    return int(text)


def tell_dropped(columns: Sequence[str]) -> None:
    """Print which columns of the table were left out, if any."""
    if columns:
        console.print(f"columns left out: {', '.join(columns)}; keep one with --keep-column {shlex.quote(columns[0])}")


def finish(problems: Sequence[LesionforgeError], where: Path) -> None:
    """List the cases that failed and exit with code 1, if there are any."""
    if not problems:
        return
    console.print(f"{len(problems)} cases could not be done (also listed in {where}):", style="yellow")
    for problem in problems:
        console.print(f"  {spoken(str(problem))}")
    raise typer.Exit(1)
