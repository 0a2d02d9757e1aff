import hashlib
import html
import json
import math
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.arms import arm_study
from lesionforge.benchmark.arms.arm_jobs import development_score, score_development, train
from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.arms.ingredients import lengths, on_the_fly
from lesionforge.benchmark.arms.mask_sources import mask_source, slice_masks
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Control, Plan, Subjects
from lesionforge.benchmark.report.figures.predicted import examples
from lesionforge.benchmark.run import run_benchmark
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import read_label
from lesionforge.errors import ConfigError, LeakError, OutputError
from lesionforge.masks import MaskBank
from lesionforge.masks.edits import EditedMasks
from lesionforge.masks.ellipsoids import Ellipsoids
from lesionforge.masks.interpolated import InterpolatedMasks
from lesionforge.masks.registry import MASK_SOURCES
from lesionforge.masks.semi_random import SemiRandom
from lesionforge.masks.slice_masks import SliceBank
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.model_folder import read_info, read_tensors
from tests.helpers import tiny_cohort

TRAINING = {"steps": 2, "batch_size": 2, "epoch_steps": 2, "device": "cpu", "preview_minutes": None}
PLAN = Plan.model_validate(
    {
        "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [3]},
        "task": {"spatial_dims": 2, "filters": [4, 8], "res_units": 1, "roi_size": [32, 32]},
        "training": TRAINING,
        "seeds": [3],
        "synthesizers": {
            "inpaint": {
                "method": "pix2pix",
                "options": {"spatial_dims": 2, "roi_size": [32, 32], "channels": [4, 8], "width": 1.0},
                "training": TRAINING,
                "masks": "edited",
                "cases": 4,
                "min_volume": 20,
            },
            "carvemix": {"method": "carvemix", "options": {"spatial_dims": 2}},
            "copy_paste": {"method": "copy_paste", "options": {"spatial_dims": 2}, "masks": "bank", "min_volume": 20},
        },
        "arms": {
            "real": {"augment": "none"},
            "classical": {},
            "carvemix": {"synthesizer": "carvemix", "use": "on_the_fly"},
            "copy_paste": {"synthesizer": "copy_paste", "use": "on_the_fly"},
            "synthetic": {"synthesizer": "inpaint", "use": "offline"},
            "synthetic_on_the_fly": {"synthesizer": "inpaint", "use": "on_the_fly"},
            "synthetic_only": {"synthesizer": "inpaint", "use": "offline", "share": 1.0},
            "one_real": {"real": 1},
            "tuned_on_one": {"synthesizer": "inpaint", "use": "offline", "real": 1, "finetune": 0.5},
            "tuned_on_two": {"synthesizer": "inpaint", "use": "offline", "real": 2, "finetune": 0.5},
            "whole_slices": {"task": {"roi_size": None}},
        },
        "baseline": "classical",
        "arm": "synthetic",
        "examples": 1,
    }
)
FOLDER = "runs/n3/seed3"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("cohort"), spatial_dims=2, n_subjects=8, cases_per_subject=2)


@pytest.fixture(scope="module")
def study(cohort, tmp_path_factory):
    """A benchmark with all kinds of arms, run once."""
    out = tmp_path_factory.mktemp("benchmark") / "study"
    said = []
    verdict = run_benchmark(PLAN, cohort, out=out, say=said.append)
    trainings = len(PLAN.arms) + 1
    assert len(said) == len(PLAN.synthesizers) + 1 + 1 + 2 * trainings
    assert sum("pretrained" in line for line in said) == 1
    assert sum("cases, " in line for line in said) == 1
    assert sum("trained for 2 steps" in line for line in said) == sum("mean Dice" in line for line in said) == trainings
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    assert all(f'<p class="main">{line}</p>' in page for line in verdict.splitlines())
    return out


@pytest.fixture
def copied(study, tmp_path):
    return shutil.copytree(study, tmp_path / "study")


def models(folder, kind="*"):
    return {path.parent.name: read_info(path.parent) for path in (folder / FOLDER).glob(f"{kind}/*/model.json")}


