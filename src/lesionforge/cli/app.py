"""The app, its error handling, and the commands' order in the help text."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from itertools import pairwise
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from lesionforge.cli import cohorts, models, studies
from lesionforge.cli.heal_command import heal
from lesionforge.cli.match_command import match
from lesionforge.cli.select_command import select
from lesionforge.cli.simulate_command import simulate
from lesionforge.cli.spoken import spoken
from lesionforge.errors import DoubtWarning, own_error

GOES_ON = dict.fromkeys(
    ("demo", "simulate", "synthesize", "select", "benchmark"), "the same command goes on where it was"
)
GOES_ON["train"] = "the same command begins anew, or with --resume goes on from the last checkpoint"
GOES_ON["segment"] = "the same command goes on where it was (segment train: add --resume if there is a checkpoint)"


class Commands(TyperGroup):
    """All commands: an error that a person can act on is one line and exit code 2, Ctrl-C is exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            _complain("; ".join(filter(None, ("stopped", str(stop) or GOES_ON.get(ctx.invoked_subcommand)))))
            raise typer.Exit(130) from stop
        except Exception as error:
            message = None if isinstance(error, BrokenPipeError) else _one_line(error)
            if message is None:
                raise
            if ctx.params["debug"]:
                traceback.print_exc()
            _complain(f"error: {message}")
            raise typer.Exit(2) from error

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse an empty value before anything is read or written: an empty path is the current folder."""
        for before, argument in pairwise(["", *args]):
            option, _, value = argument.partition("=")
            if not argument.strip() or (option.startswith("--") and "=" in argument and not value.strip()):
                name = option.strip() or (before if before.startswith("-") else "an argument")
                _complain(f"error: {name}: is empty; give it a value, or leave it out")
                raise typer.Exit(2)
        return super().parse_args(ctx, args)


def _one_line(error: Exception) -> str | None:
    """Return what a person needs to know of an error, with a remedy; nothing of one that is a fault of this program."""
    if (own := own_error(error)) is not None:
        return str(own)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}; check the path, the space and your rights there"
    if _is_torchvisions(error):
        (first, *_) = str(error).splitlines() or [type(error).__name__]
        remedy = "install both from the same place, see https://pytorch.org, or uninstall torchvision"
        return f"torchvision: does not fit the installed torch ({first}); {remedy}"
    if isinstance(error, ImportError):
        return f"{error.name or 'a package'}: cannot be imported ({error.msg}); install it, or install lesionforge anew"
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        what = str(error).strip().partition("\n")[0].removesuffix(".") or "an array did not fit"
        return f"memory: does not suffice ({what}); take smaller scans, roi_size or batch_size, or another machine"
    return None


def _is_torchvisions(error: Exception) -> bool:
    """Return whether torchvision raised it; nothing of ours calls it, but libraries import it where it is installed."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.partition(".")[0] == "torchvision" for name in modules)


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether torch did not get the memory that it asked for, on a CPU or a GPU; it may not be imported yet."""
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    )


def _complain(text: str, style: str = "red") -> None:
    Console(stderr=True, soft_wrap=True).print(spoken(text), style=style, markup=False, highlight=False)


def _warn(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Show a warning of this package in one line, another one as Python does."""
    if issubclass(category, DoubtWarning):
        _complain(f"warning: {message}", style="yellow")
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


app = typer.Typer(
    name="lesionforge",
    cls=Commands,
    help="Draw labelled lesions into medical scans, and measure whether that helps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
segment = typer.Typer(help="Train and apply a segmentation network.", no_args_is_help=True)

app.command("demo")(studies.demo)
app.command("import")(cohorts.import_cohort)
app.command("simulate")(simulate)
app.command("anatomy")(cohorts.anatomy)
app.command("align")(cohorts.align)
app.command("match")(match)
app.command("check")(cohorts.check)
app.command("show")(cohorts.show)
app.command("train")(models.train)
app.command("select")(select)
app.command("synthesize")(models.synthesize)
app.command("heal")(heal)
app.add_typer(segment, name="segment")
segment.command("train")(studies.segment_train)
segment.command("predict")(studies.segment_predict)
app.command("evaluate")(studies.evaluate)
app.command("score")(studies.score)
app.command("benchmark")(studies.benchmark)
app.command("status")(studies.status)


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    """Take the options that stand before every command."""


def main() -> None:
    """Run the command line; ``--debug`` may stand anywhere."""
    warnings.showwarning = _warn
    arguments = sys.argv[1:]
    if "--debug" in arguments:
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    signal.signal(signal.SIGTERM, _stop)
    app(args=arguments, prog_name="lesionforge")


def _stop(*signal: object) -> None:
    """End as Ctrl-C does, so that half-written files go."""
    raise KeyboardInterrupt
