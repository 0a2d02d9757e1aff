"""Where the lesions of a plan's synthesizers go."""

from __future__ import annotations

from collections.abc import Sequence

from lesionforge.benchmark.plan import SynthesizerPlan
from lesionforge.benchmark.setting import Number, Setting
from lesionforge.masks import MaskGAN, MaskSource, make_mask_source
from lesionforge.masks.edit import EditedMasks
from lesionforge.masks.ellipsoid import Ellipsoids
from lesionforge.masks.slices import SliceBank
from lesionforge.preprocessing.pipeline import Sample


def mask_source(setting: Setting, number: Number, seed: int, plan: SynthesizerPlan) -> MaskSource:
    """Return where the lesions of a synthesizer go."""
    if plan.mask_generator is not None:
        return MaskGAN.load(setting.mask_generator_folder(number, seed, plan.mask_generator))
    return make_mask_source(plan.masks, setting.train[number])


def slice_masks(kind: str, samples: Sequence[Sample]) -> MaskSource:
    """Return a mask source for slices, made from the training subjects'."""
    if kind == "ellipsoids":
        return Ellipsoids()
    bank = SliceBank(samples)
    return EditedMasks(bank) if kind == "edited" else bank
