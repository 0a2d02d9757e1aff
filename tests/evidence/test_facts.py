"""The facts of a cohort, counted by hand."""

import numpy as np
import pytest

from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.errors import CohortError
from lesionforge.evidence.facts import Facts
from tests.helpers import tiny_cohort

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


@BOTH
def test_the_facts_are_those_of_the_largest_lesions(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims)
    seen = fingerprint(cohort, cohort.channels)
    facts = Facts.of(seen)
    largest = [max(lesion.volume for lesion in case.lesions) for case in seen.cases if case.lesions]
    size = np.pi * (facts.diameter_mm / 2) ** 2 if spatial_dims == 2 else np.pi / 6 * facts.diameter_mm**3
    assert np.isclose(size, np.median(largest), rtol=0.05)
    assert facts.subjects == len({case.subject_id for case in cohort.with_lesions()})
    assert facts.channel in cohort.channels
    assert facts.contrast > 0, "the lesions of this cohort are bright"


def test_a_cohort_without_lesions_has_no_facts(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2).healthy()
    with pytest.raises(CohortError, match="no annotated lesion"):
        Facts.of(fingerprint(cohort, cohort.channels))
