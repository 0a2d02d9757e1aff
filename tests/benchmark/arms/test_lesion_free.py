"""Arms whose lesions are drawn into lesion-free scans alone."""

import pytest

from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_synthesizer
from lesionforge.benchmark.arms.ingredients import on_the_fly
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.run import run_benchmark
from lesionforge.cohort.layouts import read_cohort
from lesionforge.errors import ConfigError
from lesionforge.synthesizers.registry import load_synthesizer
from tests.benchmark.arms.tiny_plan import tiny_plan
from tests.helpers import tiny_cohort


def plan(spatial_dims, **synthesizer):
    arms = {"offline": {}, "on_the_fly": {"use": "on_the_fly"}}
    return tiny_plan(spatial_dims, arms=arms, synthesizer={"cases": 4, "lesion_free": True, **synthesizer})


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_offline_and_on_the_fly_lesions_are_drawn_into_them_alone(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=8, n_healthy=4)
    repeat = make_arms(plan(spatial_dims), cohort, {}, tmp_path / "out").repeat(1.0, 0)
    free = {case.case_id for case in repeat.train.healthy()}
    assert 0 < len(free) < len(repeat.train)
    fit_synthesizer(repeat, "drawn")
    draw_offline(repeat, "drawn")
    drawn = read_cohort(repeat.cohort_folder("drawn"))
    assert {case.source_case for case in drawn} == free
    source = on_the_fly(repeat.training("on_the_fly", 1), load_synthesizer(repeat.model_folder("drawn")))
    assert {sample.case_id for sample in source.samples} == free


def test_a_training_set_without_any_is_refused_before_anything_is_made(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=8)
    what = "cannot be trained even at n = 1: no training case is a lesion-free scan to draw into"
    with pytest.raises(ConfigError, match=what):
        run_benchmark(plan(2), cohort, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_they_have_no_lesion_of_their_own_to_draw():
    with pytest.raises(ConfigError, match="lesion-free scans have no lesion of their own to draw"):
        plan(2, masks="own")
