"""How far a loop has come: a bar on a terminal, a line now and then elsewhere."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS = 30.0
"""Between two lines, where there is no terminal."""


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar, or lines; yield the function that moves it, called with what is done and all that there is."""
    if not interactive():
        yield _line_every(what, SECONDS)
        return
    columns = TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def interactive() -> bool:
    """Return whether a bar may be drawn: on a terminal, by a process that has it to itself."""
    alone = multiprocessing.parent_process() is None
    return alone and "CI" not in os.environ and Console(stderr=True).is_terminal


def _line_every(what: str, seconds: float) -> Callable[[int, int], None]:
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)

    return report
