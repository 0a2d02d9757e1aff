"""Arms of whole patients that are drawn from edited label maps."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.arms.anatomy_maps import doubt_missing_maps
from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.report.audits import audits_in
from lesionforge.benchmark.report.method_notes import describe_arm
from lesionforge.benchmark.run import run_benchmark
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.errors import DoubtWarning
from lesionforge.masks.editing.edit_config import OWN_EDITS
from lesionforge.training.model_folder import read_info
from tests.benchmark.arms.tiny_plan import tiny_plan
from tests.helpers import NESTED, tiny_cohort
from tests.synthesizers.models import tiny_options

EDITED = {
    "method": "pix2pix",
    "options": tiny_options(2, condition="label"),
    "training": {"steps": 1, "batch_size": 2, "device": "cpu", "preview_minutes": None},
    "masks": "edited",
    "mask_options": {"edit": "any"},
    "blend": "full",
    "per_case": 2,
    "audit": {"encoder": {"steps": 2}, "halves": 5},
}
ARMS = {"beside": {"union": True}, "before": {"real": 0.5, "finetune": 0.5}}


def plan(**synthesizer):
    subjects = {"train": 0.6, "development": 0.2, "test": 0.2, "numbers": [1.0]}
    training = {"steps": 2, "batch_size": 2, "device": "cpu", "preview_minutes": None}
    synthesizer = {**EDITED, **synthesizer}
    return tiny_plan(2, arms=ARMS, synthesizer=synthesizer, subjects=subjects, training=training, examples=1)


def patients(folder):
    return tiny_cohort(folder, spatial_dims=2, n_subjects=10, labels=NESTED, anatomy=True, shape=(32, 32))


@pytest.mark.slow
def test_a_plan_runs_from_scans_to_the_report_of_edited_patients(tmp_path):
    cohort, out = patients(tmp_path / "c"), tmp_path / "out"
    run_benchmark(plan(), cohort, out=out)
    repeat = make_arms(plan(), cohort, {}, out).shown
    assert read_info(repeat.model_folder("drawn")).anatomy == (0, 1, 2)
    drawn = read_cohort(repeat.cohort_folder("drawn"))
    assert len(drawn) == 12
    for case in drawn:
        record = json.loads((repeat.cohort_folder("drawn") / "provenance" / f"{case.case_id}.json").read_text())
        assert {line["what"] for line in record["edits"]} <= set(OWN_EDITS)
        new, old = (load_scan(one, cohort.channels).label for one in (case, cohort[case.source_case]))
        assert not np.array_equal(new, old)
    (audit,) = audits_in(out)
    assert (audit["name"], len(audit["sections"])) == ("drawn", 4)
    assert set(pd.read_csv(out / "results.csv")["arm"]) == {"real", *ARMS}
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "Audits of synthetic cohorts" in report
    assert all(describe_arm(plan(), arm) in report for arm in ARMS)


def test_maps_that_are_missing_are_told_before_anything_is_trained(tmp_path, recwarn):
    cohort = patients(tmp_path / "c")
    arms = make_arms(plan(), cohort, {}, tmp_path / "out")
    none = [replace(case, anatomy=None) for case in arms.pool]
    some = replace(arms, pool=arms.pool.with_cases([none[0], *arms.pool.cases[1:]]))
    for told_nothing in (arms, replace(some, plan=plan(masks="bank", mask_options={}))):
        doubt_missing_maps(told_nothing)
    assert not recwarn.list
    with pytest.warns(DoubtWarning, match=r"Tiny: 1 of 6 cases .* so drawn may learn .*`lesionforge anatomy`"):
        doubt_missing_maps(some)
    with pytest.warns(DoubtWarning, match="Tiny: 6 of 6 cases"):
        ArmStudy.make(plan(), cohort.with_cases([replace(case, anatomy=None) for case in cohort]), {}, tmp_path / "out")
