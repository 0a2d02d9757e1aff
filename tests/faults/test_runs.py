"""Runs that are resumed with something else, started twice, or meet a full disk or a damaged file."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch

from lesionforge import files
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.errors import CohortError, ConfigError, ModelError, OutputError
from lesionforge.masks.bank import MaskBank
from lesionforge.masks.given import GivenMasks
from lesionforge.synthesizers.training_free.copy_paste import CopyPaste
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training import model_folder
from lesionforge.training.callbacks import checkpoint
from lesionforge.training.callbacks.checkpoint import CHECKPOINT
from lesionforge.training.loop import fit
from lesionforge.training.model_folder import read_info
from tests.faults.test_workers import environment, until
from tests.helpers import tiny_cohort, write_array
from tests.synthesizers.folders import contents, synthesize
from tests.synthesizers.models import fit_library, untrained_pix2pix
from tests.training.runs import Numbers, Recorder, fit_pix2pix, fit_segmentation, interrupt, read_checkpoint, training

DIMS = [2, 3]
SHAPE = {2: (32, 32), 3: (24, 24, 24)}
FITS = {"pix2pix": fit_pix2pix, "segmentation": fit_segmentation}


def cohort_of(folder, dims, **options):
    return tiny_cohort(folder, spatial_dims=dims, n_subjects=4, shape=SHAPE[dims], **options)


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


# A checkpoint is whole or the one before


class DiskFull(OSError):
    def __init__(self):
        super().__init__(28, "No space left on device")


@pytest.fixture
def full_disk(monkeypatch):
    """Return a function after which every file ends in the middle, as on a full disk."""
    write = Path.write_bytes

    def fill(name):
        def write_half(path, content):
            if path.name.endswith(name):
                write(path, bytes(content)[: len(content) // 2])
                raise DiskFull
            return write(path, content)

        monkeypatch.setattr(Path, "write_bytes", write_half)

    return fill


@pytest.mark.parametrize("kill", [False, True])
def test_a_checkpoint_that_is_cut_off_leaves_the_one_before(kill, tmp_path, monkeypatch):
    """Whether the disk is full or the process is gone before the rename."""
    out, whole = tmp_path / "run", Recorder()
    fit(whole, Numbers(), out=tmp_path / "whole", config=training(steps=8))
    write, calls = checkpoint.write_bytes, []

    def cut_off(path, content):
        calls.append(path)
        if len(calls) < 3:
            return write(path, content)
        if kill:
            path.with_name(f".{os.getpid() + 1}.partial.{path.name}").write_bytes(bytes(content)[:100])
            raise KeyboardInterrupt
        raise DiskFull

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_bytes", cut_off)
        with pytest.raises(KeyboardInterrupt if kill else OSError):
            fit(Recorder(), Numbers(), out=out, config=training(steps=8))
    assert {path.parent for path in calls} == {(out / CHECKPOINT).parent}
    assert read_checkpoint(out)["epoch"] == 1
    resumed = Recorder()
    assert fit(resumed, Numbers(), out=out, config=training(steps=8), resume=True) == 8
    assert torch.equal(resumed.weight, whole.weight)
    assert [path.name for path in (out / CHECKPOINT).parent.iterdir()] == [CHECKPOINT.name]


def test_a_checkpoint_never_passes_through_the_folder_for_temporary_files(tmp_path, monkeypatch):
    nowhere = tmp_path / "nowhere"
    monkeypatch.setenv("TMPDIR", str(nowhere))
    monkeypatch.setattr("tempfile.tempdir", str(nowhere))
    fit(Recorder(), Numbers(), out=tmp_path / "run", config=training(steps=2))
    assert read_checkpoint(tmp_path / "run")["epoch"] == 0


def test_a_full_disk_is_told_with_the_file_and_the_run_begins_anew(tmp_path, full_disk, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        full_disk("last.ckpt")
        with pytest.raises(OSError, match="No space") as caught:
            fit(Recorder(), Numbers(), out=out, config=training(steps=2))
        assert caught.value.filename == str(out / CHECKPOINT)
        patch.undo()
    monkeypatch.undo()
    assert (out / "metrics.csv").is_file()
    assert fit(Recorder(), Numbers(), out=out, config=training(steps=2)) == 2
    fit(Recorder(), Numbers(), out=tmp_path / "whole", config=training(steps=2))
    names = {name for name in contents(tmp_path / "whole") if name != str(CHECKPOINT)}
    assert {name: contents(out)[name] for name in names} == {name: contents(tmp_path / "whole")[name] for name in names}
    assert set(contents(out)) == set(contents(tmp_path / "whole"))


def test_files_of_others_are_never_taken_for_those_of_a_run_that_died(tmp_path):
    """Even where they have the names of a run's, and however often it is tried."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "metrics.csv").write_text("precious")
    for resume in (False, False, True):
        with pytest.raises(OutputError, match="not empty"):
            fit(Recorder(), Numbers(), out=mine, config=training(steps=2), resume=resume)
    assert [path.name for path in mine.iterdir()] == ["metrics.csv"]
    assert (mine / "metrics.csv").read_text() == "precious"


