import pandas as pd

from tests.cli.commands import error, typed
from tests.helpers import tiny_cohort


def test_a_cohort_is_scored_against_another(tmp_path):
    tiny_cohort(tmp_path / "real", spatial_dims=2, n_subjects=10)
    tiny_cohort(tmp_path / "drawn", spatial_dims=2, n_subjects=9, seed=3)
    result = typed("score", tmp_path / "drawn", "--against", tmp_path / "real", "--out", tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv")
    assert list(table.columns) == ["score", "drawn", "real", "better", "description"]
    assert {"kid_slices", "fid_lesions", "lesion_volume_ks", "laplacian_variance"} <= set(table["score"])
    assert "kid_slices" in result.output
    few = ["--against", tmp_path / "real", "--subjects", 5]
    assert "has fewer than 8 cases with lesions" in error("score", tmp_path / "drawn", *few)
