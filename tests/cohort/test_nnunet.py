import json
import os
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.cohort.inspection.checks import check_folder
from lesionforge.cohort.layouts import case_files, read_cohort, write_nnunet
from lesionforge.cohort.layouts.cases_csv import write_cases_csv
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.errors import CohortError, ConfigError, OutputError
from tests.helpers import NESTED, tiny_cohort, write_array

DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])
OBLIQUE_FLIPPED = np.array([[-1.7, 0.3, 0.1, 40.0], [0.3, 1.8, 0.4, -20.0], [0.1, -0.4, 3.1, 7.5], [0, 0, 0, 1.0]])


def contents(cohort: Cohort) -> list[list[bytes]]:
    return [
        [path.read_bytes() for path in (*case.images.values(), case.label, case.anatomy) if path is not None]
        for case in cohort
    ]


@DIMS
def test_reading_gives_what_the_folder_holds(tmp_path, spatial_dims):
    expected = tiny_cohort(
        tmp_path / "Dataset007_Tiny",
        spatial_dims=spatial_dims,
        n_subjects=4,
        channels=("T1", "FLAIR"),
        labels=NESTED,
        n_healthy=1,
        n_unknown=1,
        cases_per_subject=2,
        missing={"case_001": ["T1"]},
        anatomy=True,
    )
    assert read_cohort(tmp_path / "Dataset007_Tiny") == expected


@DIMS
def test_without_cases_csv_annotations_come_from_labels(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "Dataset001_Own", spatial_dims=spatial_dims, n_subjects=3, n_healthy=1)
    (tmp_path / "Dataset001_Own" / "cases.csv").unlink()
    cohort["case_000"].label.unlink()
    found = read_cohort(tmp_path / "Dataset001_Own")
    assert [case.annotation for case in found] == [Annotation.UNKNOWN, Annotation.LESION, Annotation.LESION_FREE]
    assert [case.subject_id for case in found] == ["case_000", "case_001", "case_002"]
    assert found.name == "Own"


def test_cases_csv_without_annotations_is_completed_from_labels(tmp_path):
    tiny_cohort(tmp_path, spatial_dims=2, n_subjects=3, n_healthy=1)
    table = pd.read_csv(tmp_path / "cases.csv").drop(columns="annotation")
    table.to_csv(tmp_path / "cases.csv", index=False)
    assert len(read_cohort(tmp_path).with_lesions()) == 2
    assert len(read_cohort(tmp_path).healthy()) == 1


@DIMS
def test_writing_and_reading_keeps_everything(tmp_path, spatial_dims):
    source = tiny_cohort(
        tmp_path / "a",
        spatial_dims=spatial_dims,
        n_subjects=4,
        channels=("T1", "FLAIR"),
        n_healthy=1,
        n_unknown=1,
        affine=OBLIQUE_FLIPPED,
        anatomy=True,
    )
    first = replace(
        source.cases[0],
        origin="synthetic",
        source_case="case_001",
        mask_id="case_001+edited",
        synthesizer="pix2pix",
        seed=5,
        parents=("sub_01", "sub_02"),
        extra={"site": 'A, "north"', "note": ""},
    )
    source = source.with_cases([first, *source.cases[1:]])
    report = write_nnunet(source, tmp_path / "b", columns=["site", "note"])
    back = read_cohort(tmp_path / "b")
    assert back == report.cohort
    assert contents(back) == contents(source)
    keep = ("case_id", "subject_id", "annotation", "origin", "source_case", "mask_id", "synthesizer", "seed", "parents")
    for before, after in zip(source, back, strict=True):
        assert [getattr(before, name) for name in keep] == [getattr(after, name) for name in keep]
    assert back.cases[0].extra == {"site": 'A, "north"', "note": ""}
    if spatial_dims == 3:
        affine = load_scan(back.cases[1], ["T1"]).affine
        np.testing.assert_allclose(affine, OBLIQUE_FLIPPED, atol=1e-6)


@DIMS
def test_folder_is_a_dataset_of_nnunet(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=spatial_dims, n_subjects=4, n_healthy=1, n_unknown=1)
    lesion_free = replace(cohort["case_002"], label=None)
    out = tmp_path / "Dataset001_Out"
    write_nnunet(cohort.with_cases([*cohort.cases[:2], lesion_free, cohort["case_003"]]), out)
    description = json.loads((out / "dataset.json").read_text())
    ending = description["file_ending"]
    assert description["channel_names"] == {"0": "FLAIR"}
    assert description["labels"] == {"background": 0, "lesion": 1}
    assert description["numTraining"] == 3
    assert sorted(p.name for p in (out / "imagesTr").iterdir()) == [f"case_00{i}_0000{ending}" for i in range(3)]
    assert sorted(p.name for p in (out / "labelsTr").iterdir()) == [f"case_00{i}{ending}" for i in range(3)]
    assert [p.name for p in (out / "imagesTs").iterdir()] == [f"case_003_0000{ending}"]
    assert not load_scan(read_cohort(out)["case_002"], ["FLAIR"]).label.any()


