"""The classifier of real and drawn slices: what it is shown, and its training.

It is to judge what was drawn, not by what program the file was written. So intensities are brought to mean 0 and
spread 1 over the head of each slice, everything beside the head is 0, and all crops have one size, in pixels of one
spacing. Brightness, contrast, the range of the file, air that is not quite black and the size of the picture thus say
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import Dataset

from lesionforge.cohort.case import Case
from lesionforge.cohort.inspection.measure import foreground
from lesionforge.cohort.scan import BoolArray, FloatArray, load_scan
from lesionforge.config import MethodConfig
from lesionforge.errors import OutputError
from lesionforge.networks.googlenet import GoogLeNet
from lesionforge.preprocessing.crops import Crop
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.seeding import generator
from lesionforge.training.inference import device_of, one_thread
from lesionforge.training.log import is_logged
from lesionforge.training.loop import Device, TrainingConfig, fit, pick_device
from lesionforge.training.model_folder import ModelInfo, must_fit, read_info, read_tensors, save_model
from lesionforge.training.rng import torch_seed

LookAt = Literal["head", "lesion"]


class RealismConfig(MethodConfig):
    """Options of the realism classifier.

    Attributes:
        look_at: ``head``, where the whole image was drawn, or ``lesion``, where only that and its margin were.
        side: of a crop, in pixels of the spacing that slices are looked at in.
        width: factor on all widths of GoogLeNet.
        steps: optimiser steps of each training.
        batch_size: crops, half of them real.
        learning_rate: of Adam.
    """

    look_at: LookAt = "head"
    side: int = Field(default=96, ge=32)
    width: float = Field(default=0.25, gt=0)
    steps: int = Field(default=200, ge=1)
    batch_size: int = Field(default=16, ge=2, multiple_of=2)
    learning_rate: float = Field(default=1e-3, gt=0)


@dataclass(frozen=True, kw_only=True)
class View:
    """A slice as the classifier sees it.

    Attributes:
        image: ``(channel, x, y)``, mean 0 and spread 1 over the head, 0 beside it.
        places: ``(x, y)`` where the middle of a crop may lie.
    """

    image: NDArray[np.float16]
    places: BoolArray

    def crop_at(self, centre: Sequence[float], side: int) -> FloatArray:
        """Return the ``(channel, side, side)`` crop around a point."""
        return Crop.around(centre, (side, side), self.places.shape).cut(self.image).astype(np.float32)

    def random_crop(self, side: int, rng: np.random.Generator) -> FloatArray:
        """Return a crop at a random place, flipped at random along both axes."""
        place = np.unravel_index(rng.choice(np.flatnonzero(self.places)), self.places.shape)
        crop = self.crop_at([int(x) for x in place], side)
        flips = tuple(axis for axis in (1, 2) if rng.random() < 0.5)
        return np.ascontiguousarray(np.flip(crop, flips))

    def tiles(self, side: int) -> Iterator[FloatArray]:
        """Yield the fewest crops, evenly spread, that cover the box around all places."""
        middles = []
        for axis in (1, 0):
            (shown,) = np.nonzero(self.places.any(axis))
            first, last = int(shown[0]), int(shown[-1]) + 1
            count = -(-(last - first) // side)
            half = min(side, last - first) / 2
            middles.append(np.linspace(first + half, last - half, count) if count > 1 else [(first + last) / 2])
        yield from (self.crop_at((x, y), side) for x in middles[0] for y in middles[1])


def read_views(case: Case, preprocessing: Preprocessing, look_at: LookAt) -> list[View]:
    """Return the slices of a case that show a lesion in the spacing of ``preprocessing``; a small one may vanish there.

    Raises:
        CohortError: if the case cannot be read.
    """
    sample = preprocessing.forward(load_scan(case, preprocessing.channels))
    assert sample.label is not None
    head, lesion = foreground(sample.image[0]), sample.label > 0
    places = lesion if look_at == "lesion" else head
    if head.ndim == 2:
        return [_view(sample.image, head, places)] if places.any() else []
    shown = lesion.any((0, 1)) & places.any((0, 1))
    return [_view(sample.image[..., z], head[..., z], places[..., z]) for z in np.flatnonzero(shown)]


def _view(image: FloatArray, head: BoolArray, places: BoolArray) -> View:
    inside = image[:, head]
    mean, spread = (value[:, None, None] for value in (inside.mean(1), inside.std(1) + 1e-6))
    return View(image=(((image - mean) / spread) * head).astype(np.float16), places=places)


class RealOrDrawn(Dataset[dict[str, Tensor]]):
    """``items[draw]`` is a crop of a real slice where ``draw`` is even, else of a drawn one.

    Args:
        real: slices.
        drawn: slices of each cohort; every cohort is as likely as any other.
        side: of the crops.
        seed: all randomness comes from it and the draw number.
    """

    def __init__(self, real: Sequence[View], drawn: Sequence[Sequence[View]], *, side: int, seed: int) -> None:
        self.real, self.drawn, self.side, self.seed = real, drawn, side, seed

    def __len__(self) -> int:
        return 2 * len(self.real)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        rng = generator(self.seed, "crop", draw)
        is_real = draw % 2 == 0
        views = self.real if is_real else self.drawn[int(rng.integers(len(self.drawn)))]
        crop = views[int(rng.integers(len(views)))].random_crop(self.side, rng)
        return {"image": torch.from_numpy(crop), "real": torch.tensor(float(is_real))}


class RealismModule(lightning.LightningModule):
    """Cross-entropy with Adam.

    Args:
        network: ``(batch, channel, x, y)`` to ``(batch, 1)`` logits of being real.
        learning_rate: of Adam.
        seed: randomness of dropout comes from it and the step.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float, seed: int) -> None:
        super().__init__()
        self.network, self.learning_rate, self.seed = network, learning_rate, seed

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        with torch_seed(self.seed, "step", self.current_epoch, batch_index, self.global_rank):
            loss = binary_cross_entropy_with_logits(self.network(batch["image"])[:, 0], batch["real"])
        if is_logged(self.trainer):
            self.log("train/loss", loss.detach(), prog_bar=True)
        return loss

    def configure_optimizers(self) -> Any:
        """Adam."""
        return torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)


