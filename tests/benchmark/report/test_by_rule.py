"""The report says how much the rule of a hit matters to each arm."""

from types import SimpleNamespace

import numpy as np
import pytest

from lesionforge.benchmark.report.by_rule import describe_by_rule
from lesionforge.cohort.scan import load_scan, save_label
from lesionforge.scores.detections.detection_file import write_detections
from lesionforge.tasks.detection.detection_task import DetectionTask
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from tests.helpers import tiny_cohort

LENGTHS = SimpleNamespace(steps=lambda size: 20)


def study_of(cohort, out, arms, task=DetectionTask):
    """A study of two sizes and two seeds, as far as the row reads it."""

    def repeat(size, seed):
        folder = out / f"n{size}" / f"seed{seed}"
        return SimpleNamespace(training=lambda arm, steps: SimpleNamespace(folder=folder / f"{arm}_{steps}"))

    subjects = SimpleNamespace(numbers=[2, 4])
    plan = SimpleNamespace(task_class=task, subjects=subjects, arms=dict.fromkeys(arms), seeds=[0, 1])
    shown = SimpleNamespace(arms=plan.arms)
    return SimpleNamespace(plan=plan, test=cohort, channels=cohort.channels, repeat=repeat, shown=shown)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_every_arm_has_a_value_for_each_tolerance(spatial_dims, tmp_path):
    """Lesions of one voxel: found at their place in both seeds, or 2.5 mm beside it in one seed and never in the other.

    Only the largest training set counts. Folds that test on one subject each say the same together.
    """
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=2, n_healthy=0)
    middle = [n // 2 for n in load_scan(cohort.cases[0], cohort.channels).spatial_shape]
    for case in cohort:
        scan = load_scan(case, cohort.channels)
        label = np.zeros(scan.spatial_shape, np.int16)
        label[tuple(middle)] = 1
        save_label(case.label, label, scan.file)
        beside = np.array([middle], float)
        beside[0, 0] += 2.5 / scan.spacing[0]
        for arm, seed, places in [
            ("exact", 0, np.array([middle])),
            ("exact", 1, np.array([middle])),
            ("near", 0, beside),
            ("near", 1, beside[:0]),
        ]:
            file = tmp_path / "n4" / f"seed{seed}" / f"{arm}_20" / "predictions" / f"{case.case_id}.csv"
            write_detections(file, places, np.full(len(places), 0.9), scan)
    study = study_of(cohort, tmp_path, ["exact", "near"])
    assert describe_by_rule([(study, LENGTHS)]) == {
        "Sensitivity at 10 false positives by tolerance_mm": (
            "exact: 100.0 with 0 mm, 100.0 with 1 mm, 100.0 with 2 mm, 100.0 with 3 mm, 100.0 with 5 mm; "
            "near: 0.0 with 0 mm, 0.0 with 1 mm, 0.0 with 2 mm, 50.0 with 3 mm, 50.0 with 5 mm "
            "(n = 4, mean over the seeds)"
        )
    }
    one_each = [(study_of(cohort.with_cases([case]), tmp_path, ["exact", "near"]), LENGTHS) for case in cohort]
    assert describe_by_rule(one_each) == describe_by_rule([(study, LENGTHS)])
    next((tmp_path / "n4").rglob("*.csv")).write_text("nonsense")
    (text,) = describe_by_rule([(study, LENGTHS)]).values()
    assert text.startswith("not known: ")
    assert "\n" not in text


def test_a_task_without_such_a_rule_has_no_row(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2, n_healthy=0)
    assert describe_by_rule([(study_of(cohort, tmp_path, ["real"], SegmentationTask), LENGTHS)]) == {}
