"""Which rule says where the files of a case lie, if their headers say several things, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lesionforge.cohort.case import FORMATS, Case, ending_of
from lesionforge.cohort.grid import FORMS_APART, Header, affine_of, corners_apart, forms_apart, is_sheared
from lesionforge.cohort.image_file import read_header
from lesionforge.errors import CohortError

FORMS = "sform and qform differ: the sform counts"
SHEAR = "the sform is sheared: it counts, while ITK and nnU-Net take the qform, which is kept"
UNSET = "neither sform nor qform is set: the spacing counts, and the first axis runs from right to left"
APART = "image and mask differ by less than a tenth of a voxel: the mask takes the place of the image"
ROUNDING = 1e-4
"""In mm: differences below it come from rounding, and are not told."""


def rules_of(case: Case) -> list[str]:
    """Return the rules that settled where the files of a readable case lie; other formats than NIfTI say it once."""
    headers = {channel: _header(path) for channel, path in case.images.items()}
    images = [header for header in headers.values() if header is not None]
    rules = dict.fromkeys(rule for header in images if (rule := _rule(header)))
    if case.label is not None and images and (label := _header(case.label)) is not None:
        shape = images[0].get_data_shape()[:3]
        if corners_apart(shape, affine_of(images[0]), affine_of(label)) > ROUNDING:
            rules[APART] = None
    return list(rules)


def rules_by_case(cases: Iterable[Case]) -> dict[str, list[str]]:
    """Return rule → ids of the readable cases to which it was applied."""
    found: dict[str, list[str]] = {}
    for case in cases:
        for rule in rules_of(case):
            found.setdefault(rule, []).append(case.case_id)
    return found


def _rule(header: Header) -> str:
    """Return the rule that a header needs, or ``""``."""
    sform, qform = (int(header[f"{form}_code"]) > 0 for form in ("sform", "qform"))
    if not sform and not qform:
        return UNSET
    if sform and is_sheared(np.asarray(header.get_sform())):
        return SHEAR
    return FORMS if forms_apart(header) > FORMS_APART else ""


def _header(path: Path) -> Header | None:
    """Return the header of a NIfTI file; ``None`` for any other, and for a damaged one."""
    if FORMATS.get(ending_of(path)) != "NIfTI":
        return None
    try:
        return read_header(path)
    except CohortError:
        return None
