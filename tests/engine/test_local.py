"""The engine of this machine: order, interruptions, workers that are killed."""

import os
import signal

import pytest
import torch

from lesionforge.engine.job import ready
from lesionforge.engine.local import LocalEngine
from lesionforge.errors import ConfigError, WorkerError
from tests.engine.work import (
    Drawn,
    be_killed,
    begun,
    interrupt,
    job,
    log,
    process_of,
    refuse,
    write,
    write_and_be_killed_later,
    write_nothing,
    write_once,
    write_once_gone,
    write_shared,
)

WORKERS = [1, pytest.param(2, marks=pytest.mark.slow)]


def run(jobs, engine):
    """Run jobs and return what was said."""
    said = []
    engine.run(lambda: jobs, said.append)
    return said


def diamonds(folder):
    """Two graphs side by side: a first job, two that need it, and one that needs both."""
    return [
        one
        for half in ("x", "y")
        for one in (
            job(folder, f"{half}4", write, needs=[f"{half}2", f"{half}3"]),
            job(folder, f"{half}3", write, needs=[f"{half}1"]),
            job(folder, f"{half}2", write, needs=[f"{half}1"]),
            job(folder, f"{half}1", write),
        )
    ]


def check_order(folder, jobs):
    """See that each job ran once, after what it needs."""
    lines = log(folder)
    assert sorted(begun(folder)) == sorted(one.name for one in jobs)
    for one in jobs:
        for need in one.needs:
            assert lines.index(f"end {need}") < lines.index(f"begin {one.name}")


@pytest.mark.parametrize("engine", [LocalEngine(), *map(Drawn, range(4))], ids=["here", *map(str, range(4))])
def test_every_job_runs_once_after_what_it_needs(engine, tmp_path):
    jobs = diamonds(tmp_path)
    said = run(jobs, engine)
    check_order(tmp_path, jobs)
    assert sorted(said) == sorted(f"{one.name}: done" for one in jobs)


def test_one_worker_is_this_process_with_the_threads_it_is_given(tmp_path):
    before, found = torch.get_num_threads(), []
    jobs = [job(tmp_path, "a", write)]
    LocalEngine(1, threads=before + 1).run(lambda: found.append(torch.get_num_threads()) or jobs, lambda line: None)
    assert process_of(tmp_path / "a") == os.getpid()
    assert set(found) == {before + 1}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("workers", WORKERS)
def test_all_jobs_get_what_they_share(workers, tmp_path):
    jobs = [job(tmp_path, name, write_shared) for name in "abcd"]
    LocalEngine(workers).run(lambda: jobs, shared=({"model": 1},))
    found = [(tmp_path / name).read_text().rsplit(" ", 1) for name in "abcd"]
    assert {text for text, _ in found} == {"{'model': 1}"}
    here = {process == str(os.getpid()) for _, process in found}
    assert here == {workers == 1}


@pytest.mark.slow
def test_in_two_workers_a_job_waits_for_none_but_those_that_it_needs(tmp_path):
    """``long``, which begins beside ``short``, can only end once ``last`` has run; that is known after ``short``."""

    def known():
        jobs = [
            job(tmp_path, "long", write_once, "end last"),
            job(tmp_path, "short", write_once, "begin long"),
            *diamonds(tmp_path),
        ]
        if jobs[1].done:
            jobs.append(job(tmp_path, "last", write, needs=["short", "x4", "y4"]))
        return jobs

    said = []
    LocalEngine(2).run(known, said.append)
    check_order(tmp_path, known())
    assert sorted(said) == sorted(f"{one.name}: done" for one in known())
    lines = log(tmp_path)
    assert lines.index("begin long") < lines.index("begin last") < lines.index("end last") < lines.index("end long")
    processes = {one.name: process_of(one.product) for one in known()}
    assert len(set(processes.values())) == 2
    assert processes["long"] != processes["short"]
    assert os.getpid() not in processes.values()


def test_what_is_done_is_not_done_again(tmp_path):
    jobs = diamonds(tmp_path)
    for one in jobs:
        if one.name in ("x1", "x2", "y1"):
            one.product.touch()
    run(jobs, LocalEngine())
    assert sorted(begun(tmp_path)) == ["x3", "x4", "y2", "y3", "y4"]
    assert run(jobs, LocalEngine()) == []


