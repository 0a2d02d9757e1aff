"""Studies of methods that remove lesions: from the plan to the report."""

import html
import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from lesionforge.benchmark.healing.healing_charts import flows
from lesionforge.benchmark.healing.healing_jobs import fit_method, score
from lesionforge.benchmark.healing.healing_plan import HealingPlan
from lesionforge.benchmark.healing.healing_report import _describe_training, sentence
from lesionforge.benchmark.healing.healing_study import HealingStudy
from lesionforge.benchmark.run import run_benchmark
from lesionforge.config import parse_options
from lesionforge.errors import CohortError, ConfigError, LeakError, OutputError
from lesionforge.healers.registry import HEALERS
from lesionforge.scores.healed_scans.healed import REFERENCES
from lesionforge.scores.healed_scans.healed_summary import summarize_healed
from tests.devices import pretend_cuda
from tests.helpers import tiny_cohort
from tests.synthesizers.healers import SMALL

TRAINING = {"steps": 2, "batch_size": 2, "epoch_steps": 1, "device": "cpu", "preview_minutes": None}
TAKES_APART = {"method": "pseudo_healthy", "options": {"segmentor_channels": [4, 8]}}
CONTENT = {
    "name": "A small study",
    "subjects": {"train": 0.6, "test": 0.4},
    "f_pre": {
        "task": {"network": "pseudo_healthy", "filters": [4, 8], "roi_size": [32, 32]},
        "training": {**TRAINING, "seed": 5},
    },
    "training": TRAINING,
    "seeds": [3],
    "options": {**SMALL, "roi_size": [32, 32], "level_bins": 1},
    "methods": {
        "paired": TAKES_APART,
        "unpaired": {**TAKES_APART, "options": {**TAKES_APART["options"], "mode": "unpaired"}},
        "gan": {"method": "healing_gan"},
        "cycle": {"method": "healing_cyclegan"},
    },
    "baselines": ["gan", "cycle"],
    "examples": 2,
}
PLAN = HealingPlan.model_validate(CONTENT)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort") / "Dataset001_Tiny"
    return tiny_cohort(folder, spatial_dims=3, n_subjects=5, shape=(32, 32, 8))


@pytest.fixture(scope="module")
def study(cohort, tmp_path_factory):
    """A study of all methods, run once."""
    out, said = tmp_path_factory.mktemp("healing") / "study", []
    verdict = run_benchmark(PLAN, cohort, out=out, say=said.append)
    assert len(said) == 1 + len(PLAN.methods) + 1
    assert verdict in html.unescape((out / "report.html").read_text(encoding="utf-8"))
    return out


def test_every_method_is_scored_on_every_test_case_beside_the_scan_itself_and_nothing(study, cohort):
    results, test = pd.read_csv(study / "results.csv"), HealingStudy.make(PLAN, cohort, {}, study).test
    expected = {(name, 3, case.case_id) for name in (*PLAN.methods, *REFERENCES) for case in test}
    assert set(zip(results["method"], results["seed"], results["case_id"], strict=True)) == expected
    assert len(results) == len(expected) == 12
    known = results.set_index("method").notna().groupby("method").all()
    assert known.loc["paired", ["identity", "healthiness", "change_outside", "map_dice"]].all()
    assert not known.loc[["gan", "cycle"], "map_dice"].any()
    assert results.set_index("method").loc["gan", "displacement_mm"].isna().all()


def test_methods_and_f_pre_compute_on_the_device_of_the_run(study, cohort, tmp_path, monkeypatch):
    out = shutil.copytree(study, tmp_path / "study")
    changed = HealingPlan.model_validate({**CONTENT, "training": {**TRAINING, "device": "cuda"}})
    made = HealingStudy.make(changed, cohort, {}, out)
    made.results_file(3).unlink()
    asked = pretend_cuda(monkeypatch)
    score(made, 3)
    assert len(asked) == len(PLAN.methods) + 1
    flows(made)
    assert len(asked) == len(PLAN.methods) + 1 + 2
    assert {device for _, device in asked} == {"cuda"}


