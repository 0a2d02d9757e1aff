"""Commands whose disk fills: they say so in one line, and once there is room they end as on a large disk.

``python -m tests.faults.full_disks --trials 5`` runs every command on memory disks of growing sizes, all too small for
it, then makes room and runs the same command once more. It mounts the disks, so it needs Linux and root.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.inputs import write_inputs
from tests.faults.kills import COMMANDS, WORKERS, Command, again, content, must_run, run_command, undisturbed

DISKS: dict[str, Command] = {
    "simulate": lambda data, out: ["simulate", out, "--n", "4", "--spacing", "6"],
    **{name: command for name, command in COMMANDS.items() if name not in WORKERS},
}
PAGE = 4096
ROOM = "64m"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a trial.

    Attributes:
        command: its name.
        share: size of the disk as a share of what the command writes.
        first: exit code on the disk that is too small.
        said: the last line of that run.
        second: exit code once there is room.
        differs: files that are not those of a run on a large disk.
    """

    command: str
    share: float
    first: int | None
    said: str
    second: int | None
    differs: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether the full disk was told in a line, and nothing was lost by it."""
        told = self.first not in (0, None) and self.said.startswith("error: ")
        return told and self.second == 0 and not self.differs


@contextmanager
def disk(folder: Path, size: int) -> Iterator[Path]:
    """Mount a memory disk of ``size`` bytes."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)
        folder.rmdir()


def trial(name: str, data: Path, folder: Path, files: dict[str, bytes], share: float) -> Outcome:
    """Run a command on a disk that is too small for it, then on the same one with room."""
    needed = sum(-(-len(content) // PAGE) * PAGE for content in files.values())
    with disk(folder / "disk", max(PAGE, int(share * needed))) as place:
        out, log = place / "out", folder / "log"
        arguments = DISKS[name](data, out)
        first = run_command(arguments, log)
        said = log.read_text().strip().splitlines()[-1:]
        subprocess.run(["mount", "-o", f"remount,size={ROOM}", place], check=True)
        second = run_command(again(name, arguments, out) if _checkpoint(out) else arguments, log)
        found = content(out) if out.is_dir() else {}
    differs = sorted(path for path, bytes_ in files.items() if found.get(path) != bytes_)
    return Outcome(command=name, share=share, first=first, said="".join(said), second=second, differs=tuple(differs))


def _checkpoint(out: Path) -> bool:
    return any(out.rglob("last.ckpt"))


def main(words: Sequence[str] | None = None) -> None:
    """Try commands, print an outcome a line, and what held of what was tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5, help="disks of each command")
    parser.add_argument("commands", nargs="*", default=list(DISKS), help=", ".join(DISKS))
    options = parser.parse_args(words)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        write_inputs(data, options.commands, run=lambda arguments: must_run(arguments, data / "log"))
        for name in options.commands:
            folder = Path(temporary) / name.replace(" ", "_")
            folder.mkdir()
            files = undisturbed(DISKS[name], data, folder).files
            for number in range(options.trials):
                outcome = trial(name, data, folder, files, (number + 0.5) / options.trials)
                outcomes.append(outcome)
                print(json.dumps({"held": outcome.held, **asdict(outcome)}), flush=True)
    held = sum(outcome.held for outcome in outcomes)
    print(f"{len(outcomes)} full disks: {held} told in a line, and the same bytes once there was room", flush=True)
    sys.exit(held < len(outcomes))


if __name__ == "__main__":
    main()
