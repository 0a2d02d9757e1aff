import csv
import json
import re
import shutil
import signal

import nibabel as nib
import numpy as np
import pytest
import torch

from lesionforge.benchmark.estimate.timing import Timing
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import read_label, save_label
from lesionforge.engine.dask import DaskEngine
from lesionforge.engine.local import LocalEngine
from lesionforge.errors import ConfigError
from lesionforge.training.model_folder import read_info
from tests.cli.commands import GAN, UNET, content, error, sets, typed
from tests.helpers import tiny_cohort


def test_a_time_budget_ends_training(slices, tmp_path):
    typed("segment", "train", slices, "--out", tmp_path / "model", "--time-budget", "0.1s", *sets(UNET))
    steps = read_info(tmp_path / "model").training["steps"]
    assert 0 < steps < 5000
    assert steps % 2 == 0


@pytest.mark.parametrize("command", [["train", "pix2pix"], ["segment", "train"]], ids=" ".join)
def test_a_run_is_resumed_only_when_asked_for(slices, tmp_path, command):
    settings = sets(GAN if command[0] == "train" else UNET)
    if command[0] == "segment":
        settings += ["--set", "learning_rate=0.001"]
    start = [*command, slices, *settings]
    typed(*start, "--out", tmp_path / "run", "--steps", 2)
    assert "add --resume" in error(*start, "--out", tmp_path / "run", "--steps", 4)
    more = 4 if command[0] == "train" else 2
    typed(*start, "--out", tmp_path / "run", "--steps", more, "--resume")
    assert read_info(tmp_path / "run").training["steps"] == more


def test_a_batch_does_the_good_cases_and_lists_the_bad(gan, unet, slices, tmp_path):
    shutil.copytree(slices, tmp_path / "cohort")
    bad = tmp_path / "cohort" / "imagesTr" / "case_001_0000.png"
    bad.write_bytes(bad.read_bytes()[:100])
    options = ["--n", 5, "--masks", "ellipsoids", "--min-volume", 10]
    drawn = typed("synthesize", gan, tmp_path / "cohort", "--out", tmp_path / "drawn", *options, code=1)
    assert len(read_cohort(tmp_path / "drawn")) == 4
    found = typed("segment", "predict", unet, tmp_path / "cohort", "--out", tmp_path / "found", code=1)
    assert not (tmp_path / "found" / "case_001.png").exists()
    assert len(list((tmp_path / "found").glob("*.png"))) == 5
    for result, folder in ((drawn, "drawn"), (found, "found")):
        assert "case_001_0000.png" in result.output.splitlines()[-1]
        (row,) = csv.DictReader((tmp_path / folder / "problems.csv").open())
        assert result.output.splitlines()[-1].strip() == f"{row['where']}: {row['what']}; {row['remedy']}"


def test_segment_predict_evaluate(unet, slices, volumes, tmp_path):
    typed("segment", "predict", unet, slices, "--out", tmp_path / "found")
    before = content(tmp_path / "found")
    assert len(before) == len(read_cohort(slices)) + 1
    typed("segment", "predict", unet, slices, "--out", tmp_path / "found")
    assert content(tmp_path / "found") == before
    result = typed("evaluate", tmp_path / "found", slices, "--out", tmp_path / "scores.csv")
    assert "5 of 5 cases scored" in result.output
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 6
    (tmp_path / "found" / "case_000.png").unlink()
    result = typed("evaluate", tmp_path / "found", slices, code=1)
    assert "4 of 5 cases scored" in result.output
    assert "case_000: " in result.output
    typed("segment", "predict", unet, volumes, "--out", tmp_path / "volumes")
    for case in read_cohort(volumes):
        label, affine = read_label(tmp_path / "volumes" / f"{case.case_id}.nii.gz")
        image = nib.load(case.images["FLAIR"])
        assert label.shape == image.shape
        assert np.allclose(affine, image.affine)


def test_perfect_predictions_have_full_marks(slices, tmp_path):
    (tmp_path / "cases.txt").write_text("case_000 case_001")
    result = typed("evaluate", slices / "labelsTr", slices, "--cases", tmp_path / "cases.txt")
    assert "Dice: mean 100.0 points, median 100.0" in result.output
    assert "HD95: mean 0.0 mm, median 0.0" in result.output
    assert "nan" not in result.output


