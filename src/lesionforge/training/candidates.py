"""Generators kept at chosen steps of a run, to choose from when it is done."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor

from lesionforge.training.finite import check_weights
from lesionforge.training.loop import TrainingConfig, batches_per_step
from lesionforge.training.model_folder import CANDIDATES, save_tensors
from lesionforge.training.preview import save_figure
from lesionforge.training.step_bar import steps_done

CandidateUnit = Literal["epochs", "steps"]


def candidate_steps(
    lengths: Sequence[int], items: int, config: TrainingConfig, *, unit: CandidateUnit = "epochs"
) -> dict[str, int]:
    """Return the names of candidates, such as ``epoch_050`` or ``step_0600``, and the steps that they are kept after.

    Args:
        lengths: passes over the training items, or steps.
        items: how many there are.
        config: of the run, with its batch size.
        unit: what ``lengths`` counts.
    """
    if unit == "steps":
        return {f"step_{steps:04d}": steps for steps in lengths}
    assert config.batch_size is not None
    per_step = config.batch_size * config.accumulate * config.devices
    return {f"epoch_{epoch:03d}": math.ceil(epoch * items / per_step) for epoch in lengths}


class Candidates(Callback):
    """Writes ``candidates/NAME.safetensors``, and a picture of what it draws, as soon as its step is done.

    A run that was stopped keeps those that it wrote; when it goes on it makes those after its checkpoint again.

    Args:
        steps: name → step, counted from 1.
        out: the model folder.
        config: of the run.
        also: tensors that every file holds beside those of the module's ``result``.
        draw: shows what the generator draws; ``None`` writes no picture.
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
        """Keep the generator if a candidate's last batch is done."""
        batches, folder = batches_per_step(pl_module, self.config), self.out / CANDIDATES
        if (batch_idx + 1) % batches or not trainer.is_global_zero:
            return
        done = steps_done(trainer, batch_idx, epoch_steps=self.config.epoch_steps, batches=batches)
        for name in (name for name, step in self.steps.items() if step == done):
            check_weights(pl_module, self.out)
            save_tensors(folder / f"{name}.safetensors", {**pl_module.result.state_dict(), **self.also})
            if self.draw is not None:
                save_figure(folder / f"{name}.png", self.draw())
