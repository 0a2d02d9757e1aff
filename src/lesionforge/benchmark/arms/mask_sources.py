"""Where the lesions of a plan's synthesizers go, and how good its mask generators are."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lesionforge.benchmark.plan import SynthesizerPlan
from lesionforge.benchmark.setting import Number, Setting
from lesionforge.masks import MaskGAN, MaskSource, make_mask_source
from lesionforge.masks.edits import EditedMasks
from lesionforge.masks.ellipsoids import Ellipsoids
from lesionforge.masks.slice_masks import SliceBank
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.reading import read_frame
from lesionforge.scores.cohorts.mask_shapes import replays
from lesionforge.training.loop import Device


def mask_source(
    setting: Setting, number: Number, seed: int, plan: SynthesizerPlan, *, device: Device | None = None
) -> MaskSource:
    """Return where the lesions of a synthesizer go.

    Args:
        setting: of the run.
        number: size of the training set.
        seed: of the run.
        plan: of the synthesizer.
        device: where a mask generator draws; the run's unless given.
    """
    device = device or setting.plan.training.device
    if plan.mask_generator is not None:
        return MaskGAN.load(setting.mask_generator_folder(number, seed, plan.mask_generator), device=device)
    return make_mask_source(plan.masks, setting.train[number, seed], device=device)


def slice_masks(kind: str, samples: Sequence[Sample]) -> MaskSource:
    """Return a mask source for slices, made from the training subjects'."""
    if kind == "ellipsoids":
        return Ellipsoids()
    bank = SliceBank(samples)
    return EditedMasks(bank) if kind == "edited" else bank


def describe_mask_generators(setting: Setting) -> dict[str, str]:
    """Return, for each of the plan's mask generators, what its masks are like beside real ones it never saw."""
    shown = {
        "nearest_training_dice_median": "Dice with the nearest training mask",
        "volume_ml_median": "volume in ml",
        "location_correlation": "correlation of the place",
        "empty": "share that is empty",
    }
    described = {}
    for name, table in _mask_scores(setting).items():
        scores = _pairs(table)
        parts = [f"{text} {scores[key][0]:.2f} (real {scores[key][1]:.2f})" for key, text in shown.items()]
        described[f"Masks of {name}"] = ", ".join(parts)
    return described


def mask_warnings(setting: Setting) -> list[str]:
    """Return a line for each mask generator that repeats its training masks, or draws nothing more often than not."""
    warnings = []
    for name, table in _mask_scores(setting).items():
        if replays(table):
            warnings.append(f"The mask generator {name} repeats its training masks: see mask_scores.csv.")
        if _pairs(table)["empty"][0] > 0.5:
            warnings.append(f"The mask generator {name} draws nothing more often than not: train it for longer.")
    return warnings


def _mask_scores(setting: Setting) -> dict[str, pd.DataFrame]:
    """Return generator → the mean over seeds of its ``mask_scores.csv``, at the largest training set."""
    number, found = max(setting.plan.subjects.numbers), {}
    for name in setting.plan.mask_generators:
        files = [setting.mask_generator_folder(number, seed, name) / "mask_scores.csv" for seed in setting.plan.seeds]
        tables = [read_frame(file) for file in files if file.is_file()]
        if tables:
            found[name] = pd.concat(tables).groupby("score")[["drawn", "real"]].mean().reset_index()
    return found


def _pairs(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return score → its value of drawn and of real masks."""
    values = zip(table["drawn"].to_numpy(float), table["real"].to_numpy(float), strict=True)
    return dict(zip(map(str, table["score"]), values, strict=True))
