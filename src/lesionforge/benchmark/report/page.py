"""The report of a benchmark: ``summary.csv``, figures and one self-contained ``report.html``."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import jinja2
import pandas as pd
from matplotlib import rc_context

from lesionforge.benchmark.report.audits import audits_in
from lesionforge.benchmark.report.by_tertile import by_tertile
from lesionforge.benchmark.report.case_facts import TEST_CASES
from lesionforge.benchmark.report.collapse import collapse_lines, doubt_about
from lesionforge.benchmark.report.equal_steps import TRIED, equal_steps
from lesionforge.benchmark.report.figures.charts import Illustration, box_plot, forest_plot
from lesionforge.benchmark.report.figures.pictures import Example, example_sheet
from lesionforge.benchmark.report.figures.regimes import regime_curve, regime_rows
from lesionforge.benchmark.report.headline import headline, seeds_against
from lesionforge.benchmark.report.over_sizes import OverSizes, over_sizes
from lesionforge.benchmark.report.tables import (
    all_scores,
    arm_row,
    css_class,
    lacking_distance,
    method_rows,
    reading_warnings,
    subject_tables,
)
from lesionforge.benchmark.report.verdict import comparisons, difference_of, outcome, verdict
from lesionforge.benchmark.report.wording import size_names
from lesionforge.benchmark.report.worth import pool_name, worth
from lesionforge.cohort.inspection.contact_sheet import class_colours
from lesionforge.errors import ConfigError, choose_from
from lesionforge.files import atomic, write_text
from lesionforge.reading import read_frame
from lesionforge.scores.registry import find_score, metric_in, scores_in
from lesionforge.scores.statistics.arm_statistics import compare_arms

__all__ = ["Example", "read_results", "summarize", "verdict", "write_report"]

REFERENCE = "reference.csv"
"""Table of the baseline trained on every subject of the pool, with the columns of ``results.csv``."""
KEYS = ("arm", "train_size", "seed", "case_id", "subject_id")


def read_results(path: Path) -> pd.DataFrame:
    """Read and check a ``results.csv``.

    Raises:
        ConfigError: if the file is missing or empty, lacks a column, or holds a case twice.
    """
    if not path.is_file():
        raise ConfigError(path, "there is no such file", "run the benchmark first")
    names = {"arm": str, "case_id": str, "subject_id": str}
    results = read_frame(path, dtype=names, keep_default_na=False, na_values=["", "nan"])
    missing = [key for key in KEYS if key not in results]
    if missing:
        raise ConfigError(path, f"lacks the columns {', '.join(missing)}", "run the benchmark again")
    if results.empty or results[list(KEYS)].isna().to_numpy().any():
        raise ConfigError(path, "is empty or has rows without arm, train_size, seed, case or subject", "run it again")
    twice = results.duplicated(["arm", "train_size", "seed", "case_id"])
    if twice.any():
        row = results[twice].iloc[0]
        what = f"arm {row['arm']}, seed {row['seed']} holds case {row['case_id']} twice"
        raise ConfigError(path, what, "remove the repeated rows")
    return results


def summarize(results: pd.DataFrame, *, baseline: str) -> pd.DataFrame:
    """Return a row per score × arm × train_size, see :func:`lesionforge.scores.statistics.arm_statistics.compare_arms`.

    Args:
        results: output of :func:`read_results`; all its scores are summarized.
        baseline: name of the baseline.

    Raises:
        ConfigError: if the results hold no score.
    """
    names = scores_in(results)
    if not names:
        raise ConfigError("results", "hold no score", "run the benchmark again")
    parts = [compare_arms(results, baseline=baseline, metric=metric_in(results, name)) for name in names]
    return pd.concat(parts, ignore_index=True)


def write_report(
    folder: Path,
    *,
    baseline: str,
    primary: str,
    arm: str | None = None,
    against: Sequence[str] = (),
    undertrained: str | None = None,
    title: str = "Does synthetic data help?",
    notes: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    examples: Sequence[Example] = (),
    extras: Sequence[Illustration] = (),
    channels: Sequence[Mapping[str, str]] = (),
    classes: Mapping[str, int] | None = None,
    made_of: Mapping[str, str] | None = None,
) -> str:
    """Write ``summary.csv``, ``figures/`` and ``report.html`` beside a benchmark's ``results.csv``.

    With ``test_cases.csv`` beside it, ``by_tertile.csv`` is written, too; with ``lengths.csv``, the report shows the
    sizes at equal steps.

    Args:
        folder: the benchmark folder.
        baseline: name of the baseline.
        primary: the primary score, declared beforehand.
        arm: the primary arm, declared beforehand; without it the verdict lists all arms.
        against: further arms that the primary arm is compared with, declared beforehand.
        undertrained: why the baseline may be undertrained, or ``None``; if given, no gain is claimed.
        title: heading of the report.
        notes: row name → text, further rows of the table "Data and method", such as steps, network or control.
        warnings: warnings shown at the top, such as that the data are simulated.
        examples: slices to show with outlines.
        extras: further figures, shown last.
        channels: rows on channels that belong together, see
            :func:`~lesionforge.benchmark.report.channels.write_channels`.
        classes: lesion class → label value; the report shows their colours if there are several.
        made_of: row name → text, rows on version, data, machine and time.

    Returns:
        The verdict, one or more lines.

    Raises:
        ConfigError: if ``results.csv`` cannot be used, or lacks the arm or the primary score.
    """
    results, reference = _results_with(folder, primary, (arm, *against)), _reference_in(folder)
    over = _over_sizes(folder, results, reference, baseline, arm, against, primary, undertrained)
    undertrained = doubt_about(baseline, results, undertrained)
    summary = summarize(results, baseline=baseline)
    write_text(folder / "summary.csv", summary.to_csv(index=False))
    lines = headline(results, summary, baseline=baseline, metric=primary, arm=arm, undertrained=undertrained)
    lines += over.lines if over else []
    gains = None
    if reference is not None:
        gains = worth(results, reference, baseline=baseline, primary=primary, arm=arm)
        write_text(folder / "gap.csv", gains.table.to_csv(index=False))
        write_text(folder / "patients.csv", gains.patients_table.to_csv(index=False))
        lines += gains.lines
    tertiles = None
    if (folder / TEST_CASES).is_file():
        facts = read_frame(folder / TEST_CASES, dtype={"case_id": str, "subject_id": str})
        tertiles = by_tertile(results, facts, baseline=baseline, metric=primary)
    if tertiles is not None:
        write_text(folder / "by_tertile.csv", tertiles.table.to_csv(index=False))
    collapsed = _collapsed_elsewhere(results, reference, baseline=baseline, primary=primary, arm=arm)
    unsure = undertrained is not None
    own = _figures(
        results, summary, reference, baseline=baseline, primary=primary, examples=examples, undertrained=unsure
    )
    figures = [*(gains.figures if gains else ()), *own, *extras]
    page = template("report/report.html.j2").render(
        title=title,
        verdict=lines,
        verdict_class=_verdict_class(summary, baseline, primary, arm, undertrained),
        sentences=_besides(lines, _sentences(results, summary, baseline, primary, undertrained)),
        warnings=[
            *warnings,
            *_besides(lines, collapsed),
            *reading_warnings(results, summary, baseline=baseline, primary=primary),
        ],
        primary=find_score(primary),
        baseline=baseline,
        worth=gains,
        over_sizes=over,
        equal_steps=equal_steps(read_frame(folder / TRIED), metric=primary) if (folder / TRIED).is_file() else None,
        sizes=size_names(results["train_size"]),
        arms=[
            arm_row(row, primary, undertrained=unsure) for _, row in summary[summary["metric"] == primary].iterrows()
        ],
        figures=[save_figure(folder / "figures", figure) for figure in figures],
        all_scores=all_scores(summary),
        lacking_distance=lacking_distance(results),
        tertiles=tertiles,
        subjects=subject_tables(results, primary),
        classes=class_colours(classes or {}),
        method=method_rows(results, notes or {}),
        made_of=made_of or {},
        plan=plan_text(folder),
        channels=channels,
        audits=audits_in(folder),
    )
    write_text(folder / "report.html", page)
    return "\n".join(lines)


def _results_with(folder: Path, primary: str, arms: Iterable[str | None]) -> pd.DataFrame:
    """Return a benchmark's results, which hold the primary score and the declared arms."""
    results = read_results(folder / "results.csv")
    for arm in arms:
        if arm is not None and arm not in set(results["arm"]):
            raise ConfigError(arm, "is not an arm of the results", choose_from(results["arm"].unique()))
    if primary not in scores_in(results):
        raise ConfigError(primary, "is not a score of the results", "choose one of the columns of results.csv")
    return results


