"""Commands about synthesizers: train, synthesize."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesionforge.cli.common import (
    CaseList,
    Channels,
    CohortFolder,
    Device,
    DeviceOption,
    LoaderWorkers,
    ModelFolder,
    Out,
    Resume,
    Role,
    Seed,
    Settings,
    Steps,
    Subjects,
    TimeBudget,
    a_cohort,
    a_cohort_or_masks,
    a_model,
    console,
    finish,
    nested,
    parse_duration,
    parse_settings,
    progress_bar,
    read_selection,
)
from lesionforge.cli.engines import EngineChoice, EngineOption, Scheduler, Workers, make_engine
from lesionforge.errors import CohortError, ConfigError, LesionforgeError, one_of
from lesionforge.healers.registry import HEALERS
from lesionforge.masks.registry import MASK_SOURCES
from lesionforge.reading import read_json
from lesionforge.synthesizers.registry import SYNTHESIZERS

if TYPE_CHECKING:
    from lesionforge.cohort.case import Cohort
    from lesionforge.masks import MaskGAN
    from lesionforge.production.synthesize import Synthesis
    from lesionforge.synthesizers.base import Synthesizer
    from lesionforge.training.fitted_model import FittedModel

ENDLESS = 10_000_000
TIMED_EPOCH = 10
"""Steps of an epoch where time ends the run, which it does between two epochs."""
METHODS = f"{one_of(SYNTHESIZERS)} draw lesions; {one_of(HEALERS)} remove them; maskgan draws masks."


class ConditionChoice(StrEnum):
    """The input of a pix2pix generator."""

    LABEL = "label"
    SCAN = "scan"
    INPAINT = "inpaint"


class ByChoice(StrEnum):
    """The score by which drawn cases are kept."""

    REALISM = "realism"
    SEGMENTABILITY = "segmentability"
    SHARPNESS = "sharpness"


class BlendChoice(StrEnum):
    """Which part of the target scan is kept."""

    LESION = "lesion"
    FULL = "full"


BLENDED_BACK = " (goal: below 1 %); blending took it back"


def training_options(
    options: dict[str, Any],
    *,
    steps: int | None,
    time_budget: str | None,
    seed: int,
    device: Device,
    workers: int | None,
) -> dict[str, Any]:
    """Return the options of the training, including those that have their own flag."""
    flags = {"seed": seed, "device": device.value, "workers": workers}
    for name in options.keys() & flags.keys():
        raise ConfigError(f"--set training.{name}", "has its own flag", f"use --{name}")
    options = {**options, **flags}
    if steps is not None:
        options["steps"] = steps
    if time_budget is not None:
        options["time_budget"] = parse_duration(time_budget)
        options.setdefault("steps", ENDLESS)
        options.setdefault("epoch_steps", TIMED_EPOCH)
    return options


def train(
    method: Annotated[str, typer.Argument(metavar="METHOD", help=METHODS)],
    cohort: Annotated[Path, typer.Argument(metavar="COHORT", callback=a_cohort_or_masks, help="The cohort folder.")],
    out: Out,
    channels: Channels = None,
    condition: Annotated[ConditionChoice | None, typer.Option(help="pix2pix: the input of the generator.")] = None,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="pseudo_healthy: never show an image with its own mask.")
    ] = False,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    settings: Settings = None,
    steps: Steps = None,
    time_budget: TimeBudget = None,
    resume: Resume = False,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
    workers: LoaderWorkers = None,
) -> None:
    """Fit a method that draws lesions, removes lesions or draws lesion masks on the cases of a cohort.

    For maskgan, COHORT may also be a folder of label maps in MNI space.

    Example: lesionforge train pix2pix Dataset001_WMH --out model --condition inpaint --time-budget 10m
    """
    from lesionforge.cohort.inspection.levels import describe_levels
    from lesionforge.cohort.layouts import read_cohort, read_masks
    from lesionforge.cohort.layouts.cases_csv import write_problems
    from lesionforge.config import parse_options
    from lesionforge.healers.registry import find_trainable
    from lesionforge.masks import MaskGAN
    from lesionforge.training.loop import TrainingConfig
    from lesionforge.training.quiet import quiet

    quiet()
    options, flags = parse_settings(settings)
    if options.get("candidates") and (steps is not None or "steps" in flags):
        raise ConfigError("--steps", "training ends with the last candidate", "leave out --steps or candidates")
    if condition is not None:
        options["condition"] = condition.value
    if unpaired:
        options["mode"] = "unpaired"
    problems = list[LesionforgeError]()
    bare_masks = method == "maskgan" and not (cohort / "dataset.json").is_file()
    read = partial(read_masks, on_problem=problems.append) if bare_masks else read_cohort
    chosen = read_selection(cohort, read=read, subjects=subjects, cases=cases, role=role, seed=seed)
    flags = training_options(flags, steps=steps, time_budget=time_budget, seed=seed, device=device, workers=workers)
    training = parse_options(TrainingConfig, flags)
    fitted: MaskGAN | FittedModel
    if method == "maskgan":
        masks = chosen.with_channels(channels or chosen.channels)
        fitted = MaskGAN.fit(
            masks, config=options, training=training, out=out, resume=resume, on_problem=problems.append
        )
    else:
        fitted = find_trainable(method).fit(
            chosen,
            channels=tuple(channels or chosen.channels),
            config=options,
            training=training,
            out=out,
            resume=resume,
            on_problem=problems.append,
        )
    levels = out / "levels.json"
    if levels.is_file():
        console.print(describe_levels(read_json(levels)))
    console.print(f"{out}: {method}, fitted on {len(fitted.info.training_cases)} cases; see {out / 'model_card.md'}")
    write_problems(out / "problems.csv", problems)
    finish(problems, out / "problems.csv")


def _check_labels(masks: str, lesions: Cohort, drawer: Synthesizer, where: Path) -> None:
    """Raise ``ConfigError`` if masks are taken from a cohort with other lesion classes than the model's."""
    of_lesions = not masks.startswith(("ellipsoids", "gan:"))
    if of_lesions and dict(lesions.labels) != drawer.info.labels:
        raise ConfigError(where, "its lesion classes are not the model's", "use other masks")


