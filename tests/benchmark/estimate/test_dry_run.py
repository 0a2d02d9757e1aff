"""What a plan takes, before it is run."""

import tempfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.arms.ingredients import PAPER_EPOCHS
from lesionforge.benchmark.estimate import timing as timing_module
from lesionforge.benchmark.estimate.dry_run import Estimate, dry_run, duration
from lesionforge.benchmark.estimate.timing import STEPS, Timing, on_few, peak_memory, time_units
from lesionforge.benchmark.estimate.work import CANDIDATES, CASES, CURVES, SCANS, Unit, Work, work_of
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.healing.healing_study import HealingStudy
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.run import run_benchmark
from lesionforge.engine.local import LocalEngine
from lesionforge.engine.processes import in_new_process
from lesionforge.errors import ConfigError, LeakError
from lesionforge.training.model_folder import read_info
from tests.benchmark.arms.test_detection_arms import PLAN as DETECTION
from tests.benchmark.healing.test_healing_study import CONTENT as HEALING
from tests.helpers import tiny_cohort
from tests.masks.mni import write_masks
from tests.tasks.detection.spots import spotted_cohort

TRAINING = {"steps": 2, "batch_size": 2, "epoch_steps": 2, "device": "cpu", "preview_minutes": None}
GAN = {"roi_size": [32, 32], "channels": [4, 8], "width": 1.0}
INPAINT = {"method": "pix2pix", "options": GAN, "training": TRAINING, "cases": 3, "min_volume": 20}
PLAN = {
    "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [2]},
    "task": {"filters": [4, 8], "res_units": 0, "roi_size": [32, 32]},
    "training": TRAINING,
    "seeds": [3, 4],
    "synthesizers": {
        "inpaint": INPAINT,
        "epochs": {**INPAINT, "options": {**GAN, "candidates": [1, 2]}, "training": {**TRAINING, "batch_size": 1}},
        "unused": INPAINT,
        "carvemix": {"method": "carvemix"},
    },
    "arms": {
        "classical": {},
        "synthetic": {"synthesizer": "inpaint"},
        "epochs": {"synthesizer": "epochs", "use": "on_the_fly"},
        "carvemix": {"synthesizer": "carvemix", "use": "on_the_fly"},
        "tuned": {"synthesizer": "inpaint", "finetune": 0.5},
        "tuned_on_one": {"synthesizer": "inpaint", "finetune": 0.5, "real": 1},
    },
    "baseline": "classical",
}
CONTROL = {"arm": "synthetic", "max_steps": 4}
TUNE = {"augment": ["none", "classical"], "learning_rate": [2.0], "batch_size": [2.0], "seeds": 1}
VOLUMES = {
    "subjects": {"train": 0.6, "development": 0.2, "test": 0.2, "numbers": [1.0]},
    "task": {"spatial_dims": 3, "filters": [4, 8], "res_units": 0, "roi_size": [16, 16, 8]},
    "training": {**TRAINING, "accumulate": 3},
    "seeds": [0],
    "mask_generators": {
        "drawn": {
            "options": {"size": [20, 24, 16], "channels": [8, 4], "width": 0.2, "optimiser": {"n_critic": 2}},
            "training": {**TRAINING, "batch_size": 3},
        }
    },
    "synthesizers": {
        "inpaint": {
            **INPAINT,
            "options": {"spatial_dims": 3, "roi_size": [24, 24, 24], "channels": [4, 8], "num_layers_d": 2},
            "masks": "gan:drawn",
            "min_volume": 1,
        }
    },
    "arms": {"real": {}, "drawn": {"synthesizer": "inpaint", "use": "on_the_fly"}, "mixed": {"synthesizer": "inpaint"}},
    "baseline": "real",
}
ALONE = {
    "training": {**TRAINING, "batch_size": 2},
    "seeds": [3],
    "arms": {"classical": {}},
    "synthesizers": {},
}
CHOSEN = {
    "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [4]},
    "training": TRAINING,
    "seeds": [3],
    "learning_curves": 2,
    "synthesizers": {
        "chosen": {
            **INPAINT,
            "options": {**GAN, "condition": "label", "candidates": [1, 3], "candidates_in": "steps"},
            "blend": "full",
            "selection": {
                "segmentor": {"filters": [4, 8], "res_units": 0, "roi_size": [32, 32]},
                "segmentor_steps": 5,
                "realism": {"side": 32, "width": 0.06, "steps": 6, "batch_size": 4},
            },
        }
    },
    "arms": {"classical": {}, "chosen": {"synthesizer": "chosen"}, "tuned": {"synthesizer": "chosen", "finetune": 0.5}},
}
LENGTHENED = {"arms": {name: PLAN["arms"][name] for name in ("classical", "synthetic", "tuned")}, "seeds": [3]}
PLANS = {
    "a plan": ({"seeds": [3]}, False),
    "the control ends at once": (
        LENGTHENED | {"control": {**CONTROL, "tolerance": 1000}, "tune": {**TUNE, "further": 0}},
        False,
    ),
    "the control lengthens the arms": (
        LENGTHENED | {"seeds": [3, 4], "control": {"max_steps": 4, "tolerance": -1000}, "tune": {**TUNE, "number": 2}},
        True,
    ),
    "a choice among candidates": (CHOSEN, False),
    "epochs of the paper": (ALONE | {"budget": "paper", "subjects": {**PLAN["subjects"], "numbers": [1]}}, False),
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("slices"), spatial_dims=2, n_subjects=8)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("volumes")
    return tiny_cohort(folder, spatial_dims=3, n_subjects=5, shape=(32, 32, 16), anatomy=True)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def trained(folder):
    """Steps of every model folder, counted."""
    infos = [read_info(path.parent) for path in folder.rglob("model.json")]
    return Counter(int(info.training.get("steps", 0)) or int(info.config.get("steps", 0)) for info in infos)


