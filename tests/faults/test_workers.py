"""A benchmark that is killed leaves no process behind that writes into its folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lesionforge.engine.job import Job
from lesionforge.engine.local import LocalEngine
from lesionforge.engine.processes import threads_of

PARENT = """
import sys
from pathlib import Path
from lesionforge.engine.job import Job
from lesionforge.engine.local import LocalEngine
from tests.faults.test_workers import wait

if __name__ == "__main__":
    file = sys.argv[1]
    jobs = [Job(name="wait", product=Path(file, "done"), function=wait, arguments=(file,))]
    LocalEngine(2).run(lambda: jobs, print)
"""


def wait(file):
    """A job that never ends; it says in which process it is."""
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


def environment():
    """Return this process's environment, with the tests among what can be imported."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])}


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.2)


@pytest.mark.slow
def test_workers_end_with_their_parent(tmp_path):
    script, file = tmp_path / "parent.py", tmp_path / "pid"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, script, file], env=environment())
    until(lambda: file.is_file() and file.read_text())
    worker = int(file.read_text())
    assert alive(worker)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not alive(worker))


def test_on_a_cpu_the_number_of_workers_says_nothing_about_threads(monkeypatch, tmp_path):
    """The order of sums depends on threads, so the bytes of a benchmark would depend on its workers."""
    with monkeypatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 16)
        patch.delenv("OMP_NUM_THREADS", raising=False)
        assert [threads_of(workers, "cpu") for workers in (1, 2, 8)] == [1, 1, 1]
        patch.setenv("OMP_NUM_THREADS", "3")
        patch.setattr(torch, "get_num_threads", lambda: 3)
        assert [threads_of(workers, "cpu") for workers in (1, 2, 8)] == [3, 3, 3]
    before = torch.get_num_threads()
    job = Job(name="here", product=tmp_path / "pid", function=say_where, arguments=(tmp_path / "pid",))
    LocalEngine(1).run(lambda: [job])
    assert (tmp_path / "pid").read_text() == str(os.getpid())
    assert torch.get_num_threads() == before


def say_where(file):
    file.write_text(str(os.getpid()))
    return "done"
