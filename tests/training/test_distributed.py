"""Two CPU processes train one model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.synthesizers.translation.translator import INTENSITIES
from lesionforge.training import loop
from lesionforge.training.loop import DrawSampler
from tests.helpers import tiny_cohort
from tests.training.runs import read_checkpoint, read_metrics, training

SCRIPT = Path(__file__).with_name("ddp_script.py")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    tiny_cohort(folder / "cohort", spatial_dims=2, n_subjects=3, shape=(32, 32))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder), str(folder / "cohort")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def ranks(out):
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.slow
def test_each_process_sees_its_own_items(ranks):
    drawn = 3 * 2 * 2 * 2  # steps, batch_size, accumulate, n_critic
    items = [rank["items"] for rank in ranks]
    assert [len(seen) for seen in items] == [drawn] * 2
    assert len({*items[0], *items[1]}) == 2 * drawn


@pytest.mark.slow
def test_the_weights_of_both_agree_and_each_has_its_own_pool(ranks):
    first, second = (rank["state"] for rank in ranks)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        if name != "pool.images":
            assert torch.equal(tensor, second[name]), name
    assert len(first["pool.images"]) == len(second["pool.images"]) == 5
    assert not torch.equal(first["pool.images"], second["pool.images"])


@pytest.mark.slow
def test_the_caller_goes_on_alone_and_saves_once(out, ranks):
    (report,) = map(json.loads, (out / "report.jsonl").read_text().splitlines())
    assert report["steps"] == 3
    saved = load_synthesizer(out / "model").tensors()
    assert sum(float(tensor.abs().sum()) for tensor in saved.values()) == report["weights"]
    checkpoint = read_checkpoint(out / "model")["state_dict"]
    weights = {name: tensor for name, tensor in saved.items() if name != INTENSITIES}
    assert weights
    for name, tensor in weights.items():
        assert torch.equal(tensor, ranks[0]["state"][f"averaged.module.{name}"]), name
        assert torch.equal(tensor, checkpoint[f"averaged.module.{name}"]), name
    assert not [path for path in out.rglob("*") if "partial" in path.name]
    assert list((out / "model" / "previews").glob("*.png"))
    steps = [int(row["step"]) for row in read_metrics(out / "model")]
    assert steps == sorted(set(steps))
    assert steps


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_partition_the_draws(world, monkeypatch):
    config = training(steps=5, epoch_steps=2, batch_size=2, accumulate=3)
    seen = []
    for rank in range(world):
        monkeypatch.setattr(loop, "_world", lambda rank=rank: (rank, world))
        sampler = DrawSampler(config, batches=6)
        for epoch in range(3):
            sampler.set_epoch(epoch)
            assert len(list(sampler)) == len(sampler) == (2, 2, 1)[epoch] * 12
            seen.extend(sampler)
    assert sorted(seen) == list(range(5 * 12 * world))