def test_every_arm_is_scored_on_every_test_case(study, cohort):
    results = pd.read_csv(study / "results.csv")
    test = make_arms(PLAN, cohort, {}, study).test
    assert len(test) == 4
    expected = {(arm, 3, case.case_id) for arm in PLAN.arms for case in test}
    assert set(zip(results["arm"], results["seed"], results["case_id"], strict=True)) == expected
    assert len(results) == len(expected)
    assert results["dice"].between(0, 1).all()
    for name in ("summary.csv", "report.html", "plan.yaml", "split.json"):
        assert (study / name).stat().st_size > 0
    drawn = {"groups", "placement_inpaint", "synthesizers", "intensities", "augmentations", "learning_curves"}
    expected = {"differences", "training_sets", "data_regime", "arms", "examples", *drawn}
    charts = {"differences", "training_sets", "data_regime", "arms", "groups", "intensities", "learning_curves"}
    files = {f"{name}.{'svg' if name in charts else 'png'}" for name in expected}
    beside_the_gap = {path.name for path in (study / "figures").iterdir()} - {"gap.svg"}  # drawn if a gap was found
    assert beside_the_gap == files


def test_the_report_says_what_it_is_made_of(study):
    page = html.unescape((study / "report.html").read_text(encoding="utf-8"))
    rows = dict(re.findall(r"<tr><th>([^<]*)</th><td>([^<]*)</td></tr>", page.partition("<h2>Made of</h2>")[2]))
    assert rows["Plan"] == "given in Python"
    assert set(re.findall(r"([a-z]\w*) [\d.]", rows["Seconds a step"])) == {"inpaint", *PLAN.arms}
    assert re.search(r"synthetic: [\d.e-]+ \(synthesizer [\d.e-]+, drawing [\d.e-]+, network [\d.e-]+\)", page)
    assert rows["SHA-256 of split.json"] == hashlib.sha256((study / "split.json").read_bytes()).hexdigest()
    assert f"<pre>{(study / 'plan.yaml').read_text()}</pre>" in page
    assert json.loads((study / "run.json").read_text())["sessions"]


def test_no_gain_is_claimed_without_a_control_of_the_length(study):
    assert "baseline may be undertrained: its length was not controlled" in (study / "report.html").read_text()


def test_all_arms_take_the_same_steps_with_the_same_network(study):
    arms = models(study, "arms")
    assert set(arms) == {f"{arm}_2" for arm in PLAN.arms}
    steps = {name: info.training["steps"] for name, info in arms.items()}
    for name in ("tuned_on_one_2", "tuned_on_two_2"):
        steps[name] += models(study, "pretraining")["tuned_on_one_2"].training["steps"]
    assert set(steps.values()) == {2}
    assert {info.training["seed"] for info in arms.values()} == {3}
    assert arms.pop("whole_slices_2").config["roi_size"] != arms["classical_2"].config["roi_size"]
    assert len({json.dumps(dict(info.config, augment=None)) for info in arms.values()}) == 1
    assert {name: info.config["augment"] for name, info in arms.items()} == {
        f"{name}_2": arm.augment for name, arm in PLAN.arms.items() if not arm.task
    }
    assert len({info.preprocessing.model_dump_json() for info in arms.values()}) == 1


def test_what_the_plan_says_of_synthetic_cases_is_done(study):
    arms = study / FOLDER / "arms"
    half, alone = (read_tensors(arms / f"{name}_2") for name in ("synthetic", "synthetic_only"))
    assert any((half[name] != alone[name]).any() for name in half)
    assert models(study, "synthesizers")["inpaint"].training["seed"] == 3
    assert [folder.name for folder in (study / FOLDER / "cohorts").iterdir()] == ["inpaint"]
    counted = {path.parent.name: json.loads(path.read_text()) for path in (study / FOLDER).glob("*/*/items.json")}
    on_the_fly = {f"{name}_2" for name, arm in PLAN.arms.items() if arm.use == "on_the_fly"}
    assert set(counted) == {"synthetic_2", "synthetic_only_2", "tuned_on_one_2", *on_the_fly}
    assert all(0 <= items["new_lesion"] <= 1 for items in counted.values())
    assert counted["synthetic_2"]["items"] == 2 * TRAINING["batch_size"]
    page = html.unescape((study / "report.html").read_text(encoding="utf-8"))
    row = page[page.index("Items with a new lesion") :]
    for name, before in {"synthetic": "", "copy_paste": "", "tuned_on_two": " before fine-tuning"}.items():
        note = counted["tuned_on_one_2" if before else f"{name}_2"]
        share, new = note["new_lesion"], note["new_lesion"] * note["items"]
        assert f"{name}: {share:.1%}, about {new:.0f} of {note['items']} items{before}" in row
    written = json.loads((study / FOLDER / "cohorts" / "inpaint" / "synthesis.json").read_text())
    asked = PLAN.synthesizers["inpaint"]
    assert [written[name] for name in ("n", "seed", "blend", "min_volume")] == [4, 3, asked.blend, asked.min_volume]


