"""The region of a scan in which lesions lie, and the pools of fluid in it, where no new lesion may lie."""

from dataclasses import replace

import numpy as np

from lesionforge.cohort.scan import BoolArray, Scan
from lesionforge.preprocessing.brain.brain_mask import brain_region
from lesionforge.preprocessing.brain.fluid import find_fluid


def with_region(scan: Scan) -> Scan:
    """Return the scan with its region and the fluid in it, so that many masks can be placed in it quickly.

    The region is that of :func:`find_region`. Fluid is found only if the scan has neither a region nor an anatomy map,
    since the map says where lesions may lie. Lesions of the scan are part of the region and never fluid.

    Example:
        >>> from pathlib import Path
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> from lesionforge.cohort.scan import load_scan
        >>> scan = with_region(load_scan(cohort.cases[0], ["FLAIR"]))
        >>> scan.region.shape, bool(scan.region[32, 32]), bool(scan.region[0, 0])
        ((64, 64), True, False)
    """
    if scan.region is not None:
        return scan
    region = find_region(scan)
    return replace(scan, region=region, fluid=None if scan.anatomy is not None else _fluid_in(scan, region))


def find_region(scan: Scan) -> BoolArray:
    """Return the region ``(x, y[, z])`` in which lesions lie and to whose box their places are relative.

    It is the scan's own region if it has one; else the parenchyma of its anatomy map (by default all values except 0);
    else the brain as found in the first channel.
    """
    if scan.region is not None:
        return scan.region
    if scan.anatomy is not None:
        return np.isin(scan.anatomy, scan.case.parenchyma) if scan.case.parenchyma else scan.anatomy > 0
    return brain_region(scan.image[0], scan.spacing)


def fluid_of(scan: Scan) -> BoolArray | None:
    """Return the fluid ``(x, y[, z])`` of a scan: what its anatomy map names as fluid, else the pools that are found.

    Lesions of the scan are never fluid.

    Returns:
        bool; ``None`` if the map names no fluid, and no channel tells fluid from tissue.
    """
    if scan.anatomy is not None and scan.case.fluid:
        fluid = np.isin(scan.anatomy, scan.case.fluid)
        return fluid if scan.label is None else fluid & (scan.label == 0)
    return scan.fluid if scan.fluid is not None else _fluid_in(scan, find_region(scan))


def _fluid_in(scan: Scan, region: BoolArray) -> BoolArray | None:
    """Return the pools of fluid as the first channel shows them that tells fluid from tissue."""
    lesions = None if scan.label is None else scan.label > 0
    found = (find_fluid(channel, region, scan.spacing, lesions=lesions) for channel in scan.image)
    return next((fluid for fluid in found if fluid is not None), None)