@pytest.mark.parametrize("damage", ["a byte", "no epoch", "a list", "text"])
def test_a_damaged_checkpoint_is_never_gone_on_from(damage, tmp_path):
    out = tmp_path / "run"
    fit(Recorder(), Numbers(), out=out, config=training(steps=2))
    path = out / CHECKPOINT
    if damage == "a byte":
        content, value = bytearray(path.read_bytes()), read_checkpoint(out)["state_dict"]["weight"].numpy().tobytes()
        assert content.count(value) >= 1
        content[content.index(value)] ^= 1
        path.write_bytes(content)
    elif damage == "text":
        path.write_text("half a checkpoint")
    else:
        torch.save([1] if damage == "a list" else {"state_dict": {}}, path)
    with pytest.raises(ModelError, match="is damaged") as caught:
        fit(Recorder(), Numbers(), out=out, config=training(steps=4), resume=True)
    one_line(caught)


def test_a_row_of_the_log_that_was_cut_off_is_made_again(tmp_path, monkeypatch):
    out = tmp_path / "run"
    fit(Recorder(), Numbers(), out=tmp_path / "whole", config=training(steps=8))
    interrupt(monkeypatch, lambda: fit(Recorder(), Numbers(), out=out, config=training(steps=8)), epoch=2)
    log = out / "metrics.csv"
    log.write_bytes(log.read_bytes()[:-3])
    rows = log.read_text().count("\n")
    fit(Recorder(), Numbers(), out=out, config=training(steps=8), resume=True)
    assert log.read_text().count("\n") >= rows
    assert all(line.count(",") == 2 for line in log.read_text().splitlines())


# A run goes on with what it was begun with


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("method", FITS)
def test_a_run_is_not_resumed_on_other_cases(method, spatial_dims, tmp_path):
    cohort = cohort_of(tmp_path / "c", spatial_dims)
    some, others = (cohort.with_cases(cohort.cases[part]) for part in (slice(2), slice(2, 4)))
    out = tmp_path / "run"
    FITS[method](some, out, spatial_dims, steps=2)
    before = contents(out)
    for now in (others, cohort, cohort.with_cases(cohort.cases[:1])):
        with pytest.raises(ConfigError, match="was started on other cases") as caught:
            FITS[method](now, out, spatial_dims, steps=4, resume=True)
        one_line(caught)
    renamed = some.with_cases([replace(case, subject_id=f"other_{case.subject_id}") for case in some])
    with pytest.raises(ConfigError, match="other subjects"):
        FITS[method](renamed, out, spatial_dims, steps=2, resume=True)
    assert contents(out) == before
    assert read_info(out).training_subjects == ("sub_00", "sub_01")


@pytest.mark.parametrize("what", ["images", "label"])
def test_a_run_is_not_resumed_on_other_images_or_labels_of_the_same_names(what, tmp_path):
    cohort, other = cohort_of(tmp_path / "a", 2), cohort_of(tmp_path / "b", 2, seed=7)
    out = tmp_path / "run"
    fit_segmentation(cohort, out, 2, steps=2)
    changed = [replace(case, **{what: getattr(there, what)}) for case, there in zip(cohort, other, strict=True)]
    with pytest.raises(ConfigError, match="other images or labels"):
        fit_segmentation(cohort.with_cases(changed), out, 2, steps=2, resume=True)
    moved = tmp_path / "moved"
    (tmp_path / "a").rename(moved)
    fit_segmentation(read_cohort(moved), out, 2, steps=2, resume=True)


