"""The CSV log of a run, which a resumed run continues."""

from __future__ import annotations

import csv
from pathlib import Path

import lightning
from lightning.pytorch.loggers.csv_logs import CSVLogger, ExperimentWriter


def is_logged(trainer: lightning.Trainer) -> bool:
    """Return whether the log takes the numbers of this training batch.

    Handing them to Lightning for every batch, only to have most of them dropped, costs several percent of a step.
    """
    return (trainer.fit_loop.epoch_loop.total_batch_idx + 1) % trainer.log_every_n_steps == 0


class _ContinuingWriter(ExperimentWriter):
    """Appends to a log that is there; Lightning's own writer deletes it."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = list(next(csv.reader(file), []))


class ContinuingCSVLogger(CSVLogger):
    """Writes ``metrics.csv`` straight into the run's folder."""

    def __init__(self, folder: Path) -> None:
        self._experiment: ExperimentWriter | None = None
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=50)

    @property
    def experiment(self) -> ExperimentWriter:
        """The writer, made on first use."""
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _ContinuingWriter(self.log_dir)
        return self._experiment
