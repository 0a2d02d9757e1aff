"""Scans of other formats than NIfTI and PNG have the same voxels at the same place, and are written as those two."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from lesionforge.cohort import image_file
from lesionforge.cohort.image_file import is_slice, read_header, read_stored, volume_in
from lesionforge.cohort.scan import read_image, read_label, save_copy, save_edited, save_label
from lesionforge.errors import CohortError
from tests.cohort.test_image_file import AFFINE, VOXELS, refused

OBLIQUE = SimpleITK.Euler3DTransform((0, 0, 0), 0.1, 0.2, 0.3).GetMatrix()
SLICE = np.arange(12, dtype=np.uint8).reshape(3, 4)
SECRET = "Jane Doe 1970-01-01"


def itk_image(array=VOXELS):
    """Return an oblique volume of ITK with text of a person in it."""
    image = SimpleITK.GetImageFromArray(array.T)
    image.SetSpacing((1.5, 2.0, 3.0))
    image.SetOrigin((-10.0, 20.0, 30.0))
    image.SetDirection(OBLIQUE)
    image.SetMetaData("PatientName", SECRET)
    return image


def write(image, path, **options):
    SimpleITK.WriteImage(image, str(path), **options)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["a.nrrd", "A.NRRD", "a.nhdr", "a.mha", "a.mhd"])
def test_itk_formats_lie_where_itk_says_and_leave_their_text(tmp_path, name, packed):
    for kind in (np.int16, np.uint8, np.float32):
        image = itk_image(VOXELS.astype(kind))
        path = write(image, tmp_path / name, useCompression=packed)
        expected = read_stored(write(image, tmp_path / "itk.nii"))
        stored = read_stored(path)
        assert stored.array.dtype == kind
        np.testing.assert_array_equal(stored.array, VOXELS)
        np.testing.assert_allclose(stored.affine, expected.affine, atol=1e-4)
        save_copy(path, tmp_path / "copy.nii")
        np.testing.assert_allclose(read_stored(tmp_path / "copy.nii").affine, stored.affine, atol=1e-5)
        np.testing.assert_array_equal(read_stored(tmp_path / "copy.nii").array, VOXELS)
        assert b"Doe" not in (tmp_path / "copy.nii").read_bytes()
        assert b"Doe" in path.read_bytes()


def test_gipl_lies_where_itk_says_and_is_read_only_whole(tmp_path):
    image = itk_image()
    image.SetDirection(np.eye(3).ravel())  # of which the format knows none
    path = write(image, tmp_path / "a.gipl")
    stored, expected = read_stored(path), read_stored(write(image, tmp_path / "itk.nii"))
    np.testing.assert_array_equal(stored.array, VOXELS)
    np.testing.assert_allclose(stored.affine, expected.affine, atol=1e-4)
    path.rename(tmp_path / "a.mha")
    refused(tmp_path / "a.mha", r"is a file of the format GIPL; rename it so that it ends with \.gipl")
    for damaged, told in ((-20, "its header claims"), (200, "cannot be read as GIPL")):
        path.write_bytes((tmp_path / "a.mha").read_bytes()[:damaged])
        refused(path, told)


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
def test_freesurfer_volumes_lie_where_nibabel_says(tmp_path, name):
    affine = AFFINE.copy()
    affine[:3, 3] = -5, 6, 7
    nib.save(nib.MGHImage(VOXELS.astype(np.float32), affine), tmp_path / name)
    stored = read_stored(tmp_path / name)
    np.testing.assert_array_equal(stored.array, VOXELS)
    np.testing.assert_allclose(stored.affine, affine, atol=1e-4)
    save_label(tmp_path / "label.nii.gz", VOXELS, tmp_path / name)
    np.testing.assert_allclose(read_label(tmp_path / "label.nii.gz")[1], affine, atol=1e-4)


@pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Spm99AnalyzeImage, nib.Nifti1Pair])
def test_pairs_of_header_and_data_lie_where_nibabel_says(tmp_path, kind):
    image = kind(VOXELS, AFFINE if kind is nib.Nifti1Pair else None)
    image.header.set_zooms((1, 2, 3))
    nib.save(image, tmp_path / "a.hdr")
    stored = read_stored(tmp_path / "a.hdr")
    np.testing.assert_array_equal(stored.array * stored.slope + stored.inter, VOXELS)
    np.testing.assert_allclose(stored.affine, nib.load(tmp_path / "a.hdr").affine)
    (tmp_path / "a.img").unlink()
    refused(tmp_path / "a.hdr", "cannot be read|missing")


@pytest.mark.parametrize("beside", ["a.json", "a_0000.json", None])
def test_stacks_of_tiff_are_volumes_with_the_spacing_that_nnunet_keeps_beside_them(tmp_path, beside):
    path = tmp_path / "a_0000.tif"
    values = VOXELS.astype(np.uint16).T
    tifffile.imwrite(path, values, description=SECRET, compression="zlib", photometric="minisblack")
    if beside:
        (tmp_path / beside).write_text(json.dumps({"spacing": [6.0, 2.0, 1.5]}))
    stored = read_stored(path)
    np.testing.assert_array_equal(stored.array, VOXELS)
    spacing = np.linalg.norm(stored.affine[:3, :3], axis=0)
    assert spacing.tolist() == ([1.5, 2.0, 6.0] if beside else [1.0, 1.0, 1.0])
    assert not is_slice(path)
    if beside:
        (tmp_path / beside).write_text('{"spacing": [1, "2", 0]}')
        with pytest.raises(CohortError, match=r"\.json: gives no spacing"):
            read_stored(path)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, bool, np.int8, np.uint32])
def test_stacks_of_tiff_keep_their_numbers_in_a_type_of_nifti(tmp_path, dtype):
    values = (VOXELS % 100).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values.T, photometric="minisblack")
    save_copy(tmp_path / "a.tif", tmp_path / "copy.nii.gz")
    back = read_stored(tmp_path / "copy.nii.gz").array
    np.testing.assert_array_equal(back, values)
    assert back.dtype == {np.float16: np.float32, bool: np.uint8}.get(dtype, dtype)


def test_a_tiff_whose_only_page_has_several_planes_is_a_volume(tmp_path):
    values = np.arange(4 * 16 * 16, dtype=np.uint16).reshape(4, 16, 16)
    options = {"volumetric": True, "tile": (4, 16, 16), "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    assert not is_slice(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_stored(tmp_path / "a.tif").array, values.T)
    tifffile.imwrite(tmp_path / "b.tif", values[0, ..., None].repeat(3, axis=-1), photometric="rgb")
    assert is_slice(tmp_path / "b.tif")


@pytest.mark.parametrize("name", ["a.tif", "a.TIFF", "a.bmp", "a.jpg", "a.png"])
def test_slices_become_png_and_leave_their_text(tmp_path, name):
    values = np.full((16, 16), 90, np.uint8)
    exif = Image.Exif()
    exif[0x010E] = SECRET
    Image.fromarray(values).save(tmp_path / name, **({} if name == "a.bmp" else {"exif": exif}))
    assert is_slice(tmp_path / name)
    save_copy(tmp_path / name, tmp_path / "copy.png")
    np.testing.assert_allclose(read_image(tmp_path / "copy.png")[0], values, atol=1)
    assert b"Doe" not in (tmp_path / "copy.png").read_bytes()


@pytest.mark.parametrize("name", ["a.tif", "a.png"])
def test_slices_of_16_bits_keep_them_also_when_a_lesion_is_drawn(tmp_path, name):
    values = SLICE.astype(np.uint16) * 5000
    Image.fromarray(values).save(tmp_path / name)
    save_copy(tmp_path / name, tmp_path / "copy.png")
    np.testing.assert_array_equal(read_image(tmp_path / "copy.png")[0], values)
    save_edited(tmp_path / "copy.png", tmp_path / "drawn.png", np.full(SLICE.shape, 40_000, np.float32), SLICE == 3)
    np.testing.assert_array_equal(read_image(tmp_path / "drawn.png")[0], np.where(SLICE == 3, 40_000, values))


@pytest.mark.parametrize("ending", ["tif", "bmp", "png"])
def test_masks_are_read_from_slices_without_loss_and_not_from_jpeg(tmp_path, ending):
    Image.fromarray(SLICE % 3).save(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(read_label(tmp_path / f"a.{ending}")[0], SLICE % 3)
    Image.fromarray(SLICE).save(tmp_path / "a.jpg")
    assert "PNG" in refused(tmp_path / "a.jpg", "JPEG, which blurs", label=True).remedy


META = b"ObjectType = Image\nNDims = 3\nDimSize = 30000 30000 30000\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"


def nrrd(text, data=b""):
    return b"NRRD0004\n" + text.encode() + b"encoding: raw\n\n" + data


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.nrrd", nrrd("type: short\ndimension: 3\nsizes: 30000 30000 30000\n", bytes(500)), "claims"),
        ("a.nrrd", nrrd("type: short\ndimension: 3\nsizes: 4 4 4\n", bytes(100)), "cannot be read"),
        ("a.nrrd", nrrd("type: nothing\ndimension: 3\nsizes: 4 4 4\n", bytes(100)), "cannot be read"),
        (
            "a.mha",
            b"ObjectType = Image\nNDims = 3\nDimSize = 30000 30000 30000\nElementType = MET_SHORT\n",
            "read|claims",
        ),
        ("a.mgh", b"\0\0\0\1" + b"\0\0\x75\x30" * 3 + b"\0\0\0\1\0\0\0\4" + bytes(400), "claims"),
        ("a.mgz", bytes(500), "cannot be read"),
        ("a.hdr", bytes(348), "cannot be read"),
        ("a.tif", b"II*\0" + bytes(60), "cannot be read"),
        ("a.bmp", b"BM" + bytes(60), "cannot be read"),
    ],
)
def test_damaged_files_and_claims_beyond_the_file_are_told_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)


@pytest.mark.parametrize("elsewhere", ["../secret.raw", "/etc/passwd", "LIST", "a%d.raw 1 4 1 LIST"])
@pytest.mark.parametrize("name", ["a.mhd", "a.mha", "a.nhdr"])
def test_no_file_but_the_one_beside_a_header_is_read(tmp_path, name, elsewhere):
    (tmp_path / "secret.raw").write_bytes(bytes(range(64)))
    folder = tmp_path / "scans"
    folder.mkdir()
    size = "4 4 4\n"
    meta = f"ObjectType = Image\nNDims = 3\nDimSize = {size}ElementType = MET_UCHAR\nElementDataFile = {elsewhere}\n"
    teem = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: {size}encoding: raw\ndata file: {elsewhere}\n"
    (folder / name).write_text(teem if name == "a.nhdr" else meta)
    refused(folder / name, "not in one file beside it")


def test_several_numbers_in_a_voxel_are_refused(tmp_path):
    colours = SimpleITK.GetImageFromArray(np.zeros((4, 3, 2, 3), np.uint8), isVector=True)
    refused(write(colours, tmp_path / "a.nrrd"), "3 numbers in each voxel")
    series = SimpleITK.JoinSeries([itk_image(), itk_image()])
    refused(write(series, tmp_path / "a.mha"), "4 dimensions, expected 3")
    nib.save(nib.MGHImage(np.zeros((2, 3, 4, 2), np.float32), AFFINE), tmp_path / "a.mgz")
    refused(tmp_path / "a.mgz", "4 dimensions, expected 3")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 16, 16, 3), np.uint8), photometric="rgb")
    refused(tmp_path / "a.tif", "colour TIFF")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((16, 16), np.float32))
    refused(tmp_path / "b.tif", "slice of the type float32")


@pytest.mark.parametrize("packed", [False, True])
def test_the_volumes_of_a_4d_file_are_read_like_files_of_a_folder(tmp_path, packed):
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    nib.save(nib.Nifti1Image(np.stack([VOXELS, VOXELS + 1, VOXELS * 2], -1), AFFINE), path)
    for number, values in enumerate((VOXELS, VOXELS + 1, VOXELS * 2)):
        stored = read_stored(volume_in(path, number))
        np.testing.assert_array_equal(stored.array, values)
        np.testing.assert_array_equal(stored.affine, AFFINE)
        save_copy(volume_in(path, number), tmp_path / "copy.nii.gz")
        np.testing.assert_array_equal(nib.load(tmp_path / "copy.nii.gz").get_fdata(), values)
        assert read_header(volume_in(path, number)) is not None
    for number in (3, 999):
        with pytest.raises(CohortError, match="4 dimensions, expected 3"):
            read_stored(volume_in(path, number))
    refused(path, "4 dimensions, expected 3")


def test_a_compressed_4d_file_is_unpacked_once_for_all_its_volumes_until_it_changes(tmp_path, monkeypatch):
    path, unpacked, read = tmp_path / "a.nii.gz", [], image_file._read_to_end

    def counted(stream, size):
        unpacked.append(size)
        return read(stream, size)

    monkeypatch.setattr(image_file, "_read_to_end", counted)
    for factor in (1, 3):
        volumes = np.stack([VOXELS, VOXELS + 1, VOXELS * 2], -1) * VOXELS.dtype.type(factor)
        path.write_bytes(gzip.compress(nib.Nifti1Image(volumes, AFFINE).to_bytes()))
        for number in (0, 1, 2, 1):
            np.testing.assert_array_equal(read_stored(volume_in(path, number)).array, volumes[..., number])
    assert unpacked == [3 * VOXELS.nbytes] * 2
    path.write_bytes(path.read_bytes()[:-20])
    refused(volume_in(path, 0), "cannot be read")


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.mgz", "a.nii.gz"])
def test_a_changed_bit_of_compressed_voxels_is_noticed(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 1000, (9, 8, 7)).astype(np.int16)
    path = tmp_path / name
    if name.endswith("z"):
        nib.save((nib.MGHImage if name == "a.mgz" else nib.Nifti1Image)(noise, AFFINE), path)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise.T), str(path), useCompression=True)
    np.testing.assert_array_equal(read_stored(path).array, noise)
    (data,) = [file for file in tmp_path.iterdir() if file.suffix in (".gz", ".zraw", ".nrrd", ".mha", ".mgz")]
    content = bytearray(data.read_bytes())
    content[-300] ^= 1
    data.write_bytes(content)
    refused(path, "cannot be read")
