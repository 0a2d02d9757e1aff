"""Overview figures of runs in which a generator was selected: from patients to scores, with the run's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.report.figures.charts import Illustration
from lesionforge.benchmark.report.page import read_results
from lesionforge.cohort.layouts import read_cohort
from lesionforge.production.candidate_grid import same_score_grid
from lesionforge.production.select import RECOMMENDED
from lesionforge.reading import read_frame, read_json
from lesionforge.scores.drawn_images.realism import REAL
from lesionforge.scores.registry import find_score, metric_in
from lesionforge.scores.statistics.arm_statistics import subject_means

SHOWN_PAIRS = 3
BOX = {"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "#444444"}


def choice(run: FinishedRun, name: str) -> Illustration | None:
    """Draw pairs from a synthesizer's candidates with similar FCN scores and different sharpness."""
    folder = _selection(run, name)
    cohorts = {path.name: read_cohort(path) for path in sorted((folder / "drawn").iterdir())}
    text = {"cohort": str, "case_id": str, "subject_id": str}
    images = read_frame(folder / "images.csv", dtype=text)
    judged = set(images[images["cohort"] == REAL]["case_id"])
    real = run.train.with_cases([case for case in run.train if case.case_id in judged])
    figure = same_score_grid(real, cohorts, images, rows=SHOWN_PAIRS)
    if figure is None:
        return None
    caption = (
        f"Masks that two candidates of {name} drew with about the same Dice of the segmentation network, and with the "
        "most different sharpness (variance of the Laplacian, in thousandths): one score alone does not choose."
    )
    return Illustration(f"same_score_{name}.png", caption, figure)


def scheme(run: FinishedRun) -> Illustration | None:
    """Draw the flow from patients to scores, for the first synthesizer whose generator was selected."""
    if not run.choices:
        return None
    name = run.choices[0]
    facts = read_json(_selection(run, name) / RECOMMENDED)
    cohort = run.cohorts.get(name)
    drawn = "" if cohort is None else f"\n{len(read_cohort(cohort))} images drawn with it"
    texts = [
        f"real training cases\n{len(run.train.subjects)} subjects, {len(run.train)} cases",
        f"{name}\na generator for each of\n" + "\n".join(sorted(_candidates(run, name).index)),
        "choice by three scores\n" + _table(_candidates(run, name)),
        f"recommended\n{facts['recommended']}{drawn}",
        "arms\n" + _arms(run),
    ]
    caption = (
        f"From patients to scores, with the numbers of the largest training set and seed {run.repeat.seed}: what "
        f"{name} was trained on, which of its generators was chosen and by what, and the arms' mean scores over all "
        "seeds."
    )
    return Illustration("scheme.svg", caption, _flow(texts))


def _selection(run: FinishedRun, name: str) -> Path:
    return run.repeat.selection_folder(name)


def _candidates(run: FinishedRun, name: str) -> pd.DataFrame:
    table = read_frame(_selection(run, name) / "candidates.csv", index_col="cohort")
    return table[table["rank_sum"].notna()]


def _table(candidates: pd.DataFrame) -> str:
    rows = ["             Dice  sharp  real"]
    for name, row in candidates.iterrows():
        realism = " –" if pd.isna(row["realism"]) else f"{row['realism']:.2f}"
        rows.append(f"{name:<12} {row['fcn_score']:.2f}  {1e3 * row['laplacian_variance']:5.2f}  {realism}")
    return "\n".join(rows)


def _arms(run: FinishedRun) -> str:
    plan, results = run.study.plan, read_results(run.study.out / "results.csv")
    info, means = find_score(plan.primary), subject_means(results, metric_in(results, plan.primary))
    at_size = means[means.index.get_level_values("train_size") == run.repeat.train_size].groupby("arm").mean()
    longest = max(map(len, plan.arms))
    scores = {arm: at_size.to_dict().get(arm) for arm in plan.arms}
    lines = [
        f"{arm:<{longest}} {'–' if value is None else f'{value * info.factor:.1f}'}" for arm, value in scores.items()
    ]
    return f"{info.title} ({info.unit})\n" + "\n".join(lines)


def _flow(texts: Sequence[str]) -> Figure:
    """Return a figure of boxes from left to right with arrows between them; a box is as wide as its longest line."""
    widths = [max(map(len, text.splitlines())) + 3 for text in texts]
    most = max(len(text.splitlines()) for text in texts)
    figure = Figure(figsize=(0.082 * (sum(widths) + 4 * len(texts)), 0.6 + 0.2 * most), dpi=130, layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, sum(widths) + 4 * (len(texts) - 1))
    axes.set_ylim(0, 1)
    left = 0.0
    for number, (text, width) in enumerate(zip(texts, widths, strict=True)):
        axes.text(left + width / 2, 0.5, text, family="monospace", fontsize=7, ha="center", va="center", bbox=BOX)
        if number:
            arrow = {"arrowstyle": "-|>", "color": "#444444"}
            axes.annotate("", xy=(left, 0.5), xytext=(left - 4, 0.5), arrowprops=arrow)
        left += width + 4
    return figure
