import gzip
import warnings
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lesionforge.cohort.case import Annotation, Cohort
from lesionforge.cohort.layouts import write_nnunet
from lesionforge.cohort.scan import load_scan, read_label, read_raw, save_edited, save_label
from lesionforge.errors import CohortError
from tests.helpers import NESTED, tiny_cohort, write_array

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
OBLIQUE_FLIPPED = np.array([[-1.7, 0.3, 0.1, 40.0], [0.3, 1.8, 0.4, -20.0], [0.1, -0.4, 3.1, 7.5], [0, 0, 0, 1.0]])


def refused(case, message, channels=("FLAIR",)):
    """Check that loading fails with one line that names a file or case, without any warning beside it."""
    with warnings.catch_warnings(record=True) as noise, pytest.raises(CohortError, match=message) as caught:
        load_scan(case, channels)
    assert not noise
    text = str(caught.value)
    assert case.case_id in text
    assert "\n" not in text
    assert caught.value.remedy
    return caught.value


@pytest.fixture
def case(tmp_path):
    return tiny_cohort(
        tmp_path, spatial_dims=3, n_subjects=1, channels=("FLAIR", "T1"), anatomy=True, affine=OBLIQUE_FLIPPED
    ).cases[0]


@pytest.fixture
def png(tmp_path):
    return tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1).cases[0]


@DIMS
def test_a_scan_is_what_the_files_hold(tmp_path, spatial_dims):
    cohort = tiny_cohort(
        tmp_path, spatial_dims=spatial_dims, n_subjects=1, channels=("FLAIR", "T1"), labels=NESTED, anatomy=True
    )
    case = cohort.cases[0]
    scan = load_scan(case, ("T1", "FLAIR"))
    assert scan.spatial_dims == spatial_dims
    assert scan.image.dtype == np.float32
    assert scan.label.dtype == np.int16
    assert scan.spacing == ((1.0, 1.0) if spatial_dims == 2 else (2.0, 2.0, 2.0))
    for values, channel in zip(scan.image, scan.channels, strict=True):
        np.testing.assert_array_equal(values, read_raw(case.images[channel])[0])
    np.testing.assert_array_equal(scan.label, read_raw(case.label)[0])
    np.testing.assert_array_equal(scan.anatomy, read_raw(case.anatomy)[0])


def test_spacing_of_an_oblique_scan_is_that_of_its_axes(case):
    expected = np.sqrt(np.square(OBLIQUE_FLIPPED[:3, :3]).sum(0))
    np.testing.assert_allclose(load_scan(case, ["FLAIR"]).spacing, expected, rtol=1e-6)


@DIMS
def test_unknown_is_not_lesion_free(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=3, n_healthy=1, n_unknown=1)
    assert load_scan(cohort.cases[0], ["FLAIR"]).label.any()
    healthy = replace(cohort.cases[1], label=None)
    assert not load_scan(healthy, ["FLAIR"]).label.any()
    assert load_scan(cohort.cases[2], ["FLAIR"]).label is None
    assert load_scan(replace(cohort.cases[0], annotation=Annotation.UNKNOWN), ["FLAIR"]).label is None


def test_scaled_intensities_are_read_in_their_units(case):
    path = case.images["FLAIR"]
    stored, affine, _, _ = read_raw(path)
    image = nib.Nifti1Image(stored, affine)
    image.header.set_slope_inter(0.5, -1024)
    nib.save(image, path)
    np.testing.assert_allclose(load_scan(case, ["FLAIR"]).image[0], stored * 0.5 - 1024)


@DIMS
def test_a_missing_channel_file(tmp_path, spatial_dims):
    case = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=1).cases[0]
    case.images["FLAIR"].unlink()
    assert "missing_channels" in refused(case, "the file is missing").remedy


def test_a_missing_label_file_is_no_missing_channel(case):
    case.label.unlink()
    assert "take its case out of the table" in refused(case, "the file is missing").remedy


def test_a_channel_listed_as_missing(case):
    refused(replace(case, images={"T1": case.images["T1"]}), "channel FLAIR is missing")