def synthesize(
    model: ModelFolder,
    cohort: CohortFolder,
    out: Out,
    n: Annotated[
        int | None,
        typer.Option("--n", min=1, help="Number of cases to write; by default one for each scan."),
    ] = None,
    masks: Annotated[str, typer.Option(help=f"{one_of(MASK_SOURCES)}.")] = "edited",
    masks_from: Annotated[
        Path | None,
        typer.Option(callback=a_cohort, help="The cohort that gives the real masks; by default COHORT."),
    ] = None,
    masks_role: Annotated[
        str | None, typer.Option(help="Take only masks of the subjects of a role in the cohort in --masks-from.")
    ] = None,
    mask_set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Set an option of --masks, such as edit=shift for edited."),
    ] = None,
    blend: Annotated[
        BlendChoice, typer.Option(help="Keep the scan outside the lesion, or keep the whole drawn image.")
    ] = (BlendChoice.LESION),
    heal: Annotated[
        Path | None,
        typer.Option(callback=a_model, help="A model that removes the lesions of each scan before a new one is drawn."),
    ] = None,
    lesion_free: Annotated[
        bool, typer.Option("--lesion-free", help="Draw only into lesion-free scans, so that no scan has two lesions.")
    ] = False,
    negatives: Annotated[
        float,
        typer.Option(
            help="Share of the cases in which healthy tissue, or a mimic, is drawn in the place of the lesion, such as "
            "0.2; needs a model trained with healthy_holes or mimics."
        ),
    ] = 0.0,
    displacement: Annotated[
        float,
        typer.Option(
            help="Greatest distance in mm, 0 to 3, by which the tissue around a drawing is pushed away from it, as a "
            "simple mass effect; lesions stay as drawn."
        ),
    ] = 0.0,
    candidate: Annotated[
        str | None, typer.Option(help="Draw with a generator kept from an earlier epoch, such as epoch_050.")
    ] = None,
    subjects: Subjects = None,
    cases: CaseList = None,
    role: Role = None,
    min_volume: Annotated[
        float | None,
        typer.Option(
            help="Least volume of a placed mask, in mm³ (mm² in 2D); by default half that of the smallest lesion that "
            "the masks come from."
        ),
    ] = None,
    keep_best: Annotated[
        float | None, typer.Option(help="Keep only the best of the --n cases, as a share such as 0.5.")
    ] = None,
    by: Annotated[ByChoice, typer.Option(help="With --keep-best: the score that decides.")] = ByChoice.REALISM,
    segmentor: Annotated[
        Path | None,
        typer.Option(callback=a_model, help="With --by segmentability: a model trained with `segment train`."),
    ] = None,
    seed: Seed = 0,
    device: DeviceOption = Device.AUTO,
    workers: Workers = 1,
    engine: EngineOption = EngineChoice.LOCAL,
    scheduler: Scheduler = None,
) -> None:
    """Draw lesions into the scans of a cohort and write the result as a new cohort.

    The same command continues a stopped run.

    Example: lesionforge synthesize model Dataset001_WMH --out Dataset101_Synthetic --n 100 --masks edited
    """
    from lesionforge.healers.registry import load_healer
    from lesionforge.masks import make_mask_source
    from lesionforge.production.keep_best import KeepBest, synthesize_best
    from lesionforge.production.synthesize import synthesize_cohort
    from lesionforge.synthesizers.registry import load_synthesizer
    from lesionforge.tasks.segmentation.loading import load_segmentation
    from lesionforge.training.quiet import quiet

    quiet()
    if masks_role is not None and masks_from is None:
        raise ConfigError(
            "--masks-role", "needs --masks-from, whose subjects it chooses from", "name that cohort, or use --role"
        )
    computes_on = _drawing_device(device, workers, engine)
    where = make_engine(engine, scheduler, workers, computes_on.value)
    drawer = load_synthesizer(model, candidate=candidate, device=computes_on.value)
    healer = None if heal is None else load_healer(heal, device=computes_on.value)
    targets, skipped = read_selection(cohort, subjects=subjects, cases=cases, role=role, seed=seed), list[CohortError]()
    lesions = targets if masks_from is None else read_selection(masks_from, role=masks_role)
    source = None
    if drawer.needs_mask:
        _check_labels(masks, lesions, drawer, masks_from or cohort)
        options = nested(mask_set, "--mask-set")
        source = make_mask_source(masks, lesions, on_problem=skipped.append, device=computes_on.value, options=options)
    draw: Callable[..., Synthesis] = synthesize_cohort
    if keep_best is not None:
        task = None if segmentor is None else load_segmentation(segmentor)
        keep = KeepBest(share=keep_best, by=by.value, real=lesions, segmentor=task)
        draw = partial(synthesize_best, keep=keep, device=device.value)
    with progress_bar("synthesizing") as progress:
        result = draw(
            drawer,
            targets,
            source,
            out=out,
            n=n,
            blend=blend.value,
            seed=seed,
            min_volume=min_volume,
            engine=where,
            healer=healer,
            lesion_free=lesion_free,
            negatives=negatives,
            displacement=displacement,
            problems=skipped,
            progress=progress,
        )
    if healer is not None:
        tell_changed_outside(result.healer_changed_outside, f"outside the lesions {healer.method}", BLENDED_BACK)
    _tell(result, out, drawer.method, blend)
    finish(result.problems, out / "problems.csv")


