"""New ids and the private table behind them."""

from dataclasses import replace

import pytest

from lesionforge.cohort.new_ids import MASK_WORDS, NewIds, check_private
from lesionforge.cohort.people import People, alike, visits
from lesionforge.errors import CohortError, ConfigError
from lesionforge.masks import Ellipsoids, InterpolatedMasks, SemiRandom
from lesionforge.masks.editing.edit_config import EDITS
from lesionforge.masks.generator.maskgan import METHOD
from tests.helpers import tiny_cohort


def drawn_from(cohort):
    """Cases as a synthesizer describes them."""
    first, second = cohort.cases[:2]
    how = {
        "origin": "synthetic",
        "source_case": first.case_id,
        "synthesizer": "pix2pix",
        "parents": ("sub_00", "sub_01"),
    }
    return cohort.with_cases(
        [
            replace(first, case_id="case_000_s00000", mask_id=f"{second.case_id}+edited", **how),
            replace(first, case_id="case_000_s00001", mask_id="ellipsoids", **how),
        ]
    )


def test_nothing_of_an_old_id_is_left_and_the_cases_keep_their_relations(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2)
    ids = NewIds()
    real, drawn = ids.cohort(cohort), ids.cohort(drawn_from(cohort))
    for case in (*real, *drawn):
        told = (case.case_id, case.subject_id, case.source_case, case.mask_id, *case.parents)
        assert not any(old in text for text in told for old in ("case_0", "sub_", "_s0000"))
    assert len(real.subjects) == len({case.case_id for case in real}) == 4
    assert {case.mask_id.partition("+")[2] for case in drawn} == {"", "edited"}
    assert {case.mask_id for case in drawn} & {"ellipsoids"}
    for case in drawn:
        assert case.source_case in {one.case_id for one in real}
        assert set(case.parents) <= set(real.subjects)
    edited = next(case for case in drawn if case.mask_id != "ellipsoids")
    assert People(real).behind(edited.mask_id) == {ids.subjects["sub_01"]}
    assert not alike(real.subjects)
    assert not visits(real.subjects)


def test_a_table_gives_the_same_ids_again_and_others_to_others(tmp_path):
    cohort = tiny_cohort(tmp_path / "in", spatial_dims=2)
    ids = NewIds()
    first = ids.cohort(cohort.of_subjects(["sub_00", "sub_01"]))
    ids.write(tmp_path / "table.csv")
    assert (tmp_path / "table.csv").stat().st_mode & 0o077 == 0
    again = NewIds.read(tmp_path / "table.csv").cohort(cohort)
    assert set(first.subjects) < set(again.subjects)
    assert set(first.subjects).isdisjoint(NewIds().cohort(cohort).subjects)
    assert [case.case_id for case in again] == sorted(case.case_id for case in again)


def test_a_table_in_the_cohort_folder_or_another_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="lies in the cohort folder"):
        check_private(tmp_path / "cohort" / "private" / "table.csv", tmp_path / "cohort")
    check_private(tmp_path / "table.csv", tmp_path / "cohort")
    for row in ("person,a,b", "case,,b", "case,a,b\ncase,a,c"):
        (tmp_path / "table.csv").write_text(f"kind,new,old\n{row}\n")
        with pytest.raises(CohortError, match="is no table of new ids"):
            NewIds.read(tmp_path / "table.csv")


def test_the_words_of_every_mask_source_are_known():
    sources = {"edited", InterpolatedMasks.method, SemiRandom.method, Ellipsoids.method, METHOD}
    assert sources | {*EDITS} == MASK_WORDS
