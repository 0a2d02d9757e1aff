"""lesionforge: draw labelled lesions into medical scans, and measure whether that helps.

The public names are loaded when they are first used, so importing the package is quick.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("lesionforge")

_HOMES = {
    "Annotation": "cohort.case",
    "CarveMixd": "synthesizers.transforms",
    "Case": "cohort.case",
    "Cohort": "cohort.case",
    "EditedMasks": "masks",
    "Ellipsoids": "masks",
    "GivenMasks": "masks",
    "HEALERS": "synthesizers.registry",
    "LesionforgeError": "errors",
    "MaskBank": "masks",
    "MaskGAN": "masks",
    "Plan": "benchmark.plan",
    "Preprocessing": "preprocessing.pipeline",
    "SYNTHESIZERS": "synthesizers.registry",
    "SegmentationConfig": "tasks.segmentation_config",
    "SegmentationTask": "tasks.segmentation",
    "SynthesizeLesiond": "synthesizers.transforms",
    "TrainingConfig": "training.loop",
    "align_cohort": "preprocessing.align",
    "check_cohort": "cohort.checks",
    "cohort_sharpness": "scores.sharpness",
    "contact_sheet": "cohort.sheet",
    "evaluate": "scores.cases",
    "heal_cohort": "synthesizers.heal",
    "judge_realism": "scores.realism",
    "load_healer": "synthesizers.registry",
    "load_scan": "cohort.scan",
    "load_synthesizer": "synthesizers.registry",
    "make_template_cohort": "cohort.template",
    "read_cohort": "cohort.layouts",
    "read_folders": "cohort.layouts",
    "read_masks": "cohort.layouts",
    "read_plan": "benchmark.plan",
    "read_slices": "cohort.layouts",
    "run_benchmark": "benchmark.run",
    "segmentability": "scores.segmentability",
    "select_candidates": "synthesizers.select",
    "split_by_subject": "cohort.splits",
    "synthesize_cohort": "synthesizers.generate",
    "take_subjects": "cohort.splits",
    "write_nnunet": "cohort.layouts",
    "write_splits_final": "cohort.splits",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lesionforge' has no attribute {name!r}")
    return getattr(import_module(f"lesionforge.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
