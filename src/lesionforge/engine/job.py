"""A job: one piece of work and the file that marks it as done."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work. Any process that can access the study's folder can run it.

    Attributes:
        name: unique name within a study, such as ``n8/seed0/arms/real_2000/train``.
        product: file that exists once the job is done.
        function: module-level function that does the work and returns a one-line message about the result.
        arguments: arguments of ``function``, after the shared arguments of the run: paths and options, never arrays.
        needs: names of the jobs that must be done first.
    """

    name: str
    product: Path
    function: Callable[..., str]
    arguments: tuple[Any, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the job is done, that is, whether its product exists."""
        return self.product.is_file()

    def run(self, *shared: Any) -> str:
        """Run the job and return its one-line message.

        Args:
            *shared: leading arguments that all jobs of a run share.
        """
        return self.function(*shared, *self.arguments)


def ready(jobs: Sequence[Job], *, begun: Collection[str] = (), lost: Collection[str] = ()) -> list[Job]:
    """Return the jobs that can start: not done, not in ``begun`` or ``lost``, with all the jobs they need done.

    Args:
        jobs: all jobs known so far.
        begun: names of the jobs that are running or queued.
        lost: names of the jobs that were given up.

    Raises:
        ValueError: if a job needs an unknown job.
    """
    by_name = {job.name: job for job in jobs}
    for job in jobs:
        for name in job.needs:
            if name not in by_name:
                raise ValueError(f"{job.name} needs {name}, which is not a known job")
    waiting = [job for job in jobs if job.name not in begun and job.name not in lost and not job.done]
    return [job for job in waiting if all(by_name[name].done for name in job.needs)]
