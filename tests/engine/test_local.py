"""The engine of this machine: order, interruptions, workers that are killed."""

import os
import re

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
    write_after,
    write_and_be_killed_later,
    write_nothing,
    write_once_there,
)

WORKERS = [1, 2]


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


@pytest.mark.parametrize(
    "engine", [LocalEngine(), LocalEngine(2), *map(Drawn, range(4))], ids=["here", "there", *map(str, range(4))]
)
def test_every_job_runs_once_after_what_it_needs(engine, tmp_path):
    jobs = diamonds(tmp_path)
    said = run(jobs, engine)
    assert sorted(said) == sorted(f"{one.name}: done" for one in jobs)
    lines = log(tmp_path)
    assert sorted(begun(tmp_path)) == sorted(one.name for one in jobs)
    for one in jobs:
        for need in one.needs:
            assert lines.index(f"end {need}") < lines.index(f"begin {one.name}")


@pytest.mark.parametrize("workers", WORKERS)
def test_what_is_done_is_not_done_again(workers, tmp_path):
    jobs = diamonds(tmp_path)
    for one in jobs:
        if one.name in ("x1", "x2", "y1"):
            one.product.touch()
    run(jobs, LocalEngine(workers))
    assert sorted(begun(tmp_path)) == ["x3", "x4", "y2", "y3", "y4"]
    assert run(jobs, LocalEngine(workers)) == []


def test_one_worker_is_this_process_and_several_are_others(tmp_path):
    before = torch.get_num_threads()
    run([job(tmp_path, "a", write)], LocalEngine(1, threads=before + 1))
    assert process_of(tmp_path / "a") == os.getpid()
    assert torch.get_num_threads() == before
    run([job(tmp_path, name, write) for name in ("b", "c")], LocalEngine(2))
    assert os.getpid() not in {process_of(tmp_path / name) for name in ("b", "c")}


def test_a_job_waits_for_none_but_those_that_it_needs(tmp_path):
    """``long``, which was begun beside ``short``, can only end once ``next`` has run."""
    jobs = [
        job(tmp_path, "long", write_once_there, tmp_path / "next"),
        job(tmp_path, "short", write),
        job(tmp_path, "next", write, needs=["short"]),
    ]
    run(jobs, LocalEngine(2))
    lines = log(tmp_path)
    assert lines.index("begin long") < lines.index("begin next") < lines.index("end next") < lines.index("end long")


@pytest.mark.parametrize("workers", WORKERS)
def test_jobs_that_become_known_on_the_way_are_run(workers, tmp_path):
    def known():
        found = [job(tmp_path, "0", write)]
        while found[-1].done and len(found) < 4:
            found.append(job(tmp_path, str(len(found)), write, needs=[found[-1].name]))
        return found

    LocalEngine(workers).run(known, lambda line: None)
    assert begun(tmp_path) == ["0", "1", "2", "3"]
    assert ready(known()) == []


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_of_ours_arrives_as_itself_and_no_other_job_begins(workers, tmp_path):
    jobs = [
        job(tmp_path, "refused", refuse),
        job(tmp_path, "beside", write_after, 1),
        *(job(tmp_path, f"later{number}", write) for number in range(4)),
    ]
    with pytest.raises(ConfigError, match=r"^refused: does not fit; take another$"):
        run(jobs, LocalEngine(workers))
    beside = ["begin beside", "end beside"] if workers > 1 else []
    assert sorted(log(tmp_path)) == sorted(["begin refused", *beside])


@pytest.mark.parametrize("workers", WORKERS)
def test_ctrl_c_lets_what_runs_come_to_its_end_begins_no_other_and_the_next_run_goes_on(workers, tmp_path):
    jobs = [
        job(tmp_path, "first", interrupt, os.getpid()),
        *(job(tmp_path, f"later{number}", write_after, 0.5 if number else 2) for number in range(4)),
    ]
    with pytest.raises(KeyboardInterrupt):
        run(jobs, LocalEngine(workers))
    before = begun(tmp_path)
    assert before == ["first"] if workers == 1 else set(before) == {"first", "later0"}
    if workers > 1:
        assert {f"end {name}" for name in before} < set(log(tmp_path))
        run(jobs, LocalEngine(workers))
        assert sorted(begun(tmp_path)) == sorted(one.name for one in jobs)


def test_a_job_whose_worker_is_killed_is_repeated_once_and_the_others_go_on(tmp_path):
    jobs = [
        job(tmp_path, "killed", be_killed, 1),
        job(tmp_path, "after", write, needs=["killed"]),
        *(job(tmp_path, f"other{number}", write_after, 0.1) for number in range(4)),
    ]
    said = run(jobs, LocalEngine(2))
    assert [line for line in said if "repeated" in line] == ["killed: was ended from outside; it is repeated once"]
    assert all(one.done for one in jobs)
    assert sorted(begun(tmp_path)) == sorted(["killed", *(one.name for one in jobs)])


def test_a_job_whose_worker_is_killed_twice_is_named_once_the_others_are_done(tmp_path):
    jobs = [
        job(tmp_path, "killed", be_killed, 9),
        job(tmp_path, "after", write, needs=["killed"]),
        job(tmp_path, "other", write),
        job(tmp_path, "next", write_after, 1, needs=["other"]),
        job(tmp_path, "last", write, needs=["next"]),
    ]
    with pytest.raises(WorkerError, match=r"worker processes: killed was ended from outside, twice") as caught:
        run(jobs, LocalEngine(2))
    assert "the same command goes on where it was" in str(caught.value)
    assert not re.search("after|other|next|last", str(caught.value).partition(";")[0])
    assert "\n" not in str(caught.value)
    assert begun(tmp_path).count("killed") == 2
    assert {one.name for one in jobs if one.done} == {"other", "next", "last"}


def test_a_worker_that_is_killed_while_it_has_nothing_to_do_takes_no_job_with_it(tmp_path):
    jobs = [
        job(tmp_path, "first", write_and_be_killed_later, 0.5),
        job(tmp_path, "second", write_after, 2),
        *(job(tmp_path, f"later{number}", write_after, 0.1, needs=["second"]) for number in range(2)),
    ]
    said = run(jobs, LocalEngine(2))
    assert sorted(said) == sorted(f"{one.name}: done" for one in jobs)


@pytest.mark.parametrize("workers", WORKERS)
def test_a_job_that_ends_without_its_product_is_told_and_not_begun_again(workers, tmp_path):
    jobs = [job(tmp_path, "idle", write_nothing), job(tmp_path, "after", write, needs=["idle"])]
    with pytest.raises(WorkerError, match="idle: is not there, although idle, which writes it, came to its end"):
        run(jobs, LocalEngine(workers))
    assert begun(tmp_path) == []


def test_a_need_that_is_no_job_ends_the_run_before_anything_begins(tmp_path):
    with pytest.raises(ValueError, match="a needs b, which is no job"):
        run([job(tmp_path, "a", write, needs=["b"]), job(tmp_path, "c", write)], LocalEngine())
    assert begun(tmp_path) == []
