"""The comparisons that this project has measured, from ``measured.yaml``."""

from __future__ import annotations

from functools import cache
from math import log
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from lesionforge.cohort.inspection.measure import Frozen
from lesionforge.errors import ConfigError
from lesionforge.evidence.facts import Facts
from lesionforge.reading import read_yaml

FILE = Path(__file__).with_name("measured.yaml")
ALIKE = {
    "subjects": "the number of subjects",
    "diameter_mm": "the size of the lesions",
    "contrast": "the contrast of the lesions",
}
FACTOR = 3.0
"""Cohorts are alike whose numbers of subjects, lesion diameters and contrasts differ by at most this factor."""


class Measured(Frozen):
    """What an arm changed, in points of the comparison's score.

    Attributes:
        gain: difference to the baseline.
        low, high: its interval of 95 %, over subjects and seeds.
        p: its p after Holm's correction.
        use: whether cases were drawn before the training or during it.
        share: share of the batches that was drawn.
        steps: steps of the task's training.
        detectable: the smallest difference that would have been seen with 80 % power; ``None`` if it is not known.
        closes: share of the gap to all subjects that the arm closes, in percent, with its interval of 95 %, whose ends
            may be unknown; ``None`` where no gap was shown.
    """

    gain: float
    low: float
    high: float
    p: float = Field(ge=0, le=1)
    use: Literal["offline", "on_the_fly"]
    share: float = Field(gt=0, le=1)
    steps: int = Field(gt=0)
    detectable: float | None = Field(default=None, gt=0)
    closes: tuple[float, float | None, float | None] | None = None

    @model_validator(mode="after")
    def _is_an_interval(self) -> Self:
        if not self.low <= self.gain <= self.high:
            raise ValueError("low ≤ gain ≤ high")
        return self

    def __str__(self) -> str:
        return f"{self.gain:+.1f} [{self.low:+.1f}, {self.high:+.1f}]".replace("-", "−")


class Comparison(Frozen):
    """Arms against a baseline on one cohort with one number of training subjects.

    Attributes:
        data: what was measured on, in words.
        simulated: whether these are simulated scans.
        preset: the plan, and the name of its page of results.
        scale: scale of the plan.
        score: what was compared, in points.
        subjects: annotated training subjects.
        diameter_mm, contrast: as in :class:`Facts`.
        seeds: number of seeds.
        test_subjects: number of test subjects.
        baseline: score of the baseline, trained on real cases alone.
        all_subjects: number of subjects in the whole pool, and ``all_baseline``, the score of the baseline with them;
            both ``None`` where the baseline has the whole pool.
        search: what the search for a better baseline and longer training were worth in points, on development
            subjects; ``None`` if not measured.
        undertrained: whether longer training still helped the baseline at the end.
        found_nothing: number of trainings of the baseline that found nothing.
        arms: arm → what it changed.
    """

    data: str
    simulated: bool
    preset: str
    scale: str
    score: str
    subjects: int = Field(gt=0)
    diameter_mm: float = Field(gt=0)
    contrast: float
    seeds: int = Field(gt=0)
    test_subjects: int = Field(gt=0)
    baseline: float
    all_subjects: int | None = None
    all_baseline: float | None = None
    search: float | None = None
    undertrained: bool
    found_nothing: int = Field(default=0, ge=0)
    arms: dict[str, Measured] = Field(min_length=1)

    @property
    def told(self) -> str:
        """The data in words."""
        return f"{self.data} (simulated)" if self.simulated else self.data

    @property
    def shown(self) -> list[str]:
        """The arms that were shown to help, as a report says it.

        The interval lies above 0, p is below 0.05, longer training did not help the baseline any more, and each
        training of the baseline found something.
        """
        sound = not self.undertrained and not self.found_nothing
        return [name for name, arm in self.arms.items() if sound and arm.low > 0 and arm.p < 0.05]

    def unlike(self, facts: Facts) -> list[str]:
        """Return the facts that are not alike, in words; none if a cohort is like the one that was measured on."""
        return [said for said, factor in self._factors(facts).items() if factor > FACTOR]

    def distance(self, facts: Facts) -> float:
        """Return how unlike a cohort is: the sum of the logarithms of the factors, 0 for equal facts."""
        return sum(log(min(factor, 1e6)) for factor in self._factors(facts).values())

    def _factors(self, facts: Facts) -> dict[str, float]:
        return {said: _factor(getattr(self, name), getattr(facts, name)) for name, said in ALIKE.items()}


def _factor(one: float, other: float) -> float:
    """Return the factor, 1 or more, between two numbers; infinite if their signs differ."""
    if one * other <= 0:
        return 1.0 if one == other else float("inf")
    return max(one / other, other / one)


@cache
def measured() -> tuple[Comparison, ...]:
    """Return all comparisons."""
    return tuple(Comparison.model_validate(entry) for entry in read_yaml(FILE, fault=ConfigError))
