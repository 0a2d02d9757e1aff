"""Scans made in memory: a round brain in a dark field."""

from pathlib import Path

import numpy as np

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.scan import Scan

SHAPES = {2: (96, 96), 3: (64, 72, 24)}
SPACINGS = {2: (1.0, 1.0), 3: (2.0, 2.0, 4.0)}


def ball(shape, centre, radii):
    """Return an ellipsoid as bool."""
    grid = np.indices(shape).reshape(len(shape), -1)
    distance = np.linalg.norm((grid - np.array(centre)[:, None]) / np.array(radii)[:, None], axis=0)
    return (distance <= 1).reshape(shape)


def make_scan(spatial_dims, *, label=None, case_id="target", affine=None, region=True, anatomy=None):
    """Return a scan whose brain is an ellipsoid that fills 80 % of each axis."""
    shape = SHAPES[spatial_dims]
    if affine is None:
        affine = np.diag([*SPACINGS[spatial_dims], *[1.0] * (4 - spatial_dims)])
    middle = [(n - 1) / 2 for n in shape]
    brain = ball(shape, middle, [0.4 * n for n in shape])
    return Scan(
        case=Case(
            case_id=case_id,
            subject_id=f"s_{case_id}",
            images={"FLAIR": Path("none.nii.gz")},
            annotation=Annotation.LESION_FREE,
        ),
        channels=("FLAIR",),
        image=(100 * brain).astype(np.float32)[None],
        label=np.zeros(shape, np.int16) if label is None else label,
        affine=affine,
        anatomy=anatomy,
        region=brain if region else None,
    )
