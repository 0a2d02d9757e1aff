"""CSV log of a run; a resumed run continues it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers.csv_logs import CSVLogger, ExperimentWriter

from lesionforge.files import atomic


def is_logged(trainer: lightning.Trainer) -> bool:
    """Return whether the values of this training batch are logged.

    Passing them to Lightning for every batch costs several percent of a step, and most are dropped.
    """
    return bool(trainer._logger_connector.should_update_logs)


class _ContinuingWriter(ExperimentWriter):
    """Metrics writer that appends to an existing log; Lightning's own writer deletes it."""

    def __init__(self, log_dir: str, *, epochs: int) -> None:
        self.epochs = epochs
        super().__init__(log_dir)

    def _check_log_dir_exists(self) -> None:
        """Keep the rows of completed epochs; the resumed run writes later rows, and truncated ones, again."""
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return
        whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        rows = csv.DictReader(whole)
        self.metrics_keys = list(rows.fieldnames or ())
        kept = [row for row in rows if int(row["epoch"] or self.epochs) < self.epochs]
        with atomic(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.metrics_keys)
            writer.writeheader()
            writer.writerows(kept)


class ContinuingCSVLogger(CSVLogger):
    """CSV logger that writes ``metrics.csv`` directly into the run's folder.

    Args:
        folder: the run's folder.
        epochs: number of epochs that an earlier, interrupted run completed.
        batches: batches per optimiser step, if Lightning counts batches as steps; the log counts optimiser steps.
    """

    def __init__(self, folder: Path, *, epochs: int, batches: int = 1) -> None:
        self._experiment: ExperimentWriter | None = None
        self.epochs, self.batches = epochs, batches
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=50)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Write a row of metrics."""
        super().log_metrics(metrics, None if step is None else step // self.batches)

    @property
    def experiment(self) -> ExperimentWriter:
        """The metrics writer, created on first use."""
        if self._experiment is None:
            Path(self.log_dir).mkdir(parents=True, exist_ok=True)
            self._experiment = _ContinuingWriter(self.log_dir, epochs=self.epochs)
        return self._experiment
