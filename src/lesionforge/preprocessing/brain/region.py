"""The region of a scan in which lesions may lie: the parenchyma of its anatomy map, else its brain."""

from dataclasses import replace

import numpy as np

from lesionforge.cohort.scan import Scan
from lesionforge.preprocessing.brain.brain_mask import brain_region


def with_region(scan: Scan) -> Scan:
    """Return the scan with its region, so that many masks can be placed in it quickly.

    The region is the scan's own if it has one; else the parenchyma of its anatomy map (by default all values except 0);
    else the brain as found in the first channel. Lesions of the scan are part of it.

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
    if scan.anatomy is not None:
        region = np.isin(scan.anatomy, scan.case.parenchyma) if scan.case.parenchyma else scan.anatomy > 0
    else:
        region = brain_region(scan.image[0], scan.spacing)
    return replace(scan, region=region)
