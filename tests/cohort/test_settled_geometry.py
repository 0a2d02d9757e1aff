"""Headers that disagree or say nothing are settled by a rule, which is told."""

import nibabel as nib
import numpy as np
import pytest

from lesionforge.cohort.case import Annotation, Case
from lesionforge.cohort.settled_geometry import APART, FORMS, SHEAR, UNSET, rules_by_case, rules_of
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
    case = case_with(tmp_path / "p", **how)
    assert rules_of(case) == rules
    assert rules_by_case([case, case_with(tmp_path / "sound")]) == {rule: ["p"] for rule in rules}


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
