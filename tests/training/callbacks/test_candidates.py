"""Generators that are kept while training goes on, and loaded afterwards."""

import pytest
from safetensors.torch import load_file

from lesionforge.errors import ConfigError, ModelError
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.training import loop
from lesionforge.training.callbacks.candidates import candidate_steps
from lesionforge.training.model_folder import list_candidates
from tests.synthesizers.models import ball_mask, make_sample
from tests.training.runs import METHODS, fit_pix2pix, interrupt, same, training
from tests.training.test_loop import Clock

LCGAN = {"network": "lcgan", "condition": "label", "lesion_share": 1, "roi_size": (24, 24), "width": 0.125}
NAMES = ("epoch_001", "epoch_002", "epoch_004")
STEPS = (2, 3, 6)
"""For three lesion slices, two of them to a step."""


def fit_lcgan(cohort, out, *, candidates=(1, 2, 4), candidates_in="epochs", config=None, **options):
    config = {**LCGAN, "candidates": candidates, "candidates_in": candidates_in, **(config or {})}
    return fit_pix2pix(cohort, out, 2, config=config, **{"accumulate": 1, "steps": 99, **options})


@pytest.fixture(scope="module")
def folder(cohorts, tmp_path_factory):
    """A finished run with three candidates."""
    out = tmp_path_factory.mktemp("candidates") / "model"
    fit_lcgan(cohorts[2], out)
    return out


def weights(out, name):
    return load_file(out / "candidates" / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"batch_size": 1, "accumulate": 1}, (7, 70)),
        ({"batch_size": 2, "accumulate": 1}, (4, 35)),
        ({"batch_size": 2, "accumulate": 2}, (2, 18)),
        ({"batch_size": 2, "accumulate": 1, "devices": 3}, (2, 12)),
    ],
)
def test_an_epoch_ends_with_the_step_that_draws_its_last_item(options, steps):
    names = {"epoch_001": steps[0], "epoch_010": steps[1]}
    assert candidate_steps((1, 10), 7, training(**options)) == names


def test_a_candidate_is_the_model_of_a_run_that_ends_there(folder, cohorts, tmp_path):
    assert list_candidates(folder) == NAMES
    fit_lcgan(cohorts[2], tmp_path / "alone", candidates=(), steps=STEPS[1])
    assert same(weights(folder, NAMES[1]), load_file(tmp_path / "alone" / "model.safetensors"))
    assert not list_candidates(tmp_path / "alone")
    assert all((folder / "candidates" / f"{name}.png").stat().st_size > 1000 for name in NAMES)


def test_training_ends_with_the_last_candidate(folder):
    model = load_synthesizer(folder)
    assert model.info.training["steps"] == STEPS[-1]
    assert same(weights(folder, NAMES[-1]), model.tensors())


def test_accumulated_batches_make_one_step(cohorts, tmp_path):
    kept, alone = tmp_path / "kept", tmp_path / "alone"
    fit_lcgan(cohorts[2], kept, candidates=(2, 4), accumulate=2)
    fit_lcgan(cohorts[2], alone, candidates=(), steps=2, accumulate=2)
    assert same(weights(kept, "epoch_002"), load_file(alone / "model.safetensors"))