def test_the_report_shows_subjects_flows_reconstructions_scores_and_losses(study):
    flows = {f"flow_{name}.png" for name in ("paired", "unpaired")}
    scores = {f"{name}.svg" for name in ("healthiness", "identity", "identity_beside")}
    drawn = {path.name for path in (study / "figures").iterdir()}
    assert drawn - {"reconstructions.png"} == {"methods.png", "learning_curves.svg", *flows, *scores}
    text = html.unescape((study / "report.html").read_text(encoding="utf-8"))
    told = (
        "slices are padded by reflection",
        "healthy slices lie at the level",
        "One training seed",
        "blank",
        "the same for all seeds",
    )
    for words in (*told, "whether that is enough for each was not controlled"):
        assert words in text
    summary = pd.read_csv(study / "summary.csv")
    assert {"mean", "ci_low", "ci_high", "seed_low", "seed_high", "star", "valid"} <= set(summary)


def test_one_f_pre_serves_all_and_has_a_seed_of_its_own(study):
    info = json.loads((study / "f_pre" / "model.json").read_text())
    assert info["config"]["network"] == "pseudo_healthy"
    assert info["training"]["seed"] == 5
    assert [path.parent.name for path in study.rglob("model.json") if path.parent.name == "f_pre"] == ["f_pre"]


@pytest.mark.slow
def test_a_study_that_was_stopped_does_only_what_is_missing_and_ends_the_same(study, cohort, tmp_path):
    copied = shutil.copytree(study, tmp_path / "study")
    before, seed = (copied / "results.csv").read_text(), copied / "runs" / "seed3"
    for gone in (seed / "methods" / "cycle", seed / "healed" / "cycle"):
        shutil.rmtree(gone)
    for gone in (seed / "results.csv", copied / "results.csv"):
        gone.unlink()
    there = {path: path.stat().st_mtime_ns for path in copied.rglob("model.json")}
    assert len(there) == len(PLAN.methods)
    run_benchmark(PLAN, cohort, out=copied)
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert (copied / "results.csv").read_text() == before


def test_another_plan_or_other_cases_are_refused(study, cohort):
    with pytest.raises(OutputError, match="another plan"):
        run_benchmark(PLAN.model_copy(update={"seeds": (4,)}), cohort, out=study)
    with pytest.raises(OutputError, match="other cases"):
        run_benchmark(PLAN, cohort.with_cases(cohort.cases[:-1]), out=study)


def by_roles(cohort, bare=()):
    """The plan with named subjects, and the cohort without the masks of some cases."""
    plan = parse_options(HealingPlan, {**CONTENT, "subjects": {"train": "pool", "test": "final"}})
    roles = {"pool": cohort.subjects[:3], "final": cohort.subjects[3:]}
    cases = [replace(case, label=None) if case.case_id in bare else case for case in cohort]
    return plan, cohort.with_cases(cases), roles


def test_a_test_case_without_a_mask_is_told(cohort, tmp_path):
    with pytest.raises(CohortError, match="case_004: has a lesion but no mask, which scores need"):
        HealingStudy.make(*by_roles(cohort, bare=["case_004"]), tmp_path)


def test_f_pre_learns_from_the_outlined_cases_alone(cohort, tmp_path):
    made = HealingStudy.make(*by_roles(cohort, bare=["case_001"]), tmp_path)
    assert [case.case_id for case in made.train] == ["case_000", "case_001", "case_002"]
    assert [case.case_id for case in made.outlined] == ["case_000", "case_002"]


def test_overlapping_roles_are_refused_before_anything_is_done(cohort, tmp_path):
    plan, cases, roles = by_roles(cohort)
    with pytest.raises(LeakError, match=cohort.subjects[0]):
        run_benchmark(plan, cases, out=tmp_path / "out", roles={**roles, "final": cohort.subjects[:1]})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"baselines": ["nobody"]}, "'nobody' is not a method: the methods are paired, unpaired, gan, cycle"),
        ({"methods": {"paired": {"method": "pix2pix"}}, "baselines": []}, "'pix2pix' does not remove lesions"),
        ({"methods": {"untouched": TAKES_APART}, "baselines": []}, "'untouched' cannot be a name"),
        ({"methods": {"a/b": TAKES_APART}, "baselines": []}, "'a/b' cannot be a name"),
        ({"options": {"widht": 1}}, "method 'paired': widht"),
        ({"fraction": 1.5}, "fraction"),
        ({"options": {"fraction": 0.4}}, r"options\.fraction is 0\.4, but scores are of 1 of the head: give fraction"),
        ({"methods": {}}, "methods"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes, what):
    with pytest.raises(ConfigError, match=what):
        parse_options(HealingPlan, {**CONTENT, **changes})


