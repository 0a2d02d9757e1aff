"""Where lesions go: sources of masks, and their place in a scan."""

from pathlib import Path

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.errors import ConfigError
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.base import DrawnMask, MaskSource, PlacedMask
from lesionforge.masks.edits import EditedMasks
from lesionforge.masks.ellipsoids import Ellipsoids
from lesionforge.masks.generator.maskgan import MaskGAN
from lesionforge.masks.given import GivenMasks
from lesionforge.masks.own import OwnMasks
from lesionforge.masks.placement import allowed_region, place
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.training.loop import Device

MASK_SOURCES = "bank, edited, own, ellipsoids, files:DIR or gan:MODEL"

__all__ = [
    "MASK_SOURCES",
    "DrawnMask",
    "EditedMasks",
    "Ellipsoids",
    "GivenMasks",
    "MaskBank",
    "MaskGAN",
    "MaskSource",
    "OwnMasks",
    "PlacedMask",
    "allowed_region",
    "make_mask_source",
    "place",
    "with_region",
]


def make_mask_source(
    spec: str,
    cohort: Cohort | None = None,
    *,
    channel: str | None = None,
    on_problem: OnProblem = fail,
    device: Device = "cpu",
) -> MaskSource:
    """Return the mask source that a user named.

    Args:
        spec: ``bank`` (real masks of ``cohort``), ``edited`` (the same, edited), ``own`` (each scan's own),
            ``ellipsoids`` (near where the lesions of ``cohort`` lie if it has any, else anywhere), ``files:DIR`` (label
            files) or ``gan:MODEL`` (a trained mask generator).
        cohort: where real masks come from.
        channel: the channel of ``cohort`` in which the brain is looked for; by default each case's first.
        on_problem: called with the error of a case of ``cohort`` that cannot be read and is left out; raises unless
            given.
        device: where a mask generator draws.

    Raises:
        ConfigError: if the name is unknown, or needs a cohort with lesions and there is none.
        CohortError: if a file cannot be read.
    """
    kind, _, folder = spec.partition(":")
    if kind == "files" and folder:
        return GivenMasks(Path(folder), cohort=cohort)
    if kind == "gan" and folder:
        return MaskGAN.load(Path(folder), device=device)
    if spec == "own":
        return OwnMasks()
    if spec == "ellipsoids":
        prior = cohort if cohort is not None and len(cohort.with_lesions()) else None
        return Ellipsoids(prior=prior, channel=channel, on_problem=on_problem)
    if spec not in ("bank", "edited"):
        raise ConfigError(f"masks {spec!r}", "unknown mask source", f"use {MASK_SOURCES}")
    if cohort is None:
        raise ConfigError(f"masks {spec!r}", "needs a cohort to take masks from", "name one with `masks_from`")
    bank = MaskBank(cohort, channel=channel, on_problem=on_problem)
    return bank if spec == "bank" else EditedMasks(bank)
