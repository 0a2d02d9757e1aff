"""What every fit shares: the training cases in model space, what is trained on them, and the run itself."""

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
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.training.candidates import Candidates
from lesionforge.training.loop import TrainingConfig, fit
from lesionforge.training.model_folder import ModelInfo
from lesionforge.training.preview import Preview
from lesionforge.training.samples import cached_samples


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """The training cases, and what they look like.

    Attributes:
        cases: those that can be read, ordered by id.
        facts: what they look like in numbers.
        preprocessing: brings them to model space.
    """

    cases: Cohort
    facts: Fingerprint
    preprocessing: Preprocessing

    @cached_property
    def samples(self) -> Sequence[Sample]:
        """The cases in model space, each read once, when they are first asked for."""
        return cached_samples(self.cases, self.preprocessing)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, and on what.

    Attributes:
        module: the networks with their training step. Where a :class:`TrainedModel` is fitted, or candidates are kept,
            ``module.result`` is the network to keep.
        items: ``items[draw]`` is a training item, a function of the draw number alone.
        picture: shows what the networks make of some items.
        candidates: name → step after which the result is kept, too. The last of them ends the training.
        beside: tensors that are kept beside the result's weights.
        notes: name of a JSON file of the model folder → its content.
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
    """Return the given preprocessing if it has these dimensions, else one that is fitted on the training cases.

    Args:
        given: such as that of a task.
        facts: of the training cases.
        spatial_dims: of the model.
        options: see :meth:`Preprocessing.fit`.
    """
    if given is not None and given.spatial_dims == spatial_dims:
        return given
    return Preprocessing.fit(facts, spatial_dims=spatial_dims, **options)


def train(recipe: Recipe, info: ModelInfo, *, training: TrainingConfig, out: Path, resume: bool) -> ModelInfo:
    """Train, with previews and candidates on the way, and return ``info`` with the steps that were made.

    Args:
        recipe: what to train.
        info: ``model.json`` as far as it is known.
        training: length, batch size and machine.
        out: the model folder.
        resume: go on with the run in ``out``.

    Raises:
        LesionforgeError: see :func:`lesionforge.training.loop.fit`.
    """
    callbacks: list[Callback] = []
    if recipe.picture is not None:
        callbacks.append(Preview(recipe.picture, out / "previews", minutes=training.preview_minutes))
    if recipe.candidates:
        training = training.model_copy(update={"steps": max(recipe.candidates.values())})
        callbacks.append(Candidates(recipe.candidates, out, training, also=recipe.beside, draw=recipe.picture))
    callbacks.extend(recipe.callbacks)
    steps = fit(
        recipe.module, recipe.items, out=out, config=training, info=info, resume=resume, callbacks=tuple(callbacks)
    )
    return info.model_copy(update={"training": {**info.training, "steps": steps}})
