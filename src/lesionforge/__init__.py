"""lesionforge: draw labelled lesions into medical scans, and measure whether that helps.

The public names are loaded when they are first used, so importing the package is quick.
"""

from importlib.metadata import version

from lesionforge.lazy import load_when_used
from lesionforge.torchvision_operators import declare_missing_operators

__version__ = version("lesionforge")
declare_missing_operators()

_HOMES = {
    "Annotation": "cohort.case",
    "CarveMixd": "production.on_the_fly",
    "Case": "cohort.case",
    "Cohort": "cohort.case",
    "EditedMasks": "masks",
    "Ellipsoids": "masks",
    "GivenMasks": "masks",
    "HEALERS": "healers.registry",
    "LesionforgeError": "errors",
    "MaskBank": "masks",
    "MaskGAN": "masks",
    "Plan": "benchmark.plan",
    "Preprocessing": "preprocessing.pipeline",
    "SYNTHESIZERS": "synthesizers.registry",
    "SegmentationConfig": "tasks.segmentation.segmentation_config",
    "SegmentationTask": "tasks.segmentation.segmentation_task",
    "SynthesizeLesiond": "production.on_the_fly",
    "TrainingConfig": "training.loop",
    "align_cohort": "preprocessing.alignment.align",
    "audit_cohort": "audit.cohort_audit",
    "check_cohort": "cohort.inspection.checks",
    "cohort_sharpness": "scores.drawn_images.sharpness",
    "contact_sheet": "cohort.inspection.contact_sheet",
    "edit_cohort": "production.edit",
    "evaluate": "scores.predictions.case_scores",
    "export_cohorts": "cohort.export.export_cohorts",
    "heal_cohort": "production.heal",
    "judge_realism": "scores.drawn_images.realism",
    "load_healer": "healers.registry",
    "load_scan": "cohort.scan",
    "load_synthesizer": "synthesizers.registry",
    "make_template_cohort": "simulation.simulated_cohort",
    "read_cohort": "cohort.layouts",
    "read_folders": "cohort.layouts",
    "read_masks": "cohort.layouts",
    "read_plan": "benchmark.plan",
    "read_slices": "cohort.layouts",
    "run_benchmark": "benchmark.run",
    "segmentability": "scores.drawn_images.segmentability",
    "select_candidates": "production.select",
    "split_by_subject": "cohort.splits",
    "synthesize_cohort": "production.synthesize",
    "take_subjects": "cohort.splits",
    "write_audit": "audit.audit_folder",
    "write_bundle": "production.bundle",
    "write_nnunet": "cohort.layouts",
    "write_splits_final": "cohort.splits",
}

__all__ = ["__version__", *sorted(_HOMES)]


__getattr__ = load_when_used(__name__, _HOMES)


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
