"""Arms that cannot be trained at some sizes are left out there, and everything else runs."""

import html

import pandas as pd
import pytest

from lesionforge.benchmark.arms import arm_study
from lesionforge.benchmark.arms.ahead import Ahead, NotYetError
from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.arms.control import controlled_length
from lesionforge.benchmark.arms.left_out import lacking
from lesionforge.benchmark.folds import FoldStudy
from lesionforge.benchmark.run import run_benchmark
from lesionforge.errors import ConfigError
from tests.benchmark.arms.tiny_plan import tiny_plan
from tests.helpers import tiny_cohort

CARVEMIX, FLY = {"method": "carvemix"}, {"use": "on_the_fly"}
SPLIT = {"train": 0.5, "development": 0.25, "test": 0.25}


@pytest.fixture(scope="module", params=[2, 3])
def cohort(request, tmp_path_factory):
    """Twelve subjects, each with one case, which has a lesion."""
    return tiny_cohort(tmp_path_factory.mktemp("c"), spatial_dims=request.param, n_subjects=12)


def plan_of(cohort, limited, synthesizer, numbers, **changes):
    """Return a plan with an arm ``limited`` by its synthesizer and one, ``other``, that is not."""
    dims = 2 if cohort.cases[0].file_ending == ".png" else 3
    drawn = {"options": {"spatial_dims": dims}, "min_volume": 20, "cases": 4}
    synthesizers = {
        "drawn": {"method": "injection", **drawn, **synthesizer},
        "plain": {"method": "copy_paste", "masks": "bank", **drawn},
    }
    arms = {"limited": limited, "other": {"synthesizer": "plain"}}
    subjects = SPLIT | {"numbers": numbers}
    return tiny_plan(
        dims, **{"arms": arms, "synthesizer": {}, "synthesizers": synthesizers, "subjects": subjects} | changes
    )


def trained(jobs):
    return {job.name.removesuffix("/model.json") for job in jobs if "/arms/" in job.name and "/model.json" in job.name}


@pytest.mark.parametrize(
    ("arm", "synthesizer", "numbers", "said"),
    [
        (FLY, CARVEMIX, [1, 2], "carvemix needs 2 training cases with a lesion, but there is 1"),
        ({}, CARVEMIX, [1, 2], "carvemix needs 2 training cases with a lesion, but there is 1"),
        (FLY, {"masks": "interpolated"}, [1, 2], "the mask source interpolated needs 2 training cases"),
        (
            {"kept": [0.3, 0.9]},
            {"masks": "own"},
            [1, 2],
            "judging its drawings takes 2 training subjects",
        ),
        ({"kept": [0.3, 0.9]}, {"masks": "bank"}, [2, 3], "judging its drawings takes 3 training subjects"),
        ({"kept": [0.3, 0.9]}, {"masks": "interpolated"}, [3, 4], "judging its drawings takes 4 training subjects"),
        ({"real": 2}, {}, [1, 2], "it trains on 2 of the training subjects, but there is 1"),
        ({"real": 0.3}, {}, [1, 2], "it trains on 0.3 of the training subjects, but there is 1"),
    ],
)
def test_an_arm_is_left_out_where_its_training_set_is_too_small(cohort, tmp_path, arm, synthesizer, numbers, said):
    few, enough = numbers
    study = ArmStudy.make(plan_of(cohort, arm, synthesizer, numbers), cohort, {}, tmp_path)
    (line,) = study.left_out
    assert line.startswith(f"limited is left out at n = {few}: {said}")
    names = {job.name for job in study.jobs()}
    arms = {f"n{size}/seed0/arms/{name}_1" for size in numbers for name in ("real", "limited", "other")}
    assert trained(study.jobs()) == (arms - {f"n{few}/seed0/arms/limited_1"}) | {"n6/seed0/arms/real_1"}
    assert not any(name.startswith(f"n{few}/") and "/drawn/" in name for name in names)
    assert f"n{enough}/seed0/synthesizers/drawn/model.json" in names


def test_a_lesion_free_scan_is_needed_only_where_one_is_drawn_into(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=4, n_healthy=1)
    plan = plan_of(cohort, {}, {"lesion_free": True}, [1])
    without = "no training case is a lesion-free scan to draw into"
    assert [lacking(plan, plan.arms[name], cohort.with_lesions()) for name in ("limited", "other")] == [without, None]
    assert lacking(plan, plan.arms["limited"], cohort) is None


def test_an_arm_that_can_be_trained_nowhere_and_a_baseline_that_cannot_somewhere_are_refused(cohort, tmp_path):
    never = "arm limited: cannot be trained even at n = 1: carvemix needs 2 training cases with a lesion"
    with pytest.raises(ConfigError, match=never):
        ArmStudy.make(plan_of(cohort, FLY, CARVEMIX, [1]), cohort, {}, tmp_path)
    mixed = plan_of(cohort, FLY, CARVEMIX, [1, 2], baseline="limited")
    with pytest.raises(ConfigError, match="baseline limited: cannot be trained at n = 1: carvemix needs 2"):
        ArmStudy.make(mixed, cohort, {}, tmp_path)


def test_the_length_is_controlled_with_the_baseline_where_the_checked_arm_is_left_out(cohort, tmp_path):
    plan = plan_of(cohort, FLY, CARVEMIX, [1, 2], control={"arm": "limited"})
    for size, arm in ((1, "real"), (2, "limited")):
        ahead = Ahead(study=ArmStudy.make(plan, cohort, {}, tmp_path).arms)
        with pytest.raises(NotYetError):
            controlled_length(ahead, size)
        assert trained(ahead.jobs.values()) == {f"n{size}/seed0/arms/{arm}_{steps}" for steps in (1, 2)}


def test_an_arm_that_is_left_out_in_one_fold_is_left_out_in_all(tmp_path, monkeypatch):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=6)
    of_fold = {1: {(1, "limited"): "too few"}}
    monkeypatch.setattr(arm_study, "left_out", lambda arms: of_fold.get(arms.plan.subjects.fold, {}))
    plan = plan_of(cohort, FLY, {}, [1, 2], subjects={"folds": 3, "numbers": [1, 2]})
    study = FoldStudy.make(plan, cohort, tmp_path / "out")
    assert study.left_out == ["limited is left out at n = 1: too few."]
    assert {name for name in trained(study.jobs()) if "limited" in name} == {
        f"fold{fold}/n2/seed0/arms/limited_1" for fold in range(3)
    }
    of_fold |= {2: {(2, "limited"): "too few"}}
    with pytest.raises(ConfigError, match="arm limited: cannot be trained even at n = 2: too few"):
        FoldStudy.make(plan, cohort, tmp_path / "out")


@pytest.mark.slow
def test_a_run_with_a_size_too_small_for_an_arm_ends_with_a_report_that_says_so(cohort, tmp_path):
    said = []
    plan = plan_of(cohort, FLY, CARVEMIX, [1, 2], arm="other", against=["limited"])
    run_benchmark(plan, cohort, out=tmp_path / "out", say=said.append)
    line = "limited is left out at n = 1: carvemix needs 2 training cases with a lesion, but there is 1."
    assert said[0] == line
    assert line in html.unescape((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    pairs = {(1, "real"), (1, "other"), (2, "real"), (2, "limited"), (2, "other")}
    assert set(zip(results["train_size"], results["arm"], strict=True)) == pairs
    means = pd.read_csv(tmp_path / "out" / "over_sizes.csv")
    assert dict(zip(means["against"], means["sizes"], strict=True)) == {"real": "n = 1, n = 2", "limited": "n = 2"}
