"""Selects and loads the generator of a plan's synthesizer among those saved during training."""

from __future__ import annotations

from lesionforge.benchmark.arms.repeats import Repeat
from lesionforge.benchmark.report.made_of import timed
from lesionforge.production.select import RECOMMENDED, select_candidates
from lesionforge.reading import read_json
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.training.loop import Device


def choose(repeat: Repeat, name: str) -> str:
    """Select one of a synthesizer's candidates, using only its training subjects."""
    plan = repeat.plan.synthesizers[name]
    assert plan.selection is not None
    folder = repeat.selection_folder(name)
    with timed(folder):
        result = select_candidates(
            repeat.model_folder(name),
            repeat.train,
            out=folder,
            config=plan.selection,
            seed=repeat.seed,
            device=repeat.plan.training.device,
        )
    return f"{name}, {repeat}: {result.recommended} is the best of its candidates"


def load_fitted(repeat: Repeat, name: str, *, device: Device | None = None) -> Synthesizer:
    """Return a fitted synthesizer: the recommended candidate if one was selected, else the last one.

    Args:
        repeat: training-set size and seed that it was fitted for.
        name: name of the synthesizer.
        device: device to draw on; that of the plan by default.
    """
    candidate = None
    if repeat.plan.synthesizers[name].selection is not None:
        candidate = read_json(repeat.selection_folder(name) / RECOMMENDED)["recommended"]
    device = device or repeat.plan.training.device
    return load_synthesizer(repeat.model_folder(name), candidate=candidate, device=device)
