from pathlib import Path

import pytest

from lesionforge.cohort.layouts import write_nnunet
from tests.cli.commands import content, error, typed
from tests.heads import bleeds, stacks


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name, cohort in (("Healthy", stacks(folder / "h", 3)), ("Bleeds", bleeds(folder / "b", 3))):
        write_nnunet(cohort, folder / name)
    (folder / "Bleeds" / "roles.json").write_text('{"pool": ["b00", "b02"]}')
    return folder


@pytest.mark.slow
def test_healthy_scans_are_matched_to_a_role_and_both_cohorts_stay(sets, tmp_path):
    before = content(sets)
    result = typed("match", sets / "Healthy", tmp_path / "out", "--to", sets / "Bleeds", "--role", "pool")
    assert "9 cases of 3 subjects" in result.output
    assert "AUC of a classifier" in result.output
    assert content(sets) == before
    table = (tmp_path / "out" / "match.csv").read_text()
    assert "b01" not in table
    assert "b00" in table
    typed("match", sets / "Healthy", tmp_path / "again", "--to", sets / "Bleeds", "--role", "pool")
    first, again = content(tmp_path / "out"), content(tmp_path / "again")
    assert first.pop(Path("match.png"))
    assert again.pop(Path("match.png"))
    assert first == again


def test_scans_with_lesions_are_no_targets(sets, tmp_path):
    assert "no lesion-free scan" in error("match", sets / "Bleeds", tmp_path / "out", "--to", sets / "Bleeds")
    assert "not empty" in error("match", sets / "Healthy", sets / "Bleeds", "--to", sets / "Bleeds")
