"""Lesions in the patches of nnU-Net itself; without the extra ``nnunet`` only what needs no nnU-Net is tested."""

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lesionforge import export_cohorts, read_cohort
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.errors import CohortError, ConfigError, LeakError, ModelError
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.nnunet import EPOCHS, MODEL, PROB, TRAINER, TRAINERS
from lesionforge.production.nnunet.axes import axes_of, to_nnunet
from lesionforge.production.nnunet.intensities import normalisation
from lesionforge.synthesizers.registry import load_synthesizer
from tests.cli.commands import typed
from tests.helpers import tiny_cohort
from tests.synthesizers.models import fit_library, train_pix2pix

NAME = "Dataset201_Mixed"
REGION = 1
TURNED = np.array([[-2.0, 0, 0, 10], [0, 0, 2.0, 5], [0, -3.0, 0, 7], [0, 0, 0, 1]])
"""Axes to the left, down and to the front; the second one has the largest spacing."""


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned") / "c"
    return tiny_cohort(folder, spatial_dims=3, n_subjects=6, affine=TURNED, shape=(40, 16, 48))


PATCHES = {"2d": (32, 32), "3d_fullres": (16, 32, 32)}


def preprocess(root, cohort, configurations):
    """Let nnU-Net check, plan and preprocess a cohort, for networks that are as small as can be."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    export_cohorts([cohort], root / "nnUNet_raw" / NAME, method="nnunet", folds=3)
    api.extract_fingerprints([201], num_processes=1, check_dataset_integrity=True, verbose=False)
    api.plan_experiments([201])
    file = root / "nnUNet_preprocessed" / NAME / "nnUNetPlans.json"
    plans = json.loads(file.read_text())
    for configuration in configurations:
        own, patch, stages = plans["configurations"][configuration], PATCHES[configuration], 3
        own.update(patch_size=list(patch), batch_size=2)
        own["architecture"]["arch_kwargs"].update(
            n_stages=stages,
            features_per_stage=[4] * stages,
            kernel_sizes=[[3] * len(patch)] * stages,
            strides=[[1] * len(patch), *[[2] * len(patch)] * (stages - 1)],
            n_conv_per_stage=[1] * stages,
            n_conv_per_stage_decoder=[1] * (stages - 1),
        )
    file.write_text(json.dumps(plans))
    api.preprocess([201], configurations=configurations, num_processes=[1] * len(configurations), verbose=False)


class Prepared:
    """A dataset that nnU-Net has preprocessed, one of its configurations, and a model fitted on the first fold."""

    def __init__(self, root, configuration):
        self.root, self.configuration = root, configuration
        self.cohort = read_cohort(root / "nnUNet_raw" / NAME)
        self.folder = root / "nnUNet_preprocessed" / NAME
        (self.fold, *_) = json.loads((self.folder / "splits_final.json").read_text())
        self.model, dims = root / f"model_{configuration}", len(PATCHES[configuration])
        fit_library("copy_paste", self.cohort.subset(self.fold["train"]), self.model, spatial_dims=dims)

    def trainer(self, name=TRAINER, fold=0):
        from nnunetv2.run.run_training import get_trainer_from_args

        made = get_trainer_from_args("201", self.configuration, fold, name, device=torch.device("cpu"))
        made.initialize()
        return made


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    monkeypatch.setenv("nnUNet_compile", "f")
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    monkeypatch.delenv(MODEL, raising=False)
    monkeypatch.delenv(PROB, raising=False)
    monkeypatch.delenv(EPOCHS, raising=False)


def roots(root, patched):
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (root / name).mkdir(exist_ok=True)
        patched.setenv(name, str(root / name))


@pytest.fixture(scope="module")
def datasets(turned, tmp_path_factory):
    """The roots of nnU-Net's folders for slices and for volumes."""
    pytest.importorskip("nnunetv2")
    flat = tmp_path_factory.mktemp("flat") / "c"
    tiny_cohort(flat, spatial_dims=2, n_subjects=6)
    volumes = turned.cases[0].images["FLAIR"].parents[1]
    made = {}
    for kind, cohort, configurations in (("slices", flat, ["2d"]), ("volumes", volumes, list(PATCHES))):
        made[kind] = tmp_path_factory.mktemp(kind)
        with pytest.MonkeyPatch.context() as patched:
            roots(made[kind], patched)
            preprocess(made[kind], cohort, configurations)
    return made


