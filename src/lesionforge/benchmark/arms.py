"""The kinds of job of a benchmark: fit a mask generator, fit a synthesizer, train and score an arm."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from monai.transforms import Compose

from lesionforge.benchmark.plan import Arm, SynthesizerPlan
from lesionforge.benchmark.setting import Setting
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort, read_masks
from lesionforge.cohort.leaks import check_no_leak
from lesionforge.cohort.scan import load_scan, read_label
from lesionforge.cohort.splits import take_subjects
from lesionforge.errors import CohortError
from lesionforge.files import write_text
from lesionforge.masks import MaskGAN, MaskSource, make_mask_source
from lesionforge.masks.edit import EditedMasks
from lesionforge.masks.ellipsoid import Ellipsoids
from lesionforge.masks.place import with_region
from lesionforge.masks.slices import SliceBank
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.scores.cases import score_case
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.carvemix import CarveMix
from lesionforge.synthesizers.generate import synthesize_cohort
from lesionforge.synthesizers.registry import find_method, load_synthesizer
from lesionforge.synthesizers.transforms import CarveMixd, SynthesizeLesiond
from lesionforge.tasks.segmentation import SegmentationTask
from lesionforge.tasks.training_set import Source
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.model_folder import read_info
from lesionforge.training.samples import cached_samples

Number = int | float


def fit_mask_generator(setting: Setting, number: Number, seed: int, name: str) -> str:
    """Fit one mask generator, on nobody who is held out."""
    plan, folder = setting.plan.mask_generators[name], setting.mask_generator_folder(number, seed, name)
    problems: list[CohortError] = []
    if not (folder / "model.json").is_file():
        held_out = setting.test.ancestry | setting.development.ancestry
        cases = setting.train[number] if plan.masks is None else read_masks(plan.masks, on_problem=problems.append)
        MaskGAN.fit(
            cases.with_cases([case for case in cases if not case.ancestry & held_out]),
            config=plan.options,
            training=plan.training.model_copy(update={"seed": seed}),
            out=folder,
            resume=True,
            on_problem=problems.append,
        )
    left_out = f", {len(problems)} masks could not be used" if problems else ""
    return f"{name}, n = {number:g}, seed {seed}: fitted{left_out}"


def mask_source(setting: Setting, number: Number, seed: int, plan: SynthesizerPlan) -> MaskSource:
    """Return where the lesions of a synthesizer go."""
    if plan.mask_generator is not None:
        return MaskGAN.load(setting.mask_generator_folder(number, seed, plan.mask_generator))
    return make_mask_source(plan.masks, setting.train[number])


def fit_synthesizer(setting: Setting, number: Number, seed: int, name: str) -> str:
    """Fit one synthesizer on one training set and, if an arm wants them, write its offline cases."""
    plan, train = setting.plan.synthesizers[name], setting.train[number]
    folder = setting.model_folder(number, seed, name)
    if not (folder / "model.json").is_file():
        find_method(plan.method).fit(
            train,
            channels=setting.channels,
            config=plan.options,
            training=plan.training.model_copy(update={"seed": seed}),
            out=folder,
            preprocessing=setting.preprocessing[number],
            resume=True,
        )
    if any(arm.synthesizer == name and arm.use == "offline" for arm in setting.plan.arms.values()):
        model = load_synthesizer(folder)
        result = synthesize_cohort(
            model,
            train,
            mask_source(setting, number, seed, plan) if model.needs_mask else None,
            out=setting.cohort_folder(number, seed, name),
            n=plan.cases,
            blend=plan.blend,
            seed=seed,
            min_volume=plan.min_volume,
        )
        return (
            f"{name}, n = {number:g}, seed {seed}: {len(result.cohort)} cases, {len(result.problems)} without a place"
        )
    return f"{name}, n = {number:g}, seed {seed}: fitted"


def train_arm(setting: Setting, number: Number, seed: int, name: str, steps: int) -> Path:
    """Train one arm for ``steps`` steps and return its folder.

    Raises:
        LeakError: if a test or development subject is a parent of anything that is trained on.
    """
    arm, train = setting.plan.arms[name], setting.train[number]
    folder = setting.arm_folder(number, seed, name, steps)
    if (folder / "model.json").is_file():
        return folder
    model: Synthesizer | None = None
    synthetic: Cohort | Source | None = None
    if arm.synthesizer is not None:
        model = load_synthesizer(setting.model_folder(number, seed, arm.synthesizer))
        if arm.use == "offline":
            synthetic = read_cohort(setting.cohort_folder(number, seed, arm.synthesizer))
        else:
            synthetic = _on_the_fly(setting, number, seed, arm, model)
    fitted = _fitted(setting, number, seed, arm, model)
    parents = train.with_cases((*train, *synthetic)) if isinstance(synthetic, Cohort) else train
    for held_out in (setting.test, setting.development):
        check_no_leak(parents, held_out, models=fitted)
    real = train if arm.real is None else take_subjects(train, arm.real, setting.plan.subjects.seed)
    fit = partial(
        SegmentationTask.fit,
        channels=setting.channels,
        config=setting.plan.task.model_copy(update={"augment": arm.augment}),
        preprocessing=setting.preprocessing[number],
        resume=True,
    )
    training = setting.plan.training.model_copy(update={"seed": seed})
    if arm.finetune is None:
        fit(real, training=_steps(training, steps), out=folder, synthetic=synthetic, share=arm.share)
        return folder
    last, first = max(1, round(arm.finetune * steps)), folder / "pretraining"
    if not (first / "model.json").is_file():
        fit(train, training=_steps(training, steps - last), out=first, synthetic=synthetic, share=1.0)
    fit(real, training=_steps(training, last), out=folder, pretrained=SegmentationTask.load(first))
    return folder


def _fitted(
    setting: Setting, number: Number, seed: int, arm: Arm, model: Synthesizer | None
) -> dict[str, tuple[str, ...]]:
    """Return every model behind an arm, with the subjects it was fitted on."""
    if arm.synthesizer is None or model is None:
        return {}
    fitted = {arm.synthesizer: model.info.training_subjects}
    name = setting.plan.synthesizers[arm.synthesizer].mask_generator
    if name is not None:
        fitted[name] = read_info(setting.mask_generator_folder(number, seed, name)).training_subjects
    return fitted


def _steps(training: TrainingConfig, steps: int) -> TrainingConfig:
    return training.model_copy(update={"steps": steps})


def score_arm(setting: Setting, number: Number, seed: int, name: str, steps: int) -> str:
    """Train an arm, unless that is done, and score it on the test cases: ``results.csv`` and ``predictions/``."""
    folder = train_arm(setting, number, seed, name, steps)
    table = folder / "results.csv"
    if not table.is_file():
        rows = score(setting, folder, setting.test, folder / "predictions")
        rows.insert(0, "arm", name)
        rows.insert(1, "fraction", number)
        rows.insert(2, "seed", seed)
        write_text(table, rows.to_csv(index=False))
    return f"{name}, n = {number:g}, seed {seed}: mean Dice {100 * pd.read_csv(table)['dice'].mean():.1f}"


def development_dice(setting: Setting, number: Number, seed: int, name: str, steps: int) -> float:
    """Return the mean Dice of an arm over the development subjects."""
    folder = train_arm(setting, number, seed, name, steps)
    table = folder / "development.csv"
    if not table.is_file():
        write_text(table, score(setting, folder, setting.development, folder / "development").to_csv(index=False))
    return float(pd.read_csv(table).groupby("subject_id")["dice"].mean().mean())


def score(setting: Setting, folder: Path, cohort: Cohort, keep: Path) -> pd.DataFrame:
    """Return a row of scores for each case; the predictions are written to ``keep``."""
    task, rows = SegmentationTask.load(folder), []
    for case in cohort:
        scan = load_scan(case, setting.channels)
        assert scan.label is not None
        found, _ = read_label(task.predict_case(case, keep, device=setting.plan.training.device))
        scores = score_case(found, scan.label, scan.spacing, cohort.labels, in_plane=setting.plan.in_plane)
        rows.append({"case_id": case.case_id, "subject_id": case.subject_id, **scores})
    return pd.DataFrame(rows)


def _on_the_fly(setting: Setting, number: Number, seed: int, arm: Arm, model: Synthesizer) -> Source:
    """Return the real samples with synthesis in front."""
    assert arm.synthesizer is not None
    plan = setting.plan.synthesizers[arm.synthesizer]
    prepare = with_region if model.needs_mask else None
    samples = list(cached_samples(setting.train[number], setting.preprocessing[number], prepare=prepare))
    if isinstance(model, CarveMix):
        transform = CarveMixd(model, prob=1.0)
    else:
        in_slices = setting.plan.task.spatial_dims == 2
        masks = slice_masks(plan.masks, samples) if in_slices else mask_source(setting, number, seed, plan)
        transform = SynthesizeLesiond(model, masks, prob=1.0, min_volume=plan.min_volume)
    return Source(samples=samples, transform=Compose([transform]), lesion_share=setting.plan.task.lesion_share)


def slice_masks(kind: str, samples: Sequence[Sample]) -> MaskSource:
    """Return a mask source for slices, made from the training subjects'."""
    if kind == "ellipsoids":
        return Ellipsoids()
    bank = SliceBank(samples)
    return EditedMasks(bank) if kind == "edited" else bank
