"""The report says how much synthesizers that draw whole images change outside the masks."""

from pathlib import Path
from types import SimpleNamespace

from lesionforge.benchmark.report.changed_outside import describe_changed_outside
from lesionforge.files import write_json
from tests.benchmark.report.fake_repeat import FakeRepeat


def study_of(folder: Path, names):
    repeats = [FakeRepeat(folder / repeat) for repeat in ("n8/seed0", "n8/seed1")]
    return SimpleNamespace(repeats=repeats, plan=SimpleNamespace(synthesizers=dict.fromkeys(names)))


def test_a_report_says_it_for_every_synthesizer_whose_records_hold_it(tmp_path):
    study = study_of(tmp_path, ["whole", "pasted", "on_the_fly"])
    for repeat, share in zip(study.repeats, (0.004, 0.012), strict=True):
        write_json(repeat / "whole" / "provenance" / "a.json", {"changed_outside": share})
        write_json(repeat / "pasted" / "provenance" / "a.json", {"in_fluid": 0.0})
    write_json(study.repeats[0] / "whole" / "provenance" / "b.json", {"in_fluid": 0.0})
    (line,) = describe_changed_outside(study).values()
    start = "whole: 0.80% of the intensity range before blending (mean of 2 cases; greatest: a ("
    assert line.startswith(start)
    assert line.endswith("seed1), 1.20%)")
    assert "pasted" not in line
    assert "on_the_fly" not in line


def test_there_is_no_row_without_a_record_that_holds_it(tmp_path):
    study = study_of(tmp_path, ["pasted"])
    write_json(study.repeats[0] / "pasted" / "provenance" / "a.json", {"in_fluid": 0.0})
    assert describe_changed_outside(study) == {}