def _reference_in(folder: Path) -> pd.DataFrame | None:
    return read_results(folder / REFERENCE) if (folder / REFERENCE).is_file() else None


def _over_sizes(
    folder: Path,
    results: pd.DataFrame,
    reference: pd.DataFrame | None,
    baseline: str,
    arm: str | None,
    against: Sequence[str],
    primary: str,
    undertrained: str | None,
) -> OverSizes | None:
    """Return the section on means over sizes, if there is one, and write its table."""
    if arm in (None, baseline):
        return None
    over = over_sizes(
        results, reference, baseline=baseline, arm=arm, against=against, primary=primary, undertrained=undertrained
    )
    if over is not None:
        write_text(folder / "over_sizes.csv", over.table.to_csv(index=False))
    return over


def _besides(lines: Sequence[str], further: Iterable[str]) -> list[str]:
    """Return the further lines that are not among the lines at the top."""
    return [line for line in further if line not in lines]


def _collapsed_elsewhere(
    results: pd.DataFrame, reference: pd.DataFrame | None, *, baseline: str, primary: str, arm: str | None
) -> list[str]:
    """Return a line for each other arm, and for the reference, with collapsed training runs."""
    others = [name for name in dict.fromkeys(results["arm"]) if name != baseline and arm not in (None, name)]
    lines = collapse_lines(results, baseline=baseline, metric=primary, arms=others)
    if reference is None:
        return lines
    found_nothing = collapse_lines(reference, baseline=baseline, metric=primary, arms=())
    return [*lines, *(f"On {pool_name(reference)}: {line}" for line in found_nothing)]


