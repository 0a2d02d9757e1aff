"""The examples in the docstrings of the most used functions run."""

import doctest
from importlib import import_module

import pytest

SHOWN = (
    "errors.one_of",
    "cohort.layouts.nnunet.read_cohort",
    "cohort.layouts.nnunet.write_nnunet",
    "cohort.splits.split_by_subject",
    "cohort.splits.take_subjects",
    "cohort.leaks.check_no_leak",
    "cohort.export.export_cohorts.export_cohorts",
    "cohort.export.base.safe_names",
    "production.bundle.write_bundle",
    "cohort.scan.load_scan",
    "cohort.inspection.checks.check_cohort",
    "seeding.generator",
    "config.parse_options",
    "scores.predictions.overlap.dice",
    "scores.predictions.overlap.hd95",
    "scores.predictions.overlap.volume_difference",
    "scores.predictions.lesionwise.lesion_wise",
    "scores.predictions.case_scores.evaluate",
    "preprocessing.lesions.margin.hole_around",
    "preprocessing.crops.Crop",
    "preprocessing.brain.region.with_region",
    "masks.bank.MaskBank",
    "masks.ellipsoids.Ellipsoids",
    "masks.edits.EditedMasks",
    "masks.interpolated.InterpolatedMasks",
    "masks.semi_random.SemiRandom",
    "masks.semi_random.scatter",
    "preprocessing.lesions.single_lesions.split_lesions",
    "masks.registry.make_mask_source",
    "preprocessing.lesions.merging.merge",
    "preprocessing.lesions.merging.give_way",
    "production.edit.edit_cohort",
    "production.synthesize.synthesize_cohort",
    "synthesizers.registry.load_synthesizer",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SHOWN)
def test_an_example_runs(name, tmp_path, monkeypatch):
    """In an empty folder; progress goes to the standard error, which an example does not show."""
    monkeypatch.chdir(tmp_path)
    module_name, _, function = name.rpartition(".")
    module = import_module(f"lesionforge.{module_name}")
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(getattr(module, function), name, globs=vars(module).copy())
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told = []
    assert runner.run(example, out=told.append).attempted, "it has no example"
    assert runner.failures == 0, "".join(told)
