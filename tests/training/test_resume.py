"""A run that is killed and resumed ends as one that was not: bit for bit, on the CPU."""

import pytest
import torch

from tests.training.runs import (
    METHODS,
    interrupt,
    read_checkpoint,
    read_metrics,
    same,
)

STATE = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch", "loops")


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(method, spatial_dims, cohorts, tmp_path, monkeypatch):
    cohort = cohorts[spatial_dims]

    def run(name, **options):
        return METHODS[method](cohort, tmp_path / name, spatial_dims, **options)

    run("whole")
    whole = read_checkpoint(tmp_path / "whole")
    rows = read_metrics(tmp_path / "whole")
    assert len(rows) == 8 // 2 * (2 if method == "pix2pix" else 1)
    for name, place in {"between": {"epoch": 2}, "within": {"epoch": 2, "batch": 2}}.items():
        interrupt(monkeypatch, lambda name=name: run(name), **place)
        assert read_checkpoint(tmp_path / name)["epoch"] == 1
        assert not (tmp_path / name / "model.json").exists()
        torch.manual_seed(hash(name) % 1000)
        run(name, resume=True)
        resumed = read_checkpoint(tmp_path / name)
        for part in STATE:
            assert same(resumed[part], whole[part]), part
        assert read_metrics(tmp_path / name) == rows
        for file in ("model.safetensors", "model.json"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