@DIMS
def test_missing_channels_are_left_out_or_filled_and_listed(tmp_path, spatial_dims):
    cohort = tiny_cohort(
        tmp_path / "a", spatial_dims=spatial_dims, n_subjects=3, channels=("T1", "FLAIR"), missing={"case_001": ["T1"]}
    )
    stand_in = case_files(tmp_path / "a", "case_001", 2, ".png" if spatial_dims == 2 else ".nii.gz")[0][0]
    stand_in.write_bytes(b"never read")
    shorter = write_nnunet(cohort, tmp_path / "b")
    assert shorter.left_out == ("case_001",)
    assert [case.case_id for case in read_cohort(tmp_path / "b")] == ["case_000", "case_002"]
    filled = write_nnunet(cohort, tmp_path / "c", missing="zero_fill")
    assert filled.filled == ("case_001",)
    assert set(read_cohort(tmp_path / "c")["case_001"].images) == {"FLAIR"}
    (zeros, flair), _ = case_files(tmp_path / "c", "case_001", 2, "".join(stand_in.suffixes))
    if spatial_dims == 3:
        assert not np.asarray(nib.load(zeros).dataobj).any()
        np.testing.assert_array_equal(nib.load(zeros).affine, nib.load(flair).affine)
    else:
        assert not np.asarray(Image.open(zeros)).any()
    for folder, done in (("b", "left out"), ("c", "filled with zeros")):
        listed = pd.read_csv(tmp_path / folder / "missing.csv")
        assert listed.to_dict("records") == [{"case_id": "case_001", "missing_channels": "T1", "done": done}]


def test_plain_nifti_is_compressed_and_unchanged(tmp_path):
    image = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    write_array(tmp_path / "a.nii", image, OBLIQUE_FLIPPED)
    case = Case(case_id="a", subject_id="a", images={"CT": tmp_path / "a.nii"}, annotation=Annotation.UNKNOWN)
    cohort = Cohort(name="A", channels=("CT",), labels={"background": 0, "lesion": 1}, cases=(case,))
    write_nnunet(cohort, tmp_path / "b")
    path = tmp_path / "b" / "imagesTs" / "a_0000.nii.gz"
    written = nib.load(path)
    np.testing.assert_array_equal(np.asarray(written.dataobj), image)
    np.testing.assert_allclose(written.affine, OBLIQUE_FLIPPED, atol=1e-6)
    flags, time_stamp = path.read_bytes()[3], path.read_bytes()[4:8]
    assert (flags, time_stamp) == (0, bytes(4)), "the bytes depend on the time or the file name"


def test_a_bad_case_is_listed_and_the_others_are_written(tmp_path):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=3, n_subjects=3)
    cohort["case_001"].images["FLAIR"].unlink()
    report = write_nnunet(cohort, tmp_path / "b")
    assert [case.case_id for case in report.cohort] == ["case_000", "case_002"]
    assert len(report.problems) == 1
    listed = pd.read_csv(tmp_path / "b" / "problems.csv")
    assert "case_001_0000" in listed["where"][0]
    assert listed["remedy"][0]


@pytest.mark.parametrize("value", [2, 255])
@DIMS
def test_unknown_label_values_are_refused(tmp_path, spatial_dims, value):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=3)
    scan = load_scan(cohort["case_001"], ["FLAIR"])
    write_array(cohort["case_001"].label, (scan.label * value).astype(np.uint8), scan.affine)
    (tmp_path / "cases.csv").unlink()
    with pytest.raises(CohortError, match=r"case_001.*(label values \[2\]|0 and 255.*`binary_masks`)"):
        read_cohort(tmp_path)
    problems = []
    assert len(read_cohort(tmp_path, on_problem=problems.append)) == 2
    assert len(problems) == 1


def test_an_annotation_that_the_label_denies_is_refused(tmp_path):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=2)
    wrong = replace(cohort.cases[0], annotation=Annotation.LESION_FREE)
    report = write_nnunet(cohort.with_cases([wrong, cohort.cases[1]]), tmp_path / "b")
    assert "holds a lesion" in str(report.problems[0])


