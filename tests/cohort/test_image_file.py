"""Image files are read by what they hold, refused by their headers, and written with data and geometry alone."""

import gzip
import struct
import zlib

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lesionforge.cohort import image_file, stored
from lesionforge.cohort.case import ending_of, stem_of
from lesionforge.cohort.image_file import read_stored, write_stored
from lesionforge.cohort.scan import read_image, read_label, save_copy, save_edited, save_image, save_label
from lesionforge.errors import CohortError, OutputError

AFFINE = np.diag([3.0, 3.0, 6.0, 1.0])
VOXELS = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
SECRET = "Jane Doe 1970-01-01"


def nifti(array=VOXELS, affine=AFFINE, kind=nib.Nifti1Image):
    return kind(array, affine)


def refused(path, message, *, label=False):
    with pytest.raises(CohortError, match=message) as caught:
        read_stored(path, label=label)
    assert caught.value.where == str(path)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["a.nii", "a.NII", "a.nii.gz", "a.NII.GZ", "A.Nii.Gz"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_nifti_is_read_whatever_its_name_says(tmp_path, name, packed):
    content = nifti().to_bytes()
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    held = read_stored(tmp_path / name)
    np.testing.assert_array_equal(held.array, VOXELS)
    np.testing.assert_array_equal(held.affine, AFFINE)
    save_copy(tmp_path / name, tmp_path / "copy.nii.gz")
    assert (tmp_path / "copy.nii.gz").read_bytes()[:2] == b"\x1f\x8b"
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "copy.nii.gz").dataobj), VOXELS)


def test_endings_are_those_that_are_read_in_any_case(tmp_path):
    assert [ending_of(name) for name in ("a.PNG", "b.nii.GZ", "c.NII", "d.dcm", "nii.gz")] == [
        ".png",
        ".nii.gz",
        ".nii",
        "",
        "",
    ]
    assert stem_of(tmp_path / "sub.02.NII.GZ") == "sub.02"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.dcm", bytes(128) + b"DICM" + bytes(99), "DICOM.*dcm2niix"),
        ("a.nii.gz", bytes(128) + b"DICM" + bytes(99), "DICOM"),
        ("a.mnc", b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5 or MINC"),
        ("a.zip", b"PK\x03\x04" + bytes(99), "ZIP.*unpack"),
        ("a.par", b"# === DATA DESCRIPTION FILE ===", r"\.par"),
    ],
)
def test_another_format_is_named_with_those_that_are_read(tmp_path, name, content, found):
    (tmp_path / name).write_bytes(content)
    error = refused(tmp_path / name, f"of the format {found}")
    assert "only NIfTI, PNG, NRRD, MetaImage, GIPL, MGH, Analyze, TIFF, JPEG, BMP are read" in error.what


@pytest.mark.parametrize(
    ("name", "content", "found", "ending"),
    [
        ("a.png", b"\xff\xd8\xff\xe0" + bytes(99), "JPEG", ".jpg"),
        ("a.nii.gz", b"\x89PNG\r\n\x1a\n" + bytes(99), "PNG", ".png"),
        ("a.mha", b"NRRD0004\ntype: short\n", "NRRD", ".nrrd"),
        ("a.nii", b"ObjectType = Image\nNDims = 3\n", "MetaImage", ".mha"),
        ("a.jpg", b"II*\0" + bytes(99), "TIFF", ".tif"),
    ],
)
def test_a_file_with_the_ending_of_another_format_is_told_its_own(tmp_path, name, content, found, ending):
    (tmp_path / name).write_bytes(content)
    assert refused(tmp_path / name, f"of the format {found}").remedy.endswith(ending)


def test_trailing_axes_of_one_are_dropped(tmp_path):
    for axes in (1, 2, 4):
        path = tmp_path / f"{axes}.nii.gz"
        nib.save(nifti(VOXELS.reshape(*VOXELS.shape, *[1] * axes)), path)
        np.testing.assert_array_equal(read_stored(path).array, VOXELS)
    nib.save(nifti(np.zeros((2, 3, 4, 1, 3), np.int16)), tmp_path / "b.nii")
    refused(tmp_path / "b.nii", "has 5 dimensions, expected 3")


