"""The whole way once, on a simulated cohort, as a user types it."""

import functools
import html
import json

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from lesionforge.benchmark import demo
from lesionforge.benchmark.plan import Plan
from lesionforge.cli import app
from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.simulation import simulated_cohort
from lesionforge.simulation.simulated_cohort import make_template_cohort
from lesionforge.training.model_folder import read_info

GAN = {"condition": "inpaint", "spatial_dims": 2, "roi_size": [32, 32], "channels": [8, 16], "width": 1.0}
UNET = {"spatial_dims": 2, "filters": [4, 8, 16], "res_units": 1, "roi_size": [32, 32]}
TRAINING = {"steps": 4, "batch_size": 2, "epoch_steps": 2}
PLAN = {
    "name": "The whole way",
    "subjects": {"train": "pool", "development": "development", "test": "final", "numbers": [3]},
    "task": UNET,
    "training": TRAINING,
    "seeds": [0],
    "synthesizers": {"inpaint": {"method": "pix2pix", "options": GAN, "training": TRAINING, "cases": 4}},
    "arms": {"classical": {}, "synthetic": {"synthesizer": "inpaint", "use": "offline"}},
    "baseline": "classical",
    "arm": "synthetic",
    "examples": 2,
    "scales": {"tiny": {"training": {"steps": 2}}},
}
SIMULATION = {"spacing": 5.0, "slice_thickness": 8.0, "healthy_fraction": 0.0, "seed": 1}


def typed(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def sets(options, prefix=""):
    return [part for key, value in options.items() for part in ("--set", f"{prefix}{key}={json.dumps(value)}")]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated") / "Dataset001_Simulated"
    cohort = make_template_cohort(folder, n_subjects=8, **SIMULATION)
    subjects = list(cohort.subjects)
    roles = {"pool": subjects[:4], "development": subjects[4:5], "final": subjects[5:]}
    (folder / "roles.json").write_text(json.dumps(roles))
    return folder


def test_from_scans_to_a_report(simulated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "0 problems" in typed("check", simulated, "--out", "check")
    typed("show", simulated, "--out", "sheet.png", "--n", 4)

    settings = [*sets({k: v for k, v in GAN.items() if k != "condition"}), "--set", "training.batch_size=2"]
    train = ["train", "pix2pix", simulated, "--out", "model", "--condition", "inpaint", "--role", "pool"]
    typed(*train, "--steps", 4, *settings)
    assert read_info(tmp_path / "model").simulated
    typed("synthesize", "model", simulated, "--out", "Dataset101_Synthetic", "--n", 6, "--role", "pool")
    typed("check", "Dataset101_Synthetic")
    originals, drawn = read_cohort(simulated), read_cohort(tmp_path / "Dataset101_Synthetic")
    assert len(drawn) == 6
    pool = set(json.loads((simulated / "roles.json").read_text())["pool"])
    assert drawn.ancestry == pool
    for case in drawn:
        scan, source = (load_scan(c, c.images) for c in (case, originals[case.source_case]))
        new = (scan.label > 0) & (source.label == 0)
        assert new.any()
        assert ((scan.label > 0) >= (source.label > 0)).all()
        assert (source.anatomy > 0)[new].all()
        assert (scan.image != source.image).any()
        assert (scan.image == source.image).mean() > 0.5

    options = ["--role", "pool", "--steps", 4, *sets(UNET), "--set", "training.batch_size=2"]
    typed("segment", "train", simulated, "--with", "Dataset101_Synthetic", "--out", "unet", *options)
    typed("segment", "predict", "unet", simulated, "--out", "predictions", "--role", "final")
    assert "3 of 3 cases scored" in typed("evaluate", "predictions", simulated, "--role", "final", "--out", "s.csv")

    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(PLAN))
    shown = typed("benchmark", "plan.yaml", "--data", simulated, "--out", "benchmark", "--scale", "tiny")
    assert "report: benchmark/report.html" in shown
    results = pd.read_csv("benchmark/results.csv")
    assert len(results) == 2 * 3
    assert {*results["subject_id"]}.isdisjoint(pool)
    page = html.unescape((tmp_path / "benchmark" / "report.html").read_text(encoding="utf-8"))
    assert "All scans are simulated: this says nothing about patients." in page
    assert shown.strip().splitlines()[-1] in page


@pytest.mark.slow
def test_the_demo_goes_on_where_it_was(tmp_path, monkeypatch):
    split = {"train": 0.5, "development": 0.2, "test": 0.3, "numbers": [3]}
    plan = Plan.model_validate(PLAN | {"subjects": split, "scales": {}})
    simulate = functools.partial(make_template_cohort, **{k: v for k, v in SIMULATION.items() if k != "seed"})
    monkeypatch.setattr(demo, "SUBJECTS", 6)
    monkeypatch.setattr(demo, "read_plan", lambda path: plan)
    monkeypatch.setattr(demo, "make_template_cohort", simulate)
    first = typed("demo", "--out", tmp_path / "demo", "--workers", 1)
    for line in ("simulated cohort: ", "synthetic cohort: ", f"report: {tmp_path / 'demo' / 'benchmark'}"):
        assert line in first
    results = tmp_path / "demo" / "benchmark" / "results.csv"
    before = results.read_bytes()
    results.unlink()
    for table in (tmp_path / "demo" / "benchmark" / "runs").rglob("results.csv"):
        table.unlink()
    monkeypatch.setattr(simulated_cohort, "simulate_subject", None)
    second = typed("demo", "--out", tmp_path / "demo", "--workers", 1)
    assert results.read_bytes() == before
    assert second.splitlines()[-1] == first.splitlines()[-1]
    other = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--seed", "7"])
    assert other.exit_code == 2
    assert "the output folder is not empty" in other.stderr
