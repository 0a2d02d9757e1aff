"""Every command that draws or changes many cases runs its jobs where the options say."""

import pytest

import lesionforge.production.keep_best  # noqa: F401  imported before its functions are replaced
from lesionforge.engine.dask import DaskEngine
from lesionforge.engine.local import LocalEngine
from lesionforge.errors import ConfigError
from tests.cli.commands import error
from tests.helpers import tiny_cohort

COMMANDS = {
    "synthesize": ("lesionforge.production.synthesize.synthesize_cohort", ["GAN", "COHORT", "--out", "out"]),
    "select": ("lesionforge.production.select.select_candidates", ["GAN", "--against", "COHORT", "--out", "out"]),
    "match": ("lesionforge.production.match.match_cohort", ["HEALTHY", "out", "--to", "COHORT"]),
}


@pytest.fixture
def run(gan, slices, tmp_path, monkeypatch):
    """Return a function that starts a command and returns the engine that its work was given."""
    tiny_cohort(tmp_path / "healthy", spatial_dims=2, n_healthy=4)
    known = {"COHORT": slices, "GAN": gan, "HEALTHY": tmp_path / "healthy"}
    monkeypatch.chdir(tmp_path)

    def start(command, *options):
        asked, (work, arguments) = [], COMMANDS[command]

        def stop(*_, engine, **__):
            asked.append(engine)
            raise ConfigError("the test", "has seen enough", "stop here")

        monkeypatch.setattr(work, stop)
        said = error(command, *(known.get(argument, argument) for argument in arguments), *options)
        return asked[0] if asked else said

    return start


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "kind", "workers", "scheduler"),
    [
        ([], LocalEngine, 1, None),
        (["--workers", 3], LocalEngine, 3, None),
        (["--engine", "dask", "--workers", 2], DaskEngine, 2, None),
        (["--engine", "dask", "--scheduler", "tcp://n:1"], DaskEngine, 1, "tcp://n:1"),
    ],
)
def test_jobs_run_where_the_options_say(run, command, options, kind, workers, scheduler):
    engine = run(command, *options)
    assert (type(engine), engine.workers, getattr(engine, "scheduler", None)) == (kind, workers, scheduler)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_scheduler_is_dasks(run, command):
    assert "add --engine dask" in run(command, "--scheduler", "tcp://n:1")
