"""The jobs of a healing study: train f_pre, train a method, and heal and score the test cases for one seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionforge.benchmark.report.made_of import timed
from lesionforge.files import write_text
from lesionforge.healers.registry import HEALERS, load_healer
from lesionforge.production.heal import HEALED, MAPS, RECONSTRUCTED, heal_cohort
from lesionforge.reading import read_frame
from lesionforge.scores.healed_scans.healed import score_healed
from lesionforge.scores.healed_scans.healthiness import segmentor
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask

if TYPE_CHECKING:
    from lesionforge.benchmark.healing.healing_study import HealingStudy


def fit_method(study: HealingStudy, seed: int, name: str) -> str:
    """Train one method."""
    plan, folder = study.plan, study.model_folder(seed, name)
    with timed(folder):
        HEALERS[plan.methods[name].method].fit(
            study.train_of(seed),
            channels=study.channels,
            config=plan.options_of(name),
            training=plan.training.model_copy(update={"seed": seed}),
            out=folder,
            resume=True,
        )
    return f"{name}, seed {seed}: trained"


def fit_f_pre(study: HealingStudy) -> str:
    """Train the segmentation network that scores all methods."""
    plan = study.plan.f_pre
    SegmentationTask.fit(
        study.outlined,
        channels=study.channels,
        config=plan.task,
        training=plan.training.or_device(study.plan.training.device),
        out=study.f_pre_folder,
        resume=True,
    )
    return "f_pre: trained"


def score(study: HealingStudy, seed: int) -> str:
    """Heal the test cases with every method of a seed and score them; write ``results.csv``."""
    table, device = study.results_file(seed), study.plan.training.device
    healings = {
        name: heal_cohort(
            load_healer(study.model_folder(seed, name), device=device),
            study.test,
            out=study.healed_folder(seed, name),
        )
        for name in study.plan.methods
    }
    of_kind = {
        kind: {name: healing.cohorts[kind] for name, healing in healings.items() if kind in healing.cohorts}
        for kind in (HEALED, RECONSTRUCTED, MAPS)
    }
    f_pre = SegmentationTask.load(study.f_pre_folder, device=device)
    scores = score_healed(
        study.test,
        of_kind[HEALED],
        segmentor(f_pre),
        reconstructions=of_kind[RECONSTRUCTED],
        maps=of_kind[MAPS],
        fraction=study.plan.fraction,
        f_pre_subjects=f_pre.info.training_subjects,
        seed=seed,
    )
    write_text(table, scores.to_csv(index=False))
    means = read_frame(table).groupby("method", sort=False)["healthiness"].mean()
    return f"seed {seed}: mean healthiness " + ", ".join(f"{name} {value:.2f}" for name, value in means.items())
