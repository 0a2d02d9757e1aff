"""One optimiser step of every network of every preset's full-size scales, at its size and through its own ``fit``.

All batches are those of the plans but two: the mask generators take one mask and ``mask_cyclegan`` one crop, which
bounds time and memory on two cores. The cohorts are made here, of as many channels, anatomy labels and voxels as the
networks take. A preset that is added is found by itself.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.kinds import study_plan
from lesionforge.benchmark.plan import Plan, task_of_options
from lesionforge.benchmark.plan_file import PRESETS
from lesionforge.cohort.scan import read_label
from lesionforge.healers.registry import find_trainable
from lesionforge.masks import MaskGAN
from lesionforge.production.select import SelectionConfig, select_candidates
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import read_tensors
from tests.helpers import tiny_cohort, write_array

SCALE = "paper"
FULL_SIZE = {"paper", "medium", "gan"}
"""Scales for a GPU; of those beside ``paper``, only what differs from it is tried."""
STRUCTURES = 27
"""Of the stroke system's anatomy maps, so that its networks see 29 labels."""
WITHOUT_PAPER = {"demo"}
FEWEST_MASKS = 20


@dataclass(frozen=True)
class Step:
    """A network of a preset, or networks that are trained together.

    Attributes:
        kind: what is fitted.
        name: in the plan.
        config: its options, or its part of the plan.
        training: of the plan.
    """

    kind: str
    name: str
    config: Any
    training: TrainingConfig


def one_step(training: TrainingConfig, **changes: Any) -> TrainingConfig:
    return training.model_copy(update={"steps": 1, "epoch_steps": 1, "device": "cpu", **changes})


def plan_of(preset: Path, scale: str = SCALE) -> Plan | HealingPlan:
    return study_plan(preset, scale=scale)


def steps_of(plan: Plan | HealingPlan) -> list[Step]:
    """Return everything that a plan trains; arms that differ in their training items alone share a network."""
    if isinstance(plan, HealingPlan):
        healers = [
            Step("healer", name, one.model_copy(update={"options": plan.options_of(name)}), plan.training)
            for name, one in plan.methods.items()
        ]
        return [Step("task", "f_pre", plan.f_pre.task, plan.f_pre.training), *healers]
    items = {"augment": "none", "lesion_share": 1.0, "min_lesion_voxels": 0}
    known = {name: value for name, value in items.items() if name in type(plan.task).model_fields}
    tasks = {name: plan.task_of(name).model_copy(update=known) for name in plan.arms}
    networks = {repr(task): (name, task) for name, task in reversed(tasks.items())}
    found = [Step("task", name, task, plan.training) for name, task in networks.values()]
    for name, one in plan.mask_generators.items():
        found.append(Step("mask generator", name, one.options, one.training))
    for name, drawer in plan.synthesizers.items():
        if "optimiser" not in SYNTHESIZERS[drawer.method].Config.model_fields:
            continue  # it trains no network
        if plan.fitted_as(name) != name:
            continue  # it shares the network of another
        kind = "synthesizer" if drawer.selection is None else "selection"
        found.append(Step(kind, name, drawer, drawer.training))
    return found


def scales() -> list[tuple[str, Path, str]]:
    """Return name, file and scale of every full-size scale, of each preset ``paper`` first."""
    contents = {name: yaml.safe_load(path.read_text(encoding="utf-8")) for name, path in PRESETS.items()}
    found = {name: FULL_SIZE & set(content.get("scales") or {}) for name, content in contents.items()}
    return [(name, PRESETS[name], scale) for name, of in found.items() for scale in sorted(of, key=SCALE.__ne__)]


def all_steps() -> list[Any]:
    """Return the steps of all scales, each network of a preset once."""
    params: dict[tuple[str, str], Any] = {}
    for name, path, scale in scales():
        for step in steps_of(plan_of(path, scale)):
            key = name, repr((step.kind, step.config, step.training.batch_size))
            beside = "" if scale == SCALE else f"{scale}-"
            params.setdefault(key, pytest.param(path, scale, step, id=f"{name}-{beside}{step.kind}-{step.name}"))
    return list(params.values())


STEPS = all_steps()


def test_every_preset_but_the_demo_has_the_papers_size():
    assert {name for name, _, scale in scales() if scale == SCALE} == set(PRESETS) - WITHOUT_PAPER


