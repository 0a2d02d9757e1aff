"""What `import` makes of files as people have them, and what it leaves of what they say."""

import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan, read_label, read_raw
from tests.cli.commands import error, typed
from tests.helpers import tiny_cohort, write_array

SHAPE = (10, 12, 6)
AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])
FOLDERS = ["--layout", "folders", "--channel", "FLAIR=flair.nii.gz", "--mask", "lesion.nii.gz"]


def ball(value=1):
    label = np.zeros(SHAPE, np.uint8)
    label[3:7, 3:7, 2:4] = value
    return label


def patient(folder, label, *, image=None):
    values = np.random.default_rng(len(folder.name)).integers(1, 200, SHAPE).astype(np.int16)
    write_array(folder / "flair.nii.gz", values if image is None else image, AFFINE)
    nib.save(nib.Nifti1Image(label, AFFINE), folder / "lesion.nii.gz")


def test_upper_case_endings_are_read_and_written_as_they_should_be(tmp_path):
    for name in ("p1", "p2"):
        patient(tmp_path / "scans" / name, ball())
        for file in ("flair", "lesion"):
            image = nib.load(tmp_path / "scans" / name / f"{file}.nii.gz")
            (tmp_path / "scans" / name / f"{file}.NII").write_bytes(image.to_bytes())
    typed("import", tmp_path / "scans", tmp_path / "out", *[option.replace("nii.gz", "NII") for option in FOLDERS])
    for case in read_cohort(tmp_path / "out"):
        assert case.images["FLAIR"].read_bytes()[:2] == b"\x1f\x8b"
        source = nib.load(tmp_path / "scans" / case.case_id / "flair.nii.gz")
        np.testing.assert_array_equal(nib.load(case.images["FLAIR"]).get_fdata(), source.get_fdata())


def test_named_classes_become_consecutive(tmp_path):
    """BraTS 2021 has the classes 1, 2 and 4; nnU-Net wants 1, 2, 3."""
    label = ball(2)
    label[3, 3:6, 2], label[5, 3:5, 2] = 4, 1
    patient(tmp_path / "scans" / "p1", label)
    out = tmp_path / "out"
    message = error("import", tmp_path / "scans", out, *FOLDERS)
    assert "[1, 2, 4]" in message
    assert "--label NAME=4" in message
    names = ["--label", "core=1", "--label", "oedema=2", "--label", "enhancing=4"]
    result = typed("import", tmp_path / "scans", out, *FOLDERS, *names)
    assert "renumbered: enhancing 4 → 3" in result.output
    (case,) = read_cohort(out)
    assert read_cohort(out).labels == {"background": 0, "core": 1, "oedema": 2, "enhancing": 3}
    found, _ = read_label(case.label)
    assert [np.count_nonzero(found == value) for value in range(4)] == [
        np.count_nonzero(label == value) for value in (0, 1, 2, 4)
    ]
    np.testing.assert_array_equal(found == 3, label == 4)
    typed("import", tmp_path / "scans", tmp_path / "b", *FOLDERS, "--label", "enhancing=4", code=2)


def test_one_class_of_any_value_can_be_named(tmp_path):
    patient(tmp_path / "scans" / "p1", ball(255))
    typed("import", tmp_path / "scans", tmp_path / "out", *FOLDERS, "--label", "lesion=255")
    (case,) = read_cohort(tmp_path / "out")
    np.testing.assert_array_equal(read_label(case.label)[0], ball())


@pytest.mark.parametrize("kind", ["soft", "0 and 65535"])
def test_binary_masks_take_all_but_0(tmp_path, kind):
    soft = ndimage.gaussian_filter(ball().astype(np.float32), 0.7)
    soft[soft < 0.05] = 0
    mask = soft if kind == "soft" else np.where(ball(), 65535, 0).astype(np.uint16)
    patient(tmp_path / "scans" / "p1", mask)
    assert "--binary-masks" in error("import", tmp_path / "scans", tmp_path / "a", *FOLDERS)
    typed("import", tmp_path / "scans", tmp_path / "b", *FOLDERS, "--binary-masks")
    (case,) = read_cohort(tmp_path / "b")
    np.testing.assert_array_equal(load_scan(case, ["FLAIR"]).label, mask != 0)
    assert json.loads((tmp_path / "b" / "dataset.json").read_text())["labels"] == {"background": 0, "lesion": 1}


def test_a_bad_mask_is_named_with_its_case_and_the_others_go_on(tmp_path):
    patient(tmp_path / "scans" / "p1", ball())
    unseen = ball().astype(np.int16)
    unseen[:, :2] = -1
    patient(tmp_path / "scans" / "p2", unseen)
    result = typed("import", tmp_path / "scans", tmp_path / "out", *FOLDERS, code=1)
    assert "1 cases of 1 subjects" in result.output
    assert "p2" in result.output
    assert "label value -1, below 0" in result.output


