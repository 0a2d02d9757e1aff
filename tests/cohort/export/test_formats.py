"""What lies where in each format, and that image, label and geometry are those of the sources."""

import hashlib
import json
import shutil
import subprocess
from collections import Counter
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from monai.apps.auto3dseg import auto_runner
from monai.auto3dseg.utils import datafold_read
from monai.data import NibabelReader, PILReader
from monai.transforms import LoadImage

from lesionforge.cohort.export.export_cohorts import export_cohorts
from lesionforge.cohort.export.msd import write_stack
from lesionforge.cohort.layouts import read_cohort, read_folders
from lesionforge.cohort.layouts.cases_csv import write_cases_csv
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.errors import CohortError, ConfigError
from tests.cohort.export.cohorts import drawn_cohort, real_cohort, splits_of
from tests.helpers import NESTED, write_array

OUT = "Dataset201_Mixed"
TURNED = np.array([[0, -1.5, 0, 20], [2, 0, 0, -7], [0, 0, 3, 5], [0, 0, 0, 1.0]])
DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])


def sources(folder, spatial_dims=3, **options):
    """Write real and drawn scans with two channels and two classes, on a turned grid; the last person is unknown."""
    described = {"channels": ("FLAIR", "T1"), "labels": NESTED, "affine": TURNED, "n_subjects": 4} | options
    real = real_cohort(folder / "real", spatial_dims=spatial_dims, n_healthy=1, n_unknown=1, **described)
    drawn_cohort(folder / "drawn", real.of_subjects(real.subjects[:2]))
    return [folder / "real", folder / "drawn"]


def all_cases(folders):
    return {case.case_id: (case, cohort.channels) for cohort in map(read_cohort, folders) for case in cohort}


def items(folder):
    """Return the entries of the first datalist that have a label, and those that have none."""
    content = json.loads((folder / "dataset_0.json").read_text())
    return content["training"] + content.get("validation", []), content["testing"]


def voxels(image):
    return hashlib.sha256(np.ascontiguousarray(image, np.float32)).hexdigest()


def place_of(files, folder):
    return [str(folder / file) for file in ([files] if isinstance(files, str) else files)]


@pytest.mark.parametrize(
    ("method", "spatial_dims"), [("nnunet", 2), ("nnunet", 3), ("folders", 2), ("folders", 3), ("msd", 3), ("bids", 3)]
)
def test_monai_reads_every_format_through_its_list_as_it_was(tmp_path, method, spatial_dims):
    folders, out = sources(tmp_path, spatial_dims), tmp_path / OUT
    made = export_cohorts(folders, out, method=method, folds=2)
    cases, (labelled, unlabelled) = all_cases(folders), items(out)
    assert (made.lists[0], len(unlabelled)) == ("splits_final.json", 1)
    scans = {voxels(load_scan(case, channels).image): load_scan(case, channels) for case, channels in cases.values()}
    reader = NibabelReader() if spatial_dims == 3 else PILReader(reverse_indexing=False)
    load = LoadImage(reader, image_only=True, ensure_channel_first=True)
    for item in labelled + unlabelled:
        image = load(place_of(item["image"], out))
        scan = scans[voxels(image.numpy())]
        if spatial_dims == 3:
            np.testing.assert_allclose(image.affine, TURNED, atol=1e-5)
        assert ("label" in item) is (scan.label is not None)
        if scan.label is not None:
            np.testing.assert_array_equal(load(str(out / item["label"])).numpy()[0], scan.label)


def test_one_list_with_folds_does_for_real_cases(tmp_path):
    real_cohort(tmp_path / "real", spatial_dims=3)
    export_cohorts([tmp_path / "real"], tmp_path / OUT, method="msd", folds=3)
    assert not (tmp_path / OUT / "dataset_1.json").exists()
    for number, fold in enumerate(splits_of(tmp_path / OUT)):
        read = datafold_read(str(tmp_path / OUT / "dataset_0.json"), str(tmp_path / OUT), fold=number)
        for entries, side in zip(read, ("train", "val"), strict=True):
            assert sorted(entry["image"].split("/")[-1] for entry in entries) == [f"{i}.nii.gz" for i in fold[side]]


def test_auto3dseg_takes_each_list_as_one_fold_where_drawn_cases_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(auto_runner.logger, "disabled", True)  # one of its messages has a wrong number of arguments
    export_cohorts(sources(tmp_path), tmp_path / OUT, method="nnunet", folds=2)
    for number, fold in enumerate(splits_of(tmp_path / OUT)):
        path = tmp_path / OUT / f"dataset_{number}.json"
        assert auto_runner.AutoRunner.inspect_datalist_folds(None, str(path)) == 1  # it writes folds into the list
        training, validation = datafold_read(str(path), "", fold=0)
        for entries, side in ((training, "train"), (validation, "val")):
            assert sorted(entry["label"].split("/")[-1].removesuffix(".nii.gz") for entry in entries) == fold[side]


