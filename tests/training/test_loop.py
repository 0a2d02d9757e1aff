"""The one loop: which draws it takes, when it ends, what it leaves."""

import itertools
from collections import Counter

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.utils.data import DataLoader

from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.config import parse_options
from lesionforge.errors import ConfigError, LesionforgeError, ModelError, OutputError
from lesionforge.networks.critic import PatchGAN
from lesionforge.training import loop
from lesionforge.training.callbacks.checkpoint import CHECKPOINT
from lesionforge.training.loop import DrawSampler, TrainingConfig, channels_last, fit, loader_workers, pick_device
from lesionforge.training.model_folder import read_info
from tests.training.runs import (
    EACH_METHOD,
    METHODS,
    Numbers,
    Recorder,
    fit_pix2pix,
    fit_segmentation,
    interrupt,
    read_checkpoint,
    read_metrics,
    training,
)


def expected_batches(config):
    """Return (epoch, draws) of every batch."""
    draw = itertools.count()
    return [
        (step // config.epoch_steps, [next(draw) for _ in range(config.batch_size)])
        for step in range(config.steps)
        for _ in range(config.accumulate)
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 5, "epoch_steps": 2},
        {"steps": 4, "epoch_steps": 2, "accumulate": 1},
        {"steps": 2, "epoch_steps": 50, "batch_size": 3},
    ],
)
def test_draws_come_in_order_and_the_last_epoch_may_be_short(options, tmp_path):
    config, module = training(**options), Recorder()
    assert fit(module, Numbers(), out=tmp_path / "run", config=config) == config.steps
    assert module.batches == expected_batches(config)
    assert read_checkpoint(tmp_path / "run")["global_step"] == config.steps


def test_an_epochs_sampler_goes_on_where_the_last_one_ended():
    config = training(steps=5, epoch_steps=2)
    sampler = DrawSampler(config)
    draws = []
    for epoch, steps in enumerate((2, 2, 1, 0)):
        sampler.set_epoch(epoch)
        assert len(sampler) == steps * 4
        draws.extend(sampler)
    assert draws == list(range(20))
    assert list(DrawSampler(config, epoch=2)) == list(range(16, 20))


def test_loader_processes_change_nothing(tmp_path, monkeypatch):
    config = training(steps=5)
    plain, helped = Recorder(), Recorder()
    fit(plain, Numbers(), out=tmp_path / "plain", config=config)
    fit(helped, Numbers(), out=tmp_path / "helped", config=config.model_copy(update={"workers": 2}))
    assert helped.batches == plain.batches == expected_batches(config)
    with_workers = config.model_copy(update={"workers": 2})

    def run():
        fit(Recorder(), Numbers(), out=tmp_path / "resumed", config=with_workers)

    interrupt(monkeypatch, run, epoch=1)
    resumed = Recorder()
    fit(resumed, Numbers(), out=tmp_path / "resumed", config=with_workers, resume=True)
    assert resumed.batches == expected_batches(config)[4:]
    assert torch.equal(resumed.weight, plain.weight)


@pytest.mark.parametrize("workers", [0, 2])
def test_items_of_pix2pix_do_not_depend_on_loader_processes(workers, cohorts, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("lesionforge.training.fitting.fit", lambda module, dataset, **_: seen.append(dataset) or 0)
    fit_pix2pix(cohorts[2], tmp_path / "run", 2)
    (crops,) = seen
    loader = DataLoader(crops, batch_size=2, sampler=DrawSampler(training(steps=2)), num_workers=workers)
    torch.manual_seed(workers)
    batches = list(loader)
    assert len(batches) == 4
    for number, batch in enumerate(batches):
        for row in range(2):
            alone = crops[2 * number + row]
            for name, tensor in alone.items():
                assert torch.equal(batch[name][row], tensor), name


def test_accumulated_batches_make_the_step_of_one_large_batch(tmp_path):
    weights = []
    for accumulate, batch_size in ((1, 4), (2, 2), (4, 1)):
        module, out = Recorder(), tmp_path / str(accumulate)
        fit(module, Numbers(), out=out, config=training(steps=5, accumulate=accumulate, batch_size=batch_size))
        weights.append(module.weight.detach())
        assert read_checkpoint(out)["global_step"] == 5
    torch.testing.assert_close(weights[1], weights[0])
    torch.testing.assert_close(weights[2], weights[0])


def test_the_segmentation_rate_falls_to_zero_at_the_last_step(cohorts, tmp_path):
    fit_segmentation(cohorts[2], tmp_path / "run", 2, steps=4)
    checkpoint = read_checkpoint(tmp_path / "run")
    assert checkpoint["global_step"] == 4
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == 4
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0)


