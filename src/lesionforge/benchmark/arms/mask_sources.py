"""Mask sources of a plan's synthesizers, and quality checks of its mask generators."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.arms.repeats import Arms, Repeat
from lesionforge.config import parse_options
from lesionforge.masks import MaskGAN, MaskSource, make_mask_source
from lesionforge.masks.bank_config import BankConfig
from lesionforge.masks.edits import EditedMasks
from lesionforge.masks.ellipsoids import Ellipsoids, EllipsoidsConfig
from lesionforge.masks.interpolated import InterpolatedMasks, InterpolationConfig
from lesionforge.masks.own import OwnOrOther
from lesionforge.masks.semi_random import SemiRandom, SemiRandomConfig
from lesionforge.masks.slice_masks import SliceBank
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.reading import read_frame
from lesionforge.scores.cohorts.mask_shapes import replays
from lesionforge.training.loop import Device


def mask_source(repeat: Repeat, plan: SynthesizerPlan, *, device: Device | None = None) -> MaskSource:
    """Return the mask source of a synthesizer.

    Args:
        repeat: provides the training subjects whose masks are used.
        plan: the synthesizer's part of the plan.
        device: device of a mask generator; that of the plan by default.
    """
    device = device or repeat.plan.training.device
    source: MaskSource
    if plan.mask_generator is not None:
        source = MaskGAN.load(repeat.mask_generator_folder(plan.mask_generator), device=device)
    else:
        source = make_mask_source(plan.masks, repeat.train, device=device, options=plan.mask_options)
    return source if plan.own_share is None else OwnOrOther(source, plan.own_share)


def slice_masks(repeat: Repeat, plan: SynthesizerPlan, samples: Sequence[Sample]) -> MaskSource:
    """Return the mask source of a synthesizer that draws into slices; real masks are those of their slices.

    Args:
        repeat: provides the training subjects whose masks are used.
        plan: the synthesizer's part of the plan.
        samples: the training samples.
    """
    if plan.masks == "ellipsoids":
        return Ellipsoids(**parse_options(EllipsoidsConfig, plan.mask_options).model_dump())
    if plan.masks == "semi_random":
        return SemiRandom(SliceBank(samples), parse_options(SemiRandomConfig, plan.mask_options))
    if plan.masks not in ("bank", "edited", "interpolated"):
        return mask_source(repeat, plan)
    if plan.masks == "interpolated":
        how = parse_options(InterpolationConfig, plan.mask_options)
        return InterpolatedMasks(SliceBank(samples, flatten_sizes=how.flatten_sizes), how)
    bank = SliceBank(samples, flatten_sizes=parse_options(BankConfig, plan.mask_options).flatten_sizes)
    return bank if plan.masks == "bank" else EditedMasks(bank)


def describe_mask_generators(study: Arms) -> dict[str, str]:
    """Return row name → text for the report, comparing each mask generator's masks with real masks it never saw."""
    shown = {
        "nearest_training_dice_median": "Dice with the nearest training mask",
        "volume_ml_median": "volume in ml",
        "location_correlation": "correlation of the place",
        "empty": "share that is empty",
    }
    described = {}
    for name, table in _mask_scores(study).items():
        scores = _pairs(table)
        parts = [f"{text} {scores[key][0]:.2f} (real {scores[key][1]:.2f})" for key, text in shown.items()]
        described[f"Masks of {name}"] = ", ".join(parts)
    return described


def mask_warnings(study: Arms) -> list[str]:
    """Return a warning for each mask generator that replays its training masks or mostly draws empty masks."""
    warnings = []
    for name, table in _mask_scores(study).items():
        if replays(table):
            warnings.append(f"The mask generator {name} repeats its training masks: see mask_scores.csv.")
        if _pairs(table)["empty"][0] > 0.5:
            warnings.append(f"The mask generator {name} draws nothing more often than not: train it for longer.")
    return warnings


def _mask_scores(study: Arms) -> dict[str, pd.DataFrame]:
    """Return mask generator → its ``mask_scores.csv`` averaged over seeds, at the largest training-set size."""
    largest, found = max(study.plan.subjects.numbers), {}
    repeats = [study.repeat(largest, seed) for seed in study.plan.seeds]
    for name in study.plan.mask_generators:
        files = [repeat.mask_generator_folder(name) / "mask_scores.csv" for repeat in repeats]
        tables = [read_frame(file) for file in files if file.is_file()]
        if tables:
            found[name] = pd.concat(tables).groupby("score")[["drawn", "real"]].mean().reset_index()
    return found


def _pairs(table: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return score → its values for drawn and for real masks."""
    values = zip(table["drawn"].to_numpy(float), table["real"].to_numpy(float), strict=True)
    return dict(zip(map(str, table["score"]), values, strict=True))
