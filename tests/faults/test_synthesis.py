"""Synthesis that is killed, or meets scans that cannot be read."""

import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from lesionforge.cohort.layouts import read_cohort
from lesionforge.cohort.scan import load_scan
from lesionforge.files import atomic
from lesionforge.masks.bank import MaskBank
from lesionforge.production import draw_cases
from tests.helpers import tiny_cohort
from tests.synthesizers.folders import contents, synthesize
from tests.synthesizers.models import untrained_pix2pix

DIMS = [2, 3]


def visible(folder):
    """Return the files that a reader of the folder sees."""
    return {name: content for name, content in contents(folder).items() if "/." not in f"/{name}"}


def synthesize_and_hang(model, cohort, masks, out, n):
    """Draw three cases and the images of a fourth, begin to write its label, and wait to be killed."""
    write, calls = draw_cases.save_label, []

    def hang_on_the_fourth(target, label, affine):
        calls.append(target)
        if len(calls) == 4:
            with atomic(target) as temporary:
                temporary.write_bytes(b"half of a label")
                time.sleep(600)
        write(target, label, affine)

    draw_cases.save_label = hang_on_the_fourth
    synthesize(model, cohort, masks, out, n=n)


def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(tmp_path, monkeypatch):
    """Every file that is there after the kill is whole; what is done is not drawn again."""
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=3, n_subjects=2, channels=("FLAIR", "T1"))
    model, masks, n = untrained_pix2pix(cohort), MaskBank(cohort), 6
    out = tmp_path / "killed"
    process = get_context("fork").Process(target=synthesize_and_hang, args=(model, cohort, masks, out, n))
    process.start()
    try:
        deadline = time.monotonic() + 120
        while not list(out.glob("labelsTr/.*.partial.*")) or len(list(out.glob("provenance/*"))) < 3:
            assert process.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL

    left = visible(out)
    done = {Path(name).stem for name in left if name.startswith("provenance/")}
    assert len(done) == 3
    assert not {"cases.csv", "dataset.json"} & left.keys()
    whole = synthesize(model, cohort, masks, tmp_path / "whole", n=n)
    expected = contents(tmp_path / "whole")
    assert {name: expected[name] for name in left} == left
    drawn, draw = [], draw_cases._draw
    monkeypatch.setattr(draw_cases, "_draw", lambda request, *case: drawn.append(case[1]) or draw(request, *case))
    resumed = synthesize(model, cohort, masks, out, n=n)
    assert contents(out) == expected
    assert len(drawn) == n - 3
    assert set(drawn).isdisjoint(done)
    assert len(resumed.cohort) == len(whole.cohort) == len(read_cohort(out)) == n


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_a_scan_that_cannot_be_read_does_not_stop_the_others(spatial_dims, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=4)
    model, masks = untrained_pix2pix(cohort), MaskBank(cohort)
    good = cohort.cases[1].images["FLAIR"].read_bytes()
    cohort.cases[1].images["FLAIR"].write_bytes(good[: len(good) // 2])
    cohort.cases[2].label.unlink()
    result = synthesize(model, cohort, masks, tmp_path / "out", n=8)
    assert [case.source_case for case in result.cohort] == ["case_000"] * 2 + ["case_003"] * 2
    assert len(result.problems) == 4
    listed = (tmp_path / "out" / "problems.csv").read_text()
    for problem, name in zip(result.problems, ("case_001_0000",) * 2 + ("case_002",) * 2, strict=True):
        assert name in str(problem)
        assert name in listed
        assert "\n" not in str(problem)
    back = read_cohort(tmp_path / "out")
    assert back.cases == result.cohort.cases
    for case in back:
        load_scan(case, back.channels)


def test_a_scan_that_was_repaired_is_done_on_the_next_start(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3)
    model, masks = untrained_pix2pix(cohort), MaskBank(cohort)
    whole = synthesize(model, cohort, masks, tmp_path / "whole", n=6)
    broken = cohort.cases[0].images["FLAIR"]
    good = broken.read_bytes()
    broken.write_bytes(good[:100])
    assert len(synthesize(model, cohort, masks, tmp_path / "out", n=6).problems) == 2
    broken.write_bytes(good)
    repaired = synthesize(model, cohort, masks, tmp_path / "out", n=6)
    assert not repaired.problems
    assert len(repaired.cohort) == len(whole.cohort) == 6
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_when_no_scan_can_be_read_all_is_listed(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2)
    model, masks = untrained_pix2pix(cohort), MaskBank(cohort)
    for case in cohort:
        case.images["FLAIR"].write_bytes(b"")
    result = synthesize(model, cohort, masks, tmp_path / "out", n=4)
    assert len(result.problems) == 4
    assert not len(result.cohort)
    assert len((tmp_path / "out" / "problems.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("at", ["image", "label", "record"])
def test_whatever_was_written_last_a_run_goes_on(at, tmp_path, monkeypatch):
    """A full disk, say, between any two files of a case."""
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2, channels=("FLAIR", "T1"))
    model, masks = untrained_pix2pix(cohort), MaskBank(cohort)
    synthesize(model, cohort, masks, tmp_path / "whole", n=4)
    name = {"image": "save_edited", "label": "save_label", "record": "write_json"}[at]
    write, calls = getattr(draw_cases, name), []

    def fail_on_the_third(*args):
        calls.append(args)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(draw_cases, name, fail_on_the_third)
        with pytest.raises(OSError, match="No space"):
            synthesize(model, cohort, masks, tmp_path / "out", n=4)
    assert "cases.csv" not in contents(tmp_path / "out")
    synthesize(model, cohort, masks, tmp_path / "out", n=4)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
