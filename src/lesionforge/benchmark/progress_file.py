"""``jobs.json``: the jobs of a study, so that its progress can be read from its folder alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lesionforge.engine.job import Job
from lesionforge.errors import ConfigError
from lesionforge.files import is_worked_in, write_json
from lesionforge.reading import read_json

FILE = "jobs.json"
STATES = ("done", "running", "failed", "left")


class ProgressFile:
    """Maintains ``jobs.json`` of a study while an engine runs it.

    Args:
        out: the study's folder.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.jobs, self.failures = out, list[dict[str, Any]](), dict[str, str]()

    def known(self, jobs: Sequence[Job]) -> None:
        """Record all jobs known so far."""
        rows = [
            {"name": job.name, "product": job.product.relative_to(self.out).as_posix(), "needs": list(job.needs)}
            for job in jobs
        ]
        if rows != self.jobs:
            self.jobs = rows
            self._write()

    def failed(self, job: Job, why: str) -> None:
        """Record a failed job."""
        self.failures[job.name] = why
        self._write()

    def _write(self) -> None:
        write_json(self.out / FILE, {"schema_version": 1, "jobs": self.jobs, "failed": self.failures})


def status(out: Path) -> pd.DataFrame:
    """Return a table with a row for each known job of a study, read from its folder alone.

    Columns are ``name``, ``state`` (done, running, failed or left), ``needs`` (names of jobs that must be done first)
    and ``why`` (the reason of a failure).

    Args:
        out: the study's folder.

    Raises:
        ConfigError: if ``out`` is not the folder of a study.
    """
    path = out / FILE
    if not path.is_file():
        raise ConfigError(out, f"has no {FILE}", "name the folder of a benchmark that has been started")
    remedy = "start the benchmark again, which rewrites the file"
    content = read_json(path, fault=ConfigError, remedy=remedy)
    try:
        rows = [_row(out, job, content["failed"]) for job in content["jobs"]]
    except (LookupError, TypeError, AttributeError) as error:
        raise ConfigError(path, "does not list the jobs of a benchmark", remedy) from error
    return pd.DataFrame(rows, columns=["name", "state", "needs", "why"])


def _row(out: Path, job: dict[str, Any], failed: dict[str, str]) -> dict[str, str]:
    product = out / job["product"]
    why = failed.get(job["name"], "")
    if product.is_file():
        state, why = "done", ""
    elif is_worked_in(product.parent):
        state, why = "running", ""
    else:
        state = "failed" if why else "left"
    return {"name": job["name"], "state": state, "needs": " ".join(job["needs"]), "why": why}