def test_methods_share_options_and_the_part_of_the_head():
    plan = HealingPlan.model_validate({**CONTENT, "fraction": 0.4})
    assert plan.options_of("unpaired") == {
        **CONTENT["options"], "fraction": 0.4, "segmentor_channels": [4, 8], "mode": "unpaired"
    }  # fmt: skip


def test_a_part_of_the_head_that_a_method_gives_is_its_own():
    methods = {**CONTENT["methods"], "gan": {"method": "healing_gan", "options": {"fraction": 0.5}}}
    plan = HealingPlan.model_validate({**CONTENT, "methods": methods})
    assert [plan.options_of(name)["fraction"] for name in ("gan", "cycle")] == [0.5, 1.0]


def test_a_seed_is_scored_once_f_pre_and_all_its_methods_are_trained(cohort, tmp_path):
    plan = HealingPlan.model_validate({**CONTENT, "seeds": [3, 4]})
    jobs = {job.name: job for job in HealingStudy.make(plan, cohort, {}, tmp_path).jobs()}
    assert len(jobs) == 1 + 2 * (len(PLAN.methods) + 1)
    for seed in plan.seeds:
        methods = {f"seed{seed}/methods/{name}/model.json" for name in PLAN.methods}
        assert set(jobs[f"seed{seed}/results.csv"].needs) == {"f_pre/model.json", *methods}
        assert all(jobs[name].needs == () for name in methods)


@pytest.mark.parametrize("number", [2, 0.7])
def test_every_seed_draws_training_subjects_of_its_own(number, cohort, tmp_path):
    plan, cases, roles = by_roles(cohort)
    seeds = tuple(range(6))
    drawing = plan.model_copy(update={"seeds": seeds, "subjects": plan.subjects.model_copy(update={"number": number})})
    study = HealingStudy.make(drawing, cases, roles, tmp_path)
    drawn = [study.train_of(seed).subjects for seed in seeds]
    assert {len(subjects) for subjects in drawn} == {2}
    assert len(set(map(tuple, drawn))) > 1
    assert set().union(*drawn) <= set(roles["pool"])
    assert study.split()["train seed1"] == [case.case_id for case in study.train_of(1)]
    assert study.outlined.subjects == study.train.subjects
    assert _describe_training(study).startswith("2 of 3: every seed has a random choice of its own")
    plain = HealingStudy.make(plan, cases, roles, tmp_path)
    assert plain.train_of(plan.seeds[0]) is plain.train
    many = plan.subjects.model_copy(update={"number": 4})
    with pytest.raises(ConfigError, match="4 of 3 subjects are more than there are"):
        HealingStudy.make(plan.model_copy(update={"subjects": many}), cases, roles, tmp_path)


@pytest.mark.parametrize("number", [None, 3, 1.0])
def test_seeds_that_share_all_subjects_are_said_to(number, cohort, tmp_path):
    plan, cases, roles = by_roles(cohort)
    every = plan.model_copy(update={"subjects": plan.subjects.model_copy(update={"number": number})})
    assert _describe_training(HealingStudy.make(every, cases, roles, tmp_path)) == "3, the same for all seeds"


def test_a_method_is_trained_on_the_subjects_of_its_seed(cohort, tmp_path, monkeypatch):
    plan, cases, roles = by_roles(cohort)
    subjects, seeds = plan.subjects.model_copy(update={"number": 2}), tuple(range(6))
    study = HealingStudy.make(
        plan.model_copy(update={"seeds": seeds, "subjects": subjects}), cases, roles, tmp_path / "out"
    )
    name, trained_on = next(iter(plan.methods)), []
    method = HEALERS[plan.methods[name].method]
    monkeypatch.setattr(method, "fit", lambda cases, **options: trained_on.append(cases.subjects))
    for seed in seeds:
        fit_method(study, seed, name)
    assert trained_on == [study.train_of(seed).subjects for seed in seeds]


