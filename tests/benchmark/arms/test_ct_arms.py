"""Arms of the haemorrhage paper: a chosen generator, transformed copies on disk, the same on the fly, FCN-8s."""

import json
import re
from dataclasses import replace

import pandas as pd
import pytest

from lesionforge.benchmark.arm_plan import SynthesizerPlan
from lesionforge.benchmark.arms.control import Length, Lengths
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.arms.target_scans import match_targets, target_scans, target_warnings
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.figures.gallery import gallery
from lesionforge.benchmark.report.method_notes import method_notes
from lesionforge.benchmark.run import run_benchmark
from lesionforge.cohort.layouts import read_cohort, write_nnunet
from lesionforge.errors import LeakError, LesionforgeError
from lesionforge.scores.predictions.image_scores import class_average
from tests.heads import bleeds, stacks
from tests.helpers import NESTED, tiny_cohort

TRAINING = {"steps": 1, "batch_size": 2, "epoch_steps": 1, "device": "cpu", "preview_minutes": None}
GAN = {
    "method": "pix2pix",
    "options": {
        **{"network": "lcgan", "condition": "label", "channels": [32, 64], "width": 0.125, "roi_size": [32, 32]},
        **{"lesion_share": 1, "candidates": [1, 2]},
    },
    "training": {**TRAINING, "batch_size": 1},
    "masks": "own",
    "cases": None,
    "blend": "full",
    "selection": {"segmentor": {"filters": [4, 8], "res_units": 0}, "segmentor_steps": 1, "shown": 1},
}
PLAN = Plan.model_validate(
    {
        "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [2]},
        "task": {"filters": [4, 8], "res_units": 0, "roi_size": [32, 32]},
        "training": TRAINING,
        "seeds": [0],
        "synthesizers": {"copies": {"method": "transformed_copy", "cases": None}, "gan": GAN},
        "arms": {
            "original": {"augment": "none"},
            "traditional": {"augment": "none", "synthesizer": "copies"},
            "gan": {"augment": "none", "synthesizer": "gan"},
            "on_the_fly": {"augment": "ct"},
            "fcn8s": {"augment": "none", "task": {"network": "fcn8s", "width": 0.05}},
        },
        "baseline": "original",
        "primary": "image_dice",
        "examples": 1,
    }
)