def test_every_kind_of_network_takes_part():
    kinds = {param.values[2].kind for param in STEPS}
    assert kinds == {"task", "mask generator", "synthesizer", "selection", "healer"}
    tried = {(path.stem, scale) for path, scale, _ in (param.values for param in STEPS)}
    assert tried >= {("pseudo_healthy", "medium"), ("tumour", "gan")}


def size_of(plan: Plan | HealingPlan) -> tuple[int, ...]:
    """Return the size of a scan that fills the largest network."""
    if isinstance(plan, HealingPlan):
        sizes = [plan.f_pre.task.roi_size, plan.options.get("roi_size")]
    else:
        drawn = [one.options.get("roi_size") for one in plan.synthesizers.values()]
        sizes = [plan.task.roi_size, *drawn, *(one.options.get("size") for one in plan.mask_generators.values())]
    given = [size for size in sizes if size is not None]
    dims = max(len(size) for size in given)
    return tuple(int(max(size[axis] for size in given if len(size) == dims)) for axis in range(dims))


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """Return what makes the cohort of a plan, once for each size."""
    made: dict[Any, Any] = {}

    def make(plan, *, n_subjects):
        channels, size = tuple(plan.channels or ("MR",)), size_of(plan)
        if (channels, size, n_subjects) not in made:
            folder = tmp_path_factory.mktemp("cohort")
            cohort = tiny_cohort(
                folder,
                spatial_dims=len(size),
                n_subjects=n_subjects,
                n_healthy=2,
                shape=size,
                channels=channels,
                anatomy=True,
            )
            for case in cohort:
                label_brain(case.anatomy)
            made[channels, size, n_subjects] = cohort
        return made[channels, size, n_subjects]

    return make


def label_brain(path):
    """Give the brain of an anatomy map as many structures as the stroke system's."""
    brain, affine = read_label(path)
    bands = np.arange(brain.size).reshape(brain.shape) % STRUCTURES + 1
    path.unlink()
    write_array(path, np.where(brain > 0, bands, 0).astype(np.uint8), affine)


def fit(step: Step, cohort: Any, out: Path) -> Path:
    """Make the step and return the model folder."""
    training, channels = one_step(step.training), cohort.channels
    if step.kind == "task":
        task_of_options(step.config).fit(cohort, channels=channels, config=step.config, training=training, out=out)
    elif step.kind == "mask generator":
        training = one_step(step.training, batch_size=1)
        MaskGAN.fit(cohort.with_lesions(), config=step.config, training=training, out=out)
    else:
        method, options = find_trainable(step.config.method), step.config.options
        if step.config.method == "mask_cyclegan":
            training = one_step(step.training, batch_size=1)  # a batch of the paper's takes four times the memory
        if step.kind == "selection":
            options = {**options, "candidates": [1], "candidates_in": "steps"}
        method.fit(cohort, channels=channels, config=options, training=training, out=out)
    return out


def choose(run: Path, plan: SynthesizerPlan, cohort: Any, out: Path) -> None:
    """Train the selection's networks for a step, and let them judge."""
    given = plan.selection
    assert given is not None
    realism = given.realism.model_copy(update={"steps": 1})
    config: SelectionConfig = given.model_copy(update={"segmentor_steps": 1, "realism": realism})
    select_candidates(run, cohort.with_lesions(), out=out, config=config, device="cpu")


@pytest.fixture
def out(tmp_path):
    """A folder that is emptied afterwards: weights and checkpoints of this size would fill a disk."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "scale", "step"), STEPS)
def test_a_step_is_made_and_every_number_is_finite(preset, scale, step, cohorts, out):
    cohort = cohorts(plan_of(preset, scale), n_subjects=FEWEST_MASKS + 2 if step.kind == "mask generator" else 6)
    run = fit(step, cohort, out / "model")
    folders = [run]
    if step.kind == "selection":
        choose(run, step.config, cohort, out / "selection")
        folders += [path.parent for path in (out / "selection").rglob("model.safetensors")]
        assert len(folders) >= 1 + 1 + 2, "a segmentation network, and two classifiers at least"
    for folder in folders:
        tensors = read_tensors(folder)
        assert tensors
        assert all(torch.isfinite(tensor).all() for tensor in tensors.values() if tensor.is_floating_point())
        log = pd.read_csv(folder / "metrics.csv")
        losses = log.filter(like="loss").dropna()
        assert len(losses) == 1
        assert np.isfinite(losses.to_numpy()).all()
