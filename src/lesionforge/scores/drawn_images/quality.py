"""Three scores of drawn images and the rule that chooses a generator by them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pandas as pd

from lesionforge.cohort.case import Cohort
from lesionforge.scores.drawn_images.realism import CALLED_REAL, CONTROL, REAL, REALISM
from lesionforge.scores.drawn_images.segmentability import FCN_SCORE, segmentability
from lesionforge.scores.drawn_images.sharpness import SHARPNESS, cohort_sharpness
from lesionforge.scores.finds_lesions import FindsLesions
from lesionforge.scores.score import Scores, by_name

RANKED = ("fcn_score", "laplacian_variance")
Realism = Literal["realism", "called_real_50", "called_real_10"]
"""Measure of realism: the mean probability of being real, or the share of images called real at 50 or 10 %."""
COUNTED: dict[Realism, str] = {
    "realism": "the mean probability of being real",
    "called_real_50": "the share of images whose probability of being real is 50 % or more",
    "called_real_10": "the share of images whose probability of being real is 10 % or more",
}


QUALITY_SCORES: Scores = by_name(FCN_SCORE, *SHARPNESS.values(), REALISM, *CALLED_REAL.values())
"""Scores of drawn images."""
OF_IMAGES = [name for name, score in QUALITY_SCORES.items() if score.level == "image"]


def rule(realism: Realism = "realism") -> str:
    """Return the rule of the choice in words.

    The paper reports the same three scores but no rule. Its share called real at 10 % is uninformative if the
    classifier is so uncertain that all images pass, or so certain that none does; the mean probability is informative
    in both cases.
    """
    return (
        f"Candidates are ranked by the FCN score, by the variance of the Laplacian and by realism, {COUNTED[realism]}. "
        "A score above that of the real images does not count for more: an image that is sharper than real is noisy, "
        "and one that is easier to segment than real is a cartoon. The candidate with the lowest sum of ranks is "
        "recommended; ties go to the higher realism, then to the higher FCN score."
    )


def image_scores(cohorts: Mapping[str, Cohort], task: FindsLesions, realism: pd.DataFrame | None) -> pd.DataFrame:
    """Return the scores of every image.

    Args:
        cohorts: name → drawn cases; :data:`~lesionforge.scores.drawn_images.realism.REAL` → the real cases.
        task: network that finds lesions.
        realism: table of :func:`~lesionforge.scores.drawn_images.realism.judge_realism`, if any.

    Returns:
        A row per case and cohort: ``cohort, case_id, subject_id, fcn_score, laplacian_variance, spectrum_mean,
        mean_frequency, realism``; rows of the control have realism only.
    """
    key = ["case_id", "subject_id"]
    parts = []
    for name, cohort in cohorts.items():
        found = segmentability(task, cohort)
        sharp = cohort_sharpness(cohort, channels=task.info.preprocessing.channels)
        parts.append(found.merge(sharp, on=key).assign(cohort=name))
    table = pd.concat(parts, ignore_index=True)
    if realism is None:
        table["realism"] = float("nan")
    else:
        control = realism[realism["cohort"] == CONTROL]
        table = pd.concat([table.merge(realism, on=["cohort", *key], how="left"), control], ignore_index=True)
    return table[["cohort", *key, *OF_IMAGES]]


def summarize_images(images: pd.DataFrame) -> pd.DataFrame:
    """Return the mean scores over the images of each cohort, as published, and the shares called real.

    Args:
        images: a row per case and cohort, see :func:`image_scores`.

    Returns:
        A row per cohort, which is the index: ``images, fcn_score, laplacian_variance, spectrum_mean, mean_frequency,
        realism, called_real_50, called_real_10``.
    """
    groups = images.groupby("cohort", sort=False)
    table = groups[OF_IMAGES].mean()
    table.insert(0, "images", groups.size())
    for name, score in QUALITY_SCORES.items():
        if score.level == "set":
            table[name] = [score(images[images["cohort"] == cohort]) for cohort in table.index]
    return table


def recommend(summary: pd.DataFrame, realism: Realism = "realism") -> pd.DataFrame:
    """Return the candidates of a summary with the columns ``rank_sum`` and ``recommended``, by the :func:`rule`.

    A score without a value for any candidate is ignored.

    Args:
        summary: table of :func:`summarize_images`, with the row of the real images.
        realism: column to use as realism.
    """
    candidates = summary.drop(index=[REAL, CONTROL], errors="ignore")
    most = {name: float(summary[name].to_dict()[REAL]) for name in (*RANKED, realism)}
    counted = pd.DataFrame({name: candidates[name].clip(upper=value) for name, value in most.items()})
    rank_sum = counted.dropna(axis=1, how="all").rank(ascending=False, na_option="bottom").sum(axis=1)
    order = candidates.assign(rank_sum=rank_sum).sort_values(
        ["rank_sum", realism, "fcn_score"], ascending=[True, False, False], kind="stable"
    )
    return candidates.assign(rank_sum=rank_sum, recommended=candidates.index == order.index[0])