@pytest.mark.parametrize("place", [{"epoch": 2}, {"epoch": 1, "batch": 1}], ids=["between epochs", "within one"])
def test_a_killed_run_keeps_its_candidates_and_ends_with_the_same_ones(place, folder, cohorts, tmp_path, monkeypatch):
    out = tmp_path / "killed"
    interrupt(monkeypatch, lambda: fit_lcgan(cohorts[2], out), **place)
    assert list_candidates(out) == NAMES[:2]
    first = out / "candidates" / f"{NAMES[0]}.safetensors"
    written = first.stat().st_mtime_ns
    assert same(weights(out, NAMES[0]), weights(folder, NAMES[0]))
    fit_lcgan(cohorts[2], out, resume=True)
    assert first.stat().st_mtime_ns == written
    assert list_candidates(out) == NAMES
    for name in (*(f"candidates/{name}.safetensors" for name in NAMES), "model.safetensors", "model.json"):
        assert (out / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_time_budget_keeps_those_that_were_reached(cohorts, tmp_path, monkeypatch):
    callbacks = loop._callbacks
    monkeypatch.setattr(loop, "_callbacks", lambda *args: [Clock(), *callbacks(*args)])
    fit_lcgan(cohorts[2], tmp_path / "run", candidates=(1, 2, 100), time_budget=150.0)
    assert list_candidates(tmp_path / "run") == NAMES[:2]


@pytest.mark.parametrize("method", ["spade", "cyclegan"])
def test_other_generators_are_kept_alike(method, cohorts, tmp_path):
    METHODS[method](cohorts[2], tmp_path / "run", 2, accumulate=1, config={"candidates": (1,)})
    assert list_candidates(tmp_path / "run") == NAMES[:1]
    tensors = load_synthesizer(tmp_path / "run", candidate=NAMES[0]).tensors()
    assert same(tensors, load_synthesizer(tmp_path / "run").tensors())


def test_each_candidate_draws_otherwise_and_says_which_it_is(folder):
    sample, mask = make_sample((24, 24)), ball_mask((24, 24), (12, 12), 4)
    models = [load_synthesizer(folder, candidate=name) for name in NAMES]
    drawn = [model.synthesize(sample, mask, generator(0)).image for model in models]
    assert len({image.tobytes() for image in drawn}) == len(NAMES)
    assert [model.info.training["candidate"] for model in models] == list(NAMES)
    assert "candidate" not in load_synthesizer(folder).info.training


def test_candidates_may_be_counted_in_steps(cohorts, tmp_path):
    fit_lcgan(cohorts[2], tmp_path / "run", candidates=(2, 3), candidates_in="steps", steps=99)
    assert list_candidates(tmp_path / "run") == ("step_0002", "step_0003")
    assert load_synthesizer(tmp_path / "run").info.training["steps"] == 3


def test_candidates_are_listed_by_epoch(tmp_path):
    for name in ("epoch_1000", "epoch_200", "epoch_010", ".7.partial.epoch_300"):
        (tmp_path / "candidates").mkdir(exist_ok=True)
        (tmp_path / "candidates" / f"{name}.safetensors").write_bytes(b"")
    assert list_candidates(tmp_path) == ("epoch_010", "epoch_200", "epoch_1000")


def test_a_candidate_that_is_not_there_is_told_in_one_line(folder, cohorts, tmp_path):
    fit_pix2pix(cohorts[2], tmp_path / "none", 2, steps=1)
    for out, name, told in (
        (tmp_path / "none", NAMES[0], "candidates=[10,50]"),
        (folder, "epoch_003", ", ".join(NAMES)),
        (folder, "../model", "choose from"),
    ):
        with pytest.raises(ModelError, match=f"has no candidate {name}") as caught:
            load_synthesizer(out, candidate=name)
        assert told in str(caught.value)
        assert str(out) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_damaged_candidate_is_told_in_one_line(folder, tmp_path):
    path = folder / "candidates" / f"{NAMES[1]}.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    try:
        with pytest.raises(ModelError, match=r"epoch_002\.safetensors") as caught:
            load_synthesizer(folder, candidate=NAMES[1])
    finally:
        path.write_bytes(whole)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [(0,), (10, -1), ("ten",)])
def test_epochs_that_are_none_are_refused(wrong, cohorts, tmp_path):
    with pytest.raises(ConfigError, match="candidates") as caught:
        fit_lcgan(cohorts[2], tmp_path / "run", candidates=wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_further_steps_of_the_critic_are_no_steps_of_the_run(cohorts, tmp_path):
    kept, alone, config = tmp_path / "kept", tmp_path / "alone", {"optimiser": {"n_critic": 2}}
    for out, options in ((kept, {"candidates": (2, 3), "steps": 99}), (alone, {"candidates": (), "steps": 2})):
        fit_lcgan(cohorts[2], out, candidates_in="steps", accumulate=2, config=config, **options)
    assert list_candidates(kept) == ("step_0002", "step_0003")
    assert same(weights(kept, "step_0002"), load_file(alone / "model.safetensors"))
