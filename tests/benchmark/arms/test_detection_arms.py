"""A benchmark of detection: its primary score is read from the FROC curve over all cases."""

import re

import pytest

from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.run import run_benchmark
from lesionforge.errors import ConfigError
from lesionforge.kept import KEPT
from lesionforge.reading import read_frame
from tests.tasks.detection.spots import spotted_cohort

PLAN = {
    "subjects": {
        "train": {"lesion": 3, "lesion_free": 1},
        "development": {"lesion": 3},
        "test": {"lesion": 3, "lesion_free": 1},
        "numbers": [4],
    },
    "task": {"method": "detection", "spatial_dims": 2, "radii_mm": [1, 2, 3], "filters": [4, 8], "patch_mm": 8},
    "training": {"steps": 40, "batch_size": 8, "epoch_steps": 10, "device": "cpu", "preview_minutes": None},
    "seeds": [0, 1],
    "synthesizers": {"pasted": {"method": "copy_paste", "masks": "bank", "cases": 3, "min_volume": 4}},
    "arms": {
        "real": {"augment": "none"},
        "synthetic": {"augment": "none", "synthesizer": "pasted", "share": 1.0},
        "augmented": {"augment": "classical"},
        "on_the_fly": {"augment": "classical", "synthesizer": "pasted", "use": "on_the_fly"},
    },
    "baseline": "real",
    "arm": "augmented",
    "examples": 1,
}


def test_the_primary_score_of_a_plan_is_that_of_its_task():
    assert Plan.model_validate(PLAN).primary == "froc_sensitivity"
    assert Plan.model_validate({**PLAN, "task": {"spatial_dims": 2}}).primary == "dice"
    assert Plan.model_validate({**PLAN, "primary": "case_sensitivity"}).primary == "case_sensitivity"


def test_all_arms_are_scored_by_one_hit_rule():
    arms = {**PLAN["arms"], "augmented": {"augment": "classical", "task": {"tolerance_mm": 5}}}
    with pytest.raises(ValueError, match=r"arm 'augmented': task: tolerance_mm.*all arms are scored"):
        Plan.model_validate({**PLAN, "arms": arms})
    alike = {"augmented": {"augment": "classical", "task": {"tolerance_mm": 5, "dropout": 0.1}}}
    plan = {**PLAN, "task": {**PLAN["task"], "tolerance_mm": 5}, "arms": {**PLAN["arms"], **alike}}
    assert Plan.model_validate(plan).task_of("augmented").tolerance_mm == 5


@pytest.mark.slow
def test_detection_is_compared_from_scans_to_report(tmp_path):
    cohort = spotted_cohort(tmp_path / "cohort", 2, n=11, healthy=2)
    plan = Plan.model_validate(PLAN)
    verdict = run_benchmark(plan, cohort, out=tmp_path / "out", say=lambda line: None)
    results = read_frame(tmp_path / "out" / "results.csv")
    assert set(results["arm"]) == set(PLAN["arms"])
    assert {"n_lesions", "hit_confidences", "false_confidences", "case_sensitivity"} <= set(results.columns)
    summary = read_frame(tmp_path / "out" / "summary.csv")
    primary = summary[summary["metric"] == "froc_sensitivity"]
    assert len(primary) == len(PLAN["arms"])
    assert (primary["mean"] > 0.5).all(), "spots are easy to find"
    assert (tmp_path / "out" / "figures" / "froc.svg").is_file()
    assert not (tmp_path / "out" / KEPT).exists()
    report = (tmp_path / "out" / "report.html").read_text()
    assert "Sensitivity at 10 false positives" in verdict
    assert re.search(r"at most 2 mm from the centre", report)
    assert "pasted: " in report.split("Lesions in fluid")[1][:200]
    assert "real: " in report.split("Sensitivity at 10 false positives by tolerance_mm")[1][:200]


def test_a_score_of_another_task_is_refused(tmp_path):
    cohort = spotted_cohort(tmp_path / "cohort", 2, n=11, healthy=2)
    plan = Plan.model_validate({**PLAN, "primary": "dice"})
    with pytest.raises(ConfigError, match=r"primary.*'dice' is not a score of"):
        run_benchmark(plan, cohort, out=tmp_path / "out", say=lambda line: None)
