"""The ``Curve`` class: a score of a set of cases at many operating points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lesionforge.scores.statistics.resampling import Resampled, Resampling

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
        range: smallest and largest possible value.
    """

    name: str
    title: str
    x_label: str
    y_label: str
    x: Values
    function: Callable[[pd.DataFrame, Values], Values]
    made_of: tuple[str, ...]
    range: tuple[float, float]

    def band(self, rows: pd.DataFrame, *, seed: int = 0, n_resamples: int = 500) -> tuple[Values, Values, Values]:
        """Return the mean over seeds and its 95 % band, at each point the interval of a score of a set.

        Args:
            rows: rows of one arm, with ``subject_id`` and ``seed``.
            seed: seed of the bootstrap over subjects.
            n_resamples: number of bootstrap samples.

        Returns:
            The mean and the lower and upper end of the band at each point of :attr:`x`; the ends are NaN for fewer than
            two subjects with a curve of their own.
        """
        of_seeds = [part[["subject_id", *self.made_of]] for _, part in rows.groupby("seed")]
        n = sum(bool(np.isfinite(self._alone(part)).any()) for _, part in rows.groupby("subject_id"))
        values = np.stack([self._alone(part) for part in of_seeds])
        resampling = Resampling(rows["subject_id"].tolist(), seed=seed, n_resamples=n_resamples)
        replicates = np.stack([resampling.weighted(self.function, part) for part in of_seeds])
        points = (Resampled.of(values[:, i], replicates[..., i], n=n) for i in range(len(self.x)))
        low, high = np.clip(np.transpose([point.limits() for point in points]), *self.range)
        return values.mean(0), low, high

    def _alone(self, rows: pd.DataFrame) -> Values:
        """Return the curve of the rows themselves."""
        return self.function(rows, np.ones((1, len(rows))))[0]
