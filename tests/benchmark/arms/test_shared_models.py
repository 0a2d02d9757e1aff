"""Synthesizers that are fitted alike share a model and draw their own cases."""

import pytest

from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.run import run_benchmark
from lesionforge.cohort.layouts import read_cohort
from lesionforge.config import parse_options
from tests.helpers import tiny_cohort

MIX = {"method": "pix2pix", "options": {"roi_size": [32, 32], "channels": [4, 8], "width": 1.0}, "min_volume": 20}
SHORT = {"training": {"steps": 2, "batch_size": 2, "device": "cpu", "preview_minutes": None}}


def plan():
    return parse_options(
        Plan,
        {
            "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [1.0]},
            "task": {"spatial_dims": 2, "filters": [4, 8], "res_units": 0, "roi_size": [32, 32]},
            "training": {"steps": 1, "batch_size": 2, "device": "cpu", "preview_minutes": None},
            "seeds": [0],
            "synthesizers": {
                "one": {**MIX, **SHORT, "masks": "bank", "per_case": 1},
                "two": {**MIX, **SHORT, "masks": "edited", "per_case": 2},
                "longer": {**MIX, "training": {**SHORT["training"], "steps": 3}, "per_case": 1},
            },
            "arms": {
                "real": {"augment": "none"},
                "one": {"augment": "none", "synthesizer": "one", "union": True},
                "two": {"augment": "none", "synthesizer": "two", "share": 1.0},
                "longer": {"augment": "none", "synthesizer": "longer"},
            },
            "baseline": "real",
        },
    )


def test_what_is_drawn_makes_no_difference_and_how_it_is_trained_does():
    assert [plan().fitted_as(name) for name in plan().synthesizers] == ["one", "one", "longer"]


@pytest.mark.slow
def test_the_model_is_fitted_once(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=8)
    run_benchmark(plan(), cohort, out=tmp_path / "out")
    repeat = make_arms(plan(), cohort, {}, tmp_path / "out").repeat(1.0, 0)
    assert sorted(path.name for path in (repeat.folder / "synthesizers").iterdir()) == ["longer", "one"]
    drawn = {name: read_cohort(repeat.cohort_folder(name)) for name in plan().synthesizers}
    assert {name: len(cases) // len(repeat.train) for name, cases in drawn.items()} == {"one": 1, "two": 2, "longer": 1}
    assert {case.synthesizer for case in drawn["one"]} == {case.synthesizer for case in drawn["two"]}
