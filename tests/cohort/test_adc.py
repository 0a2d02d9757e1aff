"""ADC maps come in several units; a cohort has one."""

import nibabel as nib
import numpy as np
import pytest

from lesionforge.cohort.layouts import preview_nnunet, write_nnunet
from lesionforge.cohort.scan import read_image
from lesionforge.errors import CohortError
from tests.helpers import tiny_cohort


def change(path, edit):
    """Rewrite an image with edited intensities."""
    image = nib.load(path)
    nib.save(nib.Nifti1Image(edit(image.get_fdata()).astype(np.float32), image.affine), path)


def scaled(folder, factor):
    """Return a cohort of DWI and ADC whose first ADC map has a median of 1, multiplied by ``factor``."""
    cohort = tiny_cohort(folder, spatial_dims=3, channels=("DWI", "ADC"), n_subjects=2)
    for case in cohort:
        change(case.images["ADC"], lambda values: values / np.median(values[values != 0]))
    change(cohort.cases[0].images["ADC"], lambda values: values * factor)
    return cohort


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_another_unit_is_brought_to_the_common_one(tmp_path, factor):
    cohort = scaled(tmp_path / "a", factor)
    report = write_nnunet(cohort, tmp_path / "b")
    assert report.converted == preview_nnunet(cohort).converted == ("case_000",)
    before, affine = read_image(cohort.cases[0].images["ADC"])
    after, affine_after = read_image(report.cohort.cases[0].images["ADC"])
    np.testing.assert_allclose(after, before / factor, rtol=1e-5)
    np.testing.assert_array_equal(affine, affine_after)
    assert cohort.cases[0].images["DWI"].read_bytes() == report.cohort.cases[0].images["DWI"].read_bytes()


@pytest.mark.parametrize("factor", [1.0, 30.0])
def test_the_common_unit_and_an_unknown_one_are_copied_as_they_are(tmp_path, factor):
    cohort = scaled(tmp_path / "a", factor)
    report = write_nnunet(cohort, tmp_path / "b")
    assert report.converted == ()
    for before, after in zip(cohort, report.cohort, strict=True):
        assert before.images["ADC"].read_bytes() == after.images["ADC"].read_bytes()


def test_other_channels_keep_their_unit(tmp_path):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=3, channels=("DWI",), n_subjects=2)
    change(cohort.cases[0].images["DWI"], lambda values: values * 1e-3 / np.median(values))
    assert write_nnunet(cohort, tmp_path / "b").converted == ()


def test_slices_have_no_unit(tmp_path):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=2, channels=("ADC",), n_subjects=2)
    assert write_nnunet(cohort, tmp_path / "b").converted == ()


def test_a_truncated_map_leaves_only_its_case_out(tmp_path):
    cohort = scaled(tmp_path / "a", 1e3)
    broken = cohort.cases[1].images["ADC"]
    broken.write_bytes(broken.read_bytes()[:100])
    report = write_nnunet(cohort, tmp_path / "b")
    assert [case.case_id for case in report.cohort] == ["case_000"]
    assert report.converted == ("case_000",)
    assert all(isinstance(problem, CohortError) for problem in report.problems)
    assert nib.load(report.cohort.cases[0].images["ADC"]).get_data_dtype() == np.float32
