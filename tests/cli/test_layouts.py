"""Every layout of docs/own-data.md on a tiny folder: recognised, listed without writing, imported."""

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from lesionforge.cohort.layouts import LAYOUTS, Layout, read_cohort
from lesionforge.cohort.new_ids import NewIds
from lesionforge.cohort.scan import load_scan
from tests.cli.commands import content, error, typed
from tests.cohort.dicom.files import to_mm, write_contours, write_series
from tests.helpers import tiny_cohort, write_array

IMAGE = np.arange(1, 61, dtype=np.int16).reshape(3, 4, 5)
LESION = (IMAGE > 50).astype(np.uint8)


def nnunet(folder):
    tiny_cohort(folder, spatial_dims=2, n_subjects=2)


def nnunet_in_nrrd(folder):
    description = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "lesion": [1, 2], "core": 2}}
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for case in ("a", "b"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(IMAGE), str(folder / "imagesTr" / f"{case}_0000.nrrd"))
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(LESION * 2), str(folder / "labelsTr" / f"{case}.nrrd"))
    (folder / "dataset.json").write_text(json.dumps({**description, "file_ending": ".nrrd"}))


def msd(folder):
    entries = [{"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"} for case in ("a", "b")]
    for entry in entries:
        (folder / "imagesTr").mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.stack([IMAGE, IMAGE + 1], -1), np.eye(4)), folder / entry["image"])
        write_array(folder / entry["label"], LESION)
    about = {"modality": {"0": "FLAIR", "1": "T1w"}, "labels": {"0": "background", "1": "edema"}}
    (folder / "dataset.json").write_text(json.dumps({**about, "training": entries}))


def brats(folder):
    for case in ("BraTS-GLI-00005-100", "BraTS-GLI-00005-101"):
        for sequence in ("t1n", "t1c", "t2w", "t2f"):
            write_array(folder / case / f"{case}-{sequence}.nii.gz", IMAGE)
        write_array(folder / case / f"{case}-seg.nii.gz", LESION * 3)


def bids(folder):
    (folder / "derivatives").mkdir(parents=True)
    (folder / "participants.tsv").write_text("participant_id\tname\nsub-01\tJane\n")
    for session in ("1", "2"):
        name = f"sub-01_ses-{session}"
        write_array(folder / "sub-01" / f"ses-{session}" / "anat" / f"{name}_FLAIR.nii.gz", IMAGE)
        write_array(folder / "derivatives" / "lesions" / "sub-01" / f"{name}_label-lesion_mask.nii.gz", LESION)


def dicom(folder):
    for study, patient in ((1, "anna"), (2, "bert")):
        sources = write_series(folder / patient / "scan", study=study, patient=patient)
        square = to_mm([(1.5, 1.5, 1), (4.5, 1.5, 1), (4.5, 4.5, 1), (1.5, 4.5, 1)])
        write_contours(folder / patient / f"{patient}.dcm", sources[0], {"haematoma": [square]})


def slices(folder):
    rows = ["slice_id,subject_id,image,mask"]
    for name in ("p1_s1", "p1_s2"):
        write_array(folder / f"{name}.png", IMAGE[0])
        write_array(folder / f"{name}_mask.png", np.eye(4, 5, dtype=np.uint8))
        rows.append(f"{name},p1,{name}.png,{name}_mask.png")
    (folder / "slices.csv").write_text("\n".join(rows))


def folders(folder):
    for patient in ("anna", "bert"):
        write_array(folder / patient / "flair.nii.gz", IMAGE)
        write_array(folder / patient / "lesion.nii.gz", LESION)


PATTERNS = ("--channel", "FLAIR=flair.nii.gz", "--mask", "lesion.nii.gz")
KNOWN = [
    (nnunet, "nnunet", (), ("FLAIR",), {"lesion": 1}, 2),
    (nnunet_in_nrrd, "nnunet", (), ("FLAIR",), {"lesion_rest": 1, "core": 2}, 2),
    (msd, "msd", (), ("FLAIR", "T1w"), {"edema": 1}, 2),
    (brats, "brats", (), ("T1", "T1Gd", "T2", "FLAIR"), {"NCR": 1, "ED": 2, "ET": 3}, 1),
    (bids, "bids", (), ("FLAIR",), {"lesion": 1}, 1),
    (dicom, "dicom", (), ("MR",), {"haematoma": 1}, 2),
    (slices, "slices", (), ("CT",), {"lesion": 1}, 1),
    (folders, "folders", PATTERNS, ("FLAIR",), {"lesion": 1}, 2),
]


@pytest.mark.parametrize(("write", "layout", "options", "channels", "classes", "subjects"), KNOWN)
def test_a_layout_is_recognised_listed_and_imported(tmp_path, write, layout, options, channels, classes, subjects):
    source, out = tmp_path / "src", tmp_path / "out"
    write(source)
    before = content(source)
    listed = typed("import", source, *options, "--dry-run").output
    assert listed.startswith(f"layout {layout}: it")
    assert f"2 cases of {subjects} subjects would be imported, 0 left out; nothing was written" in listed
    typed("import", source, out, *options, "--dry-run")
    assert not out.exists()
    assert typed("import", source, out, *options).output.startswith(f"layout {layout}: it")
    made = read_cohort(out)
    assert (made.channels, made.labels) == (channels, {"background": 0, **classes})
    assert (len(made), len(made.subjects), len(made.with_lesions())) == (2, subjects, 2)
    assert all(case.case_id in listed for case in made)
    assert all(load_scan(case, channels).label.any() for case in made)
    assert content(source) == before
    typed("import", source, tmp_path / "named", *options, "--layout", layout)
    assert content(tmp_path / "named") == content(out)


