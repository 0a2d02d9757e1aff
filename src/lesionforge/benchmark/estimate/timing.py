"""Measures the time, size and memory of each network of a plan by training it for a few steps."""

from __future__ import annotations

import platform
import re
import statistics
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from lesionforge.benchmark.arm_plan import Arm, SynthesizerPlan
from lesionforge.benchmark.arms.arm_jobs import fit_mask_generator, fit_synthesizer, offline_cases, train
from lesionforge.benchmark.arms.arm_study import ArmStudy
from lesionforge.benchmark.arms.repeats import Arms, ArmTraining, Repeat
from lesionforge.benchmark.estimate.selection_training import selection_training
from lesionforge.benchmark.estimate.work import CASES, CURVES, F_PRE, MASK_GENERATOR, SCANS, SYNTHESIZER, Unit
from lesionforge.benchmark.healing.healing_jobs import fit_f_pre, fit_method
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.healing.healing_study import HealingStudy
from lesionforge.benchmark.plan import Plan
from lesionforge.cohort.case import Annotation, Case, Cohort
from lesionforge.engine.processes import in_new_process, threads_of
from lesionforge.errors import TrainingError
from lesionforge.tasks.segmentation.learning_curve import mean_dice
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.items.samples import cached_samples, measured_cases
from lesionforge.training.loop import TrainingConfig, pick_device
from lesionforge.training.model_folder import read_info

