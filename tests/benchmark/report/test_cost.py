"""The report says what each arm costs in time."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from lesionforge.benchmark.arms.repeats import Arms
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.cost import describe_cost
from lesionforge.config import parse_options

PLAN = parse_options(
    Plan,
    {
        "subjects": {"numbers": [2]},
        "seeds": [0, 1],
        "synthesizers": {"drawn": {"method": "injection"}},
        "arms": {
            "real": {},
            "offline": {"synthesizer": "drawn", "kept": [0.3, 0.9]},
            "flying": {"synthesizer": "drawn", "use": "on_the_fly"},
            "tuned": {"synthesizer": "drawn", "finetune": 0.5},
        },
        "baseline": "real",
    },
)
CPU = {
    "arms/real_1": 120,
    "arms/offline_1": 120,
    "arms/flying_1": 600,
    "arms/tuned_1": 60,
    "pretraining/tuned_1": 30,
    "synthesizers/drawn": 60,
    "cohorts/drawn": 90,
    "judged/drawn": 1200,
}


@pytest.fixture
def study(tmp_path):
    study = Arms(plan=PLAN, pool=None, train={}, development=None, test=None, preprocessing={}, absent={}, out=tmp_path)
    for seed in PLAN.seeds:
        for name, seconds in CPU.items():
            folder = tmp_path / "runs" / "n2" / f"seed{seed}" / name
            folder.mkdir(parents=True)
            timing = {"steps": 1, "seconds": 1, "wall_seconds": seconds / 2, "cpu_seconds": seconds}
            (folder / "timing.json").write_text(json.dumps(timing))
    return study


def row(study):
    return describe_cost([(study, SimpleNamespace(steps=lambda size: 1))])


def test_the_minutes_of_an_arm_are_named_apart(study):
    text = row(study)["CPU minutes of an arm"]
    assert text.startswith("real: 2, 1 on the clock; ")
    assert "offline: 24 (synthesizer 1, drawing 1.5, judging 20, network 2), 12 on the clock; " in text
    assert "flying: 11 (synthesizer 1, network 10), 5.5 on the clock; " in text
    assert "tuned: 4 (synthesizer 1, drawing 1.5, network 1.5), 2 on the clock (" in text


def test_what_was_not_timed_or_by_an_earlier_version_is_left_out(study, tmp_path):
    (tmp_path / "runs/n2/seed0/arms/real_1/timing.json").write_text('{"steps": 1, "seconds": 600}')
    (tmp_path / "runs/n2/seed1/arms/flying_1/timing.json").unlink()
    assert row(study)["CPU minutes of an arm"].startswith("real: 2, 1 on the clock; ")
    (tmp_path / "runs/n2/seed0/synthesizers/drawn/timing.json").unlink()
    (tmp_path / "runs/n2/seed1/synthesizers/drawn/timing.json").unlink()
    assert row(study)["CPU minutes of an arm"].startswith("real: 2, 1 on the clock (mean")
    for file in tmp_path.rglob("timing.json"):
        file.unlink()
    assert row(study) == {}


def test_an_arm_that_is_left_out_costs_nothing(study):
    without = replace(study, left_out={(2, "offline"): "too few"})
    assert "offline" not in row(without)["CPU minutes of an arm"]
