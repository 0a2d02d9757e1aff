import errno
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from lesionforge.cli import app, main
from lesionforge.cli.app import _stop, segment
from tests.cli.commands import error, typed

COMMANDS = [
    ["demo"],
    ["import"],
    ["simulate"],
    ["anatomy"],
    ["align"],
    ["match"],
    ["check"],
    ["show"],
    ["recommend"],
    ["train"],
    ["select"],
    ["synthesize"],
    ["edit"],
    ["audit"],
    ["heal"],
    ["export"],
    ["bundle"],
    ["segment", "train"],
    ["segment", "predict"],
    ["detect", "train"],
    ["detect", "predict"],
    ["nnunet", "train"],
    ["nnunet", "predict"],
    ["nnunet", "path"],
    ["evaluate"],
    ["score"],
    ["benchmark"],
    ["status"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(command):
    shown = " ".join(typed(*command, "--help").output.split())
    assert f"Example: lesionforge {' '.join(command)}" in shown


def test_the_package_is_a_command():
    command = [sys.executable, "-m", "lesionforge", "import", "nowhere", "--dry-run"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr[:15]) == (2, "error: nowhere:")


def test_the_version_is_told():
    assert typed("--version").output == f"lesionforge {version('lesionforge')}\n"


def test_every_command_is_tested_here():
    group = get_command(app)
    found = []
    for name, command in group.commands.items():
        below = getattr(command, "commands", None)
        found += [[name, inner] for inner in below] if below else [[name]]
    assert sorted(found) == sorted(COMMANDS)


@pytest.mark.parametrize("command", [[], ["segment"], ["nnunet"]])
def test_without_arguments_the_commands_are_listed(command):
    result = CliRunner().invoke(app, command)
    assert "Usage" in result.output
    assert "train" in result.output


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["check", "nowhere"], "nowhere: has no dataset.json"),
        (["show", "COHORT", "--channels", "T2"], "has no channel 'T2'"),
        (["train", "stylegan", "COHORT", "--out", "out"], "stylegan: is no method; choose from pix2pix"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "lamda=1"], "lamda: is no option; the options are"),
        (
            ["train", "pix2pix", "COHORT", "--out", "out", "--set", "optimiser.lr=1"],
            "optimiser.lr: is no option; the options are learning_rate",
        ),
        (
            ["train", "pix2pix", "COHORT", "--out", "out", "--set", "training.step=1"],
            "step: is no option; the options are steps",
        ),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "width=-1"], "width: input should be greater than 0"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "width"], "'width' is not KEY=VALUE"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "roi_size=[32"], "--set roi_size: is not YAML"),
        (
            ["train", "pix2pix", "COHORT", "--out", "out", "--set", "optimiser=1", "--set", "optimiser.beta1=0"],
            "'optimiser' is given both as a value and as a group",
        ),
        (["train", "pix2pix", "COHORT", "--out", "out", "--set", "training.seed=1"], "use --seed"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--time-budget", "soon"], "'soon' is not a duration"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--channels", "T2"], "has no channel 'T2'"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--role", "test"], "role test: is not in the roles file"),
        (["train", "carvemix", "VOLUMES", "--out", "out", "--role", "pool"], "roles.json: there is no such file"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--subjects", "many"], "--subjects: 'many' is not a number"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--subjects", "0.01"], "leaves 0 of them"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--subjects", "99"], "99 of 6 subjects"),
        (["train", "pix2pix", "COHORT", "--out", "out", "--cases", "nowhere.txt"], "nowhere.txt: there is no such"),
        (["segment", "train", "COHORT", "--out", "out", "--set", "roi_size=[50,50]"], "2 sides, each a multiple of 16"),
        (["segment", "train", "COHORT", "--out", "out", "--with", "nowhere"], "nowhere: has no dataset.json"),
        (["segment", "predict", "nowhere", "COHORT", "--out", "out"], "nowhere: is not a finished model folder"),
        (["segment", "predict", "GAN", "COHORT", "--out", "out"], "gan: is a model of pix2pix"),
        (["synthesize", "UNET", "COHORT", "--out", "out", "--n", "1"], "unet: is a model of segmentation"),
        (["synthesize", "GAN", "COHORT", "--out", "out", "--n", "1", "--masks", "blobs"], "unknown mask source"),
        (["synthesize", "GAN", "COHORT", "--out", "out", "--n", "1", "--masks", "files:no"], "no: there is no such"),
        (["synthesize", "GAN", "COHORT", "--out", "out", "--n", "1", "--blend", "full"], "use --blend lesion"),
        (["synthesize", "GAN", "VOLUMES", "--out", "out", "--n", "1"], "its lesion classes are not the model's"),
        (
            ["synthesize", "GAN", "COHORT", "--out", "out", "--n", "1", "--device", "cuda", "--workers", "2"],
            "other processes cannot use the CUDA device",
        ),
        (["evaluate", "nowhere", "COHORT"], "nowhere: there is no such folder"),
        (["benchmark", "nowhere.yaml", "--data", "COHORT", "--out", "out"], "nowhere.yaml: there is no such plan"),
        (["benchmark", "first", "--data", "COHORT", "--out", "out", "--set", "arm=best"], "'best' is not an arm"),
        (["benchmark", "first", "--data", "COHORT", "--out", "out", "--scale", "x"], "first.yaml: has no scale 'x'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, what, slices, volumes, gan, unet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {"COHORT": slices, "VOLUMES": volumes, "GAN": gan, "UNET": unet}
    assert what in error(*(known.get(argument, argument) for argument in arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ["import", "COHORT", "full", "--layout", "nnunet"],
        ["check", "COHORT", "--out", "full"],
        ["train", "pix2pix", "COHORT", "--out", "full"],
        ["train", "carvemix", "COHORT", "--out", "full"],
        ["synthesize", "GAN", "COHORT", "--out", "full", "--n", "1"],
        ["segment", "train", "COHORT", "--out", "full"],
        ["segment", "predict", "UNET", "COHORT", "--out", "full"],
        ["benchmark", "PLAN", "--data", "COHORT", "--out", "full"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_folder_that_is_not_empty_is_not_written_into(arguments, slices, gan, unet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "plan.yaml").write_text(
        "{arms: {real: {}}, baseline: real, subjects: {train: 0.4, development: 0.2, test: 0.4, numbers: [1]}}"
    )
    known = {"COHORT": slices, "GAN": gan, "UNET": unet, "PLAN": "plan.yaml"}
    message = error(*(known.get(argument, argument) for argument in arguments))
    assert "full: the output folder is not empty; name a new folder" in message
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_an_empty_cohort_is_refused(slices, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    shutil.copy(slices / "dataset.json", tmp_path / "empty")
    (tmp_path / "empty" / "imagesTr").mkdir()
    for command in (["check"], ["show"], ["train", "carvemix"], ["segment", "train"]):
        out = ["--out", "out"] if len(command) > 1 else []
        assert "empty: holds no usable case; put images into imagesTr" in error(*command, "empty", *out)


@pytest.mark.parametrize("where", [0, 1, -1])
def test_debug_shows_the_traceback_wherever_it_stands(where, monkeypatch, capsys):
    arguments = ["check", "nowhere"]
    arguments.insert(len(arguments) if where == -1 else where, "--debug")
    monkeypatch.setattr(sys, "argv", ["lesionforge", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "error: nowhere: has no dataset.json" in shown


def test_a_place_that_cannot_be_written_is_named(slices, tmp_path):
    (tmp_path / "file").write_text("")
    message = error("show", slices, "--out", tmp_path / "file" / "sheet.png")
    assert str(tmp_path / "file") in message


def test_brackets_in_names_are_shown(slices, tmp_path):
    out = tmp_path / "[red]sheet[/red].png"
    assert out.name in typed("show", slices, "--out", out).output
    assert "[red]nowhere[/red]: has no dataset.json" in error("check", "[red]nowhere[/red]")


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        (["train", "pix2pix", "c", "--out", "o"], "with --resume continues from the last checkpoint"),
        (["segment", "train", "c", "--out", "o"], "segment train: add --resume if there is a checkpoint"),
        (["synthesize", "m", "c", "--out", "o", "--n", "1"], "the same command continues where it stopped"),
        (["benchmark", "demo", "--data", "c", "--out", "o"], "the same command continues where it stopped"),
        (["demo", "--out", "o"], "the same command continues where it stopped"),
        (["check", "c"], "stopped\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_ctrl_c_says_how_to_go_on(slices, tmp_path, monkeypatch, command, remedy):
    shutil.copytree(slices, tmp_path / "c")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.json").write_text("{}")
    monkeypatch.chdir(tmp_path)

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    for first in (
        "cohort.layouts.read_cohort",
        "cohort.inspection.checks.check_folder",
        "synthesizers.registry.load_synthesizer",
        "benchmark.demo.make_template_cohort",
    ):
        monkeypatch.setattr(f"lesionforge.{first}", stop)
    result = typed(*command, code=130)
    assert remedy in result.stderr


def test_a_reader_that_goes_away_is_no_error(slices, monkeypatch):
    def broken_pipe(*args, **kwargs):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("lesionforge.cohort.inspection.checks.check_folder", broken_pipe)
    assert typed("check", slices, code=1).stderr == ""


def test_exit_codes_reach_the_shell(tmp_path):
    command = [sys.executable, "-m", "lesionforge.cli", "check", str(tmp_path)]
    code = "import sys; from lesionforge.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", code, *command[3:]], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "has no dataset.json" in result.stderr


def test_every_path_to_read_is_looked_at_before_a_command_begins():
    needs_no_torch = {"import", "simulate", "anatomy", "evaluate", "export", "status"}
    for command in (*app.registered_commands, *segment.registered_commands):
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            kind, *more = get_args(hint) or (None,)
            is_path = kind is Path or Path in get_args(kind)
            if is_path and name != "out" and command.name not in needs_no_torch:
                assert more[0].callback is not None, f"{command.name}: {name}"


@pytest.mark.parametrize(
    "command",
    [
        ["train", "pix2pix", "nowhere", "--out", "o"],
        ["train", "pix2pix", "SLICES", "--cases", "nowhere.txt", "--out", "o"],
        ["synthesize", "nowhere", "nowhere", "--out", "o"],
        ["heal", "nowhere", "nowhere", "--out", "o"],
        ["segment", "train", "nowhere", "--out", "o"],
        ["score", "nowhere", "--against", "nowhere"],
        ["benchmark", "nowhere.yaml", "--data", "nowhere", "--out", "o"],
        ["benchmark", "first", "--scale", "nowhere", "--data", "SLICES", "--out", "o"],
    ],
    ids=" ".join,
)
def test_what_is_not_there_is_told_before_torch_is_imported(command, slices):
    arguments = [str(slices) if word == "SLICES" else word for word in command]
    code = "import sys\nfrom lesionforge.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "nowhere" in result.stderr
    assert result.stdout.strip() == "False"


def test_sigterm_ends_the_worker_processes_that_a_terminal_would_have_interrupted():
    worker = get_context("spawn").Process(target=time.sleep, args=(600,))
    worker.start()
    with pytest.raises(KeyboardInterrupt):
        _stop()
    worker.join(20)
    assert worker.exitcode == -signal.SIGTERM
