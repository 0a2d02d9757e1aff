"""Jobs that say when they begin and end, and engines of which tests decide the order."""

import os
import random
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

from lesionforge.engine.base import Engine, Outcome, Session
from lesionforge.engine.job import Job
from lesionforge.errors import ConfigError

PATIENCE = 120.0


class Drawn(Engine):
    """Runs jobs in this process in an order that a seed decides; records their names.

    Args:
        seed: of the order.
        stop_after: jobs after which it is interrupted, as by Ctrl-C.
    """

    def __init__(self, seed=0, stop_after=None):
        self.rng, self.stop_after, self.order = random.Random(seed), stop_after, []

    @contextmanager
    def session(self):
        yield _Drawn(self)


class _Drawn(Session):
    def __init__(self, engine):
        self.engine, self.waiting = engine, []

    def submit(self, job):
        self.waiting.append(job)

    def wait(self):
        if len(self.engine.order) == self.engine.stop_after:
            raise KeyboardInterrupt
        job = self.waiting.pop(self.engine.rng.randrange(len(self.waiting)))
        self.engine.order.append(job.name)
        return Outcome(job, job.run())


def job(folder, name, function, *arguments, needs=()):
    """Return a job whose product is the file ``name`` in ``folder``."""
    product = folder / name
    return Job(name=name, product=product, function=function, arguments=(product, *arguments), needs=tuple(needs))


def log(folder):
    """Return what happened in a folder, in order: ``begin NAME`` and ``end NAME``."""
    path = folder / "log"
    return path.read_text().splitlines() if path.is_file() else []


def begun(folder):
    """Return the names of the jobs that began, in order."""
    return [line.removeprefix("begin ") for line in log(folder) if line.startswith("begin ")]


@contextmanager
def _told(product):
    _tell(product, "begin")
    yield
    product.write_text(str(os.getpid()))
    _tell(product, "end")


def _tell(product, what):
    with (product.parent / "log").open("a") as file:
        file.write(f"{what} {product.name}\n")


def write(product):
    """Do the work at once."""
    with _told(product):
        return f"{product.name}: done"


def write_after(product, seconds):
    """Do the work in a while."""
    with _told(product):
        time.sleep(seconds)
        return f"{product.name}: done"


def write_once_there(product, other):
    """Do the work once another file is there."""
    with _told(product):
        end = time.monotonic() + PATIENCE
        while not other.is_file():
            assert time.monotonic() < end, f"{other.name} did not come"
            time.sleep(0.02)
        return f"{product.name}: done"


def write_nothing(product):
    """Come to an end without doing the work."""
    return f"{product.name}: done"


def refuse(product):
    """Fail with an error of ours, as a cause of another."""
    _tell(product, "begin")
    try:
        raise ConfigError(product.name, "does not fit", "take another")
    except ConfigError as error:
        raise RuntimeError("a library met it") from error


def interrupt(product, pid):
    """Let a process be interrupted, as by Ctrl-C, and come to an end a while later."""
    with _told(product):
        os.kill(pid, signal.SIGINT)
        time.sleep(1)
        return f"{product.name}: done"


def be_killed(product, times):
    """Be killed from outside in the first so many tries."""
    _tell(product, "begin")
    if begun(product.parent).count(product.name) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    product.write_text(str(os.getpid()))
    return f"{product.name}: done"


def write_and_be_killed_later(product, seconds):
    """Do the work; the process is killed in a while, when it has nothing to do."""
    with _told(product):
        Timer(seconds, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
        return f"{product.name}: done"


def process_of(product: Path) -> int:
    """Return the process that wrote a product."""
    return int(product.read_text())
