"""Engines: where the jobs of a study run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from lesionforge.engine.job import Job, ready
from lesionforge.errors import WorkerError

Say = Callable[[str], None]
Known = Callable[[], Sequence[Job]]
"""Returns all jobs known so far; finished jobs may add more."""


@dataclass(frozen=True)
class Outcome:
    """The result of one job.

    Attributes:
        job: the job that was run.
        line: the message that the job returned.
        error: the exception that the job raised, or ``None``.
        lost: why the job's process ended before the job finished, or ``None``.
    """

    job: Job
    line: str = ""
    error: Exception | None = None
    lost: str | None = None


class Watcher(Protocol):
    """Protocol for an object that follows the progress of a run."""

    def known(self, jobs: Sequence[Job]) -> None:
        """Record all jobs known so far."""

    def failed(self, job: Job, why: str) -> None:
        """Record a failed job."""


class Session(ABC):
    """A set of processes that run jobs; each call of :meth:`wait` returns the outcome of one job.

    Attributes:
        repeats_lost_jobs: whether the session itself repeats a job whose process was killed.
    """

    repeats_lost_jobs: ClassVar[bool] = False

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Queue a job; it starts as soon as a process is free."""

    @abstractmethod
    def wait(self) -> Outcome:
        """Wait for the next job to end and return its outcome."""


class Engine(ABC):
    """Base class of engines, which run a graph of jobs. The results depend neither on the engine nor on the job order.

    A job whose process is killed is repeated once, then given up; jobs that do not depend on it still run. If a job
    raises an error, the run stops: no new job starts, and the running jobs finish.
    """

    @property
    def elsewhere(self) -> bool:
        """Whether jobs run in other processes, which cannot use a CUDA device that this process already uses."""
        return True

    @abstractmethod
    def session(self, shared: tuple[Any, ...] = ()) -> AbstractContextManager[Session]:
        """Start the processes and send ``shared`` to each of them once; they end when the ``with`` block ends."""

    def run(
        self,
        known: Known,
        say: Say = lambda line: None,
        watcher: Watcher | None = None,
        *,
        shared: tuple[Any, ...] = (),
    ) -> None:
        """Run jobs until no remaining job can start.

        Args:
            known: returns all jobs known so far; called again after each finished job.
            say: called with one line per finished job.
            watcher: receives the list of jobs and the failures.
            shared: leading arguments of all jobs, such as the model that they draw with.

        Raises:
            WorkerError: if a job ends without writing its product; or, once all other jobs are done, if the process of
                a job was killed twice.
            Exception: any exception that a job raises.
        """
        begun, repeated, lost = set[str](), set[str](), dict[str, str]()
        with self.session(shared) as session:
            while True:
                jobs = known()
                if watcher is not None:
                    watcher.known(jobs)
                for job in ready(jobs, begun=begun, lost=lost):
                    session.submit(job)
                    begun.add(job.name)
                if not begun:
                    break
                outcome = session.wait()
                job = outcome.job
                begun.remove(job.name)
                if outcome.lost is not None and job.name not in repeated and not session.repeats_lost_jobs:
                    repeated.add(job.name)
                    say(f"{job.name}: {outcome.lost}; it is repeated once")
                elif outcome.lost is not None:
                    lost[job.name] = outcome.lost
                elif outcome.error is None:
                    _check_product(job)
                    say(outcome.line)
                if watcher is not None and (job.name in lost or outcome.error is not None):
                    watcher.failed(job, str(outcome.error or outcome.lost))
                if outcome.error is not None:
                    raise outcome.error
        if lost:
            what = f"{'; '.join(f'{name} {why}' for name, why in lost.items())}, twice, possibly because memory ran out"
            raise WorkerError("worker processes", what, "use fewer workers; the same command resumes the run")


def _check_product(job: Job) -> None:
    """Check that a finished job wrote its product; without it, the job would be started again and again."""
    if not job.done:
        what = f"is missing, although {job.name}, which writes it, has finished"
        raise WorkerError(job.product, what, "stop other processes in this folder; the same command resumes the run")
