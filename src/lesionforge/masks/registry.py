"""The mask sources by name. A new one is a line here, or an entry point of another package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lesionforge.config import parse_options
from lesionforge.errors import ConfigError, one_of
from lesionforge.registry import Registry

if TYPE_CHECKING:
    from lesionforge.cohort.case import Cohort
    from lesionforge.cohort.layouts.labels import OnProblem
    from lesionforge.masks.base import MaskSource
    from lesionforge.training.loop import Device

MASK_SOURCES: Registry[MaskSource] = Registry(
    "a mask source",
    {
        "bank": "lesionforge.masks.bank:MaskBank",
        "edited": "lesionforge.masks.edits:EditedMasks",
        "interpolated": "lesionforge.masks.interpolated:InterpolatedMasks",
        "own": "lesionforge.masks.own:OwnMasks",
        "semi_random": "lesionforge.masks.semi_random:SemiRandom",
        "ellipsoids": "lesionforge.masks.ellipsoids:Ellipsoids",
        "files:DIR": "lesionforge.masks.given:GivenMasks",
        "gan:MODEL": "lesionforge.masks.generator.maskgan:MaskGAN",
    },
    group="lesionforge.mask_sources",
)
"""Name → class of a mask source. A source with an argument has it in its name, as in ``files:DIR``."""


def make_mask_source(
    spec: str,
    cohort: Cohort | None = None,
    *,
    channel: str | None = None,
    on_problem: OnProblem | None = None,
    device: Device = "cpu",
    options: Mapping[str, Any] | None = None,
) -> MaskSource:
    """Return the mask source that a user named.

    Args:
        spec: a name in :data:`MASK_SOURCES`, with its argument, such as ``edited`` or ``files:masks/``.
        cohort: the cohort that real masks come from; ``ellipsoids`` lie anywhere if it has no lesion.
        channel: the channel of ``cohort`` in which the brain is found; by default each case's first.
        on_problem: called with the error of each case of ``cohort`` that is left out; raises by default.
        device: the device of a network that draws masks.
        options: options of the source, such as ``{"edit": "shift"}`` for ``edited``.

    Raises:
        ConfigError: if the name or an option is unknown, or the source needs a cohort with lesions and there is none.
        CohortError: if a file cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> type(make_mask_source("bank", cohort)).__name__
        'MaskBank'
    """
    from lesionforge.cohort.layouts.labels import fail
    from lesionforge.masks.base import MaskRequest

    source = MASK_SOURCES[source_name(spec)]
    parse_options(source.Config, options or {})
    request = MaskRequest(
        spec=spec,
        cohort=cohort,
        channel=channel,
        on_problem=on_problem or fail,
        device=device,
        options=options or {},
    )
    return source.from_request(request)


def source_name(spec: str) -> str:
    """Return the name in :data:`MASK_SOURCES` of a source that a user named with its argument.

    Raises:
        ConfigError: if there is no such source.
    """
    kind, _, argument = spec.partition(":")
    for name in MASK_SOURCES:
        known, _, takes_argument = name.partition(":")
        if known == kind and bool(argument) == bool(takes_argument):
            return name
    raise ConfigError(f"masks {spec!r}", "unknown mask source", f"use {one_of(MASK_SOURCES)}")