def template(name: str) -> jinja2.Template:
    """Return a report template."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lesionforge.benchmark", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)


def _figures(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    reference: pd.DataFrame | None,
    *,
    baseline: str,
    primary: str,
    examples: Sequence[Example],
    undertrained: bool,
) -> list[Illustration]:
    name = find_score(primary).title
    figures: list[Illustration] = []
    if results["arm"].nunique() > 1:
        caption = (
            f"Difference in {name} to {baseline}: mean over subjects with 95 % interval; "
            "blue is a gain, orange a loss, grey neither. The ticks below are single seeds."
        )
        forest = forest_plot(results, summary, primary, baseline=baseline, undertrained=undertrained)
        figures.append(Illustration("differences.svg", caption, forest))
    caption = f"{name} per arm. A dot is a subject, the line in the box the median, the diamond the mean."
    figures.append(Illustration("arms.svg", caption, box_plot(results, primary)))
    regimes = regime_rows(summary, reference, baseline=baseline, metric=primary)
    if regimes["train_size"].nunique() > 1:
        caption = f"{name} against the number of real training subjects; bands are 95 % intervals."
        figures.append(Illustration("data_regime.svg", caption, regime_curve(regimes, primary)))
    if examples:
        caption = "Examples: outline of the truth in blue, of the prediction in orange."
        if any(example.get("notes") for example in examples):
            caption += " The score is that of the whole case, not of the slice alone."
        figures.append(Illustration("examples.png", caption, example_sheet(examples)))
    return figures


def plan_text(folder: Path) -> str:
    """Return the plan of a study as text, or an empty string if it does not exist."""
    path = folder / "plan.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def save_figure(folder: Path, illustration: Illustration) -> dict[str, str]:
    """Write a figure to ``folder`` and return its caption and content for the report.

    Charts are saved as ``.svg`` and figures with scans as ``.png``, according to the figure's file name.
    """
    path = folder / illustration.file
    kind = {".svg": "svg+xml", ".png": "png"}[path.suffix]
    with atomic(path) as temporary, rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        illustration.figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None)
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return {"title": illustration.caption, "source": f"data:image/{kind};base64,{data}"}


def _verdict_class(
    summary: pd.DataFrame, baseline: str, primary: str, arm: str | None, undertrained: str | None
) -> str:
    rows = comparisons(summary, baseline=baseline, metric=primary)
    if arm is not None:
        rows = rows[rows["arm"] == arm]
    outcomes = {
        outcome(difference_of(row), primary, undertrained=undertrained is not None) for _, row in rows.iterrows()
    }
    return css_class(outcomes.pop()) if len(outcomes) == 1 else "mixed"


def _sentences(
    results: pd.DataFrame, summary: pd.DataFrame, baseline: str, primary: str, undertrained: str | None
) -> list[str]:
    """Return the verdict of every comparison."""
    rows = comparisons(summary, baseline=baseline, metric=primary)
    against = seeds_against(results, summary, baseline=baseline, metric=primary)
    sizes = size_names(rows["train_size"])
    sentences = []
    for _, row in rows.iterrows():
        sentence = verdict(
            difference_of(row),
            row["arm"],
            baseline,
            primary,
            n_seeds=int(row["n_seeds"]),
            against=against[row["arm"], row["train_size"]],
            undertrained=undertrained,
        )
        sentences.append(f"{sizes[row['train_size']]}: {sentence}" if len(sizes) > 1 else sentence)
    return sentences
