"""Wrong cases of every layout: each is left out and listed in one line, and the good case beside them is imported."""

import csv
import re
import tracemalloc

import pytest

from lesionforge.cli.spoken import spoken
from lesionforge.cohort.layouts import read_cohort
from tests.cli.commands import content, typed
from tests.faults.archives import FIRST, Archive, archives

ARCHIVES = archives()
EACH = [(layout, number) for layout, archive in ARCHIVES.items() for number in range(len(archive.wrong))]
MOST_BYTES = 30_000_000
"""Far below what wrong files claim."""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Return layout → the lines of problems.csv and the cohort; each archive is imported once."""
    made = {}

    def of(layout):
        if layout not in made:
            folder = tmp_path_factory.mktemp(layout)
            ARCHIVES[layout].write(folder / "in")
            before = content(folder)
            typed("import", folder / "in", folder / "out", "--layout", layout, *ARCHIVES[layout].options, code=1)
            assert {path: data for path, data in content(folder).items() if path.parts[0] != "out"} == before
            with (folder / "out" / "problems.csv").open() as file:
                lines = [spoken("{where}: {what}; {remedy}".format(**row)) for row in csv.DictReader(file)]
            made[layout] = lines, read_cohort(folder / "out")
        return made[layout]

    return of


def test_there_are_enough_and_each_once():
    assert len(EACH) >= 100
    for archive in ARCHIVES.values():
        assert len({str(wrong) for wrong in archive.wrong}) == len(archive.wrong)


@pytest.mark.parametrize("layout", ARCHIVES)
def test_the_good_case_is_imported_and_no_other(imported, layout):
    assert len(imported(layout)[1]) == 1


@pytest.mark.parametrize(
    ("layout", "number"), EACH, ids=[f"{layout}: {ARCHIVES[layout].wrong[n]}" for layout, n in EACH]
)
def test_a_wrong_case_is_told_in_one_line(imported, layout, number):
    lines = [line for line in imported(layout)[0] if f"w{FIRST + number}" in line]
    assert len(lines) == 1, lines
    assert "\n" not in lines[0]
    assert re.search(ARCHIVES[layout].wrong[number].told, lines[0]), lines[0]


@pytest.mark.parametrize("layout", ["dicom", "folders"])
def test_nothing_is_allocated_for_what_a_file_claims(tmp_path, layout):
    archive = ARCHIVES[layout]
    claims = tuple(wrong for wrong in archive.wrong if wrong.claims)
    small = Archive(options=archive.options, wrong=claims, put=archive.put, finish=archive.finish)
    small.write(tmp_path / "in")
    tracemalloc.start()
    typed("import", tmp_path / "in", tmp_path / "out", "--layout", layout, *archive.options, code=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MOST_BYTES
