"""What to do with a cohort, by what was measured on cohorts like it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lesionforge.evidence.comparisons import Comparison
from lesionforge.evidence.facts import Facts

FEW = 5
"""Up to this number of subjects a training may find nothing at all."""
USES = {"offline": "cases drawn before the training", "on_the_fly": "lesions drawn during the training"}
FIRST = (
    "Improve the training on the real cases first: search for the augmentation, the learning rate and the batch size, "
    "and train until longer training no longer helps"
)
RESCUE = (
    "If a training finds nothing at all, try `pix2pix` with `condition: inpaint`: with one patient with small bleeds, "
    "where the training on real scans found nothing, it found 56.4 points of Dice (one training, another script)."
)


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What to do with a cohort.

    Attributes:
        arm: the arm to train, or ``None`` to train on the real cases alone.
        alike: the comparisons on cohorts like it, the most alike first.
        sentences: the advice in words, the most important first.
        preset: the plan to measure it with on the cohort itself.
        scale: its scale, that of the measurement.
    """

    arm: str | None
    alike: tuple[Comparison, ...]
    sentences: tuple[str, ...]
    preset: str
    scale: str


def recommend(facts: Facts, comparisons: Sequence[Comparison]) -> Recommendation:
    """Return what to do with a cohort.

    An arm is recommended if it was shown to help on a cohort like this one; of several, that whose interval has the
    greatest lower end. Without any, nothing is to be drawn.

    Args:
        facts: of the cohort.
        comparisons: all that was measured, one at least.
    """
    near = sorted(comparisons, key=lambda comparison: comparison.distance(facts))
    alike = tuple(comparison for comparison in near if not comparison.unlike(facts))
    shown = {comparison.arms[name].low: (comparison, name) for comparison in alike for name in comparison.shown}
    if shown:
        where, arm = shown[max(shown)]
        advice = [_draw(where, arm), *_baseline(alike)]
    else:
        where, arm = near[0], None
        advice = [_do_not(alike) if alike else _unknown(where, facts), *_baseline(alike)]
        advice += [RESCUE] if facts.subjects <= FEW else []
    return Recommendation(arm=arm, alike=alike, sentences=tuple(advice), preset=where.preset, scale=where.scale)


def _draw(where: Comparison, arm: str) -> str:
    measured = where.arms[arm]
    return (
        f"Draw with the arm `{arm}` of the preset `{where.preset}` at its scale `{where.scale}` ({USES[measured.use]}, "
        f"{measured.share:.0%} of the batches, {measured.steps} steps): expect {measured} points of {where.score}, as "
        f"measured on {where.told}."
    )


def _do_not(alike: Sequence[Comparison]) -> str:
    arms = {f"`{name}`": None for comparison in alike for name in comparison.arms}
    return (
        "Do not bother with drawing: on cohorts like this one no arm was shown to beat a well-trained baseline "
        f"({', '.join(arms)}). A gain within the intervals is not excluded."
    )


def _unknown(nearest: Comparison, facts: Facts) -> str:
    apart = nearest.unlike(facts)
    differ = f"{' and '.join(apart)} differ{'s' if len(apart) == 1 else ''}"
    return (
        "Nothing was measured on a cohort like this one, so there is no reason to expect a gain from drawing. "
        f"The nearest is {nearest.told}, but {differ} by more than the factor up to which cohorts count as alike."
    )


def _baseline(alike: Sequence[Comparison]) -> list[str]:
    worth = [f"{comparison.search:+.0f} points on {comparison.told}" for comparison in alike if comparison.search]
    told = f"{FIRST}; that was worth {', '.join(worth)}." if worth else f"{FIRST}."
    still = "There, longer training still helped at the end, so these baselines are not at their best yet."
    return [told, still] if any(comparison.undertrained for comparison in alike) else [told]
