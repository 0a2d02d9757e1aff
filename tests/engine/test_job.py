"""Which jobs can begin."""

import pickle

import pytest

from lesionforge.engine.job import ready
from tests.engine.work import job, write


@pytest.fixture
def jobs(tmp_path):
    """Two that need nothing, one that needs both, one that needs that one."""
    return [
        job(tmp_path, "a", write),
        job(tmp_path, "b", write),
        job(tmp_path, "c", write, needs=["a", "b"]),
        job(tmp_path, "d", write, needs=["c"]),
    ]


def names(found):
    return [one.name for one in found]


def test_a_job_is_done_once_its_product_is_there(jobs):
    first, *_ = jobs
    assert not first.done
    assert first.run() == "a: done"
    assert first.done
    first.product.unlink()
    first.product.mkdir()
    assert not first.done


def test_a_job_is_ready_once_all_that_it_needs_is_done(jobs):
    a, b, c, d = jobs
    assert names(ready(jobs)) == ["a", "b"]
    a.run()
    assert names(ready(jobs)) == ["b"]
    b.run()
    assert names(ready(jobs)) == ["c"]
    c.run()
    assert names(ready(jobs)) == ["d"]
    d.run()
    assert ready(jobs) == []


def test_what_was_begun_and_what_was_given_up_is_not_ready_and_what_needs_it_waits(jobs):
    a, b, *_ = jobs
    assert names(ready(jobs, begun=["a"])) == ["b"]
    assert names(ready(jobs, lost=["b"])) == ["a"]
    assert names(ready(jobs, begun=["a"], lost=["b"])) == []
    a.run()
    assert names(ready(jobs, lost=["b"])) == []
    b.run()
    assert names(ready(jobs, begun=["a"])) == ["c"]


def test_a_job_that_is_done_waits_for_nothing(jobs):
    """As where what it needs was deleted after it had been used."""
    *_, d = jobs
    d.run()
    assert names(ready(jobs)) == ["a", "b"]


def test_the_order_is_that_in_which_the_jobs_are_known(jobs):
    assert names(ready(jobs[::-1])) == ["b", "a"]


def test_a_need_that_is_no_job_is_told_even_of_a_job_that_is_done(tmp_path):
    stray = job(tmp_path, "a", write, needs=["b"])
    for _ in range(2):
        with pytest.raises(ValueError, match="a needs b, which is not a known job"):
            ready([stray])
        stray.run()


def test_a_job_goes_to_another_process(jobs):
    assert pickle.loads(pickle.dumps(jobs)) == jobs