def test_precision_and_recall_over_images_are_told_on_request(slices, tmp_path):
    """One lesion is found in a corner of it only, one lesion-free slice has a false alarm."""
    shutil.copytree(slices / "labelsTr", tmp_path / "found")
    (tmp_path / "cases.txt").write_text("case_000 case_001 case_004")
    for case_id, keep in (("case_001", 12), ("case_004", 900)):
        path = tmp_path / "found" / f"{case_id}.png"
        label, affine = read_label(path)
        voxels = np.argwhere(label > 0) if label.any() else np.argwhere(label == 0)
        label[:] = 0
        label[tuple(voxels[:keep].T)] = 1
        save_label(path, label, affine)
    start = ["evaluate", tmp_path / "found", slices, "--cases", tmp_path / "cases.txt"]
    assert "Precision" not in typed(*start).output
    missed = typed(*start, "--noise-filter", "missed", "--out", tmp_path / "scores.csv").output
    assert "Precision over all images, noise filtered: 50.0 points, recall: 50.0" in missed
    assert "recall: 100.0" in typed(*start, "--noise-filter", "ignored").output
    rows = {row["case_id"]: row for row in csv.DictReader((tmp_path / "scores.csv").open())}
    assert [rows[f"case_{n}"]["image_misses"] for n in ("000", "001", "004")] == ["0", "1", "0"]
    assert [rows[f"case_{n}"]["image_false_alarms"] for n in ("000", "001", "004")] == ["0", "0", "1"]


def keep(folder, cohort, found):
    """Write the labels of the cases of which ``found`` is true; predictions of nothing for the others."""
    for case in read_cohort(cohort).annotated():
        label, affine = read_label(case.label)
        save_label(folder / case.label.name, label if found(case.case_id) else 0 * label, affine)


def test_predictions_of_nothing_are_told(slices, tmp_path):
    with_lesions = len(read_cohort(slices).with_lesions())
    keep(tmp_path / "none", slices, lambda case_id: False)
    output = typed("evaluate", tmp_path / "none", slices).output
    assert "The predictions found nothing: the mean Dice of cases with lesions is below 1.0 points" in output
    assert f"HD95: no HD95 in {with_lesions} of {with_lesions} cases with lesions" in output
    keep(tmp_path / "one", slices, lambda case_id: case_id == "case_000")
    output = typed("evaluate", tmp_path / "one", slices).output
    assert "found nothing" not in output
    missing = f"no HD95 in {with_lesions - 1} of {with_lesions} cases with lesions"
    assert f"HD95: mean 0.0 mm, median 0.0; {missing}" in output


def test_a_class_that_is_not_found_is_told(volumes, tmp_path):
    labels = read_cohort(volumes).labels
    for case in read_cohort(volumes):
        label, affine = read_label(case.label)
        save_label(tmp_path / "found" / case.label.name, np.where(label == labels["core"], 0, label), affine)
    output = typed("evaluate", tmp_path / "found", volumes).output
    assert re.search(r"HD95 of core: no HD95 of core in (\d) of \1 cases with core", output)
    assert "no HD95 in" not in output


def test_false_alarms_in_lesion_free_cases_are_not_called_nothing(slices, tmp_path):
    (free,) = read_cohort(slices).healthy()
    label, affine = read_label(free.label)
    save_label(tmp_path / "found" / free.label.name, label + 1, affine)
    (tmp_path / "cases.txt").write_text(free.case_id)
    output = typed("evaluate", tmp_path / "found", slices, "--cases", tmp_path / "cases.txt").output
    assert "False-alarm rate: mean 100.0" in output
    assert "found nothing" not in output


def test_both_averagings_of_several_classes_are_told(volumes, tmp_path):
    (tmp_path / "cases.txt").write_text("case_000 case_001")
    output = typed("evaluate", volumes / "labelsTr", volumes, "--cases", tmp_path / "cases.txt").output
    assert "Dice per image: mean 100.0 points" in output
    assert "Dice per image of core: mean 100.0 points" in output
    assert "Dice per image, the mean over classes of their means: 100.0 points" in output


