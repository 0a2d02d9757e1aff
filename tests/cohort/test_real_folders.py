"""The readers on real folders, read only; skipped where ``LESIONFORGE_DATA`` does not name them, or one is missing."""

import os
from collections import Counter
from pathlib import Path

import pytest

from lesionforge.cohort.layouts import read_cohort, read_folders, read_slices
from lesionforge.cohort.layouts.recognition import recognised
from lesionforge.cohort.scan import load_scan
from lesionforge.cohort.splits import of_role, read_roles
from lesionforge.errors import CohortError
from tests.cli.commands import error, typed

DATA = Path(os.environ.get("LESIONFORGE_DATA", "unset"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="LESIONFORGE_DATA does not name the folder of real scans")

LAYOUTS = {
    "atlas-t1-bids": "bids",
    "isles-dwi": "bids",
    "ct-haemorrhage": "slices",
    "ct-haemorrhage-types": "slices",
    "ct-healthy": "slices",
    "lgg-tumour-mri": "nnunet",
    "healthy-volunteer": "folders",
    "ms-mri": "folders",
    "wmh-flair": "folders",
}
WITHOUT_SCANS = ("anatomy-labels", "stroke-lesion-masks")


def folder(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"LESIONFORGE_DATA holds no folder {name}")
    return DATA / name


def annotations(cohort) -> dict[str, int]:
    return dict(Counter(str(case.annotation) for case in cohort))


def test_lgg_tumour_mri():
    data = folder("lgg-tumour-mri")
    cohort = read_cohort(data)
    assert (len(cohort), cohort.channels) == (80, ("T1", "FLAIR", "T1Gd"))
    assert annotations(cohort) == {"lesion": 80}
    assert 0 < len(cohort.having(cohort.channels)) < len(cohort.having(["FLAIR"])) == 80
    roles = read_roles(data / "roles.json")
    sizes = {role: len(of_role(cohort, roles, role).subjects) for role in roles}
    assert sizes == {"pool": 40, "development": 12, "final": 28}
    assert load_scan(cohort.cases[0], ["FLAIR"]).spacing[:2] == (1.875, 1.875)


@pytest.mark.parametrize(
    ("name", "slices", "subjects", "classes"), [("ct-haemorrhage", 282, 71, 2), ("ct-haemorrhage-types", 36, 25, 5)]
)
def test_slices_with_haemorrhage(name, slices, subjects, classes):
    cohort = read_slices(folder(name))
    assert (len(cohort), len(cohort.subjects), len(cohort.labels) - 1) == (slices, subjects, classes)
    assert annotations(cohort) == {"lesion": slices}
    assert load_scan(cohort.cases[0], ["CT"]).spatial_dims == 2


def test_slices_without_haemorrhage():
    data = folder("ct-healthy")
    cohort = read_slices(data, no_mask="lesion_free")
    assert (len(cohort.subjects), annotations(cohort)) == (36, {"lesion_free": 1085})
    assert annotations(read_slices(data)) == {"unknown": 1085}


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
    cohort = read_folders(folder(name), channels=channels, mask=mask)
    assert annotations(cohort) == expected
    assert len(cohort.having(cohort.channels)) == len(cohort)
    scan = load_scan(cohort.cases[0], cohort.channels)
    assert scan.image.any()


@pytest.mark.parametrize(
    ("name", "channels", "shape"),
    [("isles-dwi", ("ADC", "DWI"), (112, 112)), ("atlas-t1-bids", ("T1w",), None)],
)
def test_bids_folders_are_recognised_without_patterns(name, channels, shape):
    layout, _ = recognised(folder(name))
    cohort = layout.read(folder(name))
    assert (layout.method, cohort.channels, annotations(cohort)) == ("bids", channels, {"lesion": 2})
    assert all(case.case_id.startswith(f"{case.subject_id}_ses-") for case in cohort)
    scan = load_scan(cohort.cases[0], channels)
    assert scan.label.any()
    assert shape is None or scan.spatial_shape[:2] == shape


@pytest.mark.parametrize(("name", "layout"), LAYOUTS.items())
def test_a_folder_of_scans_is_recognised(name, layout):
    assert recognised(folder(name))[0].method == layout


@pytest.mark.parametrize("name", WITHOUT_SCANS)
def test_a_folder_of_masks_or_maps_alone_is_no_dataset(name):
    with pytest.raises(CohortError, match=f"{name}: has no known layout"):
        recognised(folder(name))
    assert f"{name}: has no known layout" in error("import", folder(name), "--dry-run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("healthy-volunteer", "--channel FLAIR=flair.nii.gz --channel T1=t1.nii.gz --channel T2=t2.nii.gz"),
        ("ms-mri", "--channel FLAIR=flair.nii.gz --channel T1=t1.nii.gz --mask lesion.nii.gz"),
        ("wmh-flair", "--channel FLAIR=flair.nii.gz --mask lesion.nii.gz"),
    ],
)
def test_patterns_that_are_missing_are_named_as_they_may_be_typed(name, missing):
    assert error("import", folder(name), "--dry-run").endswith(f"give {missing}")
    said = typed("import", folder(name), "--dry-run", *missing.split()).output
    assert "layout folders" in said
    assert ", 0 left out; nothing was written" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("atlas-t1-bids", "2 cases of 2 subjects would be imported, 0 left out"),
        ("isles-dwi", "2 cases of 2 subjects would be imported, 0 left out"),
        ("ct-haemorrhage", "282 cases of 71 subjects would be imported, 0 left out"),
        ("ct-haemorrhage-types", "36 cases of 25 subjects would be imported, 0 left out"),
        ("ct-healthy", "1085 cases of 36 subjects would be imported, 0 left out"),
        ("lgg-tumour-mri", "72 cases of 72 subjects would be imported, 8 left out"),
    ],
)
def test_what_import_would_find_without_further_options(name, found):
    said = typed("import", folder(name), "--dry-run").output
    assert f"layout {LAYOUTS[name]}: " in said
    assert f"{found}; nothing was written" in said
