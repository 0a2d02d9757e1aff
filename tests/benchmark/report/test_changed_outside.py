"""The report says how much synthesizers that draw whole images change outside the masks."""

from pathlib import Path
from types import SimpleNamespace

from lesionforge.benchmark.report.changed_outside import describe_changed_outside
from lesionforge.files import write_json
from tests.benchmark.report.fake_repeat import FakeRepeat


def study_of(folder: Path, names, fold=None):
    repeats = [FakeRepeat(folder / repeat) for repeat in ("n8/seed0", "n8/seed1")]
    plan = SimpleNamespace(synthesizers=dict.fromkeys(names), subjects=SimpleNamespace(fold=fold))
    return SimpleNamespace(repeats=repeats, plan=plan)


def test_a_report_says_it_for_every_synthesizer_whose_records_hold_it(tmp_path):
    study = study_of(tmp_path, ["whole", "pasted", "on_the_fly"])
    for repeat, share in zip(study.repeats, (0.004, 0.012), strict=True):
        write_json(repeat / "whole" / "provenance" / "a.json", {"changed_outside": share})
        write_json(repeat / "pasted" / "provenance" / "a.json", {"in_fluid": 0.0})
    write_json(study.repeats[0] / "whole" / "provenance" / "b.json", {"in_fluid": 0.0})
    (line,) = describe_changed_outside([study]).values()
    start = "whole: 0.80% of the intensity range before blending (mean of 2 cases; greatest: a ("
    assert line.startswith(start)
    assert line.endswith("seed1), 1.20%)")
    assert "pasted" not in line
    assert "on_the_fly" not in line


def test_there_is_no_row_without_a_record_that_holds_it(tmp_path):
    study = study_of(tmp_path, ["pasted"])
    write_json(study.repeats[0] / "pasted" / "provenance" / "a.json", {"in_fluid": 0.0})
    assert describe_changed_outside([study]) == {}


def test_the_row_over_folds_counts_the_cases_of_all_of_them(tmp_path):
    """Cases of different folds may share a name."""
    studies = [study_of(tmp_path / f"fold{fold}", ["whole"], fold) for fold in range(3)]
    for study, share in zip(studies, (0.0, 0.01, 0.02), strict=True):
        write_json(study.repeats[0] / "whole" / "provenance" / "a.json", {"changed_outside": share})
    (line,) = describe_changed_outside([*studies]).values()
    assert line.startswith("whole: 1.00% of the intensity range")
    assert "(mean of 3 cases; greatest: a (fold 2, " in line
