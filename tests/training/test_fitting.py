"""The one fit, with a method that has no critic: a network that learns the noise in slices or volumes."""

import copy
from typing import Any, ClassVar, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset

from lesionforge.config import RoiSize, ScanConfig
from lesionforge.errors import CohortError, ConfigError, OutputError
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.reading import read_json
from lesionforge.seeding import generator
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import load_model
from lesionforge.training.averaging import AveragingModule
from lesionforge.training.callbacks.candidates import candidate_steps
from lesionforge.training.callbacks.preview import montage
from lesionforge.training.fitted_model import TrainedModel
from lesionforge.training.fitting import Recipe, TrainingData, train
from lesionforge.training.items.lesion_planes import Planes
from lesionforge.training.loop import fit
from lesionforge.training.model_folder import list_candidates
from lesionforge.training.rng import torch_seed
from tests.synthesizers.models import ball_mask, make_sample
from tests.training.runs import Numbers, interrupt, read_checkpoint, same, training

DIMS = [2, 3]
SIDE = 16
NAMES = ("step_0002", "step_0003")


class Denoising(AveragingModule):
    """The network predicts the noise that was added; Lightning takes the steps."""

    def __init__(self, network, *, seed, ema_decay):
        super().__init__(network, ema_decay=ema_decay)
        self.seed, self.history = seed, []

    def training_step(self, batch, batch_index):
        with torch_seed(self.seed, "step", self.current_epoch, batch_index, self.global_rank):
            noise = torch.randn_like(batch["image"])
        return (self.generator(batch["image"] + noise) - noise).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.generator.parameters(), lr=0.05)

    def update_average(self):
        super().update_average()
        self.history.append(copy.deepcopy(self.generator.state_dict()))


class Crops(Dataset):
    """The middle of a random slice or volume."""

    def __init__(self, data, size, seed):
        self.planes, self.seed, self.size = Planes(data.samples, len(size)), seed, size

    def __getitem__(self, draw):
        sample = self.planes.pick(True, generator(self.seed, draw))
        shape = sample.image.shape[1:]
        crop = Crop.around([n / 2 for n in shape], self.size, shape)
        return {"image": torch.from_numpy(crop.cut(sample.image).copy())}


class DenoiserConfig(ScanConfig):
    """Options of the method."""

    spatial_dims: Literal[2, 3] = 2
    roi_size: RoiSize | None = None
    candidates: tuple[int, ...] = ()
    ema_decay: float = 0.7
    divisor: ClassVar[int] = 4
    smallest: ClassVar[int] = SIDE
    whole_slices: ClassVar[bool] = False

    def network(self):
        """Return the network."""
        return {2: nn.Conv2d, 3: nn.Conv3d}[self.spatial_dims](1, 1, 3, padding=1)


class Denoiser(TrainedModel, Synthesizer):
    """All that such a method has to say."""

    method = "denoiser"
    Config = DenoiserConfig

    def __init__(self, info, network, centre):
        super().__init__(info)
        self.network, self.centre = network.eval(), centre

    @classmethod
    def recipe(cls, data, info, training):
        options = cls.Config.model_validate(info.config)
        with torch_seed(training.seed, "weights"):
            module = Denoising(options.network(), seed=training.seed, ema_decay=options.ema_decay)
        items = Crops(data, options.roi_size, training.seed)
        return Recipe(
            module=module,
            items=items,
            picture=lambda: montage([{"seen": items[0]["image"].numpy()[(0, ..., *[0] * (options.spatial_dims - 2))]}]),
            candidates=candidate_steps(options.candidates, 0, training, unit="steps"),
            beside={"centre": torch.tensor([float(len(data.cases))])},
            notes={"items.json": {"shape": list(items[0]["image"].shape)}},
        )

    def synthesize(self, sample, mask, rng):
        with torch.inference_mode():
            drawn = self.network(torch.from_numpy(sample.image)[None])[0].numpy()
        return sample.with_lesion(drawn, mask)

    def tensors(self):
        return {**self.network.state_dict(), "centre": self.centre}

    @classmethod
    def from_tensors(cls, info, tensors):
        network = cls.Config.model_validate(info.config).network()
        network.load_state_dict({name: tensor for name, tensor in tensors.items() if name != "centre"})
        return cls(info, network, tensors["centre"])


def fit_denoiser(cohort, out, spatial_dims, *, resume=False, config=None, preprocessing=None, **options):
    return Denoiser.fit(
        cohort,
        channels=cohort.channels,
        config={"spatial_dims": spatial_dims, **(config or {})},
        training=training(**{"accumulate": 1, **options}),
        out=out,
        preprocessing=preprocessing,
        resume=resume,
    )


