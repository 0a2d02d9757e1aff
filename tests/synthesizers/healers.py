"""Small healers for tests."""

import torch
from torch import nn

from lesionforge.cohort.scan import load_scan
from lesionforge.healers.registry import HEALERS
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.training.model_folder import ModelInfo
from lesionforge.training.rng import torch_seed

SMALL = {"channels": (4, 8), "blocks": 1, "critic_channels": (4, 8), "width": 1.0}


def healer_options(method, spatial_dims, **options):
    """Options of networks that train in a second."""
    segmentor = {"segmentor_channels": (4, 8)} if method == "pseudo_healthy" else {}
    return {**SMALL, **segmentor, "spatial_dims": spatial_dims, "roi_size": (16,) * spatial_dims, **options}


def healer_info(method, spatial_dims, *, channels=("FLAIR",), labels=None, preprocessing=None, **options):
    """What ``model.json`` would say of an untrained healer."""
    config = HEALERS[method].Config(**healer_options(method, spatial_dims, **options))
    return ModelInfo(
        method=method,
        config=config.model_dump(mode="json"),
        preprocessing=preprocessing or Preprocessing(spatial_dims=spatial_dims, channels=tuple(channels)),
        labels=labels or {"background": 0, "lesion": 1},
        training_cases=("trained_on",),
        training_subjects=("somebody",),
    )


def untrained_healer(method, cohort, *, spatial_dims=None, preprocessing=None, **options):
    """A healer as it is before training: it draws something else than the scan, and the same every time."""
    dims = spatial_dims or load_scan(cohort.cases[0], cohort.channels[:1]).spatial_dims
    known = {"channels": cohort.channels, "labels": dict(cohort.labels), "preprocessing": preprocessing}
    info = healer_info(method, dims, **known, **options)
    with torch_seed(0, "test"):
        networks = HEALERS[method].generators(info)
        for weight in networks.parameters():
            weight.data.normal_(0, 0.1)
    return HEALERS[method](info, networks)


class Bright(nn.Module):
    """Finds what is brighter than a level in the first channel, as the first of some classes."""

    def __init__(self, level, classes=1):
        super().__init__()
        self.level, self.classes = level, classes

    def forward(self, x):
        found = (x[:, :1] > self.level).float()
        return torch.cat([found, *[torch.zeros_like(found)] * (self.classes - 1)], 1)


class Dim(nn.Module):
    """Draws what is brighter than a level at half of that level."""

    def __init__(self, level):
        super().__init__()
        self.level = level

    def forward(self, x):
        return torch.where(x > self.level, torch.full_like(x, self.level / 2), x)


class Brighten(nn.Module):
    """Draws an image whose mask, in its other channels, is at full brightness."""

    def __init__(self, channels=1):
        super().__init__()
        self.channels = channels

    def forward(self, x):
        image, mask = x[:, : self.channels], x[:, self.channels :].amax(1, keepdim=True)
        return image * (1 - mask) + mask


def perfect_healer(cohort, *, level=0.8, **options):
    """A pseudo-healthy model that finds, dims and brightens exactly what is brighter than a level."""
    healer = untrained_healer("pseudo_healthy", cohort, **options)
    networks = {
        "generator": Dim(level),
        "segmentor": Bright(level, len(healer.info.classes)),
        "reconstructor": Brighten(len(cohort.channels)),
    }
    return type(healer)(healer.info, nn.ModuleDict(networks))
