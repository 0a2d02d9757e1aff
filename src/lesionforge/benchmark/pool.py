"""The jobs of a study, one by one or in several processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from threading import Thread
from typing import Any

import torch

from lesionforge.training.quiet import quiet

_stopping: Event
"""Of a worker: set once no further job shall begin."""


class Pool:
    """Runs jobs in this process, or in ``workers`` others that share the cores.

    Left by an error or an interruption, it waits for the jobs that run and begins no other.
    """

    def __init__(self, workers: int) -> None:
        self.pool: ProcessPoolExecutor | None = None
        if workers > 1:
            threads = threads_of(workers)
            context = get_context("spawn")
            self.stopping = context.Event()
            self.pool = ProcessPoolExecutor(workers, context, _start, (threads, os.getpid(), self.stopping))

    def __enter__(self) -> Callable[..., Iterator[Any]]:
        return self._run

    def __exit__(self, *exception: object) -> None:
        if self.pool is not None:
            self.stopping.set()
            self.pool.shutdown(cancel_futures=True)

    def _run(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        if self.pool is None:
            return (function(*job) for job in jobs)
        futures = [self.pool.submit(_unless_stopping, function, *job) for job in jobs]
        return (future.result() for future in futures)


def threads_of(workers: int) -> int:
    """Return how many threads each of several processes computes with; one alone decides for itself."""
    return torch.get_num_threads() if workers == 1 else max(1, (os.cpu_count() or 1) // workers)


def in_new_process(function: Callable[..., Any], *job: Any, threads: int) -> Any:
    """Run a job in a process that begins and ends with it, and return its result.

    Raises:
        BrokenProcessPool: if the process was killed.
    """
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context, _start, (threads, os.getpid(), context.Event())) as pool:
        return pool.submit(function, *job).result()


def _start(threads: int, parent: int, stopping: Event) -> None:
    import lightning.pytorch  # noqa: F401, its import undoes quiet()

    global _stopping
    _stopping = stopping
    quiet()
    torch.set_num_threads(threads)
    Thread(target=_end_with, args=(parent,), daemon=True).start()


def _unless_stopping(function: Callable[..., Any], *job: Any) -> Any:
    """Run a job; the executor hands one more to its workers than run, and does not take it back."""
    if _stopping.is_set():
        raise CancelledError
    return function(*job)


def _end_with(parent: int) -> None:
    """End this process once its parent was killed: a new run would work in the same folders."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
