"""The app, its error handling, and the commands' order in the help text."""

from __future__ import annotations

import signal
import sys
import traceback
import warnings
from itertools import pairwise
from multiprocessing import active_children
from multiprocessing.context import SpawnProcess
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from lesionforge import __version__
from lesionforge.cli import cohorts, models, studies, tasks
from lesionforge.cli.audit_command import audit
from lesionforge.cli.bundle_command import bundle
from lesionforge.cli.edit_command import edit
from lesionforge.cli.export_command import export
from lesionforge.cli.heal_command import heal
from lesionforge.cli.import_command import import_cohort
from lesionforge.cli.match_command import match
from lesionforge.cli.nnunet_command import PASSED_ON, nnunet_path, nnunet_predict, nnunet_train
from lesionforge.cli.recommend_command import recommend
from lesionforge.cli.select_command import select
from lesionforge.cli.simulate_command import simulate
from lesionforge.cli.spoken import spoken
from lesionforge.errors import DoubtWarning, own_error

GOES_ON = dict.fromkeys(
    ("demo", "simulate", "edit", "synthesize", "select", "benchmark"), "the same command continues where it stopped"
)
GOES_ON["train"] = "the same command starts again, or with --resume continues from the last checkpoint"
GOES_ON["segment"] = (
    "the same command continues where it stopped (segment train: add --resume if there is a checkpoint)"
)


class Commands(TyperGroup):
    """All commands: an error that the user can act on gives one line and exit code 2, Ctrl-C gives exit code 130."""

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
                _complain(f"error: {name}: is empty; give a value, or leave it out")
                raise typer.Exit(2)
        return super().parse_args(ctx, args)


def _one_line(error: Exception) -> str | None:
    """Return an error as one line with a remedy, or None if the error is a bug of this program."""
    if (own := own_error(error)) is not None:
        return str(own)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}; check the path, the free space and your permissions"
    if _is_torchvisions(error):
        (first, *_) = str(error).splitlines() or [type(error).__name__]
        remedy = "install both from the same place, see https://pytorch.org, or uninstall torchvision"
        return f"torchvision: does not fit the installed torch ({first}); {remedy}"
    if isinstance(error, ImportError):
        return f"{error.name or 'a package'}: cannot be imported ({error.msg}); install it, or reinstall lesionforge"
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        what = str(error).strip().partition("\n")[0].removesuffix(".") or "an array did not fit"
        return f"memory: not enough ({what}); use smaller scans, a smaller roi_size or batch_size, or another machine"
    return None


def _is_torchvisions(error: Exception) -> bool:
    """Return whether torchvision raised an error; lesionforge does not call it, but libraries import it if present."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(name.partition(".")[0] == "torchvision" for name in modules)


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether torch ran out of memory, on a CPU or a GPU; torch may not be imported yet."""
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    )


def _complain(text: str, style: str = "red") -> None:
    Console(stderr=True, soft_wrap=True).print(spoken(text), style=style, markup=False, highlight=False)


def _warn(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Show a warning of this package in one line, and any other warning as Python does."""
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
detect = typer.Typer(help="Train and apply the detection of small lesions.", no_args_is_help=True)
nnunet = typer.Typer(help="Train nnU-Net with lesions drawn on the fly.", no_args_is_help=True)

app.command("demo")(studies.demo)
app.command("import")(import_cohort)
app.command("simulate")(simulate)
app.command("anatomy")(cohorts.anatomy)
app.command("align")(cohorts.align)
app.command("match")(match)
app.command("check")(cohorts.check)
app.command("show")(cohorts.show)
app.command("recommend")(recommend)
app.command("train")(models.train)
app.command("select")(select)
app.command("synthesize")(models.synthesize)
app.command("edit")(edit)
app.command("heal")(heal)
app.command("export")(export)
app.command("bundle")(bundle)
app.add_typer(segment, name="segment")
segment.command("train")(tasks.segment_train)
segment.command("predict")(tasks.segment_predict)
app.add_typer(detect, name="detect")
detect.command("train")(tasks.detect_train)
detect.command("predict")(tasks.detect_predict)
app.add_typer(nnunet, name="nnunet")
nnunet.command("train", context_settings=PASSED_ON)(nnunet_train)
nnunet.command("predict", context_settings=PASSED_ON)(nnunet_predict)
nnunet.command("path")(nnunet_path)
app.command("evaluate")(studies.evaluate)
app.command("score")(studies.score)
app.command("audit")(audit)
app.command("benchmark")(studies.benchmark)
app.command("status")(studies.status)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"lesionforge {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_tell_version, is_eager=True, help="Show the version."),
) -> None:
    """Take the options that apply to every command."""


def main() -> None:
    """Run the command line; ``--debug`` may stand anywhere."""
    warnings.showwarning = _warn
    arguments = sys.argv[1:]
    if "--debug" in arguments:
        arguments = ["--debug", *(argument for argument in arguments if argument != "--debug")]
    signal.signal(signal.SIGTERM, _stop)
    app(args=arguments, prog_name="lesionforge")


def _stop(*signal: object) -> None:
    """Stop as Ctrl-C does, so that half-written files are removed.

    A terminal interrupts worker processes, too; SIGTERM reaches this process alone, which would wait for their jobs.
    """
    for process in active_children():
        if isinstance(process, SpawnProcess):
            process.terminate()
    raise KeyboardInterrupt
