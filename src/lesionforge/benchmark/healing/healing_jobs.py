"""The kinds of job of a study: fit f_pre, fit a method, heal and score the test cases with all methods of a seed."""

from __future__ import annotations

from lesionforge.benchmark.healing.healing_setting import HealingSetting
from lesionforge.benchmark.report.made_of import timed
from lesionforge.files import write_text
from lesionforge.healers.registry import HEALERS, load_healer
from lesionforge.production.heal import HEALED, MAPS, RECONSTRUCTED, heal_cohort
from lesionforge.reading import read_frame
from lesionforge.scores.healed_scans.healed import score_healed
from lesionforge.scores.healed_scans.healthiness import segmentor
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask

F_PRE = "f_pre"


def fit(setting: HealingSetting, seed: int, name: str) -> str:
    """Train a method, or what looks for lesions in healed scans, unless that is done."""
    if name == F_PRE:
        return fit_f_pre(setting)
    plan, folder = setting.plan, setting.model_folder(seed, name)
    if not (folder / "model.json").is_file():
        with timed(folder):
            HEALERS[plan.methods[name].method].fit(
                setting.train,
                channels=setting.channels,
                config=plan.options_of(name),
                training=plan.training.model_copy(update={"seed": seed}),
                out=folder,
                resume=True,
            )
    return f"{name}, seed {seed}: trained"


def fit_f_pre(setting: HealingSetting) -> str:
    """Train the segmentation network that all methods are scored with, unless that is done."""
    plan, folder = setting.plan.f_pre, setting.f_pre_folder
    if not (folder / "model.json").is_file():
        SegmentationTask.fit(
            setting.outlined,
            channels=setting.channels,
            config=plan.task,
            training=plan.training,
            out=folder,
            resume=True,
        )
    return "f_pre: trained"


def score(setting: HealingSetting, seed: int) -> str:
    """Heal the test cases with every method of a seed and score them: ``results.csv``."""
    table, device = setting.results_file(seed), setting.plan.training.device
    if not table.is_file():
        healings = {
            name: heal_cohort(
                load_healer(setting.model_folder(seed, name), device=device),
                setting.test,
                out=setting.healed_folder(seed, name),
            )
            for name in setting.plan.methods
        }
        of_kind = {
            kind: {name: healing.cohorts[kind] for name, healing in healings.items() if kind in healing.cohorts}
            for kind in (HEALED, RECONSTRUCTED, MAPS)
        }
        f_pre = SegmentationTask.load(setting.f_pre_folder, device=device)
        scores = score_healed(
            setting.test,
            of_kind[HEALED],
            segmentor(f_pre),
            reconstructions=of_kind[RECONSTRUCTED],
            maps=of_kind[MAPS],
            fraction=setting.plan.fraction,
            f_pre_subjects=f_pre.info.training_subjects,
            seed=seed,
        )
        write_text(table, scores.to_csv(index=False))
    means = read_frame(table).groupby("method", sort=False)["healthiness"].mean()
    return f"seed {seed}: mean healthiness " + ", ".join(f"{name} {value:.2f}" for name, value in means.items())
