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
"""Returns all jobs that are known so far; what is done may make others known."""


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        job: that was run.
        line: what it says of itself.
        error: that it raised, if it did.
        lost: why its process ended before the work was done, if it did.
    """

    job: Job
    line: str = ""
    error: Exception | None = None
    lost: str | None = None


class Watcher(Protocol):
    """Is told how a run goes."""

    def known(self, jobs: Sequence[Job]) -> None:
        """Take note of all jobs that are known so far."""

    def failed(self, job: Job, why: str) -> None:
        """Take note of a job that failed."""


class Session(ABC):
    """Processes that take jobs; one call of :meth:`wait` returns what came of one of them.

    Attributes:
        repeats_lost_jobs: whether it repeats a job by itself whose process ended.
    """

    repeats_lost_jobs: ClassVar[bool] = False

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Let a job begin as soon as a process is free."""

    @abstractmethod
    def wait(self) -> Outcome:
        """Return what came of the next job that ends."""


class Engine(ABC):
    """Runs a graph of jobs. The result does not depend on which engine, or in which order.

    A job whose process ends from outside is repeated once, then left; jobs that do not need it go on. An error in a job
    ends the run: no other job begins, and those that run come to their end.
    """

    @property
    def elsewhere(self) -> bool:
        """Whether jobs run in other processes, which cannot use a CUDA device that this process has begun to use."""
        return True

    @abstractmethod
    def session(self, shared: tuple[Any, ...] = ()) -> AbstractContextManager[Session]:
        """Start the processes, which end with the block; ``shared`` goes to each of them once."""

    def run(
        self,
        known: Known,
        say: Say = lambda line: None,
        watcher: Watcher | None = None,
        *,
        shared: tuple[Any, ...] = (),
    ) -> None:
        """Run jobs until no job is left that can begin.

        Args:
            known: returns all jobs that are known so far; asked again after each that was done.
            say: told what came of each job.
            watcher: told which jobs there are, and which failed.
            shared: the leading arguments of all jobs, such as a model that all of them draw with.

        Raises:
            WorkerError: if a job ends without its product; or if the process of one ended twice, once all other jobs
                are done.
            Exception: what a job raised.
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
            what = f"{'; '.join(f'{name} {why}' for name, why in lost.items())}, twice, perhaps for want of memory"
            raise WorkerError("worker processes", what, "use fewer workers; the same command goes on where it was")


def _check_product(job: Job) -> None:
    """See that a job that ended left its product; else it would begin again and again."""
    if not job.done:
        what = f"is not there, although {job.name}, which writes it, came to its end"
        raise WorkerError(job.product, what, "see that nothing else works in this folder; the same command goes on")
