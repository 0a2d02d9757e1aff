"""The same seed gives the bytes that it gave before: hashes that are kept, of every command on the built-in cohort."""

import json

import pytest

from tests.golden.commands import FILE, golden, hash_of, machine


@pytest.mark.slow
def test_every_command_makes_what_it_made_before(tmp_path):
    kept = json.loads(FILE.read_text())
    if kept["made_on"] != machine():
        pytest.skip(f"the hashes are of another machine: {kept['made_on']}")
    found = dict(golden(tmp_path))
    assert found == kept["hashes"]


def test_a_hash_tells_what_is_stored(tmp_path):
    (tmp_path / "cases.csv").write_text("a")
    before = hash_of(tmp_path)
    (tmp_path / "note.txt").write_text("says nothing")
    assert hash_of(tmp_path) == before
    (tmp_path / "cases.csv").write_text("b")
    assert hash_of(tmp_path) != before
