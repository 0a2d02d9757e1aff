"""What `evaluate` says about detections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from lesionforge.cli.common import console
from lesionforge.cli.spoken import spoken

if TYPE_CHECKING:
    import pandas as pd

    from lesionforge.cohort.case import Cohort

OTHER_TOLERANCES_MM = (0.0, 1.0, 2.0, 3.0, 5.0)


class Agree(StrEnum):
    """Which lesions of several readers count."""

    MAJORITY = "majority"
    ANY = "any"


def print_detections(
    predictions: Path,
    cohort: Cohort,
    out: Path | None,
    *,
    tolerance_mm: float,
    readers: Sequence[Path] | None,
    agree: Literal["majority", "any"],
) -> None:
    """Score detections, print the scores with intervals and what the hit rule changes, and write table and figure."""
    from lesionforge.files import write_text
    from lesionforge.scores.detections.case_detections import evaluate_detections
    from lesionforge.scores.detections.detection_scores import DETECTION_SCORES, HIT_RULE
    from lesionforge.scores.detections.readers import Readers
    from lesionforge.scores.statistics.arm_statistics import interval_of

    truth = None if not readers else Readers(tuple(readers), agree)
    table = evaluate_detections(predictions, cohort, tolerance_mm=tolerance_mm, readers=truth)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    scored = table[table["problem"] == ""]
    if len(scored):
        console.print(HIT_RULE.format(tolerance_mm=tolerance_mm))
        for name, score in DETECTION_SCORES.items():
            of_set = score.level == "set"
            found = interval_of(scored.assign(seed=0), score if of_set else name)
            if not math.isnan(found.mean):
                low, mean, high = (value * score.factor for value in (found.low, found.mean, found.high))
                console.print(f"{score.title}: {mean:.1f} {score.unit} (95 % interval {low:.1f} to {high:.1f})")
        sensitivity = DETECTION_SCORES["froc_sensitivity"]
        parts = []
        for other in OTHER_TOLERANCES_MM:
            rows = evaluate_detections(predictions, cohort, tolerance_mm=other, readers=truth)
            parts.append(f"{sensitivity(rows[rows['problem'] == '']) * sensitivity.factor:.1f} with {other:g} mm")
        console.print(f"{sensitivity.title} by the distance that a hit may have: {', '.join(parts)}")
        if out is not None:
            _draw(scored, out.with_suffix(".png"))
    print_problems(table)


def print_problems(table: pd.DataFrame) -> None:
    """Say how many cases were scored and why the others were not.

    Raises:
        typer.Exit: with code 1 if a case was not scored.
    """
    bad = table[table["problem"] != ""]
    console.print(f"{len(table) - len(bad)} of {len(table)} cases scored")
    for case_id, problem in zip(bad["case_id"], bad["problem"], strict=True):
        console.print(f"  {case_id}: {spoken(problem)}")
    if len(bad):
        raise typer.Exit(1)


def _draw(scored: pd.DataFrame, file: Path) -> None:
    """Write the FROC curve with its band, if a case has a lesion."""
    from lesionforge.benchmark.report.figures.set_curves import curve_of
    from lesionforge.files import atomic
    from lesionforge.scores.detections.detection_scores import FROC_CURVE

    if (scored["n_lesions"] > 0).any():
        with atomic(file) as temporary:
            curve_of(FROC_CURVE, scored.assign(seed=0)).savefig(temporary, format="png")
