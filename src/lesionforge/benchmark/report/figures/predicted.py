"""Pictures of predictions: examples over lesion size, and the best and the worst test subject of each arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.repeats import Arms, Repeat
from lesionforge.benchmark.report.by_tertile import FEWEST, extreme_predictions, extreme_subjects
from lesionforge.benchmark.report.case_facts import TEST_CASES
from lesionforge.benchmark.report.figures.charts import Illustration
from lesionforge.benchmark.report.figures.pictures import Example, row_sheet
from lesionforge.benchmark.report.page import read_results
from lesionforge.benchmark.report.wording import signed
from lesionforge.cohort.inspection.planes import key_plane
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.reading import read_frame
from lesionforge.scores.registry import find_score


def examples(study: Arms, *, steps: int) -> list[Example]:
    """Return test cases spread evenly over lesion size, each at the slice with the most lesion."""
    run = FinishedRun(study, steps)
    scans = [load_scan(case, study.channels) for case in study.test.with_lesions()]
    scans.sort(key=lambda scan: 0 if scan.label is None else int(np.count_nonzero(scan.label)))
    count = min(study.plan.examples, len(scans))
    shown = [scans[index] for index in np.linspace(0, len(scans) - 1, count).astype(int)]
    return [_example(run, run.repeat, scan, list(run.repeat.arms), scan.case.case_id) for scan in shown]


def extremes(run: FinishedRun) -> Illustration | None:
    """Draw the test subjects of each arm's greatest gain and greatest loss, where the report names them."""
    plan, out = run.study.plan, run.study.out
    info, facts = find_score(plan.primary), out / TEST_CASES
    named = facts.is_file() and read_frame(facts, dtype={"subject_id": str})["subject_id"].nunique() >= FEWEST
    if not plan.examples or not named or info.level == "set":
        return None
    rows, results = [], read_results(out / "results.csv")
    for (arm, size), gains in extreme_subjects(results, plan.baseline, info).items():
        if size == run.repeat.train_size:
            for at, what in ((0, "best"), (-1, "worst")):
                predictions = extreme_predictions(results, plan.baseline, info, gains.index[at])[arm, size]
                case_id, seed = predictions.index[at]
                scan, repeat = _scan_of(run, case_id), run.study.repeat(size, seed)
                title = f"{scan.case.subject_id}, seed {seed}\n{what} of {arm}: {signed(gains.iloc[at], info)}"
                rows.append(_example(run, repeat, scan, [plan.baseline, arm], title, with_predictions=True))
    if not rows:
        return None
    caption = (
        f"The test subjects in which each arm gains and loses most {info.title} against {plan.baseline}, in the slice "
        "with the most lesion, true or predicted. The gain is the mean over cases and seeds; the case and the seed "
        "with the greatest gain or loss are shown. Outline of the truth in blue, of the prediction in orange."
    )
    return Illustration("extremes.png", caption, row_sheet(rows))


def _scan_of(run: FinishedRun, case_id: str) -> Scan:
    """Return the scan of a test case, with an empty label if it has none."""
    scan = load_scan(next(case for case in run.study.test if case.case_id == case_id), run.study.channels)
    return scan if scan.label is not None else replace(scan, label=np.zeros(scan.spatial_shape, np.int16))


def _example(
    run: FinishedRun, repeat: Repeat, scan: Scan, arms: Sequence[str], title: str, *, with_predictions: bool = False
) -> Example:
    """Return a scan at the slice with the most lesion, if wanted also predicted lesion, with the arms' predictions."""
    assert scan.label is not None
    plan = run.study.plan
    shown = {
        arm: plan.task_class.shown(plan.task_of(arm), repeat.training(arm, run.steps).folder / "predictions", scan)
        for arm in arms
    }
    found = [label for label, _ in shown.values()] if with_predictions else []
    plane = key_plane(replace(scan, label=np.maximum.reduce([scan.label, *found])))
    return {
        "image": plane.cut(scan.image[0]),
        "truth": plane.cut(scan.label),
        "predictions": {arm: plane.cut(label) for arm, (label, _) in shown.items()},
        "title": title,
        "aspect": plane.aspect,
        "notes": {arm: note for arm, (_, note) in shown.items()},
    }
