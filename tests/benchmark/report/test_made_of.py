import json

import pytest

from lesionforge.benchmark.kinds import source_of
from lesionforge.benchmark.plan_file import PRESETS
from lesionforge.benchmark.report.made_of import (
    RunRecord,
    Source,
    changed_options,
    describe_machine,
    made_of,
    read_run,
    seconds_per_step,
    spent,
    timed,
)
from lesionforge.errors import CohortError, OutputError
from tests.helpers import tiny_cohort


@pytest.fixture
def cohort(tmp_path):
    return tiny_cohort(tmp_path / "cohort", spatial_dims=2, n_subjects=3)


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "split.json").write_text("{}")
    return folder


def log_steps(folder, last):
    folder.mkdir(exist_ok=True)
    (folder / "metrics.csv").write_text(f"epoch,step,train/loss\n0,0,1\n0,{last},1\n")


class TestRunRecord:
    def test_says_version_plan_command_data_and_machine(self, cohort, out):
        source = Source(plan="first", scale="cpu", changes={"seeds": "[0, 1] → [0]"}, command="lesionforge benchmark")
        RunRecord(out, cohort, source).save(undertrained=None)
        rows = made_of(out, {})
        assert rows["Plan"] == "first, scale cpu"
        assert rows["Differs from it in"] == "seeds: [0, 1] → [0]"
        assert rows["Command"] == "lesionforge benchmark"
        assert rows["Machine"] == describe_machine()
        assert len(rows["SHA-256 of the cohort"]) == len(rows["SHA-256 of split.json"]) == 64
        assert made_of(out.parent / "elsewhere", {}) == {}

    def test_sessions_add_up(self, cohort, out):
        for _ in range(2):
            RunRecord(out, cohort, Source()).save()
        run = read_run(out)
        assert len(run["sessions"]) == 2
        assert made_of(out, {})["Duration"].endswith("in 2 sessions")

    def test_a_study_is_not_gone_on_with_on_other_contents(self, cohort, out):
        def found():
            RunRecord(out, cohort, Source())
            return read_run(out)["cohort"]

        first, label = found(), cohort.cases[0].label
        content = label.read_bytes()
        label.write_bytes(content + b"more")
        with pytest.raises(OutputError, match="other images or labels"):
            found()
        label.write_bytes(content)
        assert found()["sha256"] == first["sha256"]

    def test_files_that_did_not_change_are_not_read_again(self, cohort, out):
        RunRecord(out, cohort, Source())
        path = out / "run.json"
        run = json.loads(path.read_text())
        run["cohort"]["sha256"] = "kept"
        path.write_text(json.dumps(run))
        RunRecord(out, cohort, Source())
        assert read_run(out)["cohort"]["sha256"] == "kept"


class TestChanges:
    def test_of_nested_options(self):
        before = {"seeds": [0, 1], "arms": {"real": {"share": 0.5}, "classical": {}}}
        after = {"seeds": [0], "arms": {"real": {"share": 0.5}}, "name": "x"}
        assert changed_options(before, after) == {
            "seeds": "[0, 1] → [0]",
            "arms.classical": "{} → not given",
            "name": "not given → x",
        }
        assert changed_options(before, before) == {}

    @pytest.mark.parametrize("name", PRESETS)
    def test_a_study_knows_its_preset(self, name):
        changes = {"seeds": [7]}
        source = source_of(PRESETS[name], changes=changes, command="lesionforge benchmark")
        assert (source.plan, source.command) == (name, "lesionforge benchmark")
        assert set(source.changes) == {"seeds"}


class TestTiming:
    def test_of_a_resumed_training_adds_up(self, tmp_path):
        folder = tmp_path / "arm"
        with timed(folder):
            log_steps(folder, 9)
        with timed(folder):
            log_steps(folder, 29)
        timing = json.loads((folder / "timing.json").read_text())
        assert timing["steps"] == 30
        assert seconds_per_step([folder, tmp_path / "none"]) == pytest.approx(timing["seconds"] / 30)

    def test_a_training_that_is_stopped_is_timed(self, tmp_path):
        folder = tmp_path / "arm"

        def stopped():
            with timed(folder):
                log_steps(folder, 4)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stopped()
        assert json.loads((folder / "timing.json").read_text())["steps"] == 5

    def test_what_is_not_trained_is_not_timed(self, tmp_path):
        log_steps(tmp_path, 9)
        with timed(tmp_path):
            pass
        timing = json.loads((tmp_path / "timing.json").read_text())
        assert (timing["steps"], timing["seconds"]) == (0, 0)
        assert seconds_per_step([tmp_path]) is None

    def test_time_that_all_threads_and_ended_processes_computed_is_added_up(self, tmp_path, monkeypatch):
        ticks = iter([(1, 2, 3, 4, 0), (5, 2, 60, 4, 0), (7, 0, 0, 0, 0), (8, 0, 0, 0, 0)])
        monkeypatch.setattr("lesionforge.benchmark.report.made_of.os.times", lambda: next(ticks))
        for _ in range(2):
            with timed(tmp_path / "drawn"):
                log_steps(tmp_path / "drawn", 0)
        found = spent([tmp_path / "drawn"])
        assert found.cpu == pytest.approx((61 + 1) / 60)
        assert 0 <= found.wall < 1

    def test_nothing_is_written_where_nothing_was_made(self, tmp_path):
        with timed(tmp_path / "drawn"):
            pass
        assert not (tmp_path / "drawn").exists()
        assert spent([tmp_path / "drawn"]) is None


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "\udcff"])
@pytest.mark.parametrize("name", ["run.json", "timing.json"])
def test_a_damaged_record_is_named(tmp_path, name, text):
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CohortError, match=name) as caught:
        read_run(tmp_path) if name == "run.json" else seconds_per_step([tmp_path])
    assert "\n" not in str(caught.value)


def test_a_timing_without_numbers_is_named(tmp_path):
    (tmp_path / "timing.json").write_text('{"steps": "many"}')
    with pytest.raises(CohortError, match=r"timing\.json: lacks steps or seconds; delete it"):
        seconds_per_step([tmp_path])
