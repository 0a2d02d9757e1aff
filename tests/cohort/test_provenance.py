"""A cohort that was made stays one, whatever becomes of its table."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.provenance import MADE_BY, read_record
from lesionforge.errors import CohortError
from tests.helpers import tiny_cohort

RECORD = {"method": "pix2pix", "source_case": "p01", "parents": ["p01", "p05"], "mask_id": "p05", "redraws": 0}


@pytest.fixture(params=["of a synthesizer", "of a healer"])
def drawn(request, tmp_path):
    """A folder of drawn cases, as far as a reader is concerned, and where its records lie."""
    folder = tmp_path / "run"
    if request.param == "of a healer":
        folder, records = folder / "healed", folder / "provenance"
    else:
        records = folder / "provenance"
    cohort = tiny_cohort(folder, spatial_dims=2, n_subjects=2)
    table = pd.read_csv(folder / "cases.csv", dtype=str, keep_default_na=False)
    table = table.assign(origin="synthetic", source_case="p01", synthesizer="pix2pix", parents="p01 p05")
    table.to_csv(folder / "cases.csv", index=False)
    records.mkdir()
    for case in cohort:
        (records / f"{case.case_id}.json").write_text(json.dumps(RECORD))
    return folder


def edit(folder, column, value):
    table = pd.read_csv(folder / "cases.csv", dtype=str, keep_default_na=False)
    table.loc[1, column] = value
    table.to_csv(folder / "cases.csv", index=False)


def test_a_drawn_cohort_without_its_table_is_refused(drawn):
    assert all(case.derived for case in read_cohort(drawn))
    (drawn / "cases.csv").unlink()
    with pytest.raises(
        CohortError, match=r"has no cases\.csv.*provenance says that they were made; repeat the command"
    ):
        read_cohort(drawn)


@pytest.mark.parametrize("sign", MADE_BY)
def test_every_file_of_a_run_tells_that_the_cohort_was_made(sign, tmp_path):
    tiny_cohort(tmp_path, spatial_dims=2)
    (tmp_path / "cases.csv").unlink()
    assert len(read_cohort(tmp_path)) == 4
    (tmp_path / sign).write_text("{}")
    with pytest.raises(CohortError, match=f"{sign} says that they were"):
        read_cohort(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("origin", "real", "says that pix2pix drew it, but cases.csv calls it real"),
        ("origin", "simulated", "says that pix2pix drew it, but cases.csv calls it simulated"),
        ("parents", "p01", "says that pix2pix drew it, but cases.csv lacks its parents p05"),
    ],
)
def test_a_table_that_says_less_than_the_records_is_refused(drawn, column, value, what):
    edit(drawn, column, value)
    with pytest.raises(CohortError, match=what):
        read_cohort(drawn)
    problems = []
    assert [case.case_id for case in read_cohort(drawn, on_problem=problems.append)] == ["case_000"]
    assert len(problems) == 1


DAMAGED = ("", "{", "[]", "3", "\x00", '{"method": 3}', json.dumps({**RECORD, "parents": "p05"}))


@pytest.mark.parametrize("content", [*DAMAGED, "[" * 100_000, '{"a": "\\ud800"}'], ids=range(len(DAMAGED) + 2))
def test_a_damaged_record_is_one_line_with_the_file(content, tmp_path):
    path = tmp_path / "case.json"
    path.write_text(content)
    with pytest.raises(CohortError, match=r"case\.json: .*; .") as caught:
        read_record(path, "mask_id")
    assert "\n" not in str(caught.value)


def test_a_sound_record_is_read(tmp_path):
    path = tmp_path / "case.json"
    path.write_text(json.dumps(RECORD))
    assert read_record(path, "mask_id") == RECORD
    with pytest.raises(CohortError, match="has_lesion"):
        read_record(path, "has_lesion")


def test_simulated_cohorts_with_records_of_masks_are_read(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2)
    table = pd.read_csv(tmp_path / "cases.csv", dtype=str).assign(origin="simulated")
    table.to_csv(tmp_path / "cases.csv", index=False)
    (tmp_path / "provenance").mkdir()
    (tmp_path / "provenance" / "case_000.json").write_text(json.dumps({"case_id": "case_000", "mask_id": "m"}))
    expected = [replace(case, origin="simulated") for case in cohort]
    assert [case.origin for case in read_cohort(tmp_path)] == [case.origin for case in expected]