def test_every_layout_says_what_it_looks_for_and_is_tried_here(tmp_path):
    tmp_path.joinpath("notes.txt").write_text("")
    message = error("import", tmp_path, tmp_path / "out")
    assert {layout for _, layout, *_ in KNOWN} == set(LAYOUTS)
    assert all(f"{name}: {LAYOUTS[name].sought}" in message for name in LAYOUTS)
    assert "there is no such folder" in error("import", tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("write", [nnunet_in_nrrd, msd, brats, bids])
def test_a_part_of_a_dataset_leads_to_the_whole(tmp_path, write):
    write(tmp_path / "src")
    parts = [path for path in (tmp_path / "src").iterdir() if path.is_dir() and path.name != "derivatives"]
    message = error("import", parts[0], "--dry-run")
    assert f"is a part of a dataset of the layout {write.__name__.partition('_')[0]}; name the whole" in message


def test_signs_of_two_layouts_are_told_and_the_user_chooses(tmp_path):
    bids(tmp_path / "src")
    (tmp_path / "src" / "slices.csv").write_text("slice_id,subject_id,image\n")
    message = error("import", tmp_path / "src", tmp_path / "out")
    assert "bids (it holds files such as sub-01/ses-1" in message
    assert "slices (it holds slices.csv)" in message
    typed("import", tmp_path / "src", tmp_path / "out", "--layout", "bids")


def test_a_folder_for_each_patient_is_told_the_options_to_type(tmp_path):
    folders(tmp_path)
    assert "give --channel FLAIR=flair.nii.gz --mask lesion.nii.gz" in error("import", tmp_path, "--dry-run")
    assert "add --dry-run" in error("import", tmp_path, *PATTERNS)


def test_a_table_lists_volumes_too(tmp_path):
    for name, values in (("images", IMAGE), ("masks", LESION)):
        write_array(tmp_path / name / "anna.nii.gz", values)
    (tmp_path / "slices.csv").write_text(
        "slice_id,subject_id,image,mask\nanna,anna,images/anna.nii.gz,masks/anna.nii.gz"
    )
    assert "write --channel FLAIR" in error("import", tmp_path, "--dry-run", "--channel", "FLAIR=images/anna.nii.gz")
    typed("import", tmp_path, tmp_path / "out", "--channel", "FLAIR")
    scan = load_scan(read_cohort(tmp_path / "out").cases[0], ["FLAIR"])
    np.testing.assert_array_equal((scan.image[0], scan.label), (IMAGE, LESION))


def test_no_options_are_suggested_for_a_folder_with_the_scans_of_many(tmp_path):
    for number in range(13):
        write_array(tmp_path / "all" / f"p{number}_flair.nii.gz", IMAGE)
    (tmp_path / "readme").mkdir()
    assert "has no known layout" in error("import", tmp_path, "--dry-run")
    assert error("import", tmp_path, "--dry-run", "--layout", "folders").endswith("give one, as FLAIR=flair.nii.gz")


def test_a_dry_run_says_what_would_be_left_out_and_why(tmp_path):
    folders(tmp_path)
    write_array(tmp_path / "carl" / "flair.nii.gz", IMAGE)
    write_array(tmp_path / "carl" / "lesion.nii.gz", LESION[:2])
    write_array(tmp_path / "dora" / "t1.nii.gz", IMAGE)
    listed = typed("import", tmp_path, *PATTERNS, "--dry-run", code=1).output
    assert "carl/lesion.nii.gz: has size (2, 4, 5) but flair.nii.gz has (3, 4, 5)" in listed
    assert "dora: no file matches" in listed
    assert "2 cases of 2 subjects would be imported, 2 left out" in listed
    lacking = typed(
        "import", tmp_path, *PATTERNS, "--channel", "T1=t1.nii.gz", "--dry-run", "--missing", "zero_fill", code=1
    )
    assert "3 cases of 3 subjects" in lacking.output


def test_new_ids_hide_the_names_of_a_bids_folder(tmp_path):
    bids(tmp_path / "src")
    typed("import", tmp_path / "src", tmp_path / "out", "--new-ids", tmp_path / "ids.csv")
    made = content(tmp_path / "out")
    assert not [name for name, held in made.items() if b"sub-01" in str(name).encode() + held or b"Jane" in held]
    assert len(read_cohort(tmp_path / "out").subjects) == 1


def test_an_import_that_fails_leaves_no_table_of_new_ids(tmp_path):
    folders(tmp_path / "src")
    for patient in ("anna", "bert"):
        write_array(tmp_path / "src" / patient / "lesion.nii.gz", LESION[:2])
    table = tmp_path / "private" / "ids.csv"
    assert "2 × has size" in error("import", tmp_path / "src", tmp_path / "out", *PATTERNS, "--new-ids", table)
    assert not table.exists()
    NewIds({("case", "old"): "new"}).write(table)
    error("import", tmp_path / "src", tmp_path / "out", *PATTERNS, "--new-ids", table)
    assert NewIds.read(table).cases == {"old": "new"}


def test_a_dry_run_shows_a_session_only_where_the_id_begins_with_the_subject(tmp_path):
    slices(tmp_path)
    (tmp_path / "slices.csv").write_text((tmp_path / "slices.csv").read_text().replace("p1_s2,p1", "p1_s2,anna"))
    lines = typed("import", tmp_path, "--dry-run").output.splitlines()
    rows = [line.split() for line in lines if line.startswith("p1_")]
    assert [row[:3] for row in rows] == [["p1_s1", "p1", "s1"], ["p1_s2", "anna", "-"]]


def test_a_layout_that_recognises_nothing_is_chosen_by_name_only(tmp_path):
    assert Layout.recognise(tmp_path) == ""
