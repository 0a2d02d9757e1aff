"""Base class of studies: a plan applied to a cohort."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lesionforge.cohort.case import Cohort
from lesionforge.engine.base import Say
from lesionforge.engine.job import Job
from lesionforge.errors import OutputError
from lesionforge.files import claim_output, clear_leftovers, write_json, write_text
from lesionforge.reading import read_json

SIMULATED = "All scans are simulated: this says nothing about patients."


@dataclass(frozen=True, kw_only=True)
class Study(ABC):
    """A plan applied to a cohort, in a folder.

    Attributes:
        plan: the plan.
        out: the study's folder.
    """

    plan: Any
    out: Path

    @property
    @abstractmethod
    def parts(self) -> dict[str, Cohort]:
        """Part name → cases, as written to ``split.json``."""

    @property
    @abstractmethod
    def disjoint(self) -> dict[str, Cohort]:
        """The parts that must not share subjects."""

    @property
    def folds(self) -> dict[str, Study]:
        """Fold name → study of that fold, in a subfolder of that name; empty without cross-validation."""
        return {}

    @property
    def left_out(self) -> Sequence[str]:
        """A line for each part of the plan that cannot be run and is left out."""
        return ()

    @property
    def test(self) -> Cohort:
        """The cases that are scored."""
        return self.disjoint["test"]

    @property
    def channels(self) -> tuple[str, ...]:
        """The image channels in use."""
        return self.test.channels

    @property
    def simulated(self) -> bool:
        """Whether any test case is simulated."""
        return any(case.origin == "simulated" for case in self.test)

    @abstractmethod
    def jobs(self, say: Say = lambda line: None) -> list[Job]:
        """Return all jobs known so far, including finished ones.

        Args:
            say: called with one line per decision that the finished jobs allow.
        """

    @abstractmethod
    def collect(self) -> None:
        """Write the scores of all jobs into the study's tables."""

    @abstractmethod
    def report(self) -> str:
        """Write the report from the study's tables and return the verdict."""

    def split(self) -> dict[str, list[str]]:
        """Return part name → case ids."""
        return {name: [case.case_id for case in cases] for name, cases in self.parts.items()}

    def claim(self) -> None:
        """Write the plan and the split into a new folder, or check that an existing folder holds the same ones.

        Raises:
            OutputError: if the folder holds another plan, or this plan on other cases.
        """
        claim_study(self.out, yaml.safe_dump(self.plan.model_dump(mode="json"), sort_keys=False), self.split())


def claim_study(out: Path, plan: str, split: Mapping[str, Sequence[str]]) -> None:
    """Write a plan and a split into a new folder; see :meth:`Study.claim`."""
    plan_file, split_file = out / "plan.yaml", out / "split.json"
    if not plan_file.is_file():
        claim_output(out)
        write_text(plan_file, plan)
    elif plan_file.read_text(encoding="utf-8") != plan:
        raise OutputError(out, "holds the results of another plan", "name a new folder")
    if not split_file.is_file():
        write_json(split_file, split)
    elif read_json(split_file) != split:
        raise OutputError(out, "holds the results of this plan on other cases", "name a new folder")
    clear_leftovers(out)
