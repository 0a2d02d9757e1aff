from dataclasses import replace

import numpy as np
import pytest
import torch

from lesionforge.cohort.layouts.mask_folder import read_masks
from lesionforge.config import parse_options
from lesionforge.errors import ConfigError, ModelError
from lesionforge.masks import EditedMasks, make_mask_source
from lesionforge.masks.generator.maskgan import MaskGAN
from lesionforge.masks.generator.maskgan_training import MaskGANConfig, MaskItems, Watch, degeneracies
from lesionforge.preprocessing.brain.brain_shape import BrainShape
from lesionforge.seeding import generator
from lesionforge.training.loop import TrainingConfig
from tests.masks.mni import ball_at, write_masks
from tests.masks.scans import make_scan
from tests.training.runs import interrupt, read_checkpoint, read_metrics, same

SMALL = {"size": [16, 20, 12], "channels": [32, 16], "width": 0.25, "latent": 8, "min_voxels": 2, "head_kernel": 7}


def fit(masks, out, *, steps=4, resume=False, config=None, **training):
    options = {"steps": steps, "epoch_steps": 2, "batch_size": 4, "device": "cpu", "preview_minutes": 9}
    options |= {"checkpoint_minutes": 0} | training
    return MaskGAN.fit(
        read_masks(masks), config=SMALL | (config or {}), training=TrainingConfig(**options), out=out, resume=resume
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("masks"), 24)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """A generator that has seen enough of the balls in the left hemisphere to draw there."""
    out = tmp_path_factory.mktemp("maskgan") / "model"
    optimiser = {"learning_rate": 2e-3, "beta1": 0.0, "beta2": 0.9, "pool_size": 0, "n_critic": 2, "ema_decay": 0.9}
    model = fit(folder, out, steps=120, epoch_steps=60, batch_size=8, config={"mirror": False, "optimiser": optimiser})
    return model, out


@pytest.mark.slow
def test_it_learns_where_lesions_lie_and_how_large_they_are(trained):
    model, _ = trained
    masks = model.generate(40, generator(1))
    assert masks.shape == (40, 16, 20, 12)
    assert set(np.unique(masks)) <= {0, 1}
    volumes = np.count_nonzero(masks, axis=(1, 2, 3)) * model.grid.voxel_mm3 / 1000
    assert np.mean(volumes > 0) > 0.6
    assert 4 < np.median(volumes) < 60
    x = np.nonzero(masks)[1] * model.grid.spacing[0] + model.grid.affine[0, 3]
    assert np.mean(x < 0) > 0.9


@pytest.mark.slow
def test_the_same_seed_gives_the_same_masks_however_many_are_asked_for(trained):
    model, out = trained
    masks = model.generate(20, generator(1))
    loaded = MaskGAN.load(out)
    assert np.array_equal(loaded.generate(20, generator(1)), masks)
    assert np.array_equal(model.generate(3, generator(1)), masks[:3])
    assert not np.array_equal(model.generate(20, generator(2)), masks)
    assert loaded.info == model.info
    assert loaded.grid.brain_voxels == model.grid.brain_voxels


@pytest.mark.slow
def test_masks_are_put_into_the_brain_of_a_scan(trained):
    model, out = trained
    scan = make_scan(3)
    source = make_mask_source(f"gan:{out}")
    for seed in range(5):
        placed = source.sample(scan, generator(seed), min_volume=10.0)
        assert placed.mask.any()
        assert not placed.mask[~scan.region].any()
        assert placed.subjects == model.subjects
        assert np.mean(np.nonzero(placed.mask)[0]) < scan.spatial_shape[0] / 2
    again = [source.sample(scan, generator(7)).mask for _ in range(2)]
    assert np.array_equal(*again)


@pytest.mark.slow
def test_masks_smaller_than_the_models_least_are_drawn_anew(trained):
    model, _ = trained
    scan = make_scan(3)
    brain = BrainShape.of(scan.region, scan.affine)
    scale = np.sqrt(np.linalg.det(brain.covariance) / np.linalg.det(model.grid.brain.covariance))
    least = model.config.min_voxels * model.grid.voxel_mm3 * scale
    assert scale < 0.9
    volumes = []
    for seed in range(20):
        mask = model.sample(scan, generator(seed), min_volume=0.0).mask
        volumes.append(np.count_nonzero(mask) * np.prod(scan.spacing))
    assert min(volumes) >= least


@pytest.mark.slow
def test_what_lies_outside_the_parenchyma_is_cut_off(trained):
    model, _ = trained
    anatomy = np.where(make_scan(3).region, 1, 0).astype(np.int16)
    anatomy[12:24, :, 12:] *= 2
    scan = make_scan(3, anatomy=anatomy, region=False)
    scan = replace(scan, case=replace(scan.case, parenchyma=(1,)))
    placed = model.sample(scan, generator(0), min_volume=10.0, min_inside=0.1)
    assert set(np.unique(anatomy[placed.mask > 0])) == {1}


@pytest.mark.slow
def test_masks_can_be_edited_further_and_slices_are_refused(trained):
    model, _ = trained
    assert EditedMasks(model).sample(make_scan(3), generator(0), min_volume=10.0).mask.any()
    with pytest.raises(ConfigError, match="target: is a slice, but maskgan draws volumes"):
        model.draw(make_scan(2), generator(0))