@pytest.mark.parametrize("name", ["carvemix", "copy_paste", "synthetic_on_the_fly"])
def test_on_the_fly_every_item_in_turn_gets_a_lesion_of_the_least_volume(study, cohort, name):
    def drawn(plan):
        training = make_arms(plan, cohort, {}, study).repeat(3, 3).training(name, 2)
        model = load_synthesizer(training.repeat.model_folder(training.arm.synthesizer))
        source = on_the_fly(training, model)
        assert source.lesion_share == plan.task.lesion_share
        return [(item := sample.as_item(), source.transform(dict(item))) for sample in source.samples]

    changed = PLAN.task.model_copy(update={"lesion_share": 0.9})
    for before, after in drawn(PLAN.model_copy(update={"task": changed})):
        assert (before["image"] != after["image"]).any()
    huge = {key: one.model_copy(update={"min_volume": 1e6}) for key, one in PLAN.synthesizers.items()}
    if name != "carvemix":
        for before, after in drawn(PLAN.model_copy(update={"synthesizers": huge})):
            assert (before["image"] == after["image"]).all()


@pytest.mark.parametrize(
    ("kind", "dims", "source"),
    [
        ("ellipsoids", 2, Ellipsoids),
        ("ellipsoids", 3, Ellipsoids),
        ("bank", 2, SliceBank),
        ("bank", 3, MaskBank),
        ("edited", 2, EditedMasks),
        ("edited", 3, EditedMasks),
        ("interpolated", 2, InterpolatedMasks),
        ("interpolated", 3, InterpolatedMasks),
        ("semi_random", 2, SemiRandom),
        ("semi_random", 3, SemiRandom),
    ],
)
def test_masks_are_those_of_the_plan(cohort, tmp_path, kind, dims, source):
    samples = cached_samples(cohort, Preprocessing(spatial_dims=2, channels=("FLAIR",)))
    plan = PLAN.synthesizers["inpaint"].model_copy(update={"masks": kind})
    repeat = make_arms(PLAN, cohort, {}, tmp_path).repeat(3, 3)
    make = (lambda plan: slice_masks(repeat, plan, samples)) if dims == 2 else (lambda plan: mask_source(repeat, plan))
    assert type(make(plan)) is source
    if kind in ("bank", "edited", "interpolated"):
        flat = make(plan.model_copy(update={"mask_options": {"flatten_sizes": 0.5}}))
        assert getattr(flat, "source", flat).flatten_sizes == 0.5


@pytest.mark.parametrize("dims", [2, 3])
def test_the_masks_of_another_package_are_its_own(cohort, tmp_path, monkeypatch, dims):
    """An unknown kind does not become the bank's."""

    class Dots(Ellipsoids):
        method = "dots"

    plan = PLAN.synthesizers["inpaint"].model_copy(update={"masks": "dots"})
    repeat = make_arms(PLAN, cohort, {}, tmp_path).repeat(3, 3)
    samples = cached_samples(cohort, Preprocessing(spatial_dims=2, channels=("FLAIR",)))
    sources = {**MASK_SOURCES, "dots": Dots}
    monkeypatch.setattr("lesionforge.masks.registry.MASK_SOURCES", sources)
    made = slice_masks(repeat, plan, samples) if dims == 2 else mask_source(repeat, plan)
    assert type(made) is Dots


def test_a_job_waits_for_what_it_uses_alone(study, cohort, tmp_path):
    """No arm waits for another's synthesizer, and what tells how long arms are trained waits for no synthesizer."""
    jobs = {job.name.removeprefix("n3/seed3/"): job for job in ArmStudy.make(PLAN, cohort, {}, study).jobs()}
    needs = {name: {need.removeprefix("n3/seed3/") for need in job.needs} for name, job in jobs.items()}
    drawn, inpaint, tuned = "cohorts/inpaint/cases.csv", "synthesizers/inpaint/model.json", "arms/tuned_on_two_2"
    assert needs[drawn] == {inpaint}
    assert needs["pretraining/tuned_on_one_2/model.json"] == {drawn}
    assert needs[f"{tuned}/model.json"] == {drawn, "pretraining/tuned_on_one_2/model.json"}
    assert needs[f"{tuned}/results.csv"] == {f"{tuned}/model.json"}
    assert needs["arms/synthetic_2/model.json"] == needs["arms/synthetic_only_2/model.json"] == {drawn}
    assert needs["arms/synthetic_on_the_fly_2/model.json"] == {inpaint}
    assert needs["arms/carvemix_2/model.json"] == {"synthesizers/carvemix/model.json"}
    assert needs["arms/classical_2/model.json"] == needs["n4/seed3/arms/classical_2/model.json"] == set()
    assert all(job.done for job in jobs.values())
    assert len(jobs) == 3 + 1 + 1 + 2 * (len(PLAN.arms) + 1)
    controlled = PLAN.model_copy(update={"control": Control(max_steps=4)})
    asked = ArmStudy.make(controlled, cohort, {}, tmp_path / "new").jobs()
    controls = [job for job in asked if "/arms/" in job.name]
    assert {job.function for job in controls} == {train, score_development}
    assert all(job.needs == () for job in controls if job.function is train)