@pytest.fixture(scope="module", params=["slices 2d", "volumes 2d", "volumes 3d_fullres"])
def prepared(request, datasets):
    kind, configuration = request.param.split()
    with pytest.MonkeyPatch.context() as patched:
        roots(datasets[kind], patched)
        yield Prepared(datasets[kind], configuration)


def loader(trainer):
    """Return the data loader of the training patches."""
    train, _ = trainer.get_dataloaders()
    return train.data_loader


def batches(trainer, count=3):
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    dealt, _ = trainer.get_dataloaders()
    return [next(dealt) for _ in range(count)]


class Watched:
    """A transform that keeps the patch before and after it."""

    def __init__(self, draw):
        self.draw, self.seen = draw, []

    def __call__(self, image, segmentation):
        before = image.numpy().copy(), *segmentation.numpy().copy()
        after = self.draw(image=image, segmentation=segmentation)
        self.seen.append((*before, after["image"].numpy(), after["segmentation"].numpy()[0]))
        return after


@pytest.mark.slow
def test_lesions_are_drawn_with_the_probability_and_where_they_may_lie(prepared, monkeypatch):
    monkeypatch.setenv(MODEL, str(prepared.model))
    monkeypatch.setenv(PROB, "0.5")
    dealt = loader(prepared.trainer())
    watched = Watched(dealt.transforms.transforms[0])
    dealt.transforms = watched
    for _ in range(60):
        next(dealt)
    possible = drawn = 0
    for image, seg, place, new, classes in watched.seen:
        changed, relabelled = (new != image).any(axis=0), classes != seg
        possible += (place & REGION > 0)[seg == 0].mean() > 0.3
        drawn += relabelled.any()
        assert (place[relabelled] & REGION > 0).all()
        assert (seg[changed | relabelled] >= 0).all()
        assert (classes[relabelled] > 0).all()
        assert not relabelled.any() or changed[relabelled].mean() > 0.9
        assert np.abs(new[:, changed]).max(initial=0) < 10
    assert possible > 40
    assert 0.3 < drawn / len(watched.seen) < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("method", ["carvemix", "pix2pix"])
def test_every_kind_of_method_draws(method, prepared, monkeypatch, tmp_path):
    """One that brings its own label, and a network, which also sees patches of odd sizes."""
    train, dims = prepared.cohort.subset(prepared.fold["train"]), len(PATCHES[prepared.configuration])
    if method == "carvemix":
        fit_library(method, train, tmp_path / "model", spatial_dims=dims)
    else:
        train_pix2pix(train, tmp_path / "model", spatial_dims=dims)
    monkeypatch.setenv(MODEL, str(tmp_path / "model"))
    monkeypatch.setenv(PROB, "1")
    dealt = loader(prepared.trainer())
    watched = Watched(dealt.transforms.transforms[0])
    dealt.transforms = watched
    for _ in range(10):
        next(dealt)
    assert sum((classes != seg).any() for _, seg, _, _, classes in watched.seen) >= 5
    for image, seg, _, new, classes in watched.seen:
        assert np.isfinite(new).all()
        assert (new[:, seg < 0] == image[:, seg < 0]).all()
        assert set(np.unique(classes)) <= {-1, 0, 1}


@pytest.mark.slow
def test_probability_0_gives_the_bytes_of_nnunet(prepared, monkeypatch):
    monkeypatch.setenv(PROB, "0")
    for ours, theirs in zip(batches(prepared.trainer()), batches(prepared.trainer("nnUNetTrainer")), strict=True):
        assert list(ours["keys"]) == list(theirs["keys"])
        assert torch.equal(ours["data"], theirs["data"])
        assert all(torch.equal(one, other) for one, other in zip(ours["target"], theirs["target"], strict=True))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(prepared, monkeypatch):
    monkeypatch.setenv(MODEL, str(prepared.model))
    for one, other in zip(batches(prepared.trainer()), batches(prepared.trainer()), strict=True):
        assert torch.equal(one["data"], other["data"])


@pytest.mark.slow
def test_loader_processes_draw_too(prepared, monkeypatch):
    monkeypatch.setenv(MODEL, str(prepared.model))
    monkeypatch.setenv(PROB, "1")
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    train, held_out = prepared.trainer().get_dataloaders()
    try:
        assert sum(int((next(train)["target"][0] > 0).any()) for _ in range(4)) > 0
    finally:
        for loader in (train, held_out):
            loader._finish()


