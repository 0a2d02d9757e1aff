"""The app, its error handling, and the commands' order in the help text."""

from __future__ import annotations

import sys
import traceback

import typer
from rich.console import Console

from lesionforge.cli import cohorts, models, studies
from lesionforge.errors import LesionforgeError

app = typer.Typer(
    name="lesionforge",
    help="Draw labelled lesions into medical scans, and measure whether that helps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
segment = typer.Typer(help="Train and apply a segmentation network.", no_args_is_help=True)

app.command("demo")(studies.demo)
app.command("import")(cohorts.import_cohort)
app.command("check")(cohorts.check)
app.command("show")(cohorts.show)
app.command("train")(models.train)
app.command("synthesize")(models.synthesize)
app.add_typer(segment, name="segment")
segment.command("train")(studies.segment_train)
segment.command("predict")(studies.segment_predict)
app.command("evaluate")(studies.evaluate)
app.command("benchmark")(studies.benchmark)


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    """Take the options that stand before every command."""


def main() -> None:
    """Run the command line; an error that a person can act on is one line, and exit code 2."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments, prog_name="lesionforge")
    except LesionforgeError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        Console(stderr=True, soft_wrap=True).print(f"error: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; the same command goes on where it was (train: add --resume)")
        sys.exit(130)
