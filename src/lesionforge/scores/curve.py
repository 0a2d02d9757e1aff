"""The ``Curve`` class: a score of a set of cases at many operating points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.scores.statistics.resampling import Resampling

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A curve over all cases of a set, such as FROC.

    Attributes:
        name: name of its figure.
        title: name in captions.
        x_label: what is on the x-axis, with its unit.
        y_label: what is on the y-axis, with its unit.
        x: operating points at which the curve is shown.
        function: returns the ``(sample, x)`` values at :attr:`x` of samples of the rows of a set, from the rows and the
            ``(sample, row)`` number of times that each is in each sample; NaN where they are undefined.
        made_of: columns that the function reads, in addition to ``subject_id``.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    x: Values
    function: Callable[[pd.DataFrame, Values], Values]
    made_of: tuple[str, ...]

    def band(self, rows: pd.DataFrame, *, seed: int = 0, n_resamples: int = 500) -> tuple[Values, Values, Values]:
        """Return the mean over seeds and its 95 % band, which is a percentile bootstrap over subjects.

        Args:
            rows: rows of one arm, with ``subject_id`` and ``seed``.
            seed: seed of the bootstrap.
            n_resamples: number of bootstrap samples.

        Returns:
            The mean and the lower and upper end of the band at each point of :attr:`x`.
        """
        of_seeds = [part[["subject_id", *self.made_of]] for _, part in rows.groupby("seed")]
        mean = np.mean([self.function(part, np.ones((1, len(part))))[0] for part in of_seeds], axis=0)
        resampling = Resampling(rows["subject_id"].tolist(), seed=seed, n_resamples=n_resamples)
        replicates = np.mean([resampling.weighted(self.function, part) for part in of_seeds], axis=0)
        low, high = np.nanquantile(replicates, (0.025, 0.975), axis=0)
        return mean, low, high
