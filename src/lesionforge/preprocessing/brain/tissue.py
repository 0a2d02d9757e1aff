"""Tissue classes of scans without an anatomy map."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from lesionforge.cohort.scan import BoolArray, LabelArray, Scan
from lesionforge.cohort.structures import Structures
from lesionforge.errors import CohortError
from lesionforge.preprocessing.brain.brain_mask import brain_region

Fluid = Literal["darkest", "brightest", "none"]

SAMPLED = 50_000


def tissue_classes(scan: Scan, *, classes: int = 3, seed: int = 0) -> LabelArray:
    """Return classes ``(x, y[, z])`` of the brain by k-means; 1 is the darkest in the first channel, 0 is outside.

    The centres come from tissue outside lesions; a lesion voxel gets the class of the nearest centre.

    Args:
        scan: the scan; its region is used as brain if it has one, else the brain is found.
        classes: number of classes.
        seed: seed of the initial centres.

    Raises:
        CohortError: if no brain is found, or it has fewer different intensities than classes.
    """
    brain, healthy = brain_and_healthy(scan, classes=classes)
    values = values_in(scan, healthy)
    means = KMeans(classes, n_init=3, random_state=seed).fit(values[:: max(1, len(values) // SAMPLED)])
    rank = np.argsort(np.argsort(means.cluster_centers_[:, 0]))
    found = np.zeros(brain.shape, np.int16)
    found[brain] = rank[means.predict(values_in(scan, brain))] + 1
    return found


def tissue_structures(classes: int, fluid: Fluid) -> Structures:
    """Return the meaning of the values of :func:`tissue_classes`; lesions may lie in all classes except fluid.

    Args:
        classes: number of classes.
        fluid: the class that is cerebrospinal fluid: the darkest (FLAIR, T1, DWI), the brightest (T2), or none.
    """
    of_fluid = {"darkest": 1, "brightest": classes, "none": 0}[fluid]
    names = {"fluid" if value == of_fluid else f"tissue {value}": value for value in range(1, classes + 1)}
    return Structures(names=names, parenchyma=tuple(value for value in names.values() if value != of_fluid))


def brain_and_healthy(scan: Scan, *, classes: int) -> tuple[BoolArray, BoolArray]:
    """Return the brain ``(x, y[, z])`` of a scan, with and without its lesions.

    Raises:
        CohortError: if no brain is found, or it has fewer different intensities than classes.
    """
    brain = scan.region if scan.region is not None else brain_region(scan.image[0], scan.spacing)
    healthy = brain & (scan.label == 0) if scan.label is not None else brain
    if len(np.unique(values_in(scan, healthy), axis=0)) < classes:
        raise CohortError(scan.case.case_id, f"has no brain with {classes} tissues", "give it an anatomy map instead")
    return brain, healthy


def values_in(scan: Scan, where: BoolArray) -> NDArray[np.float64]:
    """Return ``(voxel, channel)`` intensities of a scan."""
    return scan.image[:, where].T.astype(np.float64)
