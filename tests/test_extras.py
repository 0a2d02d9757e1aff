"""The optional extras, each tested in an environment of its own: ``make test-extras``."""

import importlib.metadata
import subprocess
import sys
import types

import pytest
from packaging.requirements import Requirement

from lesionforge.errors import ConfigError
from lesionforge.simulation.simulated_cohort import make_template_cohort
from lesionforge.torchvision_operators import DeclaresOperators
from lesionforge.training.loop import fit
from tests.cli.commands import error
from tests.helpers import tiny_cohort
from tests.training.runs import Numbers, Recorder, training


def test_tensorboard_writes_its_events(tmp_path):
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    fit(Recorder(), Numbers(), out=out, config=training(steps=2, tensorboard=True))
    assert list((out / "tensorboard").glob("events.*"))
    fit(Recorder(), Numbers(), out=out, config=training(steps=4, tensorboard=True), resume=True)


def test_without_tensorboard_the_package_is_named(tmp_path, monkeypatch):
    for name in ("tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning.fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    with pytest.raises(ConfigError, match=r"pip install 'lesionforge\[tensorboard\]'") as caught:
        fit(Recorder(), Numbers(), out=tmp_path / "run", config=training(steps=2, tensorboard=True))
    assert "\n" not in str(caught.value)


def test_nnunet_takes_a_cohort_as_it_is(tmp_path, monkeypatch):
    pytest.importorskip("nnunetv2")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, str(tmp_path))
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    make_template_cohort(tmp_path / "Dataset001_Simulated", n_subjects=2, spacing=6.0)
    verify_dataset_integrity(str(tmp_path / "Dataset001_Simulated"), num_processes=1)


def test_lightning_is_imported_beside_the_torchvision_that_nnunet_brings():
    """Beside a torch for CPUs the compiled part of PyPI's torchvision does not load; no import may fail of that."""
    pytest.importorskip("nnunetv2")
    said = "import lesionforge, lightning, monai, timm, torchvision; print(torchvision.extension._has_ops())"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("True", "False")


def test_the_release_of_torchvision_is_the_one_for_torch():
    pytest.importorskip("nnunetv2")
    needs = {need.name: need.specifier for need in map(Requirement, importlib.metadata.requires("torchvision"))}
    assert needs["torch"].contains(importlib.metadata.version("torch"))
    assert not needs["torch"].contains("2.0.0")


def test_operators_that_did_not_load_are_declared_before_they_are_described(monkeypatch):
    declared = []
    for loaded, wanted in ((True, []), (False, ["torchvision::nms", "torchvision::qnms"])):
        extension = types.SimpleNamespace(_has_ops=lambda loaded=loaded: loaded)
        monkeypatch.setitem(sys.modules, "torchvision.extension", extension)
        monkeypatch.setattr("torch.library.define", lambda name, signature: declared.append(name))
        finder = DeclaresOperators()
        assert finder.find_spec("torchvision._meta_registrations", None) is None
        assert declared == wanted
        assert finder.find_spec("torchvision.ops", None) is None
        assert declared == wanted


def test_a_torchvision_that_does_not_fit_is_one_line(tmp_path, monkeypatch):
    """Libraries import it where it is installed, so every command that computes would die of it."""
    tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    broken = types.ModuleType("torchvision.ops")
    exec("def boxes(*args, **more):\n    raise RuntimeError('operator torchvision::nms does not exist')", vars(broken))
    monkeypatch.setattr("lesionforge.tasks.segmentation.segmentation_task.SegmentationTask.fit", broken.boxes)
    said = error("segment", "train", tmp_path / "c", "--out", tmp_path / "net", "--steps", 1)
    assert said.startswith("error: torchvision: does not fit the installed torch (operator torchvision::nms")


def test_a_package_that_is_missing_is_one_line(tmp_path, monkeypatch):
    tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)

    def fit_without(*args, **options):
        import no_such_package_at_all  # noqa: F401

    monkeypatch.setattr("lesionforge.tasks.segmentation.segmentation_task.SegmentationTask.fit", fit_without)
    said = error("segment", "train", tmp_path / "c", "--out", tmp_path / "net", "--steps", 1)
    assert said.startswith("error: no_such_package_at_all: cannot be imported")


@pytest.mark.parametrize("problem", [MemoryError("Unable to allocate 4. TiB"), RuntimeError("can't allocate memory")])
def test_too_little_memory_is_one_line(problem, tmp_path, monkeypatch):
    tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)

    def fit_too_much(*args, **options):
        raise problem

    monkeypatch.setattr("lesionforge.tasks.segmentation.segmentation_task.SegmentationTask.fit", fit_too_much)
    said = error("segment", "train", tmp_path / "c", "--out", tmp_path / "net", "--steps", 1)
    assert said.startswith("error: memory: not enough")