@DIMS
def test_folders_are_read_again_by_import(tmp_path, spatial_dims):
    folders, out = sources(tmp_path, spatial_dims, anatomy=True), tmp_path / "out"
    export_cohorts(folders, out, method="folders", folds=2)
    ending = ".png" if spatial_dims == 2 else ".nii.gz"
    back = read_folders(
        out / "cases",
        channels={"FLAIR": f"FLAIR{ending}", "T1": f"T1{ending}"},
        mask=f"lesion{ending}",
        anatomy=f"anatomy{ending}",
        labels=NESTED,
    )
    before = {case_id: case for case_id, (case, _) in all_cases(folders).items()}
    assert {case.case_id for case in back} == set(before)
    for case in back:
        now, then = load_scan(case, back.channels), load_scan(before[case.case_id], back.channels)
        assert case.annotation == before[case.case_id].annotation
        for name in ("image", "label", "anatomy", "affine"):
            np.testing.assert_array_equal(getattr(now, name), getattr(then, name))
    assert json.loads((out / "folders.json").read_text())["labels"] == NESTED


def test_msd_is_described_as_the_decathlon_does(tmp_path):
    export_cohorts(sources(tmp_path, anatomy=True), tmp_path / "Task07_Mixed", method="msd", folds=2)
    content = json.loads((tmp_path / "Task07_Mixed" / "dataset.json").read_text())
    assert (content["name"], content["tensorImageSize"]) == ("Mixed", "4D")
    assert content["modality"] == {"0": "FLAIR", "1": "T1"}
    assert content["labels"] == {"0": "background", "1": "oedema", "2": "core"}
    assert (content["numTraining"], content["numTest"]) == (len(content["training"]), len(content["test"])) == (5, 1)
    for entry in content["training"]:
        assert nib.load(tmp_path / "Task07_Mixed" / entry["image"]).shape == (10, 12, 8, 2)
        assert nib.load(tmp_path / "Task07_Mixed" / entry["label"]).shape == (10, 12, 8)
    assert not (tmp_path / "Task07_Mixed" / "anatomyTr").exists()


def test_a_stack_keeps_stored_values_if_all_channels_are_stored_alike(tmp_path):
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{number}.nii.gz" for number in range(3)]
    arrays = [rng.integers(0, 1000, (4, 5, 6)).astype(np.int16) for _ in files]
    for file, array in zip(files, arrays, strict=True):
        write_array(file, array, TURNED)
    write_stack(tmp_path / "alike.nii.gz", files)
    stacked = nib.load(tmp_path / "alike.nii.gz")
    assert stacked.get_data_dtype() == np.int16
    np.testing.assert_array_equal(stacked.get_fdata(), np.stack(arrays, axis=-1))
    scaled = nib.Nifti1Image(arrays[2], TURNED)
    scaled.header.set_slope_inter(0.5, 3)
    nib.save(scaled, files[2])
    write_stack(tmp_path / "mixed.nii.gz", files)
    mixed = nib.load(tmp_path / "mixed.nii.gz")
    assert mixed.get_data_dtype() == np.float32
    np.testing.assert_array_equal(mixed.get_fdata()[..., 2], arrays[2] * 0.5 + 3)
    np.testing.assert_allclose(mixed.affine, TURNED)


@pytest.mark.parametrize("method", ["msd", "bids"])
def test_formats_of_volumes_refuse_slices(tmp_path, method):
    real_cohort(tmp_path / "real", spatial_dims=2)
    with pytest.raises(CohortError, match="PNG slices"):
        export_cohorts([tmp_path / "real"], tmp_path / "out", method=method)
    assert not (tmp_path / "out").exists()


def test_nnunet_needs_a_name_with_a_number_of_its_own(tmp_path):
    real_cohort(tmp_path / "Dataset001_Real")
    for name, remedy in (("mixed", "Dataset002_mixed"), ("Dataset001_Mixed", "Dataset002_Mixed")):
        with pytest.raises(ConfigError, match=remedy):
            export_cohorts([tmp_path / "Dataset001_Real"], tmp_path / name, method="nnunet", folds=2)
    export_cohorts([tmp_path / "Dataset001_Real"], tmp_path / "Dataset002_Mixed", method="nnunet", folds=2)
    assert read_cohort(tmp_path / "Dataset002_Mixed").subjects == read_cohort(tmp_path / "Dataset001_Real").subjects