def test_a_run_is_not_resumed_with_another_pretrained_network_or_share(tmp_path):
    cohort = cohort_of(tmp_path / "c", 2)
    nets = [fit_segmentation(cohort, tmp_path / f"net{seed}", 2, steps=1, seed=seed) for seed in (0, 1)]

    def tune(net, resume):
        SegmentationTask.fit(
            cohort,
            channels=cohort.channels,
            config=net.info_config,
            training=training(steps=2),
            out=tmp_path / "tuned",
            pretrained=net,
            resume=resume,
        )

    from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig

    for net in nets:
        object.__setattr__(net, "info_config", SegmentationConfig.model_validate(net.info.config))
    tune(nets[0], False)
    tune(nets[0], True)
    with pytest.raises(ConfigError, match="pretrained"):
        tune(nets[1], True)


def test_a_method_without_training_is_not_fitted_over_another_model(tmp_path):
    cohort, out = cohort_of(tmp_path / "c", 2), tmp_path / "model"
    some, others = (cohort.with_cases(cohort.cases[part]) for part in (slice(2), slice(2, 4)))

    def fit_on(cases, resume):
        options = {"channels": cases.channels, "config": {}, "training": training(steps=1)}
        return CopyPaste.fit(cases, **options, out=out, resume=resume)

    fit_on(some, False)
    before = contents(out)
    with pytest.raises(OutputError, match="`resume`"):
        fit_on(some, False)
    with pytest.raises(ConfigError, match="other cases"):
        fit_on(others, True)
    fit_on(some, True)
    assert contents(out) == before


@pytest.mark.parametrize("change", ["weights", "masks", "scan", "label"])
def test_synthesis_does_not_go_on_with_other_contents_of_the_same_names(change, tmp_path):
    cohort = cohort_of(tmp_path / "c", 2)
    model, masks, out = untrained_pix2pix(cohort), tmp_path / "masks", tmp_path / "out"
    masks.mkdir()
    for case in cohort:
        (masks / f"of_{case.label.name}").write_bytes(case.label.read_bytes())
    assert len(synthesize(model, cohort, GivenMasks(masks), out, n=4).cohort) == 4
    (out / "cases.csv").unlink()
    before = contents(out)
    if change == "weights":
        with torch.no_grad():
            next(model.generator.parameters()).add_(0.5)
    elif change == "masks":
        (masks / "of_case_000.png").write_bytes((masks / "of_case_001.png").read_bytes())
    else:
        case, other = cohort.cases[0], cohort.cases[1]
        target, source = (
            (case.label, other.label) if change == "label" else (case.images["FLAIR"], other.images["FLAIR"])
        )
        target.write_bytes(source.read_bytes())
    with pytest.raises(OutputError, match="holds") as caught:
        synthesize(model, cohort, GivenMasks(masks), out, n=4)
    one_line(caught)
    assert contents(out) == before


def test_predictions_of_other_images_are_not_kept(tmp_path):
    cohort, other = cohort_of(tmp_path / "a", 2), cohort_of(tmp_path / "b", 2, seed=7)
    task, out = fit_segmentation(cohort, tmp_path / "net", 2, steps=1), tmp_path / "found"
    some = cohort.with_cases(cohort.cases[:2])
    assert task.predict_cohort(some, out=out) == []
    before = contents(out)
    with pytest.raises(OutputError, match="another image, or another subject, with the id case_000"):
        task.predict_cohort(other, out=out)
    assert contents(out) == before
    assert task.predict_cohort(cohort, out=out) == []
    assert {f"{case.case_id}.png" for case in cohort} <= contents(out).keys()
    another = fit_segmentation(cohort, tmp_path / "net2", 2, steps=1, seed=1)
    with pytest.raises(OutputError, match="another model"):
        another.predict_cohort(cohort, out=out)