def fit_classifier(
    real: Sequence[View], drawn: Sequence[Sequence[View]], info: ModelInfo, *, out: Path, device: Device
) -> nn.Module:
    """Return what was trained on equal numbers of real and drawn slices, now or before, on its device.

    Args:
        real: slices.
        drawn: slices of each drawn cohort.
        info: options, and in ``training`` the seed.
        out: the model folder; a stopped run in it goes on.
        device: where to train and to judge.

    Raises:
        OutputError: if ``out`` holds a classifier of other images.
    """
    config, seed = RealismConfig.model_validate(info.config), info.training["seed"]
    with torch_seed(seed, "weights"):
        network = GoogLeNet(in_channels=len(info.preprocessing.channels), width=config.width)
    if (out / "model.json").is_file():
        kept, facts = read_info(out), {"config", "preprocessing", "training", "training_cases"}
        if kept.model_dump(include=facts) != info.model_dump(include=facts):
            raise OutputError(out, "holds a classifier of other images", "name a new folder")
        with must_fit(out):
            network.load_state_dict(read_tensors(out))
        return network.eval().to(pick_device(device))
    items = RealOrDrawn(real, drawn, side=config.side, seed=seed)
    module = RealismModule(network, learning_rate=config.learning_rate, seed=seed)
    training = TrainingConfig(steps=config.steps, batch_size=config.batch_size, seed=seed, device=device)
    fit(module, items, out=out, config=training, resume=True)
    save_model(out, info, dict(network.state_dict()))
    return network.eval().to(pick_device(device))


def probability_real(network: nn.Module, views: Sequence[View], side: int) -> float:
    """Return how probable it is that slices are real: the mean over the crops that cover them, then over the slices."""
    found, device = [], device_of(network)
    with one_thread(), torch.inference_mode():
        for view in views:
            crops = torch.from_numpy(np.stack(list(view.tiles(side))))
            found.append(float(torch.sigmoid(network(crops.to(device))).mean()))
    return float(np.mean(found))