def test_distances_within_slices_leave_the_slice_axis_out(volumes, tmp_path):
    for case in read_cohort(volumes):
        label, affine = read_label(case.label)
        label[..., 1:] = np.maximum(label[..., 1:], label[..., :-1])
        save_label(tmp_path / "found" / case.label.name, label, affine)
    shown = [typed("evaluate", tmp_path / "found", volumes, *option).output for option in ([], ["--in-plane"])]
    within, across = (float(re.search(r"^HD95: mean ([\d.]+) mm", text, re.MULTILINE)[1]) for text in shown)
    assert within != across


def test_a_cohort_without_the_channels_of_a_model_is_refused(unet, tmp_path):
    tiny_cohort(tmp_path / "other", spatial_dims=2, n_subjects=2, channels=("CT",))
    message = error("segment", "predict", unet, tmp_path / "other", "--out", tmp_path / "found")
    assert "has no channel 'FLAIR'" in message
    assert not (tmp_path / "found").exists()


def test_a_synthetic_cohort_is_mixed_into_training(gan, slices, volumes, tmp_path):
    drawn = tmp_path / "drawn"
    typed("synthesize", gan, slices, "--out", drawn, "--n", 3, "--masks", "bank", "--min-volume", 10, "--role", "pool")
    options = ["--with", drawn, "--role", "pool", "--steps", 2, *sets(UNET)]
    for name, share in (("model", 0.5), ("synthetic", 1)):
        typed("segment", "train", slices, "--out", tmp_path / name, "--share", share, *options)
    half, alone = (torch_file(tmp_path / name) for name in ("model", "synthetic"))
    assert any(not torch.equal(half[name], alone[name]) for name in half)
    info = read_info(tmp_path / "model")
    assert {case.case_id for case in read_cohort(drawn)} < set(info.training_cases)
    assert set(read_info(gan).training_subjects) <= set(info.training_subjects)
    message = error("segment", "train", volumes, "--with", drawn, "--out", tmp_path / "no", "--channels", "FLAIR")
    assert "has other lesion classes than Volumes" in message


def test_predictions_of_two_models_are_not_mixed(unet, slices, tmp_path):
    typed("segment", "train", slices, "--out", tmp_path / "other", "--steps", 2, "--seed", 1, *sets(UNET))
    typed("segment", "predict", unet, slices, "--out", tmp_path / "found", "--subjects", 1)
    message = error("segment", "predict", tmp_path / "other", slices, "--out", tmp_path / "found")
    assert "holds the predictions of another model" in message


def test_cases_of_unknown_annotation_alone_are_no_training_truth(tmp_path):
    tiny_cohort(tmp_path / "unknown", spatial_dims=2, n_subjects=2, n_unknown=2)
    message = error("segment", "train", tmp_path / "unknown", "--out", tmp_path / "out")
    assert "has no annotated case" in message


