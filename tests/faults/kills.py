"""Commands that are killed at random moments: started again, they end with the bytes of a run that was left alone.

``python -m tests.faults.kills --chains 20`` tries every command twenty times and prints a line for each. A chain is one
to three kills, each by SIGKILL, SIGTERM or Ctrl-C at a random moment, and the same command once more. Where a command
has worker processes, every other kill is of one of these, by SIGKILL. Commands run in forks of this process, which has
imported everything and computed nothing, so a kill costs no seconds of imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from lesionforge.benchmark import run as benchmark_run  # noqa: F401
from lesionforge.cli import app
from lesionforge.production import heal, select  # noqa: F401
from lesionforge.tasks import segmentation  # noqa: F401
from tests.cli.commands import GAN, UNET, sets
from tests.faults.inputs import write_inputs

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
RESUMED = ("train", "segment train")
TIMES = ("timing.json", "run.json")
"""Files that say how long something took."""
PATIENCE_S = 300.0

Command = Callable[[Path, Path], Sequence[str | Path]]
COMMANDS: dict[str, Command] = {
    "import": lambda data, out: ["import", data / "folders", out, *IMPORT],
    "export": lambda data, out: ["export", data / "slices", "--as", "folders", "--folds", "2", "--out", out],
    "import dicom": lambda data, out: ["import", data / "dicom", out],
    "export dicom": lambda data, out: ["export", data / "volumes", "--as", "dicom", "--out", out],
    "match": lambda data, out: ["match", data / "Healthy", out, "--to", data / "Bleeds"],
    "train": lambda data, out: ["train", "pix2pix", data / "slices", "--out", out, "--steps", "8", *sets(GAN)],
    "segment train": lambda data, out: ["segment", "train", data / "slices", "--out", out, "--steps", "8", *sets(UNET)],
    "synthesize": lambda data, out: [
        *("synthesize", data / "gan", data / "slices", "--out", out, "--n", "8", "--min-volume", "10"),
        *("--masks", "bank", "--masks-from", data / "slices"),
    ],
    "heal": lambda data, out: ["heal", data / "healer", data / "slices", "--out", out],
    "select": lambda data, out: ["select", data / "candidates", "--against", data / "slices", "--out", out, *SELECT],
    "benchmark": lambda data, out: ["benchmark", data / "plan.yaml", "--data", data / "slices", "--out", out],
    "synthesize --workers 2": lambda data, out: [*COMMANDS["synthesize"](data, out), "--workers", "2"],
    "benchmark --workers 2": lambda data, out: [*COMMANDS["benchmark"](data, out), "--workers", "2"],
}
WORKERS = ("synthesize --workers 2", "benchmark --workers 2")
IMPORT = ("--layout", "folders", "--channel", "FLAIR=flair.nii.gz", "--mask", "lesion.nii.gz")
SELECT = sets(
    [
        *("segmentor.filters=[4,8]", "segmentor_steps=2", "realism.steps=1"),
        *("realism.batch_size=2", "realism.width=0.06", "realism.side=32"),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a chain.

    Attributes:
        command: its name.
        kills: what was killed, by which signal, and when, as a share of the time that the command takes.
        exit_code: of the last run.
        differs: files that are not those of a run that was left alone.
        said: the last line of the last run.
    """

    command: str
    kills: tuple[tuple[str, str, float], ...]
    exit_code: int | None
    differs: tuple[str, ...]
    said: str

    @property
    def held(self) -> bool:
        """Whether the command ended as if it had never been killed."""
        return self.exit_code == 0 and not self.differs


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A signal, and when it is sent.

    Attributes:
        signal: its number.
        seconds: after which it is sent.
        choose: picks one of the worker processes that there are then; the command itself gets it unless given.
    """

    signal: signal.Signals
    seconds: float
    choose: Callable[[list[int]], int] | None = None


def run_command(arguments: Sequence[str | Path], log: Path, *, kill: Kill | None = None) -> int | None:
    """Run a command in a fork of this process; return its exit code, negative for a signal, ``None`` if it hangs.

    Args:
        arguments: of ``lesionforge``.
        log: where its output goes.
        kill: what is sent to it, or to one of its workers; to itself where it has none yet.
    """
    process = get_context("fork").Process(target=_call, args=([str(part) for part in arguments], log))
    process.start()
    process.join(PATIENCE_S if kill is None else kill.seconds)
    if process.is_alive() and kill is not None:
        assert process.pid is not None
        workers = _workers(process.pid) if kill.choose else []
        with suppress(ProcessLookupError):
            os.kill(kill.choose(workers) if kill.choose and workers else process.pid, kill.signal)
        process.join(PATIENCE_S)
    hangs = process.is_alive()
    if hangs:
        process.kill()
        process.join()
    return None if hangs else process.exitcode


def _workers(pid: int) -> list[int]:
    """Return the processes that a process has started to compute for it."""
    with suppress(OSError):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]
    return []


def must_run(arguments: Sequence[str | Path], log: Path) -> None:
    """Run a command that must succeed."""
    assert run_command(arguments, log) == 0, f"{' '.join(map(str, arguments))}:\n{log.read_text()}"


def _call(arguments: list[str], log: Path) -> None:
    os.setsid()
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        app(args=arguments, prog_name="lesionforge")


def content(folder: Path) -> dict[str, bytes]:
    """Return relative path → bytes of every file, hidden ones included."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def again(name: str, arguments: Sequence[str | Path], out: Path) -> list[str | Path]:
    """Return the command with which a run goes on: the same one, for trainings with ``--resume``."""
    return [*arguments, "--resume"] if name in RESUMED and out.exists() else list(arguments)


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A command that was left alone, twice.

    Attributes:
        seconds: that it takes.
        files: its files, but for those in which two runs differ (times, for example).
    """

    seconds: float
    files: dict[str, bytes]


def undisturbed(command: Command, data: Path, folder: Path) -> Undisturbed:
    """Run a command twice and return what both runs agree in."""
    found: list[dict[str, bytes]] = []
    out = folder / "out"
    for _ in range(2):
        start = time.monotonic()
        must_run(command(data, out), folder / "log")
        seconds = time.monotonic() - start
        found.append(content(out))
        shutil.rmtree(out)
    first, second = found
    assert first.keys() == second.keys()
    same = {path: data for path, data in first.items() if second[path] == data and Path(path).name not in TIMES}
    return Undisturbed(seconds=seconds, files=same)


def chain(name: str, data: Path, folder: Path, expected: Undisturbed, draw: random.Random) -> Outcome:
    """Kill a command one to three times, start it again unless it had come to its end, and compare."""
    out, log, kills = folder / "out", folder / "log", list[tuple[str, str, float]]()
    for _ in range(draw.randint(1, 3)):
        sent, share, worker = draw.choice(SIGNALS), draw.random(), name in WORKERS and draw.random() < 0.5
        if worker:
            sent = signal.SIGKILL
        kill = Kill(signal=sent, seconds=share * expected.seconds, choose=draw.choice if worker else None)
        run_command(again(name, COMMANDS[name](data, out), out), log, kill=kill)
        kills.append(("worker" if worker else "command", sent.name, round(share, 3)))
        if not _wrong(out, expected):
            break
    code = 0
    if _wrong(out, expected):
        code = run_command(again(name, COMMANDS[name](data, out), out), log)
    found, wrong = content(out) if out.is_dir() else {}, _wrong(out, expected)
    left = {path for path in found.keys() - expected.files.keys() if ".partial" in path}
    lines = log.read_text().strip().splitlines()
    shutil.rmtree(out, ignore_errors=True)
    return Outcome(
        command=name,
        kills=tuple(kills),
        exit_code=code,
        differs=tuple(sorted(wrong | left)),
        said=lines[-1] if lines else "",
    )


def _wrong(out: Path, expected: Undisturbed) -> set[str]:
    """Return the files that are missing or not those of a run that was left alone."""
    found = content(out) if out.is_dir() else {}
    return {path for path, data in expected.files.items() if found.get(path) != data}


def main() -> None:
    """Try commands, print an outcome a line, and what held of what was tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chains", type=int, default=20, help="chains of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("commands", nargs="*", default=list(COMMANDS), help=", ".join(COMMANDS))
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        write_inputs(data, options.commands, run=lambda arguments: must_run(arguments, data / "log"))
        for name in options.commands:
            folder = Path(temporary) / name.replace(" ", "_")
            folder.mkdir()
            expected = undisturbed(COMMANDS[name], data, folder)
            for number in range(options.chains):
                outcome = chain(name, data, folder, expected, random.Random(f"{options.seed} {name} {number}"))
                outcomes.append(outcome)
                print(json.dumps({"held": outcome.held, **asdict(outcome)}), flush=True)
    kills = sum(len(outcome.kills) for outcome in outcomes)
    held = sum(outcome.held for outcome in outcomes)
    print(f"{kills} kills in {len(outcomes)} chains: {held} ended with the bytes of an undisturbed run", flush=True)
    sys.exit(held < len(outcomes))


if __name__ == "__main__":
    main()
