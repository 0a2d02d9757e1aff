"""The provenance of a study: version, plan, command, data hashes, machine and time, stored in ``run.json``.

It does not record who ran the study, beyond what the command line contains.
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
from typing import Any, NamedTuple

import torch

import lesionforge
from lesionforge.benchmark.report.figures.curves import read_log
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.digest import digest_of, files_of
from lesionforge.errors import CohortError, OutputError
from lesionforge.files import contents, sha256_of, write_json
from lesionforge.reading import read_json
from lesionforge.training.loop import TIMING, Device, pick_device

RUN = "run.json"


@dataclass(frozen=True, kw_only=True)
class Source:
    """The origin of a plan.

    Attributes:
        plan: name of the preset or of the file.
        scale: name of the scale that was applied, or ``None``.
        changes: option → ``old → new`` value, for the options that differ from the file.
        command: the command line, or ``None``.
    """

    plan: str = "given in Python"
    scale: str | None = None
    changes: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None


def changed_options(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> dict[str, str]:
    """Return the options in which two plans differ: ``arms.real.share`` → ``0.5 → 0.2``."""
    found: dict[str, str] = {}
    for name in dict.fromkeys((*before, *after)):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= changed_options(old, new, f"{place}{name}.")
        elif old != new:
            found[f"{place}{name}"] = f"{'not given' if old is None else old} → {'not given' if new is None else new}"
    return found


class RunRecord:
    """The ``run.json`` of a study; each start of the study adds a session.

    Args:
        out: the study's folder, with its ``split.json``.
        cohort: real (or simulated) cases.
        source: origin of the plan.
        device: the requested device.

    Raises:
        OutputError: if the study was started on other images or labels.
    """

    def __init__(self, out: Path, cohort: Cohort, source: Source, *, device: Device = "auto") -> None:
        self.path, self.start = out / RUN, perf_counter()
        earlier = read_run(out)
        hashes = _cohort_hash(cohort, earlier.get("cohort", {}))
        if earlier and hashes["sha256"] != earlier["cohort"]["sha256"]:
            what = "holds the results of this plan on a cohort with other images or labels"
            raise OutputError(out, what, "name a new folder, or use that cohort")
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
        """Write the file, with the time of this session so far and the given further entries."""
        self.content["sessions"][-1]["seconds"] = round(perf_counter() - self.start, 1)
        self.content |= facts
        write_json(self.path, self.content)


def read_run(out: Path) -> dict[str, Any]:
    """Return the content of a study's ``run.json``, or an empty dictionary if it does not exist."""
    return _read_record(out / RUN, "name a new folder for the study")


def describe_machine(device: Device = "auto") -> str:
    """Return the name of the processor, the number of available cores, and the GPU if ``device`` selects one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    gpu = f", {torch.cuda.get_device_name()}" if pick_device(device) == "cuda" else ""
    return f"{name}, {cores} core{'s' * (cores > 1)}{gpu}"


def _cohort_hash(cohort: Cohort, earlier: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of ids and files; files are read again only if a size or a modification time has changed."""
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
    """Add what a job spends on ``folder`` to its ``timing.json``: time, and the steps and seconds of a training run.

    An interrupted and resumed run adds up. The seconds include everything from start to end, such as reading the cases;
    those of a training run are left out where it made no step.
    """
    before, start, start_cpu = _steps_logged(folder), perf_counter(), _cpu_seconds()
    try:
        yield
    finally:
        if contents(folder) - {TIMING}:
            steps, wall, cpu = _steps_logged(folder) - before, perf_counter() - start, _cpu_seconds() - start_cpu
            known = _read_timing(folder)
            added = {"seconds": wall if steps > 0 else 0, "wall_seconds": wall, "cpu_seconds": cpu}
            times = {name: round(known.get(name, 0) + value, 2) for name, value in added.items()}
            write_json(folder / TIMING, {"steps": int(known.get("steps", 0)) + max(steps, 0), **times})


def _cpu_seconds() -> float:
    """Return the CPU time of this process, all its threads included, and of its children that have ended."""
    return sum(os.times()[:4])


def _steps_logged(folder: Path) -> int:
    log = read_log(folder / "metrics.csv")
    return 0 if log is None or log.empty else int(log.index.max()) + 1


def seconds_per_step(folders: Iterable[Path]) -> float | None:
    """Return the mean seconds per step of the training runs in ``folders``, or ``None`` if none was timed."""
    timings = [_timing(folder) for folder in folders]
    steps = sum(steps for steps, _ in timings)
    return sum(seconds for _, seconds in timings) / steps if steps else None


def _timing(folder: Path) -> tuple[int, float]:
    """Return the timed steps of a training run and their seconds; 0 and 0 if it was not timed.

    Raises:
        CohortError: if the file is damaged.
    """
    content = _read_timing(folder) or {"steps": 0, "seconds": 0.0}
    return int(content["steps"]), content["seconds"]


class Spent(NamedTuple):
    """What a job took: CPU minutes over all threads and processes, and minutes on the clock."""

    cpu: float
    wall: float


def spent(folders: Iterable[Path]) -> Spent | None:
    """Return what all jobs in ``folders`` took, or ``None`` if one was not timed, or by an earlier version.

    Raises:
        CohortError: if a ``timing.json`` is damaged.
    """
    timings = [_read_timing(folder) for folder in folders]
    if not all("cpu_seconds" in timing and "wall_seconds" in timing for timing in timings):
        return None
    cpu, wall = (sum(timing[name] for timing in timings) / 60 for name in ("cpu_seconds", "wall_seconds"))
    return Spent(cpu, wall)


def _read_timing(folder: Path) -> dict[str, float]:
    """Return the content of a folder's ``timing.json``; empty if it was not timed.

    Raises:
        CohortError: if the file is damaged.
    """
    path, remedy = folder / TIMING, "delete it: it only records how long training took"
    content = _read_record(path, remedy)
    try:
        numbers = {name: float(value) for name, value in content.items()}
    except (TypeError, ValueError) as error:
        raise CohortError(path, "lacks steps or seconds", remedy) from error
    if numbers and not {"steps", "seconds"} <= numbers.keys():
        raise CohortError(path, "lacks steps or seconds", remedy)
    return numbers


def _read_record(path: Path, remedy: str) -> dict[str, Any]:
    """Return the content of a JSON file of a study, or an empty dictionary if it does not exist.

    Raises:
        CohortError: if the file is damaged.
    """
    content = read_json(path, remedy=remedy) if path.is_file() else {}
    if not isinstance(content, dict):
        raise CohortError(path, "is not a record of a study", remedy)
    return content


def made_of(out: Path, trainings: Mapping[str, Iterable[Path]]) -> dict[str, str]:
    """Return row name → text for the report's provenance table; empty without a ``run.json``.

    Args:
        out: the study's folder.
        trainings: name of a model or arm → folders of its training runs.
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
    """Return the distinct values of an entry over all sessions."""
    return "; ".join(dict.fromkeys(str(session[name]) for session in sessions if session[name]))


def _duration(seconds: float, sessions: int) -> str:
    minutes = seconds / 60
    if minutes < 2:
        text = f"{seconds:.0f} seconds"
    else:
        text = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return text if sessions == 1 else f"{text}, in {sessions} sessions"