class Clock(Callback):
    """Makes a run's timer believe that an epoch takes a minute."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        for callback in trainer.callbacks:
            if isinstance(callback, loop.TimeBudget) and batch_idx == 0:
                callback._offset += 60


@pytest.mark.parametrize("method", EACH_METHOD)
def test_a_time_budget_ends_the_run_and_the_steps_made_are_kept(method, cohorts, tmp_path, monkeypatch):
    callbacks = loop._callbacks
    monkeypatch.setattr(loop, "_callbacks", lambda *args: [Clock(), *callbacks(*args)])
    out, config = tmp_path / "run", {"steps": 100, "epoch_steps": 2, "accumulate": 1, "time_budget": 150.0}
    for resume in (False, True):
        model = METHODS[method](cohorts[2], out, 2, resume=resume, **config)
        assert model.info.training["steps"] == 4
        assert read_checkpoint(out)["epoch"] == 1
        assert (out / "model.json").is_file()
    rows = read_metrics(out)
    assert Counter(row["epoch"] for row in rows) == {"0": 1, "1": 1}


def test_a_finished_run_resumed_stays_as_it_was(cohorts, tmp_path):
    out, files = tmp_path / "run", []
    for resume in (False, True):
        model = fit_segmentation(cohorts[2], out, 2, resume=resume, steps=3)
        assert model.info.training["steps"] == 3
        files.append([(out / name).read_bytes() for name in ("model.safetensors", "model.json", "metrics.csv")])
    assert files[0] == files[1]


def test_a_run_is_neither_overwritten_nor_mixed_with_other_files(tmp_path):
    out = tmp_path / "run"
    fit(Recorder(), Numbers(), out=out, config=training(steps=2))
    with pytest.raises(OutputError, match="`resume`"):
        fit(Recorder(), Numbers(), out=out, config=training(steps=2))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        fit(Recorder(), Numbers(), out=tmp_path / "other", config=training(steps=2))
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_a_run_is_not_resumed_with_other_options(cohorts, tmp_path):
    out = tmp_path / "run"
    fit_segmentation(cohorts[2], out, 2, steps=2)
    for change, named in (
        ({"batch_size": 3}, "batch_size=2, not 3"),
        ({"seed": 1}, "seed=0, not 1"),
        ({"epoch_steps": 1}, "epoch_steps=2, not 1"),
        ({"config": {"filters": (4, 12)}}, r"filters=\[4, 8\], not \[4, 12\]"),
        ({"config": {"learning_rate": 0.5}}, "learning_rate=0.003, not 0.5"),
        ({"config": {"augment": "none"}}, "augment=classical, not none"),
        ({"precision": "32-true"}, "precision=auto, not 32-true"),
        ({"steps": 6}, "2 steps, not 6"),
    ):
        with pytest.raises(ConfigError, match=named) as caught:
            fit_segmentation(cohorts[2], out, 2, resume=True, **{"steps": 2, **change})
        assert "\n" not in str(caught.value)
        assert str(out) in str(caught.value) or "run to resume" in str(caught.value)


@pytest.mark.slow
def test_pix2pix_may_be_trained_on_for_longer(cohorts, tmp_path):
    short, long = tmp_path / "short", tmp_path / "long"
    fit_pix2pix(cohorts[2], short, 2, steps=2)
    fit_pix2pix(cohorts[2], short, 2, steps=4, resume=True)
    fit_pix2pix(cohorts[2], long, 2, steps=4)
    assert (short / "model.safetensors").read_bytes() == (long / "model.safetensors").read_bytes()
    assert read_metrics(short) == read_metrics(long)


@pytest.mark.parametrize("part", [0, 0.5, 0.95])
def test_a_damaged_checkpoint_is_told_in_one_line(part, tmp_path):
    out = tmp_path / "run"
    fit(Recorder(), Numbers(), out=out, config=training(steps=2))
    path = out / CHECKPOINT
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ModelError, match="damaged") as caught:
        fit(Recorder(), Numbers(), out=out, config=training(steps=4), resume=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", EACH_METHOD)
def test_bfloat16_trains_on_the_cpu(method, cohorts, tmp_path):
    METHODS[method](cohorts[2], tmp_path / "run", 2, steps=1, precision="bf16-mixed")
    state = read_checkpoint(tmp_path / "run")["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert {tensor.dtype for name, tensor in state.items() if name.startswith(("generator", "network"))} == {
        torch.float32
    }


@pytest.mark.parametrize("method", EACH_METHOD)
def test_the_batch_size_is_the_fingerprints_unless_chosen(method, cohorts, tmp_path):
    facts = fingerprint(cohorts[3], ("FLAIR",))
    for roi_size in ((32, 32, 24), (40, 40, 40)):
        out = tmp_path / f"{roi_size}"
        METHODS[method](cohorts[3], out, 3, steps=1, accumulate=1, batch_size=None, config={"roi_size": roi_size})
        assert read_info(out).training["batch_size"] == facts.batch_size(roi_size)
    METHODS[method](cohorts[3], tmp_path / "chosen", 3, steps=1, accumulate=1, batch_size=3)
    assert read_info(tmp_path / "chosen").training["batch_size"] == 3


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("spectral_norm", [True, False])
def test_channels_last_changes_the_layout_and_nothing_else(spectral_norm, spatial_dims):
    critic = PatchGAN(spatial_dims=spatial_dims, in_channels=3, width=0.125, spectral_norm=spectral_norm).eval()
    image = torch.randn(2, 3, *[32] * spatial_dims, generator=torch.Generator().manual_seed(0))
    before = critic(image)
    channels_last(critic)
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[spatial_dims]
    weights = [weight for weight in critic.parameters() if weight.dim() > 2]
    assert weights
    assert all(weight.is_contiguous(memory_format=layout) for weight in weights)
    assert not all(weight.is_contiguous() for weight in weights)
    assert torch.allclose(critic(image), before, atol=1e-5)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_spectral_norm_trains_and_bounds_the_critic(spatial_dims, cohorts, tmp_path):
    fit_pix2pix(cohorts[spatial_dims], tmp_path / "run", spatial_dims, steps=2, config={"spectral_norm": True})
    state = read_checkpoint(tmp_path / "run")["state_dict"]
    assert any("parametrizations.weight" in name for name in state)
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_previews_appear_at_the_first_epoch_and_the_end(cohorts, tmp_path):
    fit_pix2pix(cohorts[2], tmp_path / "rare", 2, steps=3, epoch_steps=1, accumulate=1)
    assert [path.name for path in sorted((tmp_path / "rare/previews").iterdir())] == [
        "epoch_00001.png",
        "epoch_00003.png",
    ]
    fit_pix2pix(cohorts[2], tmp_path / "often", 2, steps=3, epoch_steps=1, accumulate=1, preview_minutes=0.0)
    assert len(list((tmp_path / "often/previews").iterdir())) == 3


def test_nothing_is_pickled_but_the_checkpoint_and_that_loads_as_data(cohorts, tmp_path):
    out = tmp_path / "run"
    fit_pix2pix(cohorts[2], out, 2, steps=2)
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("previews/")} == {
        "model.safetensors",
        "critic.safetensors",
        "model.json",
        "model_card.md",
        "metrics.csv",
        str(CHECKPOINT),
    }
    state = read_checkpoint(out)["state_dict"]
    assert len(state["pool.images"]) == 5
    assert any(name.startswith("averaged.") for name in state)


@pytest.mark.parametrize(
    "options", [{"precision": "fast"}, {"steps": 0}, {"device": "tpu"}, {"workers": -1}, {"stepz": 3}]
)
def test_a_wrong_training_option_is_named(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        parse_options(TrainingConfig, options)


def test_a_device_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == "cpu"
    with pytest.raises(LesionforgeError, match="`device=cpu`"):
        pick_device("cuda")


@pytest.mark.parametrize("method", ["pix2pix", "unpaired", "segmentation"])
def test_strided_3d_convolutions_are_not_computed_in_bfloat16_on_a_cpu(method, cohorts, tmp_path):
    """Some CPUs give wrong results of them where they are one voxel wide: pytorch/pytorch#169688."""
    with pytest.raises(ConfigError, match=r"precision=bf16-mixed: .* use precision=32-true") as caught:
        METHODS[method](cohorts[3], tmp_path / "run", 3, steps=1, precision="bf16-mixed")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kernel", [3, 4])
