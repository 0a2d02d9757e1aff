"""Candidates: copies of the generator kept at chosen steps of a run, to choose from afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor

from lesionforge.training.callbacks.finite import check_weights
from lesionforge.training.callbacks.preview import save_figure
from lesionforge.training.callbacks.step_bar import steps_done
from lesionforge.training.loop import TrainingConfig, batches_per_step
from lesionforge.training.model_folder import CANDIDATES, save_tensors

CandidateUnit = Literal["epochs", "steps"]


def candidate_steps(
    lengths: Sequence[int], items: int, config: TrainingConfig, *, unit: CandidateUnit = "epochs"
) -> dict[str, int]:
    """Return the step after which each candidate is kept, by name, such as ``epoch_050`` or ``step_0600``.

    Args:
        lengths: numbers of epochs (passes over the training items) or of steps.
        items: number of training items per epoch.
        config: configuration of the run; its batch size must be set.
        unit: what ``lengths`` counts.
    """
    if unit == "steps":
        return {f"step_{steps:04d}": steps for steps in lengths}
    assert config.batch_size is not None
    per_step = config.batch_size * config.accumulate * config.devices
    return {f"epoch_{epoch:03d}": math.ceil(epoch * items / per_step) for epoch in lengths}


class Candidates(Callback):
    """Callback that writes ``candidates/NAME.safetensors`` and a preview picture after each chosen step.

    An interrupted run keeps the candidates it has written. When it is resumed, it writes those after its checkpoint
    again.

    Args:
        steps: name → step, counted from 1.
        out: the model folder.
        config: configuration of the run.
        also: tensors to store in every file in addition to the weights of the module's ``result``.
        draw: returns a figure of generated images; ``None`` writes no picture.
    """

    def __init__(
        self,
        steps: Mapping[str, int],
        out: Path,
        config: TrainingConfig,
        *,
        also: Mapping[str, Tensor],
        draw: Callable[[], Figure] | None,
    ) -> None:
        self.steps, self.out, self.config = dict(steps), out, config
        self.also, self.draw = dict(also), draw

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save the generator if this batch completes the step of a candidate."""
        batches, folder = batches_per_step(pl_module, self.config), self.out / CANDIDATES
        if (batch_idx + 1) % batches or not trainer.is_global_zero:
            return
        done = steps_done(trainer, batch_idx, epoch_steps=self.config.epoch_steps, batches=batches)
        for name in (name for name, step in self.steps.items() if step == done):
            check_weights(dict(pl_module.named_parameters()), self.out)
            save_tensors(folder / f"{name}.safetensors", {**pl_module.result.state_dict(), **self.also})
            if self.draw is not None:
                save_figure(folder / f"{name}.png", self.draw())