@pytest.mark.slow
def test_a_patch_is_what_the_model_sees_of_the_scan(prepared, monkeypatch):
    """Region, classes and intensities of whole preprocessed cases, turned back, are those of the files."""
    from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd

    monkeypatch.setenv(MODEL, str(prepared.model))
    dealt = loader(prepared.trainer())
    model = load_synthesizer(prepared.model, device="cpu").info.preprocessing
    for identifier in prepared.fold["train"]:
        data, seg, place, properties = dealt._data.load_case(identifier)
        scan = with_region(load_scan(prepared.cohort[identifier], model.channels))
        box = [ends[0] for ends in properties["bbox_used_for_cropping"]]
        whole = [[-start, -start + size] for start, size in zip(box, properties["shape_before_cropping"], strict=True)]
        image, seg, place = (
            crop_and_pad_nd(array, whole, value) for array, value in ((data, 0), (seg, -1), (place, -1))
        )
        space, true = dealt._data.spaces[identifier], model.forward(scan)
        if prepared.configuration == "3d_fullres" or scan.spatial_dims == 2:
            flat = (slice(None), *([0] if scan.spatial_dims == 2 else []))
            same(space.sample(image[flat], seg[0][flat[1:]], place[flat[1:]]), true)
            continue
        for cut, expected in zip(range(image.shape[1]), ordered(space, true), strict=True):
            found = space.sample(image[:, cut], seg[0, cut], place[cut])
            same(found, expected)
            if (place[cut] >= 0).any():
                assert found.height == pytest.approx(expected.height)


def ordered(space, true):
    """Return the slices of a sample in nnU-Net's order."""
    slices = true.slices()
    return slices if space.heights[0] < space.heights[-1] else slices[::-1]


def same(found, expected):
    inside = expected.region
    assert found.image.shape == expected.image.shape
    assert (found.region == expected.region).all()
    assert (found.label == expected.label).all()
    assert found.spacing == pytest.approx(expected.spacing)
    assert np.allclose(found.image[:, inside], expected.image[:, inside], atol=1e-3)


@pytest.mark.slow
def test_what_was_drawn_comes_back_to_its_place(prepared, monkeypatch):
    monkeypatch.setenv(MODEL, str(prepared.model))
    dealt = loader(prepared.trainer())
    taken = []
    dealt.transforms = lambda image, segmentation: (
        taken.append((image, segmentation))
        or {
            "image": image,
            "segmentation": segmentation[:1],
        }
    )
    for _ in range(5):
        next(dealt)
        image, (seg, place) = taken[-1][0].numpy(), taken[-1][1].numpy()
        space = dealt._data.cut
        before = space.sample(image, seg, place)
        chosen = np.random.default_rng(0).random(before.label.shape) < 0.1
        raised = np.where(chosen, before.image + np.float32(0.25), before.image)
        after = before.edited(raised, np.where(chosen, 1, before.label))
        new, classes = space.drawn(image, seg, before, after)
        again = space.sample(new, classes, place)
        inside = space.axes.to_model(seg >= 0)
        assert np.allclose(again.image[:, inside], after.image[:, inside], atol=1e-4)
        assert (again.label[inside] == after.label[inside]).all()
        untouched = space.axes.to_patch(~chosen, seg.shape)
        assert (new[:, untouched] == image[:, untouched]).all()
        assert (classes[untouched] == seg[untouched]).all()
        assert (new != image).any()


@pytest.mark.slow
def test_a_model_that_saw_the_validation_fold_is_refused(prepared, monkeypatch):
    monkeypatch.setenv(MODEL, str(prepared.model))
    trainer = prepared.trainer(fold=1)
    with pytest.raises(LeakError, match="the model: was fitted on the test subject sub_0") as caught:
        trainer.get_dataloaders()
    assert "\n" not in str(caught.value)
    prepared.trainer(fold="all").get_dataloaders()


