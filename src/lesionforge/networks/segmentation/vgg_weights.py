"""VGG-16 weights read from a file that the user provides."""

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
    """Copy VGG-16 weights from a file into a network of full width.

    Only parameters named ``features.…`` and ``classifier.…`` are filled. Weights of fully connected layers are reshaped
    for convolutions. The red, green and blue filters of the first layer are summed, which is their response to a grey
    image; several image channels share the sum equally. Other entries of the file, such as the classifier's last layer,
    are ignored.

    Args:
        network: network with torchvision's parameter names, such as
            :class:`~lesionforge.networks.segmentation.fcn8s.FCN8s`.
        path: a ``.safetensors`` or ``.pth`` file; only tensors are read from a ``.pth`` file.

    Raises:
        ModelError: if the file is missing or unreadable, or if a key is missing or has another shape.
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
            what = f"{name} has the shape {tuple(found[name].shape)}, which does not fit VGG-16"
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
    """Return the shape with all axes but the first merged into one."""
    return tuple(weights.reshape(weights.shape[0], -1).shape) if weights.ndim else ()
