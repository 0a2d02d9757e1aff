"""The 3D scale of pseudo-healthy synthesis, from volumes to a report."""

import pytest

from lesionforge.benchmark.kinds import study_plan
from lesionforge.benchmark.plan_file import preset
from lesionforge.benchmark.run import run_benchmark
from tests.helpers import tiny_cohort


@pytest.mark.slow
def test_every_method_removes_lesions_from_volumes(tmp_path):
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=3, n_subjects=8, n_healthy=2, shape=(32, 32, 24))
    shares = {"subjects": {"train": 0.75, "test": 0.25}}
    plan = study_plan(preset("pseudo_healthy"), scale="smoke_3d", changes=shares)
    run_benchmark(plan, cohort, out=tmp_path / "out")
    folder = tmp_path / "out"
    assert (folder / "report.html").is_file()
    for name in plan.methods:
        assert len(list(folder.rglob(f"healed/{name}/healed/imagesTr/*.nii.gz"))) > 0
