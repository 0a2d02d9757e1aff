"""A run that is killed and resumed ends as one that was not: bit for bit, on the CPU."""

import os
import signal
from dataclasses import replace
from multiprocessing import get_context

import pytest
import torch
from lightning import Trainer
from lightning.pytorch.callbacks import Callback

from lesionforge.errors import ConfigError
from lesionforge.training import loop
from lesionforge.training.callbacks import checkpoint
from lesionforge.training.loop import fit
from tests.training.runs import (
    EACH_METHOD,
    METHODS,
    Numbers,
    Recorder,
    fit_segmentation,
    interrupt,
    read_checkpoint,
    read_metrics,
    same,
    training,
)

POOLED = {"pix2pix": 5, "healing_cyclegan": 0, "mask_cyclegan": 0}
"""Fakes in the pool; 3 for the others."""
KILLED = ("pix2pix", "healing_cyclegan", "segmentation")
STATE = ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch", "loops")


@pytest.mark.parametrize("spatial_dims", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", EACH_METHOD)
def test_a_resumed_run_ends_bit_for_bit_as_an_uninterrupted_one(method, spatial_dims, cohorts, tmp_path, monkeypatch):
    cohort = cohorts[spatial_dims]

    def run(name, **options):
        return METHODS[method](cohort, tmp_path / name, spatial_dims, **options)

    run("whole")
    whole = read_checkpoint(tmp_path / "whole")
    rows = read_metrics(tmp_path / "whole")
    adversarial = method != "segmentation"
    assert len(rows) == 8 // 2
    if adversarial:
        assert len(whole["state_dict"]["pool.images"]) == POOLED.get(method, 3)
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


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_share_that_falls_goes_on_falling(spatial_dims, cohorts, tmp_path, monkeypatch):
    cohort = cohorts[spatial_dims]
    backwards = [(f"drawn_{number}", case) for number, case in enumerate(reversed(cohort.cases))]
    drawn = cohort.with_cases([replace(case, case_id=name, origin="synthetic") for name, case in backwards])

    def run(name, *, fade=(0.25, 0.75), **options):
        mixed = {"synthetic": drawn, "share": 0.5, "fade": fade}
        return fit_segmentation(cohort, tmp_path / name, spatial_dims, mixed=mixed, **options)

    run("whole")
    interrupt(monkeypatch, lambda: run("killed"), epoch=2, batch=2)
    with pytest.raises(ConfigError, match="was started with fade="):
        run("killed", fade=(0.5, 0.75), resume=True)
    run("killed", resume=True)
    run("constant", fade=None)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed", "constant")]
    assert weights[0] == weights[1] != weights[2]


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


class Minutes(Callback):
    """Makes a run believe that an epoch takes a minute."""

    def __init__(self, monkeypatch):
        self.passed = 0.0
        monkeypatch.setattr(checkpoint, "monotonic", lambda: self.passed)

    def on_train_epoch_start(self, trainer, pl_module):
        self.passed += 60


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=() if name == "segmentation" else pytest.mark.slow) for name in KILLED]
)
@pytest.mark.parametrize("place", [{"epoch": 5}, {"epoch": 5, "batch": 2}, {"epoch": 1}], ids=str)
def test_a_run_killed_epochs_after_its_checkpoint_ends_as_one_that_was_not(
    method, place, cohorts, tmp_path, monkeypatch
):
    """The rows of the log between checkpoint and kill are written once, as are all others."""
    options = {"steps": 14, "epoch_steps": 2, "checkpoint_minutes": 3}

    def run(name, **more):
        return METHODS[method](cohorts[2], tmp_path / name, 2, **options, **more)

    callbacks = loop._callbacks
    monkeypatch.setattr(loop, "_callbacks", lambda *args: [Minutes(monkeypatch), *callbacks(*args)])
    run("whole")
    interrupt(monkeypatch, lambda: run("killed"), **place)
    if place["epoch"] == 5:
        assert read_checkpoint(tmp_path / "killed")["epoch"] == 2
    else:
        assert not (tmp_path / "killed" / "checkpoints").exists()
    assert len(read_metrics(tmp_path / "killed")) >= place["epoch"]
    run("killed", resume=True)
    whole, killed = (read_checkpoint(tmp_path / name) for name in ("whole", "killed"))
    for part in STATE:
        assert same(killed[part], whole[part]), part
    rows = read_metrics(tmp_path / "killed")
    assert rows == read_metrics(tmp_path / "whole")
    assert [int(row["epoch"]) for row in rows] == list(range(7))


@pytest.mark.parametrize(("minutes", "epochs"), [(0, [0, 1, 2, 3]), (2, [1, 3]), (3, [2, 3]), (60, [3])])
def test_checkpoints_are_written_by_minutes_and_at_the_end(minutes, epochs, tmp_path, monkeypatch):
    written, save = [], Trainer.save_checkpoint
    monkeypatch.setattr(
        Trainer, "save_checkpoint", lambda self, *args: (written.append(self.current_epoch), save(self, *args))
    )
    config = training(checkpoint_minutes=minutes)
    assert fit(Recorder(), Numbers(), out=tmp_path / "run", config=config, callbacks=(Minutes(monkeypatch),)) == 8
    assert written == epochs
    assert read_checkpoint(tmp_path / "run")["epoch"] == 3


class Killed(Callback):
    """The process ends here and now."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (2, 3):
            os.kill(os.getpid(), signal.SIGKILL)


def train_until_killed(out):
    """What the process of the test below does."""
    fit(Recorder(), Numbers(), out=out, config=training(), callbacks=(Killed(),))


@pytest.mark.slow
def test_a_process_that_is_killed_loses_no_row_of_its_log(tmp_path):
    process = get_context("spawn").Process(target=train_until_killed, args=(tmp_path / "run",))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed, whole = Recorder(), Recorder()
    fit(resumed, Numbers(), out=tmp_path / "run", config=training(), resume=True)
    fit(whole, Numbers(), out=tmp_path / "whole", config=training())
    assert torch.equal(resumed.weight, whole.weight)
    assert read_metrics(tmp_path / "run") == read_metrics(tmp_path / "whole")
