"""The command recommend."""

from dataclasses import replace

import pytest

from lesionforge.cohort.layouts import read_cohort, write_nnunet
from tests.cli.commands import error, typed
from tests.helpers import tiny_cohort

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


@BOTH
def test_a_cohort_is_told_what_was_measured_on_others_like_it(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=spatial_dims)
    output = typed("recommend", tmp_path / "cohort").output
    assert f"{len(cohort.with_lesions().subjects)} annotated subjects" in output
    assert "Improve the training on the real cases first" in output
    assert "--scale cpu --data" in " ".join(output.split())


def test_a_bad_case_is_named_and_the_others_count(tmp_path):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=2)
    (bad, *_) = read_cohort(tmp_path / "cohort").with_lesions()
    next(iter(bad.images.values())).write_bytes(b"no image")
    result = typed("recommend", tmp_path / "cohort", code=1)
    assert f"{bad.case_id}_0000.png: cannot be" in result.output.replace("\n", "")
    assert f"{len(cohort.with_lesions().subjects) - 1} annotated subject" in result.output


def test_a_channel_that_is_missing_is_refused(tmp_path):
    tiny_cohort(tmp_path / "cohort", spatial_dims=2)
    assert "has no channel 'CT'" in error("recommend", tmp_path / "cohort", "--channel", "CT")


def test_a_cohort_without_lesions_is_refused(tmp_path):
    tiny_cohort(tmp_path / "healthy", spatial_dims=2, n_subjects=2, n_healthy=2)
    assert "has no annotated lesion" in error("recommend", tmp_path / "healthy")


def test_synthetic_cases_do_not_count(tmp_path):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=2)
    drawn = [replace(case, origin="synthetic", source_case=cohort.cases[0].case_id) for case in cohort.cases[1:3]]
    write_nnunet(cohort.with_cases([cohort.cases[0], *drawn]), tmp_path / "mixed")
    assert "1 annotated subject;" in typed("recommend", tmp_path / "mixed").output
