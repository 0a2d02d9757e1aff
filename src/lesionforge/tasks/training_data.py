"""The cases that a task is trained on: annotated real ones, mixed with synthetic ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.inspection.fingerprint import Fingerprint
from lesionforge.cohort.layouts.labels import OnProblem, fail
from lesionforge.cohort.scan import LabelArray
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.pipeline import Preprocessing, Sample
from lesionforge.training.items.deal import Fade
from lesionforge.training.items.samples import cached_samples, measured_cases
from lesionforge.training.items.source import Source, mixed


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """The training data of a task.

    Attributes:
        parents: the real cases and the synthetic cases on disk.
        facts: fingerprint of the real cases.
        preprocessing: transforms scans to model space.
        own: the real samples.
        synthetic: the synthetic samples, or a source that draws lesions into the real ones, or ``None``.
        share: share of the training items that are synthetic.
        items: number of training items of the whole run.
        fade: fall of the share during the run, or ``None``.
    """

    parents: Cohort
    facts: Fingerprint
    preprocessing: Preprocessing
    own: Source
    synthetic: Source | None
    share: float
    items: int = 0
    fade: Fade | None = None

    @property
    def sources(self) -> list[Source]:
        """The sources of the training items, with their shares."""
        return mixed(self.own, self.synthetic, self.share)

    def about(self, pretrained: str | None) -> dict[str, Any]:
        """Return what ``model.json`` says of the mixture.

        That is the share, the items between which it falls, and the digest of a pretrained model, if there are any.
        """
        facts: dict[str, Any] = {} if self.synthetic is None else {"share": self.share}
        facts |= {} if self.fade is None else {"fade": [self.fade.first, self.fade.last]}
        return facts if pretrained is None else {**facts, "pretrained": pretrained}


def task_data(
    cases: Cohort,
    facts: Fingerprint,
    preprocessing: Preprocessing,
    *,
    real: Cohort,
    synthetic: Cohort | Source | None,
    share: float,
    lesion_share: float,
    on_problem: OnProblem = fail,
) -> TaskData:
    """Read the training cases into model space.

    Args:
        cases: the readable real cases.
        facts: their fingerprint.
        preprocessing: transforms scans to model space.
        real: the cohort of the real cases, whose lesion classes the synthetic cases must have.
        synthetic: synthetic cases, or a source that draws lesions into the real samples.
        share: share of the training items that are synthetic.
        lesion_share: share of the training items that show a lesion.
        on_problem: called with the error of each unreadable synthetic case, which is left out.

    Raises:
        CohortError: if ``synthetic`` has no annotated case with these channels, or other lesion classes.
    """
    own, parents = Source(samples=cached_samples(cases, preprocessing), lesion_share=lesion_share), cases
    if isinstance(synthetic, Cohort):
        drawn, _ = measured_cases(
            synthetic_cases(synthetic, real, cases.channels), cases.channels, on_problem=on_problem
        )
        parents = cases.with_cases((*cases, *drawn))
        known = known_before(drawn, cases, own.samples)
        synthetic = replace(own, samples=cached_samples(drawn, preprocessing), known=known)
    return TaskData(
        parents=parents, facts=facts, preprocessing=preprocessing, own=own, synthetic=synthetic, share=share
    )


def check_share(share: float) -> None:
    """Check the share of synthetic items.

    Raises:
        ConfigError: if it is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise ConfigError("`share`", f"{share} is out of range", "give a number from 0 to 1")


def annotated_cases(cohort: Cohort, channels: tuple[str, ...]) -> Cohort:
    """Return the annotated cases that have all ``channels``, with these channels only.

    Raises:
        CohortError: if there are none.
    """
    complete = cohort.having(channels)
    cases = complete.annotated().with_channels(channels)
    if not len(cases):
        counts = f"{len(cohort) - len(complete)} of {len(cohort)} cases lack a channel, {len(complete)} have no mask"
        raise CohortError(
            cohort.name,
            f"has no annotated case with {', '.join(channels)}: {counts}",
            "add masks to labelsTr, named like the cases, or say lesion_free in cases.csv",
        )
    return cases


def synthetic_cases(synthetic: Cohort, real: Cohort, channels: tuple[str, ...]) -> Cohort:
    """Return the annotated cases of ``synthetic`` with these channels.

    Raises:
        CohortError: if there are none, or their lesion classes differ from those of ``real``.
    """
    if dict(synthetic.labels) != dict(real.labels):
        raise CohortError(synthetic.name, f"has other lesion classes than {real.name}", "use the same lesion classes")
    return annotated_cases(synthetic, channels)


def known_before(synthetic: Cohort, cases: Cohort, samples: Sequence[Sample]) -> list[LabelArray | None]:
    """Return the label of each synthetic case's source scan before drawing.

    Args:
        synthetic: synthetic cases.
        cases: real cases.
        samples: samples of ``cases``, in the same order.

    Returns:
        A label per synthetic case; ``None`` if its source scan is not in ``cases``.
    """
    before = {case.case_id: sample.label for case, sample in zip(cases, samples, strict=True)}
    return [before.get(case.source_case) for case in synthetic]