def test_an_image_that_was_repaired_is_predicted_on_the_next_start(tmp_path):
    cohort, out = cohort_of(tmp_path / "c", 2), tmp_path / "found"
    task = fit_segmentation(cohort, tmp_path / "net", 2, steps=1)
    bad = cohort.cases[0].images["FLAIR"]
    good = bad.read_bytes()
    bad.write_bytes(good[:60])
    (problem,) = task.predict_cohort(cohort, out=out)
    assert "case_000" in str(problem)
    bad.write_bytes(good)
    assert task.predict_cohort(cohort, out=out) == []
    assert (out / "case_000.png").is_file()


# Good cases train


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("method", FITS)
def test_the_good_cases_train_and_the_bad_ones_are_told(method, spatial_dims, tmp_path, monkeypatch):
    cohort = cohort_of(tmp_path / "c", spatial_dims)
    good = cohort.with_cases([cohort.cases[0], cohort.cases[3]])
    cut, gone = cohort.cases[1].images["FLAIR"], cohort.cases[2].label
    cut.write_bytes(cut.read_bytes()[:100])
    gone.unlink()
    problems = []

    def fit_all(cases, out, **options):
        import lesionforge.training.items.samples as samples

        with monkeypatch.context() as patch:
            told = lambda *args, **more: read(*args, **{**more, "on_problem": problems.append})  # noqa: E731
            read = samples.measured_cases
            for module in (
                "lesionforge.training.fitted_model",
                "lesionforge.tasks.network_task",
            ):
                patch.setattr(f"{module}.measured_cases", told)
            return FITS[method](cases, out, spatial_dims, steps=1)

    model = fit_all(cohort, tmp_path / "all")
    assert {Path(problem.where).name.split(".")[0][:8] for problem in problems} == {"case_001", "case_002"}
    assert model.info.training_cases == ("case_000", "case_003")
    FITS[method](good, tmp_path / "good", spatial_dims, steps=1)
    name = "model.safetensors"
    assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "good" / name).read_bytes()
    with pytest.raises(CohortError, match="case_001"):
        FITS[method](cohort, tmp_path / "strict", spatial_dims, steps=1)


def test_where_no_case_can_be_read_the_first_cause_is_told(tmp_path):
    cohort = cohort_of(tmp_path / "c", 2)
    for case in cohort:
        case.images["FLAIR"].write_bytes(b"")
    with pytest.raises(CohortError, match=r"none of its 4 cases can be read: 4 × .*case_000") as caught:
        fit_segmentation(cohort, tmp_path / "net", 2, steps=1)
    one_line(caught)


# The order of rows says nothing


@pytest.mark.parametrize("method", FITS)
def test_training_does_not_depend_on_the_order_of_the_rows(method, tmp_path):
    cohort = cohort_of(tmp_path / "c", 2)
    backwards = cohort.with_cases(cohort.cases[::-1])
    for name, cases in (("a", cohort), ("b", backwards)):
        FITS[method](cases, tmp_path / name, 2, steps=2)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_synthesis_does_not_depend_on_the_order_of_the_rows(tmp_path):
    cohort = cohort_of(tmp_path / "c", 2)
    backwards = cohort.with_cases(cohort.cases[::-1])
    model = untrained_pix2pix(cohort)
    for name, cases in (("a", cohort), ("b", backwards)):
        synthesize(model, cases, MaskBank(cases), tmp_path / name, n=6)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


# One process at a time


HOLD = """
import sys, time
from pathlib import Path
from lesionforge.files import alone_in
with alone_in(Path(sys.argv[1])):
    Path(sys.argv[2]).write_text("held")
    time.sleep(600)
"""


@pytest.fixture
def held(tmp_path):
    """Return a folder in which another process works, and that process."""
    folder, told = tmp_path / "out", tmp_path / "told"
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder, told], env=environment())
    try:
        until(told.is_file)
        yield folder, process
    finally:
        process.kill()
        process.wait()