def edit_json(folder, **changes):
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(content | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "lesion": 2}}, "not consecutive"),
        ({"labels": {"lesion": 1}}, "not consecutive"),
        ({"labels": {"background": 0, "whole": [1, 2]}}, "labels are regions"),
        ({"channel_names": {"1": "T1"}}, "channel numbers"),
        ({"channel_names": ["T1"]}, "does not describe"),
        ({"file_ending": ".mha"}, "file ending"),
    ],
)
def test_a_dataset_json_that_cannot_be_used_is_refused(tmp_path, changes, message):
    tiny_cohort(tmp_path, spatial_dims=2, n_subjects=2)
    edit_json(tmp_path, **changes)
    with pytest.raises(CohortError, match=message):
        read_cohort(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("case_id,subject_id\na,s\na,t\n", "lists the case a twice"),
        ("case_id,subject_id\na,two words\n", "cannot be a subject id"),
        ("case_id\na/b\n", "cannot be a case id"),
        ("subject_id\na\n", "has no column case_id"),
        ("case_id,annotation\na,healthy\n", "lesion_free"),
        ("case_id,origin\na,fake\n", "synthetic"),
        ("case_id,seed\na,one\n", "whole number"),
        ("case_id\n", "lists no cases"),
        ("", "cannot be read"),
    ],
)
def test_a_cases_csv_that_cannot_be_used_is_refused(tmp_path, rows, message):
    tiny_cohort(tmp_path, spatial_dims=2, n_subjects=2)
    (tmp_path / "cases.csv").write_text(rows)
    with pytest.raises(CohortError, match=message) as caught:
        read_cohort(tmp_path)
    assert "cases.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_without_a_cohort_are_refused(tmp_path):
    with pytest.raises(CohortError, match=r"no dataset\.json"):
        read_cohort(tmp_path)
    tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=1)
    (tmp_path / "a" / "cases.csv").unlink()
    for image in (tmp_path / "a" / "imagesTr").iterdir():
        image.unlink()
    with pytest.raises(CohortError, match="no usable case"):
        read_cohort(tmp_path / "a")


def test_a_lost_label_file_is_not_taken_for_lesion_free(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=2)
    cohort["case_001"].label.unlink()
    with pytest.raises(CohortError, match="label file of a case with lesions is missing"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_lesion_without_a_mask_is_kept_apart_from_both_others(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "in", spatial_dims=spatial_dims, n_subjects=4, n_healthy=1, n_unknown=1)
    bare = replace(cohort.cases[0], label=None)
    write_nnunet(cohort.with_cases([bare, *cohort.cases[1:]]), tmp_path / "out")
    back = read_cohort(tmp_path / "out")
    first = back["case_000"]
    assert (first.annotation, first.label, first.outlined) == ("lesion", None, False)
    assert first.images["FLAIR"].parent.name == "imagesTs"
    assert load_scan(first, ["FLAIR"]).label is None
    assert [case.case_id for case in back.annotated()] == ["case_001", "case_002"]
    assert [case.case_id for case in back.with_lesions()] == ["case_001"]
    assert [case.case_id for case in back.diagnosed()] == ["case_000", "case_001", "case_002"]
    assert check_folder(tmp_path / "out").findings == ()


def test_writing_refuses_what_cannot_become_a_cohort(tmp_path):
    flat = tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=1)
    deep = tiny_cohort(tmp_path / "b", spatial_dims=3, n_subjects=1)
    with pytest.raises(OutputError, match="not empty"):
        write_nnunet(flat, tmp_path / "b")
    for odd in (replace(flat, channels=("T;1",)), replace(flat, labels={"background": 0, "a": 1, "b": 1})):
        with pytest.raises(CohortError, match=r"cannot be a channel name|not consecutive"):
            write_nnunet(odd, tmp_path / "c")
    with pytest.raises(CohortError, match="no further column 'site'"):
        write_nnunet(flat, tmp_path / "c", columns=["site"])
    with pytest.raises(CohortError, match="no cases"):
        write_nnunet(flat.with_cases([]), tmp_path / "c")
    mixed = flat.with_cases([*flat.cases, replace(deep.cases[0], case_id="other")])
    with pytest.raises(CohortError, match="mixes slices and volumes"):
        write_nnunet(mixed, tmp_path / "c")
    flat.cases[0].images["FLAIR"].unlink()
    with pytest.raises(CohortError, match="no case could be written"):
        write_nnunet(flat, tmp_path / "c")


def test_parents_are_written_sorted(tmp_path):
    case = Case(
        case_id="a", subject_id="s", images={}, annotation=Annotation.UNKNOWN, parents=("z", "b"), origin="synthetic"
    )
    write_cases_csv(tmp_path, [case], channels=("T1", "FLAIR"))
    row = pd.read_csv(tmp_path / "cases.csv").iloc[0]
    assert row["parents"] == "b z"
    assert row["missing_channels"] == "T1 FLAIR"


