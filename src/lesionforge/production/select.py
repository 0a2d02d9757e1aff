"""Selection among the candidates of a run: each draws the masks of real cases, and three scores compare the images.

Source: the paper of the lesion-conditional GAN, section 3.2, with two differences: the segmentation network is trained
on the given real cases only, and the classifier judges subjects that it was not trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import Field

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts.cases_csv import write_problems
from lesionforge.config import MethodConfig
from lesionforge.engine.base import Engine
from lesionforge.errors import CohortError, ConfigError, LesionforgeError, ModelError
from lesionforge.files import atomic, one_at_a_time, sha256_of, write_json, write_text
from lesionforge.masks import OwnMasks
from lesionforge.production.blend import Blend
from lesionforge.production.candidate_grid import candidate_grid, same_score_grid
from lesionforge.production.run_folder import case_settings, claim_run_folder, model_settings
from lesionforge.production.synthesize import Synthesis, synthesize_cohort
from lesionforge.scores.drawn_images.quality import Realism, image_scores, recommend, rule, summarize_images
from lesionforge.scores.drawn_images.realism import FEWEST_SUBJECTS, REAL, judge_realism
from lesionforge.scores.drawn_images.realism_classifier import RealismConfig
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.tasks.segmentation.segmentation_config import SegmentationConfig
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.loop import Device, TrainingConfig, pick_device
from lesionforge.training.model_folder import CANDIDATES, ModelInfo, list_candidates, read_info

RECOMMENDED = "recommended.json"
LEAST_REAL_DICE = 0.5
"""Of the segmentation network on real images; below it the FCN score says little."""


class SelectionConfig(MethodConfig):
    """Options of the selection.

    Attributes:
        segmentor: options of the segmentation network, if none is given.
        segmentor_steps: optimiser steps of the segmentation network.
        realism: options of the classifier. If the models draw only around the mask, it looks at the lesions.
        counted: how realism enters the ranks: ``realism`` is the mean probability of being real, ``called_real_10`` the
            share of images called real at the published threshold of 10 %, ``called_real_50`` the share at 50 %.
        shown: rows of the picture.
    """

    segmentor: SegmentationConfig = SegmentationConfig()
    segmentor_steps: int = Field(default=1000, ge=1)
    realism: RealismConfig = RealismConfig()
    counted: Realism = "realism"
    shown: int = Field(default=6, ge=1)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The result of the selection.

    Attributes:
        summary: a row per candidate, then the real images and the control, as in ``candidates.csv``.
        recommended: name of the recommended candidate.
        notes: what a reader must know to interpret the table.
        problems: errors of the cases that were left out.
    """

    summary: pd.DataFrame
    recommended: str
    notes: tuple[str, ...]
    problems: tuple[LesionforgeError, ...]