@pytest.mark.slow
def test_what_cannot_be_converted_is_refused_in_one_line(prepared, monkeypatch, tmp_path):
    trainer = prepared.trainer()
    with pytest.raises(ConfigError, match=f"{MODEL}: is not set"):
        trainer.get_dataloaders()
    monkeypatch.setenv(MODEL, str(prepared.model))
    for name, value, said in (
        (PROB, "two", "'two' is no probability"),
        ("nnUNet_raw", str(tmp_path), "does not lead to the raw dataset"),
    ):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            with pytest.raises(ConfigError, match=said):
                trainer.get_dataloaders()
    with monkeypatch.context() as patched:
        patched.setenv(EPOCHS, "0")
        with pytest.raises(ConfigError, match=f"{EPOCHS}: '0' is no number of epochs"):
            prepared.trainer()
    stored = json.loads((prepared.model / "model.json").read_text())
    own = stored["preprocessing"]
    for changed, said in (
        ({"labels": {**stored["labels"], "core": 2}}, "has other lesion classes than"),
        ({"preprocessing": {**own, "spacing": [0.7] * own["spatial_dims"]}}, r"was fitted at a spacing of 0\.7 × 0\.7"),
        ({"preprocessing": {**own, "channels": ["T2"]}}, r"draws the channels T2, but .* has FLAIR"),
        ({"preprocessing": {**own, "spatial_dims": 5 - own["spatial_dims"], "spacing": None}}, "but nnU-Net's patches"),
    ):
        model = shutil.copytree(prepared.model, tmp_path / said[:8], dirs_exist_ok=True)
        (model / "model.json").write_text(json.dumps({**stored, **changed}))
        monkeypatch.setenv(MODEL, str(model))
        with pytest.raises((ModelError, ConfigError), match=said) as caught:
            trainer.get_dataloaders()
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_commands_train_and_predict(prepared, monkeypatch, tmp_path):
    from lesionforge.production.nnunet.trainer import nnUNetTrainerLesionforge

    def shortly(trainer):
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 2, 2, 1
        nnUNetTrainer.on_train_start(trainer)

    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    monkeypatch.setattr(nnUNetTrainerLesionforge, "on_train_start", shortly, raising=False)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda count: None)
    monkeypatch.setattr("sys.argv", ["lesionforge"])
    for name in (MODEL, PROB, "nnUNet_extTrainer"):
        monkeypatch.setenv(name, "")
    train = ("nnunet", "train", 201, prepared.configuration, 0, "--model", prepared.model, "-device", "cpu")
    typed(*train)
    out = prepared.root / "nnUNet_results" / NAME / f"{TRAINER}__nnUNetPlans__{prepared.configuration}" / "fold_0"
    assert (out / "checkpoint_final.pth").is_file()
    assert "with probability 0.5" in "".join(log.read_text() for log in out.glob("training_log*"))
    summary = json.loads((out / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == len(prepared.fold["val"])
    predict = ("-i", prepared.root / "nnUNet_raw" / NAME / "imagesTr", "-o", tmp_path, "-d", 201, "-f", 0)
    where = ("-c", prepared.configuration, "-device", "cpu", "-npp", 0, "-nps", 0, "--disable_tta")
    typed("nnunet", "predict", *predict, *where)
    for case in prepared.cohort:
        predicted, _ = read_label(tmp_path / case.label.name)
        assert predicted.shape == load_scan(case, ["FLAIR"]).spatial_shape
    assert "the model: was fitted on the test subject" in failure("nnunet", "train", *train[2:4], 1, *train[5:])


@pytest.fixture
def shell(monkeypatch, tmp_path):
    """Return a function that runs lines in a shell.

    A torchvision that does not fit torch stops nnU-Net's own commands, so Python is told at its start what
    lesionforge knows of it.
    """
    from torchvision.extension import _has_ops

    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.delenv("nnUNet_extTrainer")
    if not _has_ops():
        (tmp_path / "sitecustomize.py").write_text("import lesionforge\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    def run(*lines):
        return subprocess.run(["sh", "-ec", "\n".join(lines)], capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
@pytest.mark.parametrize("prepared", ["slices 2d"], indirect=True)
def test_nnunets_own_command_finds_the_trainer(prepared, monkeypatch, shell, tmp_path):
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    given = f"{MODEL}='{prepared.model}' {PROB}=0.5 {EPOCHS}=2"
    settings = f'export nnUNet_extTrainer="$(lesionforge nnunet path)" {given}'
    train = f"nnUNetv2_train 201 2d {{fold}} -tr {TRAINER} -device cpu"
    assert "the model: was fitted on the test subject" in shell(settings, train.format(fold=1)).stderr.splitlines()[-1]
    done = shell(settings, train.format(fold=0))
    assert done.returncode == 0, done.stderr
    out = tmp_path / NAME / f"{TRAINER}__nnUNetPlans__2d" / "fold_0"
    assert (out / "checkpoint_final.pth").is_file()
    (log,) = out.glob("training_log*")
    assert "are drawn with probability 0.5" in log.read_text()
    assert log.read_text().count("Epoch time:") == 2
    summary = json.loads((out / "validation" / "summary.json").read_text())
    assert len(summary["metric_per_case"]) == len(prepared.fold["val"])


def failure(*arguments):
    """Return the last line of a command that fails; nnU-Net itself says more."""
    return typed(*arguments, code=2).stderr.splitlines()[-1]


@pytest.mark.parametrize("patch", [(5, 6, 7), (6, 7)])
@pytest.mark.parametrize("transpose", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_patches_turn_and_turn_back(patch, transpose, turned):
    scan, dims = load_scan(turned.cases[0], ["FLAIR"]), len(patch)
    order = tuple(transpose.index(axis) for axis in (2, 1, 0))
    model = Preprocessing(spatial_dims=3, channels=("FLAIR",))
    axes = replace(axes_of(scan, model, order, (2.0, 2.0, 2.0), dims=3), dims=dims)
    values = np.arange(2 * np.prod(patch)).reshape(2, *patch)
    there = axes.to_model(values)
    assert there.ndim == dims + 1
    assert (axes.to_patch(there, patch) == values).all()
    assert (axes.to_model(values[0]) == there[0]).all()


def test_whole_scans_turn_as_the_models_preprocessing_turns_them(turned):
    scan, order = load_scan(turned.cases[0], ["FLAIR"]), (2, 0, 1)
    model = Preprocessing(spatial_dims=3, channels=("FLAIR",))
    spacing = [scan.spacing[order.index(axis)] for axis in range(3)]
    axes = axes_of(scan, model, order, spacing, dims=3)
    turned_by_us = axes.to_model(to_nnunet(scan.label, order))
    assert (turned_by_us == model.forward(scan).label).all()
    assert axes.turned_spacing == pytest.approx(model.forward(scan).spacing)


def test_slices_across_another_axis_and_another_spacing_are_refused(turned):
    scan = load_scan(turned.cases[0], ["FLAIR"])
    model = Preprocessing(spatial_dims=2, channels=("FLAIR",))
    assert axes_of(scan, model, (2, 0, 1), (3.0, 2.0, 2.0), dims=2).turned_spacing == (2.0, 2.0)
    with pytest.raises(CohortError, match="lie across another axis"):
        axes_of(scan, model, (0, 1, 2), (2.0, 3.0, 2.0), dims=2)
    with pytest.raises(ConfigError, match="draws in 2D, but nnU-Net's patches are 3D"):
        axes_of(scan, model, (0, 1, 2), (2.0, 3.0, 2.0), dims=3)
    fine = model.model_copy(update={"spacing": (1.0, 1.0)})
    with pytest.raises(ConfigError, match="spacing of 1 × 1 mm, but nnU-Net's patches have 2 × 2 mm"):
        axes_of(scan, fine, (2, 0, 1), (3.0, 2.0, 2.0), dims=2)
    near = model.model_copy(update={"spacing": (1.95, 2.05)})
    axes_of(scan, near, (2, 0, 1), (3.0, 2.0, 2.0), dims=2)


FACTS = {"mean": 40.0, "std": 12.0, "percentile_00_5": -20.0, "percentile_99_5": 90.0}


@pytest.mark.parametrize("scheme", ["ZScoreNormalization", "CTNormalization", "NoNormalization"])
def test_normalisation_is_undone(scheme):
    values = np.random.default_rng(0).uniform(-10, 80, 1000).astype(np.float32)
    own = normalisation(scheme, values, FACTS)
    assert np.allclose(own.to_file(own.to_nnunet(values)), values, atol=1e-3)
    if scheme == "CTNormalization":
        far = np.array([-1000.0, 3000.0], np.float32)
        assert np.allclose(own.to_file(own.to_nnunet(far)), [-20, 90], atol=1e-3)


@pytest.mark.parametrize("scheme", ["ZScore", "CT", "No", "RescaleTo01"])
def test_normalisation_is_that_of_nnunet(scheme):
    pytest.importorskip("nnunetv2")
    from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes

    name = f"{scheme}Normalization"
    values = np.random.default_rng(0).uniform(-100, 180, (4, 5, 6)).astype(np.float32)
    theirs = getattr(schemes, name)(use_mask_for_norm=False, intensityproperties=FACTS).run(values.copy(), None)
    assert np.allclose(normalisation(name, values, FACTS).to_nnunet(values), theirs, atol=1e-4)


def test_a_normalisation_of_ones_own_is_refused():
    with pytest.raises(ConfigError, match="MyOwn is no normalisation that can be undone"):
        normalisation("MyOwn", np.zeros(3, np.float32), FACTS)
