"""Headers that disagree or say nothing are settled by a rule, which is told."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import tifffile

from lesionforge.cohort import image_file
from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.scan import load_scan
from lesionforge.cohort.settled_geometry import (
    APART,
    CHANNELS,
    FORMS,
    NO_DIRECTION,
    SHEAR,
    STACK,
    STACK_WITH_SPACING,
    UNSET,
    rules_of,
)
from tests.cli.commands import typed
from tests.helpers import write_array

VOXELS = np.arange(1, 121, dtype=np.int16).reshape(4, 5, 6)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SHEARED = AFFINE + np.array([[0, 0.1, 0, 0], [0] * 4, [0] * 4, [0] * 4])
MIRRORED = np.diag([-2.0, 2.0, 3.0, 1.0])


def case_with(folder, *, sform=AFFINE, qform=AFFINE, mask=None):
    """Write a scan with two forms, of which ``None`` is unset, and a mask with the affine ``mask``."""
    image = nib.Nifti1Image(VOXELS, None)
    image.header.set_zooms((2, 2, 3))
    image.set_sform(sform, int(sform is not None))
    image.set_qform(qform, int(qform is not None))
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(image, folder / "flair.nii.gz")
    label = folder / "lesion.nii.gz"
    if mask is not None:
        write_array(label, (VOXELS > 99).astype(np.uint8), mask)
    return Case(
        case_id=folder.name,
        subject_id=folder.name,
        images={"FLAIR": folder / "flair.nii.gz"},
        annotation=Annotation.UNKNOWN if mask is None else Annotation.LESION,
        label=None if mask is None else label,
    )


def rules_for(case):
    return rules_of(load_scan(case, tuple(case.images)))


@pytest.mark.parametrize(
    ("how", "rules"),
    [
        ({}, []),
        ({"qform": None}, []),
        ({"sform": None}, []),
        ({"qform": AFFINE + 1e-3 * np.eye(4)}, []),
        ({"sform": MIRRORED}, [FORMS]),
        ({"sform": SHEARED}, [SHEAR]),
        ({"sform": SHEARED, "qform": None}, [SHEAR]),
        ({"sform": None, "qform": None}, [UNSET]),
        ({"mask": AFFINE}, []),
        ({"mask": AFFINE + 1e-7}, []),
        ({"mask": AFFINE + 3e-3 * np.eye(4, k=3)}, [APART]),
        ({"sform": MIRRORED, "mask": MIRRORED + 3e-3 * np.eye(4, k=3)}, [FORMS, APART]),
    ],
)
def test_the_rule_is_told_only_where_it_was_needed(tmp_path, how, rules):
    assert rules_for(case_with(tmp_path / "p", **how)) == rules


def case_of(image, label=None, *more):
    channels = {f"c{number}": path for number, path in enumerate((image, *more))}
    annotation = Annotation.UNKNOWN if label is None else Annotation.LESION
    return Case(case_id="p", subject_id="p", images=channels, annotation=annotation, label=label)


@pytest.mark.parametrize(
    ("kind", "mat", "rules"), [(nib.AnalyzeImage, False, [NO_DIRECTION]), (nib.Spm99AnalyzeImage, True, [])]
)
def test_the_direction_of_analyze_is_told_unless_a_file_beside_it_gives_it(tmp_path, kind, mat, rules):
    nib.save(kind(VOXELS, MIRRORED), tmp_path / "a.hdr")
    assert (tmp_path / "a.mat").is_file() == mat
    assert rules_for(case_of(tmp_path / "a.hdr")) == rules


@pytest.mark.parametrize(("qform", "rules"), [(AFFINE, []), (AFFINE + 9 * np.eye(4, k=3), [FORMS])])
def test_the_forms_of_a_pair_are_compared_as_those_of_a_file(tmp_path, qform, rules):
    image = nib.Nifti1Pair(VOXELS, AFFINE)
    image.set_qform(qform, 1)
    nib.save(image, tmp_path / "a.hdr")
    assert rules_for(case_of(tmp_path / "a.hdr")) == rules


def test_it_is_told_where_the_spacing_of_a_stack_comes_from_and_nothing_of_a_slice(tmp_path):
    for name, values in (("a.tif", VOXELS), ("slice.tif", VOXELS[0])):
        tifffile.imwrite(tmp_path / name, values.astype(np.uint8), photometric="minisblack")
    assert rules_for(case_of(tmp_path / "slice.tif")) == []
    assert rules_for(case_of(tmp_path / "a.tif")) == [STACK]
    (tmp_path / "a.json").write_text('{"spacing": [3, 2, 2]}')
    assert rules_for(case_of(tmp_path / "a.tif")) == [STACK_WITH_SPACING]


@pytest.mark.parametrize(("shift", "rules"), [(5e-5, []), (0.05, [CHANNELS]), (-0.05, [CHANNELS])])
@pytest.mark.parametrize("name", ["b.nii.gz", "b.nrrd"])
def test_a_second_channel_beside_the_first_is_told(tmp_path, name, shift, rules):
    first, second = tmp_path / "a.nii.gz", tmp_path / name
    write_array(first, VOXELS, AFFINE)
    write_array(tmp_path / "b.nii.gz", VOXELS, AFFINE + shift * np.eye(4, k=3))
    if name == "b.nrrd":
        SimpleITK.WriteImage(SimpleITK.ReadImage(str(tmp_path / "b.nii.gz")), str(second))
    assert rules_for(case_of(first, None, second)) == rules
    assert rules_for(case_of(first, second)) == ([APART] if rules else [])


def test_import_says_it_in_a_line_and_follows_it(tmp_path):
    case_with(tmp_path / "src" / "p1", sform=MIRRORED, mask=MIRRORED + 3e-3 * np.eye(4, k=3))
    case_with(tmp_path / "src" / "p2", mask=AFFINE)
    options = ("--channel", "FLAIR=flair.nii.gz", "--mask", "lesion.nii.gz")
    for output in (
        typed("import", tmp_path / "src", *options, "--dry-run").output,
        typed("import", tmp_path / "src", tmp_path / "out", *options).output,
    ):
        assert f"geometry of 1 cases (p1): {FORMS}" in output
        assert f"geometry of 1 cases (p1): {APART}" in output
    image, label = (nib.load(tmp_path / "out" / name) for name in ("imagesTr/p1_0000.nii.gz", "labelsTr/p1.nii.gz"))
    for form in ("get_sform", "get_qform"):
        np.testing.assert_array_equal(getattr(label.header, form)(), getattr(image.header, form)())
    np.testing.assert_array_equal(label.affine, MIRRORED)


def test_an_image_is_read_to_check_it_and_to_copy_it_and_no_third_time(tmp_path, monkeypatch):
    for name, values in (("flair", VOXELS), ("lesion", (VOXELS > 99).astype(np.uint8))):
        write_array(tmp_path / "a.nii.gz", values, AFFINE)
        (tmp_path / "src" / "p1").mkdir(parents=True, exist_ok=True)
        image = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
        SimpleITK.WriteImage(image, str(tmp_path / "src" / "p1" / f"{name}.nrrd"))
    read, known = [], image_file.read_with_itk
    monkeypatch.setattr(image_file, "read_with_itk", lambda path, kind: read.append(path.name) or known(path, kind))
    options = ("--channel", "FLAIR=flair.nrrd", "--mask", "lesion.nrrd")
    typed("import", tmp_path / "src", *options, "--dry-run")
    assert (read.count("flair.nrrd"), read.count("lesion.nrrd")) == (1, 2)
    typed("import", tmp_path / "src", tmp_path / "out", *options)
    assert (read.count("flair.nrrd"), read.count("lesion.nrrd")) == (3, 4)