def test_colour_and_complex_volumes_are_named(tmp_path):
    colour = np.zeros(VOXELS.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for number, (array, message) in enumerate(((colour, "colour"), (VOXELS * (1 + 1j), "complex"))):
        path = tmp_path / f"{number}.nii.gz"
        nib.save(nifti(array.astype(np.complex64) if number else array), path)
        refused(path, message)


def claiming(shape, *, dtype=np.float32, kind=nib.Nifti1Header):
    header = kind()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["magic"] = b"n+1" if kind is nib.Nifti1Header else b"n+2\0\r\n\x1a\n"
    header["vox_offset"] = 352 if kind is nib.Nifti1Header else 544
    return header.binaryblock + bytes(4)


@pytest.mark.parametrize("kind", [nib.Nifti1Header, nib.Nifti2Header])
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_claims_more_than_its_file_can_hold_is_refused_before_memory_is_taken(
    tmp_path, monkeypatch, kind, packed
):
    content = claiming((32767, 32767, 32767), dtype=np.float64, kind=kind) + bytes(1000)
    path = tmp_path / "a.nii"
    path.write_bytes(gzip.compress(content) if packed else content)
    monkeypatch.setattr(np, "frombuffer", None)
    refused(path, "header claims 28144")


def test_a_file_that_unpacks_to_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_memory", lambda: 10_000_000)
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(claiming((200, 200, 100)) + bytes(16_000_000)))
    refused(path, "claims 4000000 voxels, which this machine's memory does not hold")


@pytest.mark.parametrize("shape", [(0, 3, 4), (-2, 3, 4), (3, -32000, 4)])
def test_sizes_below_one_are_refused(tmp_path, shape):
    header = claiming((2, 3, 4))
    (tmp_path / "a.nii").write_bytes(header[:42] + struct.pack("<3h", *shape) + header[48:] + bytes(96))
    refused(tmp_path / "a.nii", "size|cannot be read")


def png_header(width, height):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    start = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 20_000, 100_000])
def test_a_png_that_claims_too_many_pixels_is_refused(tmp_path, side):
    (tmp_path / "a.png").write_bytes(png_header(side, side))
    refused(tmp_path / "a.png", "more pixels than a slice has")


