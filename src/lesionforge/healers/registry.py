"""The registry of healers (methods that remove lesions).

To add a healer, add a line here, or an entry point in another package.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lesionforge.errors import ConfigError, choose_from
from lesionforge.registry import Registry
from lesionforge.synthesizers.registry import SYNTHESIZERS, load_model

if TYPE_CHECKING:
    from lesionforge.healers.base import Healer
    from lesionforge.training.fitted_model import FittedModel
    from lesionforge.training.loop import Device

HEALERS: Registry[Healer] = Registry(
    "a method that removes lesions",
    {
        "pseudo_healthy": "lesionforge.healers.pseudo_healthy:PseudoHealthy",
        "healing_gan": "lesionforge.healers.baselines:HealingGAN",
        "healing_cyclegan": "lesionforge.healers.baselines:HealingCycleGAN",
        "mask_cyclegan": "lesionforge.healers.mask_cyclegan:MaskCycleGAN",
    },
    group="lesionforge.healers",
)


def load_healer(folder: Path, *, device: Device = "cpu") -> Healer:
    """Load a healer from its model folder; only JSON and safetensors files are read.

    Args:
        folder: the model folder.
        device: device that the healer runs on.

    Raises:
        ModelError: if the model is unfinished, damaged, of another version, or not a healer.
    """
    return load_model(folder, HEALERS, device=device)


def find_trainable(name: str) -> type[FittedModel]:
    """Return the synthesizer or healer with this name.

    Raises:
        ConfigError: if no method has this name.
    """
    for methods in (SYNTHESIZERS, HEALERS):
        if name in methods:
            return methods[name]
    raise ConfigError(name, "is no method", choose_from([*SYNTHESIZERS, *HEALERS]))