def _drawing_device(device: Device, workers: int, engine: EngineChoice) -> Device:
    """Return the device that draws; other processes draw on the CPU."""
    if workers == 1 and engine is EngineChoice.LOCAL:
        return device
    if device is Device.CUDA:
        what = "other processes cannot use the CUDA device of this one"
        raise ConfigError("--workers, --engine", what, "leave them out, or use --device cpu")
    return Device.CPU


def tell_changed_outside(share: float | None, who: str, then: str) -> None:
    """Print how much a method changed outside the masks before blending, if that was measured."""
    if share is not None:
        console.print(f"{who} changed the heads by {100 * share:.2g} % of the intensity range on average{then}")


def _tell(result: Synthesis, out: Path, method: str, blend: BlendChoice) -> None:
    """Print what was drawn, and write its contact sheet."""
    from lesionforge.cohort.inspection.contact_sheet import contact_sheet
    from lesionforge.production.in_fluid import describe_in_fluid

    console.print(f"{out}: {len(result.cohort)} cases; {result.redraws} masks were drawn in vain")
    whole = "; the whole image is new, as --blend full asks for"
    then = whole if blend is BlendChoice.FULL else BLENDED_BACK
    tell_changed_outside(result.changed_outside, f"outside the masks {method}", then)
    if len(result.cohort):
        console.print(describe_in_fluid(out, result.cohort))
        console.print(f"{contact_sheet(result.cohort, out / 'sheet.png')}")