def grey_of(bits, classes):
    """Return a PNG of few-bit grey, of which Pillow writes only 1 bit."""
    rows = b"".join(b"\0" + bytes([value << (8 - bits)]) for value in classes)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    start = chunk(b"IHDR", struct.pack(">2I5B", 1, len(classes), bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("bits", "classes"), [(1, [0, 1]), (2, [0, 1, 2, 3]), (4, [0, 1, 2, 15])])
def test_labels_of_few_bits_hold_their_classes(tmp_path, bits, classes):
    (tmp_path / "a.png").write_bytes(grey_of(bits, classes))
    assert read_label(tmp_path / "a.png")[0].ravel().tolist() == classes


def test_labels_with_a_palette_keep_its_indices_and_16_bit_its_values(tmp_path):
    classes = np.array([[0, 1], [2, 1]], np.uint8)
    palette = Image.fromarray(classes).convert("P")
    palette.putdata(classes.ravel().tolist())
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    palette.save(tmp_path / "p.png")
    Image.fromarray(classes.astype(np.uint16) * 300).save(tmp_path / "w.png")
    np.testing.assert_array_equal(read_label(tmp_path / "p.png")[0], classes)
    np.testing.assert_array_equal(read_label(tmp_path / "w.png")[0], classes.astype(int) * 300)
    Image.fromarray(np.stack([classes * 100, classes, classes], -1)).save(tmp_path / "c.png")
    assert "classes" in refused(tmp_path / "c.png", r"colour \(RGB\)", label=True).remedy


def test_a_label_in_scaled_integers_is_rounded(tmp_path):
    """nibabel stores float64 classes in uint16 with a slope, and reads 2.9999999993 back (nibabel issue 1344)."""
    classes = np.array([0, 1, 2, 3] * 6, np.float64).reshape(2, 3, 4)
    image = nifti(classes)
    image.header.set_data_dtype(np.uint16)
    nib.save(image, tmp_path / "a.nii.gz")
    assert not np.array_equal(nib.load(tmp_path / "a.nii.gz").get_fdata(), classes)
    np.testing.assert_array_equal(read_label(tmp_path / "a.nii.gz")[0], classes)


@pytest.mark.parametrize("values", [[0, 0.04, 0.5, 1], [0, 255, 255, 0], [0, 65535, 0, 1], [0, -1, 3, 2.5]])
def test_binary_masks_are_all_but_0(tmp_path, values):
    array = np.array(values * 6, np.float32).reshape(2, 3, 4)
    nib.save(nifti(array), tmp_path / "a.nii.gz")
    label, _ = read_label(tmp_path / "a.nii.gz", binary=True)
    np.testing.assert_array_equal(label, array != 0)
    array[0, 0, 0] = np.nan
    nib.save(nifti(array), tmp_path / "a.nii.gz")
    with pytest.raises(CohortError, match="NaN"):
        read_label(tmp_path / "a.nii.gz", binary=True)


def test_masks_of_0_and_65535_are_told_the_way_in(tmp_path):
    nib.save(nifti(np.where(VOXELS % 2, 65535, 0).astype(np.uint16)), tmp_path / "a.nii.gz")
    with pytest.raises(CohortError, match=r"stored as 0 and 65535.*`binary_masks`"):
        read_label(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("value", [1e300, -1e39])
def test_intensities_beyond_float32_are_refused(tmp_path, value, recwarn):
    array = VOXELS.astype(np.float64)
    array[0, 0, 0] = value
    nib.save(nifti(array), tmp_path / "a.nii.gz")
    with pytest.raises(CohortError, match="infinite"):
        read_image(tmp_path / "a.nii.gz")
    assert not recwarn.list


def test_a_spacing_of_0_is_1_mm_without_a_word(tmp_path, capfd):
    content = bytearray(nib.Nifti1Image(VOXELS, None).to_bytes())
    content[76 + 12 : 76 + 16] = bytes(4)
    (tmp_path / "a.nii").write_bytes(content)
    affine = read_stored(tmp_path / "a.nii").affine
    assert np.linalg.norm(affine[:3, :3], axis=0).tolist() == [1, 1, 1]
    assert capfd.readouterr().err == ""


def marked_nifti(path):
    """Write a scan whose header and extensions name somebody."""
    image = nifti()
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = SECRET[: image.header[field].dtype.itemsize]
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", SECRET.encode()))
    image.header.set_slope_inter(0.5, -20)
    nib.save(image, path)
    return path


def marked_png(path):
    info = PngInfo()
    info.add_text("Author", SECRET)
    info.add_itxt("Comment", SECRET)
    exif = Image.Exif()
    exif[0x010E] = SECRET
    Image.fromarray(VOXELS[0].astype(np.uint8)).save(path, pnginfo=info, exif=exif)
    return path


@pytest.mark.parametrize("how", ["copy", "edited", "label", "image"])
@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_nothing_that_a_header_says_of_a_person_is_written(tmp_path, how, ending):
    source = marked_png(tmp_path / "a.png") if ending == ".png" else marked_nifti(tmp_path / "a.nii.gz")
    held = read_stored(source)
    target = tmp_path / f"b{ending}"
    label = (held.array > 9).astype(np.int16)
    if how == "copy":
        save_copy(source, target)
    elif how == "edited":
        save_edited(source, target, held.array * held.slope, label > 0)
    elif how == "label":
        save_label(target, label, source)
    elif ending == ".nii.gz":
        save_image(target, held.array, source)
    else:
        return
    content = target.read_bytes()
    content = gzip.decompress(content) if ending == ".nii.gz" else content
    assert all(part.encode() not in content for part in (SECRET[:8], "Doe", "1970"))
    if how == "copy":
        again = read_stored(target)
        np.testing.assert_array_equal(again.array, held.array)
        assert (again.slope, again.inter) == (held.slope, held.inter)


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_the_mark_of_a_simulated_scan_goes_along(tmp_path, ending):
    array = VOXELS[0].astype(np.uint8) if ending == ".png" else VOXELS
    source, copy, label = (tmp_path / f"{name}{ending}" for name in ("a", "b", "c"))
    write_stored(source, array, AFFINE, simulated=True)
    save_copy(source, copy)
    save_label(label, array.astype(np.int16), source)
    assert [read_stored(path).simulated for path in (source, copy, label)] == [True] * 3
    write_stored(copy, array, AFFINE)
    assert not read_stored(copy).simulated


@pytest.mark.parametrize("ending", [".nii.gz", ".png"])
def test_what_was_not_written_as_it_should_be_is_an_error_and_leaves_no_file(tmp_path, monkeypatch, ending):
    name = "write_png" if ending == ".png" else "_write_nifti"
    write = getattr(image_file, name)

    def wrong(path, held):
        held.array.flat[0] += 1
        write(path, held)
        held.array.flat[0] -= 1

    monkeypatch.setattr(image_file, name, wrong)
    array = VOXELS[0].astype(np.uint8) if ending == ".png" else VOXELS.copy()
    with pytest.raises(OutputError, match="not written correctly"):
        write_stored(tmp_path / f"a{ending}", array, AFFINE)
    assert not list(tmp_path.iterdir())


def test_a_png_label_does_not_wrap(tmp_path):
    for value in (256, -1):
        with pytest.raises(CohortError, match="below 0 or above 255"):
            save_label(tmp_path / "a.png", np.full((3, 4), value, np.int16), np.eye(4))


def test_drawn_intensities_that_are_not_finite_are_not_cast_into_a_file(tmp_path):
    source = marked_nifti(tmp_path / "a.nii.gz")
    values = np.full(VOXELS.shape, np.nan, np.float32)
    with pytest.raises(CohortError, match="not finite"):
        save_edited(source, tmp_path / "b.nii.gz", values, VOXELS > 3)
    assert not (tmp_path / "b.nii.gz").exists()


def test_the_byte_order_of_a_file_stays(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    image = nib.Nifti1Image(VOXELS.astype(">i2"), AFFINE, header)
    image.header.set_data_dtype(">i2")
    nib.save(image, tmp_path / "a.nii")
    save_copy(tmp_path / "a.nii", tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").header.endianness == ">"
    assert (tmp_path / "b.nii").read_bytes()[352:] == VOXELS.astype(">i2").tobytes(order="F")
