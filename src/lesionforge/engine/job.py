"""A job: one piece of work with a file that shows that it is done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work, which any process may do that sees the folder of the study.

    Attributes:
        name: unique within a study, such as ``n8/seed0/arms/real_2000/train``.
        product: the file that exists once the work is done.
        function: does the work and returns a line that says what came of it; a function of a module.
        arguments: of ``function``, after those that all jobs of a run share: paths and options, never arrays.
        needs: names of the jobs that must be done before.
    """

    name: str
    product: Path
    function: Callable[..., str]
    arguments: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the work is done."""
        return self.product.is_file()

    def run(self, *shared: Any) -> str:
        """Do the work and return what came of it in a line.

        Args:
            *shared: the leading arguments that all jobs of a run share.
        """
        return self.function(*shared, *self.arguments)


def ready(jobs: Sequence[Job], *, begun: Collection[str] = (), lost: Collection[str] = ()) -> list[Job]:
    """Return the jobs that can begin: not done, not ``begun``, and all that they need is done.

    Args:
        jobs: all that are known.
        begun: names of those that run, or wait for a process.
        lost: names of those that are given up.

    Raises:
        ValueError: if a job needs one that is not known.
    """
    by_name = {job.name: job for job in jobs}
    for job in jobs:
        for name in job.needs:
            if name not in by_name:
                raise ValueError(f"{job.name} needs {name}, which is no job")
    waiting = [job for job in jobs if job.name not in begun and job.name not in lost and not job.done]
    return [job for job in waiting if all(by_name[name].done for name in job.needs)]
