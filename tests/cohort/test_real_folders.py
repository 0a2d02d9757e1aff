"""The readers on real folders, read only; skipped where ``LESIONFORGE_DATA`` does not name them."""

import os
from collections import Counter
from pathlib import Path

import pytest

from lesionforge.cohort.layouts import read_cohort, read_folders, read_slices
from lesionforge.cohort.layouts.recognition import recognised
from lesionforge.cohort.scan import load_scan
from lesionforge.cohort.splits import of_role, read_roles

DATA = Path(os.environ.get("LESIONFORGE_DATA", "unset"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="LESIONFORGE_DATA does not name the folder of real scans")


def annotations(cohort) -> dict[str, int]:
    return dict(Counter(str(case.annotation) for case in cohort))


def test_lgg_tumour_mri():
    cohort = read_cohort(DATA / "lgg-tumour-mri")
    assert (len(cohort), cohort.channels) == (80, ("T1", "FLAIR", "T1Gd"))
    assert annotations(cohort) == {"lesion": 80}
    assert 0 < len(cohort.having(cohort.channels)) < len(cohort.having(["FLAIR"])) == 80
    roles = read_roles(DATA / "lgg-tumour-mri" / "roles.json")
    sizes = {role: len(of_role(cohort, roles, role).subjects) for role in roles}
    assert sizes == {"pool": 40, "development": 12, "final": 28}
    assert load_scan(cohort.cases[0], ["FLAIR"]).spacing[:2] == (1.875, 1.875)


@pytest.mark.parametrize(
    ("name", "slices", "subjects", "classes"), [("ct-haemorrhage", 282, 71, 2), ("ct-haemorrhage-types", 36, 25, 5)]
)
def test_slices_with_haemorrhage(name, slices, subjects, classes):
    cohort = read_slices(DATA / name)
    assert (len(cohort), len(cohort.subjects), len(cohort.labels) - 1) == (slices, subjects, classes)
    assert annotations(cohort) == {"lesion": slices}
    assert load_scan(cohort.cases[0], ["CT"]).spatial_dims == 2


def test_slices_without_haemorrhage():
    cohort = read_slices(DATA / "ct-healthy", no_mask="lesion_free")
    assert (len(cohort.subjects), annotations(cohort)) == (36, {"lesion_free": 1085})
    assert annotations(read_slices(DATA / "ct-healthy")) == {"unknown": 1085}


@pytest.mark.parametrize(
    ("name", "channels", "mask", "expected"),
    [
        ("wmh-flair", {"FLAIR": "flair.nii.gz"}, "lesion.nii.gz", {"lesion": 3}),
        ("ms-mri", {"FLAIR": "flair.nii.gz", "T1": "t1.nii.gz"}, "lesion.nii.gz", {"lesion": 2}),
        ("healthy-volunteer", {"FLAIR": "flair.nii.gz", "T2": "t2.nii.gz"}, None, {"unknown": 1}),
        ("isles-dwi", {"DWI": "**/*_dwi.nii.gz", "ADC": "**/*_adc.nii.gz"}, "**/*_msk.nii.gz", {"lesion": 2}),
        ("atlas-t1-bids", {"T1": "**/*_T1w.nii.gz"}, "**/*_label-lesion_*mask.nii.gz", {"lesion": 2}),
    ],
)
def test_folders_of_patients(name, channels, mask, expected):
    cohort = read_folders(DATA / name, channels=channels, mask=mask)
    assert annotations(cohort) == expected
    assert len(cohort.having(cohort.channels)) == len(cohort)
    scan = load_scan(cohort.cases[0], cohort.channels)
    assert scan.image.any()


@pytest.mark.parametrize(
    ("name", "channels", "shape"),
    [("isles-dwi", ("ADC", "DWI"), (112, 112)), ("atlas-t1-bids", ("T1w",), None)],
)
def test_bids_folders_are_recognised_without_patterns(name, channels, shape):
    layout, _ = recognised(DATA / name)
    cohort = layout.read(DATA / name)
    assert (layout.method, cohort.channels, annotations(cohort)) == ("bids", channels, {"lesion": 2})
    assert all(case.case_id.startswith(f"{case.subject_id}_ses-") for case in cohort)
    scan = load_scan(cohort.cases[0], channels)
    assert scan.label.any()
    assert shape is None or scan.spatial_shape[:2] == shape
