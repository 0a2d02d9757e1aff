"""Work in several processes, which end with the one that started them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from threading import Thread
from typing import Any, TypeVar

import torch

from lesionforge.errors import WorkerError, own_error
from lesionforge.training.inference import with_threads
from lesionforge.training.loop import Device, pick_device
from lesionforge.training.quiet import quiet

Result = TypeVar("Result")
_stopping: Event
"""Of a worker: set once no further job shall begin."""


class Pool:
    """Runs jobs in this process, or in ``workers`` others that share the cores; each computes with ``threads``.

    Left by an error or an interruption, it waits for the jobs that run and begins no other.

    Args:
        workers: processes.
        threads: of each process; see :func:`threads_of`.
        here: whether a single worker is this process.
        prepare: called once in each process, such as to hand over what all jobs need.
        arguments: of ``prepare``.

    Raises:
        WorkerError: if a process was ended from outside.
    """

    def __init__(
        self,
        workers: int,
        *,
        threads: int,
        here: bool = True,
        prepare: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> None:
        self.pool: ProcessPoolExecutor | None = None
        self.threads = with_threads(threads)
        if workers > 1 or not here:
            context = get_context("spawn")
            self.stopping = context.Event()
            started = (threads, os.getpid(), self.stopping, prepare, arguments)
            self.pool = ProcessPoolExecutor(workers, context, _start, started)

    def __enter__(self) -> Callable[..., Iterator[Any]]:
        self.threads.__enter__()
        return self._run

    def __exit__(self, *exception: Any) -> None:
        self.threads.__exit__(*exception)
        if self.pool is not None:
            self.stopping.set()
            self.pool.shutdown(cancel_futures=True)

    def _run(self, function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
        if self.pool is None:
            yield from (function(*job) for job in jobs)
            return
        try:
            futures = [self.pool.submit(_unless_stopping, function, *job) for job in jobs]
            yield from (future.result() for future in futures)
        except BrokenProcessPool as error:
            what = "one was ended from outside, perhaps for want of memory"
            remedy = "use fewer `workers`; the same command goes on where it was"
            raise WorkerError("worker processes", what, remedy) from error


def threads_of(workers: int, device: Device = "cpu") -> int:
    """Return how many threads each process of a study computes with.

    On a CPU the order of sums, and so the last bit of a weight, depends on it. So it is ``OMP_NUM_THREADS``, or 1 where
    that is not set, however many processes there are. Beside a GPU the processes share the cores.
    """
    if pick_device(device) == "cpu":
        return torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else 1
    return torch.get_num_threads() if workers == 1 else max(1, (os.cpu_count() or 1) // workers)


def in_new_process(function: Callable[..., Any], *job: Any, threads: int) -> Any:
    """Run a job in a process that begins and ends with it, and return its result.

    Raises:
        BrokenProcessPool: if the process was killed.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), start_worker, (threads, os.getpid())) as pool:
        return pool.submit(function, *job).result()


def start_worker(threads: int, parent: int) -> None:
    """Prepare a new process: it computes with so many threads, and ends when its parent does."""
    Thread(target=_end_with, args=(parent,), daemon=True).start()
    quiet()
    torch.set_num_threads(threads)


def unwrapped(function: Callable[..., Result], *job: Any) -> Result:
    """Run a job; an error of ours comes back as itself, since another process does not hand over causes."""
    try:
        return function(*job)
    except Exception as error:
        own = own_error(error)
        if own is None or own is error:
            raise
        raise own from error


def _start(
    threads: int,
    parent: int,
    stopping: Event,
    prepare: Callable[..., None] | None,
    arguments: tuple[Any, ...],
) -> None:
    global _stopping
    _stopping = stopping
    start_worker(threads, parent)
    if prepare is not None:
        prepare(*arguments)


def _unless_stopping(function: Callable[..., Any], *job: Any) -> Any:
    """Run a job; the executor hands one more to its workers than run, and does not take it back."""
    if _stopping.is_set():
        raise CancelledError
    return unwrapped(function, *job)


def _end_with(parent: int) -> None:
    """End this process once its parent was killed: a new run would work in the same folders."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