STEPS = 4
"""Steps of a timed training run. The first is a warm-up; the median of the others counts."""
DRAWN = 3
"""Cases that are drawn to time one case."""
FEW = 2
"""Cases of each annotation on which a step is timed, the largest ones."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """The measurements of one unit of work.

    Attributes:
        seconds: seconds per step, case, scan or prediction.
        around: further seconds of each run: saving, the delay of the first step, and what ``reading`` leaves out.
        reading: seconds to read a scan, for each of the scans that the work ``reads``.
        images: images per step on one device.
        parameters: trained parameters, including those of the critic.
        memory: peak memory in bytes: of the GPU if one was used, else of the process.
    """

    seconds: float
    around: float
    reading: float = 0.0
    images: int = 0
    parameters: int = 0
    memory: int = 0


def time_units(study: ArmStudy | HealingStudy, units: Iterable[Unit], *, workers: int) -> dict[Unit, Timing]:
    """Measure each unit in a process of its own, with as many processes at a time as the run would use.

    Args:
        study: the study to measure; all files go to its ``out``.
        units: the units to time.
        workers: processes of the run.

    Raises:
        TrainingError: if a network does not fit into memory.
    """
    if isinstance(study, HealingStudy):
        short: ArmStudy | HealingStudy = replace(study, plan=_short_healing_plan(study.plan))
    else:
        short = replace(study, arms=replace(on_few(study.arms), plan=_short_plan(study.plan)))
    found: dict[Unit, Timing] = {}
    parts: tuple[list[Unit], ...] = ([], [], [])
    for unit in dict.fromkeys(units):
        parts[_turn(unit)].append(unit)
    with ThreadPoolExecutor(workers) as threads:
        for part in parts:
            found |= zip(part, threads.map(partial(_in_new_process, short, workers), part), strict=True)
    return found


def _turn(unit: Unit) -> int:
    """Return when a unit is timed: generators first, then what they draw for, then what takes a trained arm."""
    return {MASK_GENERATOR: 0, SYNTHESIZER: 0, CURVES: 2}.get(unit.stage, 1)


def _in_new_process(study: ArmStudy | HealingStudy, workers: int, unit: Unit) -> Timing:
    try:
        timing: Timing = in_new_process(time_unit, study, unit, threads=threads_of(workers, study.plan.training.device))
    except (BrokenProcessPool, torch.OutOfMemoryError, MemoryError) as error:
        what = "a training step was killed, most likely because memory ran out"
        remedy = "use a smaller batch_size, roi_size or width, or another machine"
        raise TrainingError(unit.name, what, remedy) from error
    return timing


def time_unit(study: ArmStudy | HealingStudy, unit: Unit) -> Timing:
    """Run one unit of work in this process and return its measurements."""
    if isinstance(study, HealingStudy):
        seed, training = study.plan.seeds[0], study.plan.training
        if unit.name == F_PRE:
            of = study.plan.f_pre.training.or_device(training.device)
            return _time_training(partial(fit_f_pre, study), study.f_pre_folder, of)
        return _time_training(
            partial(fit_method, study, seed, unit.name), study.model_folder(seed, unit.name), training
        )
    arms = (
        study.arms if unit.choice is None else replace(study.arms, choices=dict.fromkeys(study.arms.sizes, unit.choice))
    )
    repeat = arms.repeat(max(arms.plan.subjects.numbers), arms.plan.seeds[0])
    if unit.stage == MASK_GENERATOR:
        of = repeat.training_of(arms.plan.mask_generators[unit.name].training)
        return _time_training(
            partial(fit_mask_generator, repeat, unit.name), repeat.mask_generator_folder(unit.name), of
        )
    if unit.stage == SCANS:
        return _time_scans(repeat)
    if unit.stage == CURVES:
        return _time_curve(repeat.training(unit.name, STEPS))
    return _without_reading(_time_of(repeat, unit), repeat)


def _time_of(repeat: Repeat, unit: Unit) -> Timing:
    """Train a network, or draw cases, and return the measurements."""
    plan = repeat.plan
    if unit.stage == CASES:
        return _time_cases(repeat, unit.name)
    if unit.selection is not None:
        return _time_training(*selection_training(repeat, unit.name, unit.selection, unit.stage, steps=STEPS))
    if unit.stage == SYNTHESIZER:
        folder, of = repeat.model_folder(unit.name), repeat.training_of(plan.synthesizers[unit.name].training)
        return _time_training(partial(fit_synthesizer, repeat, unit.name), folder, of)
    of_arm = repeat.training(unit.name, STEPS)
    return _time_training(partial(train, of_arm), of_arm.folder, plan.training)


def _without_reading(timing: Timing, repeat: Repeat) -> Timing:
    """Return a timing that tells the reading of the few cases from the rest of what is around the steps."""
    if repeat.plan.task_class.plans:
        return timing
    start = perf_counter()
    one, _ = measured_cases(repeat.train.with_cases(repeat.train.cases[:1]), repeat.study.channels)
    cached_samples(one, repeat.preprocessing)
    reading = perf_counter() - start
    return replace(timing, around=max(timing.around - len(repeat.train) * reading, 0.0), reading=reading)


def _time_scans(repeat: Repeat) -> Timing:
    """Compute what the task computes once of each scan, for one scan, and return the seconds."""
    config, preprocessing = repeat.plan.task, repeat.preprocessing
    (sample,) = cached_samples(repeat.train.cases[:1], preprocessing)
    start = perf_counter()
    repeat.plan.task_class.prepare(sample, preprocessing, config)
    return Timing(seconds=perf_counter() - start, around=0.0, memory=peak_memory("cpu"))


def _time_curve(training: ArmTraining) -> Timing:
    """Score one case with a network that was trained to time its steps, and return the seconds."""
    study = training.study
    task = study.plan.task_class.load(training.folder, device=study.plan.training.device)
    assert isinstance(task, SegmentationTask)
    largest = training.repeat.train.with_lesions()
    one, ticks = largest.with_cases(largest.cases[:1]), [perf_counter()]
    for _ in range(2):
        mean_dice(task.predict, one)
        ticks.append(perf_counter())
    memory = peak_memory(pick_device(study.plan.training.device))
    return Timing(seconds=_differences(ticks)[-1], around=0.0, memory=memory)


def _time_training(train: Callable[[], object], folder: Path, training: TrainingConfig) -> Timing:
    """Run a short training run and return its measurements.

    Args:
        train: runs the training.
        folder: folder of the trained model.
        training: its training options.
    """
    device, ticks = pick_device(training.device), dict[int, list[float]]()
    sizes: dict[int, int] = {}

    def tick(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if device == "cuda":
            torch.cuda.synchronize()
        ticks.setdefault(id(optimizer), []).append(perf_counter())
        sizes[id(optimizer)] = sum(weight.numel() for group in optimizer.param_groups for weight in group["params"])

    hook, start = register_optimizer_step_post_hook(tick), perf_counter()
    try:
        train()
    finally:
        hook.remove()
    lasted = perf_counter() - start
    if not ticks:
        return Timing(seconds=0.0, around=lasted, memory=peak_memory("cpu"))
    of_generator = next(iter(ticks.values()))
    return Timing(
        seconds=statistics.median(_differences(of_generator)),
        around=lasted - (of_generator[-1] - of_generator[0]),
        images=_images(folder, training),
        parameters=sum(sizes.values()),
        memory=peak_memory(device),
    )


def _images(folder: Path, training: TrainingConfig) -> int:
    """Return the number of images per step: a batch for each critic step and each accumulated gradient."""
    info = read_info(folder)
    critic_steps = info.config.get("optimiser", {}).get("n_critic", 1)
    return int(info.training["batch_size"]) * training.accumulate * int(critic_steps)


def _time_cases(repeat: Repeat, name: str) -> Timing:
    """Draw a few cases and return the measurements."""
    start, ticks = perf_counter(), []
    offline_cases(repeat, name, progress=lambda done, n: ticks.append(perf_counter()))
    each = statistics.median(_differences(ticks))
    memory = peak_memory(pick_device(repeat.plan.training.device))
    return Timing(seconds=each, around=ticks[0] - start, memory=memory)


def _differences(ticks: Sequence[float]) -> list[float]:
    return [after - before for before, after in pairwise(ticks)]


def on_few(study: Arms) -> Arms:
    """Return the study with a few cases of each training set: some of each annotation, the largest files.

    A task that plans its network by all cases keeps them.
    """
    if study.plan.task_class.plans:
        return study
    return replace(study, train={key: _few(cases) for key, cases in study.train.items()})


def _few(cases: Cohort) -> Cohort:
    largest = sorted(cases, key=lambda case: -sum(path.stat().st_size for path in case.images.values()))
    alike: dict[Annotation, list[Case]] = {}
    for case in largest:
        alike.setdefault(case.annotation, []).append(case)
    return cases.with_cases([case for part in alike.values() for case in part[:FEW]])


def _short_plan(plan: Plan) -> Plan:
    """Return a copy of the plan with short training runs, no selection, no curves, and no need of offline cases."""
    changes: dict[str, Any] = {
        "training": _short(plan.training),
        "budget": "steps",
        "learning_curves": None,
        "mask_generators": {
            name: one.model_copy(update={"training": _short(one.training)})
            for name, one in plan.mask_generators.items()
        },
        "synthesizers": {name: _short_synthesizer(plan, name) for name in plan.synthesizers},
        "arms": {name: _short_arm(arm) for name, arm in plan.arms.items()},
    }
    return plan.model_copy(update=changes)


def _short_healing_plan(plan: HealingPlan) -> HealingPlan:
    f_pre = plan.f_pre.model_copy(update={"training": _short(plan.f_pre.training)})
    return plan.model_copy(update={"training": _short(plan.training), "f_pre": f_pre})


def _short(training: TrainingConfig) -> TrainingConfig:
    changes = {"steps": STEPS, "epoch_steps": STEPS, "devices": 1, "time_budget": None, "tensorboard": False}
    return training.model_copy(update=changes)


def _short_synthesizer(study: Plan, name: str) -> SynthesizerPlan:
    """Return a synthesizer that trains and draws briefly.

    Its seed, which nothing uses, keeps apart the models of synthesizers that differ only in what is cut short. It uses
    no mask generator, because an untrained one draws nothing that fits. It draws into the training cases, because
    matching lesion-free scans takes time of its own.
    """
    plan = study.synthesizers[name]
    options = {option: value for option, value in plan.options.items() if option != "candidates"}
    number = list(study.synthesizers).index(study.fitted_as(name))
    changes: dict[str, Any] = {
        "training": _short(plan.training).model_copy(update={"seed": number}),
        "options": options,
        "selection": None,
        "cases": DRAWN,
        "per_case": None,
        "targets": None,
        "lesion_free": plan.lesion_free and plan.targets is None,
        "masks": "bank" if plan.mask_generator is not None else plan.masks,
    }
    return plan.model_copy(update=changes)


def _short_arm(arm: Arm) -> Arm:
    """Return an arm that trains at once, without offline cases, since these cost as much as real cases."""
    changes: dict[str, Any] = {"finetune": None, "real": None, "longer": None}
    if arm.use == "offline":
        changes |= {"synthesizer": None, "union": False, "placebo": None, "fade": None, "kept": None}
    return arm.model_copy(update=changes)


def peak_memory(device: str) -> int:
    """Return the peak memory of this process in bytes, on the GPU if ``device`` is ``cuda``.

    On Linux the kernel's ``ru_maxrss`` starts at the parent's value, so ``/proc/self/status`` is read instead.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text())
        if found is not None:
            return int(found[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def machine_name(devices: Collection[str]) -> str:
    """Return the name of the GPU if any training run uses one, else of the processor."""
    if any(pick_device(device) == "cuda" for device in devices):  # type: ignore[arg-type]
        return torch.cuda.get_device_name()
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.is_file() else None
    return found[1].strip() if found else platform.processor() or platform.machine()
