"""Realism: how often a classifier that tells drawn slices from real ones calls a drawn slice real.

Source: the paper of the lesion-conditional GAN. Its classifier was a GoogLeNet, and its best generator fools it most
often. The paper lowered the threshold from 50 % to 10 %, so that more drawn images pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

import pandas as pd
from torch import nn

from lesionforge.cohort.case import Case, Cohort
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.cohort.people import People
from lesionforge.cohort.splits import kfold
from lesionforge.errors import CohortError
from lesionforge.preprocessing.intensity import Head
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.scores.drawn_images.realism_classifier import (
    RealismConfig,
    View,
    fit_classifier,
    probability_real,
    read_views,
)
from lesionforge.scores.score import Score, by_name
from lesionforge.seeding import generator
from lesionforge.training.inference import side_by_side
from lesionforge.training.items.samples import held
from lesionforge.training.loop import Device
from lesionforge.training.model_folder import describe

FEWEST_SUBJECTS = 4
TRAININGS = 4
"""Classifiers that are trained: for each half of the subjects one, and one for the control."""
REAL, CONTROL = "real", "real against real"
"""Cohort names of the real cases, judged like drawn ones, and of the control: real cases in place of drawn ones."""


def share_called_real(realism: pd.Series, threshold: float = 0.5) -> float:
    """Return the share of cases whose probability of being real is at least ``threshold``; NaN without judged cases."""
    judged = realism.dropna()
    return float((judged >= threshold).mean()) if len(judged) else float("nan")


Judged = tuple[nn.Module, Sequence[View], int]
"""A classifier, the slices to judge, and the side of the crops it takes."""
REALISM: Score[Judged] = Score(
    name="realism",
    title="Realism",
    unit="points",
    better="higher",
    level="image",
    description="mean probability of being real, from a classifier trained on slices of other subjects",
    function=lambda judged: probability_real(*judged),
)
CALLED_REAL: Mapping[str, Score[pd.DataFrame]] = by_name(
    Score(
        name="called_real_50",
        title="Called real at 50 %",
        unit="points",
        better="higher",
        level="set",
        description="share of images with a probability of being real of at least 50 %",
        function=lambda rows: share_called_real(rows["realism"], 0.5),
        made_of=("realism",),
    ),
    Score(
        name="called_real_10",
        title="Called real at 10 %",
        unit="points",
        better="higher",
        level="set",
        description="share of images with a probability of being real of at least 10 %",
        function=lambda rows: share_called_real(rows["realism"], 0.1),
        made_of=("realism",),
    ),
)


def judge_realism(
    real: Cohort,
    drawn: Mapping[str, Cohort],
    *,
    out: Path,
    config: RealismConfig | None = None,
    preprocessing: Preprocessing | None = None,
    control: bool = True,
    seed: int = 0,
    device: Device = "auto",
) -> pd.DataFrame:
    """Return the probability that each case is real, from a classifier trained on other subjects.

    The subjects are split into two halves. One classifier for all drawn cohorts together is trained on the real slices
    of one half and as many drawn slices, and judges the other half; then the halves are swapped. Only slices with a
    lesion are used. A drawn case belongs to the subject of its scan. If its mask comes from a subject of the other
    half, the case is not used for training.

    As a control, the same is done with real slices in place of drawn ones, from half of the subjects. There is nothing
    to detect, so about half of them should be called real; the deviation shows how much the other shares vary by
    chance. Every real slice also takes the role of a drawn one: where it had the role of a real slice, its probability
    p counts as 1 − p.

    Args:
        real: real or simulated cases.
        drawn: name → drawn cases.
        out: folder for the classifiers, two and two more for the control; existing ones are not trained again.
        config: options of the classifier.
        preprocessing: preprocessing of the generator. Slices are judged at the spacing and with the intensity clipping
            of a 2D generator, because it cannot draw finer detail. Fitted on ``real`` unless given.
        control: whether to train and judge the control.
        seed: seed of the halves and of the training.
        device: device for training and judging. On a CPU each case is judged on one thread, many cases in parallel.

    Returns:
        A row per case with a slice to judge: ``cohort`` (a name of ``drawn``, :data:`REAL` or :data:`CONTROL`),
        ``case_id, subject_id`` and ``realism``, 0 to 1, the mean over a volume's slices.

    Raises:
        CohortError: if fewer than four real subjects have a lesion, a half has no drawn case to train on, or a case
            cannot be read.
        OutputError: if ``out`` holds classifiers of other images.
    """
    config = config or RealismConfig()
    cases = real.with_cases([case for case in real.with_lesions() if not case.derived])
    if len(cases.subjects) < FEWEST_SUBJECTS:
        what = f"has {len(cases.subjects)} subjects with lesions, too few to train and test a classifier on"
        raise CohortError(real.name, what, f"judge realism with {FEWEST_SUBJECTS} or more")
    preprocessing = in_slices(cases, preprocessing)
    classifiers = _Classifiers(cases, preprocessing, config, out=out, seed=seed, device=device)
    shown = _read({REAL: cases, **drawn}, People(cases), preprocessing, config)
    rows = []
    for number, (fitted, judged) in enumerate(_both_ways(_halves(cases, drawn, seed))):
        train = {name: [one for one in part if one.subjects <= fitted] for name, part in shown.items()}
        test = {name: [one for one in part if one.subject in judged] for name, part in shown.items()}
        for one, name, probability in classifiers.judge(train, test, f"half{number}"):
            rows.append((name, one.case_id, one.subject, probability))
        pretended = (_pretend(train[REAL], seed), _pretend(test[REAL], seed))
        for one, name, probability in classifiers.judge(*pretended, f"control{number}") if control else ():
            rows.append((CONTROL, one.case_id, one.subject, 1 - probability if name == REAL else probability))
    return pd.DataFrame(rows, columns=["cohort", "case_id", "subject_id", "realism"])


def in_slices(cases: Cohort, of_model: Preprocessing | None) -> Preprocessing:
    """Return the preprocessing of the slices to judge: that of a 2D model, else one with its clipping, if it clips.

    Args:
        cases: real cases, on which it is fitted otherwise.
        of_model: preprocessing of the generator.
    """
    if of_model is not None and of_model.spatial_dims == 2:
        return of_model
    facts = fingerprint(cases, cases.channels)
    if of_model is None or isinstance(of_model.intensity, Head):
        return Preprocessing.fit(facts, spatial_dims=2)
    return Preprocessing.fit(facts, spatial_dims=2, intensity=of_model.intensity)


@dataclass(frozen=True, kw_only=True)
class _Shown:
    """A case's slices, its subject, and all subjects that its scan or mask comes from."""

    case_id: str
    subject: str
    subjects: frozenset[str]
    views: Sequence[View]

    @classmethod
    def of(cls, case: Case, views: Sequence[View], people: People) -> Self:
        return cls(
            case_id=case.case_id,
            subject=case.subject_id,
            subjects=people.behind(case.mask_id) | {case.subject_id},
            views=views,
        )


