"""What a plan holds says what is run; where its jobs run makes no difference."""

from time import sleep

import pytest
import yaml

from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.folds import FoldStudy
from lesionforge.benchmark.healing.healing_study import HealingStudy
from lesionforge.benchmark.kinds import study_plan
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.made_of import read_run
from lesionforge.benchmark.run import make_study, run_benchmark
from lesionforge.engine.local import LocalEngine
from tests.benchmark.healing.test_healing_study import CONTENT as HEALING
from tests.benchmark.test_folds import CONTENT as FOLDS
from tests.engine.work import Drawn
from tests.helpers import tiny_cohort

PLAN = {
    "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [2]},
    "task": {"filters": [4, 8], "res_units": 0, "roi_size": [32, 32]},
    "training": {"steps": 1, "batch_size": 2, "epoch_steps": 1, "device": "cpu", "preview_minutes": None},
    "seeds": [0, 1],
    "synthesizers": {"pasted": {"method": "copy_paste", "masks": "bank", "cases": 2, "min_volume": 5}},
    "arms": {
        "real": {"augment": "none"},
        "offline": {"augment": "none", "synthesizer": "pasted"},
        "tuned": {"augment": "none", "synthesizer": "pasted", "finetune": 0.5},
    },
    "baseline": "real",
    "tune": {"augment": [], "learning_rate": [0.5], "batch_size": []},
    "control": {"tolerance": -1000.0, "max_steps": 2},
    "examples": 1,
}
TABLES = ("results.csv", "reference.csv", "tuning.csv", "lengths.json", "lengths.csv", "summary.csv")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("c"), spatial_dims=2, n_subjects=8, shape=(32, 32))


def run(cohort, out, engine=None, workers=1):
    """Return the tables of a run, and what it said; what a killed worker has half-written is gone at its end."""
    said = []

    def say(line):
        said.append(line)
        (out / ".99.partial.model.json").touch()

    run_benchmark(Plan.model_validate(PLAN), cohort, out=out, engine=engine, workers=workers, say=say)
    assert not list(out.rglob(".*.partial.*"))
    return {name: (out / name).read_bytes() for name in TABLES}, said


@pytest.fixture(scope="module")
def undisturbed(cohort, tmp_path_factory):
    return run(cohort, tmp_path_factory.mktemp("undisturbed") / "out")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PLAN, ArmStudy),
        (HEALING, HealingStudy),
        (FOLDS, FoldStudy),
        ({**FOLDS, "subjects": {**FOLDS["subjects"], "fold": 1}}, ArmStudy),
    ],
)
def test_what_a_plan_holds_says_what_is_run(content, kind, cohort, tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    plan = study_plan(path, changes={"seeds": [8]})
    study = make_study(plan, cohort, {}, tmp_path / "out")
    assert type(study) is kind
    assert study.plan is plan
    assert plan.seeds == (8,)
    assert not (tmp_path / "out").exists()


def test_a_plan_of_folds_tests_on_all_of_them_or_the_one_it_names(cohort, tmp_path):
    def tested(**subjects):
        plan = Plan.model_validate({**FOLDS, "subjects": {**FOLDS["subjects"], **subjects}})
        return set(make_study(plan, cohort, {}, tmp_path).test.subjects)

    assert tested() == set(cohort.subjects)
    assert tested(fold=1) < tested()
    assert {subject for fold in range(3) for subject in tested(fold=fold)} == tested()


def test_what_was_decided_is_said_once(undisturbed):
    _, said = undisturbed
    for words in ("the best baseline found is", "twice the steps (2)"):
        assert sorted(line.partition(":")[0] for line in said if words in line) == ["n = 2", "n = 4"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_order_of_jobs_gives_the_same_tables(seed, undisturbed, cohort, tmp_path):
    engine = Drawn(seed)
    tables, said = run(cohort, tmp_path / "out", engine)
    assert tables == undisturbed[0]
    assert sorted(said) == sorted(undisturbed[1])
    assert engine.order != [job.name for job in make_study(*of(cohort, tmp_path / "out")).jobs()]


def of(cohort, out):
    return Plan.model_validate(PLAN), cohort, {}, out


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_tables(undisturbed, cohort, tmp_path):
    tables, said = run(cohort, tmp_path / "out", workers=2)
    assert tables == undisturbed[0]
    assert sorted(said) == sorted(undisturbed[1])


def test_a_run_that_is_interrupted_anywhere_ends_with_the_same_tables_and_does_nothing_twice(
    undisturbed, cohort, tmp_path
):
    out, done = tmp_path / "out", list[str]()
    for stop_after in (2, 3, 5, 1, 4):
        engine = Drawn(stop_after=stop_after)
        with pytest.raises(KeyboardInterrupt):
            run(cohort, out, engine)
        done += engine.order
    last = Drawn()
    tables, _ = run(cohort, out, last)
    assert tables == undisturbed[0]
    done += last.order
    jobs = make_study(*of(cohort, out)).jobs()
    assert sorted(done) == sorted(job.name for job in jobs)


@pytest.mark.parametrize("content", [PLAN, FOLDS])
def test_a_run_that_is_stopped_or_killed_has_taken_its_time(content, cohort, tmp_path):
    """A kill leaves the time of the last finished job, and a stop all of it, for a plan and for each of its folds."""
    seconds = []

    def times():
        return [read_run(file.parent)["sessions"][-1]["seconds"] for file in tmp_path.rglob("run.json")]

    class Stopped(LocalEngine):
        def run(self, known, say=print, watcher=None, *, shared=()):
            sleep(0.2)
            say("a job is done")
            seconds.append(times())
            sleep(0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(Plan.model_validate(content), cohort, out=tmp_path / "out", engine=Stopped())
    seconds.append(times())
    assert len(seconds[0]) == (4 if content is FOLDS else 1)
    assert min(seconds[0]) >= 0.2
    assert min(seconds[1]) >= 0.4
