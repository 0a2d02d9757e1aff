"""Scoring of healed scans: identity of the subject, removal of the lesion, and other changes."""

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
"""A cohort made from the originals, or case_id → ``(channel, x, y[, z])`` image on the original's grid and in its
units."""

UNTOUCHED, BLANK = "untouched", "blank"
REFERENCES = (UNTOUCHED, BLANK)
"""Methods for reference that are always scored: the input itself, and an image of background only."""

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
    """Score healed scans case by case; all slices of a case have equal weight.

    Args:
        originals: real scans with annotated lesions; other scans are left out.
        methods: name → healed scans of all cases.
        f_pre: finds lesions, see :func:`~lesionforge.scores.healed_scans.healthiness.segmentor`; it must be trained on
            other subjects.
        reconstructions: name → scans with the lesions drawn again, for methods that can do this.
        maps: name → scans labelled with the lesions that the method found, for methods that output them.
        locate: how to find the lesion in a reconstruction: by its difference from the healed image, or by ``f_pre``.
        channels: image channels; all unless given. Identity and change are averaged over them.
        intensity: the originals' intensities that map to 0 and 1; 0 and each scan's 99.5th percentile unless given.
        fraction: central fraction of the head's height to score; slices above and below are left out.
        f_pre_subjects: subjects that ``f_pre`` was trained on.
        seed: training seed of the methods; tables of several seeds can be concatenated.

    Returns:
        A row per method (:data:`REFERENCES` included) and case: ``method, seed, case_id, subject_id``, ``slices``
        (number of slices with a lesion), the scores of ``HEALED_SCORES``, ``found`` and ``true`` (lesion voxels in
        those slices), ``drawn`` (share of those slices with a lesion drawn in the reconstruction), and ``f_pre_dice``
        (Dice of f_pre on the original).

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
    """Return every score of the case and the columns that they are made of; scores of a set use this case alone."""
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
    """Return the image that a method made from a scan.

    Raises:
        CohortError: if the method lacks the case, or its image is not on the grid of the original.
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
    """Return the cases by the case_id of their source case."""
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
