"""The facts of a cohort, counted by hand."""

import numpy as np
import pytest

from lesionforge.cohort.inspection.fingerprint import Intensities, fingerprint
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


def test_the_contrast_is_that_of_the_channel_in_which_lesions_stand_out(tmp_path):
    """Percentiles 0.5, 5, 50, 95 and 99.5, by hand; the sign says whether lesions are dark."""
    seen = fingerprint(tiny_cohort(tmp_path, spatial_dims=2, channels=("T1", "FLAIR")), ("T1", "FLAIR"))
    outside = (0.0, 10.0, 50.0, 110.0, 120.0)
    dark = Intensities(inside=(0.0, 5.0, 10.0, 20.0, 30.0), outside=outside)
    bright = Intensities(inside=(50.0, 60.0, 70.0, 80.0, 90.0), outside=outside)
    facts = Facts.of(seen.model_copy(update={"intensities": {"T1": dark, "FLAIR": bright}}))
    assert (facts.channel, facts.contrast) == ("T1", pytest.approx(-0.4))


def test_lesions_have_no_contrast_to_a_head_of_one_intensity_or_to_none(tmp_path):
    seen = fingerprint(tiny_cohort(tmp_path, spatial_dims=2), ("FLAIR",))
    for outside in ((7.0,) * 5, None):
        flat = Intensities(inside=(9.0,) * 5, outside=outside)
        assert Facts.of(seen.model_copy(update={"intensities": {"FLAIR": flat}})).contrast == 0
