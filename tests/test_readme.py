"""What the README and the docs show works: the Python runs, commands, plans and links exist."""

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from lesionforge.cli import app
from tests.helpers import tiny_cohort

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
SHORTER = {
    "steps=3000": "steps=2",
    "n=200": "n=2",
    "config=SegmentationConfig()": "config=SegmentationConfig(filters=(4, 8))",
}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.filterwarnings("ignore")
def test_the_python_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    """Run on a tiny simulated cohort, with fewer steps and cases and a smaller network, else as it stands."""
    tiny_cohort(tmp_path / "Dataset001_WMH", spatial_dims=3, n_subjects=6, anatomy=True)
    monkeypatch.chdir(tmp_path)
    script = "\n".join(blocks(ROOT / "README.md", "python"))
    for long, short in SHORTER.items():
        assert script.count(long) == 1
        script = script.replace(long, short)
    space = {}
    exec(compile(script, "README.md", "exec"), space)
    assert 0 <= float(capsys.readouterr().out.split()[-1]) <= 1
    assert len(list((tmp_path / "Dataset101_WMHSynthetic" / "imagesTr").iterdir())) == 2
    assert len(list((tmp_path / "nnUNet_raw" / "Dataset201_WMHMixed" / "labelsTr").iterdir())) == 6 + 2
    (fold,) = json.loads((tmp_path / "nnUNet_raw" / "Dataset201_WMHMixed" / "splits_final.json").read_text())
    assert (len(fold["train"]), len(fold["val"])) == (4 + 2, 2)
    item = space["dataset"][0]
    assert set(item) == {"image", "label"}
    assert item["image"].shape == item["label"].shape == (1, 32, 32, 16)


def commands(page):
    """Return the ``lesionforge`` lines of a page's shell blocks, comments and continuations removed."""
    text = "\n".join(blocks(page, "sh")).replace("\\\n", " ")
    return [shlex.split(line, comments=True)[1:] for line in text.splitlines() if line.startswith("lesionforge ")]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_and_option_exists(page, monkeypatch):
    """Parsing checks names, choices and required arguments; nothing is run, and the folders need not be there."""
    monkeypatch.setattr("lesionforge.cohort.layouts.dataset_json.read_dataset_json", lambda folder: None)
    monkeypatch.setattr("lesionforge.training.model_file.model_file", lambda folder: None)
    monkeypatch.setattr("lesionforge.cli.common.read_text", lambda file, **_: "")
    monkeypatch.setattr("pathlib.Path.is_dir", lambda folder: True)
    root = typer.main.get_command(app)
    for words in commands(page):
        command = root
        while hasattr(command, "commands") and words != ["--help"]:
            assert words[0] in command.commands, words
            command = command.commands[words.pop(0)]
        if words != ["--help"]:
            command.make_context(command.name, words)


def test_the_readme_shows_commands():
    assert len(commands(ROOT / "README.md")) >= 6


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_plan_is_valid(page):
    from lesionforge.benchmark.plan import Plan

    for text in blocks(page, "yaml"):
        content = yaml.safe_load(text)
        if "arms" in content:
            assert Plan.model_validate(content).arms


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_scores_page_states_the_rules_as_reports_do():
    from lesionforge.scores.predictions.prediction_scores import EMPTY_MASK_RULE, HIT_RULE

    text = (ROOT / "docs" / "reading-the-scores.md").read_text(encoding="utf-8")
    assert EMPTY_MASK_RULE in text
    assert HIT_RULE in text


def test_the_lists_of_scores_are_those_of_the_code():
    script = ROOT / "docs" / "make_score_lists.py"
    lists = runpy.run_path(str(script))
    page = lists["PAGE"].read_text(encoding="utf-8")
    assert set(lists["FAMILIES"]) == set(re.findall(r"<!-- scores of ([\w ]+),", page))
    assert lists["current"](page) == page, "the lists of scores are not current: run python docs/make_score_lists.py"


def test_pictures_are_small_and_shown():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert pictures
    for picture in pictures:
        assert picture.suffix == ".png"
        assert picture.stat().st_size < 150_000
        assert picture.name in text
