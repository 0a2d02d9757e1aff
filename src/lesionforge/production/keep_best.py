"""A synthetic cohort that keeps only the best cases by an image-quality score."""

from __future__ import annotations

import shutil
from collections.abc import Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.layouts.nnunet import case_files
from lesionforge.cohort.provenance import read_record
from lesionforge.errors import CohortError, ConfigError
from lesionforge.files import atomic, one_at_a_time, write_json
from lesionforge.masks.base import MaskSource
from lesionforge.production.blend import Blend
from lesionforge.production.run_folder import case_settings, claim_run_folder, finish_run_folder, model_settings
from lesionforge.production.synthesize import Synthesis, synthesize_cohort
from lesionforge.scores.collapse import found_nothing
from lesionforge.scores.drawn_images.realism import judge_realism
from lesionforge.scores.drawn_images.realism_classifier import LookAt, RealismConfig
from lesionforge.scores.drawn_images.segmentability import segmentability
from lesionforge.scores.drawn_images.sharpness import cohort_sharpness
from lesionforge.synthesizers.base import Synthesizer
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.loop import Device, pick_device

By = Literal["realism", "segmentability", "sharpness"]


@dataclass(frozen=True, kw_only=True)
class KeepBest:
    """Which cases to keep.

    Attributes:
        share: share of the drawn cases to keep, above 0 and at most 1.
        by: the score; ``realism`` needs ``real``, ``segmentability`` needs ``segmentor``, ``sharpness`` needs neither.
        real: real cases with lesions; their subjects, and the parents of all drawn cases, become parents of kept cases.
        segmentor: a segmentation task; its training subjects become parents of kept cases.
        classifier: options of the realism classifier.
    """

    share: float
    by: By = "realism"
    real: Cohort | None = None
    segmentor: SegmentationTask | None = None
    classifier: RealismConfig = field(default_factory=RealismConfig)

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError("`keep_best`", f"{self.share:g} is no share", "give more than 0 and at most 1")
        if self.by == "realism" and self.real is None:
            raise ConfigError("`by=realism`", "needs real cases with lesions", "name a cohort of them")
        if self.by == "segmentability" and self.segmentor is None:
            raise ConfigError("`by=segmentability`", "needs a segmentation network", "name one with `segmentor`")

    def subjects(self, drawn: Cohort) -> Set[str]:
        """Return all subjects that the score has seen; the realism classifier learns from real and drawn cases."""
        if self.by == "realism":
            assert self.real is not None
            return self.real.with_lesions().ancestry | drawn.ancestry
        if self.by == "segmentability":
            assert self.segmentor is not None
            return frozenset(self.segmentor.info.training_subjects)
        return frozenset()


@one_at_a_time
def synthesize_best(
    model: Synthesizer,
    cohort: Cohort,
    masks: MaskSource | None,
    *,
    keep: KeepBest,
    out: Path,
    n: int | None,
    blend: Blend = "lesion",
    seed: int = 0,
    device: Device = "auto",
    **options: Any,
) -> Synthesis:
    """Draw ``n`` cases into ``out/drawn`` and keep the best share of them in ``out``.

    Each case has its own score. The realism classifier was not trained on the subject that it judges; with
    ``blend="lesion"`` it looks at the lesions only. ``cases.csv`` and the provenance of a kept case hold the score and
    its value, and the subjects behind the score are further parents of the case.

    Args:
        model: the synthesizer.
        cohort: the target scans.
        masks: source of the lesion masks.
        keep: which cases to keep.
        out: a new folder, or the folder of the same run; networks that the score trains go to ``out/realism``.
        n: number of cases to draw.
        blend: see :func:`~lesionforge.production.synthesize.synthesize_cohort`.
        seed: seed of all randomness.
        device: device for scoring.
        options: further options of :func:`~lesionforge.production.synthesize.synthesize_cohort`.

    Raises:
        ConfigError: if there are to be negatives, whose images no score judges.
        CohortError: if there are fewer than four real subjects to judge realism by, or the segmentation network finds
            nothing in the drawn cases, which stay in ``out/drawn``.
        OutputError: if ``out`` holds something else.
    """
    if options.get("negatives"):
        what = "scores judge drawn lesions, which negatives lack"
        raise ConfigError("`negatives`", what, "leave out the negatives, or `keep_best`")
    claim_run_folder(out, _settings(keep), file="filter.json")
    drawn = synthesize_cohort(model, cohort, masks, out=out / "drawn", n=n, blend=blend, seed=seed, **options)
    if not len(drawn.cohort):
        return drawn
    look_at: LookAt = "head" if blend == "full" else "lesion"
    scores = _scores(drawn.cohort, keep, look_at, out / "realism", seed, device)
    best = set(scores.nlargest(max(1, round(keep.share * len(scores)))).index)
    kept = [_keep(case, scores[case.case_id], keep, drawn.cohort, out) for case in drawn.cohort if case.case_id in best]
    result = drawn.cohort.with_cases(kept)
    finish_run_folder(out, result, drawn.problems, file_ending=kept[0].file_ending)
    return replace(drawn, cohort=result)


def _settings(keep: KeepBest) -> dict[str, object]:
    return {
        "keep_best": keep.share,
        "by": keep.by,
        **({"real": None} if keep.real is None else case_settings("real", keep.real)),
        **({"segmentor": None} if keep.segmentor is None else model_settings("segmentor", keep.segmentor)),
        "classifier": keep.classifier.model_dump(mode="json"),
    }


def _scores(drawn: Cohort, keep: KeepBest, look_at: LookAt, out: Path, seed: int, device: Device) -> pd.Series:
    """Return case id → score."""
    if keep.by == "sharpness":
        return cohort_sharpness(drawn).set_index("case_id")["laplacian_variance"]
    if keep.by == "segmentability":
        assert keep.segmentor is not None
        rows = segmentability(keep.segmentor.to(pick_device(device)), drawn)
        if found_nothing(rows, "fcn_score"):
            what = "the segmentation network finds none of the drawn lesions, so its scores are all alike"
            raise CohortError(drawn.name, what, "choose by realism, or name another network, in a new folder")
        return rows.set_index("case_id")["fcn_score"]
    assert keep.real is not None
    config = keep.classifier.model_copy(update={"look_at": look_at})
    real = keep.real.having(drawn.channels).with_channels(drawn.channels)
    judged = judge_realism(real, {"drawn": drawn}, out=out, config=config, control=False, seed=seed, device=device)
    return judged[judged["cohort"] == "drawn"].set_index("case_id")["realism"]


def _keep(case: Case, score: float, keep: KeepBest, drawn: Cohort, out: Path) -> Case:
    """Copy a drawn case into ``out``; the provenance record with the score is written last."""
    files, label = case_files(out, case.case_id, len(drawn.channels), case.file_ending)
    facts = {"kept_by": keep.by, "score": f"{score:.6g}"}
    kept = replace(
        case,
        images=dict(zip(drawn.channels, files, strict=True)),
        label=label,
        parents=tuple(sorted({*case.parents, *keep.subjects(drawn)})),
        extra={**case.extra, **facts},
    )
    record = out / "provenance" / f"{case.case_id}.json"
    if record.is_file():
        return kept
    assert case.label is not None
    for source, target in zip([*case.images.values(), case.label], [*files, label], strict=True):
        with atomic(target) as temporary:
            shutil.copyfile(source, temporary)
    before = read_record(out / "drawn" / "provenance" / record.name)
    write_json(record, {**before, **facts, "parents": list(kept.parents)})
    return kept