@pytest.mark.parametrize("part", [0.1, 0.6, 0.98])
@pytest.mark.parametrize("which", ["image", "label", "anatomy"])
def test_a_truncated_nifti(case, which, part):
    path = case.images["FLAIR"] if which == "image" else getattr(case, which)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    refused(case, "cannot be read")


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8, 0.99])
def test_a_nifti_with_a_damaged_stream(case, position):
    path = case.images["FLAIR"]
    content = bytearray(path.read_bytes())
    start = int(len(content) * position)
    for index in range(start, min(start + 40, len(content))):
        content[index] ^= 0xFF
    path.write_bytes(bytes(content))
    refused(case, "cannot be read")


def _written(path, content):
    path.write_bytes(content)
    return path


def test_nifti_2_is_read_and_written_as_nifti_1(case, tmp_path):
    path = case.images["FLAIR"]
    before = load_scan(case, ["FLAIR"])
    nib.save(nib.Nifti2Image(read_raw(path)[0], OBLIQUE_FLIPPED), path)
    after = load_scan(case, ["FLAIR"])
    np.testing.assert_array_equal(after.image, before.image)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-6)
    save_edited(path, tmp_path / "edited.nii.gz", after.image[0], before.label > 0)
    assert isinstance(nib.load(tmp_path / "edited.nii.gz"), nib.Nifti1Image)
    np.testing.assert_allclose(read_raw(tmp_path / "edited.nii.gz")[1], after.affine, atol=1e-5)


@pytest.mark.parametrize("content", [b"", b"no image at all", gzip.compress(b"no image at all", mtime=0)])
def test_a_file_that_is_no_nifti(case, content):
    refused(
        replace(case, images={"FLAIR": _written(case.images["FLAIR"].with_name("case_000.nii"), content)}), "cannot"
    )
    case.images["FLAIR"].write_bytes(content)
    refused(case, "cannot be read")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.8])
def test_a_truncated_png(png, part):
    path = png.images["FLAIR"]
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    refused(png, "cannot be read")


@pytest.mark.parametrize("which", ["T1", "label", "anatomy"])
def test_another_size(case, which):
    path = case.images["T1"] if which == "T1" else getattr(case, which)
    write_array(path, np.ones((32, 32, 15), np.uint8), OBLIQUE_FLIPPED)
    error = refused(case, r"has size \(32, 32, 15\) but case_000_0000.nii.gz has \(32, 32, 16\)", ("FLAIR", "T1"))
    assert error.where == str(path)


@pytest.mark.parametrize("which", ["T1", "label", "anatomy"])
def test_another_affine(case, which):
    path = case.images["T1"] if which == "T1" else getattr(case, which)
    shifted = OBLIQUE_FLIPPED.copy()
    shifted[0, 3] += 2
    write_array(path, read_raw(path)[0], shifted)
    assert refused(case, "affine differs from case_000_0000.nii.gz", ("FLAIR", "T1")).where == str(path)


def test_a_png_mask_of_another_size(png):
    write_array(png.label, np.zeros((64, 60), np.uint8))
    refused(png, "has size")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_intensities_that_are_no_numbers(case, value):
    path = case.images["FLAIR"]
    values = read_raw(path)[0].astype(np.float32)
    values[3, 3, 3] = value
    nib.save(nib.Nifti1Image(values, OBLIQUE_FLIPPED), path)
    refused(case, "NaN or infinite")


@DIMS
def test_an_image_of_zeros(tmp_path, spatial_dims):
    case = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=1).cases[0]
    path = case.images["FLAIR"]
    write_array(path, np.zeros_like(read_raw(path)[0]), read_raw(path)[1])
    refused(case, "zero everywhere")


def test_a_4d_file(case):
    values = np.ones((32, 32, 16, 2), np.int16)
    nib.save(nib.Nifti1Image(values, OBLIQUE_FLIPPED), case.images["FLAIR"])
    refused(case, "has 4 dimensions, expected 3")
    nib.save(nib.Nifti1Image(values[..., :1], OBLIQUE_FLIPPED), case.images["FLAIR"])
    assert load_scan(case, ["FLAIR"]).image.shape == (1, 32, 32, 16)


