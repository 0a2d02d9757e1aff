import json
import shutil

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from lesionforge.cohort.layouts import read_cohort
from tests.cli.commands import GAN, error, sets, typed

FAST = [
    "segmentor.filters=[4,8]",
    "segmentor_steps=2",
    "realism.steps=1",
    "realism.batch_size=2",
    "realism.width=0.06",
    "realism.side=32",
]


@pytest.fixture(scope="module")
def run(slices, tmp_path_factory):
    """A generator from label maps with two candidates, trained on the pool of two patients and a healthy one."""
    out = tmp_path_factory.mktemp("models") / "run"
    typed("train", "pix2pix", slices, "--out", out, "--steps", 2, "--condition", "label", "--role", "pool", *sets(GAN))
    tensors = load_file(out / "model.safetensors")
    for name in ("epoch_010", "epoch_020"):
        (out / "candidates").mkdir(exist_ok=True)
        save_file(tensors, out / "candidates" / f"{name}.safetensors")
    return out


def test_a_candidate_is_recommended_by_the_cases_that_the_generator_was_trained_on(run, slices, tmp_path):
    command = ["select", run, "--against", slices, "--out", tmp_path / "out", *sets(FAST)]
    shown = " ".join(typed(*command).output.split())
    facts = json.loads((tmp_path / "out" / "recommended.json").read_text())
    assert facts["recommended"] == "epoch_010"
    assert "recommended: epoch_010. Candidates are ranked by" in shown
    assert "note: realism was not judged: that takes 4 subjects, here are 2" in shown
    assert "sum of ranks" in shown
    drawn = read_cohort(tmp_path / "out" / "drawn" / "epoch_020")
    assert [case.source_case for case in drawn] == ["case_000", "case_001"]
    table = pd.read_csv(tmp_path / "out" / "candidates.csv")
    assert list(table["cohort"]) == ["epoch_010", "epoch_020", "real"]
    assert " ".join(typed(*command).output.split()) == shown


def test_others_may_be_chosen_and_a_given_segmentor_that_knows_more_is_told(run, slices, unet, tmp_path):
    options = ["--against", slices, "--role", "final", "--segmentor", unet, *sets(FAST)]
    shown = typed("select", run, "--out", tmp_path / "out", *options).output
    assert "2 subjects that the generator was not trained on took part: do not test on them" in shown
    assert "leak" not in shown
    pool = ["--against", slices, "--segmentor", unet, *sets(FAST)]
    assert "note: leak: the segmentation network" in typed("select", run, "--out", tmp_path / "pool", *pool).output


def test_errors_of_a_selection_are_one_line(run, gan, slices, volumes, tmp_path):
    out = ["--out", tmp_path / "out"]
    assert "gan: has no candidates to choose from" in error("select", gan, "--against", slices, *out)
    assert "is not a finished model folder" in error("select", tmp_path, "--against", slices, *out)
    assert "its lesion classes are not the model's" in error("select", run, "--against", volumes, *out)
    other = shutil.copytree(run, tmp_path / "other")
    facts = json.loads((run / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**facts, "training_cases": ["elsewhere"]}))
    assert f"holds no case that {other} was trained on" in error("select", other, "--against", slices, *out)
    wrong = error("select", run, "--against", slices, *out, "--set", "realism.side=8")
    assert "realism.side: input should be greater than or equal to 32" in wrong
    assert not (tmp_path / "out").exists()


def test_only_the_best_are_kept(gan, slices, tmp_path):
    options = ["--n", 4, "--min-volume", 10, "--masks", "bank"]
    kept = [*options, "--keep-best", 0.5, "--by", "sharpness"]
    assert "out: 2 cases" in typed("synthesize", gan, slices, "--out", tmp_path / "out", *kept).output
    assert len(read_cohort(tmp_path / "out")) == 2
    typed("synthesize", gan, slices, "--out", tmp_path / "all", *options)
    drawn, all_of_them = (read_cohort(tmp_path / name) for name in ("out/drawn", "all"))
    assert [case.case_id for case in drawn] == [case.case_id for case in all_of_them]
    wrong = error("synthesize", gan, slices, "--out", tmp_path / "no", *options, "--keep-best", 2)
    assert "--keep-best: 2 is no share" in wrong
    missing = ["--keep-best", 0.5, "--by", "segmentability"]
    assert "name one with --segmentor" in error("synthesize", gan, slices, "--out", tmp_path / "no", *options, *missing)