@pytest.fixture(scope="module")
def bids(tmp_path_factory):
    place = tmp_path_factory.mktemp("bids")
    folders = sources(place, channels=("T1", "T1ce", "t1w", "DWI", "CT"), n_subjects=3, cases_per_subject=2)
    made = export_cohorts(folders, place / "out", method="bids", folds=2, options={"skull_stripped": True})
    return place / "out", made


def test_bids_names_say_what_a_file_is(bids):
    folder, _ = bids
    places = {path.parent.name + "/" + path.name.split("_", 2)[2] for path in folder.rglob("sub-00_ses-01_*.nii.gz")}
    assert places == {
        "anat/acq-T1_desc-real_T1w.nii.gz",
        "anat/acq-t1w_desc-real_T1w.nii.gz",
        "anat/ce-gadolinium_desc-real_T1w.nii.gz",
        "dwi/desc-real_trace.nii.gz",
        "anat/desc-real_CT.nii.gz",
        "anat/label-lesion_desc-real_mask.nii.gz",
        "anat/desc-real_dseg.nii.gz",
    }
    origins = Counter(path.name.split("desc-")[1] for path in folder.rglob("*_mask.nii.gz"))
    assert origins == {"real_mask.nii.gz": 4, "synthetic_mask.nii.gz": 4}
    for image in folder.rglob("*.nii.gz"):
        about = json.loads(image.with_name(image.name.replace(".nii.gz", ".json")).read_text())
        if image.name.endswith("_mask.nii.gz"):
            assert about["Type"] == "Lesion"
            classes, _ = read_label(image.with_name(image.name.replace("label-lesion_", "").replace("mask", "dseg")))
            np.testing.assert_array_equal(read_label(image)[0], classes > 0)
        elif not image.name.endswith("_dseg.nii.gz"):
            assert about["SkullStripped"] is True
        for source in about.get("Sources", []):
            assert (folder / source.removeprefix("bids::")).is_file()


def test_bids_tables_lead_to_every_case(bids):
    folder, made = bids
    found = {}
    for table in folder.glob("sub-*/sub-*_sessions.tsv"):
        for row in pd.read_csv(table, sep="\t", keep_default_na=False).to_dict("records"):
            assert (table.parent / row["session_id"]).is_dir()
            found[row["case_id"]] = row["origin"]
    assert found == {case.case_id: case.origin for case in made.written.cohort}
    assert len(list(folder.glob("sub-*/ses-*"))) == len(found)


@pytest.mark.slow
def test_the_bids_validator_accepts_it(bids):
    validator = shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    done = subprocess.run([validator, str(bids[0]), "--format", "json"], capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert {issue["code"] for issue in issues if issue["severity"] == "error"} == set()
    assert done.returncode == 0


def test_bids_tables_hold_the_columns_that_are_kept(tmp_path):
    real = real_cohort(tmp_path / "real", spatial_dims=3, n_subjects=3)
    cases = [replace(case, extra={"age": f"{40 + number}\t", "name": "SECRET"}) for number, case in enumerate(real)]
    write_cases_csv(tmp_path / "real", cases, channels=real.channels)
    made = export_cohorts([tmp_path / "real"], tmp_path / "out", method="bids", folds=3, columns=["age"])
    assert made.written.dropped_columns == ("name",)
    table = pd.read_csv(tmp_path / "out" / "sub-01" / "sub-01_sessions.tsv", sep="\t")
    assert table[["session_id", "case_id", "age"]].to_numpy().tolist() == [["ses-01", "case_001", 41]]
    assert set(json.loads((tmp_path / "out" / "sessions.json").read_text())) == set(table.columns)


def test_two_subjects_stay_two_where_bids_cannot_write_their_names(tmp_path):
    real_cohort(tmp_path / "real", spatial_dims=3, n_subjects=3)
    table, names = tmp_path / "real" / "cases.csv", {"sub_00": "p_1", "sub_01": "P-1", "sub_02": "sub-p1"}
    text = table.read_text()
    for old, new in names.items():
        text = text.replace(old, new)
    table.write_text(text)
    export_cohorts([tmp_path / "real"], tmp_path / "out", method="bids", folds=3)
    people = pd.read_csv(tmp_path / "out" / "participants.tsv", sep="\t")
    assert people["participant_id"].str.casefold().nunique() == 3
    assert set(people["subject_id"]) == set(names.values())
