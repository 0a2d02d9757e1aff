"""The methods by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from lesionforge.errors import ConfigError, ModelError
from lesionforge.synthesizers.base import FittedModel, Synthesizer
from lesionforge.synthesizers.carvemix import CarveMix
from lesionforge.synthesizers.copy_paste import CopyPaste
from lesionforge.synthesizers.cyclegan import CycleGAN
from lesionforge.synthesizers.healing import Healer
from lesionforge.synthesizers.healing_baselines import HealingCycleGAN, HealingGAN
from lesionforge.synthesizers.injection import Injection
from lesionforge.synthesizers.pix2pix import Pix2Pix
from lesionforge.synthesizers.pseudo_healthy import PseudoHealthy
from lesionforge.synthesizers.spade import Spade
from lesionforge.synthesizers.transformed_copy import TransformedCopy
from lesionforge.training.loop import Device, pick_device
from lesionforge.training.model_folder import must_fit, read_info, read_tensors

Kind = TypeVar("Kind", bound=FittedModel)
SYNTHESIZERS: dict[str, type[Synthesizer]] = {
    "pix2pix": Pix2Pix,
    "spade": Spade,
    "cyclegan": CycleGAN,
    "copy_paste": CopyPaste,
    "carvemix": CarveMix,
    "transformed_copy": TransformedCopy,
    "injection": Injection,
    "pseudo_healthy": PseudoHealthy,
}
HEALERS: dict[str, type[Healer]] = {
    "pseudo_healthy": PseudoHealthy,
    "healing_gan": HealingGAN,
    "healing_cyclegan": HealingCycleGAN,
}


def find_method(name: str) -> type[Synthesizer]:
    """Return the method of this name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in SYNTHESIZERS:
        raise ConfigError(name, "is no synthesizer", f"choose from {', '.join(SYNTHESIZERS)}")
    return SYNTHESIZERS[name]


def find_trainable(name: str) -> type[FittedModel]:
    """Return the synthesizer or healer of this name.

    Raises:
        ConfigError: if there is none.
    """
    known = {**SYNTHESIZERS, **HEALERS}
    if name not in known:
        raise ConfigError(name, "is no method", f"choose from {', '.join(known)}")
    return known[name]


def load_synthesizer(folder: Path, *, candidate: str | None = None, device: Device = "cpu") -> Synthesizer:
    """Load the model folder of what draws lesions; only JSON and safetensors are read.

    Args:
        folder: the model folder.
        candidate: name of one of those that were kept while it trained, such as ``epoch_050``.
        device: where to draw. A process that loads data cannot use the CUDA device of the process that started it, so
            what draws in loader processes stays on the CPU.

    Raises:
        ModelError: if it is unfinished, damaged, of another version, of something else, or has no such candidate.
    """
    return _load(folder, SYNTHESIZERS, candidate).to(pick_device(device))


def load_healer(folder: Path, *, device: Device = "cpu") -> Healer:
    """Load the model folder of what removes lesions; only JSON and safetensors are read.

    Args:
        folder: the model folder.
        device: where to heal.

    Raises:
        ModelError: if it is unfinished, damaged, of another version, or of something else.
    """
    return _load(folder, HEALERS).to(pick_device(device))


def _load(folder: Path, methods: Mapping[str, type[Kind]], candidate: str | None = None) -> Kind:
    info = read_info(folder)
    if info.method not in methods:
        remedy = f"name a model that `lesionforge train` made of {', '.join(methods)}"
        raise ModelError(folder, f"is a model of {info.method}", remedy)
    tensors = read_tensors(folder, candidate=candidate, with_gaps=methods[info.method].with_gaps)
    if candidate is not None:
        info = info.model_copy(update={"training": {**info.training, "candidate": candidate}})
    with must_fit(folder):
        methods[info.method].Config.model_validate(info.config)
        return methods[info.method].from_tensors(info, tensors)