def counted(works):
    return Counter(work.count for work in works if work.stage not in (CASES, CANDIDATES, CURVES))


@pytest.mark.parametrize(("changes", "longest"), PLANS.values(), ids=PLANS)
@pytest.mark.slow
def test_the_trainings_are_those_of_a_real_run(cohort, tmp_path, monkeypatch, changes, longest):
    monkeypatch.setitem(PAPER_EPOCHS, "real", 3)
    plan, run_folder = Plan.model_validate(PLAN | changes), tmp_path / "run"
    study = ArmStudy.make(plan, cohort, {}, tmp_path / "dry")
    works = work_of(study, longest=longest)
    LocalEngine().run(ArmStudy.make(plan, cohort, {}, run_folder).jobs, say=lambda line: None)
    assert counted(works) == trained(run_folder)
    drawn = sum(work.count for work in works if work.stage in (CASES, CANDIDATES))
    assert drawn == len(list(run_folder.rglob("provenance/*.json")))
    others = counted(work_of(study, longest=not longest))
    assert (others == counted(works)) == ("control" not in changes)


@pytest.mark.slow
def test_volumes_and_mask_generators(volumes, tmp_path):
    drawn = VOLUMES["mask_generators"]["drawn"] | {"masks": str(write_masks(tmp_path / "masks", 24))}
    plan = Plan.model_validate(VOLUMES | {"mask_generators": {"drawn": drawn}})
    study = ArmStudy.make(plan, volumes, {}, tmp_path / "dry")
    works = work_of(study)
    stages = {(work.stage, work.name): work.count for work in works}
    assert stages == {
        ("mask generator", "drawn"): 2,
        ("synthesizer", "inpaint"): 2,
        ("offline cases", "inpaint"): 3,
        ("arm", "real"): 2,
        ("arm", "drawn"): 2,
        ("arm", "mixed"): 2,
    }
    units = {work.unit: work for work in works}
    assert {unit.name for unit in units if unit.stage == "arm"} == {"real", "drawn"}
    timings = time_here(study, units)
    by_name = {(unit.stage, unit.name): timing for unit, timing in timings.items()}
    assert by_name["mask generator", "drawn"].images == 3 * 2
    assert by_name["synthesizer", "inpaint"].images == 2
    assert by_name["arm", "real"].images == by_name["arm", "drawn"].images == 2 * 3
    assert by_name["arm", "real"].parameters == by_name["arm", "drawn"].parameters
    for unit, timing in timings.items():
        assert timing.seconds > 0
        assert timing.around > 0
        assert timing.memory > 2**20
        assert (timing.parameters > 0) == (unit.stage != "offline cases")


