"""Whatever draws or judges in a benchmark lies on the device of the run."""

import shutil

import pytest
from torch import nn

from lesionforge.benchmark.arm_plan import MaskGeneratorPlan
from lesionforge.benchmark.arms.arm_jobs import draw_offline, fit_mask_generator, fit_synthesizer, score_test, train
from lesionforge.benchmark.arms.chosen_generator import choose
from lesionforge.benchmark.arms.finished import FinishedRun
from lesionforge.benchmark.arms.ingredients import drawing_device, ingredients
from lesionforge.benchmark.arms.judged import _network
from lesionforge.benchmark.arms.repeats import make_arms
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.report.figures.drawn import side_by_side
from lesionforge.masks import MaskGAN
from lesionforge.networks.googlenet import GoogLeNet
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.training.loop import TrainingConfig
from tests.devices import networks_of, pretend_cuda
from tests.helpers import tiny_cohort

TRAINING = {"steps": 1, "batch_size": 2, "epoch_steps": 1, "device": "cpu", "preview_minutes": None}
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
    repeat = make_arms(Plan.model_validate(PLAN), cohort, {}, out).repeat(4, 3)
    fit_synthesizer(repeat, "inpaint")
    choose(repeat, "inpaint")
    train(repeat.training("classical", 1))
    shutil.rmtree(repeat.selection_folder("inpaint") / "drawn")
    (repeat.selection_folder("inpaint") / "recommended.json").unlink()
    return out


def on(cohort, trained, tmp_path, **training):
    """Return the repeat of a copy of the benchmark with another machine."""
    out = shutil.copytree(trained, tmp_path / "study")
    plan = Plan.model_validate({**PLAN, "training": {**TRAINING, **training}})
    return make_arms(plan, cohort, {}, out).repeat(4, 3)


def draw(repeat):
    """Judge the candidates, and draw with the one that is chosen."""
    choose(repeat, "inpaint")
    draw_offline(repeat, "inpaint")


@pytest.mark.parametrize(
    ("of_run", "own", "device"), [("cpu", "auto", "cpu"), ("cuda", "auto", "cuda"), ("cuda", "cpu", "cpu")]
)
def test_generators_are_trained_on_the_device_of_the_run_unless_they_name_their_own(
    cohort, trained, tmp_path, monkeypatch, of_run, own, device
):
    repeat, asked = on(cohort, trained, tmp_path, device=of_run), []
    record = classmethod(lambda cls, *args, training, **options: asked.append((training.device, training.seed)))
    monkeypatch.setattr(Pix2Pix, "fit", record)
    monkeypatch.setattr(MaskGAN, "fit", record)
    named = {"training": TrainingConfig(steps=1, device=own)}
    repeat.plan.synthesizers["inpaint"] = repeat.plan.synthesizers["inpaint"].model_copy(update=named)
    repeat.plan.mask_generators["masks"] = MaskGeneratorPlan(**named)
    fit_synthesizer(repeat, "inpaint")
    fit_mask_generator(repeat, "masks")
    assert asked == [(device, 3), (device, 3)]


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_candidates_judges_and_the_chosen_generator_go_to_the_device_of_the_run(
    cohort, trained, tmp_path, monkeypatch, device
):
    repeat = on(cohort, trained, tmp_path, device=device)
    asked = pretend_cuda(monkeypatch)
    draw(repeat)
    assert {to for _, to in asked} == {"cuda"}
    names = [name for name, _ in asked]
    generator = type(Pix2Pix.Config(channels=(4, 8)).generator(1, 1)).__name__
    assert names.count(generator) == 2 + 1
    assert names.count(GoogLeNet.__name__) == 4
    assert set(names) == {generator, GoogLeNet.__name__, "UNet"}


def test_an_arm_predicts_on_the_device_of_the_run(cohort, trained, tmp_path, monkeypatch):
    repeat = on(cohort, trained, tmp_path, device="cuda")
    asked = pretend_cuda(monkeypatch)
    score_test(repeat.training("classical", 1))
    assert [to for _, to in asked] == ["cuda"]


def test_a_network_that_judges_drawings_goes_to_the_device_of_the_run(cohort, trained, tmp_path, monkeypatch):
    repeat = on(cohort, trained, tmp_path, device="cuda")
    shutil.copytree(repeat.training("classical", 1).folder, repeat.judged_folder("inpaint") / "segmentor0")
    asked = pretend_cuda(monkeypatch)
    _network(repeat, "inpaint", 0, cohort)
    assert asked == [("UNet", "cuda")]


def test_on_a_cpu_everything_stays_there(cohort, trained, tmp_path, monkeypatch):
    repeat = on(cohort, trained, tmp_path, device="cpu")
    asked = pretend_cuda(monkeypatch)
    draw(repeat)
    score_test(repeat.training("classical", 1))
    assert {to for _, to in asked} == {"cpu"}


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"device": "cuda"}, "cuda"),
        ({"device": "cuda", "workers": 2}, "cpu"),
        ({"device": "cuda", "devices": 2}, "cpu"),
        ({"device": "cpu", "preview_minutes": None}, "cpu"),
    ],
)
def test_on_the_fly_lesions_are_drawn_on_the_device_unless_other_processes_draw_them(
    cohort, trained, tmp_path, monkeypatch, training, expected
):
    choose(on(cohort, trained, tmp_path / "cpu"), "inpaint")
    repeat = on(cohort, tmp_path / "cpu" / "study", tmp_path, **training)
    asked = pretend_cuda(monkeypatch)
    source = ingredients(repeat.training("on_the_fly", 1)).synthetic
    assert drawing_device(TrainingConfig(**training)) == expected
    assert [to for _, to in asked] == [expected]
    (network,) = networks_of(source.transform.transforms[0].model)
    assert isinstance(network, nn.Module)


def test_the_reports_pictures_are_drawn_on_the_device_of_the_run(cohort, trained, tmp_path, monkeypatch):
    repeat = on(cohort, trained, tmp_path)
    draw(repeat)
    plan = Plan.model_validate({**PLAN, "training": {**TRAINING, "device": "cuda"}})
    run = FinishedRun(make_arms(plan, cohort, {}, repeat.study.out), steps=1)
    asked = pretend_cuda(monkeypatch)
    assert side_by_side(run, pytest.fail) is not None
    assert {to for _, to in asked} == {"cuda"}
