"""Worker processes, which end with the process that started them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from threading import Thread
from typing import Any, TypeVar

import torch

from lesionforge.engine.job import Job
from lesionforge.errors import own_error
from lesionforge.training.loop import Device, pick_device
from lesionforge.training.quiet import quiet

Result = TypeVar("Result")
_shared: list[Any] = []
"""The leading arguments of all jobs of this worker process."""


def threads_of(workers: int, device: Device = "cpu") -> int:
    """Return the number of torch threads of each process of a study.

    On a CPU the order of sums, and so the last bit of a weight, depends on this number. It is ``OMP_NUM_THREADS``, or 1
    if that is not set, for any number of processes. With a GPU the processes share the cores.
    """
    if pick_device(device) == "cpu":
        return torch.get_num_threads() if "OMP_NUM_THREADS" in os.environ else 1
    return torch.get_num_threads() if workers == 1 else max(1, (os.cpu_count() or 1) // workers)


def in_new_process(function: Callable[..., Any], *job: Any, threads: int) -> Any:
    """Run a function in a new process that ends with it, and return its result.

    Raises:
        BrokenProcessPool: if the process was killed.
    """
    with ProcessPoolExecutor(1, get_context("spawn"), start_worker, (threads, os.getpid())) as pool:
        return pool.submit(function, *job).result()


def start_worker(threads: int, parent: int, shared: tuple[Any, ...] = ()) -> None:
    """Prepare a new process.

    Args:
        threads: number of threads that torch computes with.
        parent: id of the process that started it; when that process ends, this one ends too.
        shared: the leading arguments of all jobs, see :func:`run_job`.
    """
    Thread(target=_end_with, args=(parent,), daemon=True).start()
    quiet()
    torch.set_num_threads(threads)
    _shared[:] = shared


def run_job(job: Job) -> str:
    """Run a job in this worker process with the shared arguments that the process was started with."""
    return unwrapped(job.run, *_shared)


def unwrapped(function: Callable[..., Result], *arguments: Any) -> Result:
    """Run a function; raise our own error itself, since another process does not hand over the causes of an error."""
    try:
        return function(*arguments)
    except Exception as error:
        own = own_error(error)
        if own is None or own is error:
            raise
        raise own from error


def _end_with(parent: int) -> None:
    """End this process once its parent was killed: a new run would work in the same folders."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
