"""CUDA as far as it can be had without: networks are asked to go there, and compute where they are."""

from types import SimpleNamespace

import torch
from torch import nn


def pretend_cuda(monkeypatch):
    """Return the list of all requests from now on, ``(class of the network, device)``; nothing moves."""
    asked = []

    def to(self, device):
        asked.append((type(self).__name__, str(device)))
        return self

    there = SimpleNamespace(**{**vars(torch), "cuda": SimpleNamespace(is_available=lambda: True)})
    monkeypatch.setattr("lesionforge.training.loop.torch", there)
    monkeypatch.setattr(nn.Module, "to", to)
    return asked


def networks_of(model):
    """Return the networks that a model holds."""
    return [value for value in vars(model).values() if isinstance(value, nn.Module)]