def test_a_file_name_that_is_not_utf_8_is_refused(tmp_path):
    tiny_cohort(tmp_path, spatial_dims=2, n_subjects=2)
    (tmp_path / "cases.csv").unlink()
    image = tmp_path / "imagesTr" / "case_000_0000.png"
    try:
        image.rename(os.fsdecode(os.fsencode(image.parent) + b"/M\xfcller_0000.png"))
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    with pytest.raises(CohortError, match=r"M.udcfcller_0000\.png"):
        read_cohort(tmp_path)


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("missing", [(), ("T1 Gd",), ("T1", "rescale to 0_1"), ("T1",)])
def test_channels_may_have_spaces_in_their_names(spatial_dims, missing, tmp_path):
    channels = ("T1", "T1 Gd", "rescale to 0_1", "FLAIR")
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=spatial_dims, channels=channels, n_subjects=2)
    images = {name: path for name, path in cohort.cases[0].images.items() if name not in missing}
    cohort = cohort.with_cases([replace(cohort.cases[0], images=images), cohort.cases[1]])
    report = write_nnunet(cohort, tmp_path / "b", missing="zero_fill")
    again = read_cohort(tmp_path / "b")
    assert again.channels == channels
    assert [set(case.images) for case in again] == [set(channels) - set(missing), set(channels)]
    assert report.filled == (("case_000",) if missing else ())


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"labels": {"background": 0, "lesion": 1, "ignore": 2}},
            "an ignore label (2), which is no lesion class; make a cohort of it: lesionforge",
        ),
        (
            {"labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}},
            "labels are regions (whole, core); make a cohort of it: lesionforge import",
        ),
        ({"channel_names": {"0": "T1", "1": "T1"}}, "two channels are named T1; give every channel its own name"),
        ({"channel_names": {"0": ""}}, "'' cannot be a channel name"),
        ({"channel_names": {"0": "T1\n"}}, "cannot be a channel name"),
        ({"channel_names": {"0": "T1;T2"}}, "cannot be a channel name"),
    ],
)
def test_labels_and_channels_that_cannot_be_used_are_refused_on_reading(changes, what, tmp_path):
    tiny_cohort(tmp_path, spatial_dims=2, n_subjects=2)
    edit_json(tmp_path, **changes)
    with pytest.raises(CohortError) as caught:
        read_cohort(tmp_path)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_value_without_a_class_is_refused_wherever_the_case_is_read(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=3, n_subjects=2)
    write_array(cohort.cases[1].label, read_label(cohort.cases[1].label)[0] * 7, np.diag([2.0, 2, 2, 1]))
    good, bad = read_cohort(tmp_path)
    load_scan(good, ["FLAIR"])
    with pytest.raises(CohortError, match=r"case_001.*holds the label values \[7\], known are 0 background, 1 lesion"):
        load_scan(bad, ["FLAIR"])


@pytest.mark.parametrize("seed", ["9" * 5000, "1e3", "٣", "--3"])
def test_a_seed_that_is_no_number_is_refused(seed, tmp_path):
    tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1)
    (tmp_path / "cases.csv").write_text(f"case_id,seed\ncase_000,{seed}\n")
    with pytest.raises(CohortError, match="use a whole number"):
        read_cohort(tmp_path)


def test_without_a_table_bids_names_and_a_pattern_tell_the_subjects(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=3)
    for case, name in zip(cohort, ("sub-1_ses-1", "sub-1_ses-2", "sub-2_ses-1"), strict=True):
        case.images["FLAIR"].rename(tmp_path / "imagesTr" / f"{name}_0000.png")
        case.label.rename(tmp_path / "labelsTr" / f"{name}.png")
    with pytest.raises(ConfigError, match=r"`subject_pattern`: .*cases\.csv names the subjects"):
        read_cohort(tmp_path, subject_pattern="sub")
    (tmp_path / "cases.csv").unlink()
    assert [case.subject_id for case in read_cohort(tmp_path)] == ["sub-1", "sub-1", "sub-2"]
    assert {case.subject_id for case in read_cohort(tmp_path, subject_pattern="sub")} == {"sub"}
    ids = "sub-1_ses-1", "sub-1_ses-2", "sub-2_ses-1"
    (tmp_path / "cases.csv").write_text("\n".join(["case_id", *ids]) + "\n")
    assert [case.subject_id for case in read_cohort(tmp_path)] == ["sub-1", "sub-1", "sub-2"]


def test_a_case_that_fails_half_way_leaves_no_file(tmp_path):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=2, anatomy=True)
    made = {"case_000": 300, "case_001": 3}
    write_nnunet(cohort, tmp_path / "b", anatomy=lambda scan: scan.anatomy * made[scan.case.case_id])
    names = sorted(path.name for path in (tmp_path / "b").rglob("*.png"))
    assert names == ["case_001.png", "case_001.png", "case_001_0000.png"]
    assert "above 255" in (tmp_path / "b" / "problems.csv").read_text()