@pytest.fixture
def listens_to_ctrl_c():
    """A process that was started in the background does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_during_training_keeps_the_checkpoint(slices, tmp_path, monkeypatch, listens_to_ctrl_c):
    from lesionforge.tasks.segmentation.segmentation_module import SegmentationModule

    step = SegmentationModule.training_step

    def stopped(self, batch, batch_index):
        if self.current_epoch == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationModule, "training_step", stopped)
        start = ["segment", "train", slices, "--out", tmp_path / "run", "--steps", 8, *sets(UNET)]
        result = typed(*start, code=130)
    assert "there was no checkpoint yet, so the same command starts from the beginning" in result.stderr
    assert signal.getsignal(signal.SIGINT) is listens_to_ctrl_c
    assert not (tmp_path / "run" / "model.json").exists()
    typed(*start, "--resume")
    typed(*start[:3], "--out", tmp_path / "whole", *start[5:])
    stopped_run, whole = (torch_file(tmp_path / name) for name in ("run", "whole"))
    assert all(torch.equal(stopped_run[name], whole[name]) for name in whole)


def torch_file(folder):
    from lesionforge.training.model_folder import read_tensors

    return read_tensors(folder)


def test_training_says_how_far_it_is_where_no_bar_can_be_drawn(slices, tmp_path, monkeypatch):
    from lesionforge.training.callbacks import step_bar

    monkeypatch.setattr(step_bar.PlainProgress.__init__, "__kwdefaults__", {"batches": 1, "seconds": 0.0})
    result = typed("segment", "train", slices, "--out", tmp_path / "run", "--steps", 5, *sets(UNET))
    lines = [line for line in result.stderr.splitlines() if line.startswith("run: step")]
    assert [int(re.search(r"step (\d+) of 5, ", line)[1]) for line in lines] == [1, 2, 3, 4, 5]
    assert all(re.search(r" min, loss \d", line) for line in lines[1:])


@pytest.mark.parametrize("seed", [0, 4])
def test_the_seed_of_the_demo_is_that_of_its_cohort(tmp_path, monkeypatch, seed):
    def simulate(folder, *, n_subjects, seed, workers):
        raise ConfigError("seed", str(seed), "stop")

    monkeypatch.setattr("lesionforge.benchmark.demo.make_template_cohort", simulate)
    assert error("demo", "--out", tmp_path / "demo", "--seed", seed) == f"error: seed: {seed}; stop"


@pytest.mark.parametrize(
    ("options", "learning_rate"),
    [
        ([], None),
        (["--tune-baseline"], (1 / 3, 3.0)),
        (["--tune-baseline", "--set", "tune.learning_rate=[2.0]"], (2.0,)),
        (["--set", "tune.learning_rate=[2.0]"], (2.0,)),
    ],
)
def test_the_search_for_the_best_baseline_is_asked_for_by_flag_or_plan(
    slices, tmp_path, monkeypatch, options, learning_rate
):
    asked = []
    monkeypatch.setattr("lesionforge.benchmark.run.run_benchmark", lambda plan, *_, **__: asked.append(plan) or "")
    plan = tmp_path / "plan.yaml"
    plan.write_text("{arms: {real: {}}, baseline: real, training: {batch_size: 4}}")
    typed("benchmark", plan, "--data", slices, "--out", tmp_path / "out", *options)
    tune = asked[0].tune
    assert (tune and tune.learning_rate) == learning_rate
    assert tune is None or tune.augment == ("none", "classical", "ct")


@pytest.mark.slow
def test_a_dry_run_says_what_a_benchmark_takes_and_writes_nothing(slices, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "subjects: {train: pool, development: final, test: final, numbers: [2]}\n"
        "task: {filters: [4, 8], res_units: 0, roi_size: [32, 32]}\n"
        "training: {steps: 1000, batch_size: 2, device: cpu}\n"
        "seeds: [0]\ncontrol: {max_steps: 4000}\narms: {real: {augment: none}}\nbaseline: real\n"
    )
    before, out = content(tmp_path), tmp_path / "out"
    said = typed("benchmark", plan, "--data", slices, "--out", out, "--dry-run").output
    assert content(tmp_path) == before
    assert not out.exists()
    last = said.strip().splitlines()[-1]
    assert re.match(r"6,000 to 14,000 steps in all: about [\d.]+ to [\d.]+ \w+ on this machine with 1 worker", last)
    assert all(length in said for length in ("1,000", "2,000", "4,000"))


def test_a_dry_run_says_which_arms_are_left_out_and_why(slices, tmp_path, monkeypatch):
    timing = Timing(seconds=1, around=0, images=2, parameters=1, memory=1)
    monkeypatch.setattr(
        "lesionforge.benchmark.estimate.dry_run.time_units", lambda _, units, **__: dict.fromkeys(units, timing)
    )
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "subjects: {folds: 5, numbers: [1, 3]}\ntask: {filters: [4, 8], res_units: 0, roi_size: [32, 32]}\n"
        "training: {steps: 10, batch_size: 2, device: cpu}\nseeds: [0]\n"
        "synthesizers: {mixed: {method: carvemix}}\n"
        "arms: {real: {}, mixed: {synthesizer: mixed, use: on_the_fly}}\nbaseline: real\n"
    )
    said = typed("benchmark", plan, "--data", slices, "--out", tmp_path / "out", "--dry-run").output
    line = "mixed is left out at n = 1: carvemix needs 2 training cases with a lesion, but there is"
    assert said.count(line) == 1
    assert "mixed is left out at n = 3" not in said


PLAN = """
channels: [FLAIR]
subjects: {train: 0.5, development: 0.17, test: 0.33, numbers: [2]}
task: {filters: [4, 8], res_units: 0, roi_size: [32, 32]}
training: {steps: 2, batch_size: 2, epoch_steps: 2}
seeds: [0]
arms: {real: {}, plain: {augment: none}}
baseline: real
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path / "plan.yaml"


