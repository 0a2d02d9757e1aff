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

PATIENCE = 300.0


class Drawn(Engine):
    """Runs jobs in this process in an order that a seed decides; records their names.

    Args:
        seed: of the order.
        stop_after: jobs after which it is interrupted, as by Ctrl-C.
    """

    def __init__(self, seed=0, stop_after=None):
        self.rng, self.stop_after, self.order = random.Random(seed), stop_after, []

    @contextmanager
    def session(self, shared=()):
        yield _Drawn(self, shared)


class _Drawn(Session):
    def __init__(self, engine, shared):
        self.engine, self.shared, self.waiting = engine, shared, []

    def submit(self, job):
        self.waiting.append(job)

    def wait(self):
        if len(self.engine.order) == self.engine.stop_after:
            raise KeyboardInterrupt
        job = self.waiting.pop(self.engine.rng.randrange(len(self.waiting)))
        self.engine.order.append(job.name)
        return Outcome(job, job.run(*self.shared))


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


def write_shared(shared, product):
    """Write what all jobs share, and in which process."""
    product.write_text(f"{shared} {os.getpid()}")
    return f"{product.name} done"


def write(product):
    """Do the work at once."""
    with _told(product):
        return f"{product.name}: done"


def write_once(product, *lines):
    """Do the work a moment after some lines are in the log."""
    with _told(product):
        _wait_for(product.parent, lines)
        time.sleep(0.5)
        return f"{product.name}: done"


def _wait_for(folder, lines):
    end = time.monotonic() + PATIENCE
    while not {*lines} <= {*log(folder)}:
        assert time.monotonic() < end, f"{lines} did not come"
        time.sleep(0.05)


def write_nothing(product):
    """Come to an end without doing the work."""
    return f"{product.name}: done"


def refuse(product, *lines):
    """Fail with an error of ours, as a cause of another, once some lines are in the log."""
    _tell(product, "begin")
    _wait_for(product.parent, lines)
    try:
        raise ConfigError(product.name, "does not fit", "take another")
    except ConfigError as error:
        raise RuntimeError("a library met it") from error


def interrupt(product, pid, *lines):
    """Let a process be interrupted, as by Ctrl-C, once some lines are in the log; come to an end a while later."""
    with _told(product):
        _wait_for(product.parent, lines)
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


def write_and_be_killed_later(product):
    """Do the work; the process is killed in a while, when it has nothing to do."""
    with _told(product):
        Timer(1, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
        return f"{product.name}: done"


def write_once_gone(product, other):
    """Do the work once the process is gone that wrote another product."""
    with _told(product):
        _wait_for(product.parent, [f"end {other}"])
        end = time.monotonic() + PATIENCE
        while _runs(process_of(product.with_name(other))):
            assert time.monotonic() < end, "the process is still there"
            time.sleep(0.05)
        time.sleep(1)
        return f"{product.name}: done"


def _runs(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def process_of(product: Path) -> int:
    """Return the process that wrote a product."""
    return int(product.read_text())