def test_no_test_subject_is_behind_anything(study, cohort):
    arms = make_arms(PLAN, cohort, {}, study)
    train, test = set(arms.train[3, 3].subjects), {*arms.test.subjects, *arms.development.subjects}
    everything = models(study)
    assert len(everything) == len(PLAN.arms) + len(PLAN.synthesizers)
    for name, info in everything.items():
        assert set(info.training_subjects) == train or name == "one_real_2"
        assert set(info.training_subjects) <= train
    drawn = read_cohort(study / FOLDER / "cohorts" / "inpaint")
    assert len(drawn) == 4
    assert drawn.ancestry == train
    assert not train & test


@pytest.mark.slow
def test_a_run_that_was_stopped_ends_with_the_same_results(copied, cohort, monkeypatch):
    before = (copied / "results.csv").read_bytes()
    summary = (copied / "summary.csv").read_bytes()
    untouched = copied / FOLDER / "arms" / "real_2" / "model.safetensors"
    written = untouched.stat().st_mtime_ns
    (copied / "results.csv").unlink()
    (copied / "report.html").unlink()
    (copied / FOLDER / "arms" / "classical_2" / "results.csv").unlink()
    shutil.rmtree(copied / FOLDER / "arms" / "classical_2" / "predictions")
    shutil.rmtree(copied / FOLDER / "arms" / "synthetic_on_the_fly_2")
    shutil.rmtree(copied / FOLDER / "arms" / "synthetic_2")
    (copied / FOLDER / "arms" / "copy_paste_2" / "model.json").unlink()
    (copied / FOLDER / "arms" / "copy_paste_2" / "results.csv").unlink()
    shutil.rmtree(copied / FOLDER / "cohorts")
    doubts = []
    monkeypatch.setattr(arm_study, "look_alikes", lambda parts: doubts.append(parts) or ["p05 and P5 read alike"])
    run_benchmark(PLAN, cohort, out=copied)
    ((pool, development, test),) = doubts
    assert [len(part) for part in (pool, development, test)] == [8, 4, 4]
    assert "p05 and P5 read alike" in (copied / "report.html").read_text(encoding="utf-8")
    assert len(json.loads((copied / "voxels.json").read_text())) == len(cohort)
    assert (copied / "results.csv").read_bytes() == before
    assert (copied / "summary.csv").read_bytes() == summary
    assert untouched.stat().st_mtime_ns == written


def test_another_plan_and_other_cases_are_refused(study, cohort, tmp_path):
    with pytest.raises(OutputError, match="holds the results of another plan"):
        run_benchmark(PLAN.model_copy(update={"seeds": (3, 4)}), cohort, out=study)
    with pytest.raises(OutputError, match="this plan on other cases"):
        run_benchmark(PLAN, cohort.with_cases(cohort.cases[:-1]), out=study)


