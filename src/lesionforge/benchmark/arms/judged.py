"""Offline drawings scored by segmentation networks that were trained on other subjects, and those that an arm keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lesionforge.benchmark.arms.repeats import Arms, Repeat
from lesionforge.benchmark.report.made_of import timed
from lesionforge.cohort.case import Cohort
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.people import People
from lesionforge.cohort.splits import kfold
from lesionforge.errors import CohortError
from lesionforge.files import write_text
from lesionforge.reading import read_frame
from lesionforge.scores.collapse import found_nothing
from lesionforge.scores.drawn_images.segmentability import segmentability

SCORES = "scores.csv"


def judge_offline(repeat: Repeat, name: str) -> str:
    """Score every offline drawing of a lesion by a network that knows neither its scan's nor its mask's subject.

    The training subjects with a lesion are divided into parts, one more than the subjects that a drawing comes from at
    most, and a network of the baseline is trained on each. So at least one of them knows none of a drawing's subjects;
    the first such network gives the score, see :func:`~lesionforge.scores.drawn_images.segmentability.segmentability`.

    Raises:
        CohortError: if there are fewer training subjects with a lesion than parts, or no drawing shows a lesion.
    """
    drawn, people = read_cohort(repeat.cohort_folder(name)), People(repeat.train)
    drawn = drawn.with_cases([case for case in drawn if not case.negative])
    behind = {case.case_id: people.behind(case.mask_id) | {case.subject_id} for case in drawn}
    if not len(drawn):
        what = "holds negatives alone, which show no lesion to be judged"
        raise CohortError(f"cases of {name}, {repeat}", what, "draw more cases, or leave kept out")
    real, parts = repeat.train.with_lesions(), max(map(len, behind.values()), default=1) + 1
    if len(real.subjects) < parts:
        what = f"has {len(real.subjects)} training subjects with a lesion; judging drawings of {name} takes {parts}"
        raise CohortError(real.name, what, "train on more, or leave kept out")
    with timed(repeat.judged_folder(name)):
        table = _judged(repeat, name, drawn, behind, parts)
    mean = f"{name}, {repeat}: {len(table)} cases judged, mean Dice {100 * table['fcn_score'].mean():.1f}"
    return "; ".join((mean, *_blind([table])))


def _judged(repeat: Repeat, name: str, drawn: Cohort, behind: Mapping[str, Set[str]], parts: int) -> pd.DataFrame:
    """Return and write the score of every drawing by a network that knows none of the subjects ``behind`` it."""
    left, tables = list(drawn), list[pd.DataFrame]()
    for number, (_, part) in enumerate(kfold(repeat.train.with_lesions(), parts, repeat.seed)):
        judged = {case.case_id for case in left if behind[case.case_id].isdisjoint(part.subjects)}
        left = [case for case in left if case.case_id not in judged]
        if judged:
            scores = segmentability(_network(repeat, name, number, part), drawn.subset(judged))
            tables.append(scores.assign(network=number))
    table = pd.concat(tables)
    write_text(repeat.judged_folder(name) / SCORES, table.to_csv(index=False))
    return table


def kept(drawn: Cohort, repeat: Repeat, name: str, limits: tuple[float, float]) -> Cohort:
    """Return the drawings whose score lies within the limits, and the negatives, which show no lesion to be scored.

    All training subjects become their parents.

    Raises:
        CohortError: if there is none.
    """
    scores = _scores(repeat, name)
    good = set(scores.index[scores["fcn_score"].between(*limits)])
    known = repeat.train.ancestry
    chosen = [case for case in drawn if case.case_id in good or case.negative]
    cases = [replace(case, parents=tuple(sorted({*case.parents, *known}))) for case in chosen]
    if not good:
        none = f"no drawing of {name} was found with a Dice of {limits[0]:g} to {limits[1]:g}"
        what = "; ".join((none, *_blind([scores])))
        raise CohortError(drawn.name, what, f"widen kept; {repeat.judged_folder(name) / SCORES} has the scores")
    return drawn.with_cases(cases)


def describe_kept(study: Arms) -> dict[str, str]:
    """Return row name → text for the report: how many of the judged drawings each arm keeps, on average."""
    parts = []
    for name, arm in study.plan.arms.items():
        if arm.kept is not None and arm.synthesizer is not None:
            of_repeats = [_scores(repeat, arm.synthesizer) for repeat in study.repeats if name in repeat.arms]
            count = np.mean([scores["fcn_score"].between(*arm.kept).sum() for scores in of_repeats])
            of_all = f"{name}: {count:.0f} of {np.mean([len(scores) for scores in of_repeats]):.0f}"
            parts.append(", ".join((of_all, *_blind(of_repeats))))
    return {"Kept drawings": "; ".join(parts)} if parts else {}


def _blind(of_repeats: Sequence[pd.DataFrame]) -> list[str]:
    """Return how many of the networks found nothing in the drawings that they judged; [] if all found something.

    Scores of earlier versions do not tell the networks apart and are left out.
    """
    told_apart = [scores for scores in of_repeats if "network" in scores]
    judges = [rows for scores in told_apart for _, rows in scores.groupby("network")]
    blind = sum(found_nothing(rows, "fcn_score") for rows in judges)
    return [f"{blind} of the {len(judges)} networks that judged them found nothing"] if blind else []


def _network(repeat: Repeat, name: str, number: int, part: Cohort) -> Any:
    """Return a network of the baseline that was trained on a part of the training cases."""
    plan, folder = repeat.plan, repeat.judged_folder(name) / f"segmentor{number}"
    if not (folder / "model.json").is_file():
        plan.task_class.fit(
            part,
            channels=repeat.study.channels,
            config=plan.task_of(plan.baseline),
            training=plan.training.model_copy(update={"seed": repeat.seed}),
            out=folder,
            preprocessing=repeat.preprocessing,
            resume=True,
        )
    return plan.task_class.load(folder, device=plan.training.device)


def _scores(repeat: Repeat, name: str) -> pd.DataFrame:
    """Return a row per drawing, by case id: its score, its subject, and the network that judged it."""
    return read_frame(repeat.judged_folder(name) / SCORES, dtype={"case_id": str}).set_index("case_id")
