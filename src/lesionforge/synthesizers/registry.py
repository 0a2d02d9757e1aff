"""The registry of synthesizers (methods that draw lesions).

To add a synthesizer, add a line here, or an entry point in another package.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lesionforge.errors import ModelError
from lesionforge.registry import Registry

if TYPE_CHECKING:
    from lesionforge.synthesizers.base import Synthesizer
    from lesionforge.training.fitted_model import FittedModel
    from lesionforge.training.loop import Device

Kind = TypeVar("Kind", bound="FittedModel")
SYNTHESIZERS: Registry[Synthesizer] = Registry(
    "a synthesizer",
    {
        "pix2pix": "lesionforge.synthesizers.translation.pix2pix:Pix2Pix",
        "spade": "lesionforge.synthesizers.translation.spade:Spade",
        "cyclegan": "lesionforge.synthesizers.translation.cyclegan:CycleGAN",
        "copy_paste": "lesionforge.synthesizers.training_free.copy_paste:CopyPaste",
        "carvemix": "lesionforge.synthesizers.training_free.carvemix:CarveMix",
        "object_paste": "lesionforge.synthesizers.training_free.object_paste:ObjectPaste",
        "selfmix": "lesionforge.synthesizers.training_free.selfmix:SelfMix",
        "transformed_copy": "lesionforge.synthesizers.training_free.transformed_copy:TransformedCopy",
        "injection": "lesionforge.synthesizers.training_free.injection:Injection",
        "lesion_diffusion": "lesionforge.synthesizers.diffusion.lesion_diffusion:LesionDiffusion",
        "pseudo_healthy": "lesionforge.healers.pseudo_healthy:PseudoHealthy",
        "mask_cyclegan": "lesionforge.healers.mask_cyclegan:MaskCycleGAN",
    },
    group="lesionforge.synthesizers",
)


def load_synthesizer(folder: Path, *, candidate: str | None = None, device: Device = "cpu") -> Synthesizer:
    """Load a synthesizer from its model folder; only JSON and safetensors files are read.

    Args:
        folder: the model folder.
        candidate: name of a generator that was kept during training, such as ``epoch_050``; by default the final model.
        device: device that the synthesizer runs on. Data loader processes cannot use the CUDA device of their parent
            process, so synthesizers in such processes must stay on the CPU.

    Raises:
        ModelError: if the model is unfinished, damaged, of another version, or not a synthesizer, or if the candidate
            does not exist.

    Example:
        >>> from lesionforge.testing import tiny_cohort
        >>> cohort = tiny_cohort(Path("tiny"), spatial_dims=2)
        >>> from lesionforge import TrainingConfig
        >>> fit = SYNTHESIZERS["carvemix"].fit
        >>> _ = fit(cohort, channels=("FLAIR",), config={}, training=TrainingConfig(), out=Path("model"))
        >>> load_synthesizer(Path("model")).info.training_subjects
        ('sub_00', 'sub_01', 'sub_02', 'sub_03')
    """
    return load_model(folder, SYNTHESIZERS, candidate=candidate, device=device)


def load_model(
    folder: Path, methods: Mapping[str, type[Kind]], *, candidate: str | None = None, device: Device = "cpu"
) -> Kind:
    """Load a model folder of one of the ``methods``; see :func:`load_synthesizer`."""
    from lesionforge.training.loop import pick_device
    from lesionforge.training.model_folder import must_fit, read_info, read_tensors

    info = read_info(folder)
    if info.method not in methods:
        remedy = f"name a model that `lesionforge train` made with one of {', '.join(methods)}"
        raise ModelError(folder, f"is a model of {info.method}", remedy)
    method = methods[info.method]
    tensors = read_tensors(folder, candidate=candidate, with_gaps=method.with_gaps)
    if candidate is not None:
        info = info.model_copy(update={"training": {**info.training, "candidate": candidate}})
    with must_fit(folder):
        method.Config.model_validate(info.config)
        return method.from_tensors(info, tensors).to(pick_device(device))
