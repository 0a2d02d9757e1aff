"""A picture of what edits do: Figure 3 of Shin et al. 2018 (arXiv 1807.10225).

The rows are the real scan, an image drawn from its own label, from edited labels, and from its lesion on a healthy
brain. The first column shows the label over the anatomy, the others show the channels. Each row shows the slice with
most of its lesion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lesionforge.cohort.case import SIMULATED, Case, Cohort
from lesionforge.cohort.inspection.contact_sheet import class_legend
from lesionforge.cohort.inspection.panels import Panel, over_anatomy, sheet, window_of
from lesionforge.cohort.inspection.planes import key_plane
from lesionforge.cohort.scan import FloatArray, Scan, load_scan
from lesionforge.errors import CohortError, ConfigError
from lesionforge.files import atomic
from lesionforge.masks.editing.edit_config import EDITS
from lesionforge.production.drawing import draw_into
from lesionforge.seeding import generator
from lesionforge.synthesizers.base import Synthesizer

ROWS = {
    "enlarge": "larger",
    "shrink": "smaller",
    "shift": "shifted",
    "mirror": "mirrored",
    "transplant": "on a healthy brain",
}
"""Edit → name of its row."""


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row of the sheet.

    Attributes:
        name: what it shows.
        scan: the scan with the label of the row.
        image: ``(channel, x, y[, z])`` to show; ``None`` if the label was not drawn.
    """

    name: str
    scan: Scan
    image: FloatArray | None


def edit_sheet(
    cohort: Cohort,
    edited: Cohort,
    out: Path,
    *,
    onto: Cohort | None = None,
    model: Synthesizer | None = None,
    seed: int = 0,
) -> Path:
    """Draw one case of a cohort, and its edits, into a PNG.

    Args:
        cohort: the cohort that was edited; the first case with most edits is shown.
        edited: the edited cases, see :func:`~lesionforge.production.edit.edit_cohort`.
        out: the PNG file, overwritten if it exists.
        onto: the lesion-free scans that lesions were transplanted to, if ``cohort`` does not hold them.
        model: draws the labels, if given; it must draw whole images from label maps.
        seed: seed of what is drawn.

    Returns:
        ``out``.

    Raises:
        ConfigError: if the model draws into scans.
        CohortError: if there is no edited case, or a label cannot be drawn.
    """
    if model is not None:
        check_draws_labels(model)
    source, shown = _shown(cohort, edited)
    channels = cohort.channels if model is None else model.info.preprocessing.channels
    scan = load_scan(source, channels)
    simulated = {case.case_id for case in (*cohort, *(onto or ())) if case.origin == SIMULATED}
    origin = SIMULATED if source.origin == SIMULATED else "real"
    rows = [_Row(name=origin, scan=scan, image=scan.image)]
    if model is not None:
        rows.append(_drawn("same label", scan, model, seed))
    for edit, case in shown.items():
        other = load_scan(case, channels)
        onto_simulated = edit == "transplant" and case.source_case in simulated
        row = _Row(name="on a simulated brain" if onto_simulated else ROWS[edit], scan=other, image=None)
        rows.append(row if model is None else _drawn(row.name, other, model, seed))
    figure = sheet([_panels(row, channels, first=row is rows[0]) for row in rows], alike=True)
    class_legend(figure, cohort.labels)
    with atomic(out) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")
    return out


def check_draws_labels(model: Synthesizer) -> None:
    """Refuse a model that draws into scans, which show their lesions as they were.

    Raises:
        ConfigError: if it does.
    """
    if model.sees_lesions or not (model.draws_whole_image and model.needs_mask):
        what = f"{model.method} draws into the scan, which shows the lesion as it was"
        raise ConfigError("`model`", what, "name one that draws from label maps, such as spade")


def _shown(cohort: Cohort, edited: Cohort) -> tuple[Case, dict[str, Case]]:
    """Return the case to show, and edit → its edited case; a transplant may be from any case if its own is missing."""
    found = dict[str, dict[str, Case]]()
    for case in edited:
        origin, _, edit = case.mask_id.rpartition("+")
        found.setdefault(origin, {}).setdefault(edit, case)
    if not found:
        raise CohortError(edited.name, "has no edited case to show", "see its problems.csv")
    name = max(found, key=lambda one: len(found[one]))
    others = {edit: case for of_case in found.values() for edit, case in of_case.items() if edit == "transplant"}
    shown = {**others, **found[name]}
    return cohort[name], {edit: shown[edit] for edit in EDITS if edit in shown}


def _drawn(name: str, scan: Scan, model: Synthesizer, seed: int) -> _Row:
    """Draw the label of a scan with a model that draws whole images."""
    assert scan.label is not None
    blank = replace(scan, label=np.zeros_like(scan.label))
    sample = model.info.preprocessing.forward(blank)
    rng = generator(seed, scan.case.case_id, "sheet")
    drawing = draw_into(model, blank, sample, scan.label, rng, blend="full")
    return _Row(name=f"{name}, drawn", scan=scan, image=drawing.image)


def _panels(row: _Row, channels: Sequence[str], *, first: bool) -> list[Panel | None]:
    """Return the label over the anatomy, else over the scan, and the channels of a row."""
    scan, plane = row.scan, key_plane(row.scan)
    assert scan.label is not None
    plain = Panel(image=plane.cut(scan.image[0]), window=window_of(scan.image[0]), aspect=plane.aspect)
    anatomy = None if scan.anatomy is None else plane.cut(scan.anatomy)
    label = replace(plain, filled=plane.cut(scan.label), title="label" if first else "", note=row.name)
    if row.image is None:
        return [over_anatomy(label, anatomy), *[None] * len(channels)]
    images = [
        replace(plain, image=plane.cut(image), window=window_of(real), title=channel if first else "")
        for image, real, channel in zip(row.image, scan.image, channels, strict=True)
    ]
    return [over_anatomy(label, anatomy), *images]
