"""The methods by name."""

from pathlib import Path

from lesionforge.errors import ConfigError, ModelError
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.carvemix import CarveMix
from lesionforge.synthesizers.copy_paste import CopyPaste
from lesionforge.synthesizers.cyclegan import CycleGAN
from lesionforge.synthesizers.injection import Injection
from lesionforge.synthesizers.pix2pix import Pix2Pix
from lesionforge.synthesizers.spade import Spade
from lesionforge.training.model_folder import must_fit, read_info, read_tensors

SYNTHESIZERS: dict[str, type[Synthesizer]] = {
    "pix2pix": Pix2Pix,
    "spade": Spade,
    "cyclegan": CycleGAN,
    "copy_paste": CopyPaste,
    "carvemix": CarveMix,
    "injection": Injection,
}


def find_method(name: str) -> type[Synthesizer]:
    """Return the method of this name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in SYNTHESIZERS:
        raise ConfigError(name, "is no synthesizer", f"choose from {', '.join(SYNTHESIZERS)}")
    return SYNTHESIZERS[name]


def load_synthesizer(folder: Path) -> Synthesizer:
    """Load a model folder; only JSON and safetensors are read.

    Raises:
        ModelError: if it is unfinished, damaged, or of another version.
    """
    info = read_info(folder)
    if info.method not in SYNTHESIZERS:
        raise ModelError(folder, f"is a model of {info.method}", "name a model that `lesionforge train` made")
    tensors = read_tensors(folder)
    with must_fit(folder):
        return find_method(info.method).from_tensors(info, tensors)
