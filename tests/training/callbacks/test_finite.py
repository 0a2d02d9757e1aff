"""A run that computes with numbers no more ends with one line, and leaves nothing of it."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback

from lesionforge.errors import TrainingError
from lesionforge.training import loop
from lesionforge.training.model_folder import list_candidates
from tests.training.runs import EACH_METHOD, METHODS, fit_pix2pix, read_checkpoint, with_callback


class Poison(Callback):
    """Spoils a weight in the second epoch: before a batch, or after the epoch's last loss."""

    def __init__(self, value, *, after_batch=None):
        self.value, self.after_batch = value, after_batch

    def spoil(self, module):
        weight = next(weight for weight in module.parameters() if weight.requires_grad)
        with torch.no_grad():
            weight.fill_(self.value)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.after_batch is None and trainer.current_epoch == 1:
            self.spoil(pl_module)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (1, self.after_batch):
            self.spoil(pl_module)


@pytest.fixture
def poison(monkeypatch):
    def add(*args, **options):
        monkeypatch.setattr(loop, "_callbacks", with_callback(loop._callbacks, Poison(*args, **options)))

    return add


def saved_is_finite(out):
    state = read_checkpoint(out)
    assert state["epoch"] == 0
    assert all(tensor.isfinite().all() for tensor in state["state_dict"].values())
    assert not (out / "model.safetensors").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", EACH_METHOD)
def test_a_loss_that_is_not_finite_ends_the_run(method, value, cohorts, tmp_path, poison):
    poison(value)
    with pytest.raises(TrainingError, match=r"(is|are) not finite at step 4; lower the learning rate") as caught:
        METHODS[method](cohorts[2], tmp_path / "run", 2)
    assert str(caught.value).startswith(str(tmp_path / "run"))
    assert "loss" in caught.value.what
    assert "\n" not in str(caught.value)
    saved_is_finite(tmp_path / "run")


@pytest.mark.parametrize("method", ["pix2pix", "segmentation"])
def test_weights_that_are_not_finite_are_not_saved_whatever_the_loss_was(method, cohorts, tmp_path, poison):
    poison(float("nan"), after_batch=3)
    with pytest.raises(TrainingError, match="1 weights are not finite, first") as caught:
        METHODS[method](cohorts[2], tmp_path / "run", 2)
    assert "\n" not in str(caught.value)
    saved_is_finite(tmp_path / "run")


def test_no_candidate_is_kept_of_weights_that_are_not_finite(cohorts, tmp_path, poison):
    poison(float("nan"), after_batch=0)
    config = {"condition": "label", "candidates": (2, 3), "candidates_in": "steps"}
    with pytest.raises(TrainingError, match="not finite"):
        fit_pix2pix(cohorts[2], tmp_path / "run", 2, steps=99, accumulate=1, epoch_steps=2, config=config)
    assert list_candidates(tmp_path / "run") == ("step_0002",)
