"""Engines: where the jobs of a study run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lesionforge.engine.job import Job, ready
from lesionforge.errors import WorkerError

Say = Callable[[str], None]
Known = Callable[[], Sequence[Job]]
"""Returns all jobs that are known so far; what is done may make others known."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        job: that was run.
        line: what it says of itself.
        lost: why its process ended before the work was done, if it did.
    """

    job: Job
    line: str = ""
    lost: str | None = None


class Session(ABC):
    """Processes that take jobs; one call of :meth:`wait` returns what came of one of them."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Let a job begin as soon as a process is free."""

    @abstractmethod
    def wait(self) -> Outcome:
        """Return what came of the next job that ends.

        Raises:
            Exception: what the job raised.
        """


class Engine(ABC):
    """Runs a graph of jobs. The result does not depend on which engine, or in which order.

    A job whose process ends from outside is repeated once, then left; jobs that do not need it go on. An error in a job
    ends the run: no other job begins, and those that run come to their end.
    """

    @abstractmethod
    def session(self) -> AbstractContextManager[Session]:
        """Start the processes; they end with the block."""

    def run(self, known: Known, say: Say) -> None:
        """Run jobs until no job is left that can begin.

        Args:
            known: returns all jobs that are known so far; asked again after each that was done.
            say: told what came of each job.

        Raises:
            WorkerError: if a job ends without its product; or if the process of one ended twice, once all other jobs
                are done.
        """
        begun, repeated, lost = set[str](), set[str](), dict[str, str]()
        with self.session() as session:
            while True:
                for job in ready(known(), begun=begun, lost=lost):
                    session.submit(job)
                    begun.add(job.name)
                if not begun:
                    break
                outcome = session.wait()
                name = outcome.job.name
                begun.remove(name)
                if outcome.lost is None:
                    _check_product(outcome.job)
                    say(outcome.line)
                elif name in repeated:
                    lost[name] = outcome.lost
                else:
                    repeated.add(name)
                    say(f"{name}: {outcome.lost}; it is repeated once")
        if lost:
            what = f"{'; '.join(f'{name} {why}' for name, why in lost.items())}, twice, perhaps for want of memory"
            raise WorkerError("worker processes", what, "use fewer workers; the same command goes on where it was")


def _check_product(job: Job) -> None:
    """See that a job that ended left its product; else it would begin again and again."""
    if not job.done:
        what = f"is not there, although {job.name}, which writes it, came to its end"
        raise WorkerError(job.product, what, "see that nothing else works in this folder; the same command goes on")
