"""The rules of a mask source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.errors import ConfigError, LesionforgeError, PlacementError
from lesionforge.masks import MaskSource, PlacedMask, make_mask_source, with_region
from lesionforge.seeding import generator
from lesionforge.testing.rules import copied, rule, same, simulated_cohort

SEED, MIN_VOLUME, NO_VOLUME = 0, 20.0, 1e9


def check_mask_source(make: Callable[[Cohort], MaskSource] | str, *, spatial_dims: Sequence[int] = (2, 3)) -> None:
    """Check that a mask source follows the rules. Takes about a second per number of dimensions.

    A mask lies on the scan's grid and, unless the source fixes its place, inside the region, outside existing lesions,
    and has the minimum volume. The source names its subjects; the same random generator gives the same bytes, also in a
    copy sent to another process; different masks have different digests; a scan with another number of dimensions works
    or raises a :class:`~lesionforge.LesionforgeError`.

    Args:
        make: function that makes the source from a cohort with lesions; or its name for ``--masks``, such as
            ``"bank"``.
        spatial_dims: 2 tests slices, 3 tests volumes.

    Raises:
        AssertionError: naming the broken rule.
    """
    made = partial(make_mask_source, make) if isinstance(make, str) else make
    with TemporaryDirectory() as folder:
        cohorts = {dims: simulated_cohort(Path(folder, f"cohort{dims}"), dims) for dims in (2, 3)}
        for dims in spatial_dims:
            source = made(cohorts[dims])
            _check_description(source, made(cohorts[dims]))
            for case in (cohorts[dims].cases[0], cohorts[dims].cases[-1]):
                _check_masks(source, with_region(load_scan(case, cohorts[dims].channels)), cohorts[dims])
            other = simulated_cohort(Path(folder, f"other{dims}"), dims, seed=1)
            _check_digest(source, made(other), _scan(cohorts[dims]))
            _check_other_dimensions(source, _scan(cohorts[5 - dims]))


def _scan(cohort: Cohort) -> Scan:
    return with_region(load_scan(cohort.cases[0], cohort.channels))


def _sample(source: MaskSource, scan: Scan, seed: int = SEED) -> PlacedMask:
    return source.sample(scan, generator(seed), min_volume=MIN_VOLUME)


def _check_description(source: MaskSource, again: MaskSource) -> None:
    rule(isinstance(source, MaskSource), f"{type(source).__name__} must be a MaskSource")
    rule(isinstance(source.subjects, frozenset), "subjects must be a frozenset of the subjects whose lesions it knows")
    rule(source.digest and isinstance(source.digest, str), "digest must say what the masks depend on, in a string")
    rule(source.digest == again.digest, "made twice from the same cohort, the source has two digests")


def _check_masks(source: MaskSource, scan: Scan, cohort: Cohort) -> None:
    kept = copied(scan)
    try:
        placed = _sample(source, scan)
    except ConfigError:
        rule(scan.label is None or not scan.label.any(), "it has no mask for a scan with a lesion")
        return
    _check_mask(placed, scan, cohort)
    known = source.subjects | scan.case.ancestry
    rule(placed.subjects <= known, "subjects must hold every subject that a mask comes from")
    if source.draw(scan, generator(SEED)).clip:
        _check_place(placed, scan)
        too_large = partial(source.sample, scan, generator(SEED), min_volume=NO_VOLUME, max_redraws=2)
        _check_placement_error(too_large)
    equal = same(scan.image, kept.image) and same(scan.label, kept.label) and same(scan.region, kept.region)
    rule(equal, "a mask source must not change the scan that it is given")
    for drawer, whose in ((source, "the same generator"), (copied(source), "a pickled copy of the source")):
        _sample(drawer, scan, SEED + 1)
        rule(same(_sample(drawer, scan).mask, placed.mask), f"same seed, same bytes: {whose} gave another mask")


def _check_mask(placed: PlacedMask, scan: Scan, cohort: Cohort) -> None:
    mask = placed.mask
    rule(mask.shape == scan.spatial_shape, f"a mask must lie on the scan's grid {scan.spatial_shape}, not {mask.shape}")
    rule(np.issubdtype(mask.dtype, np.integer), "a mask must hold integer classes")
    rule(mask.any(), "a mask must not be empty")
    rule(set(np.unique(mask)) <= set(cohort.labels.values()), "a mask must hold only classes of the cohort")


def _check_place(placed: PlacedMask, scan: Scan) -> None:
    lesion = placed.mask > 0
    assert scan.region is not None
    rule(not lesion[~scan.region].any(), "a mask must lie inside the region of with_region")
    rule(scan.label is None or not scan.label[lesion].any(), "a mask must not lie on an existing lesion")
    volume = np.count_nonzero(lesion) * np.prod(scan.spacing)
    rule(volume >= MIN_VOLUME, f"a mask of {volume:.0f} mm³ was placed, but min_volume was {MIN_VOLUME:g}")


def _check_placement_error(too_large: Callable[[], object]) -> None:
    try:
        too_large()
    except PlacementError:
        return
    except LesionforgeError as error:
        raise AssertionError(f"where no mask fits, sample must raise a PlacementError, not {error!r}") from error
    raise AssertionError("where no mask fits, sample must raise a PlacementError")


def _check_digest(source: MaskSource, other: MaskSource, scan: Scan) -> None:
    if not same(_sample(source, scan).mask, _sample(other, scan).mask):
        rule(source.digest != other.digest, "two sources that draw different masks have the same digest")


def _check_other_dimensions(source: MaskSource, scan: Scan) -> None:
    """Check that a scan with another number of dimensions gets a mask of its own shape, or is refused."""
    what = f"drawing a mask into a {scan.spatial_dims}D scan"
    try:
        mask = _sample(source, scan).mask
    except LesionforgeError:
        return
    except Exception as error:
        raise AssertionError(f"{what} must work or raise a LesionforgeError, not {error!r}") from error
    rule(mask.shape == scan.spatial_shape, f"{what} gave one of shape {mask.shape}")