@one_at_a_time
def select_candidates(
    run: Path,
    real: Cohort,
    *,
    out: Path,
    segmentor: SegmentationTask | None = None,
    config: SelectionConfig | None = None,
    seed: int = 0,
    device: Device = "auto",
    engine: Engine | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Selection:
    """Score the candidates of a run and recommend one.

    Writes into ``out``: ``drawn/NAME`` (a cohort per candidate, one image per real mask), ``segmentor`` and ``realism``
    (the trained networks), ``images.csv``, ``candidates.csv``, ``candidates.png``, ``same_score.png`` (drawings with
    about equal FCN scores and different sharpness) and ``recommended.json``. The same call continues a stopped
    selection.

    Args:
        run: a model folder with candidates.
        real: real cases; the masks of those with lesions are drawn. Prefer the generator's own training cases: other
            cases must not be tested on later, since the selection has seen them.
        out: a new folder, or the folder of the same selection.
        segmentor: finds lesions, for the FCN score; by default a network is trained on ``real``.
        config: options of the selection.
        seed: seed of all randomness.
        device: device for drawing, training and scoring.
        engine: where the candidates draw; by default in this process, on ``device``.
        say: called with a line at each stage.

    Raises:
        ModelError: if the run has no candidates.
        ConfigError: if the model would see the lesion that it is to draw, or its lesion classes differ from those of
            ``real``.
        CohortError: if no case could be drawn.
        OutputError: if ``out`` holds something else.
    """
    config, info, digests = config or SelectionConfig(), read_info(run), _digests(run)
    if dict(real.labels) != info.labels:
        raise ConfigError(real.name, "its lesion classes are not the model's", "name the cohort that it was trained on")
    cases = real.having(info.preprocessing.channels).with_channels(info.preprocessing.channels).with_lesions()
    claim_run_folder(out, _settings(info, digests, cases, segmentor, config, seed), file="selection.json")
    made = dict[str, Synthesis]()
    for name in digests:
        say(f"{name}: {len(cases)} masks to draw")
        model = load_synthesizer(run, candidate=name, device=device)
        made[name] = _draw(model, cases, out / "drawn" / name, seed, engine)
    cohorts = _drawn_by_all(cases, made)
    if segmentor is None:
        say("training of the segmentation network")
        segmentor = fit_segmentor(cohorts[REAL], info, config, out / "segmentor", seed, device)
    segmentor.to(pick_device(device))
    say("training of the realism classifiers")
    options = _looking_at(config.realism, whole=model.draws_whole_image)
    realism = _realism(cohorts, options, info, out / "realism", seed, device)
    say("scores")
    images = image_scores(cohorts, segmentor, realism)
    summary = summarize_images(images)
    ranked = recommend(summary, config.counted)
    selection = Selection(
        summary=summary.join(ranked[["rank_sum", "recommended"]]),
        recommended=str(ranked.index[ranked["recommended"]][0]),
        notes=_notes(info, cohorts[REAL], segmentor, summary),
        problems=_problems(made),
    )
    _write(selection, images, cohorts, {*info.training_subjects, *segmentor.info.training_subjects}, out, config)
    return selection


def _digests(run: Path) -> dict[str, str]:
    """Return the SHA-256 of the weights of every candidate.

    Raises:
        ModelError: if there are no candidates.
    """
    names = list_candidates(run)
    if not names:
        raise ModelError(run, "has no candidates to choose from", "train it with, for example, candidates=[10,50]")
    return {name: sha256_of(run / CANDIDATES / f"{name}.safetensors") for name in names}


def _settings(
    info: ModelInfo,
    digests: Mapping[str, str],
    cases: Cohort,
    segmentor: SegmentationTask | None,
    config: SelectionConfig,
    seed: int,
) -> dict[str, object]:
    """Return everything that the selection depends on."""
    return {
        "model": info.model_dump(mode="json"),
        "candidates": dict(digests),
        **case_settings("cases", cases),
        **({"segmentor": None} if segmentor is None else model_settings("segmentor", segmentor)),
        "config": config.model_dump(mode="json"),
        "seed": seed,
    }


def _draw(model: Synthesizer, cases: Cohort, out: Path, seed: int, engine: Engine | None) -> Synthesis:
    blend: Blend = "full" if model.draws_whole_image else "lesion"
    return synthesize_cohort(model, cases, OwnMasks(), out=out, blend=blend, seed=seed, engine=engine)


def _drawn_by_all(cases: Cohort, made: Mapping[str, Synthesis]) -> dict[str, Cohort]:
    """Return the drawn cohorts, then the real cohort, reduced to the masks that every candidate has drawn.

    Raises:
        CohortError: if there are no such masks.
    """
    common = set.intersection(*({case.source_case for case in one.cohort} for one in made.values()))
    if not common:
        remedy = str(_problems(made)[0]) if _problems(made) else "name cases with lesions"
        raise CohortError(cases.name, "no mask could be drawn", remedy)
    cohorts = {name: one.cohort for name, one in made.items()}
    drawn = {
        name: cohort.with_cases([case for case in cohort if case.source_case in common])
        for name, cohort in cohorts.items()
    }
    return {**drawn, REAL: cases.subset(common)}


def _problems(made: Mapping[str, Synthesis]) -> tuple[LesionforgeError, ...]:
    return tuple({str(problem): problem for one in made.values() for problem in one.problems}.values())


def fit_segmentor(
    cases: Cohort, info: ModelInfo, config: SelectionConfig, out: Path, seed: int, device: Device
) -> SegmentationTask:
    """Train the segmentation network of the FCN score at the generator's spacing, or load it if it is trained.

    Args:
        cases: real cases with lesions.
        info: the generator.
        config: options of the selection.
        out: the network's model folder.
        seed: seed of the training.
        device: device for training.
    """
    if (out / "model.json").is_file():
        return SegmentationTask.load(out, device=device)
    same_grid = info.preprocessing.spatial_dims == config.segmentor.spatial_dims
    return SegmentationTask.fit(
        cases,
        channels=cases.channels,
        config=config.segmentor,
        training=TrainingConfig(steps=config.segmentor_steps, seed=seed, device=device),
        out=out,
        preprocessing=info.preprocessing if same_grid else None,
        resume=True,
    )


def _looking_at(config: RealismConfig, *, whole: bool) -> RealismConfig:
    """Return the options of the classifier, set to look at the part that was drawn."""
    return config if whole else config.model_copy(update={"look_at": "lesion"})


def _realism(
    cohorts: Mapping[str, Cohort], config: RealismConfig, info: ModelInfo, out: Path, seed: int, device: Device
) -> pd.DataFrame | None:
    """Judge all cohorts; return ``None`` if there are too few subjects."""
    real, drawn = cohorts[REAL], {name: cohort for name, cohort in cohorts.items() if name != REAL}
    if len(real.subjects) < FEWEST_SUBJECTS:
        return None
    looked_at = info.preprocessing
    return judge_realism(real, drawn, out=out, config=config, preprocessing=looked_at, seed=seed, device=device)


def _notes(info: ModelInfo, real: Cohort, segmentor: SegmentationTask, summary: pd.DataFrame) -> tuple[str, ...]:
    """Return notes on further subjects that the selection has seen, and on scores that are missing or say little."""
    own, notes = set(info.training_subjects), []
    if beyond := len(real.ancestry - own):
        notes.append(f"{beyond} subjects that the generator was not trained on took part: do not test on them")
    if beyond := len(set(segmentor.info.training_subjects) - own - real.ancestry):
        what = "the segmentation network was trained on more subjects than the generator and the real cases hold"
        notes.append(f"leak: {what} ({beyond} more), so the FCN score, and the choice, know more data than the arm")
    of_real = summary["fcn_score"].to_dict()[REAL]
    if of_real < LEAST_REAL_DICE:
        remedy = "train it for longer (segmentor_steps), or name a better one"
        notes.append(f"the network's own Dice on real images is {of_real:.2f}, so the FCN score says little: {remedy}")
    if summary["realism"].isna().all():
        notes.append(f"realism was not judged: that takes {FEWEST_SUBJECTS} subjects, here are {len(real.subjects)}")
    return tuple(notes)


def _write(
    selection: Selection,
    images: pd.DataFrame,
    cohorts: Mapping[str, Cohort],
    known: Set[str],
    out: Path,
    config: SelectionConfig,
) -> None:
    drawn = {name: cohort for name, cohort in cohorts.items() if name != REAL}
    figures = {
        "candidates.png": candidate_grid(cohorts[REAL], drawn, recommended=selection.recommended, rows=config.shown),
        "same_score.png": same_score_grid(cohorts[REAL], drawn, images, rows=config.shown),
    }
    for name, figure in figures.items():
        if figure is not None:
            with atomic(out / name) as temporary:
                figure.savefig(temporary, dpi=110, format="png")
    write_problems(out / "problems.csv", selection.problems)
    write_text(out / "images.csv", images.to_csv(index=False))
    write_text(out / "candidates.csv", selection.summary.to_csv())
    facts = {"recommended": selection.recommended, "rule": rule(config.counted), "notes": list(selection.notes)}
    write_json(out / RECOMMENDED, {**facts, "subjects": sorted(known | cohorts[REAL].ancestry)})