def test_transposed_3d_convolutions_that_overlap_are_not_either(kernel):
    """Their input gradient is wrong by 130 % where the input is one voxel wide."""
    layer = nn.ConvTranspose3d(1, 1, kernel, stride=2, padding=1)
    with pytest.raises(ConfigError, match="use precision=32-true"):
        loop._precision("bf16-mixed", "cpu", nn.Sequential(layer))
    assert loop._precision("bf16-mixed", "cuda", layer) == "bf16-mixed"
    assert loop._precision("32-true", "cpu", layer) == "32-true"


@pytest.mark.parametrize(
    "layer", [nn.ConvTranspose3d(1, 1, 2, stride=2), nn.ConvTranspose3d(1, 1, 3), nn.ConvTranspose2d(1, 1, 4, stride=2)]
)
def test_layers_that_bfloat16_computes_rightly_are_allowed(layer):
    assert loop._precision("bf16-mixed", "cpu", layer) == "bf16-mixed"


@pytest.mark.parametrize(("cores", "devices", "workers"), [(16, 1, 8), (4, 1, 3), (8, 2, 3), (1, 1, 0), (None, 1, 0)])
def test_loader_processes_feed_a_gpu_as_far_as_there_are_cores(cores, devices, workers, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    config = TrainingConfig(devices=devices)
    assert loader_workers(config, "cuda") == workers
    assert loader_workers(config, "cpu") == 0
    assert loader_workers(config.model_copy(update={"workers": 5}), "cpu") == 5
