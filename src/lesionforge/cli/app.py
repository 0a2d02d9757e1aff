"""The app, its error handling, and the commands' order in the help text."""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from lesionforge.cli import cohorts, models, studies
from lesionforge.cli.healing import heal
from lesionforge.cli.matching import match
from lesionforge.cli.selection import select
from lesionforge.cli.simulate import simulate
from lesionforge.errors import DoubtWarning, LesionforgeError

GOES_ON = dict.fromkeys(
    ("demo", "simulate", "synthesize", "select", "benchmark"), "the same command goes on where it was"
)
GOES_ON["train"] = "the same command with --resume goes on from the last checkpoint"
GOES_ON["segment"] = "the same command goes on where it was (segment train: add --resume)"


class Commands(TyperGroup):
    """All commands: an error that a person can act on is one line and exit code 2, Ctrl-C is exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (LesionforgeError, OSError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            if ctx.params["debug"]:
                traceback.print_exc()
            _complain(f"error: {_one_line(error)}")
            raise typer.Exit(2) from error
        except KeyboardInterrupt as stop:
            _complain("; ".join(filter(None, ("stopped", GOES_ON.get(ctx.invoked_subcommand)))))
            raise typer.Exit(130) from stop


def _one_line(error: Exception) -> str:
    """Return the message of an error; one of the operating system gets a remedy."""
    if not isinstance(error, OSError):
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}; check the path, the space and your rights there"


def _complain(text: str, style: str = "red") -> None:
    Console(stderr=True, soft_wrap=True).print(text, style=style, markup=False, highlight=False)


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


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    """Take the options that stand before every command."""


def main() -> None:
    """Run the command line; ``--debug`` may stand anywhere."""
    warnings.showwarning = _warn
    arguments = sys.argv[1:]
    if "--debug" in arguments:
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    app(args=arguments, prog_name="lesionforge")
