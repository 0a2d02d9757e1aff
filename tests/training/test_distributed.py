"""Two CPU processes train one module."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.tasks.segmentation import SegmentationTask
from tests.helpers import tiny_cohort
from tests.training.runs import read_checkpoint, read_metrics

SCRIPT = Path(__file__).with_name("ddp_script.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    tiny_cohort(folder / "cohort", spatial_dims=2, n_subjects=3, shape=(32, 32))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), str(folder / "cohort")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_each_draw_is_taken_by_one_process_and_the_weights_agree(out):
    ranks = [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    taken = [[draw for _, batch in rank["batches"] for draw in batch] for rank in ranks]
    assert sorted(taken[0] + taken[1]) == list(range(3 * 2 * 2))
    assert torch.equal(ranks[0]["weights"]["weight"], ranks[1]["weights"]["weight"])
    expected = torch.zeros(())
    for step in range(3):
        draws = torch.arange(step * 4, step * 4 + 4, dtype=torch.float32)
        expected = expected - 0.05 * 2 * (expected - draws).mean()
    torch.testing.assert_close(ranks[0]["weights"]["weight"], expected)


def test_the_caller_goes_on_alone_with_the_trained_weights(out):
    (report,) = map(json.loads, (out / "report.jsonl").read_text().splitlines())
    trained = torch.load(out / "rank0.pt", weights_only=True)["weights"]["weight"].item()
    assert report["weight"] == trained != 0
    assert report["steps"] == 3
    assert report["model_steps"] == 2


@pytest.mark.parametrize("name", ["pix2pix", "segmentation"])
def test_methods_train_and_are_saved_once(name, out):
    folder = out / name
    assert not [path for path in folder.rglob("*") if "partial" in path.name]
    checkpoint = read_checkpoint(folder)["state_dict"]
    if name == "pix2pix":
        model = load_synthesizer(folder)
        assert list((folder / "previews").glob("*.png"))
        kept = {f"averaged.module.{key}": value for key, value in model.generator.state_dict().items()}
    else:
        kept = {f"network.{key}": value for key, value in SegmentationTask.load(folder).network.state_dict().items()}
    assert kept
    for key, value in kept.items():
        assert torch.equal(checkpoint[key], value), key
    rows = read_metrics(folder)
    assert [int(row["step"]) for row in rows] == sorted({int(row["step"]) for row in rows})
