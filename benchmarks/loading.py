"""Does reading scans once pay?

Compares an epoch of training crops, one from each case, of samples that are read anew each time (decompressed,
turned, resampled, normalised) with the second epoch of the same crops from samples kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from comparison import Comparison, alternate, show
from data import one_thread, slice_preprocessing, tumours
from torch.utils.data import DataLoader

from lesionforge.cohort.case import Cohort
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.training_cases import make_training_set
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.items.source import Source

SUBJECTS, ROUNDS = 8, 5


def measure() -> list[Comparison]:
    one_thread()
    with TemporaryDirectory() as name:
        cohort = tumours(Path(name), n_subjects=SUBJECTS, spacing=2.0)
        preprocessing = slice_preprocessing(cohort)
        uncached = epoch(cohort, preprocessing, kept=0)
        cached = epoch(cohort, preprocessing, kept=SUBJECTS)
        pairs = alternate(ROUNDS, uncached, cached)
    return [
        Comparison(
            name=f"{SUBJECTS} volumes of 91 × 109 × 32",
            first="uncached epoch",
            second="second epoch",
            pairs=[(first, second) for first, second in pairs],
            at_least=10,
        )
    ]


def epoch(cohort: Cohort, preprocessing: Preprocessing, *, kept: int) -> Callable[[], None]:
    """Return a function that loads one epoch of crops; the first ``kept`` cases stay in memory."""
    config = SegmentationConfig(roi_size=(96, 96), augment="none")
    source = Source(samples=cached_samples(cohort, preprocessing, limit=kept))
    items = make_training_set([source], config, preprocessing, seed=0)
    loader = DataLoader(items, batch_size=4, sampler=range(len(cohort)))

    def load() -> None:
        for _ in loader:
            pass

    return load


if __name__ == "__main__":
    show("Loading training crops", measure())
