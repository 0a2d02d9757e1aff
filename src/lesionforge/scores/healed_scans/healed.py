"""Scores of scans whose lesions were removed: is it the same subject, is the lesion gone, what else changed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.grid import same_grid
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.scan import FloatArray, LabelArray, Scan, load_scan, read_label
from lesionforge.errors import CohortError
from lesionforge.preprocessing.intensity import Intensity, Percentile
from lesionforge.scores.healed_scans.healed_case import HealedCase, Slices
from lesionforge.scores.healed_scans.healed_scores import HEALED_SCORES, f_pre_dice, mean_of_known
from lesionforge.scores.healed_scans.healthiness import Segmentor

Healed = Cohort | Mapping[str, FloatArray]
"""A cohort made from the originals, or case id → ``(channel, x, y[, z])`` on the original's grid and in its units."""

UNTOUCHED, BLANK = "untouched", "blank"
REFERENCES = (UNTOUCHED, BLANK)
"""What every method stands between: the input itself, and an image of nothing but background."""

_COLUMNS = ("method", "seed", "case_id", "subject_id", "slices", *HEALED_SCORES, "found", "true", "drawn", "f_pre_dice")


def score_healed(
    originals: Cohort,
    methods: Mapping[str, Healed],
    f_pre: Segmentor,
    *,
    reconstructions: Mapping[str, Healed] | None = None,
    maps: Mapping[str, Cohort] | None = None,
    locate: Literal["difference", "f_pre"] = "difference",
    channels: tuple[str, ...] | None = None,
    intensity: Intensity | None = None,
    fraction: float = 1.0,
    f_pre_subjects: Collection[str] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """Score healed scans case by case; slices count equally within a case.

    Args:
        originals: real scans whose lesions are known; others are left out.
        methods: name → what it made of every case.
        f_pre: finds lesions, see :func:`~lesionforge.scores.healed_scans.healthiness.segmentor`; trained on other
            subjects.
        reconstructions: name → the scans with their lesions drawn again, of the methods that can.
        maps: name → the scans labelled with the lesions that the method found, of the methods that say.
        locate: how the lesion in a reconstruction is found: where it differs from the healed image, or by ``f_pre``.
        channels: image channels; all unless given. Identity and change are means over them.
        intensity: the originals' intensities that become 0 and 1; 0 and each scan's 99.5th percentile unless given.
        fraction: of the head's height that is looked at; the slices above and below are left out.
        f_pre_subjects: whom ``f_pre`` was trained on.
        seed: that the methods were trained with; tables of several seeds may be put together.

    Returns:
        a row per method (:data:`REFERENCES` included) and case: ``method, seed, case_id, subject_id``, ``slices`` that
        show a lesion, the scores of ``HEALED_SCORES``, ``found`` and ``true`` voxels in those slices, ``drawn``,
        the share of them whose reconstruction draws anything, and ``f_pre_dice`` of f_pre on the original.

    Raises:
        CohortError: if no case shows a lesion, a method lacks a case, or an image is not on its original's grid.
        LeakError: if ``f_pre`` was trained on a subject that is scored.
    """
    channels = channels or originals.channels
    cases = originals.annotated().having(channels).with_channels(channels)
    check_no_leak(cases.with_cases(()), cases, models={"f_pre": f_pre_subjects})
    rows = []
    for case in cases:
        slices = Slices.of(load_scan(case, channels), intensity or Percentile(), fraction)
        scan = slices.scan
        own = f_pre(scan, scan.image)
        facts = {"seed": seed, "case_id": case.case_id, "subject_id": case.subject_id}
        facts |= {"slices": int(slices.pathological.sum()), "f_pre_dice": f_pre_dice(own, scan)}
        for name, image in _images(scan, methods):
            again = found_again = own_map = None
            if reconstructions is not None and name in reconstructions:
                again = _image_of(reconstructions[name], scan, f"reconstruction of {name}")
                found_again = f_pre(scan, again) if locate == "f_pre" else None
            if maps is not None and name in maps:
                own_map = _map_of(maps[name], scan, name)
            found = own if name == UNTOUCHED else f_pre(scan, image)
            healed = HealedCase(
                slices=slices, image=image, found=found, again=again, found_again=found_again, own_map=own_map
            )
            rows.append({"method": name, **facts, **_scored(healed, facts)})
    if not any(row["slices"] for row in rows):
        raise CohortError(originals.name, "shows no lesion in the slices that are scored", "score scans with lesions")
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _scored(case: HealedCase, facts: Mapping[str, Any]) -> dict[str, float]:
    """Return every score, of sets that of the case alone, and what they are made of."""
    found, true = case.counts
    row = {"found": found, "true": true, "drawn": mean_of_known([~np.isnan(case.displacements)])}
    alone = pd.DataFrame([{**facts, **row}])
    return row | {name: score(alone if score.level == "set" else case) for name, score in HEALED_SCORES.items()}


def _images(scan: Scan, methods: Mapping[str, Healed]) -> Iterator[tuple[str, FloatArray]]:
    yield UNTOUCHED, scan.image
    yield BLANK, np.stack([np.full_like(channel, channel.min()) for channel in scan.image])
    for name, healed in methods.items():
        yield name, _image_of(healed, scan, name)


def _image_of(healed: Healed, scan: Scan, name: str) -> FloatArray:
    """Return what a method made of a scan.

    Raises:
        CohortError: if it lacks the case, or the image is not on the grid of the original.
    """
    case_id = scan.case.case_id
    made = of_source(healed) if isinstance(healed, Cohort) else healed
    if case_id not in made:
        raise CohortError(name, f"has no image of case {case_id}", "heal every case that is scored")
    found = made[case_id]
    if isinstance(found, Case):
        drawn = load_scan(found, scan.channels)
        image, affine = drawn.image, drawn.affine
    else:
        image, affine = np.asarray(found, np.float32), scan.affine
    if image.shape != scan.image.shape or not same_grid(scan.spatial_shape, affine, scan.affine):
        raise CohortError(f"{case_id} of {name}", "is not on the grid of the original", "write it in original space")
    return image


def of_source(made: Cohort) -> dict[str, Case]:
    """Return the cases by the id of the case that each was made from."""
    return {case.source_case or case.case_id: case for case in made}


def _map_of(maps: Cohort, scan: Scan, name: str) -> LabelArray:
    """Return the lesion that a method found in a scan.

    Raises:
        CohortError: if there is no map of the case.
    """
    found = of_source(maps).get(scan.case.case_id)
    if found is None or found.label is None:
        raise CohortError(name, f"has no map of case {scan.case.case_id}", "heal every case that is scored")
    return read_label(found.label)[0]
