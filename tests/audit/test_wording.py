"""What the model card and a benchmark's report say of an audit whose numbers must not be read alone."""

import json

import numpy as np
import pandas as pd
import pytest

from lesionforge.audit.audit_folder import as_json
from lesionforge.audit.calibration import Calibration
from lesionforge.audit.wording import on_controls, on_copies, on_membership
from lesionforge.benchmark.report.audits import audits_in
from lesionforge.benchmark.report.page import template


def calibration(subjects, *, false_alarms=0.02):
    rng = np.random.default_rng(0)
    names = [f"p{number}" for number in range(subjects)]
    return Calibration.fit(rng.uniform(0.1, 0.9, (subjects, 2)), names, false_alarms=false_alarms)


def copies():
    row = {"case_id": "a", "subject_id": "p", "view": "mask", "measure": "correlation", "copy": False, "known": ""}
    return pd.DataFrame([{**row, "similarity": 0.1, "held_out": 0.2, "threshold": 0.9}])


def duplicates(*where):
    rows = [{"where": place, "kind": "near", "case_id": "h", "other": "t", "known": ""} for place in where]
    return pd.DataFrame(rows, columns=["where", "kind", "case_id", "other", "known"])


def attacks(auc, low, high):
    row = {"attack": "a", "members": 9, "held_out": 9, "auc": auc, "auc_low": low, "auc_high": high, "p": 0.001}
    return pd.DataFrame([{**row, "halves_low": 0.2, "halves_high": 0.8}])


def planted():
    return pd.DataFrame([{"view": "mask", "planted": 5, "found": 5}])


def shown(sections, folder):
    """Return what a benchmark's report shows of sections; a model card repeats the same."""
    path = folder / "audits" / "drawn" / "audit.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"sections": as_json(sections)}))
    (audit,) = audits_in(folder)
    return template("report/audits.html.j2").render(audits=[audit])


@pytest.mark.parametrize(("low", "differs"), [(0.6, True), (0.3, False)])
def test_a_split_that_differs_by_itself_is_said_beside_the_area_that_it_can_fake(low, differs, tmp_path):
    section = on_membership(attacks(0.9, 0.7, 1), attacks(0.8, low, 0.95), ())
    page = shown([section], tmp_path)
    assert "AUC of 1 attacks is 0.90" in page
    assert ("This can pass for membership" in page) == differs


def test_too_few_held_out_subjects_are_said_to_miss_the_target(tmp_path):
    for subjects, above in ((18, True), (19, False), (60, False)):
        page = shown([on_copies(copies(), duplicates(), calibration(subjects), 0.5)], tmp_path / str(subjects))
        assert ("above the target of 5%" in page) == above
        assert ("hold out 19 or more" in page) == above
    chosen = on_copies(copies(), duplicates(), calibration(60, false_alarms=0.1), 0.5)
    assert "above the target of 5%" in chosen.main[1]
    assert "hold out" not in chosen.main[1]


def test_false_alarms_above_the_target_and_what_chance_does_are_shown(tmp_path):
    for alarms, above in ((0.06, True), (0.05, False)):
        section = on_controls(planted(), alarms, attacks(0.9, 0.7, 1), attacks(0.5, 0.4, 0.6))
        page = shown([section], tmp_path / str(alarms))
        assert ("above the target of 5%" in page) == above
        assert "0.20 to 0.80" in page


def test_held_out_scans_that_raise_the_threshold_are_shown(tmp_path):
    page = shown([on_copies(copies(), duplicates("training and held-out"), calibration(20), 0.5)], tmp_path)
    assert "1 held-out scans nearly equal a training scan" in page
