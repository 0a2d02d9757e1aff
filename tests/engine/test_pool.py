"""A pool of processes: order, errors, and what happens when it is left."""

import time
from threading import Timer

import pytest

from lesionforge.engine.pool import Pool
from lesionforge.errors import ConfigError


def refuse(number):
    raise ConfigError("number", str(number), "take another")


@pytest.mark.slow
def test_jobs_in_other_processes_answer_in_order_and_fail_as_here():
    with Pool(2, threads=1) as run_there:
        assert list(run_there(divmod, [(n, 3) for n in range(7)])) == [divmod(n, 3) for n in range(7)]
        with pytest.raises(ConfigError, match="number: 5; take another"):
            list(run_there(refuse, [(5,)]))


def write_once_allowed(path):
    """The first job ends at once, the others when the file ``go`` is there."""
    while path.name != "0" and not (path.parent / "go").exists():
        time.sleep(0.05)
    path.touch()


def take_one_and_leave(jobs, go):
    with Pool(2, threads=1) as run_there:
        next(run_there(write_once_allowed, jobs))
        Timer(2, go.touch).start()
        raise KeyboardInterrupt


@pytest.mark.slow
def test_no_job_begins_once_the_pool_is_left(tmp_path):
    """Two others run by then at most, one in each worker."""
    with pytest.raises(KeyboardInterrupt):
        take_one_and_leave([(tmp_path / str(number),) for number in range(6)], tmp_path / "go")
    assert {path.name for path in tmp_path.iterdir()} <= {"go", "0", "1", "2"}
