"""A copy detector: an encoder that maps an image and its varied copies to similar embeddings.

It is trained here, on the training and the held-out scans together, so it prefers neither. Source: the contrastive loss
of SimCLR (Chen et al. 2020), with the variations that a copy may have: shifts, noise and contrast. Flips are tried when
images are compared, since a small network learns to ignore them at the cost of all else.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from monai.losses import ContrastiveLoss
from monai.networks.nets import Regressor
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from lesionforge.audit.audit_config import EncoderConfig
from lesionforge.audit.correlation import Nearest, flips, in_parts, shifted
from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.seeding import generator
from lesionforge.training.inference import in_sub_batches
from lesionforge.training.loop import Device, TrainingConfig, fit, pick_device
from lesionforge.training.loss_module import LossModule
from lesionforge.training.rng import torch_seed

CONTRAST = 0.2
BATCH = 64


class VariedPairs(Dataset[dict[str, Tensor]]):
    """Dataset of two random variations, ``first`` and ``second``, of an image.

    The images are dealt in random order, each once per epoch.

    Args:
        images: ``(image, channel, x, y[, z])`` of norm 1.
        max_shift: largest shift along each axis, in voxels.
        noise: largest standard deviation of the noise, as a multiple of the image's own.
        seed: seed of all randomness, together with the item number.
    """

    def __init__(self, images: FloatArray, *, max_shift: int, noise: float, seed: int) -> None:
        self.images, self.max_shift, self.noise, self.seed = torch.from_numpy(images), max_shift, noise, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, draw: int) -> dict[str, Tensor]:
        epoch, place = divmod(draw, len(self.images))
        image = self.images[int(generator(self.seed, "order", epoch).permutation(len(self.images))[place])]
        rng = generator(self.seed, "variation", draw)
        return {name: varied(image, rng, max_shift=self.max_shift, noise=self.noise) for name in ("first", "second")}


def varied(image: Tensor, rng: np.random.Generator, *, max_shift: int, noise: float) -> Tensor:
    """Return an image shifted, changed in contrast and with noise, each at random, scaled to norm 1.

    Args:
        image: ``(channel, x, y[, z])``.
        rng: source of all randomness.
        max_shift: largest shift along each axis in voxels, but at most a quarter of the grid.
        noise: largest standard deviation of the noise, as a multiple of the image's own.
    """
    axes = range(1, image.dim())
    most = [min(max_shift, n // 4) for n in image.shape[1:]]
    image = shifted(image, [int(rng.integers(-shift, shift + 1)) for shift in most], list(axes))
    gain = rng.uniform(1 - CONTRAST, 1 + CONTRAST, (len(image), *[1] * len(axes)))
    spread = rng.uniform(0, noise) * float(image.std())
    image = image * torch.from_numpy(gain).float()
    image = image + spread * torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))
    return image / image.norm().clamp(min=1e-12)


class ContrastiveModule(LossModule):
    """Lightning module that trains an encoder with the contrastive loss and Adam."""

    def __init__(self, network: nn.Module, config: EncoderConfig, *, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.network, self.config, self.loss = network, config, ContrastiveLoss(config.temperature)

    def loss_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the contrastive loss of a batch of ``first`` and ``second`` views."""
        loss: Tensor = self.loss(self.network(batch["first"]), self.network(batch["second"]))
        return loss

    def configure_optimizers(self) -> Any:
        """Return Adam."""
        return torch.optim.Adam(self.network.parameters(), lr=self.config.learning_rate)


def fit_encoder(
    images: FloatArray, config: EncoderConfig, *, max_shift: int, seed: int, device: Device = "auto"
) -> nn.Module:
    """Train an encoder on images and return it in evaluation mode.

    Args:
        images: ``(image, channel, x, y[, z])`` of norm 1; at least two.
        config: options of the encoder.
        max_shift: largest shift between an image and its copy, in voxels.
        seed: seed of the weights and the items.
        device: device for training.
    """
    side = min(images.shape[2:])
    depth = max(1, min(len(config.channels), int(np.log2(side)) - 1))
    channels = config.channels[:depth]
    with torch_seed(seed, "weights"):
        network = Regressor(images.shape[1:], (config.features,), channels, (2,) * depth, num_res_units=0)
    items = VariedPairs(images, max_shift=max_shift, noise=config.noise, seed=seed)
    training = TrainingConfig(
        steps=config.steps, batch_size=min(config.batch_size, len(images)), seed=seed, device=device
    )
    with TemporaryDirectory() as folder:
        fit(ContrastiveModule(network, config, seed=seed), items, out=Path(folder) / "encoder", config=training)
    return network.eval().to(pick_device(device))


def nearest_by_encoder(
    queries: FloatArray, among: FloatArray, allowed: BoolArray | None = None, *, network: nn.Module
) -> Nearest:
    """Return the image whose embedding has the highest cosine similarity for each query, over all flips of the query.

    Args:
        queries: ``(query, channel, x, y[, z])``.
        among: ``(image, channel, x, y[, z])``, on the same grid.
        allowed: ``(query, image)`` pairs to compare; all by default.
        network: the encoder.
    """
    if not len(queries) or not len(among):
        return Nearest.of_none(len(queries))
    table = _embeddings(network, among).T

    def search(queries: FloatArray, allowed: BoolArray | None) -> Nearest:
        turned = (np.flip(queries, tuple(axis + 2 for axis in axes)) for axes in flips(queries.ndim - 2))
        cosines = reduce(np.maximum, (_embeddings(network, images) @ table for images in turned))
        if allowed is not None:
            cosines = np.where(allowed, cosines, -np.inf)
        index = cosines.argmax(1)
        return Nearest.where_allowed(np.minimum(cosines[np.arange(len(cosines)), index], 1.0), index)

    return in_parts(search, queries, allowed)


def _embeddings(network: nn.Module, images: FloatArray) -> NDArray[np.float64]:
    """Return the embeddings of images, of norm 1."""
    found = in_sub_batches(network, np.ascontiguousarray(images), size=BATCH).astype(np.float64)
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12))
