"""The report compares sizes of the training set at equal steps, beside each at its own length."""

import pandas as pd
import pytest

from lesionforge.benchmark.report.equal_steps import TRIED, equal_steps
from lesionforge.benchmark.report.page import write_report

RESULTS = pd.DataFrame(
    {"arm": "real", "train_size": [8, 80], "seed": 0, "case_id": "a", "subject_id": "a", "dice": [0.6, 0.7]}
)


@pytest.fixture
def tried():
    """With few steps the large training set does worse; its own length is longer."""
    means = {(8, 100): 0.657, (8, 200): 0.655, (80, 100): 0.589, (80, 200): 0.7, (80, 400): 0.702}
    return pd.DataFrame(
        {
            "train_size": size,
            "arm": "real",
            "steps": steps,
            "seed": seed,
            "score": mean + way * 0.1,
            "found_nothing": (size, steps, seed) == (80, 400, 1),
            "kept": (size, steps) in ((8, 100), (80, 200)),
        }
        for (size, steps), mean in means.items()
        for seed, way in ((0, -1), (1, 1))
    )


def test_each_column_has_equal_steps_and_each_size_its_own_length_marked(tried):
    section = equal_steps(tried.sample(frac=1, random_state=0), metric="dice")
    assert section.steps == [100, 200, 400]
    assert {row["size"]: [cell["text"] for cell in row["cells"]] for row in section.rows} == {
        "n = 8": ["65.7", "65.5", "–"],
        "n = 80": ["58.9", "70.0", "70.2 (1 of 2 found nothing)"],
    }
    kept = {row["size"]: [cell["kept"] for cell in row["cells"]] for row in section.rows}
    assert kept == {"n = 8": [True, False, False], "n = 80": [False, True, False]}


def test_each_fold_has_a_row_with_one_length_of_its_own(tried):
    """Means over folds would be of other folds in each column, since each tries lengths of its own."""
    other = tried.assign(fold="fold_1", score=tried["score"] + 0.1)
    other["kept"] = other["steps"] == other["train_size"].map({8: 100, 80: 400})
    both = pd.concat([tried[tried["steps"] < 400].assign(fold="fold_0"), other])
    section = equal_steps(both, metric="dice")
    rows = {(row["size"], row["fold"]): row["cells"] for row in section.rows}
    assert [cell["text"] for cell in rows["n = 80", "fold_0"]] == ["58.9", "70.0", "–"]
    assert [cell["text"] for cell in rows["n = 80", "fold_1"]][:2] == ["68.9", "80.0"]
    assert [cell["kept"] for cell in rows["n = 80", "fold_1"]] == [False, False, True]
    assert all(sum(cell["kept"] for cell in cells) == 1 for cells in rows.values())


def test_the_section_is_in_the_report_of_a_controlled_run(tried, tmp_path):
    RESULTS.to_csv(tmp_path / "results.csv", index=False)
    tried.to_csv(tmp_path / TRIED, index=False)
    write_report(tmp_path, baseline="real", primary="dice")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Equal steps: Dice on the development subjects (points)</h2>" in page
    assert "<td><strong>70.0</strong></td>" in page