@pytest.mark.parametrize(
    ("options", "kind", "workers", "scheduler"),
    [
        ([], LocalEngine, 1, None),
        (["--workers", 3], LocalEngine, 3, None),
        (["--engine", "dask", "--workers", 2], DaskEngine, 2, None),
        (["--engine", "dask", "--scheduler", "tcp://n:1"], DaskEngine, 1, "tcp://n:1"),
    ],
)
def test_jobs_run_where_the_options_say(slices, plan, tmp_path, monkeypatch, options, kind, workers, scheduler):
    asked = []
    monkeypatch.setattr("lesionforge.benchmark.run.run_benchmark", lambda *_, engine, **__: asked.append(engine) or "")
    (tmp_path / "out").mkdir()
    typed("benchmark", plan, "--data", slices, "--out", tmp_path / "out", *options)
    (engine,) = asked
    assert (type(engine), engine.workers, getattr(engine, "scheduler", None)) == (kind, workers, scheduler)


def test_a_scheduler_is_dasks(slices, plan, tmp_path):
    said = error("benchmark", plan, "--data", slices, "--out", tmp_path / "out", "--scheduler", "tcp://n:1")
    assert "add --engine dask" in said


@pytest.mark.slow
def test_single_jobs_and_then_the_benchmark_give_what_the_benchmark_alone_gives(slices, plan, tmp_path):
    start = ["benchmark", plan, "--data", slices]
    one, whole = tmp_path / "one", tmp_path / "whole"
    typed(*start, "--out", whole)
    listed = [line.split() for line in typed(*start, "--out", one, "--list-jobs").output.splitlines()]
    assert not one.exists()
    assert {state for state, *_ in listed} == {"left"}
    jobs = [name for _, name, *_ in listed]
    scores = next(name for name in jobs if name.endswith("results.csv"))
    needed = scores.replace("results.csv", "model.json")
    assert f"{needed}, which is not done" in error(*start, "--out", one, "--job", scores)
    assert "is not known so far" in error(*start, "--out", one, "--job", "nothing")
    for name in (needed, scores):
        typed(*start, "--out", one, "--job", name)
    assert "is done" in typed(*start, "--out", one, "--job", scores).output
    again = typed(*start, "--out", one, "--list-jobs").output.splitlines()
    assert {line.split()[1] for line in again if line.startswith("done")} == {needed, scores}
    typed(*start, "--out", one)
    assert (one / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    assert typed("status", one).output.strip() == f"{len(jobs)} done, 0 running, 0 failed, 0 left"


def test_status_tells_what_failed_and_what_is_left(slices, plan, tmp_path):
    out = tmp_path / "out"
    typed("benchmark", plan, "--data", slices, "--out", out)
    gone = next(out.glob("runs/n2/seed0/arms/plain_2/results.csv"))
    gone.unlink()
    name = gone.relative_to(out / "runs").as_posix()
    assert typed("status", out).output.startswith(f"{len(content_of_jobs(out)) - 1} done, 0 running, 0 failed, 1 left")
    assert f"left  {name}" in typed("status", out, "--all").output
    record = json.loads((out / "jobs.json").read_text())
    (out / "jobs.json").write_text(json.dumps(record | {"failed": {name: "scan.png: is damaged; restore it"}}))
    assert f"failed  {name}: scan.png: is damaged; restore it" in typed("status", out).output
    (out / "jobs.json").write_text("[]")
    assert "does not list the jobs" in error("status", out)
    assert "name the folder of a benchmark" in error("status", tmp_path)


def content_of_jobs(out):
    return json.loads((out / "jobs.json").read_text())["jobs"]
