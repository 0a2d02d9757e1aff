"""The test cases in numbers that their scores may depend on: size and contrast of their lesions."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.evidence.facts import Facts, contrasts_of

TEST_CASES = "test_cases.csv"
"""Table of the test cases in a benchmark folder."""
SIZES = {2: "lesion_area_mm2", 3: "lesion_volume_ml"}
CONTRAST = "contrast"


def facts_of_cases(test: Cohort, channels: Sequence[str]) -> pd.DataFrame:
    """Return a row per test case with a lesion: ``case_id, subject_id``, lesion size, and contrast.

    The size is ``lesion_area_mm2`` in 2D and ``lesion_volume_ml`` in 3D, of all lesions together. The contrast is
    ``contrast`` of the ``channel`` in which the lesions of all test cases together have most, see
    :class:`~lesionforge.evidence.facts.Facts`.
    """
    cases = test.with_lesions()
    whole = fingerprint(cases, channels)
    measured = {case.case_id: case for case in whole.cases if case.lesions}
    if not measured:
        return pd.DataFrame(columns=["case_id", "subject_id", *SIZES.values(), CONTRAST, "channel"])
    channel, size = Facts.of(whole).channel, SIZES[whole.spatial_dims]
    rows = []
    for case in cases.subset(measured):
        volume = sum(lesion.volume for lesion in measured[case.case_id].lesions)
        contrast = contrasts_of(fingerprint(cases.with_cases([case]), [channel]))[channel]
        facts = {size: volume if whole.spatial_dims == 2 else volume / 1000, CONTRAST: contrast, "channel": channel}
        rows.append({"case_id": case.case_id, "subject_id": case.subject_id, **facts})
    return pd.DataFrame(rows)
