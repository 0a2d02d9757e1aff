"""Which rule says where the files of a case lie, if their headers say several things, or nothing."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from lesionforge.cohort.case import FORMATS, ending_of
from lesionforge.cohort.grid import FORMS_APART, Header, corners_apart, forms_apart, is_sheared
from lesionforge.cohort.image_file import read_header
from lesionforge.cohort.scan import Scan
from lesionforge.cohort.volume_formats import pair_header, spacing_file

FORMS = "sform and qform differ: the sform counts"
SHEAR = "the sform is sheared: it counts, while ITK and nnU-Net take the qform, which is kept"
UNSET = "neither sform nor qform is set: the spacing counts, and the first axis runs from right to left"
APART = "image and mask differ by less than a tenth of a voxel: the mask takes the place of the image"
CHANNELS = "channels differ by less than a tenth of a voxel: the first one counts, and each keeps its header"
NO_DIRECTION = "Analyze knows no direction: the first axis runs from right to left"
_STACK = "a TIFF stack knows no direction: columns run to the left, rows to the back, pages upwards"
STACK_WITH_SPACING = f"{_STACK}; CASE.json beside it gives the spacing"
STACK = f"{_STACK}; without CASE.json beside it, the spacing is 1 mm"
ROUNDING = 1e-4
"""In mm: differences below it come from rounding, and are not told."""


def rules_of(scan: Scan) -> list[str]:
    """Return the rules that settled where the files of a scan lie; of files, only headers are read again."""
    if scan.spatial_dims == 2:
        return []
    images = [scan.case.images[channel] for channel in scan.channels]
    rules = dict.fromkeys(rule for path in images if (rule := _rule_of_file(path)))
    if any(_apart(scan, path) for path in images):
        rules[CHANNELS] = None
    if scan.case.label is not None and _apart(scan, scan.case.label):
        rules[APART] = None
    return list(rules)


def _apart(scan: Scan, path: Path) -> bool:
    """Return whether a file lies elsewhere than the first channel, by more than rounding."""
    return corners_apart(scan.spatial_shape, scan.affine, scan.affines.get(path, scan.affine)) > ROUNDING


def _rule_of_file(path: Path) -> str:
    """Return the rule that the header of a volume needs, or ``""``."""
    kind = FORMATS.get(ending_of(path))
    if kind == "NIfTI":
        header = read_header(path)
    elif kind == "TIFF":
        return STACK if spacing_file(path) is None else STACK_WITH_SPACING
    elif kind == "Analyze":
        header = pair_header(path)
        if not isinstance(header, nib.Nifti1Header):
            return "" if path.with_suffix(".mat").is_file() else NO_DIRECTION
    else:
        return ""
    return "" if header is None else _rule(header)


def _rule(header: Header) -> str:
    """Return the rule that a header needs, or ``""``."""
    sform, qform = (int(header[f"{form}_code"]) > 0 for form in ("sform", "qform"))
    if not sform and not qform:
        return UNSET
    if sform and is_sheared(np.asarray(header.get_sform())):
        return SHEAR
    return FORMS if forms_apart(header) > FORMS_APART else ""
