"""BraTS: sequences by the names of all years, classes by names and values, visits of one subject."""

import numpy as np
import pytest

from lesionforge.cohort.layouts import write_nnunet
from lesionforge.cohort.layouts.brats import read_brats
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from tests.helpers import write_array

IMAGE = np.arange(1, 61).reshape(3, 4, 5)
OLD, NEW = ("_t1", "_t1ce", "_t2", "_flair"), ("-t1n", "-t1c", "-t2w", "-t2f")


def put(folder, ends, values, mask="seg", ending=".nii.gz"):
    for end in ends:
        write_array(folder / f"{folder.name}{end}{ending}", IMAGE)
    label = np.zeros(IMAGE.shape, np.uint8)
    label[1, 1, : len(values)] = values
    write_array(folder / f"{folder.name}{ends[0][0]}{mask}{ending}", label)


@pytest.mark.parametrize(
    ("name", "ends", "values", "classes", "subject"),
    [
        ("HGG/BraTS19_2013_0_1", OLD, (1, 2, 4), {"NCR": 1, "ED": 2, "ET": 4}, "BraTS19_2013_0"),
        ("BraTS20_Training_001", OLD, (1, 2, 4), {"NCR": 1, "ED": 2, "ET": 4}, "BraTS20_Training_001"),
        ("BraTS2021_00000", OLD, (1, 2, 3), {"NCR": 1, "ED": 2, "ET": 3}, "BraTS2021_00000"),
        ("BraTS-GLI-00005-100", NEW, (1, 2, 3), {"NCR": 1, "ED": 2, "ET": 3}, "BraTS-GLI-00005"),
        ("BraTS-GLI-00005-101", NEW, (2, 4), {"NCR": 1, "ED": 2, "ET": 3, "RC": 4}, "BraTS-GLI-00005"),
        ("BraTS-PED-00001-000", NEW, (1, 2, 3, 4), {"ET": 1, "NET": 2, "CC": 3, "ED": 4}, "BraTS-PED-00001"),
    ],
)
def test_every_year_gives_its_channels_classes_and_subjects(tmp_path, name, ends, values, classes, subject):
    put(tmp_path / name, ends, values, ending=".nii" if "20_Tr" in name else ".nii.gz")
    notes = []
    cohort = read_brats(tmp_path, on_note=notes.append)
    assert cohort.channels == ("T1", "T1Gd", "T2", "FLAIR")
    assert cohort.labels == {"background": 0, **classes}
    assert cohort.subjects == (subject,)
    assert "nested: tumour core = " in notes[0]
    written = write_nnunet(cohort, tmp_path / "out").cohort
    scan = load_scan(written.cases[0], written.channels)
    assert sorted(written.labels.values()) == list(range(len(classes) + 1))
    assert len(np.unique(scan.label)) == len(values) + 1


@pytest.mark.parametrize(("name", "values"), [("BraTS-PED-00001-000", (1, 2, 3)), ("BraTS2021_00000", (3, 4))])
def test_values_that_mean_several_things_are_to_be_named(tmp_path, name, values):
    put(tmp_path / name, NEW if "PED" in name else OLD, values)
    with pytest.raises(CohortError, match="`label=NAME=3`"):
        read_brats(tmp_path)
    labels = {"background": 0, **{f"class {value}": value for value in values}}
    assert read_brats(tmp_path, labels=labels).labels == labels


def test_a_mask_with_another_name_belongs_to_the_case_and_a_case_without_one_is_unknown(tmp_path):
    put(tmp_path / "BraTS20_Training_355", OLD, (1, 2, 4), mask="x")
    (tmp_path / "BraTS20_Training_355" / "BraTS20_Training_355_x.nii.gz").rename(
        tmp_path / "BraTS20_Training_355" / "W39_1998.09.19_Segm.nii.gz"
    )
    put(tmp_path / "BraTS20_Training_356", OLD, (1,), mask="other")
    cohort = read_brats(tmp_path)
    assert [case.annotation for case in cohort] == ["lesion", "unknown"]
    put(tmp_path / "BraTS20_Training_357", (*OLD, "-t1n"), (1,))
    problems = []
    assert len(read_brats(tmp_path, on_problem=problems.append)) == 2
    assert "two files of one sequence" in str(problems[0])


def test_a_contrast_scan_alone_with_its_target_volume(tmp_path):
    put(tmp_path / "BraTS-MEN-RT-0001-1", ("_t1c",), (1,), mask="gtv")
    cohort = read_brats(tmp_path)
    assert (cohort.channels, cohort.labels, cohort.subjects) == (
        ("T1Gd",),
        {"background": 0, "GTV": 1},
        ("BraTS-MEN-RT-0001",),
    )


def test_two_cases_of_one_name_are_refused(tmp_path):
    for grade in ("HGG", "LGG"):
        put(tmp_path / grade / "BraTS19_2013_0_1", OLD, (1,))
    with pytest.raises(CohortError, match="second case of this name"):
        read_brats(tmp_path)


def test_folders_and_images_that_are_named_otherwise_are_counted(tmp_path):
    for number in (1, 2):
        put(tmp_path / "HGG" / f"BraTS2021_0000{number}", OLD, (1, 2, 4))
        put(tmp_path / "LGG" / f"BraTS2021_0001{number}", OLD, (1, 2, 4))
        (tmp_path / "LGG" / f"BraTS2021_0001{number}").rename(tmp_path / "LGG" / f"patient{number}")
    write_array(tmp_path / "HGG" / "BraTS2021_00001" / "BraTS2021_00001_swi.nii.gz", IMAGE)
    notes = []
    assert len(read_brats(tmp_path, on_note=notes.append)) == 2
    assert notes[1:] == [
        "not read, folders whose images are not named like them and a sequence: 2, "
        "such as patient1/BraTS2021_00011_flair.nii.gz",
        "not used, further images in the folders of cases: 1 files, such as BraTS2021_00001_swi.nii.gz",
    ]
