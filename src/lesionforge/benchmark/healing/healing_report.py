"""The report of a healing study: ``summary.csv``, figures and one self-contained ``report.html``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from lesionforge.benchmark.healing.healing_charts import healing_figures
from lesionforge.benchmark.report.made_of import made_of
from lesionforge.benchmark.report.page import plan_text, save_figure, template
from lesionforge.benchmark.report.verdict import difference_of, verdict
from lesionforge.benchmark.report.wording import amount
from lesionforge.cohort.inspection.levels import describe_levels
from lesionforge.files import write_text
from lesionforge.reading import read_frame, read_json
from lesionforge.scores.healed_scans.healed_scores import HEALED_SCORES
from lesionforge.scores.healed_scans.healed_summary import summarize_healed
from lesionforge.scores.healed_scans.healthiness import LEAST_F_PRE_DICE
from lesionforge.scores.healed_scans.identity import SIZE_RULE
from lesionforge.scores.registry import find_score
from lesionforge.scores.statistics.intervals import MIN_SUBJECTS

if TYPE_CHECKING:
    from lesionforge.benchmark.healing.healing_study import HealingStudy

DECIDING = ("healthiness", "identity_beside")
STATISTICS = (
    "The unit is the subject: its value is the mean over its slices with a lesion, its cases and the seeds; 95 % "
    "intervals take subjects and seeds for random draws. Healthiness is the ratio of the voxels found to the true "
    "ones, over all subjects. ★: better than the better one of the baselines in that score: the interval of the "
    f"difference excludes 0 and p < 0.05 after Holm's correction, with {MIN_SUBJECTS} subjects or more."
)
UNCONTROLLED = "the length was not controlled"


def write_healing_report(study: HealingStudy) -> str:
    """Write ``summary.csv``, ``figures/`` and ``report.html`` beside ``results.csv`` and return the verdict."""
    plan, out = study.plan, study.out
    names = {"method": str, "case_id": str, "subject_id": str}
    results = read_frame(out / "results.csv", dtype=names, keep_default_na=False, na_values=["", "nan"])
    summary = summarize_healed(results, baselines=plan.baselines)
    write_text(out / "summary.csv", summary.to_csv(index=False))
    compared = [name for name in plan.methods if name not in plan.baselines]
    sentences = [sentence(summary, name, n_seeds=len(plan.seeds)) for name in compared]
    main, *others = sentences or ["Every method is a baseline: none is compared."]
    page = template("healing/report.html.j2").render(
        title=plan.name,
        classes={},
        verdict=[main],
        verdict_class="neither",
        sentences=others,
        warnings=_warnings(study, summary),
        columns=[_column(score) for score in _scores(summary)],
        rows=[_row(summary, method) for method in dict.fromkeys(summary["method"])],
        tested=" and ".join(plan.baselines),
        figures=[save_figure(out / "figures", figure) for figure in healing_figures(study, results)],
        method=_method_rows(study, summary).items(),
        made_of=made_of(out, {name: [study.model_folder(seed, name) for seed in plan.seeds] for name in plan.methods}),
        plan=plan_text(out),
    )
    write_text(out / "report.html", page)
    return main


def sentence(summary: pd.DataFrame, method: str, *, n_seeds: int | None = None) -> str:
    """Return a method's main scores, and the verdict against the better baseline in each that is valid."""
    values, verdicts = [], list[str]()
    for score in DECIDING:
        for _, row in summary[(summary["score"] == score) & (summary["method"] == method)].iterrows():
            info = find_score(score)
            mean, low, high = (amount(row[name], info) for name in ("mean", "ci_low", "ci_high"))
            values.append(f"{info.title.lower()} {mean} [{low}, {high}]{'' if row['valid'] else ' (invalid)'}")
            if row["baseline"] and row["valid"]:
                against = row["seeds_against"].split(", ") if row["seeds_against"] else ()
                verdicts.append(
                    verdict(
                        difference_of(row),
                        method,
                        row["baseline"],
                        score,
                        n_seeds=n_seeds,
                        against=against,
                        undertrained=UNCONTROLLED,
                    )
                )
    if verdicts and not any(UNCONTROLLED in text for text in verdicts):
        verdicts.append(f"The baseline may be undertrained: {UNCONTROLLED}.")
    return " ".join((f"{method}: {'; '.join(values)}.", *verdicts))