def scores(healthiness, *, f_pre_dice, n_subjects=6, seeds=(0,)):
    """Scores of subjects by two methods; ``healthiness`` has method → value, or a value for each seed."""
    rows = []
    for name, left_in in healthiness.items():
        for number, seed in enumerate(seeds):
            left = left_in[number] if isinstance(left_in, tuple) else left_in
            for subject in range(n_subjects):
                found, wiggle = round(100 * (1 - left)) + subject, 0.001 * (subject if name == "ours" else 0)
                row = {"method": name, "seed": seed, "case_id": f"c{subject}", "subject_id": f"s{subject}"}
                row |= {"identity_beside": left + wiggle, "identity": left, "found": found, "true": 100}
                rows.append(row | {"healthiness": 1 - found / 100 + wiggle, "f_pre_dice": f_pre_dice})
    others = ("identity_4", "change_outside", "change_lesion_free", "displacement_mm", "map_dice")
    return pd.DataFrame(rows).assign(**dict.fromkeys(others, float("nan")))


def said(healthiness, *, n_seeds=1, healthy=False, **options):
    """Return the summary and the sentence on ``ours``; of healthiness, whose bootstrap takes long, only if asked."""
    table = scores(healthiness, **{"f_pre_dice": 0.8, "seeds": tuple(range(n_seeds)), **options})
    table = table if healthy else table.assign(healthiness=float("nan"))
    summary = summarize_healed(table, baselines=["theirs"])
    return summary, sentence(summary, "ours", n_seeds=n_seeds)


def test_no_method_is_called_better_than_a_baseline_of_uncontrolled_length():
    summary, text = said({"ours": 0.9, "theirs": 0.5}, healthy=True)
    assert text.startswith("ours: healthiness 87.5 [")
    assert text.count("higher with ours than with theirs") == 2
    assert text.count("but the baseline may be undertrained: the length was not controlled") == 2
    assert "better" not in text
    assert summary[summary["method"] == "ours"]["star"].all()


def test_an_invalid_score_has_no_verdict():
    _, text = said({"ours": 0.4, "theirs": 0.5}, healthy=True, f_pre_dice=0.3)
    assert text.count("(invalid)") == 1
    assert "Healthiness was" not in text
    assert "ours did worse than theirs: Identity beside the lesion was" in text
    assert text.endswith("The baseline may be undertrained: the length was not controlled.")


def test_no_difference_names_the_smallest_that_could_have_been_seen():
    summary, text = said({"ours": 0.497, "theirs": 0.5}, n_subjects=7)
    assert "No difference in Identity beside the lesion could be shown between ours and theirs" in text
    assert "The smallest difference that would have been seen with 80 % power is" in text
    assert summary.query("method == 'ours' and score == 'identity_beside'")["detectable"].item() > 0


def test_seeds_in_which_it_was_not_so_are_named():
    summary, _ = said({"ours": (0.8, 0.45, 0.8), "theirs": 0.5}, n_seeds=3)
    assert set(summary.loc[summary["method"] == "ours", "seeds_against"]) == {"1"}
    ahead = said({"ours": (0.9, 0.91, 0.49, *[0.9] * 17), "theirs": 0.5}, n_seeds=20)[1]
    assert "higher with ours than with theirs" in ahead
    assert "Not so in seed 2." in ahead


def test_few_subjects_earn_no_star():
    summary, text = said({"ours": 0.9, "theirs": 0.5}, n_subjects=5)
    of_ours = summary[(summary["method"] == "ours") & (summary["score"] == "identity_beside")]
    assert (of_ours["p_holm"] < 0.05).all()
    assert not summary["star"].any()
    assert "5 subjects compared, at least 6 are needed" in text


@pytest.mark.slow
def test_a_method_that_is_told_where_the_lesions_are_takes_part(cohort, tmp_path):
    """It finds no lesions of its own, and draws them again where they were."""
    methods = {"masked": {"method": "mask_cyclegan"}, "gan": {"method": "healing_gan"}}
    plan = HealingPlan.model_validate({**CONTENT, "methods": methods, "baselines": ["gan"]})
    run_benchmark(plan, cohort, out=tmp_path / "study", say=lambda line: None)
    of_it = pd.read_csv(tmp_path / "study" / "results.csv").set_index("method").loc["masked"]
    assert of_it[["identity", "healthiness", "displacement_mm"]].notna().all(axis=None)
    assert (tmp_path / "study" / "figures" / "reconstructions.png").is_file()