def test_a_plan_that_does_not_fit_leaves_the_folder_to_a_better_one(cohort, tmp_path):
    changed = PLAN.subjects.model_copy(update={"numbers": (99,)})
    with pytest.raises(ConfigError, match="99 of 4 subjects"):
        run_benchmark(PLAN.model_copy(update={"subjects": changed}), cohort, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("role", ["development", "final"])
def test_overlapping_roles_are_refused_before_anything_is_done(cohort, tmp_path, role):
    names = {"train": "pool", "development": "development", "test": "final", "numbers": [3]}
    plan = PLAN.model_copy(update={"subjects": Subjects.model_validate(names)})
    subjects = cohort.subjects
    roles = {"pool": subjects[:3], "development": subjects[4:5], "final": subjects[6:]}
    with pytest.raises(LeakError, match=subjects[0]):
        run_benchmark(plan, cohort, out=tmp_path / "out", roles={**roles, role: (*roles[role], subjects[0])})
    assert not (tmp_path / "out").exists()


def forge_case(column):
    def forge(folder, case):
        table = pd.read_csv(folder / "cohorts" / "inpaint" / "cases.csv", dtype=str, keep_default_na=False)
        value = case.subject_id if column in ("parents", "subject_id") else case.case_id
        before = table.loc[1, column]
        table.loc[1, column] = {"mask_id": f"{value}+edited", "parents": f"{before} {value}"}.get(column, value)
        table.to_csv(folder / "cohorts" / "inpaint" / "cases.csv", index=False)

    return forge


def forge_model(folder, case):
    path = folder / "synthesizers" / "inpaint" / "model.json"
    content = json.loads(path.read_text())
    content["training_subjects"].append(case.subject_id)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("part", ["test", "development"])
@pytest.mark.parametrize(
    ("forge", "arm", "way"),
    [
        (forge_case("subject_id"), "synthetic", "scan"),
        (forge_case("source_case"), "synthetic_only", "scan"),
        (forge_case("mask_id"), "synthetic", "mask"),
        (forge_case("parents"), "synthetic_only", "synthesizer .* or mask source"),
        (forge_model, "synthetic", "inpaint: was fitted on"),
        (forge_model, "synthetic_on_the_fly", "inpaint: was fitted on"),
    ],
    ids=["scan", "source", "mask", "parents", "model offline", "model on the fly"],
)
def test_a_forged_parent_is_refused_before_anything_is_trained(copied, cohort, part, forge, arm, way):
    arms = make_arms(PLAN, cohort, {}, copied)
    case, training = getattr(arms, part).cases[0], arms.repeat(3, 3).training(arm, 2)
    shutil.rmtree(training.folder)
    forge(copied / FOLDER, case)
    with pytest.raises(LeakError, match=way) as caught:
        train(training)
    assert case.subject_id in str(caught.value)
    assert not training.folder.exists()


def test_the_reference_is_the_baseline_trained_on_everyone_of_the_pool(study, cohort):
    arms = make_arms(PLAN, cohort, {}, study)
    reference = pd.read_csv(study / "reference.csv")
    assert set(reference["arm"]) == {PLAN.baseline}
    assert set(reference["train_size"]) == {arms.whole} == {4}
    assert set(reference["case_id"]) == {case.case_id for case in arms.test}
    info = read_info(study / "runs" / "n4" / "seed3" / "arms" / "classical_2")
    assert set(info.training_subjects) == set(arms.pool.subjects)


@pytest.mark.slow
def test_what_search_and_control_found_is_what_is_trained(cohort, tmp_path):
    arms = {name: PLAN.arms[name].model_dump() for name in ("real", "classical")}
    tune = {"augment": [], "learning_rate": [0.5], "batch_size": [2.0], "further": 0}
    control = {"tolerance": -1000.0, "max_steps": 4}
    changed = {"arms": arms, "synthesizers": {}, "arm": None, "tune": tune, "control": control}
    plan = Plan.model_validate(PLAN.model_dump() | changed)
    said = []
    run_benchmark(plan, cohort, out=tmp_path / "out", say=said.append)
    table = pd.read_csv(tmp_path / "out" / "tuning.csv")
    assert len(table) == 2 * 3
    assert set(table["train_size"]) == {3, 4}
    kept = table[table["kept"]].set_index("train_size")
    assert len(kept) == 2
    for number in (3, 4):
        trained = [info for _, info in finished(tmp_path / "out" / "runs" / f"n{number}" / "seed3" / "arms")]
        assert len(trained) == (2 if number == 3 else 1)
        for info in trained:
            assert info.config["learning_rate"] == pytest.approx(kept.loc[number, "learning_rate"])
            assert info.training["batch_size"] == kept.loc[number, "batch_size"]
            assert info.training["steps"] == 4
    assert "Search for the best baseline" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def finished(folder):
    """Return the arms that were scored, with what they are."""
    return [(path.parent.name, read_info(path.parent)) for path in folder.glob("*/results.csv")]


def test_an_arm_of_few_real_subjects_sees_no_other_and_a_tuned_one_has_seen_the_synthetic_ones(study):
    arms = {name.removesuffix("_2"): info for name, info in models(study, "arms").items()}
    everyone = set(arms["classical"].training_subjects)
    (one,) = {info.training_subjects for name, info in arms.items() if name == "one_real"}
    assert len(one) == 1
    assert set(one) < everyone
    assert set(models(study, "pretraining")) == {"tuned_on_one_2"}
    tuned, first = arms["tuned_on_one"], models(study, "pretraining")["tuned_on_one_2"]
    assert tuned.training["steps"] == first.training["steps"] == 1
    assert set(first.training_subjects) == set(tuned.training_subjects) == everyone
    report = html.unescape((study / "report.html").read_text(encoding="utf-8"))
    assert "one_real: real (1 subjects), classical augmentation" in report
    assert "whole_slices: real, classical augmentation, roi_size None" in report
    assert "synthetic: 50% pix2pix (4 cases offline), the rest real, classical augmentation" in report
    assert "synthetic_on_the_fly: real, 25% of the items with a lesion drawn by pix2pix on the fly" in report
    assert "tuned_on_one: pix2pix (4 cases offline) alone, then 50% of the steps on real (1 subjects)" in report


def test_the_budget_of_the_paper_counts_epochs_of_the_cases_an_arm_has():
    plan = PLAN.model_copy(update={"budget": "paper"})
    batch = plan.training.batch_size
    wanted = {
        "classical": (500 * math.ceil(7 / batch), 0),
        "synthetic": (300 * math.ceil((7 + 40) / batch), 0),
        "synthetic_only": (300 * math.ceil(40 / batch), 0),
        "synthetic_on_the_fly": (300 * math.ceil(7 / batch), 0),
        "tuned_on_one": (300 * math.ceil(40 / batch), 150 * math.ceil(7 / batch)),
    }
    for name, steps in wanted.items():
        drawn = 40 if plan.arms[name].use == "offline" and plan.arms[name].synthesizer else 0
        assert lengths(plan, plan.arms[name], 9, real=7, synthetic=drawn) == steps
    assert lengths(PLAN, PLAN.arms["tuned_on_one"], 8, real=7, synthetic=40) == (4, 4)


def test_fine_tuning_needs_a_synthesizer():
    with pytest.raises(ValueError, match="finetune needs a synthesizer"):
        Plan.model_validate({"arms": {"a": {"finetune": 0.5}}, "baseline": "a"})


def test_choices_are_made_on_development_subjects_each_counting_once(copied, cohort):
    def training(plan=PLAN):
        return make_arms(plan, cohort, {}, copied).repeat(3, 3).training("real", 2)

    assert development_score(training()) is None
    said = score_development(training())
    assert f"development Dice {100 * development_score(training()):.1f} after 2 steps" in said
    path = training().folder / "development.csv"
    assert set(pd.read_csv(path)["case_id"]) == {case.case_id for case in training().study.development}
    path.write_text("case_id,subject_id,dice\na,x,0.2\nb,x,0.4\nc,y,0.9\n")
    assert development_score(training()) == pytest.approx(0.6)
    path.write_text("case_id,subject_id,dice,hd95\na,x,0.2,8\nb,y,0.4,\nc,y,0.9,2\n")
    assert development_score(training(PLAN.model_copy(update={"primary": "hd95"}))) == pytest.approx(5.0)


def test_examples_go_from_small_to_large_lesions_each_at_its_largest_slice(tmp_path):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=3, n_subjects=8)
    plan = PLAN.model_dump() | {"arms": {"real": {}}, "baseline": "real", "synthesizers": {}, "arm": None}
    plan["subjects"] = {"train": 0.3, "development": 0.2, "test": 0.5, "numbers": [1]}
    arms = make_arms(Plan.model_validate(plan | {"examples": 3}), cohort, {}, tmp_path / "out")
    for case in arms.test:
        predictions = arms.repeat(1, 3).training("real", 2).folder / "predictions"
        predictions.mkdir(parents=True, exist_ok=True)
        shutil.copy(case.label, predictions / case.label.name)
        shutil.copy(case.label, predictions / f"{case.case_id}.1.nii.gz")
    found = examples(arms, steps=2)
    labels = {case.case_id: read_label(case.label)[0] > 0 for case in arms.test}
    shown = [labels[example["title"]] for example in found]
    assert [label.sum() for label in shown] == sorted(label.sum() for label in shown)
    assert {len({*labels}), len(found)} == {4, 3}
    for example, label in zip(found, shown, strict=True):
        assert (example["truth"] > 0).sum() == label.sum(axis=(0, 1)).max()
        assert np.array_equal(example["predictions"]["real"], example["truth"])
