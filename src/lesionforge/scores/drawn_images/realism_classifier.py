"""Classifier of real and drawn slices: its input and its training.

The classifier should judge the drawing and not the program that wrote the file. So each slice is normalised to mean 0
and standard deviation 1 over the head and set to 0 outside it, and all crops have the same size in pixels at the same
spacing. The classifier therefore cannot use brightness, contrast, the intensity range of the file, air that is not
quite black, or the image size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
from lesionforge.training.loop import Device, TrainingConfig, fit, pick_device
from lesionforge.training.loss_module import LossModule
from lesionforge.training.model_folder import ModelInfo, must_fit, read_info, read_tensors, save_model
from lesionforge.training.rng import torch_seed

LookAt = Literal["head", "lesion"]


class RealismConfig(MethodConfig):
    """Options of the realism classifier.

    Attributes:
        look_at: ``head`` if the whole image was drawn, or ``lesion`` if only the lesion and its margin were.
        side: side of a crop in pixels, at the spacing of the slices.
        width: factor on all widths of GoogLeNet.
        steps: optimiser steps of each classifier.
        batch_size: number of crops per batch, half of them real.
        learning_rate: learning rate of Adam.
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
        image: ``(channel, x, y)``, mean 0 and standard deviation 1 over the head, 0 outside it.
        places: ``(x, y)`` mask of possible crop centres.
    """

    image: NDArray[np.float16]
    places: BoolArray

    def crop_at(self, centre: Sequence[float], side: int) -> FloatArray:
        """Return the ``(channel, side, side)`` crop around a centre."""
        return Crop.around(centre, (side, side), self.places.shape).cut(self.image).astype(np.float32)

    def random_crop(self, side: int, rng: np.random.Generator) -> FloatArray:
        """Return a crop at a random place, flipped at random along both axes."""
        place = np.unravel_index(rng.choice(np.flatnonzero(self.places)), self.places.shape)
        crop = self.crop_at([int(x) for x in place], side)
        flips = tuple(axis for axis in (1, 2) if rng.random() < 0.5)
        return np.ascontiguousarray(np.flip(crop, flips))

    def tiles(self, side: int) -> Iterator[FloatArray]:
        """Yield evenly spaced crops that cover the bounding box of all places with as few crops as possible."""
        middles = []
        for axis in (1, 0):
            (shown,) = np.nonzero(self.places.any(axis))
            first, last = int(shown[0]), int(shown[-1]) + 1
            count = -(-(last - first) // side)
            half = min(side, last - first) / 2
            middles.append(np.linspace(first + half, last - half, count) if count > 1 else [(first + last) / 2])
        yield from (self.crop_at((x, y), side) for x in middles[0] for y in middles[1])


def read_views(case: Case, preprocessing: Preprocessing, look_at: LookAt) -> list[View]:
    """Return the slices of a case that show a lesion at the spacing of ``preprocessing``.

    A small lesion may vanish at that spacing, so the result can be empty.

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
    """Dataset of crops: ``items[draw]`` is a crop of a real slice if ``draw`` is even, else of a drawn slice.

    Args:
        real: real slices.
        drawn: drawn slices of each cohort; all cohorts are equally likely.
        side: side of the crops in pixels.
        seed: seed of all randomness, together with the item number.
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


class RealismModule(LossModule):
    """Lightning module that trains the classifier with cross-entropy and Adam.

    Args:
        network: maps ``(batch, channel, x, y)`` to ``(batch, 1)`` logits of being real.
        learning_rate: learning rate of Adam.
        seed: seed of the dropout, which also depends on the step.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float, seed: int) -> None:
        super().__init__()
        self.network, self.learning_rate, self.seed = network, learning_rate, seed

    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the cross-entropy of a batch of ``image`` and ``real``."""
        return binary_cross_entropy_with_logits(self.network(batch["image"])[:, 0], batch["real"])

    def configure_optimizers(self) -> Any:
        """Return Adam."""
        return torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)


def fit_classifier(
    real: Sequence[View], drawn: Sequence[Sequence[View]], info: ModelInfo, *, out: Path, device: Device
) -> nn.Module:
    """Train a classifier on equal numbers of real and drawn slices, or load it if ``out`` holds a finished one.

    Args:
        real: real slices.
        drawn: drawn slices of each cohort.
        info: options and preprocessing, and in ``training`` the seed.
        out: the model folder; an interrupted run in it is continued.
        device: device for training and judging.

    Returns:
        The classifier on its device, in evaluation mode.

    Raises:
        OutputError: if ``out`` holds a classifier of other images.
    """
    config, seed = RealismConfig.model_validate(info.config), info.training["seed"]
    info = info.model_copy(update={"training": {**info.training, "images": _digest_of(real, drawn)}})
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
    fit(module, items, out=out, config=training, info=info, resume=True)
    save_model(out, info, dict(network.state_dict()))
    return network.eval().to(pick_device(device))


def _digest_of(real: Sequence[View], drawn: Sequence[Sequence[View]]) -> str:
    """Return the SHA-256 of all slices that a classifier is trained on."""
    content = hashlib.sha256()
    for views in (real, *drawn):
        content.update(f"{len(views)}".encode())
        for view in views:
            content.update(f"{view.image.shape}".encode() + view.image.tobytes() + view.places.tobytes())
    return content.hexdigest()


def probability_real(network: nn.Module, views: Sequence[View], side: int) -> float:
    """Return the mean probability that slices are real, over the crops that cover each slice and then over slices."""
    found, device = [], device_of(network)
    with one_thread(), torch.inference_mode():
        for view in views:
            crops = torch.from_numpy(np.stack(list(view.tiles(side))))
            found.append(float(torch.sigmoid(network(crops.to(device))).mean()))
    return float(np.mean(found))
