"""What `evaluate` says about detections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import typer

from lesionforge.cli.common import console
from lesionforge.cli.spoken import spoken
from lesionforge.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from lesionforge.cohort.case import Cohort
    from lesionforge.scores.score import Score
    from lesionforge.scores.statistics.intervals import Interval


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
    from lesionforge.scores.detections.case_detections import evaluate_by_tolerance
    from lesionforge.scores.detections.detection_scores import DETECTION_SCORES, HIT_RULE
    from lesionforge.scores.detections.hits import TOLERANCES_MM
    from lesionforge.scores.detections.readers import Readers
    from lesionforge.scores.statistics.arm_statistics import interval_of

    figure = None if out is None else _figure_beside(out)
    truth = None if not readers else Readers(tuple(readers), agree)
    tables = evaluate_by_tolerance(predictions, cohort, list({tolerance_mm, *TOLERANCES_MM}), readers=truth)
    table = tables[tolerance_mm]
    if out is not None:
        write_text(out, table.to_csv(index=False))
    scored = table[table["problem"] == ""]
    if len(scored):
        console.print(HIT_RULE.format(tolerance_mm=tolerance_mm))
        for score in DETECTION_SCORES.values():
            found = interval_of(scored.assign(seed=0), score)
            if not math.isnan(found.mean):
                console.print(f"{score.title}: {_in_words(found, score)}")
        _print_reached(scored)
        _print_by_rule({mm: tables[mm] for mm in TOLERANCES_MM})
        if figure is not None:
            _draw(scored, figure)
        if not readers:
            _print_axes(predictions, cohort, float(scored["candidate_sensitivity"].mean()))
    print_problems(table)


def _figure_beside(table: Path) -> Path:
    """Return the path of the figure beside a table.

    Raises:
        ConfigError: if it is that of the table.
        OutputError: if something is there.
    """
    from lesionforge.files import claim_file

    figure = table.with_suffix(".png")
    if figure == table:
        raise ConfigError("--out", f"{table} is the name of the figure beside the table", "name a .csv")
    return claim_file(figure)


def _in_words(found: Interval, score: Score[Any]) -> str:
    """Return a mean with its interval, which ends where the score's range ends."""
    low, mean, high = (
        float(np.clip(value, *score.range)) * score.factor for value in (found.low, found.mean, found.high)
    )
    interval = "" if math.isnan(low) else f" (95 % interval {low:.1f} to {high:.1f})"
    return f"{mean:.1f} {score.unit}{interval}"


def _print_reached(scored: pd.DataFrame) -> None:
    """Say in how many bootstrap samples the curve reaches the sensitivity at which false positives are counted."""
    from lesionforge.scores.detections.detection_scores import DETECTION_SCORES, SENSITIVITY
    from lesionforge.scores.statistics.resampling import Resampling

    if (scored["n_lesions"] > 0).any():
        score = DETECTION_SCORES["froc_false_positives"]
        replicates = Resampling(scored["subject_id"].tolist()).replicates(score, scored)
        share = 100 * np.isfinite(replicates).mean()
        console.print(f"{share:.0f} % of the bootstrap samples reach a sensitivity of {100 * SENSITIVITY:g} %")


def _print_by_rule(tables: Mapping[float, pd.DataFrame]) -> None:
    """Say how much the sensitivity depends on the distance that a hit may have from a lesion."""
    from lesionforge.scores.detections.detection_scores import DETECTION_SCORES

    score = DETECTION_SCORES["froc_sensitivity"]
    found = {mm: score(table[table["problem"] == ""]) * score.factor for mm, table in tables.items()}
    if not any(math.isnan(value) for value in found.values()):
        parts = ", ".join(f"{value:.1f} with {mm:g} mm" for mm, value in found.items())
        console.print(f"{score.title} by the distance that a hit may have: {parts}")


def _print_axes(predictions: Path, cohort: Cohort, given: float) -> None:
    """Say if the positions look like those of another coordinate system."""
    from lesionforge.scores.detections.other_axes import looks_like_lps

    if (turned := looks_like_lps(predictions, cohort, given)) is not None:
        console.print(
            f"{predictions}: detections hit {given:.0%} of the lesions as they are, and {turned:.0%} with x and y "
            "negated: they look like LPS, the axes of ITK and DICOM; negate x and y"
        )


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