def test_jobs_that_become_known_on_the_way_are_run(tmp_path):
    def known():
        found = [job(tmp_path, "0", write)]
        while found[-1].done and len(found) < 4:
            found.append(job(tmp_path, str(len(found)), write, needs=[found[-1].name]))
        return found

    LocalEngine().run(known, lambda line: None)
    assert begun(tmp_path) == ["0", "1", "2", "3"]
    assert ready(known()) == []


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_of_ours_arrives_as_itself_and_no_other_job_begins(workers, tmp_path):
    beside = [job(tmp_path, "beside", write_once, "begin refused")] * (workers - 1)
    jobs = [
        job(tmp_path, "refused", refuse, *["begin beside"] * (workers - 1)),
        *beside,
        *(job(tmp_path, f"later{number}", write) for number in range(4)),
    ]
    with pytest.raises(ConfigError, match=r"^refused: does not fit; take another$"):
        run(jobs, LocalEngine(workers))
    assert sorted(log(tmp_path)) == sorted(["begin refused", *(["begin beside", "end beside"] if beside else [])])


@pytest.fixture
def _hears_ctrl_c():
    """A process that was started in the background ignores SIGINT, and so do those that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_ctrl_c_here_ends_the_job_and_begins_no_other(tmp_path):
    jobs = [job(tmp_path, "first", interrupt, os.getpid()), job(tmp_path, "later", write)]
    with pytest.raises(KeyboardInterrupt):
        run(jobs, LocalEngine())
    assert log(tmp_path) == ["begin first"]


@pytest.mark.slow
@pytest.mark.usefixtures("_hears_ctrl_c")
def test_ctrl_c_lets_what_runs_in_workers_come_to_its_end_and_the_next_run_goes_on(tmp_path):
    jobs = [
        job(tmp_path, "first", interrupt, os.getpid(), "begin beside"),
        job(tmp_path, "beside", write_once, "end first"),
        *(job(tmp_path, f"later{number}", write) for number in range(4)),
    ]
    with pytest.raises(KeyboardInterrupt):
        run(jobs, LocalEngine(2))
    assert sorted(log(tmp_path)) == ["begin beside", "begin first", "end beside", "end first"]
    run(jobs, LocalEngine())
    check_order(tmp_path, jobs)


@pytest.mark.slow
def test_a_job_whose_worker_is_killed_is_repeated_once_and_then_named_and_the_others_go_on(tmp_path):
    jobs = [
        job(tmp_path, "once", be_killed, 1),
        job(tmp_path, "after_once", write, needs=["once"]),
        job(tmp_path, "always", be_killed, 9),
        job(tmp_path, "after_always", write, needs=["always"]),
        *diamonds(tmp_path),
    ]
    said = []
    with pytest.raises(WorkerError, match=r"worker processes: always was killed, twice") as caught:
        LocalEngine(2).run(lambda: jobs, said.append)
    assert "the same command resumes the run" in str(caught.value)
    assert "once was" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {one.name for one in jobs if not one.done} == {"always", "after_always"}
    others = [one.name for one in jobs if one.name not in ("once", "always", "after_always")]
    assert sorted(begun(tmp_path)) == sorted([*["once", "always"] * 2, *others])
    repeated = [f"{name}: was killed; it is repeated once" for name in ("once", "always")]
    assert sorted(said) == sorted([*repeated, *(f"{name}: done" for name in ["once", *others])])


@pytest.mark.slow
def test_a_worker_that_is_killed_while_it_has_nothing_to_do_takes_no_job_with_it(tmp_path):
    jobs = [
        job(tmp_path, "first", write_and_be_killed_later),
        job(tmp_path, "second", write_once_gone, "first"),
        *(job(tmp_path, f"later{number}", write, needs=["first", "second"]) for number in range(2)),
    ]
    said = run(jobs, LocalEngine(2))
    check_order(tmp_path, jobs)
    assert sorted(said) == sorted(f"{one.name}: done" for one in jobs)


def test_a_job_that_ends_without_its_product_is_told_and_not_begun_again(tmp_path):
    jobs = [job(tmp_path, "idle", write_nothing), job(tmp_path, "after", write, needs=["idle"])]
    with pytest.raises(WorkerError, match="idle: is missing, although idle, which writes it, has finished"):
        run(jobs, LocalEngine())
    assert begun(tmp_path) == []


def test_a_need_that_is_no_job_ends_the_run_before_anything_begins(tmp_path):
    with pytest.raises(ValueError, match="a needs b, which is not a known job"):
        run([job(tmp_path, "a", write, needs=["b"]), job(tmp_path, "c", write)], LocalEngine())
    assert begun(tmp_path) == []