Part = dict[str, list[_Shown]]
"""Name of a cohort, or :data:`REAL` → its cases."""


def _read(cohorts: Mapping[str, Cohort], people: People, preprocessing: Preprocessing, config: RealismConfig) -> Part:
    """Return the cases with slices to judge; the slices beyond a limit in bytes lie in a temporary file."""
    counts: list[int] = []

    def slices() -> Iterator[View]:
        for cohort in cohorts.values():
            for case in cohort.with_lesions():
                views = read_views(case, preprocessing, config.look_at)
                counts.append(len(views))
                yield from views

    views, number = iter(held(slices())), iter(counts)
    shown = {
        name: [_Shown.of(case, list(islice(views, next(number))), people) for case in cohort.with_lesions()]
        for name, cohort in cohorts.items()
    }
    return {name: [one for one in part if one.views] for name, part in shown.items()}


class _Classifiers:
    """Trains classifiers, each in its own folder, and judges cases with them."""

    def __init__(
        self, real: Cohort, preprocessing: Preprocessing, config: RealismConfig, *, out: Path, seed: int, device: Device
    ) -> None:
        self.real, self.preprocessing, self.config = real, preprocessing, config
        self.out, self.seed, self.device = out, seed, device

    def judge(self, train: Part, test: Part, name: str) -> Iterator[tuple[_Shown, str, float]]:
        """Train a classifier on ``train`` and judge the cases of ``test``.

        Yields:
            Case, name of its cohort, and its probability of being real.
        """
        views = {group: [view for one in part for view in one.views] for group, part in train.items()}
        real, drawn = views.pop(REAL), [part for part in views.values() if part]
        if not drawn:
            raise CohortError(self.real.name, "half of its subjects have no drawn case", "draw cases into more scans")
        on = self.real.of_subjects({one.subject for one in train[REAL]})
        training = {"seed": self.seed, "drawn": {group: len(part) for group, part in train.items() if group != REAL}}
        info = describe("realism", self.config, self.preprocessing, on, training=training)
        network = fit_classifier(real, drawn, info, out=self.out / name, device=self.device)
        judged = [(one, group) for group, part in test.items() for one in part]
        yield from side_by_side(lambda of: (*of, REALISM((network, of[0].views, self.config.side))), judged)


def _halves(real: Cohort, drawn: Mapping[str, Cohort], seed: int) -> list[frozenset[str]]:
    """Split the subjects in two: those of real cases by lesion load, the others alternately."""
    of_real = [frozenset(part.subjects) for _, part in kfold(real, 2, seed)]
    others = sorted({case.subject_id for part in drawn.values() for case in part} - frozenset(real.subjects))
    return [half | frozenset(others[number::2]) for number, half in enumerate(of_real)]


def _both_ways(halves: list[frozenset[str]]) -> list[tuple[frozenset[str], frozenset[str]]]:
    first, second = halves
    return [(first, second), (second, first)]


def _pretend(part: Sequence[_Shown], seed: int) -> Part:
    """Return real cases in two roles: those of every other subject, in random order, stand in for drawn cases."""
    subjects = generator(seed, "control").permutation(sorted({one.subject for one in part}))
    drawn = set(subjects[::2])
    return {
        REAL: [one for one in part if one.subject not in drawn],
        CONTROL: [one for one in part if one.subject in drawn],
    }
