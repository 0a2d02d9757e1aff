"""What several cohorts must share, what becomes of equal names, and what is left out of an export."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.nifti1 import Nifti1Extension
from PIL import Image

from lesionforge.cohort.case import EDIT
from lesionforge.cohort.export.base import safe_names
from lesionforge.cohort.export.export_cohorts import export_cohorts
from lesionforge.cohort.export.gather import gather
from lesionforge.cohort.export.registry import EXPORTERS
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.layouts.cases_csv import write_cases_csv
from lesionforge.errors import CohortError, ConfigError, OutputError
from tests.cohort.export.cohorts import content, drawn_cohort, real_cohort, splits_of
from tests.helpers import NESTED

OUT = "Dataset201_Mixed"
DIMS = pytest.mark.parametrize("spatial_dims", [2, 3])


def test_an_id_that_is_there_already_gets_the_number_of_its_cohort(tmp_path):
    real = real_cohort(tmp_path / "real", n_subjects=4)
    for name in "ab":
        drawn_cohort(tmp_path / name, real.of_subjects(["sub_00"]))
    made = export_cohorts([tmp_path / name for name in ("real", "a", "b")], tmp_path / OUT, method="nnunet", folds=2)
    assert made.renamed == {"case_000_s00_c3": "case_000_s00"}
    drawn = [case for case in read_cohort(tmp_path / OUT) if case.derived]
    assert {case.case_id for case in drawn} == {"case_000_s00", "case_000_s00_c3"}
    assert {case.source_case for case in drawn} == {"case_000"}


def test_a_new_id_is_no_id_of_another_case(tmp_path):
    cohort = real_cohort(tmp_path / "real", n_subjects=2)
    one, two = cohort.cases
    other = cohort.with_cases([one, replace(two, case_id=f"{one.case_id}_c2")])
    gathered = gather([cohort, other])
    assert len({case.case_id for case in gathered.cohort}) == 4


def test_equal_subjects_of_two_real_cohorts_count_as_one_person(tmp_path):
    for seed, name in enumerate("ab"):
        real_cohort(tmp_path / name, n_subjects=4, seed=seed)
    made = export_cohorts([tmp_path / "a", tmp_path / "b"], tmp_path / OUT, method="nnunet", folds=4)
    assert made.shared == ("sub_00", "sub_01", "sub_02", "sub_03")
    cohort = read_cohort(tmp_path / OUT)
    for fold in splits_of(tmp_path / OUT):
        assert len({cohort[case_id].subject_id for case_id in fold["val"]}) == 1
        assert len(fold["val"]) == 2


def test_channels_may_be_in_another_order_and_only_some_may_be_exported(tmp_path):
    real_cohort(tmp_path / "a", channels=("FLAIR", "T1"), n_subjects=2)
    real_cohort(tmp_path / "b", channels=("T1", "FLAIR"), n_subjects=3, seed=1)
    real_cohort(tmp_path / "c", channels=("T1",), n_subjects=2, seed=2)
    folders = [tmp_path / name for name in "abc"]
    made = export_cohorts(folders[:2], tmp_path / OUT, method="nnunet", folds=2)
    for case in made.written.cohort:
        number = 1 if case.case_id.endswith("_c2") or case.subject_id == "sub_02" else 0
        source = folders[number] / "imagesTr" / f"{case.case_id.removesuffix('_c2')}_000{number}.png"
        assert case.images["FLAIR"].name.endswith("_0000.png")
        np.testing.assert_array_equal(pixels(case.images["FLAIR"]), pixels(source))
    with pytest.raises(CohortError, match="c: has the channels T1, but a has FLAIR, T1; name the `channels`"):
        export_cohorts(folders, tmp_path / "Dataset202_T1", method="nnunet", folds=2)
    made = export_cohorts(folders, tmp_path / "Dataset202_T1", method="nnunet", folds=2, channels=["T1"])
    assert (made.written.cohort.channels, len(made.written.cohort)) == (("T1",), 7)
    with pytest.raises(CohortError, match="no channel 'FLAIR'"):
        export_cohorts(folders, tmp_path / "Dataset203_B", method="nnunet", folds=2, channels=["FLAIR"])


def pixels(path):
    return np.asarray(Image.open(path))


def test_classes_must_agree_and_no_folder_is_named_twice(tmp_path):
    real_cohort(tmp_path / "a")
    real_cohort(tmp_path / "b", labels=NESTED)
    with pytest.raises(CohortError, match="b: has the classes 0 background, 1 oedema, 2 core, but a has"):
        export_cohorts([tmp_path / "a", tmp_path / "b"], tmp_path / OUT, method="nnunet")
    with pytest.raises(CohortError, match="named twice"):
        export_cohorts([tmp_path / "a", tmp_path / "b" / ".." / "a"], tmp_path / OUT, method="nnunet")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_more_subjects_than_there_are_and_options_of_other_formats_are_refused(tmp_path):
    real_cohort(tmp_path / "a", n_subjects=3)
    with pytest.raises(ConfigError, match="5 folds of 3 subjects"):
        export_cohorts([tmp_path / "a"], tmp_path / OUT, method="nnunet")
    with pytest.raises(ConfigError, match="`skull_stripped`: does not apply to the format nnunet"):
        export_cohorts([tmp_path / "a"], tmp_path / OUT, method="nnunet", options={"skull_stripped": True})
    with pytest.raises(ConfigError, match="is not a format; choose from nnunet"):
        export_cohorts([tmp_path / "a"], tmp_path / OUT, method="nnunet2")


@pytest.mark.parametrize("method", [*EXPORTERS.own])
def test_a_case_that_cannot_be_read_is_listed_and_the_others_go_on(tmp_path, method):
    real = real_cohort(tmp_path / "real", spatial_dims=3)
    drawn = drawn_cohort(tmp_path / "drawn", real.of_subjects(["sub_01", "sub_02"]))
    broken = [real.cases[0].images["FLAIR"], real.cases[3].label, drawn.cases[0].images["FLAIR"]]
    for file in broken:
        file.write_bytes(file.read_bytes()[:60])
    made = export_cohorts([tmp_path / "real", tmp_path / "drawn"], tmp_path / OUT, method=method, folds=2)
    assert len(made.written.problems) == 3
    assert len(pd.read_csv(tmp_path / OUT / "problems.csv")) == 3
    left = {case.case_id for case in made.written.cohort}
    assert left == {"case_001", "case_002", "case_004", "case_005", "case_002_s00"}
    for fold in splits_of(tmp_path / OUT):
        assert {*fold["train"], *fold["val"]} <= left
    for file in json.loads((tmp_path / OUT / "dataset_0.json").read_text())["training"]:
        assert (tmp_path / OUT / file["image"]).exists()


def test_a_given_split_may_name_a_case_that_cannot_be_read(tmp_path):
    real = real_cohort(tmp_path / "real", n_subjects=4)
    real.cases[0].images["FLAIR"].write_bytes(b"")
    splits = tmp_path / "splits.json"
    splits.write_text(json.dumps([{"train": ["case_000", "case_001"], "val": ["case_002"]}]))
    export_cohorts([tmp_path / "real"], tmp_path / OUT, method="nnunet", splits=splits)
    assert splits_of(tmp_path / OUT) == [{"train": ["case_001"], "val": ["case_002"]}]


def test_a_label_that_its_image_does_not_show_is_not_exported(tmp_path):
    real = real_cohort(tmp_path / "real", n_subjects=4)
    drawn = drawn_cohort(tmp_path / "edited", real)
    waiting = [replace(case, synthesizer=EDIT) for case in drawn.cases[:2]]
    write_cases_csv(tmp_path / "edited", [*waiting, *drawn.cases[2:]], channels=real.channels)
    made = export_cohorts([tmp_path / "real", tmp_path / "edited"], tmp_path / OUT, method="nnunet", folds=2)
    assert [problem.where for problem in made.written.problems] == [case.case_id for case in waiting]
    assert len(made.written.cohort) == 4 + 2


@DIMS
def test_a_missing_channel_leaves_the_case_out_or_is_filled(tmp_path, spatial_dims):
    channels, missing = ("FLAIR", "T1"), {"case_001": ["T1"]}
    real_cohort(tmp_path / "real", spatial_dims=spatial_dims, n_subjects=4, channels=channels, missing=missing)
    for number, (how, count) in enumerate((("leave_out", 3), ("zero_fill", 4)), start=201):
        out = tmp_path / f"Dataset{number}_Out"
        export_cohorts([tmp_path / "real"], out, method="nnunet", folds=3, missing=how)
        assert len(list((out / "labelsTr").iterdir())) == count
        assert sum(len(fold["val"]) for fold in splits_of(out)) == count
        assert (out / "missing.csv").is_file()


def test_maps_with_other_meanings_are_left_out(tmp_path):
    for name, grey in (("a", 1), ("b", 2)):
        real_cohort(tmp_path / name, n_subjects=2, anatomy=True, seed=grey)
        structures = {"structures": {"grey matter": grey, "white matter": 3 - grey}, "parenchyma": [1, 2]}
        (tmp_path / name / "anatomy.json").write_text(json.dumps(structures))
    export_cohorts([tmp_path / "a"], tmp_path / OUT, method="nnunet", folds=2)
    assert read_cohort(tmp_path / OUT).cases[0].parenchyma == (1, 2)
    export_cohorts([tmp_path / "a", tmp_path / "b"], tmp_path / "Dataset202_B", method="nnunet", folds=2)
    assert not {"anatomyTr", "anatomy.json"} & {path.name for path in (tmp_path / "Dataset202_B").iterdir()}


@pytest.mark.parametrize("method", [*EXPORTERS.own])
def test_nothing_of_a_header_but_geometry_is_written_and_new_ids_hide_the_old(tmp_path, method):
    real = real_cohort(tmp_path / "real", spatial_dims=3, n_subjects=3, channels=("FLAIR", "T1"))
    for case in real:
        for file in (*case.images.values(), case.label):
            image = nib.load(file)
            image.header["descrip"] = b"SECRET 1970-01-01"
            image.header.extensions.append(Nifti1Extension("comment", b"SECRET"))
            nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), file)
    drawn_cohort(tmp_path / "drawn", real.of_subjects(["sub_00"]))
    real.cases[2].label.write_bytes(b"")
    folders, table = [tmp_path / "real", tmp_path / "drawn"], tmp_path / "private" / "ids.csv"
    made = export_cohorts(folders, tmp_path / OUT, method=method, folds=2, new_ids=table)
    for path, held in content(tmp_path / OUT).items():
        assert not any(old in str(path) for old in ("case_0", "sub_0"))
        if path.suffix == ".gz":
            header = nib.load(tmp_path / OUT / path).header
            assert (header["descrip"].item(), list(header.extensions)) == (b"", [])
            assert held[3:8] == bytes(5)  # no name and no date in the gzip file
        else:
            assert not any(old in held for old in (b"case_0", b"sub_0", b"SECRET"))
    assert made.problems_file == table.with_name("ids_problems.csv")
    assert "case_002" in made.problems_file.read_text()
    rows = pd.read_csv(table)
    back = dict(zip(rows["new"], rows["old"], strict=True))
    plain = tmp_path / "plain" / OUT
    export_cohorts(folders, plain, method=method, folds=2)
    for fold, other in zip(splits_of(tmp_path / OUT), splits_of(plain), strict=True):
        assert {side: sorted(back[case_id] for case_id in fold[side]) for side in fold} == other


def test_a_table_of_new_ids_inside_the_export_is_refused(tmp_path):
    real_cohort(tmp_path / "real")
    with pytest.raises(ConfigError, match="give the old ids away"):
        export_cohorts([tmp_path / "real"], tmp_path / OUT, method="nnunet", new_ids=tmp_path / OUT / "ids.csv")


def test_nothing_is_overwritten_and_a_killed_export_starts_again(tmp_path, monkeypatch):
    real_cohort(tmp_path / "real", n_subjects=4)
    out, unfinished = tmp_path / OUT, tmp_path / f".{OUT}.unfinished"
    exporter = EXPORTERS["nnunet"]

    def killed(cohort, folder, *, name):
        assert any((folder / "imagesTr").iterdir())
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(exporter, "arrange", killed)
        with pytest.raises(KeyboardInterrupt):
            export_cohorts([tmp_path / "real"], out, method="nnunet", folds=2)
    assert not out.exists()
    (unfinished / "imagesTr").mkdir(parents=True)
    (unfinished / "imagesTr" / "old_0000.png").write_bytes(b"left by a killed run")
    export_cohorts([tmp_path / "real"], out, method="nnunet", folds=2)
    assert not unfinished.exists()
    before = content(out)
    assert "old_0000.png" not in {path.name for path in before}
    with pytest.raises(OutputError, match="not empty"):
        export_cohorts([tmp_path / "real"], out, method="nnunet", folds=2)
    assert content(out) == before


def test_an_empty_selection_of_letters_still_gives_names():
    assert safe_names(["脳", "梗塞", "T1 post"], taken=["X"]) == {"脳": "xx2", "梗塞": "xx3", "T1 post": "T1post"}


def test_drawn_cases_alone_can_be_exported_without_folds(tmp_path):
    real = real_cohort(tmp_path / "real", n_subjects=2)
    drawn_cohort(tmp_path / "drawn", real)
    made = export_cohorts([tmp_path / "drawn"], tmp_path / OUT, method="nnunet", folds=0)
    assert len(made.written.cohort) == 2
    with pytest.raises(ConfigError, match="of 0 subjects"):
        export_cohorts([tmp_path / "drawn"], tmp_path / "Dataset202_B", method="nnunet")
