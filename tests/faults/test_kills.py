"""A few of the kills of :mod:`tests.faults.kills`, in a process of their own, which has computed nothing yet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.kills import COMMANDS


def killed(*commands, chains):
    root = Path(__file__).parents[2]
    tried = subprocess.run(
        [sys.executable, "-m", "tests.faults.kills", "--chains", str(chains), *commands],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert f"in {chains * len(commands)} chains: {chains * len(commands)} ended" in tried.stdout


def test_killed_commands_end_like_those_that_were_left_alone():
    killed("import", "segment train", chains=2)


@pytest.mark.slow
def test_every_command_that_is_killed_ends_like_one_that_was_left_alone():
    killed(*COMMANDS, chains=2)
