"""Every drawn case says which share of its new lesion lies in fluid."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from lesionforge.benchmark.report.drawn_in_fluid import describe_drawn_in_fluid
from lesionforge.cohort.scan import load_scan
from lesionforge.files import write_json
from lesionforge.masks.bank import MaskBank
from lesionforge.production.in_fluid import describe_in_fluid, share_in_fluid
from tests.benchmark.report.fake_repeat import FakeRepeat
from tests.masks.scans import make_scan
from tests.synthesizers.folders import synthesize
from tests.synthesizers.models import fit_library


def test_the_share_of_new_voxels():
    new = np.array([[True, True, True, True, False]])
    fluid = np.array([[True, False, False, False, True]])
    assert share_in_fluid(new, fluid) == {"in_fluid": 0.25}
    assert share_in_fluid(new, np.zeros_like(fluid)) == {"in_fluid": 0.0}


def test_there_is_no_share_without_new_lesions_or_without_known_fluid():
    new = np.array([[True, False]])
    assert share_in_fluid(new, None) == {}
    assert share_in_fluid(np.zeros_like(new), new) == {}


@pytest.fixture
def cases(tmp_path):
    case = make_scan(2).case
    shares = {"a": 0.0, "b": 0.2, "c": 0.1, "d": None}
    for case_id, share in shares.items():
        record = {} if share is None else {"in_fluid": share}
        write_json(tmp_path / "provenance" / f"{case_id}.json", record)
    return [replace(case, case_id=case_id) for case_id in shares]


def test_the_line_names_the_mean_and_the_greatest(tmp_path, cases):
    line = describe_in_fluid(tmp_path, cases[:3])
    assert line == "10.0% of new lesion voxels lie in fluid (mean of 3 cases; greatest: b, 20.0%)"


def test_cases_whose_fluid_is_unknown_are_counted(tmp_path, cases):
    assert "3 of 4 cases" in describe_in_fluid(tmp_path, cases)
    assert "not known" in describe_in_fluid(tmp_path, cases[3:])
    assert describe_in_fluid(tmp_path, cases[:1]) == "no new lesion voxel lies in fluid (1 cases)"


def test_a_report_says_it_for_every_synthesizer(tmp_path):
    """Of all its trainings together; one whose cases are drawn on the fly has no record."""
    repeats = [tmp_path / name for name in ("n8/seed0", "n8/seed1")]
    for repeat, share in zip(repeats, (0.0, 0.5), strict=True):
        write_json(repeat / "pasted" / "provenance" / "a.json", {"in_fluid": share})
    plan = SimpleNamespace(synthesizers={"pasted": None, "on_the_fly": None}, subjects=SimpleNamespace(fold=None))
    study = SimpleNamespace(repeats=[FakeRepeat(repeat) for repeat in repeats], plan=plan)
    (line,) = describe_drawn_in_fluid([study]).values()
    assert line.startswith("pasted: 25.0% of new lesion voxels lie in fluid (mean of 2 cases; greatest: a (")
    assert "seed1" in line
    assert "on_the_fly" not in line


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("method", ["copy_paste", "carvemix"])
def test_the_record_of_a_drawn_case_holds_the_share(method, spatial_dims, rich_cohorts, tmp_path):
    cohort = rich_cohorts[spatial_dims]
    cohort = cohort.with_cases([replace(case, fluid=(1,)) for case in cohort])
    model = fit_library(method, cohort, tmp_path / "model")
    result = synthesize(model, cohort, MaskBank(cohort), tmp_path / "out", n=4)
    for case in result.cohort:
        before, after = (load_scan(each, cohort.channels) for each in (cohort[case.source_case], case))
        new = (after.label != before.label) & (after.label > 0)
        record = json.loads((tmp_path / "out" / "provenance" / f"{case.case_id}.json").read_text())
        assert record["in_fluid"] == pytest.approx(np.mean(before.anatomy[new] == 1), abs=1e-4)
