"""The mask sources by name. A new one is a line in :data:`MASK_SOURCES` and two in :func:`make_mask_source`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lesionforge.errors import ConfigError, one_of

if TYPE_CHECKING:
    from lesionforge.cohort.case import Cohort
    from lesionforge.cohort.layouts.labels import OnProblem
    from lesionforge.masks.base import MaskSource
    from lesionforge.training.loop import Device

MASK_SOURCES = {
    "bank": "the lesion masks of a cohort",
    "edited": "the same, each moved, scaled, turned, mirrored and bent",
    "own": "each scan's own mask",
    "ellipsoids": "ellipsoids, near where the lesions of a cohort lie if it has any",
    "files:DIR": "the label files of a folder",
    "gan:MODEL": "what a trained mask generator draws",
}
"""How a user names a source → what its masks are."""


def make_mask_source(
    spec: str,
    cohort: Cohort | None = None,
    *,
    channel: str | None = None,
    on_problem: OnProblem | None = None,
    device: Device = "cpu",
) -> MaskSource:
    """Return the mask source that a user named.

    Args:
        spec: one of :data:`MASK_SOURCES`; ``ellipsoids`` lie anywhere if ``cohort`` has no lesion.
        cohort: where real masks come from.
        channel: the channel of ``cohort`` in which the brain is looked for; by default each case's first.
        on_problem: called with the error of a case of ``cohort`` that cannot be read and is left out; raises unless
            given.
        device: where a mask generator draws.

    Raises:
        ConfigError: if the name is unknown, or needs a cohort with lesions and there is none.
        CohortError: if a file cannot be read.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> type(make_mask_source("bank", cohort)).__name__
        'MaskBank'
    """
    from lesionforge.cohort.layouts.labels import fail
    from lesionforge.masks import EditedMasks, Ellipsoids, GivenMasks, MaskBank, MaskGAN, OwnMasks

    kind, _, folder = spec.partition(":")
    if kind == "files" and folder:
        return GivenMasks(Path(folder), cohort=cohort)
    if kind == "gan" and folder:
        return MaskGAN.load(Path(folder), device=device)
    if spec == "own":
        return OwnMasks()
    if spec == "ellipsoids":
        prior = cohort if cohort is not None and len(cohort.with_lesions()) else None
        return Ellipsoids(prior=prior, channel=channel, on_problem=on_problem or fail)
    if spec not in ("bank", "edited"):
        raise ConfigError(f"masks {spec!r}", "unknown mask source", f"use {one_of(MASK_SOURCES)}")
    if cohort is None:
        raise ConfigError(f"masks {spec!r}", "needs a cohort to take masks from", "name one with `masks_from`")
    bank = MaskBank(cohort, channel=channel, on_problem=on_problem or fail)
    return bank if spec == "bank" else EditedMasks(bank)