def test_the_second_run_on_a_folder_is_refused_until_the_first_is_gone(held, tmp_path, monkeypatch):
    folder, process = held
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    cohort = cohort_of(tmp_path / "c", 2)
    model = untrained_pix2pix(cohort)
    starts = {
        "train": lambda: fit_segmentation(cohort, folder, 2, steps=1),
        "resume": lambda: fit_segmentation(cohort, folder, 2, steps=1, resume=True),
        "synthesize": lambda: synthesize(model, cohort, MaskBank(cohort), folder, n=2),
    }
    for start in starts.values():
        with pytest.raises(OutputError, match="another process works in this folder") as caught:
            start()
        one_line(caught)
    process.kill()
    process.wait()
    synthesize(model, cohort, MaskBank(cohort), folder, n=2)
    synthesize(model, cohort, MaskBank(cohort), tmp_path / "whole", n=2)
    assert contents(folder) == contents(tmp_path / "whole")


def test_a_lock_is_left_where_work_was_begun_and_nowhere_else(tmp_path):
    with files.alone_in(tmp_path / "new"):
        assert (tmp_path / "new" / files.LOCK).exists()
        with files.alone_in(tmp_path / "new"):
            pass
    assert not (tmp_path / "new").exists()

    def fail(folder, write):
        with files.alone_in(folder):
            if write:
                (folder / "begun").write_text("x")
            raise RuntimeError

    other = tmp_path / "other"
    other.mkdir()
    (other / "mine").write_text("x")
    for folder, write, left in ((tmp_path / "a", True, True), (tmp_path / "b", False, False), (other, True, False)):
        with pytest.raises(RuntimeError):
            fail(folder, write)
        assert (folder / files.LOCK).exists() is left
    with files.alone_in(tmp_path / "a"):
        assert files.was_unfinished(tmp_path / "a")
    with files.alone_in(other):
        assert not files.was_unfinished(other)


# Folders that are built beside


@pytest.mark.parametrize("how", [OSError, KeyboardInterrupt, "killed"])
def test_a_folder_that_is_built_appears_whole_or_not_at_all(how, tmp_path):
    folder = tmp_path / "Dataset001_New"

    def build(stop):
        with files.building(folder) as unfinished:
            (unfinished / "a").write_text("whole")
            assert not folder.exists()
            if stop == "killed":
                os._exit(9)
            if stop is not None:
                (unfinished / "stale").write_text("x")
                raise stop

    if how == "killed":
        process = get_context("fork").Process(target=build, args=(how,))
        process.start()
        process.join()
        assert process.exitcode == 9
    else:
        with pytest.raises(how):
            build(how)
    assert not folder.exists()
    build(None)
    assert {path.name for path in folder.iterdir()} == {"a"}
    assert {path.name for path in tmp_path.iterdir()} == {folder.name}
    with pytest.raises(OutputError, match="not empty"):
        build(None)


def test_an_error_while_a_folder_is_built_names_the_folder_that_was_asked_for(tmp_path):
    folder = tmp_path / "Dataset001_New"

    def build():
        with files.building(folder) as unfinished:
            raise CohortError(unfinished / "x.nii.gz", "is bad", f"look at {unfinished}")

    with pytest.raises(CohortError) as caught:
        build()
    assert str(caught.value) == f"{folder}/x.nii.gz: is bad; look at {folder}"


@pytest.mark.parametrize("name", ["image.png", "image.nii.gz", "text.json.gz"])
def test_a_file_that_a_writer_cut_off_in_silence_never_appears(name, tmp_path):
    import gzip

    path = tmp_path / name
    if name.endswith(".png"):
        write_array(path, np.random.default_rng(0).integers(0, 255, (40, 40)))
    else:
        path.write_bytes(gzip.compress(os.urandom(2000)))
    whole = path.read_bytes()
    path.unlink()
    for part in (0, 1, 30, len(whole) - 1):
        with pytest.raises(OSError, match="whole") as caught, files.atomic(path) as temporary:
            temporary.write_bytes(whole[:part])
        assert caught.value.filename == str(path)
        assert not list(tmp_path.iterdir())
    with files.atomic(path) as temporary:
        temporary.write_bytes(whole)
    assert path.read_bytes() == whole


# Model folders


