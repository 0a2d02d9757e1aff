"""Weights of a VGG-16 classifier from a file of the user's own."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lesionforge.errors import ModelError

FIRST = "features.0.weight"
REMEDY = "give VGG-16 (without batch norm) in torchvision's key names, with its classifier"


def load_vgg16(network: nn.Module, path: Path) -> None:
    """Copy VGG-16 into the parameters ``features.…`` and ``classifier.…`` of a network of full width.

    Fully connected weights become those of convolutions. The first layer's filters for red, green and blue are summed,
    which is what they make of a grey image; several image channels share the sum equally. What else the file holds,
    such as the last layer of the classifier, is not used.

    Args:
        network: whose encoder has torchvision's names, such as :class:`~lesionforge.networks.fcn8s.FCN8s`.
        path: a ``.safetensors`` or ``.pth`` file; of the latter nothing but tensors is read.

    Raises:
        ModelError: if the file is missing or cannot be read, or a key is missing or of another shape.
    """
    found = _read(path)
    for name, parameter in network.named_parameters():
        if not name.startswith(("features.", "classifier.")):
            continue
        if not isinstance(found.get(name), Tensor):
            raise ModelError(path, f"has no {name}", REMEDY)
        weights = found[name]
        if name == FIRST and weights.ndim == 4:
            channels = parameter.shape[1]
            weights = weights.sum(1, keepdim=True).expand(-1, channels, -1, -1) / channels
        if _as_rows(weights) != _as_rows(parameter):
            what = f"{name} has the shape {tuple(found[name].shape)}, which VGG-16 has not"
            raise ModelError(path, what, REMEDY)
        parameter.data.copy_(weights.reshape(parameter.shape))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(path, "there is no such file", "name a file of weights, or leave the option out") from error
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ModelError(path, f"holds no weights that can be read ({type(error).__name__})", REMEDY) from error
    return found if isinstance(found, dict) else {}


def _as_rows(weights: Tensor) -> tuple[int, ...]:
    """Return the shape with all axes but the first as one."""
    return tuple(weights.reshape(weights.shape[0], -1).shape) if weights.ndim else ()
