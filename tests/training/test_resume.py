"""A run that is killed and resumed ends as one that was not: bit for bit, on the CPU."""

import signal

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from lesionforge.training.loop import fit
from tests.training.runs import (
    METHODS,
    Numbers,
    Recorder,
    interrupt,
    read_checkpoint,
    read_metrics,
    same,
    training,
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
    adversarial = method != "segmentation"
    assert len(rows) == 8 // 2 * (2 if adversarial else 1)
    if adversarial:
        assert len(whole["state_dict"]["pool.images"]) == (5 if method == "pix2pix" else 3)
        assert whole["state_dict"]["averaged.n_averaged"] == 8
        assert [len(state["state"]) > 0 for state in whole["optimizer_states"]] == [True, True]
    for name, place in {"between": {"epoch": 2}, "within": {"epoch": 2, "batch": 2}}.items():
        interrupt(monkeypatch, lambda name=name: run(name), **place)
        assert read_checkpoint(tmp_path / name)["epoch"] == 1
        assert not (tmp_path / name / "model.json").exists()
        torch.manual_seed(len(name))
        run(name, resume=True)
        resumed = read_checkpoint(tmp_path / name)
        for part in STATE:
            assert same(resumed[part], whole[part]), part
        assert read_metrics(tmp_path / name) == rows
        for file in ("model.safetensors", "model.json"):
            assert (tmp_path / name / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file


class CtrlC(Callback):
    """The user stops the run in its second epoch."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


def test_a_run_that_the_user_stops_can_be_resumed(tmp_path):
    whole, stopped, resumed = Recorder(), Recorder(), Recorder()
    fit(whole, Numbers(), out=tmp_path / "whole", config=training())
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, Numbers(), out=tmp_path / "run", config=training(), callbacks=(CtrlC(),))
    assert signal.getsignal(signal.SIGINT) is handler
    assert fit(resumed, Numbers(), out=tmp_path / "run", config=training(), resume=True) == 8
    assert torch.equal(resumed.weight, whole.weight)
    assert resumed.batches == whole.batches[4:]