def load(out, **options) -> Any:
    return load_model(out, {"denoiser": Denoiser}, **options)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_candidates_of_a_module_without_a_critic_are_the_models_of_runs_that_end_there(
    accumulate, spatial_dims, cohorts, tmp_path
):
    kept, cohort = tmp_path / "kept", cohorts[spatial_dims]
    model = fit_denoiser(cohort, kept, spatial_dims, accumulate=accumulate, steps=99, config={"candidates": (2, 3)})
    assert list_candidates(kept) == NAMES
    assert model.info.training["steps"] == 3
    for name, steps in zip(NAMES, (2, 3), strict=True):
        alone = fit_denoiser(cohort, tmp_path / name, spatial_dims, accumulate=accumulate, steps=steps)
        assert same(load(kept, candidate=name).tensors(), alone.tensors())
    assert same(load(kept, candidate=NAMES[1]).tensors(), model.tensors())
    assert not same(load(kept, candidate=NAMES[0]).tensors(), model.tensors())
    assert all((kept / "candidates" / f"{name}.png").stat().st_size > 1000 for name in NAMES)
    assert len(list((kept / "previews").iterdir())) == 2


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_what_is_fitted_is_what_is_loaded(spatial_dims, cohorts, tmp_path):
    fitted = fit_denoiser(cohorts[spatial_dims], tmp_path / "run", spatial_dims)
    loaded = load(tmp_path / "run")
    shape = (20,) * spatial_dims
    sample, mask = make_sample(shape), ball_mask(shape, (10,) * spatial_dims, 3)
    first, second = (model.synthesize(sample, mask, generator(0)).image for model in (fitted, loaded))
    assert first.tobytes() == second.tobytes()
    assert first.tobytes() != sample.image.tobytes()
    assert loaded.info == fitted.info
    size = loaded.info.config["roi_size"]
    assert len(size) == spatial_dims
    assert all(side % DenoiserConfig.divisor == 0 and side >= SIDE for side in size)
    assert read_json(tmp_path / "run" / "items.json") == {"shape": [1, *size]}
    assert loaded.info.training["batch_size"] == 2
    assert float(loaded.centre) == len(cohorts[spatial_dims].with_lesions())


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("decay", [0.0, 0.25])
def test_the_average_follows_every_step_that_lightning_takes(decay, accumulate, tmp_path):
    class Images(Numbers):
        def __getitem__(self, draw):
            return {"image": torch.full((1, 4, 4), float(draw))}

    module = Denoising(nn.Conv2d(1, 1, 1), seed=0, ema_decay=decay)
    fit(module, Images(), out=tmp_path / "run", config=training(accumulate=accumulate, steps=4))
    assert len(module.history) == module.averaged.n_averaged == 4
    expected = module.history[0]
    for kept, state in zip([min(decay, 2 / 11), decay, decay], module.history[1:], strict=True):
        expected = {name: kept * expected[name] + (1 - kept) * state[name] for name in state}
    for name, weight in module.result.state_dict().items():
        torch.testing.assert_close(weight, expected[name])
    assert (module.result is module.generator) == (decay == 0)
    assert any(name.startswith("averaged.") for name in read_checkpoint(tmp_path / "run")["state_dict"])


@pytest.mark.parametrize("place", [{"epoch": 1}, {"epoch": 1, "batch": 0}], ids=["between epochs", "within one"])
def test_a_killed_run_ends_with_the_same_average_and_candidates(place, cohorts, tmp_path, monkeypatch):
    config = {"candidates": (1, 4)}
    fit_denoiser(cohorts[2], tmp_path / "whole", 2, config=config)
    interrupt(monkeypatch, lambda: fit_denoiser(cohorts[2], tmp_path / "killed", 2, config=config), **place)
    fit_denoiser(cohorts[2], tmp_path / "killed", 2, config=config, resume=True)
    for name in ("model.safetensors", "candidates/step_0001.safetensors", "candidates/step_0004.safetensors"):
        assert same(load_file(tmp_path / "killed" / name), load_file(tmp_path / "whole" / name)), name


def test_preprocessing_that_is_given_is_taken_if_its_dimensions_are_the_methods(cohorts, tmp_path):
    for dims in DIMS:
        given = Preprocessing(spatial_dims=dims, channels=cohorts[3].channels, spacing=(2.5,) * dims)
        model = fit_denoiser(cohorts[3], tmp_path / str(dims), 3, preprocessing=given, steps=1)
        assert (model.info.preprocessing == given) == (dims == 3)


def test_without_a_picture_there_are_no_pictures(cohorts, tmp_path):
    model = fit_denoiser(cohorts[2], tmp_path / "run", 2, steps=1)
    module = Denoising(nn.Conv2d(1, 1, 1), seed=0, ema_decay=0)
    preprocessing = model.info.preprocessing
    items = Crops(TrainingData(cases=cohorts[2], facts=None, preprocessing=preprocessing), (SIDE, SIDE), 0)
    recipe = Recipe(module=module, items=items, candidates={"first": 1})
    info = train(recipe, model.info, training=training(), out=tmp_path / "bare", resume=False)
    assert info.training["steps"] == 1
    assert list_candidates(tmp_path / "bare") == ("first",)
    assert not list((tmp_path / "bare").rglob("*.png"))


def test_a_fit_that_cannot_begin_says_why(cohorts, tmp_path):
    with pytest.raises(ConfigError, match="is no option"):
        fit_denoiser(cohorts[2], tmp_path / "run", 2, config={"nothing": 1})
    with pytest.raises(CohortError, match="no case with a lesion"):
        fit_denoiser(cohorts[2].healthy(), tmp_path / "run", 2)
    fit_denoiser(cohorts[2], tmp_path / "run", 2, steps=1)
    with pytest.raises(OutputError, match="already holds a training run"):
        fit_denoiser(cohorts[2], tmp_path / "run", 2, steps=1)
