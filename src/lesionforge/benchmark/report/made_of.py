"""What a study was made of: version, plan, command, hashes of its data, machine and time, kept in ``run.json``.

Nothing here tells who ran it, beyond what the command line says.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

import lesionforge
from lesionforge.benchmark.report.figures.curves import read_log
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.digest import digest_of, files_of
from lesionforge.errors import CohortError, OutputError
from lesionforge.files import sha256_of, write_json
from lesionforge.reading import read_json
from lesionforge.training.loop import TIMING, Device, pick_device

RUN = "run.json"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a plan came from.

    Attributes:
        plan: the preset's name, or the file's.
        scale: the one of its scales that was taken.
        changes: option → what it was and what it is, for the options that differ from the file.
        command: the command line, if there was one.
    """

    plan: str = "given in Python"
    scale: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None


def changed_options(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> dict[str, str]:
    """Return ``arms.real.share`` → ``0.5 → 0.2`` for the options in which two contents of plans differ."""
    found: dict[str, str] = {}
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= changed_options(old, new, f"{place}{name}.")
        elif old != new:
            found[f"{place}{name}"] = f"{'not given' if old is None else old} → {'not given' if new is None else new}"
    return found


class RunRecord:
    """The ``run.json`` of a study; each start of the study adds a session to it.

    Args:
        out: the study's folder, with its ``split.json``.
        cohort: real (or simulated) cases.
        source: of the plan.
        device: that was asked for.

    Raises:
        OutputError: if the study was begun on other images or labels.
    """

    def __init__(self, out: Path, cohort: Cohort, source: Source, *, device: Device = "auto") -> None:
        self.path, self.start = out / RUN, perf_counter()
        earlier = read_run(out)
        hashes = _cohort_hash(cohort, earlier.get("cohort", {}))
        if earlier and hashes["sha256"] != earlier["cohort"]["sha256"]:
            what = "holds the results of this plan on a cohort with other images or labels"
            raise OutputError(out, what, "name a new folder, or take that cohort")
        self.content: dict[str, Any] = {
            "schema_version": 1,
            "plan": {"name": source.plan, "scale": source.scale, "changes": dict(source.changes)},
            "cohort": hashes,
            "split": sha256_of(out / "split.json"),
            "sessions": [
                *earlier.get("sessions", []),
                {
                    "lesionforge": lesionforge.__version__,
                    "torch": torch.__version__,
                    "python": platform.python_version(),
                    "machine": describe_machine(device),
                    "command": source.command,
                    "seconds": 0.0,
                },
            ],
        }
        self.save()

    def save(self, **facts: Any) -> None:
        """Write the file anew, with the time of this session so far and further facts."""
        self.content["sessions"][-1]["seconds"] = round(perf_counter() - self.start, 1)
        self.content |= facts
        write_json(self.path, self.content)


def read_run(out: Path) -> dict[str, Any]:
    """Return the ``run.json`` of a study, empty where there is none."""
    return _read_record(out / RUN, "name a new folder for the study")


def describe_machine(device: Device = "auto") -> str:
    """Return the processor with the number of cores that may be used, and the GPU if there is one to be used."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    gpu = f", {torch.cuda.get_device_name()}" if pick_device(device) == "cuda" else ""
    return f"{name}, {cores} core{'s' * (cores > 1)}{gpu}"


def _cohort_hash(cohort: Cohort, earlier: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of ids and files; these are read again only if a size or a time has changed."""
    state = hashlib.sha256()
    for case in cohort:
        stats = [path.stat() for path in files_of(case)]
        seen = [case.case_id, case.subject_id, *case.images, *((stat.st_size, stat.st_mtime_ns) for stat in stats)]
        state.update(repr(seen).encode())
    if earlier.get("state") == state.hexdigest():
        return dict(earlier)
    return {"sha256": digest_of(cohort), "state": state.hexdigest()}


@contextmanager
def timed(folder: Path) -> Iterator[None]:
    """Add the steps that a training in ``folder`` makes, and their seconds, to its ``timing.json``.

    A training that is stopped and resumed adds up. The seconds are from start to end: reading the cases is among them.
    """
    before, start = _steps_logged(folder), perf_counter()
    try:
        yield
    finally:
        steps = _steps_logged(folder) - before
        if steps > 0:
            known_steps, known_seconds = _timing(folder)
            seconds = round(known_seconds + perf_counter() - start, 2)
            write_json(folder / TIMING, {"steps": known_steps + steps, "seconds": seconds})


def _steps_logged(folder: Path) -> int:
    log = read_log(folder / "metrics.csv")
    return 0 if log is None or log.empty else int(log.index.max()) + 1


def seconds_per_step(folders: Iterable[Path]) -> float | None:
    """Return the mean over the trainings in ``folders``; ``None`` if none was timed."""
    timings = [_timing(folder) for folder in folders]
    steps = sum(steps for steps, _ in timings)
    return sum(seconds for _, seconds in timings) / steps if steps else None


def _timing(folder: Path) -> tuple[int, float]:
    """Return the steps of a training that were timed, and their seconds; 0 of both where none was.

    Raises:
        CohortError: if the file that says so is damaged.
    """
    path, remedy = folder / TIMING, "delete it: it holds nothing but how long training took"
    content = _read_record(path, remedy) or {"steps": 0, "seconds": 0.0}
    try:
        return int(content["steps"]), float(content["seconds"])
    except (LookupError, TypeError, ValueError) as error:
        raise CohortError(path, "does not say steps and seconds", remedy) from error


def _read_record(path: Path, remedy: str) -> dict[str, Any]:
    """Return what a JSON file of a study holds, empty where there is none.

    Raises:
        CohortError: if it is damaged.
    """
    content = read_json(path, remedy=remedy) if path.is_file() else {}
    if not isinstance(content, dict):
        raise CohortError(path, "is no record of a study", remedy)
    return content


def made_of(out: Path, trainings: Mapping[str, Iterable[Path]]) -> dict[str, str]:
    """Return name → text, the rows of a report on what the study was made of; empty without a ``run.json``.

    Args:
        out: the study's folder.
        trainings: what was trained → the folders of its trainings.
    """
    run = read_run(out)
    if not run:
        return {}
    plan, sessions = run["plan"], run["sessions"]
    changes = [f"{name}: {change}" for name, change in plan["changes"].items()]
    times = {name: seconds_per_step(folders) for name, folders in trainings.items()}
    rows = {
        "lesionforge": _each(sessions, "lesionforge"),
        "Plan": plan["name"] + (f", scale {plan['scale']}" if plan["scale"] else ""),
        "Differs from it in": "; ".join(changes) or "nothing",
        "Command": _each(sessions, "command") or "none: run from Python",
        "SHA-256 of the cohort": run["cohort"]["sha256"],
        "SHA-256 of split.json": run["split"],
        "Machine": _each(sessions, "machine"),
        "Software": f"Python {_each(sessions, 'python')}, PyTorch {_each(sessions, 'torch')}",
        "Duration": _duration(sum(session["seconds"] for session in sessions), len(sessions)),
        "Seconds a step": "; ".join(f"{name} {time:.2g}" for name, time in times.items() if time is not None),
    }
    return {name: text for name, text in rows.items() if text}


def _each(sessions: Iterable[Mapping[str, Any]], name: str) -> str:
    """Return what the sessions say, each value once."""
    return "; ".join(dict.fromkeys(str(session[name]) for session in sessions if session[name]))


def _duration(seconds: float, sessions: int) -> str:
    minutes = seconds / 60
    if minutes < 2:
        text = f"{seconds:.0f} seconds"
    else:
        text = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return text if sessions == 1 else f"{text}, in {sessions} sessions"
