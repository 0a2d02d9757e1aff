"""The local engine: runs jobs in processes on this machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from lesionforge.engine.base import Engine, Outcome, Session
from lesionforge.engine.job import Job
from lesionforge.engine.processes import run_job, start_worker, unwrapped
from lesionforge.training.inference import with_threads


class LocalEngine(Engine):
    """Runs jobs in this process, or in several worker processes that share the CPU cores.

    Args:
        workers: number of processes; with 1, jobs run in this process.
        threads: number of torch threads per process; see :func:`~lesionforge.engine.processes.threads_of`.
    """

    def __init__(self, workers: int = 1, *, threads: int = 1) -> None:
        self.workers, self.threads = workers, threads

    @property
    def elsewhere(self) -> bool:
        """Whether jobs run in other processes: with two workers or more."""
        return self.workers > 1

    @contextmanager
    def session(self, shared: tuple[Any, ...] = ()) -> Iterator[Session]:
        """Start the processes; if the block ends with an error or an interrupt, wait for the running jobs."""
        if self.workers == 1:
            with with_threads(self.threads):
                yield _Here(shared)
            return
        there = _There(self.workers, self.threads, shared)
        try:
            yield there
        finally:
            there.close()


class _Here(Session):
    def __init__(self, shared: tuple[Any, ...]) -> None:
        self.shared, self.queue = shared, deque[Job]()

    def submit(self, job: Job) -> None:
        self.queue.append(job)

    def wait(self) -> Outcome:
        job = self.queue.popleft()
        try:
            return Outcome(job, line=unwrapped(job.run, *self.shared))
        except Exception as error:
            return Outcome(job, error=error)


class _There(Session):
    """One single-process pool per worker, so that a killed process loses only its own job."""

    def __init__(self, workers: int, threads: int, shared: tuple[Any, ...]) -> None:
        self.threads, self.shared, self.queue = threads, shared, deque[Job]()
        self.idle = [self._start() for _ in range(workers)]
        self.running: dict[Future[str], tuple[Job, ProcessPoolExecutor]] = {}

    def submit(self, job: Job) -> None:
        self.queue.append(job)
        self._dispatch()

    def wait(self) -> Outcome:
        future = next(iter(wait(self.running, return_when=FIRST_COMPLETED).done))
        job, process = self.running.pop(future)
        try:
            outcome = Outcome(job, line=future.result())
        except BrokenProcessPool:
            process.shutdown()
            process = self._start()
            outcome = Outcome(job, lost="was killed")
        except Exception as error:
            outcome = Outcome(job, error=error)
        self.idle.append(process)
        if outcome.error is None:
            self._dispatch()
        return outcome

    def close(self) -> None:
        for process in (*self.idle, *(process for _, process in self.running.values())):
            process.shutdown(cancel_futures=True)

    def _dispatch(self) -> None:
        while self.queue and self.idle:
            job, process = self.queue.popleft(), self.idle.pop()
            try:
                future = process.submit(run_job, job)
            except BrokenProcessPool:  # the process was killed while idle
                process = self._start()
                future = process.submit(run_job, job)
            self.running[future] = (job, process)

    def _start(self) -> ProcessPoolExecutor:
        started = (self.threads, os.getpid(), self.shared)
        return ProcessPoolExecutor(1, get_context("spawn"), start_worker, started)
