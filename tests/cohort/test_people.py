import gzip
import unicodedata

import nibabel as nib
import numpy as np
import pytest

from lesionforge.cohort import people
from lesionforge.cohort.people import (
    People,
    alike,
    folded,
    keep_hashes,
    recall_hashes,
    same_scans,
    visits,
    voxel_hash,
)
from tests.helpers import tiny_cohort, write_array

IMAGE = np.random.default_rng(0).integers(0, 200, (6, 5, 4)).astype(np.int16)
AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def scaled(path):
    """Store half the values, with a slope of 2 (and what is lost in the intercept)."""
    image = nib.Nifti1Image((IMAGE - 10).astype(np.int16), AFFINE)
    image.header.set_slope_inter(1, 10)
    nib.save(image, path)


STORED_OTHERWISE = {
    "as float32": lambda path: nib.save(nib.Nifti1Image(IMAGE.astype(np.float32), AFFINE), path),
    "scaled": scaled,
    "from right to left": lambda path: nib.save(nib.Nifti1Image(IMAGE[::-1], AFFINE @ np.diag([-1, 1, 1, 1])), path),
    "axes swapped": lambda path: nib.save(nib.Nifti1Image(IMAGE.transpose(1, 0, 2), AFFINE[:, [1, 0, 2, 3]]), path),
    "compressed otherwise": lambda path: path.write_bytes(
        gzip.compress(gzip.decompress((path.parent / "a.nii.gz").read_bytes()), compresslevel=1)
    ),
}


@pytest.mark.parametrize("how", STORED_OTHERWISE)
def test_the_same_voxels_have_one_hash_however_they_are_stored(how, tmp_path):
    nib.save(nib.Nifti1Image(IMAGE, AFFINE), tmp_path / "a.nii.gz")
    STORED_OTHERWISE[how](tmp_path / "b.nii.gz")
    assert voxel_hash(tmp_path / "a.nii.gz") == voxel_hash(tmp_path / "b.nii.gz") != ""


@pytest.mark.parametrize("ending", [".png", ".nii.gz"])
def test_one_voxel_that_differs_makes_another_hash_and_a_plain_image_has_none(ending, tmp_path):
    image = IMAGE[..., 0] if ending == ".png" else IMAGE
    other = image.copy()
    other.flat[7] += 1
    for name, array in {"a": image, "b": other, "plain": image * 0 + 7}.items():
        write_array(tmp_path / f"{name}{ending}", array, AFFINE)
    assert voxel_hash(tmp_path / f"a{ending}") != voxel_hash(tmp_path / f"b{ending}")
    assert voxel_hash(tmp_path / f"plain{ending}") == voxel_hash(tmp_path / f"nowhere{ending}") == ""


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_copy_under_another_name_is_found_across_parts_unless_it_is_of_the_same_subject(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=spatial_dims, channels=("T1", "T2"), cases_per_subject=2)
    train, test = cohort.of_subjects(cohort.subjects[:2]), cohort.of_subjects(cohort.subjects[2:])
    assert not list(same_scans([train, test]))
    train.cases[0].images["T2"].write_bytes(test.cases[1].images["T1"].read_bytes())
    assert list(same_scans([train, test])) == [(train.cases[0], test.cases[1])]
    assert not list(same_scans([cohort]))
    first, second = (cohort.with_cases([case]) for case in cohort.cases[:2])
    second.cases[0].images["T1"].write_bytes(first.cases[0].images["T1"].read_bytes())
    assert not list(same_scans([first, second]))


def test_hashes_are_kept_for_the_next_run_and_made_again_for_files_that_change(tmp_path, monkeypatch):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2)
    before = {path: voxel_hash(path) for case in cohort for path in case.images.values()}
    keep_hashes(tmp_path, [cohort])
    assert str(tmp_path) not in (tmp_path / "voxels.json").read_text()
    read = []
    monkeypatch.setattr(people, "_hashes", {})
    monkeypatch.setattr(people, "_hash_file", lambda path: read.append(path) or "new")
    recall_hashes(tmp_path)
    changed = next(iter(before))
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert {path: voxel_hash(path) for path in before} == {**before, changed: "new"}
    assert read == [changed]


@pytest.mark.parametrize("name", ["P05", "p5", "sub-p05", "p05.", "ｐ０５", "P005", "SUB-P5", " p05"[1:] + ".."])
def test_names_that_people_write_for_one_subject_read_alike(name):
    assert folded(name) == folded("p05")
    assert alike(["p05", name, "p50"]) == [tuple(dict.fromkeys(["p05", name]))]


def test_decomposed_letters_read_like_composed_ones_and_different_numbers_do_not():
    assert folded(unicodedata.normalize("NFD", "Jörg_01")) == folded("jörg_1")
    assert not alike(["p1", "p10", "p100", "p1_1", "q1", "p-1"])


def test_visits_of_one_person_are_told_by_their_names():
    assert visits(["p01_ses-1", "p01_ses-2", "p02_ses-1"]) == {"p01": ("p01_ses-1", "p01_ses-2")}
    assert visits(["BraTS-GLI-00005-100", "BraTS-GLI-00005-101", "BraTS-GLI-00006-100"]) == {
        "BraTS-GLI-00005": ("BraTS-GLI-00005-100", "BraTS-GLI-00005-101")
    }
    assert visits(["anna_pre", "anna_post", "bert_pre"]) == {"anna": ("anna_pre", "anna_post")}
    assert visits(["case_1", "case_10", "case_1_0000", "sub_2021", "p1", "p2", "sub-01", "sub-02"]) == {}
    assert visits([f"BraTS2021_{number:05d}" for number in range(20)]) == {}
    assert visits([f"ADNI_{site:03d}_S_{number}" for site in range(3) for number in range(9)]) == {}


def test_a_name_leads_to_the_subjects_that_it_is_made_of(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=6)
    ids = ("p05", "p01", "case_1", "case_1_0000", "7", "Jörg")
    named = [
        type(case)(**{**vars(case), "case_id": name, "subject_id": f"S_{name}"})
        for case, name in zip(cohort, ids, strict=True)
    ]
    people = People(named, others=["sub-41"])
    behind = people.behind
    for name in ("P05_mask", "sub-p5_lesion", "P05._mask", "ｐ05_healed"):
        assert behind(name) == frozenset(), name
        assert people.resembling(name) == {"S_p05"}, name
    assert people.resembling("p05_mask") == people.resembling("xp05_mask") == frozenset()
    for name in ("p05", "p05_mask", "p05_healed", "lesion-p05", "S_p05", "S_p05_mask", "p05+edited", "p05.copy"):
        assert behind(name) == {"S_p05"}, name
    assert behind("p01+p05") == behind("p01_mask+p05_mask") == {"S_p01", "S_p05"}
    assert behind("case_1_0000") == behind("case_1_0000_mask") == {"S_case_1_0000"}
    assert behind("case_1_mask") == {"S_case_1"}
    assert behind("sub-41_lesion") == {"sub-41"}
    assert behind(unicodedata.normalize("NFD", "Jörg_mask")) == {"S_Jörg"}
    assert behind("7") == {"S_7"}
    for name in ("", "ellipsoids", "maskgan", "p051", "xp05", "case_7", "7_mask"):
        assert behind(name) == frozenset(), name
