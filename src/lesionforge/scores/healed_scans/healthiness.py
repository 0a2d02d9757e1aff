"""Healthiness: how much of the lesion a segmentation network still finds in healed scans.

Source: Xia, Chartsias & Tsaftaris (2019): h = 1 − E[N(f_pre(x̃_h))] / E[N(m_p)], where f_pre is a separately trained
segmentation network and N counts voxels of at least 0.5 (the paper names no threshold). It is the ratio of means over
the whole test set. It is meaningful only together with three other values: f_pre's own Dice on held-out lesions, h of
the untouched input (about 0 if f_pre finds the lesions) and h of a blank image (1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionforge.cohort.scan import BoolArray, FloatArray, LabelArray, Scan
from lesionforge.errors import ConfigError
from lesionforge.scores.finds_lesions import FindsLesions

LEAST_F_PRE_DICE = 0.6
"""Minimum Dice of f_pre. Below it, a lesion that f_pre does not find may still be there, and h is invalid."""
THRESHOLD = 0.5

Counts = Sequence[float] | NDArray[Any] | float

Segmentor = Callable[[Scan, FloatArray], NDArray[Any]]
"""Function of a scan and an image ``(channel, x, y[, z])`` on its grid and in its units. It returns the ``(x, y[, z])``
lesion in that image, as classes or probabilities."""


def segmentor(task: FindsLesions) -> Segmentor:
    """Return f_pre from a trained task; it scales every image by the intensities of the original scan.

    The returned function raises ``ConfigError`` for scans with other channels than the task's.
    """

    def find(scan: Scan, image: FloatArray) -> LabelArray:
        channels = task.info.preprocessing.channels
        if scan.channels != channels:
            what = f"was trained on {', '.join(channels)}, but the scans have {', '.join(scan.channels)}"
            raise ConfigError("f_pre", what, "score the channels that it knows")
        return task.predict(scan, image=image)

    return find


def positive(found: NDArray[Any]) -> BoolArray:
    """Return the lesion voxels: classes above 0, or probabilities of at least 0.5."""
    return np.asarray(found >= THRESHOLD)


def healthiness(found: Counts, true: Counts) -> float:
    """Return 1 − mean(found) / mean(true): 1 if no lesion is found, negative if more is found than the true lesion.

    Args:
        found: number of lesion voxels that f_pre finds in each healed slice or volume.
        true: number of voxels of each true lesion.

    Raises:
        ConfigError: if there is no true lesion.
    """
    lesion = float(np.mean(true)) if np.size(true) else 0.0
    if lesion == 0:
        raise ConfigError("healthiness", "has no lesion to compare with", "score cases that have one")
    return 1 - float(np.mean(found)) / lesion


def is_valid(f_pre_dice: float) -> bool:
    """Return whether f_pre finds real lesions well enough for healthiness to be meaningful."""
    return f_pre_dice >= LEAST_F_PRE_DICE
