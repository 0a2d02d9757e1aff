"""Learning curves: Dice of given cases during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback
from monai.networks.utils import eval_mode
from torch import nn

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import LabelArray, Scan, load_scan
from lesionforge.scores.predictions.overlap import dice
from lesionforge.training.callbacks.step_bar import steps_done
from lesionforge.training.loop import TrainingConfig, batches_per_step


class DiceCurve(Callback):
    """Callback that logs the mean Dice over the cases with lesions as ``dice/NAME``.

    All lesion classes count together. The scoring does not affect training.

    Args:
        network: the network being trained.
        predict: returns the lesion classes that the network finds in a scan.
        cohorts: name → cases.
        every: steps between two points; the last step is always logged.
        training: length of the run.
    """

    def __init__(
        self,
        network: nn.Module,
        predict: Callable[[Scan], LabelArray],
        cohorts: Mapping[str, Cohort],
        *,
        every: int,
        training: TrainingConfig,
    ) -> None:
        self.network, self.predict, self.every, self.training = network, predict, every, training
        self.cohorts = {name: cohort.with_lesions() for name, cohort in cohorts.items() if len(cohort.with_lesions())}

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Segment the cases and log the Dice if this batch completes a step at which a point is due."""
        batches = batches_per_step(pl_module, self.training)
        if (batch_idx + 1) % batches or not trainer.is_global_zero:
            return
        step = steps_done(trainer, batch_idx, epoch_steps=self.training.epoch_steps, batches=batches)
        if step % self.every and step != self.training.steps:
            return
        with eval_mode(self.network):
            found = {f"dice/{name}": mean_dice(self.predict, cohort) for name, cohort in self.cohorts.items()}
        counted = 1 if pl_module.automatic_optimization else batches
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": trainer.current_epoch, **found}, step=(step - 1) * counted)


def mean_dice(predict: Callable[[Scan], LabelArray], cohort: Cohort) -> float:
    """Return the mean Dice, 0 to 1, of all lesion classes together over cases with lesions.

    Args:
        predict: returns the lesion classes of a scan.
        cohort: the cases.

    Raises:
        CohortError: if a case cannot be read.
    """
    scores = []
    for case in cohort:
        scan = load_scan(case, cohort.channels)
        assert scan.label is not None
        scores.append(dice(predict(scan) > 0, scan.label > 0))
    return float(np.mean(scores))
