"""Which of the generators that were kept on the way a plan's synthesizer draws with."""

from __future__ import annotations

from lesionforge.benchmark.setting import Number, Setting
from lesionforge.production.select import RECOMMENDED, select_candidates
from lesionforge.reading import read_json
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.training.loop import Device


def choose(setting: Setting, number: Number, seed: int, name: str) -> None:
    """Choose among the candidates of a synthesizer, by the subjects that it was trained on, unless that is done."""
    plan, out = setting.plan.synthesizers[name], setting.selection_folder(number, seed, name)
    if plan.selection is None or (out / RECOMMENDED).is_file():
        return
    select_candidates(
        setting.model_folder(number, seed, name),
        setting.train[number, seed],
        out=out,
        config=plan.selection,
        seed=seed,
        device=setting.plan.training.device,
    )


def load_fitted(setting: Setting, number: Number, seed: int, name: str, *, device: Device | None = None) -> Synthesizer:
    """Return a fitted synthesizer: the recommended candidate where there was a choice, else the last.

    Args:
        setting: of the run.
        number: size of the training set.
        seed: of the run.
        name: of the synthesizer.
        device: where to draw; the run's unless given.
    """
    candidate = None
    if setting.plan.synthesizers[name].selection is not None:
        candidate = read_json(setting.selection_folder(number, seed, name) / RECOMMENDED)["recommended"]
    device = device or setting.plan.training.device
    return load_synthesizer(setting.model_folder(number, seed, name), candidate=candidate, device=device)
