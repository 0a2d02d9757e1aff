"""Every model moves all its networks, and loaders put it where it is wanted."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lesionforge.engine.local import LocalEngine
from lesionforge.healers.registry import HEALERS, load_healer
from lesionforge.masks import EditedMasks, MaskGAN, make_mask_source
from lesionforge.masks.generator.maskgan_training import MaskGANConfig, make_generator
from lesionforge.preprocessing.alignment.template_grid import TemplateGrid
from lesionforge.preprocessing.brain.brain_shape import BrainShape
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.production.synthesize import synthesize_cohort
from lesionforge.scores.cohorts.features import describe_images
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.training.inference import side_by_side
from lesionforge.training.model_folder import describe
from tests.devices import networks_of, pretend_cuda
from tests.helpers import tiny_cohort
from tests.synthesizers.healers import untrained_healer
from tests.synthesizers.models import untrained_pix2pix

SMALL = {"size": [16, 20, 12], "channels": [32, 16], "width": 0.5, "latent": 8, "min_voxels": 1, "head_kernel": 7}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("cohort") / "c", spatial_dims=2)


def untrained_maskgan(cohort):
    config = MaskGANConfig.model_validate(SMALL)
    info = describe("maskgan", config, Preprocessing(spatial_dims=3, channels=cohort.channels), cohort)
    brain = BrainShape(mean=np.zeros(3), covariance=np.eye(3))
    return MaskGAN(info, make_generator(config, 1), TemplateGrid(size=config.size, affine=np.eye(4), brain=brain))


MODELS = {
    "pix2pix": untrained_pix2pix,
    "maskgan": untrained_maskgan,
    **{name: lambda cohort, name=name: untrained_healer(name, cohort) for name in HEALERS},
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_moves_all_its_networks(name, cohort):
    model = MODELS[name](cohort)
    assert networks_of(model)
    assert model.to("meta") is model
    for network in networks_of(model):
        assert {tensor.device.type for tensor in network.state_dict().values()} == {"meta"}


def test_edited_masks_move_their_source(cohort):
    source = untrained_maskgan(cohort)
    EditedMasks(source).to("meta")
    assert next(source.generator.parameters()).device.type == "meta"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("device", ["cpu", "cuda", "auto"])
def test_a_loader_puts_a_model_where_it_is_wanted(name, device, cohort, tmp_path, monkeypatch):
    MODELS[name](cohort).save(tmp_path / "model")
    asked = pretend_cuda(monkeypatch)
    if name == "maskgan":
        make_mask_source(f"gan:{tmp_path / 'model'}", device=device)
    elif name in HEALERS:
        load_healer(tmp_path / "model", device=device)
    else:
        load_synthesizer(tmp_path / "model", device=device)
    assert [to for _, to in asked] == ["cpu" if device == "cpu" else "cuda"]


@pytest.mark.slow
def test_what_is_drawn_by_workers_is_drawn_on_the_cpu(cohort, tmp_path, monkeypatch):
    model, asked = untrained_pix2pix(cohort), pretend_cuda(monkeypatch)
    masks = make_mask_source("bank", cohort)
    synthesize_cohort(model, cohort, masks, out=tmp_path / "here", n=1, min_volume=5)
    assert asked == []
    synthesize_cohort(model, cohort, masks, out=tmp_path / "there", n=1, min_volume=5, engine=LocalEngine(2))
    assert [to for _, to in asked] == ["cpu"]


def test_features_are_computed_on_the_device(monkeypatch):
    images, asked = np.zeros((2, 1, 32, 32), np.float32), pretend_cuda(monkeypatch)
    assert describe_images(images, device="cuda").shape == (2, 160)
    assert asked == [("RandomFeatures", "cuda")]


@pytest.mark.parametrize("threads", [1, 3])
def test_items_are_computed_in_order_each_on_one_thread(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = side_by_side(lambda item: (item, torch.get_num_threads()), range(20))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert found == [(item, 1) for item in range(20)]


def test_nothing_in_the_package_loads_a_model_without_saying_where():
    package = Path(__file__).parents[2] / "src" / "lesionforge"
    loaders = ("load_synthesizer(", "load_healer(", "MaskGAN.load(", "make_mask_source(", "describe_images(")
    loaders += ("SegmentationTask.load(", "DetectionTask.load(", "task_class.load(")
    for path in package.rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            shown = line.strip().startswith((">>>", "pretrained =")) or "def " in line
            if any(loader in line for loader in loaders) and not shown:
                assert "device=" in line, f"{path.name}: {line.strip()}"
