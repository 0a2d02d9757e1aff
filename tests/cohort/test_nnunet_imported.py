"""Datasets of nnU-Net that are no cohorts yet: regions, the ignore label, and every file ending that nnU-Net knows."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from lesionforge.cohort.layouts import read_cohort, write_nnunet
from lesionforge.cohort.layouts.nnunet import read_any_nnunet
from lesionforge.cohort.scan import load_scan, read_label, save_label
from lesionforge.errors import CohortError
from tests.cli.commands import error, typed
from tests.cohort.test_nnunet import edit_json
from tests.helpers import NESTED, tiny_cohort


@pytest.mark.parametrize(
    ("regions", "classes"),
    [
        ({"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}, {"whole_rest": 1, "core_rest": 2, "enhancing": 3}),
        ({"whole": [1, 2, 3], "core": [2, 3]}, {"whole_rest": 1, "core_2": 2, "core_3": 3}),
        ({"left": [2], "right": [1], "both": [1, 2]}, {"right": 1, "left": 2}),
    ],
)
def test_regions_become_the_exclusive_classes_that_the_files_hold(tmp_path, regions, classes):
    tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=2, labels=NESTED)
    edit_json(tmp_path / "a", labels={"background": 0, **regions}, regions_class_order=[1, 2, 3])
    notes = []
    cohort = read_any_nnunet(tmp_path / "a", on_note=notes.append)
    assert cohort.labels == {"background": 0, **classes}
    assert "labels are regions" in notes[0]
    assert write_nnunet(cohort, tmp_path / "b").cohort.labels == cohort.labels


@pytest.mark.parametrize("regions", [{"whole": [1, "2"]}, {"whole": [1, 3]}, {"whole": [[1]]}, {"whole": [True]}])
def test_regions_that_name_no_classes_are_refused(tmp_path, regions):
    tiny_cohort(tmp_path, spatial_dims=2, n_subjects=1)
    edit_json(tmp_path, labels={"background": 0, **regions})
    with pytest.raises(CohortError, match=r"whole numbers|consecutive"):
        read_any_nnunet(tmp_path)


@pytest.mark.parametrize("binary_masks", [False, True])
def test_a_case_with_ignored_voxels_is_unknown_whatever_its_table_says(tmp_path, binary_masks):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=3)
    edit_json(tmp_path / "a", labels={"background": 0, "lesion": 1, "ignore": 2})
    label, _ = read_label(cohort.cases[0].label)
    label[0, 0] = 2
    save_label(cohort.cases[0].label, label, cohort.cases[0].images["FLAIR"])
    notes = []
    read = read_any_nnunet(tmp_path / "a", binary_masks=binary_masks, on_note=notes.append)
    assert [case.annotation for case in read] == ["unknown", *(case.annotation for case in cohort.cases[1:])]
    assert "1 of 3 cases hold voxels of the ignore label (2)" in notes[0]
    again = write_nnunet(read, tmp_path / "b", binary_masks=binary_masks).cohort
    assert again.labels == {"background": 0, "lesion": 1}
    assert again.cases[0].label is None


@pytest.mark.parametrize(("ignored", "spatial_dims"), [(0, 2), (1, 3), (3, 2)])
def test_ignored_voxels_are_in_no_training_score_or_export(tmp_path, ignored, spatial_dims):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=spatial_dims, n_subjects=3)
    (tmp_path / "a" / "cases.csv").unlink()
    edit_json(tmp_path / "a", labels={"background": 0, "lesion": 1, "ignore": 2})
    for case in cohort.cases[:ignored]:
        label, _ = read_label(case.label)
        label[0, 0] = 2
        save_label(case.label, label, case.images["FLAIR"])
    said = typed("import", tmp_path / "a", tmp_path / "b").stdout.replace("\n", " ")
    assert (f"{ignored} of 3 cases hold" if ignored else "no cases hold voxels of the ignore label") in said
    assert ("nothing can be trained on" in said) is (ignored == 3)
    read = read_cohort(tmp_path / "b")
    assert [case.annotation == "unknown" for case in read] == [number < ignored for number in range(3)]
    for method, out in (("nnunet", "Dataset002_B"), ("folders", "Dataset003_B")):
        typed("export", tmp_path / "b", "--as", method, "--folds", "0", "--out", tmp_path / out)
    assert len([*(tmp_path / "Dataset002_B" / "labelsTr").glob("*")]) == 3 - ignored
    assert len([*(tmp_path / "Dataset003_B").rglob("lesion.*")]) == 3 - ignored
    assert "ignore" not in json.loads((tmp_path / "Dataset002_B" / "dataset.json").read_text())["labels"]
    if ignored == 3:
        assert "no case is annotated" in error("evaluate", tmp_path / "a" / "labelsTr", tmp_path / "b")
        assert "no annotated case" in error("segment", "train", tmp_path / "b", "--out", tmp_path / "m")
        assert "make no folds, --folds 0" in error("export", tmp_path / "b", "--as", "folders", "--out", tmp_path / "c")
    else:
        said = typed("evaluate", tmp_path / "a" / "labelsTr", tmp_path / "b").stdout
        assert f"{3 - ignored} of {3 - ignored} cases scored" in said


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii", ".tif"])
def test_volumes_with_every_ending_of_nnunet_become_nifti(tmp_path, ending):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=3, n_subjects=2)
    for path in (path for folder in ("imagesTr", "labelsTr") for path in (tmp_path / "a" / folder).iterdir()):
        image = SimpleITK.ReadImage(str(path))
        path.unlink()
        SimpleITK.WriteImage(image, str(path).replace(".nii.gz", ending))
    edit_json(tmp_path / "a", file_ending=ending)
    if ending != ".nii":
        with pytest.raises(CohortError, match="not that of a cohort; make a cohort of it"):
            read_cohort(tmp_path / "a")
    written = write_nnunet(read_any_nnunet(tmp_path / "a"), tmp_path / "b").cohort
    original = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=2)
    for case in cohort:
        one, other = (load_scan(of[case.case_id], ["FLAIR"]) for of in (written, original))
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)
        if ending != ".tif":
            np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)


@pytest.mark.parametrize("ending", [".bmp", ".tif", ".png"])
def test_slices_with_every_ending_of_nnunet_become_png(tmp_path, ending):
    tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=2)
    original = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    for path in (path for folder in ("imagesTr", "labelsTr") for path in (tmp_path / "a" / folder).iterdir()):
        image = Image.open(path)
        image.load()
        path.unlink()
        image.save(path.with_suffix(ending))
    edit_json(tmp_path / "a", file_ending=ending)
    written = write_nnunet(read_any_nnunet(tmp_path / "a"), tmp_path / "b").cohort
    assert {path.suffix for path in (tmp_path / "b" / "imagesTr").iterdir()} == {".png"}
    for case in original:
        one, other = (load_scan(of[case.case_id], ["FLAIR"]) for of in (written, original))
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)


def test_files_of_no_case_are_counted_in_one_line_for_each_kind(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=2, channels=("FLAIR", "T1"))
    image, label = cohort.cases[0].images["FLAIR"], cohort.cases[0].label
    (tmp_path / "imagesTs").mkdir()
    for name in ("imagesTs/x_0000", "imagesTs/x_0001", "imagesTs/y_0000", "imagesTr/case_000_0002"):
        (tmp_path / f"{name}.png").write_bytes(image.read_bytes())
    (tmp_path / "imagesTr" / "z_0000.mha").write_bytes(b"")
    for name in ("z", "case_000_0000"):
        (tmp_path / "labelsTr" / f"{name}.png").write_bytes(label.read_bytes())
    told = [
        "not read, files of imagesTr that do not end with .png: 1 files, such as z_0000.mha",
        "not read, images that are no channel of a case in imagesTr: 1 files, such as case_000_0002.png",
        "not read, images of imagesTs of 2 cases that no cases.csv lists, such as x",
        "not read, maps of no case with an image in labelsTr: 2 files, such as case_000_0000.png",
    ]
    notes = []
    assert len(read_any_nnunet(tmp_path, on_note=notes.append)) == 2
    assert notes == told
    (tmp_path / "cases.csv").write_text("case_id\ncase_000\ncase_001\nx\ny\n")
    problems, notes = [], []
    read_any_nnunet(tmp_path, on_note=notes.append, on_problem=problems.append)
    assert (problems, len(notes)) == ([], 3)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_dataset_may_list_files_that_lie_anywhere(tmp_path, spatial_dims):
    cohort, folder = tiny_cohort(tmp_path / "elsewhere", spatial_dims=spatial_dims, n_subjects=2), tmp_path / "listed"
    folder.mkdir()
    (tmp_path / "elsewhere" / "dataset.json").rename(folder / "dataset.json")
    place = {"a": tmp_path / "elsewhere", "b": Path("..") / "elsewhere"}
    entries = {
        name: {
            "images": [str(place[name] / "imagesTr" / case.images["FLAIR"].name)],
            "label": str(place[name] / "labelsTr" / case.label.name),
        }
        for name, case in zip("ab", cohort, strict=True)
    }
    edit_json(folder, dataset=entries)
    with pytest.raises(CohortError, match=r"under dataset, wherever they lie; make a cohort of it"):
        read_cohort(folder)
    written = write_nnunet(read_any_nnunet(folder), tmp_path / "out").cohort
    assert [case.case_id for case in written] == ["a", "b"]
    for old, new in zip(cohort, written, strict=True):
        np.testing.assert_array_equal(load_scan(new, ["FLAIR"]).label, load_scan(old, ["FLAIR"]).label)
    for wrong in (["a"], {"a": []}, {"a": entries["a"] | {"images": []}}, {"a": entries["a"] | {"label": 1}}):
        edit_json(folder, dataset=wrong)
        with pytest.raises(CohortError, match=r"is no list of cases|does not name the files of the case 'a'"):
            read_any_nnunet(folder)