def test_subjects_that_were_held_out_are_no_parents(folder, tmp_path):
    model = fit(folder, tmp_path / "model", config={"held_out": 0.25})
    everyone = {case.subject_id for case in read_masks(folder)}
    assert len(model.info.training_cases) == len(model.subjects) == 18
    assert model.subjects < everyone
    assert (tmp_path / "model" / "mask_scores.csv").read_text().startswith("score,drawn,real,better")
    assert len(list((tmp_path / "model" / "previews").glob("*.png"))) >= 1
    card = (tmp_path / "model" / "model_card.md").read_text()
    assert "maskgan" in card
    assert "18 real cases of 18 subjects" in card


@pytest.mark.slow
def test_a_killed_run_ends_bit_for_bit_as_an_uninterrupted_one(folder, tmp_path, monkeypatch):
    fit(folder, tmp_path / "whole")
    interrupt(monkeypatch, lambda: fit(folder, tmp_path / "killed"), epoch=1)
    torch.manual_seed(1)
    fit(folder, tmp_path / "killed", resume=True)
    whole, killed = (read_checkpoint(tmp_path / name) for name in ("whole", "killed"))
    for part in ("state_dict", "optimizer_states", "global_step", "epoch"):
        assert same(whole[part], killed[part]), part
    assert read_metrics(tmp_path / "killed") == read_metrics(tmp_path / "whole")
    for name in ("model.safetensors", "model.json", "mask_scores.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("n_critic", [1, 3])
def test_the_critic_steps_as_often_as_asked_on_masks_of_its_own(folder, tmp_path, monkeypatch, n_critic):
    seen = []
    take = MaskItems.__getitem__
    monkeypatch.setattr(MaskItems, "__getitem__", lambda self, draw: (seen.append(draw), take(self, draw))[1])
    optimiser = {"pool_size": 0, "n_critic": n_critic}
    fit(folder, tmp_path / "model", steps=2, config={"optimiser": optimiser})
    of_generator, of_critic = read_checkpoint(tmp_path / "model")["optimizer_states"]
    assert {int(state["step"]) for state in of_generator["state"].values()} == {2}
    assert {int(state["step"]) for state in of_critic["state"].values()} == {2 * n_critic}
    assert sorted(seen) == list(range(2 * 4 * n_critic))


def test_training_masks_are_mirrored_every_other_time():
    mask = np.zeros((1, 6, 4, 4), np.int16)
    mask[0, 0, 1, 2] = 2
    items = MaskItems(mask, 2, mirror=True, seed=0)
    drawn = [items[draw]["mask"] for draw in range(60)]
    assert all(item.shape == (3, 6, 4, 4) and (item.sum(0) == 1).all() for item in drawn)
    left = np.mean([bool(item[2, 0, 1, 2]) for item in drawn])
    right = np.mean([bool(item[2, 5, 1, 2]) for item in drawn])
    assert left + right == 1
    assert 0.3 < left < 0.7
    assert all(bool(MaskItems(mask, 2, mirror=False, seed=0)[draw]["mask"][2, 0, 1, 2]) for draw in range(9))


def test_degenerate_masks_are_told_apart():
    good = np.stack([ball_at([x, 0, 0], 20) for x in (-60, -20, 20, 60)])
    brain = 8 * np.count_nonzero(good[0])
    assert degeneracies(good, brain) == {"empty": 0.0, "full": 0.0, "alike": 0.0}
    assert degeneracies(np.zeros_like(good), brain) == {"empty": 1.0, "full": 0.0, "alike": 0.0}
    assert degeneracies(np.ones_like(good), brain) == {"empty": 0.0, "full": 1.0, "alike": 1.0}
    assert degeneracies(good[[0, 0, 1, 2]], brain)["alike"] == 0.5


def test_degenerate_masks_are_reported_while_training_once(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "lesionforge.masks.generator.maskgan._draw", lambda module, n, *, seed: np.zeros((n, 16, 20, 12), np.int16)
    )
    fit(folder, tmp_path / "model")
    lines = [line for line in capsys.readouterr().err.splitlines() if "drawn masks" in line]
    assert lines == ["epoch 0: 100% of the drawn masks are empty; see previews/"]
    assert [float(row["masks/empty"]) for row in read_metrics(tmp_path / "model") if row["masks/empty"]] == [1.0, 1.0]


def test_what_recovers_and_fails_again_is_reported_again(capsys):
    class Quiet:
        is_global_zero, current_epoch = True, 0

        def log_dict(self, numbers):
            pass

    good = np.stack([ball_at([x, 0, 0], 20) for x in (-60, -20, 20, 60)])
    states = iter([np.zeros_like(good), np.zeros_like(good), good, np.zeros_like(good)])
    watch = Watch(lambda: next(states), 1e6)
    for _ in range(4):
        watch.on_train_epoch_end(Quiet(), Quiet())
    assert capsys.readouterr().err.count("empty") == 2


@pytest.mark.slow
def test_other_models_are_refused(tmp_path, trained):
    with pytest.raises(ModelError, match=r"no model\.json"):
        make_mask_source(f"gan:{tmp_path}")
    _, out = trained
    text = (out / "model.json").read_text().replace('"maskgan"', '"pix2pix"')
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ModelError, match="is a model of pix2pix"):
        MaskGAN.load(tmp_path)


def test_part_of_the_optimiser_leaves_the_rest_as_it_is():
    whole = MaskGANConfig().optimiser
    assert MaskGANConfig(optimiser={"n_critic": 1}).optimiser == whole.model_copy(update={"n_critic": 1})
    with pytest.raises(ConfigError, match="pool_size is not 0"):
        parse_options(MaskGANConfig, {"optimiser": {"pool_size": 50}})
