"""Which rule says where the files of a case lie, if their headers say several things, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from lesionforge.cohort.case import FORMATS, Case, ending_of
from lesionforge.cohort.grid import FORMS_APART, Affine, Header, affine_of, corners_apart, forms_apart, is_sheared
from lesionforge.cohort.image_file import is_slice, read_header, read_stored
from lesionforge.cohort.volume_formats import pair_header, spacing_file
from lesionforge.errors import CohortError

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


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a volume lies.

    Attributes:
        shape: its voxels along each axis.
        affine: 4×4, voxel indices to mm, RAS.
        rule: the rule that said so; empty if its header did.
    """

    shape: tuple[int, ...]
    affine: Affine
    rule: str = ""

    def differs(self, other: Place) -> bool:
        """Return whether another volume of the same size lies elsewhere, by more than rounding."""
        return corners_apart(self.shape, self.affine, other.affine) > ROUNDING


def rules_of(case: Case) -> list[str]:
    """Return the rules that settled where the files of a readable case lie."""
    places = [place for path in case.images.values() if (place := _place(path)) is not None]
    rules = dict.fromkeys(place.rule for place in places if place.rule)
    if any(places[0].differs(place) for place in places[1:]):
        rules[CHANNELS] = None
    if case.label is not None and places and (label := _place(case.label)) is not None and places[0].differs(label):
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


def _place(path: Path) -> Place | None:
    """Return where a volume lies; ``None`` for a slice, and for a damaged file."""
    try:
        if is_slice(path):
            return None
        header = read_header(path) if FORMATS.get(ending_of(path)) == "NIfTI" else None
        if header is not None:
            return Place(shape=header.get_data_shape()[:3], affine=affine_of(header), rule=_rule(header))
        stored = read_stored(path)
    except CohortError:
        return None
    return Place(shape=stored.array.shape, affine=stored.affine, rule=_rule_of_others(path))


def _rule_of_others(path: Path) -> str:
    """Return the rule that a file of another format than NIfTI needs, or ``""``."""
    kind = FORMATS.get(ending_of(path))
    if kind == "TIFF":
        return STACK if spacing_file(path) is None else STACK_WITH_SPACING
    if kind != "Analyze":
        return ""
    header = pair_header(path)
    if isinstance(header, nib.Nifti1Header):
        return _rule(header)
    return "" if path.with_suffix(".mat").is_file() else NO_DIRECTION
