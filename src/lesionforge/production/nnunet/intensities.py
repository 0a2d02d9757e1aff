"""From the intensities of a file to those of nnU-Net, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from lesionforge.cohort.scan import FloatArray
from lesionforge.errors import ConfigError

LEAST = 1e-8
"""nnU-Net's least divisor."""


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """nnU-Net's normalisation of one channel of one case: ``(file - offset) / scale``, cut at two intensities.

    Attributes:
        offset: intensity of the file that becomes 0.
        scale: step of intensity that becomes 1.
        lowest: intensity of the file below which nnU-Net cuts.
        highest: intensity of the file above which nnU-Net cuts.
    """

    offset: float
    scale: float
    lowest: float = -inf
    highest: float = inf

    def to_nnunet(self, values: FloatArray) -> FloatArray:
        """Return intensities of the file as nnU-Net has them."""
        return ((np.clip(values, self.lowest, self.highest) - self.offset) / self.scale).astype(np.float32)

    def to_file(self, values: FloatArray) -> FloatArray:
        """Return nnU-Net's intensities in the units of the file."""
        return (values * self.scale + self.offset).astype(np.float32)


def normalisation(scheme: str, values: FloatArray, facts: Mapping[str, Any]) -> Normalisation:
    """Return the normalisation of a channel.

    Args:
        scheme: the name of nnU-Net's class for it, as the plans give it.
        values: all intensities that nnU-Net normalises, in the units of the file.
        facts: the channel's intensities over the whole data set, as the fingerprint gives them.

    Raises:
        ConfigError: if the scheme is not one of nnU-Net's own.
    """
    if scheme not in _RULES:
        what = f"{scheme} is no normalisation that can be undone"
        raise ConfigError("nnU-Net's plans", what, f"plan with one of {', '.join(_RULES)}")
    return _RULES[scheme](values, facts)


def _z_score(values: FloatArray, facts: Mapping[str, Any]) -> Normalisation:
    return Normalisation(offset=float(values.mean()), scale=max(float(values.std()), LEAST))


def _ct(values: FloatArray, facts: Mapping[str, Any]) -> Normalisation:
    return Normalisation(
        offset=facts["mean"],
        scale=max(facts["std"], LEAST),
        lowest=facts["percentile_00_5"],
        highest=facts["percentile_99_5"],
    )


def _to_unit(values: FloatArray, facts: Mapping[str, Any]) -> Normalisation:
    return Normalisation(offset=float(values.min()), scale=max(float(np.ptp(values)), LEAST))


_RULES: dict[str, Callable[[FloatArray, Mapping[str, Any]], Normalisation]] = {
    "ZScoreNormalization": _z_score,
    "CTNormalization": _ct,
    "NoNormalization": lambda values, facts: Normalisation(offset=0.0, scale=1.0),
    "RescaleTo01Normalization": _to_unit,
    "RGBTo01Normalization": lambda values, facts: Normalisation(offset=0.0, scale=255.0),
}
