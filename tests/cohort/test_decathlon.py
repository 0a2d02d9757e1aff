"""The Decathlon: a 4D image holds the channels, ``dataset.json`` of version 1 the list."""

import json

import nibabel as nib
import numpy as np
import pytest

from lesionforge.cohort.layouts import write_nnunet
from lesionforge.cohort.layouts.decathlon import read_decathlon
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from tests.helpers import write_array

IMAGE = np.arange(1, 61, dtype=np.int16).reshape(3, 4, 5)
LESION = np.where(IMAGE > 50, 2, IMAGE > 40).astype(np.uint8)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def dataset(folder, *, volumes=2, entries=None, **changes):
    entries = [f"T_{number:03d}" for number in range(2)] if entries is None else entries
    for name in entries:
        (folder / "imagesTr").mkdir(parents=True, exist_ok=True)
        image = IMAGE if volumes == 1 else np.stack([IMAGE * (1 + number) for number in range(volumes)], -1)
        nib.save(nib.Nifti1Image(image, AFFINE), folder / "imagesTr" / f"{name}.nii.gz")
        write_array(folder / "labelsTr" / f"{name}.nii.gz", LESION, AFFINE)
        (folder / "imagesTr" / f"._{name}.nii.gz").write_bytes(b"\0\5")
    content = {
        "modality": {"0": "FLAIR", "1": "T1w"},
        "labels": {"0": "Background", "1": "edema", "2": "core"},
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in entries],
        "test": ["./imagesTs/T_009.nii.gz"],
    }
    (folder / "dataset.json").write_text(json.dumps(content | changes))


def test_the_volumes_of_an_image_are_its_channels(tmp_path):
    dataset(tmp_path / "src")
    notes = []
    cohort = read_decathlon(tmp_path / "src", on_note=notes.append)
    assert "1 images under test" in notes[0]
    assert cohort.labels == {"background": 0, "edema": 1, "core": 2}
    written = write_nnunet(cohort, tmp_path / "out").cohort
    for case in written:
        scan = load_scan(case, ("FLAIR", "T1w"))
        np.testing.assert_array_equal(scan.image, np.stack([IMAGE, IMAGE * 2]))
        np.testing.assert_array_equal(scan.label, LESION)
        np.testing.assert_array_equal(scan.affine, AFFINE)


def test_files_of_nnunet_v1_are_found(tmp_path):
    dataset(tmp_path, volumes=1)
    for image in (tmp_path / "imagesTr").glob("T_*.nii.gz"):
        write_array(image.with_name(image.name.replace(".nii.gz", "_0001.nii.gz")), IMAGE * 3, AFFINE)
        image.rename(image.with_name(image.name.replace(".nii.gz", "_0000.nii.gz")))
    scan = load_scan(read_decathlon(tmp_path).cases[0], ("FLAIR", "T1w"))
    np.testing.assert_array_equal(scan.image[1], IMAGE * 3)


def test_a_case_with_another_number_of_volumes_is_told_and_the_others_go_on(tmp_path):
    dataset(tmp_path)
    nib.save(nib.Nifti1Image(IMAGE, AFFINE), tmp_path / "imagesTr" / "T_000.nii.gz")
    problems = []
    assert [case.case_id for case in read_decathlon(tmp_path, on_problem=problems.append)] == ["T_001"]
    assert "T_000.nii.gz: holds 1 volumes, but dataset.json names 2 modalities" in str(problems[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": [{"image": "../other.nii.gz", "label": "a.nii.gz"}]}, "no image in its folder"),
        ({"training": [{"image": "/etc/passwd", "label": "a.nii.gz"}]}, "no image in its folder"),
        ({"training": []}, "lists no case"),
        ({"training": [{"image": "a.nii.gz"}]}, "does not describe"),
        ({"training": [{"image": 3, "label": 4}]}, "does not describe"),
        ({"modality": {"1": "FLAIR"}}, "does not describe"),
        ({"labels": {"0": "a", "1": "a"}}, "two classes have one name"),
        ({"labels": {"1": "a"}}, "none has the number 0"),
    ],
)
def test_what_dataset_json_cannot_say_is_refused(tmp_path, changes, message):
    dataset(tmp_path, **changes)
    with pytest.raises(CohortError, match=message):
        read_decathlon(tmp_path)