def test_when_no_case_can_be_used_the_causes_are_told_with_their_number(tmp_path):
    for number in range(3):
        patient(tmp_path / "scans" / f"p{number}", ball(255))
    patient(tmp_path / "scans" / "p3", ball() * np.float32(2.5))
    message = error("import", tmp_path / "scans", tmp_path / "out", *FOLDERS)
    assert "3 × the mask is stored as 0 and 255" in message
    assert "1 × label values are not whole numbers" in message
    other = [*FOLDERS[:2], "--channel", "FLAIR=scan.dcm"]
    for number in range(4):
        (tmp_path / "scans" / f"p{number}" / "scan.dcm").write_bytes(bytes(128) + b"DICM")
    message = error("import", tmp_path / "scans", tmp_path / "out2", *other)
    assert "4 × is a file of the format DICOM, but only NIfTI, PNG, NRRD" in message


@pytest.mark.parametrize("folder", ["", "i/"])
def test_a_comma_at_the_end_of_rows_does_not_make_masks_images(tmp_path, folder):
    rows = ["slice_id,subject_id,image,mask"]
    for number in range(3):
        write_array(tmp_path / f"{folder}{number}.png", np.arange(64.0).reshape(8, 8))
        write_array(tmp_path / f"{folder}{number}_mask.png", np.eye(8, dtype=np.uint8))
        rows.append(f"s{number},p{number},{folder}{number}.png,{folder}{number}_mask.png,")
    (tmp_path / "slices.csv").write_text("\n".join(rows) + "\n")
    typed("import", tmp_path / "slices.csv", tmp_path / "out", "--layout", "slices")
    for number, case in enumerate(read_cohort(tmp_path / "out")):
        assert (case.case_id, case.subject_id) == (f"s{number}", f"p{number}")
        np.testing.assert_array_equal(read_raw(case.images["CT"])[0], np.arange(64).reshape(8, 8))
        np.testing.assert_array_equal(read_label(case.label)[0], np.eye(8))


def test_slices_of_kinds_that_are_not_read_do_not_stop_the_others(tmp_path):
    image, mask = np.arange(64, dtype=np.uint8).reshape(8, 8), np.eye(8, dtype=np.uint8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    Image.fromarray(mask).save(tmp_path / "mask.jpg")
    Image.fromarray(image).save(tmp_path / "upper.PNG")
    Image.fromarray(image).save(tmp_path / "a.jpg")
    Image.fromarray(image.astype(np.uint16) * 300).save(tmp_path / "wide.png")
    Image.fromarray(np.dstack([image, image, mask])).save(tmp_path / "colour.png")
    Image.fromarray(image.astype(np.float32)).save(tmp_path / "real.tif")
    names = ("upper.PNG", "a.jpg", "wide.png", "colour.png", "real.tif", "upper.PNG")
    masks = ["mask.png"] * 5 + ["mask.jpg"]
    pairs = enumerate(zip(names, masks, strict=True))
    rows = ["slice_id,subject_id,image,mask", *(f"s{n},s{n},{name},{of}" for n, (name, of) in pairs)]
    (tmp_path / "slices.csv").write_text("\n".join(rows))
    result = typed("import", tmp_path / "slices.csv", tmp_path / "out", "--layout", "slices", code=1)
    made = read_cohort(tmp_path / "out")
    assert [case.case_id for case in made] == ["s0", "s1", "s2"]
    assert {path.suffix for path in (tmp_path / "out" / "imagesTr").iterdir()} == {".png"}
    np.testing.assert_array_equal(load_scan(made["s2"], ["CT"]).image[0], image.astype(int) * 300)
    assert all(told in result.output for told in ("colour (RGB)", "float32", "JPEG, which blurs"))


def test_a_dataset_of_the_decathlon_is_called_so(tmp_path):
    content = {"modality": {"0": "FLAIR"}, "labels": {"0": "background", "1": "edema"}, "training": []}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    message = error("import", tmp_path, tmp_path / "out", "--layout", "nnunet")
    assert "Medical Segmentation Decathlon" in message
    assert "lesionforge import FOLDER COHORT" in message


def test_structures_and_roles_of_the_cases_go_along(tmp_path):
    tiny_cohort(tmp_path / "in", spatial_dims=3, n_subjects=3, anatomy=True)
    (tmp_path / "in" / "anatomy.json").write_text('{"structures": {"rim": 1, "inside": 2}, "parenchyma": [2]}')
    (tmp_path / "in" / "roles.json").write_text('{"pool": ["sub_00", "Jane Doe"], "final": ["sub_02"]}')
    typed("import", tmp_path / "in", tmp_path / "out", "--layout", "nnunet")
    assert read_cohort(tmp_path / "out").cases[0].parenchyma == (2,)
    assert json.loads((tmp_path / "out" / "roles.json").read_text()) == {"pool": ["sub_00"], "final": ["sub_02"]}


SECRETS = {f"SECRET{number:02d}": number for number in range(20)}


def planted(folder, spatial_dims):
    """Write a cohort whose every place for text names somebody."""
    secret = iter(SECRETS)
    cohort = tiny_cohort(folder, spatial_dims=spatial_dims, n_subjects=4, anatomy=True)
    description = json.loads((folder / "dataset.json").read_text())
    description |= {"name": next(secret), "description": next(secret), "licence": [next(secret)], next(secret): 1}
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "notes.txt").write_text(next(secret))
    table = pd.read_csv(folder / "cases.csv").assign(centre="north", name=next(secret), **{next(secret): "x"})
    table.to_csv(folder / "cases.csv", index=False)
    roles = {"pool": ["sub_00", next(secret)]}
    (folder / "roles.json").write_text(json.dumps(roles))
    texts = [next(secret) for _ in range(7)]
    for path in folder.rglob("*.png"):
        _plant_png(path, texts)
    for path in folder.rglob("*.nii.gz"):
        _plant_nifti(path, texts)
    return cohort


