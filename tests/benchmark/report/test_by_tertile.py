"""The report says in which lesions an arm gains."""

import numpy as np
import pandas as pd
import pytest

from lesionforge.benchmark.report.by_tertile import by_tertile, tertile_table
from lesionforge.benchmark.report.case_facts import TEST_CASES, facts_of_cases
from lesionforge.benchmark.report.page import write_report
from lesionforge.cohort.scan import load_scan
from tests.helpers import tiny_cohort

SUBJECTS = [f"sub_{number:02}" for number in range(9)]
GAIN = np.array([0.3, 0.3, 0.3, 0.1, 0.1, 0.1, 0.0, 0.0, -0.2])


@pytest.fixture
def facts():
    """Gains fall with the size of the lesions; contrast has nothing to do with either."""
    contrast = [0.5, 0.9, 0.1, 0.6, 0.2, 0.8, 0.3, 0.7, 0.4]
    columns = {"case_id": SUBJECTS, "subject_id": SUBJECTS, "lesion_volume_ml": range(1, 10), "contrast": contrast}
    return pd.DataFrame(columns)


@pytest.fixture
def results():
    rows = [
        {"arm": arm, "train_size": 4, "seed": seed, "case_id": name, "subject_id": name, "dice": 0.5 + gain * helped}
        for arm, helped in (("real", 0), ("drawn", 1))
        for seed in (0, 1)
        for name, gain in zip(SUBJECTS, GAIN, strict=True)
    ]
    return pd.DataFrame(rows)


def test_gains_are_those_of_the_subjects_in_a_third(results, facts):
    shuffled = facts.sample(frac=1, random_state=0)
    table = tertile_table(results, shuffled, baseline="real", metric="dice").set_index(["of", "third"])
    sizes = table.loc["lesion_volume_ml"]
    assert sizes["gain"].tolist() == pytest.approx([0.3, 0.1, -0.2 / 3])
    assert sizes[["least", "most"]].to_numpy().tolist() == [[1, 3], [4, 6], [7, 9]]
    assert set(table["n_subjects"]) == {3}
    assert (table["gain_low"] <= table["gain"]).all()
    low = GAIN[[2, 4, 6]].mean(), GAIN[[8, 0, 3]].mean(), GAIN[[7, 5, 1]].mean()
    assert table.loc["contrast"]["gain"].tolist() == pytest.approx(list(low))


def test_the_subjects_of_the_greatest_gain_and_loss_are_named(results, facts):
    section = by_tertile(results, facts, baseline="real", metric="dice")
    assert section.extremes == ["drawn: best in subject sub_00 (+30.0), worst in subject sub_08 (−20.0)."]
    assert section.titles[0] == "smallest lesions, 1 to 3 ml"
    assert section.titles[-1] == "most contrast, 0.7 to 0.9"
    assert section.rows[0]["cells"][0].startswith("+30.0 [")
    fewer = results.rename(columns={"dice": "hd95"})
    (line,) = by_tertile(fewer, facts, baseline="real", metric="hd95").extremes
    assert line.startswith("drawn: best in subject sub_08")


def test_too_few_subjects_or_nothing_to_compare_have_no_thirds(results, facts):
    assert by_tertile(results, facts.iloc[:5], baseline="real", metric="dice") is None
    assert by_tertile(results[results["arm"] == "real"], facts, baseline="real", metric="dice") is None


def test_the_section_and_its_table_are_written(results, facts, tmp_path):
    results.to_csv(tmp_path / "results.csv", index=False)
    facts.to_csv(tmp_path / TEST_CASES, index=False)
    write_report(tmp_path, baseline="real", primary="dice")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "best in subject sub_00" in page
    assert len(pd.read_csv(tmp_path / "by_tertile.csv")) == 6


@pytest.mark.parametrize(("spatial_dims", "column"), [(2, "lesion_area_mm2"), (3, "lesion_volume_ml")])
def test_size_and_contrast_of_the_test_cases_are_those_of_their_files(spatial_dims, column, tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=spatial_dims, n_subjects=4, n_healthy=1)
    facts = facts_of_cases(cohort, cohort.channels)
    assert facts["case_id"].tolist() == [case.case_id for case in cohort.with_lesions()]
    for case, size in zip(cohort.with_lesions(), facts[column], strict=True):
        scan = load_scan(case, cohort.channels)
        voxel = np.prod(scan.spacing) / (1 if spatial_dims == 2 else 1000)
        assert size == pytest.approx(np.count_nonzero(scan.label) * voxel)
    assert (facts["contrast"] > 0).all()
    assert facts_of_cases(cohort.healthy(), cohort.channels).empty