@contextmanager
def in_this_process():
    """Time in this process, which starts sooner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lesionforge.benchmark.estimate.timing.in_new_process", lambda job, *args, threads: job(*args))
        yield


def time_here(study, units):
    with in_this_process():
        return time_units(study, units, workers=1)


def test_each_network_is_timed_once_and_slow_options_are_left_out(cohort, tmp_path):
    plan = Plan.model_validate(PLAN | {"control": CONTROL, "tune": TUNE | {"further": 0}})
    study = ArmStudy.make(plan, cohort, {}, tmp_path)
    works = [*work_of(study), *work_of(study, longest=True)]
    timings = time_here(study, [work.unit for work in works])
    arms = Counter(unit.name for unit in timings if unit.stage == "arm")
    assert arms == {
        "classical": 3,
        "epochs": 2,
        "carvemix": 2,
    }
    found = {path.parent.name: read_info(path.parent).training for path in tmp_path.rglob("model.json")}
    assert found["inpaint"]["steps"] == found["epochs"]["steps"] == STEPS
    assert "unused" not in found
    assert not list(tmp_path.rglob("candidates"))
    assert all(timing.reading > 0 for timing in timings.values())
    carvemix = timings[Unit(stage="synthesizer", name="carvemix")]
    assert (carvemix.seconds, carvemix.images, carvemix.parameters) == (0, 0, 0)
    images = {timings[unit].images for unit in timings if unit.stage == "arm"}
    assert images == {2, 4}


def test_a_step_is_timed_on_a_few_large_cases_of_each_annotation(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("lesionforge.benchmark.estimate.timing.FEW", 1)
    plan = Plan.model_validate(PLAN | {"subjects": {**PLAN["subjects"], "train": 0.5, "numbers": [4]}})
    study = ArmStudy.make(plan, cohort, {}, tmp_path).arms

    def size(case):
        return case.images["FLAIR"].stat().st_size

    for key, few in on_few(study).train.items():
        chosen = {case.annotation: case for case in few}
        assert len(chosen) == len(few) == len({case.annotation for case in study.train[key]})
        assert all(size(case) <= size(chosen[case.annotation]) for case in study.train[key])
    monkeypatch.setattr(study.plan.task_class, "plans", True)
    assert on_few(study) is study, "nnU-Net plans its network by all cases"


def test_what_a_task_computes_once_of_each_scan_is_counted(tmp_path):
    cohort = spotted_cohort(tmp_path / "cohort", 2, n=11, healthy=2)
    plan = Plan.model_validate(DETECTION | {"arms": {"real": {}, "drawn": {"synthesizer": "pasted"}}, "arm": "drawn"})
    study = ArmStudy.make(plan, cohort, {}, tmp_path / "dry")
    works = work_of(study)
    (scans,) = (work for work in works if work.stage == SCANS)
    assert (scans.name, scans.steps) == ("candidates", 0)
    assert scans.count == 4 + 3 + 4 + 2 * 3, "training, development, test, and the cases drawn with two seeds"
    reads = {work.name: work.reads for work in works if work.stage == "arm"}
    assert reads == {"real": 4, "drawn": 4 + 3}
    (timing,) = time_here(study, [scans.unit]).values()
    assert timing.seconds > 0
    assert timing.reading == 0


def test_the_parameters_are_those_of_all_networks_that_train(cohort, tmp_path):
    plan = Plan.model_validate(PLAN)
    study = ArmStudy.make(plan, cohort, {}, tmp_path)
    ((_, timing),) = time_here(study, [Unit(stage="arm", name="classical")]).items()
    (path,) = tmp_path.rglob("checkpoints/last.ckpt")
    weights = torch.load(path, weights_only=True)["optimizer_states"][0]["state"].values()
    assert timing.parameters == sum(state["exp_avg"].numel() for state in weights)


@pytest.mark.slow
def test_a_study_of_methods_that_heal(volumes, tmp_path):
    plan = HealingPlan.model_validate(HEALING | {"methods": {"gan": HEALING["methods"]["gan"]}, "baselines": []})
    works = work_of(HealingStudy.make(plan, volumes, {}, tmp_path / "dry"))
    run_benchmark(plan, volumes, out=tmp_path / "run")
    assert counted(works) == trained(tmp_path / "run")
    timings = time_here(HealingStudy.make(plan, volumes, {}, tmp_path / "dry"), [work.unit for work in works])
    assert [unit.name for unit in timings] == ["f_pre", "gan"]
    assert all(timing.images == 2 and timing.seconds > 0 for timing in timings.values())


def test_a_partly_given_optimiser_keeps_the_rest_and_counts_in_the_images(volumes, tmp_path):
    method = {"method": "healing_gan", "options": {"optimiser": {"n_critic": 3}}}
    plan = HealingPlan.model_validate(HEALING | {"methods": {"gan": method}, "baselines": []})
    study = HealingStudy.make(plan, volumes, {}, tmp_path)
    ((_, timing),) = time_here(study, [Unit(stage="method", name="gan")]).items()
    assert timing.images == 3 * 2


def test_the_scoring_network_is_timed_by_its_own_training(volumes, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(timing_module, "_time_training", lambda train, folder, training: seen.append(training))
    f_pre = {**HEALING["f_pre"], "training": {**HEALING["f_pre"]["training"], "accumulate": 3}}
    study = HealingStudy.make(HealingPlan.model_validate(HEALING | {"f_pre": f_pre}), volumes, {}, tmp_path)
    timing_module.time_unit(study, Unit(stage="f_pre", name="f_pre"))
    assert seen == [study.plan.f_pre.training.or_device(study.plan.training.device)]
    assert seen[0].accumulate == 3


def test_learning_curves_are_counted_in_every_training_and_not_in_its_steps(cohort, tmp_path):
    plan = Plan.model_validate(PLAN | ALONE | {"training": {**TRAINING, "steps": 7}, "learning_curves": 2})
    study = ArmStudy.make(plan, cohort, {}, tmp_path)
    works, arms = work_of(study), study.arms
    shown = {size: len(arms.repeat(size, 3).train.with_lesions()) for size in arms.sizes}
    points = 4  # after 2, 4, 6 and 7 steps
    curves = sorted(work.count for work in works if work.stage == CURVES)
    assert curves == sorted(points * (own + len(arms.test.with_lesions())) for own in shown.values())
    assert all(work.steps == 0 for work in works if work.stage == CURVES)
    assert work_of(replace(study, arms=replace(arms, plan=plan.model_copy(update={"learning_curves": None})))) == [
        work for work in works if work.stage != CURVES
    ]


@pytest.mark.slow
def test_synthesizers_that_differ_in_length_are_timed_apart(cohort, tmp_path):
    longer = {"method": "pix2pix", "options": GAN, "training": {**TRAINING, "steps": 9}, "cases": 3}
    plan = Plan.model_validate(PLAN | {"synthesizers": {"short": INPAINT, "long": longer}, "arms": {"classical": {}}})
    study = ArmStudy.make(plan, cohort, {}, tmp_path)
    timings = time_here(study, [Unit(stage="synthesizer", name=name) for name in ("short", "long")])
    assert all(timing.seconds > 0 for timing in timings.values())


KINDS = {
    "arms with curves": ({"seeds": [3], "learning_curves": 1}, {"synthesizer", "offline cases", "arm", CURVES}),
    "a choice among candidates": (
        CHOSEN,
        {"synthesizer", CANDIDATES, "selection: segmentation", "selection: classifiers", "offline cases"}
        | {"pretraining", "arm", CURVES},
    ),
}


@pytest.mark.parametrize(("changes", "stages"), KINDS.values(), ids=KINDS)
@pytest.mark.slow
def test_a_dry_run_of_arms_times_all_that_it_lists(cohort, changes, stages):
    with in_this_process():
        estimate = dry_run(Plan.model_validate(PLAN | changes), cohort)
    table = estimate.table()
    assert stages <= set(table["stage"])
    trained = table[~table["name"].isin(["carvemix"]) | (table["stage"] == "arm")]
    assert (trained["seconds"] > 0).all()
    assert (table["hours_least"] > 0).all()
    assert "the choice among candidates" not in estimate.not_counted
    assert ("the scores of candidates" in estimate.not_counted) == (CANDIDATES in stages)
    steps = table[table["stage"] == "selection: classifiers"]
    assert steps["steps_least"].tolist() == [4 * 6] * (CANDIDATES in stages)


@pytest.mark.slow
def test_a_dry_run_of_methods_that_heal_times_all_that_it_lists(volumes):
    with in_this_process():
        estimate = dry_run(HealingPlan.model_validate(HEALING), volumes)
    table = estimate.table()
    assert list(table["name"]) == ["f_pre", *HEALING["methods"]]
    assert (table["seconds"] > 0).all()


@pytest.mark.slow
def test_folds_and_nothing_is_left_behind(cohort, tmp_path, temporary):
    arms = {"classical": {}, "again": {"task": {"learning_rate": 0.1}}}
    plan = Plan.model_validate(
        PLAN | {"subjects": {"numbers": [1], "folds": 3}, "arms": arms, "synthesizers": {}, "seeds": [0]}
    )
    before = sorted(cohort.cases[0].images["FLAIR"].parents[1].rglob("*"))
    estimate = dry_run(plan, cohort)
    assert list(temporary.iterdir()) == []
    assert sorted(cohort.cases[0].images["FLAIR"].parents[1].rglob("*")) == before
    table = estimate.table().set_index(["stage", "name"])
    runs = {("arm", "classical"): 3, ("arm", "again"): 3, ("whole pool", "classical"): 3}
    assert table["runs_least"].to_dict() == table["runs_most"].to_dict() == runs
    assert (table["steps_least"] == 6).all()
    assert (table["images_most"] == 12).all()
    assert estimate.steps == (18, 18)
    assert estimate.hours[0] == estimate.hours[1] == pytest.approx(table["hours_least"].sum())
    assert "18 steps" not in estimate.sentence()
    assert "with 1 worker (" in estimate.sentence()


def test_an_error_leaves_nothing_behind(cohort, temporary):
    too_many = PLAN | {"subjects": {**PLAN["subjects"], "numbers": [20]}}
    with pytest.raises(ConfigError):
        dry_run(Plan.model_validate(too_many), cohort)
    roles = {"pool": cohort.subjects, "development": cohort.subjects[4:5], "final": cohort.subjects[6:]}
    with pytest.raises(LeakError):
        dry_run(Plan.model_validate(PLAN | {"subjects": {"numbers": [2]}}), cohort, roles=roles)
    assert list(temporary.iterdir()) == []


def test_hours_are_the_sum_of_all_runs_shared_by_the_workers():
    fast, slow = Unit(stage="arm", name="fast"), Unit(stage="arm", name="slow")
    timings = {
        fast: Timing(seconds=1, around=60, reading=2, images=4, parameters=7, memory=100),
        slow: Timing(seconds=10, around=0, images=8, parameters=9, memory=50),
    }
    least = (Work(stage="arm", name="both", count=3420, unit=fast, reads=60),)
    most = (*least, Work(stage="arm", name="both", count=360, unit=slow))
    facts = {"timings": timings, "devices": 2, "machine": "a machine", "not_counted": ("the report",)}
    estimate = Estimate(least=least, most=most, workers=2, **facts)
    assert estimate.hours == (0.5, 1.0)
    (row,) = estimate.table().to_dict("records")
    assert (row["runs_least"], row["runs_most"]) == (1, 2)
    assert (row["hours_least"], row["hours_most"]) == (1.0, 2.0)
    assert (row["images_least"], row["images_most"]) == (2 * 4 * 3420, 2 * (4 * 3420 + 8 * 360))
    assert (row["parameters"], row["memory"], row["each"]) == (9, 100, (360, 3420))
    assert estimate.sentence().startswith("about 0.5 to 1.0 hours on this machine with 2 workers (a machine;")


def test_short_times_are_told_in_minutes_or_seconds():
    assert duration(0.25, 0.5) == "15.0 to 30.0 minutes"
    assert duration(0.001, 0.001) == "3.6 seconds"
    assert duration(3.2, 5.1) == "3.2 to 5.1 hours"


@pytest.mark.slow
def test_the_memory_is_that_of_the_process_alone():
    held = torch.ones(2**28, dtype=torch.uint8)
    assert peak_memory("cpu") > len(held)
    here, there = peak_memory("cpu"), in_new_process(peak_memory, "cpu", threads=1)
    assert 2**20 < there < here
