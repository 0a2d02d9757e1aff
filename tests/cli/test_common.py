import pytest

from lesionforge.cli.common import Device, parse_duration, parse_settings, progress_bar
from lesionforge.cli.models import training_options
from lesionforge.errors import ConfigError
from tests.cli.commands import typed


def test_settings_are_nested_and_those_of_the_training_apart():
    settings = ["lambda_l1 = 3", "optimiser.beta1=0", "optimiser.beta2=0.9", "training.steps=5", "roi_size=[8, 8]"]
    method, training = parse_settings(settings)
    assert method == {"lambda_l1": 3, "optimiser": {"beta1": 0, "beta2": 0.9}, "roi_size": [8, 8]}
    assert training == {"steps": 5}


def test_a_setting_of_the_training_needs_a_name():
    with pytest.raises(ConfigError, match="'training' is a group"):
        parse_settings(["training=5"])


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_durations_are_seconds_minutes_or_hours(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "m", "-1s", "1h30m", "1d"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ConfigError, match="is not a duration"):
        parse_duration(text)


def test_a_time_budget_leaves_the_steps_that_were_asked_for():
    machine = {"seed": 1, "device": Device.CPU, "workers": 0}
    both = training_options({}, steps=2, time_budget="1m", **machine)
    assert (both["steps"], both["time_budget"]) == (2, 60)
    budget = training_options({}, steps=None, time_budget="1m", **machine)
    assert budget["steps"] > 1_000_000
    assert "steps" not in training_options({}, steps=None, time_budget=None, **machine)


def test_progress_is_told_in_lines_where_there_is_no_terminal(slices, monkeypatch):
    monkeypatch.setattr("lesionforge.progress.SECONDS", 0.0)
    lines = typed("check", slices).stderr.splitlines()
    assert lines == [f"checking: {done} of 6" for done in range(1, 7)]


def test_a_bar_on_a_terminal_shows_how_much_is_done(monkeypatch, capsys):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("checking") as move:
        move(2, 5)
    assert "2/5" in capsys.readouterr().err