def _scores(summary: pd.DataFrame) -> list[str]:
    return [score for score in HEALED_SCORES if score in set(summary["score"])]


def _column(score: str) -> dict[str, str]:
    info = find_score(score)
    direction = " ↑" if info.higher_is_better else " ↓"
    return {"title": info.title, "unit": info.unit, "direction": direction, "description": info.description}


def _row(summary: pd.DataFrame, method: str) -> dict[str, Any]:
    return {"method": method, "cells": [_cell(summary, score, method) for score in _scores(summary)]}


def _cell(summary: pd.DataFrame, score: str, method: str) -> dict[str, str]:
    found = summary[(summary["score"] == score) & (summary["method"] == method)].to_dict("records")
    if not found:
        return {"mean": "–", "interval": "", "seeds": ""}
    row, info = found[0], find_score(score)
    low, high, least, most = (amount(row[name], info) for name in ("ci_low", "ci_high", "seed_low", "seed_high"))
    mean = amount(row["mean"], info) + (" ★" if row["star"] else "")
    return {"mean": mean, "interval": f"[{low}, {high}]", "seeds": f"{least} to {most}"}


def _warnings(study: HealingStudy, summary: pd.DataFrame) -> list[str]:
    warnings, dice = [], float(summary["f_pre_dice"].iloc[0])
    if any(case.origin == "simulated" for case in study.test):
        warnings.append("All scans are simulated: this says nothing about patients.")
    if not summary["valid"].all():
        what = f"its Dice on the test subjects is {dice:.2f}, below {LEAST_F_PRE_DICE}"
        warnings.append(
            f"Healthiness is invalid: f_pre does not find the lesions ({what}); what it misses may be there."
        )
    warnings.append(
        f"All methods are trained for {study.plan.training.steps} steps, and whether that is enough for each was not "
        "controlled: a baseline that is trained for longer may do better."
    )
    if len(study.plan.seeds) == 1:
        warnings.append("One training seed: how much comes from the training run itself cannot be told. Use three.")
    return warnings


def _describe_training(study: HealingStudy) -> str:
    number, chosen = (len(cases.subjects) for cases in (study.train, study.train_of(study.plan.seeds[0])))
    if chosen == number:
        return f"{number}, the same for all seeds"
    return f"{chosen} of {number}: every seed has a random choice of its own; f_pre is trained on all"


def _method_rows(study: HealingStudy, summary: pd.DataFrame) -> dict[str, str]:
    plan = study.plan
    batches = f"of batch size {plan.training.batch_size or 'from the fingerprint'}"
    rows = {
        "Training subjects": _describe_training(study),
        "Test subjects": f"{len(study.test.subjects)}, never trained on, scored once",
        "Channels": ", ".join(study.channels),
        "Slices": f"with a lesion, in the middle {plan.fraction:.0%} of the head",
        "Length of every method": f"{plan.training.steps} steps {batches}; seeds {', '.join(map(str, plan.seeds))}",
        "f_pre": f"a network of the segmentor's structure, trained apart on the training subjects; its Dice on the "
        f"untouched test scans is {float(summary['f_pre_dice'].iloc[0]):.2f}",
        "Identity": SIZE_RULE,
        "Statistics": STATISTICS,
    }
    levels = study.model_folder(plan.seeds[0], next(iter(plan.methods))) / "levels.json"
    if levels.is_file():
        rows["Levels in training"] = describe_levels(read_json(levels))
    return rows
