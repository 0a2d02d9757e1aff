"""Whatever draws or judges in a benchmark lies on the device of the run."""

import shutil

import pytest
from torch import nn

from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.ingredients import drawing_device, ingredients
from lesionforge.benchmark.jobs import fit_synthesizer, score_arm
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.figures.drawn import side_by_side
from lesionforge.benchmark.setting import make_setting
from lesionforge.networks.googlenet import GoogLeNet
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.training.loop import TrainingConfig
from tests.devices import networks_of, pretend_cuda
from tests.helpers import tiny_cohort

TRAINING = {"steps": 1, "batch_size": 2, "epoch_steps": 1, "device": "cpu"}
PLAN = {
    "subjects": {"train": 0.6, "development": 0.2, "test": 0.2, "numbers": [4]},
    "task": {"spatial_dims": 2, "filters": [4, 8], "res_units": 1, "roi_size": [32, 32]},
    "training": TRAINING,
    "seeds": [3],
    "synthesizers": {
        "inpaint": {
            "method": "pix2pix",
            "options": {
                "spatial_dims": 2,
                "roi_size": [32, 32],
                "channels": [4, 8],
                "candidates": [1, 2],
                "candidates_in": "steps",
            },
            "training": TRAINING,
            "masks": "bank",
            "cases": 2,
            "min_volume": 5,
            "selection": {
                "segmentor": {"filters": [4, 8], "res_units": 0},
                "segmentor_steps": 1,
                "realism": {"side": 32, "width": 0.06, "steps": 1, "batch_size": 2},
                "shown": 1,
            },
        },
    },
    "arms": {
        "classical": {},
        "offline": {"synthesizer": "inpaint"},
        "on_the_fly": {"synthesizer": "inpaint", "use": "on_the_fly"},
    },
    "baseline": "classical",
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("cohort"), spatial_dims=2, n_subjects=10)


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory):
    """A benchmark of which everything is trained and nothing drawn or judged."""
    out = tmp_path_factory.mktemp("benchmark") / "study"
    setting = make_setting(Plan.model_validate(PLAN), cohort, {}, out)
    fit_synthesizer(setting, 4, 3, "inpaint")
    score_arm(setting, 4, 3, "classical", 1)
    run = setting.folder(4, 3)
    for folder in (run / "cohorts", run / "selections" / "inpaint" / "drawn"):
        shutil.rmtree(folder)
    for file in (*run.glob("arms/*/results.csv"), run / "selections" / "inpaint" / "recommended.json"):
        file.unlink()
    shutil.rmtree(run / "arms" / "classical_1" / "predictions")
    return out


def on(cohort, trained, tmp_path, **training):
    """Return the setting of a copy of the benchmark with another machine."""
    out = shutil.copytree(trained, tmp_path / "study")
    plan = Plan.model_validate({**PLAN, "training": {**TRAINING, **training}})
    return make_setting(plan, cohort, {}, out)


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_candidates_judges_and_the_chosen_generator_go_to_the_device_of_the_run(
    cohort, trained, tmp_path, monkeypatch, device
):
    setting = on(cohort, trained, tmp_path, device=device)
    asked = pretend_cuda(monkeypatch)
    fit_synthesizer(setting, 4, 3, "inpaint")
    assert {to for _, to in asked} == {"cuda"}
    names = [name for name, _ in asked]
    generator = type(Pix2Pix.Config(channels=(4, 8)).generator(1, 1)).__name__
    assert names.count(generator) == 2 + 1
    assert names.count(GoogLeNet.__name__) == 4
    assert set(names) == {generator, GoogLeNet.__name__, "UNet"}


def test_an_arm_predicts_on_the_device_of_the_run(cohort, trained, tmp_path, monkeypatch):
    setting = on(cohort, trained, tmp_path, device="cuda")
    asked = pretend_cuda(monkeypatch)
    score_arm(setting, 4, 3, "classical", 1)
    assert [to for _, to in asked] == ["cuda"]


def test_on_a_cpu_everything_stays_there(cohort, trained, tmp_path, monkeypatch):
    setting = on(cohort, trained, tmp_path, device="cpu")
    asked = pretend_cuda(monkeypatch)
    fit_synthesizer(setting, 4, 3, "inpaint")
    score_arm(setting, 4, 3, "classical", 1)
    assert {to for _, to in asked} == {"cpu"}


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"device": "cuda"}, "cuda"),
        ({"device": "cuda", "workers": 2}, "cpu"),
        ({"device": "cuda", "devices": 2}, "cpu"),
        ({"device": "cpu"}, "cpu"),
    ],
)
def test_on_the_fly_lesions_are_drawn_on_the_device_unless_other_processes_draw_them(
    cohort, trained, tmp_path, monkeypatch, training, expected
):
    setting = on(cohort, trained, tmp_path, **training)
    setting_of_cpu = on(cohort, trained, tmp_path / "cpu")
    fit_synthesizer(setting_of_cpu, 4, 3, "inpaint")
    shutil.rmtree(setting.out)
    shutil.copytree(setting_of_cpu.out, setting.out)
    asked = pretend_cuda(monkeypatch)
    source = ingredients(setting, 4, 3, "on_the_fly").synthetic
    assert drawing_device(TrainingConfig(**training)) == expected
    assert [to for _, to in asked] == [expected]
    (network,) = networks_of(source.transform.transforms[0].model)
    assert isinstance(network, nn.Module)


def test_the_reports_pictures_are_drawn_on_the_device_of_the_run(cohort, trained, tmp_path, monkeypatch):
    setting = on(cohort, trained, tmp_path)
    fit_synthesizer(setting, 4, 3, "inpaint")
    plan = Plan.model_validate({**PLAN, "training": {**TRAINING, "device": "cuda"}})
    run = FinishedRun(setting=make_setting(plan, cohort, {}, setting.out), steps=1)
    asked = pretend_cuda(monkeypatch)
    assert side_by_side(run, pytest.fail) is not None
    assert {to for _, to in asked} == {"cuda"}
