"""The Dask engine: runs jobs on a cluster.

Dask handles queues, retries and lost workers; results are stored in the study's folder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from lesionforge.engine.base import Engine, Outcome, Session
from lesionforge.engine.job import Job
from lesionforge.engine.processes import unwrapped
from lesionforge.errors import ConfigError
from lesionforge.training.inference import with_threads
from lesionforge.training.quiet import quiet

Value = TypeVar("Value")
SETTINGS = {
    "distributed.worker.daemon": False,  # a job may start loader processes
    "distributed.scheduler.allowed-failures": 1,
    "distributed.comm.timeouts.connect": "10s",
}


class DaskEngine(Engine):
    """Runs jobs on Dask workers, which must see the study's folder and the scans under the same paths.

    Torch is not designed to run several jobs in one process, so start cluster workers with ``--nthreads 1``.

    Args:
        scheduler: address of a running cluster, such as ``tcp://node1:8786``; without it, a cluster is started on this
            machine.
        workers: number of processes of the cluster on this machine.
        threads: number of torch threads per process.

    Raises:
        ConfigError: if Dask is not installed, or the scheduler cannot be reached.
    """

    def __init__(self, scheduler: str | None = None, *, workers: int = 1, threads: int = 1) -> None:
        try:
            import distributed  # noqa: F401
        except ImportError as error:
            remedy = "install it: pip install 'lesionforge[cluster]'"
            raise ConfigError("`engine=dask`", f"needs Dask ({error})", remedy) from error
        self.scheduler, self.workers, self.threads = scheduler, workers, threads

    @contextmanager
    def session(self, shared: tuple[Any, ...] = ()) -> Iterator[Session]:
        """Connect to the cluster or start one; if the block ends with an error, drop the jobs that have not started."""
        import dask
        from distributed import Client, LocalCluster

        with dask.config.set(SETTINGS):
            if self.scheduler is not None:
                with self._join(self.scheduler) as client:
                    yield DaskSession(client, self.threads, shared)
                return
            with (
                LocalCluster(
                    n_workers=self.workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.ERROR
                ) as cluster,
                Client(cluster) as client,
            ):
                yield DaskSession(client, self.threads, shared)

    def _join(self, scheduler: str) -> Any:
        from distributed import Client

        try:
            return Client(scheduler)
        except (OSError, ValueError) as error:
            remedy = "start it with `dask scheduler`, or leave out the address"
            raise ConfigError("`scheduler`", f"{scheduler} cannot be reached ({error})", remedy) from error


class DaskSession(Session):
    """Runs jobs as Dask futures.

    Args:
        client: client of the cluster.
        threads: number of torch threads per job.
        shared: leading arguments of all jobs; each worker receives them once. They are results of jobs, so Dask makes
            them again if the worker that holds them is lost.
    """

    repeats_lost_jobs = True

    def __init__(self, client: Any, threads: int, shared: tuple[Any, ...] = ()) -> None:
        from distributed import as_completed

        self.client, self.threads = client, threads
        self.shared = [client.submit(handed_over, value, pure=False) for value in shared]
        self.jobs: dict[str, Job] = {}
        self.completed = as_completed()

    def submit(self, job: Job) -> None:
        """Submit a job to the scheduler."""
        self.jobs[job.name] = job
        self.completed.add(self.client.submit(run_job, job, self.threads, *self.shared, key=job.name, pure=False))

    def wait(self) -> Outcome:
        """Wait for the next job to end and return its outcome."""
        from distributed import KilledWorker

        future = next(self.completed)
        job = self.jobs.pop(future.key)
        try:
            return Outcome(job, line=future.result())
        except KilledWorker:
            return Outcome(job, lost="was killed")
        except Exception as error:
            return Outcome(job, error=error)
        finally:
            future.release()


def handed_over(value: Value) -> Value:
    """Return a value in a Dask worker, which keeps it for the jobs that need it."""
    return value


def run_job(job: Job, threads: int, *shared: Any) -> str:
    """Run a job in a Dask worker."""
    quiet()
    with with_threads(threads):
        return unwrapped(job.run, *shared)
