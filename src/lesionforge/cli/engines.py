"""The options that say where jobs run, and the engine that they ask for."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lesionforge.errors import ConfigError

if TYPE_CHECKING:
    from lesionforge.engine.base import Engine
    from lesionforge.training.loop import Device


class EngineChoice(StrEnum):
    """Where jobs run."""

    LOCAL = "local"
    DASK = "dask"


Workers = Annotated[
    int,
    typer.Option(min=1, help="Number of processes; 1 is this process. The result does not depend on it."),
]
EngineOption = Annotated[
    EngineChoice, typer.Option("--engine", help="Where jobs run: in processes of this machine, or on Dask.")
]
Scheduler = Annotated[str | None, typer.Option(help="With --engine dask: join this cluster, such as tcp://node1:8786.")]


def make_engine(engine: EngineChoice, scheduler: str | None, workers: int, device: Device) -> Engine:
    """Return the engine that the options ask for.

    Raises:
        ConfigError: if a scheduler is named for another engine than Dask, or Dask cannot be used.
    """
    from lesionforge.engine.dask import DaskEngine
    from lesionforge.engine.local import LocalEngine
    from lesionforge.engine.processes import threads_of

    if scheduler is not None and engine is not EngineChoice.DASK:
        raise ConfigError("--scheduler", "is the address of a Dask cluster", "add --engine dask")
    threads = threads_of(workers, device)
    if engine is EngineChoice.DASK:
        return DaskEngine(scheduler, workers=workers, threads=threads)
    return LocalEngine(workers, threads=threads)
