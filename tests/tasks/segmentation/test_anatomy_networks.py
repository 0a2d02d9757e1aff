"""Networks that segment brain structures, trained briefly on simulated subjects and judged on held-out ones."""

from functools import partial

import pytest

from lesionforge.cohort.scan import load_scan, save_label
from lesionforge.cohort.structures import structures_as_lesions
from lesionforge.preprocessing.brain.tissue import tissue_classes
from lesionforge.scores.predictions.structure_scores import evaluate_structures, structure_average
from lesionforge.simulation.simulated_cohort import make_template_cohort
from lesionforge.tasks.registry import TASKS
from lesionforge.tasks.segmentation.anatomy import segmented_structures
from lesionforge.training.loop import TrainingConfig

SUBJECTS, HELD_OUT, STEPS = 10, 3, 120
SMALL = {"spatial_dims": 3, "filters": [16, 32, 64], "roi_size": [32, 32, 24], "learning_rate": 1e-3}
METHODS = {
    "segmentation": {**SMALL, "augment": "none"},
    "pix2pix_segmentation": {**SMALL, "augment": "none", "width": 0.25, "num_layers_d": 2},
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "Dataset001_T1"
    return make_template_cohort(folder, n_subjects=SUBJECTS, contrast="T1", spacing=5.0, slice_thickness=None), folder


def mean_dice(make, cohort, folder, out):
    """Return structure → mean Dice of maps that ``make`` draws of the cases of a cohort."""
    for case in cohort:
        scan = load_scan(case, cohort.channels)
        save_label(out / f"{case.case_id}.nii.gz", make(scan), scan.file)
    return structure_average(evaluate_structures(out, cohort, folder))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_held_out_subjects_are_segmented_better_than_by_kmeans(method, simulated, tmp_path):
    cohort, folder = simulated
    train, test = cohort.with_cases(cohort.cases[HELD_OUT:]), cohort.with_cases(cohort.cases[:HELD_OUT])
    TASKS[method].fit(
        structures_as_lesions(train, folder),
        channels=cohort.channels,
        config=TASKS[method].Config(**METHODS[method]),
        training=TrainingConfig(steps=STEPS, batch_size=4, device="cpu"),
        out=tmp_path / "model",
    )
    learnt = mean_dice(segmented_structures(tmp_path / "model")[0], test, folder, tmp_path / "maps")
    classes = mean_dice(partial(tissue_classes, classes=3), test, folder, tmp_path / "kmeans")
    assert set(learnt.index) == {"CSF", "grey matter", "white matter"}
    assert learnt.mean() > classes.mean() + 0.05
