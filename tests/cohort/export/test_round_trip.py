"""What is exported and imported again are the same cases: real ones, and drawn ones with those they were drawn from."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.export.export_cohorts import export_cohorts
from lesionforge.cohort.export.registry import EXPORTERS
from lesionforge.cohort.layouts import LAYOUTS, read_cohort, write_nnunet
from lesionforge.cohort.layouts.cases_csv import row_from_case
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError, ConfigError
from tests.cli.commands import error, typed
from tests.cohort.export.cohorts import drawn_cohort, real_cohort
from tests.helpers import NESTED

CHANNELS = {"FLAIR": "FLAIR.nii.gz", "CT": "CT.nii.gz"}
OPTIONS = {"folders": {"channels": CHANNELS, "mask": "lesion.nii.gz", "labels": NESTED}}
UNREAD = {"msd": {"unknown"}}
"""The annotations of cases that a reader does not take, since they have no label."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Return folders of real cases, one of them without CT and one of nobody knows what, and of drawn ones."""
    place = tmp_path_factory.mktemp("mixed")
    real = real_cohort(
        place / "a", spatial_dims=3, n_subjects=4, n_healthy=1, n_unknown=1, channels=tuple(CHANNELS), labels=NESTED
    )
    drawn_cohort(place / "drawn", real.of_subjects(real.subjects[:1]), parents=["sub_01"])
    lacking = replace(real.cases[1], images={"FLAIR": real.cases[1].images["FLAIR"]})
    cases = [real.cases[0], lacking, *real.cases[2:]]
    write_nnunet(real.with_cases(cases), place / "real", missing="zero_fill")
    return [place / "real", place / "drawn"]


@pytest.fixture(scope="module")
def exported(mixed, tmp_path_factory):
    """Return a function from a format to the folder of all cases in it."""
    place, made = tmp_path_factory.mktemp("exported"), {}

    def folder(method):
        if method not in made:
            made[method] = place / f"Dataset{len(made) + 1:03d}_{method}"
            export_cohorts(mixed, made[method], method=method, folds=0, missing="zero_fill")
        return made[method]

    return folder


def facts(case):
    return {name: cell for name, cell in row_from_case(case, tuple(CHANNELS)).items() if cell}


SLOW = {"dicom": pytest.mark.slow}


@pytest.mark.parametrize("method", [pytest.param(name, marks=SLOW.get(name, ())) for name in EXPORTERS.own])
def test_an_export_comes_back_with_its_subjects_and_parents(mixed, exported, method):
    before = {case.case_id: case for folder in mixed for case in read_cohort(folder)}
    back = LAYOUTS[method].read(exported(method), **OPTIONS.get(method, {}))
    assert (back.labels, set(back.channels)) == (NESTED, set(CHANNELS))
    assert {case.case_id: facts(case) for case in back} == {
        name: facts(case) for name, case in before.items() if case.annotation not in UNREAD.get(method, ())
    }
    drawn = back["case_000_s00"]
    assert (drawn.origin, drawn.subject_id, drawn.parents) == ("synthetic", "sub_00", ("sub_00", "sub_01"))
    if method != "dicom":  # the order of slices may differ
        then = load_scan(before["case_000_s00"], back.channels)
        np.testing.assert_array_equal(load_scan(drawn, back.channels).label, then.label)


@pytest.mark.parametrize("method", ["bids", "folders", "msd"])
def test_the_names_of_channels_and_of_the_only_class_come_back(tmp_path, method):
    channels, labels = ("DWI", "T1", "T1 post", "t1w"), {"background": 0, "haematoma": 1}
    real_cohort(tmp_path / "real", spatial_dims=3, n_subjects=2, n_healthy=1, channels=channels, labels=labels)
    export_cohorts([tmp_path / "real"], tmp_path / "out", method=method, folds=0)
    back = LAYOUTS[method].read(tmp_path / "out")
    assert (back.channels, back.labels, len(back.having(channels))) == (channels, labels, 2)


def copied(folder, target):
    shutil.copytree(folder, target)
    return target


def read(method, folder, **options):
    problems = []
    cohort = LAYOUTS[method].read(folder, on_problem=problems.append, **OPTIONS.get(method, {}), **options)
    return cohort, " ".join(map(str, problems))


@pytest.mark.parametrize("method", ["msd", "folders"])
def test_an_export_without_its_table_is_refused_in_one_line(exported, tmp_path, method):
    folder = copied(exported(method), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"cases\.csv names the subjects"):
        read(method, folder, subject_pattern="case")
    table = folder / "cases.csv"
    table.write_text("".join(line for line in table.open() if not line.startswith("case_000_s00")))
    cohort, problems = read(method, folder)
    assert "case_000_s00" not in {case.case_id for case in cohort}
    assert "is not listed in cases.csv" in problems
    table.unlink()
    with pytest.raises(CohortError, match=r"has no cases\.csv with the parents of drawn cases"):
        read(method, folder)


def test_drawn_sessions_without_their_table_are_left_out_and_the_others_stay(exported, tmp_path):
    folder = copied(exported("bids"), tmp_path / "out")
    (table,) = folder.glob("sub-00/*_sessions.tsv")
    text = table.read_text()
    without = "is synthetic, and no sub-*_sessions.tsv says what it was made from"
    damaged = {text.replace("synthetic", "real"): without, text.rpartition("ses-02")[0]: "list ses-02", "": without}
    for content, told in damaged.items():
        table.write_text(content)
        cohort, problems = read("bids", folder)
        assert told in problems
        assert (len(cohort), {case.origin for case in cohort}) == (4, {"real"})
    (folder / "participants.tsv").unlink()
    assert "participants.tsv: there is no such file" in read("bids", folder)[1]


def test_tables_of_others_beside_bids_scans_change_nothing(exported, tmp_path):
    folder = copied(exported("bids"), tmp_path / "out")
    for table in folder.glob("sub-*/*_sessions.tsv"):
        table.write_text('session_id\tacq_time\nses-01\t"x\n')
    for path in folder.rglob("*desc-s*"):
        path.rename(path.with_name(path.name.replace("synthetic", "real").replace("simulated", "real")))
    assert read("bids", folder)[0].subjects == ("sub-00", "sub-01", "sub-02", "sub-03")


def test_folders_that_were_exported_say_themselves_what_their_files_are(exported, tmp_path):
    for number, source in enumerate((exported("folders"), exported("folders") / "cases")):
        typed("import", source, tmp_path / str(number), "--missing", "zero_fill")
        made = read_cohort(tmp_path / str(number))
        assert (made.channels, made.labels) == (tuple(CHANNELS), NESTED)
    damaged = copied(exported("folders"), tmp_path / "damaged")
    (damaged / "folders.json").write_text('{"channels": ["FLAIR"]}')
    assert "folders.json: does not name channels and classes" in error("import", damaged, "--dry-run")


def test_a_whole_folder_of_an_export_and_its_cases_are_imported_alike(exported, tmp_path):
    options = ["--channel", "FLAIR=FLAIR.nii.gz", "--channel", "CT=CT.nii.gz", "--mask", "lesion.nii.gz"]
    for number, source in enumerate((exported("folders"), exported("folders") / "cases")):
        said = typed("import", source, tmp_path / str(number), *options, "--missing", "zero_fill").output
        assert "layout folders" in said
    whole, cases = (read_cohort(tmp_path / number) for number in "01")
    assert [facts(case) for case in whole] == [facts(case) for case in cases]
    assert whole["case_000_s00"].parents == ("sub_00", "sub_01")