LENGTHS = Lengths(of={2: Length(steps=1)})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Slices with two classes; nobody has the third."""
    folder = tmp_path_factory.mktemp("cohort")
    made = tiny_cohort(folder, spatial_dims=2, n_subjects=4, cases_per_subject=2, labels=NESTED)
    return replace(made, labels={**NESTED, "ghost": 3})


@pytest.fixture(scope="module")
def study(cohort, tmp_path_factory):
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("study") / "out"
    assert "Dice per image" in run_benchmark(PLAN, cohort, out=out)
    return out


@pytest.mark.slow
def test_copies_double_the_training_set_and_all_arms_are_scored_per_image(study):
    copies = read_cohort(study / "runs" / "n2" / "seed0" / "cohorts" / "copies")
    assert len({case.source_case for case in copies}) == len(copies) == 4
    results = pd.read_csv(study / "results.csv")
    assert set(results["arm"]) == set(PLAN.arms)
    assert {"image_dice", "image_dice_oedema", "image_dice_core"} <= set(results.columns)
    assert 0 <= class_average(results) <= 1
    report = (study / "report.html").read_text(encoding="utf-8")
    for shown in (
        "transformed_copy (a case for each scan offline)",
        "classical augmentation and that of head CT",
        "Dice per image of oedema",
    ):
        assert shown in report


@pytest.fixture(scope="module")
def figures(study, cohort):
    """File → figure of the finished run."""
    return {one.file: one.figure for one in gallery(make_arms(PLAN, cohort, {}, study), steps=1).figures}


@pytest.mark.slow
def test_each_lesion_class_is_shown_in_a_colour_that_is_named(figures, cohort):
    sheet = figures["synthesizers.png"]
    rows = [text.get_text() for panel in sheet.axes for text in panel.texts]
    assert [name for row in rows for name in row.split(", ")[1].split(" and ")] == list(NESTED)[1:]
    assert not sheet.legends


@pytest.mark.slow
def test_the_colours_of_classes_are_named_once(study, cohort):
    (legend,) = re.findall(r'<p class="legend">(.*?)</p>', (study / "report.html").read_text(encoding="utf-8"))
    assert re.findall(r"</span>(\w+)", legend) == list(cohort.labels)[1:]
    assert len(set(re.findall(r"#\w{6}", legend))) == len(cohort.labels) - 1


@pytest.mark.slow
def test_the_scheme_shows_the_numbers_of_the_run(study, figures):
    shown = [text.get_text() for text in figures["scheme.svg"].axes[0].texts if text.get_text()]
    chosen = json.loads((study / "runs/n2/seed0/selections/gan/recommended.json").read_text())["recommended"]
    assert "2 subjects, 4 cases" in shown[0]
    assert "epoch_001\nepoch_002" in shown[1]
    assert f"{chosen}\n4 images drawn with it" in shown[3]
    means = pd.read_csv(study / "results.csv").groupby("arm")["image_dice"].mean() * 100
    for arm in PLAN.arms:
        assert f"{arm:<11} {means[arm]:.1f}" in shown[4]
    assert (study / "figures" / "scheme.svg").is_file()


@pytest.mark.slow
def test_lesions_are_drawn_into_healthy_scans_that_were_matched_to_the_training_cases(tmp_path):
    for name, cohort in (("Healthy", stacks(tmp_path / "h", 4)), ("Bleeds", bleeds(tmp_path / "b", 4))):
        write_nnunet(cohort, tmp_path / name)
    implant = {
        **{"method": "injection", "masks": "bank", "cases": 5, "min_volume": 1, "targets": tmp_path / "Healthy"},
    }
    plan = Plan.model_validate(
        PLAN.model_dump()
        | {
            "synthesizers": {"implant": implant},
            "arms": {"original": {"augment": "none"}, "implant": {"augment": "none", "synthesizer": "implant"}},
        }
    )
    out = tmp_path / "out"
    run_benchmark(plan, read_cohort(tmp_path / "Bleeds"), out=out)
    folder = out / "runs" / "n2" / "seed0"
    drawn = read_cohort(folder / "cohorts" / "implant")
    train = json.loads((out / "split.json").read_text())["train n2 set0"]
    assert {case.subject_id[0] for case in drawn} == {"h"}
    people = {case_id.split("_")[0] for case_id in train}
    for case in drawn:
        assert people >= case.ancestry - {case.subject_id}, "it knows the training subjects and nobody else"
    matched = (folder / "targets" / "implant" / "match.json").stat().st_mtime_ns
    assert (out / "figures" / "placement_implant.png").is_file()
    assert "Healthy scans of implant" in (out / "report.html").read_text(encoding="utf-8")
    run_benchmark(plan, read_cohort(tmp_path / "Bleeds"), out=out)
    assert (folder / "targets" / "implant" / "match.json").stat().st_mtime_ns == matched


def implant_plan(targets, **change):
    implant = {"method": "injection", "masks": "bank", "cases": 5, "min_volume": 1, "targets": targets, **change}
    arms = {"original": {"augment": "none"}, "implant": {"augment": "none", "synthesizer": "implant"}}
    return Plan.model_validate(PLAN.model_dump() | {"synthesizers": {"implant": implant}, "arms": arms})


def test_healthy_scans_are_looked_at_before_anything_is_trained(tmp_path):
    cohort = bleeds(tmp_path / "b", 4)
    write_nnunet(cohort, tmp_path / "Bleeds")
    for name, what in (("nowhere", "has no dataset.json"), ("Bleeds", "has a case b00_s04, as bleeds has")):
        with pytest.raises(LesionforgeError, match=what):
            run_benchmark(implant_plan(tmp_path / name), cohort, out=tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_healthy_scans_of_held_out_people_are_not_drawn_into(tmp_path):
    cohort, healthy = bleeds(tmp_path / "b", 4), stacks(tmp_path / "h", 5)
    arms = make_arms(implant_plan(tmp_path / "Healthy"), cohort, {}, tmp_path / "out")
    known = arms.test.subjects[0]
    write_nnunet(
        healthy.with_cases([replace(case, subject_id=known) if case.subject_id == "h01" else case for case in healthy]),
        tmp_path / "Healthy",
    )
    repeat = arms.repeat(2, 0)
    leftover = repeat.targets_folder("implant").parent / ".implant.killed"
    leftover.mkdir(parents=True)
    match_targets(repeat, "implant")
    scans = target_scans(repeat, "implant")
    assert set(scans.subjects) == {"h00", "h02", "h03", "h04"}
    assert not leftover.exists()
    (warning,) = target_warnings(arms)
    assert "n = 2: too few subjects" in warning


@pytest.mark.parametrize(
    ("change", "what"), [({"masks": "own"}, "no lesion of their own"), ({"use": "on_the_fly"}, "use offline")]
)
def test_what_healthy_targets_cannot_do_is_said(change, what):
    use = {"use": change.pop("use")} if "use" in change else {}
    implant = {"method": "injection", "targets": "Healthy", "masks": "bank", **change}
    plan = {
        "synthesizers": {"implant": implant},
        "arms": {"real": {}, "implant": {"synthesizer": "implant", **use}},
        "baseline": "real",
    }
    with pytest.raises(ValueError, match=what):
        Plan.model_validate(plan)


@pytest.mark.slow
def test_each_lesion_is_drawn_anew_by_the_candidate_that_was_chosen(study, cohort):
    folder = study / "runs" / "n2" / "seed0"
    facts = json.loads((folder / "selections" / "gan" / "recommended.json").read_text(encoding="utf-8"))
    drawn = read_cohort(folder / "cohorts" / "gan")
    split = json.loads((study / "split.json").read_text(encoding="utf-8"))
    assert sorted(case.source_case for case in drawn) == sorted(split["train n2 set0"])
    assert facts["recommended"] in ("epoch_001", "epoch_002")
    assert set(facts["subjects"]) == {cohort[case_id].subject_id for case_id in split["train n2 set0"]}
    settings = json.loads((folder / "cohorts" / "gan" / "synthesis.json").read_text(encoding="utf-8"))
    assert settings["model"]["training"]["candidate"] == facts["recommended"]
    assert (study / "figures" / "placement_gan.png").is_file()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    run_benchmark(PLAN, cohort, out=study)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"options": {"network": "lcgan"}}, "selection needs candidates"),
        ({"selection": {"shown": 0}}, "selection"),
        ({"masks": "mine"}, "masks"),
    ],
)
def test_a_choice_needs_candidates(changes, what):
    with pytest.raises(ValueError, match=what):
        SynthesizerPlan.model_validate({**GAN, **changes})


def test_a_lesion_of_its_own_is_not_drawn_on_the_fly():
    content = PLAN.model_dump(mode="json")
    content["arms"]["gan"]["use"] = "on_the_fly"
    with pytest.raises(ValueError, match="own lesion on the fly"):
        Plan.model_validate(content)


def test_the_report_names_the_network(cohort, tmp_path):
    def network(**task):
        plan = PLAN.model_copy(update={"task": PLAN.task.model_copy(update=task)})
        return method_notes(make_arms(plan, cohort, {}, tmp_path), LENGTHS)["Network"]

    assert network() == "2D U-Net, widths 4, 8"
    assert network(network="fcn8s") == "FCN-8s at 0.25 of the published width"
    assert network(network="fcn8s", width=1.0, weights="vgg16.pth").endswith("encoder weights read from a file")


def test_healthy_scans_that_are_test_scans_under_other_names_are_refused(tmp_path):
    cohort, healthy = bleeds(tmp_path / "b", 4), stacks(tmp_path / "h", 2)
    plan = implant_plan(tmp_path / "Healthy")
    tested = make_arms(plan, cohort, {}, tmp_path / "out").test.cases[0]
    channel = cohort.channels[0]
    healthy.cases[0].images[channel].write_bytes(tested.images[channel].read_bytes())
    write_nnunet(healthy, tmp_path / "Healthy")
    with pytest.raises(LeakError, match=f"{healthy.cases[0].case_id} and {tested.case_id}: hold the same image"):
        run_benchmark(plan, cohort, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
