"""Mask generators in a plan: fitted for each seed on nobody who is held out."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_mask_generator, train
from lesionforge.benchmark.arms.mask_sources import describe_mask_generators, mask_warnings
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.run import run_benchmark
from lesionforge.cohort.layouts import read_cohort
from lesionforge.errors import LeakError
from lesionforge.files import write_json
from lesionforge.masks import MaskGAN
from lesionforge.training.model_folder import read_info
from tests.devices import pretend_cuda
from tests.helpers import tiny_cohort
from tests.masks.mni import write_masks

TRAINING = {"steps": 2, "batch_size": 2, "epoch_steps": 2, "device": "cpu", "preview_minutes": None}
SMALL = {"size": [16, 20, 12], "channels": [32, 16], "width": 0.5, "latent": 8, "min_voxels": 1, "head_kernel": 7}


def plan(masks, **changes):
    return {
        "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [3]},
        "task": {"spatial_dims": 3, "filters": [4, 8], "res_units": 1, "roi_size": [16, 16, 16]},
        "training": TRAINING,
        "seeds": [3],
        "mask_generators": {
            "shapes": {
                "masks": str(masks),
                "options": SMALL,
                "training": TRAINING,
            }
        },
        "synthesizers": {
            "paste": {"method": "injection", "masks": "gan:shapes", "cases": 3, "min_volume": 5},
        },
        "arms": {"classical": {}, "synthetic": {"synthesizer": "paste"}},
        "baseline": "classical",
        "examples": 1,
        **changes,
    }


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    return write_masks(tmp_path_factory.mktemp("masks") / "masks", 24)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """The people of this cohort are those of the first masks."""
    cohort = tiny_cohort(tmp_path_factory.mktemp("cohort") / "c", spatial_dims=3, n_subjects=8, n_healthy=3)
    return cohort.with_cases([replace(case, subject_id=f"sub-{number:03d}") for number, case in enumerate(cohort)])


@pytest.fixture(scope="module")
def study(masks, cohort, tmp_path_factory):
    """A benchmark with a mask generator, run once."""
    out = tmp_path_factory.mktemp("benchmark") / "study"
    said = []
    content = Plan.model_validate(plan(masks))
    run_benchmark(content, cohort, out=out, say=said.append)
    assert any(line.startswith("shapes, n = 3, seed 3: fitted") for line in said)
    return make_arms(content, cohort, {}, out)


@pytest.mark.slow
def test_a_mask_generator_draws_on_the_device_of_the_run(study, masks, cohort, tmp_path, monkeypatch):
    out = shutil.copytree(study.out, tmp_path / "study")
    content = Plan.model_validate(plan(masks, training={**TRAINING, "device": "cuda"}))
    repeat = make_arms(content, cohort, {}, out).repeat(3, 3)
    shutil.rmtree(repeat.cohort_folder("paste"))
    asked = pretend_cuda(monkeypatch)
    draw_offline(repeat, "paste")
    assert asked == [("MaskGenerator", "cuda")]


def test_a_mask_generator_says_where_the_lesions_of_an_arm_go(study):
    fitted = set(read_info(study.repeat(3, 3).mask_generator_folder("shapes")).training_subjects)
    drawn = read_cohort(study.repeat(3, 3).cohort_folder("paste"))
    assert len(drawn) > 0
    for case in drawn:
        assert case.mask_id == "maskgan"
        assert fitted <= set(case.parents)
    assert "synthetic" in (study.out / "results.csv").read_text()


def test_the_report_says_what_the_masks_are_like_and_warns_of_copies_and_of_nothing(study, cohort, tmp_path):
    assert "Masks of shapes" in (study.out / "report.html").read_text(encoding="utf-8")
    arms = make_arms(study.plan, cohort, {}, shutil.copytree(study.out, tmp_path / "study"))
    file = arms.repeat(3, 3).mask_generator_folder("shapes") / "mask_scores.csv"
    scores = pd.read_csv(file).set_index("score")
    for copies, empty, words in ((0.05, 0.1, []), (0.9, 0.1, ["repeats its training masks"]), (0.1, 0.6, ["nothing"])):
        scores.loc["copies", "drawn"], scores.loc["empty", "drawn"] = copies, empty
        scores.to_csv(file)
        warnings = mask_warnings(arms)
        assert len(warnings) == len(words)
        assert all(word in warning for word, warning in zip(words, warnings, strict=True))
    scores.loc["volume_ml_median"] = [1.25, 2.5, "as real"]
    scores.to_csv(file)
    assert "volume in ml 1.25 (real 2.50)" in describe_mask_generators(arms)["Masks of shapes"]
    file.unlink()
    assert (describe_mask_generators(arms), mask_warnings(arms)) == ({}, [])


def test_the_masks_of_held_out_people_are_not_fitted_on(study):
    held_out = study.test.ancestry | study.development.ancestry
    fitted = set(read_info(study.repeat(3, 3).mask_generator_folder("shapes")).training_subjects)
    assert len(held_out) == 4
    assert not held_out & fitted


def test_a_mask_generator_that_knows_a_test_subject_is_refused(study, cohort, tmp_path):
    out = shutil.copytree(study.out, tmp_path / "study")
    arms = make_arms(study.plan, cohort, {}, out)
    repeat, tester = arms.repeat(3, 3), arms.test.subjects[0]
    folder = repeat.mask_generator_folder("shapes")
    info = read_info(folder)
    forged = info.model_copy(update={"training_subjects": (*info.training_subjects, tester)})
    write_json(folder / "model.json", forged.model_dump(mode="json"))
    shutil.rmtree(repeat.folder / "arms")
    with pytest.raises(LeakError, match=f"shapes: was fitted on the test subject {tester}"):
        train(repeat.training("synthetic", 2))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"mask_generators": {}}, "names the mask generator 'shapes', which is not in the plan"),
        ({"mask_generators": {"shapes": {"options": {"depth": 3}}}}, "depth: is no option"),
        ({"synthesizers": {"paste": {"method": "injection", "masks": "moon"}}}, "masks"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(masks, changes, what):
    with pytest.raises(ValueError, match=what):
        Plan.model_validate(plan(masks, **changes))


def test_volumes_are_not_drawn_into_slices_on_the_fly(masks):
    content = plan(masks, task={"spatial_dims": 2, "filters": [4, 8]})
    content["arms"]["synthetic"]["use"] = "on_the_fly"
    with pytest.raises(ValueError, match="its mask generator draws volumes: use offline"):
        Plan.model_validate(content)


@pytest.mark.parametrize("name", ["{}_mask", "{}", "lesion-{}", "sub-000+{}"])
def test_bare_masks_whose_names_lead_to_somebody_held_out_are_not_fitted_on(name, masks, cohort, tmp_path, monkeypatch):
    arms = make_arms(Plan.model_validate(plan(tmp_path / "bare")), cohort, {}, tmp_path / "out")
    held_out = [*arms.test.cases, *arms.development.cases]
    (tmp_path / "bare").mkdir()
    files = sorted(masks.iterdir())
    for file, case in zip(files, held_out, strict=False):
        for known in (case.case_id, case.subject_id):
            shutil.copy(file, tmp_path / "bare" / f"{name.format(known)}.nii.gz")
    for file in files[-3:]:
        shutil.copy(file, tmp_path / "bare")
    fitted = []
    monkeypatch.setattr(MaskGAN, "fit", lambda cases, **_: fitted.extend(case.case_id for case in cases))
    fit_mask_generator(arms.repeat(3, 3), "shapes")
    assert fitted == [file.name.removesuffix(".nii.gz") for file in files[-3:]]