GREY = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "I;16"])
def test_slices_of_grey_are_read_however_their_file_keeps_it(png, mode):
    values = GREY if mode == "I;16" else (GREY // 16).astype(np.uint8)
    image = Image.fromarray(values)
    (image if mode == "I;16" else image.convert(mode)).save(png.images["FLAIR"])
    scan = load_scan(png, ["FLAIR"])
    np.testing.assert_array_equal(scan.image[0], values)


@pytest.mark.parametrize(("mode", "message"), [("RGB", "colour"), ("RGBA", "transparent"), ("P", "colour")])
def test_slices_in_colour_are_refused(png, mode, message):
    path = png.images["FLAIR"]
    pixels = np.dstack([GREY // 16, GREY % 256, GREY * 0, GREY % 256]).astype(np.uint8)
    Image.fromarray(pixels[..., :4] if mode == "RGBA" else pixels[..., :3]).convert(mode).save(path)
    assert refused(png, message).where == str(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.5, "soft mask"),
        (2.5, "not whole numbers, such as 2.5"),
        (np.nan, "NaN"),
        (np.inf, "infinite"),
        (1e6, r"label value 1e\+06, but classes go up to 32767"),
        (-4e4, "-40000"),
        (1e300, r"1e\+300"),
    ],
)
def test_labels_that_are_no_classes(case, value, message):
    label = read_raw(case.label)[0].astype(np.float64)
    label[0, 0, 0] = value
    nib.save(nib.Nifti1Image(label, OBLIQUE_FLIPPED), case.label)
    refused(case, message)


def test_two_cases_with_one_id(case):
    with pytest.raises(CohortError, match="case_000: two cases have this id"):
        Cohort(name="A", channels=("FLAIR",), labels={"background": 0, "lesion": 1}, cases=(case, case))


def test_every_bad_case_of_a_batch_is_listed_and_the_good_ones_are_done(tmp_path):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=3, n_subjects=6)
    paths = [case.images["FLAIR"] for case in cohort]
    values, affine, _, _ = read_raw(paths[0])
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:900])
    write_array(paths[2], values * 0, affine)
    write_array(paths[3], values[..., 1:], affine)
    nib.save(nib.Nifti1Image(np.full(values.shape, np.nan, np.float32), affine), paths[4])
    report = write_nnunet(cohort, tmp_path / "b")
    assert [case.case_id for case in report.cohort] == ["case_005"]
    assert len(report.problems) == 5
    assert len((tmp_path / "b" / "problems.csv").read_text().splitlines()) == 6


@DIMS
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_what_was_not_touched_stays_bit_identical(tmp_path, spatial_dims, dtype):
    source = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=1, affine=OBLIQUE_FLIPPED).cases[0]
    path, label = source.images["FLAIR"], read_label(source.label)[0]
    if spatial_dims == 3:
        image = nib.Nifti1Image(read_raw(path)[0].astype(dtype), OBLIQUE_FLIPPED)
        image.header.set_slope_inter(2.0, -7.0) if dtype is not np.float32 else None
        nib.save(image, path)
    touched = label > 0
    before, affine, slope, inter = read_raw(path)
    wanted = load_scan(source, ["FLAIR"]).image[0] + 10
    target = tmp_path / f"edited{''.join(path.suffixes)}"
    save_edited(path, target, wanted, touched)
    after, new_affine, new_slope, new_inter = read_raw(target)
    assert after.dtype == before.dtype
    assert (slope, inter) == (new_slope, new_inter)
    np.testing.assert_array_equal(affine, new_affine)
    np.testing.assert_array_equal(after[~touched], before[~touched])
    limit = 255 if before.dtype == np.uint8 else np.inf
    np.testing.assert_allclose(after[touched], np.minimum(before[touched] + 10 / slope, limit))


@DIMS
def test_labels_are_written_and_read(tmp_path, spatial_dims):
    label = np.arange(24, dtype=np.int16).reshape((4, 6) if spatial_dims == 2 else (2, 3, 4))
    path = tmp_path / ("a.png" if spatial_dims == 2 else "a.nii.gz")
    affine = np.eye(4) if spatial_dims == 2 else OBLIQUE_FLIPPED
    save_label(path, label, affine)
    back, back_affine = read_label(path)
    np.testing.assert_array_equal(back, label)
    np.testing.assert_allclose(back_affine, affine, atol=1e-6)
