"""Parts that every training run shares: the training cases in model space, the recipe, and the run itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning
from lightning.pytorch.callbacks import Callback
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.scan import Scan
from lesionforge.errors import ConfigError
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.training.callbacks.candidates import Candidates
from lesionforge.training.callbacks.preview import Preview
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.loop import TrainingConfig, fit
from lesionforge.training.model_folder import ModelInfo


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Training cases with their fingerprint and preprocessing.

    Attributes:
        cases: the readable training cases, ordered by case_id.
        facts: fingerprint of the cases.
        preprocessing: transforms scans to model space.
        prepare: applied to each scan before preprocessing.
    """

    cases: Cohort
    facts: Fingerprint
    preprocessing: Preprocessing
    prepare: Callable[[Scan], Scan] | None = None

    @cached_property
    def samples(self) -> Sequence[Sample]:
        """The cases in model space; each case is read once, at the first access."""
        return cached_samples(self.cases, self.preprocessing, prepare=self.prepare)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train, and on which items.

    Attributes:
        module: the networks with their training step. If a :class:`TrainedModel` is fitted or candidates are kept,
            ``module.result`` is the network to keep.
        items: map-style dataset; ``items[draw]`` depends only on the item number ``draw``.
        picture: returns a preview figure of the networks' output.
        candidates: name → step after which the result is also kept. The last of them ends the run.
        beside: tensors to save with the weights of the result.
        notes: name of a JSON file in the model folder → its content.
        callbacks: further Lightning callbacks.
    """

    module: lightning.LightningModule
    items: Dataset[Any]
    picture: Callable[[], Figure] | None = None
    candidates: Mapping[str, int] = field(default_factory=dict)
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    callbacks: tuple[Callback, ...] = ()


def given_or_fitted(
    given: Preprocessing | None, facts: Fingerprint, *, spatial_dims: Literal[2, 3], **options: Any
) -> Preprocessing:
    """Return the given preprocessing if it has these dimensions, else fit one on the training cases.

    Args:
        given: preprocessing to reuse, such as that of a task.
        facts: fingerprint of the training cases.
        spatial_dims: dimensions of the model.
        options: see :meth:`Preprocessing.fit`.

    Raises:
        ConfigError: if the given preprocessing has other channels, or the same in another order.
    """
    if given is not None and given.spatial_dims == spatial_dims:
        if given.channels != facts.channels:
            has, needs = (", ".join(names) for names in (given.channels, facts.channels))
            what = f"takes the channels {has}, but the training cases have {needs}, in this order"
            raise ConfigError("preprocessing", what, "give both the same channels in the same order")
        return given
    return Preprocessing.fit(facts, spatial_dims=spatial_dims, **options)


def train(recipe: Recipe, info: ModelInfo, *, training: TrainingConfig, out: Path, resume: bool) -> ModelInfo:
    """Train with previews and candidates, and return ``info`` with the number of steps made.

    Args:
        recipe: what to train.
        info: content of ``model.json`` before training.
        training: number of steps, batch size and device.
        out: the model folder.
        resume: continue the run in ``out``.

    Raises:
        LesionforgeError: see :func:`lesionforge.training.loop.fit`.
    """
    callbacks: list[Callback] = []
    if recipe.picture is not None and training.preview_minutes is not None:
        callbacks.append(Preview(recipe.picture, out / "previews", minutes=training.preview_minutes))
    if recipe.candidates:
        training = training.model_copy(update={"steps": max(recipe.candidates.values())})
        callbacks.append(Candidates(recipe.candidates, out, training, also=recipe.beside, draw=recipe.picture))
    callbacks.extend(recipe.callbacks)
    steps = fit(
        recipe.module, recipe.items, out=out, config=training, info=info, resume=resume, callbacks=tuple(callbacks)
    )
    return info.model_copy(update={"training": {**info.training, "steps": steps}})
