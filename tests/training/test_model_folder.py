"""What a model folder holds, and what happens if it is damaged."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lesionforge.config import MethodConfig
from lesionforge.errors import ModelError
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training import model_folder
from lesionforge.training.model_folder import add_to_card, describe, model_card, read_info, read_tensors, save_model
from tests.training.runs import fit_pix2pix, fit_segmentation


class Config(MethodConfig):
    depth: int = 3


@pytest.fixture
def info(cohorts):
    return describe("made_up", Config(), Preprocessing(spatial_dims=2, channels=("FLAIR",)), cohorts[2])


@pytest.fixture
def folder(info, tmp_path):
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": torch.tensor(3), "c": torch.randn(4, requires_grad=True)}
    save_model(tmp_path / "model", info, tensors)
    return tmp_path / "model"


def refused(call, folder, *words):
    with pytest.raises(ModelError) as caught:
        call(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text
    for word in words:
        assert word in text


def test_what_is_saved_is_read(folder, info, cohorts):
    assert read_info(folder) == info
    tensors = read_tensors(folder)
    assert torch.equal(tensors["a"], torch.arange(6.0).reshape(2, 3).T)
    assert tensors["b"].item() == 3
    assert info.training_subjects == tuple(sorted(cohorts[2].subjects))
    assert info.training_cases == tuple(case.case_id for case in cohorts[2])
    assert info.classes == (1,)
    assert set(info.versions) >= {"lesionforge", "torch"}
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors", "model_card.md"]


def test_a_folder_without_json_is_no_model(folder, tmp_path):
    (folder / "model.json").unlink()
    refused(read_info, folder, "model.json", "finish its training")
    refused(read_info, tmp_path / "nowhere", "model.json")


@pytest.mark.parametrize("change", [{"schema_version": 2}, {"surprise": 1}, {"labels": "many"}, {"method": None}])
def test_json_of_another_version_is_refused(folder, change):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    refused(read_info, folder, "version")


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b"null"])
def test_what_is_no_json_is_refused(folder, content):
    (folder / "model.json").write_bytes(content)
    refused(read_info, folder)


@pytest.mark.parametrize("part", [0, 5, 60, 0.5, 0.99])
def test_truncated_weights_are_refused(folder, part):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: part if isinstance(part, int) else int(part * len(whole))])
    refused(read_tensors, folder)


def test_missing_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    refused(read_tensors, folder)


@pytest.mark.parametrize("method", ["pix2pix", "segmentation"])
def test_weights_that_do_not_fit_are_refused(method, cohorts, tmp_path):
    out = tmp_path / method
    fit, load = {
        "pix2pix": (fit_pix2pix, load_synthesizer),
        "segmentation": (fit_segmentation, SegmentationTask.load),
    }[method]
    fit(cohorts[2], out, 2, steps=1, accumulate=1)
    assert read_info(out).training["accumulate"] == 1
    before = load_file(out / "model.safetensors")
    save_model(out, read_info(out), dict(list(before.items())[1:]))
    refused(load, out)
    path = out / "model.json"
    content = json.loads(path.read_text())
    content["config"]["surprise"] = 1
    path.write_text(json.dumps(content))
    refused(load, out)


def test_the_card_says_what_it_was_fitted_on(info):
    simulated = info.model_copy(update={"simulated": True})
    for card, kind in ((model_card(info), "real"), (model_card(simulated), "simulated")):
        assert f"{len(info.training_cases)} {kind} cases" in card
        assert "depth=3" in card
        assert "FLAIR" in card
        assert "lesionforge audit" in card
        assert "anonym" not in card
        assert "not for diagnosis" in card


def test_sections_are_added_to_the_card_in_one_order_and_replaced_by_their_heading(folder):
    path = folder / "model_card.md"
    card = path.read_text()
    first, second = "## Audit of a\n\n### Copies\n\nnone\n", "## Audit of b\n\nthree\n"
    for section in (second, "## Audit of a\n\nold\n", first, second):
        add_to_card(folder, section)
    assert path.read_text() == f"{card}\n{first}\n{second}"


def test_a_cohort_is_simulated_if_every_case_is(cohorts, info):
    cases = [replace(case, origin="simulated") for case in cohorts[2]]
    pipeline = info.preprocessing
    assert describe("m", Config(), pipeline, cohorts[2].with_cases(cases)).simulated
    cases[0] = cohorts[2].cases[0]
    assert not describe("m", Config(), pipeline, cohorts[2].with_cases(cases)).simulated


def test_the_commit_of_a_checkout_is_recorded():
    root = Path(model_folder.__file__).parents[3]
    expected = 40 if (root / ".git").exists() else 0
    assert len(model_folder.git_revision()) == expected


def test_names_show_as_they_are_in_the_card(info):
    named = info.model_copy(
        update={
            "labels": {"background": 0, "<img src=x>": 1, "core | *edge*": 2},
            "preprocessing": info.preprocessing.model_copy(update={"channels": ("[T1](http://x)",)}),
        }
    )
    card = model_card(named)
    assert "<img" not in card
    assert "[T1](" not in card
    assert {line.replace("\\|", "").count("|") for line in card.splitlines() if line.startswith("|")} == {3}
