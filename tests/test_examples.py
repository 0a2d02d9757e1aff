"""The worked examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(example, marks=[pytest.mark.slow] * (example.stem in ("gan_method", "training_free_method")))
        for example in EXAMPLES
    ],
    ids=[example.stem for example in EXAMPLES],
)
def test_an_example_runs_and_keeps_the_rules(example, tmp_path):
    run = subprocess.run([sys.executable, str(example)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "4 cases were drawn" in run.stdout
    assert run.stdout.splitlines()[-1].endswith("keeps the rules")
    assert list(tmp_path.iterdir()) == [], "it leaves nothing behind"


def test_there_is_one_of_each_kind():
    assert [example.stem for example in EXAMPLES] == ["gan_method", "training_free_method"]