def _plant_png(path, texts):
    info, exif = PngInfo(), Image.Exif()
    info.add_text("Author", texts[0])
    info.add_itxt("Comment", texts[1])
    info.add_text("Description", texts[2], zip=True)
    exif[0x010E] = texts[3]
    Image.open(path).save(path, pnginfo=info, exif=exif)
    path.write_bytes(path.read_bytes() + texts[4].encode())


def _plant_nifti(path, texts):
    image = nib.load(path)
    image = nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)
    for field, text in zip(("descrip", "aux_file", "intent_name", "db_name"), texts, strict=False):
        image.header[field] = text
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", texts[4].encode()))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("dicom", texts[5].encode()))
    nib.save(image, path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + texts[6].encode()))


def survivors(folder):
    """Return the planted texts that a folder still holds, in names or files."""
    contents = [str(path.relative_to(folder)).encode() for path in folder.rglob("*")]
    for path in filter(lambda path: path.is_file(), folder.rglob("*")):
        content = path.read_bytes()
        contents += [gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content]
    return [secret for secret in SECRETS if any(secret.encode() in content for content in contents)]


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_nothing_of_a_person_survives_but_the_columns_that_were_named(tmp_path, spatial_dims):
    source = tmp_path / "SECRET19_folder"
    planted(source, spatial_dims)
    assert len(survivors(source)) >= 12
    imported, mapped, drawn = (tmp_path / name for name in ("imported", "mapped", "drawn"))
    result = typed("import", source, imported, "--layout", "nnunet", "--keep-column", "centre")
    assert "columns left out: name, " in result.output
    assert survivors(imported) == []
    assert [case.extra for case in read_cohort(imported)] == [{"centre": "north"}] * 4
    typed("anatomy", source, mapped, "--kmeans", "2")
    typed("train", "copy_paste", source, "--out", tmp_path / "model")
    typed("synthesize", tmp_path / "model", source, "--out", drawn, "--masks", "bank", "--n", "2", "--min-volume", "1")
    assert {name: survivors(tmp_path / name) for name in ("mapped", "model", "drawn")} == {
        "mapped": [],
        "model": [],
        "drawn": [],
    }


def test_nothing_of_a_person_survives_the_import_of_folders_and_slices(tmp_path):
    for spatial_dims in (2, 3):
        source = tmp_path / f"SECRET19_{spatial_dims}"
        cohort = planted(source, spatial_dims)
        scans = tmp_path / f"scans_{spatial_dims}"
        rows = ["slice_id,subject_id,image,mask,SECRET18"]
        for case in cohort:
            for path, name in ((case.images["FLAIR"], "flair"), (case.label, "lesion")):
                target = scans / case.case_id / f"{name}{'.png' if spatial_dims == 2 else '.nii.gz'}"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            row = f"{case.case_id},{case.subject_id},{case.case_id}/flair.png,{case.case_id}/lesion.png,SECRET17"
            rows.append(row)
        (scans / "slices.csv").write_text("\n".join(rows))
        options = FOLDERS if spatial_dims == 3 else ["--layout", "slices"]
        typed("import", scans, tmp_path / f"out_{spatial_dims}", *options)
        assert survivors(tmp_path / f"out_{spatial_dims}") == []
        assert len(read_cohort(tmp_path / f"out_{spatial_dims}")) == 4


def test_a_column_that_no_table_has_is_refused(tmp_path):
    patient(tmp_path / "scans" / "p1", ball())
    message = error("import", tmp_path / "scans", tmp_path / "out", *FOLDERS, "--keep-column", "centre")
    assert "no further column 'centre'" in message
    assert not (tmp_path / "out").exists()