def with_info(folder, change):
    path = folder / "model.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda info: info["preprocessing"].update(spacing=[0.0, 1.0]),
        lambda info: info["preprocessing"].update(spacing=[1e-6, 1e-6]),
        lambda info: info["preprocessing"].update(spacing=[float("inf"), 1.0]),
        lambda info: info["config"].update(roi_size=[1_000_000, 1_000_000]),
    ],
)
def test_a_model_that_asks_for_the_impossible_is_refused(change, tmp_path):
    cohort = cohort_of(tmp_path / "c", 2)
    fit_segmentation(cohort, tmp_path / "net", 2, steps=1)
    with_info(tmp_path / "net", change)
    with pytest.raises(ModelError, match=r"model\.json: cannot be read \(.*(spacing|roi_size)") as caught:
        SegmentationTask.load(tmp_path / "net")
    one_line(caught)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1j])
def test_weights_that_are_no_real_numbers_are_refused(value, tmp_path):
    from safetensors.torch import load_file, save_file

    cohort = cohort_of(tmp_path / "c", 2)
    fit_segmentation(cohort, tmp_path / "net", 2, steps=1)
    path = tmp_path / "net" / "model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    tensors[name] = torch.full(tensors[name].shape, value)
    save_file(tensors, path)
    with pytest.raises(ModelError, match="complex, NaN or infinite") as caught:
        SegmentationTask.load(tmp_path / "net")
    one_line(caught)


def test_a_cohort_says_what_a_resumed_benchmark_was_run_on(tmp_path):
    from lesionforge.benchmark.report.made_of import RunRecord, Source

    cohort, other = cohort_of(tmp_path / "a", 2), cohort_of(tmp_path / "b", 2, seed=7)
    out = tmp_path / "out"
    out.mkdir()
    (out / "split.json").write_text("{}")
    RunRecord(out, cohort, Source())
    RunRecord(out, cohort, Source())
    with pytest.raises(OutputError, match="other images or labels"):
        RunRecord(out, Cohort(**{**vars(other), "name": cohort.name}), Source())


# Our own error inside somebody else's


class Bad(Numbers):
    """Its third item cannot be made; MONAI says so in words of its own."""

    def __getitem__(self, draw):
        from monai.transforms import Compose, Lambda

        def fail(item):
            if draw == 2:
                raise CohortError("case_7", "has no place for a lesion", "leave it out")
            return item

        return Compose([Lambda(fail)])(super().__getitem__(draw))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_ours_gets_out_of_transforms_and_loader_processes(workers, tmp_path):
    with pytest.raises(CohortError) as caught:
        fit(Recorder(), Bad(), out=tmp_path / "run", config=training(steps=4, workers=workers))
    assert str(caught.value) == "case_7: has no place for a lesion; leave it out"


def test_only_causes_are_looked_into_and_a_ring_of_them_ends():
    from lesionforge.errors import own_error

    ours, theirs, fault = CohortError("a", "b", "c"), RuntimeError("theirs"), TypeError("a fault of the program")
    theirs.__cause__ = ours
    assert own_error(theirs) is ours
    fault.__context__ = ours
    assert own_error(fault) is None
    fault.__cause__ = fault
    assert own_error(fault) is None


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("method", ["copy_paste", "carvemix", "injection", "transformed_copy"])
@pytest.mark.parametrize("file", ["model_card.md", "model.json"])
def test_a_model_that_was_killed_before_its_last_file_is_made_anew(file, method, dims, tmp_path, monkeypatch):
    cohort = cohort_of(tmp_path / "c", dims)
    expected = fit_library(method, cohort, tmp_path / "whole").tensors()

    def stop(path, content):
        assert path.name == file
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(model_folder, "write_text" if file == "model_card.md" else "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            fit_library(method, cohort, tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").is_file()
    again = fit_library(method, cohort, tmp_path / "m").tensors()
    assert again.keys() == expected.keys()
    for name in ("model.safetensors", "model.json", "model_card.md"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_weights_of_somebody_else_are_not_cleared_away(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(OutputError, match="not empty"):
        fit_library("copy_paste", cohort_of(tmp_path / "c", 2), tmp_path / "m")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == b"precious"
