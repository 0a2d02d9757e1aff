"""The same table from Dask workers, one of which is killed on the way."""

import os
import signal
import threading
import time

import pytest

from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.progress_file import status
from lesionforge.benchmark.run import run_benchmark
from lesionforge.engine.dask import DaskEngine
from lesionforge.engine.job import Job
from lesionforge.engine.local import LocalEngine
from lesionforge.errors import ConfigError, WorkerError
from lesionforge.masks import MaskBank
from tests.helpers import tiny_cohort
from tests.synthesizers.folders import contents, synthesize
from tests.synthesizers.models import untrained_pix2pix

pytest.importorskip("distributed")
pytestmark = pytest.mark.slow

PLAN = {
    "channels": ["FLAIR"],
    "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [2, 4]},
    "task": {"filters": [4, 8], "res_units": 0, "roi_size": [32, 32]},
    "training": {"steps": 2, "batch_size": 2, "epoch_steps": 2},
    "seeds": [0, 1],
    "synthesizers": {"paste": {"method": "copy_paste", "cases": 2, "min_volume": 20.0}},
    "arms": {"real": {}, "pasted": {"synthesizer": "paste", "use": "offline"}},
    "baseline": "real",
    "arm": "pasted",
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return tiny_cohort(tmp_path_factory.mktemp("data") / "cohort", spatial_dims=2, n_subjects=12)


def write(product, text, *, die_once=None):
    """Write a file; with ``die_once`` the first process that comes here is killed, as by the kernel."""
    if die_once is not None and not die_once.exists():
        die_once.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    product.write_text(text)
    return f"{product.name}: written"


def fail(product):
    raise ConfigError(product, "is wrong", "correct it")


def test_a_small_benchmark_has_the_local_engines_table_though_a_worker_is_killed(cohort, tmp_path):
    plan = Plan.model_validate(PLAN)
    run_benchmark(plan, cohort, out=tmp_path / "local", engine=LocalEngine())
    killed = []

    def kill_a_worker():
        import psutil

        while not any((tmp_path / "dask").glob("runs/*/*/arms/*/model.json")):
            time.sleep(0.05)
        workers = [one for one in psutil.Process().children(recursive=True) if one.cpu_times().user > 1]
        workers[-1].kill()
        killed.append(workers[-1].pid)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    run_benchmark(plan, cohort, out=tmp_path / "dask", engine=DaskEngine(workers=2))
    killer.join()
    assert killed
    for table in ("results.csv", "summary.csv", "reference.csv"):
        assert (tmp_path / "dask" / table).read_bytes() == (tmp_path / "local" / table).read_bytes()
    assert set(status(tmp_path / "dask")["state"]) == {"done"}


def test_a_job_whose_worker_is_killed_is_repeated_and_the_others_go_on(tmp_path):
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    jobs = [
        Job(name="first", product=first, function=write_after_a_death, arguments=(first, tmp_path / "died")),
        Job(name="second", product=second, function=write, arguments=(second, "b"), needs=("first",)),
    ]
    DaskEngine(workers=2).run(lambda: jobs)
    assert (first.read_text(), second.read_text()) == ("a", "b")


def write_after_a_death(product, mark):
    return write(product, "a", die_once=mark)


def test_a_job_that_kills_every_worker_is_reported_and_the_others_go_on(tmp_path):
    lost, other = tmp_path / "lost.txt", tmp_path / "other.txt"
    jobs = [
        Job(name="lost", product=lost, function=die),
        Job(name="other", product=other, function=write, arguments=(other, "b")),
    ]
    with pytest.raises(WorkerError, match="lost was killed"):
        DaskEngine(workers=2).run(lambda: jobs)
    assert other.read_text() == "b"


def die():
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def test_a_cohort_is_drawn_as_in_this_process(tmp_path):
    """Each worker receives the model and the masks once."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2)
    model, masks = untrained_pix2pix(cohort), MaskBank(cohort)
    for name, engine in {"here": None, "dask": DaskEngine(workers=2)}.items():
        synthesize(model, cohort, masks, tmp_path / name, n=5, engine=engine)
    assert contents(tmp_path / "dask") == contents(tmp_path / "here")


@pytest.mark.parametrize("workers", [1, 2])
def test_what_jobs_share_outlives_the_worker_that_holds_it(workers, tmp_path):
    jobs = [
        Job(name=name, product=tmp_path / name, function=write_shared, arguments=(tmp_path / name, mark))
        for name, mark in {"first": tmp_path / "died", "second": None, "third": None}.items()
    ]
    DaskEngine(workers=workers).run(lambda: jobs, shared=("common",))
    assert {job.product.read_text() for job in jobs} == {"common"}


def write_shared(shared, product, mark):
    return write(product, shared, die_once=mark)


def test_an_error_of_ours_arrives_as_itself(tmp_path):
    jobs = [Job(name="bad", product=tmp_path / "bad", function=fail, arguments=(tmp_path / "bad",))]
    with pytest.raises(ConfigError, match="is wrong"):
        DaskEngine(workers=1).run(lambda: jobs)


def test_a_scheduler_that_is_not_there_is_one_line():
    with pytest.raises(ConfigError, match="cannot be reached"), DaskEngine("tcp://127.0.0.1:9").session():
        pass
