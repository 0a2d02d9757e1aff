"""Is detection of a whole scan quick enough on two cores?

Compares candidates by radial symmetry and their classification with a classification of every voxel, measured on some
voxels and scaled to those of the brain; and its time with a minute.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from comparison import Comparison, alternate, show

from lesionforge.cohort.case import Cohort
from lesionforge.cohort.scan import Scan, load_scan
from lesionforge.config import parse_options
from lesionforge.preprocessing.brain.brain_mask import brain_region
from lesionforge.simulation.simulated_cohort import make_template_cohort
from lesionforge.tasks.detection.detection_config import DetectionConfig
from lesionforge.tasks.detection.detection_task import DetectionTask
from lesionforge.tasks.detection.patches import cut_patch
from lesionforge.training.inference import in_sub_batches
from lesionforge.training.loop import TrainingConfig

VOXELS, ROUNDS, MINUTE = 500, 2, 60.0


def measure() -> list[Comparison]:
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        cohort = make_template_cohort(
            Path(folder, "cohort"),
            n_subjects=2,
            lesion="white_matter",
            healthy_fraction=0.0,
            spacing=1.0,
            slice_thickness=1.0,
        )
        task = trained(cohort, Path(folder, "model"))
        scan = load_scan(cohort.cases[1], cohort.channels)
        times = int(brain_region(scan.image[0], scan.spacing).sum()) / VOXELS
        pairs = alternate(ROUNDS, lambda: every_voxel(task, scan), lambda: task.predict(scan))
    shape = " × ".join(map(str, scan.spatial_shape))
    return [
        Comparison(
            name=f"detection in a scan of {shape} voxels",
            first="classifying every voxel of the brain",
            second="ours",
            pairs=[(slow * times, ours) for slow, ours in pairs],
            at_least=5,
        ),
        Comparison(
            name="its time",
            first="ours",
            second="a minute",
            pairs=[(ours / 1000, MINUTE) for _, ours in pairs],
            at_most=1,
            unit="s",
        ),
    ]


def trained(cohort: Cohort, out: Path) -> DetectionTask:
    config = parse_options(DetectionConfig, {"polarity": "bright", "least_response": 0.0})
    training = TrainingConfig(steps=2, batch_size=4, device="cpu")
    few = cohort.with_cases(cohort.cases[:1])
    return DetectionTask.fit(few, channels=cohort.channels, config=config, training=training, out=out)


def every_voxel(task: DetectionTask, scan: Scan) -> None:
    """Classify patches around random voxels."""
    sample = task.info.preprocessing.forward(scan)
    config = DetectionConfig.model_validate(task.info.config)
    rng, size = np.random.default_rng(0), config.patch_size(())
    places = rng.integers(0, sample.image.shape[1:], (VOXELS, 3))
    patches = [cut_patch(sample, place, size, task.info.preprocessing.output) for place in places]
    in_sub_batches(task.network, np.stack(patches))


if __name__ == "__main__":
    show("Detection", measure())
