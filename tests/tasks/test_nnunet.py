from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from lesionforge import read_cohort
from lesionforge.benchmark.plan import Plan
from lesionforge.benchmark.run import run_benchmark
from lesionforge.errors import ConfigError, TrainingError
from lesionforge.reading import read_frame
from lesionforge.tasks.nnunet import nnunet_task
from lesionforge.tasks.nnunet.nnunet_config import NnUNetConfig
from lesionforge.tasks.nnunet.nnunet_task import NnUNetTask
from lesionforge.testing import check_task
from lesionforge.training.model_folder import read_info
from tests.helpers import tiny_cohort
from tests.synthesizers.models import tiny_training

PLAN = {
    "subjects": {"train": 0.5, "development": 0.25, "test": 0.25, "numbers": [1.0]},
    "training": {"steps": 2, "batch_size": 2, "device": "cpu"},
    "seeds": [0],
    "synthesizers": {"pasted": {"method": "copy_paste", "masks": "bank", "cases": 2, "min_volume": 5}},
    "arms": {"real": {"augment": "none"}, "synthetic": {"augment": "none", "synthesizer": "pasted"}},
    "baseline": "real",
    "examples": 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_rules_of_a_task(spatial_dims):
    pytest.importorskip("nnunetv2")
    check_task("nnunet", spatial_dims=(spatial_dims,))


def test_what_a_benchmark_cannot_do_with_it_is_one_line(cohorts, tmp_path):
    def fit(**more):
        options = {"training": tiny_training(), **more}
        NnUNetTask.fit(cohorts[2], channels=("FLAIR",), config=NnUNetConfig(), out=tmp_path / "m", **options)

    with pytest.raises(ConfigError, match="cannot draw on the fly"):
        fit(synthetic=object())
    with pytest.raises(ConfigError, match="cannot start from another network"):
        fit(pretrained=object())
    with pytest.raises(ConfigError, match=r"training\.accumulate: is not for nnU-Net"):
        fit(training=tiny_training().model_copy(update={"accumulate": 2}))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(value, cohorts, tmp_path, monkeypatch):
    def working_in(folder):
        folder.mkdir(parents=True)
        return nullcontext()

    def trained(*args, **options):
        return {"fine": torch.ones(2), "spoilt": torch.tensor([0.0, value])}, []

    planned = SimpleNamespace(plans={}, dataset={})
    stand_in = SimpleNamespace(working_in=working_in, planned=lambda *args: planned, trained=trained)
    monkeypatch.setattr(nnunet_task, "_nnunet", lambda: stand_in)
    with pytest.raises(TrainingError, match="run: 1 weights are not finite, first spoilt; lower the learning rate"):
        NnUNetTask.fit(
            cohorts[2], channels=("FLAIR",), config=NnUNetConfig(), training=tiny_training(), out=tmp_path / "run"
        )
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_it_judges_a_benchmark_from_scans_to_report(spatial_dims, tmp_path):
    pytest.importorskip("nnunetv2")
    cohort = tiny_cohort(tmp_path / "cohort", spatial_dims=spatial_dims, n_subjects=8, n_healthy=2)
    plan = Plan.model_validate({**PLAN, "task": {"method": "nnunet", "spatial_dims": spatial_dims}})
    out = tmp_path / "out"
    run_benchmark(plan, cohort, out=out, say=lambda line: None)
    assert "nnU-Net" in (out / "report.html").read_text()
    results = read_frame(out / "results.csv")
    tested = {name: set(rows["case_id"]) for name, rows in results.groupby("arm")}
    assert tested["real"] == tested["synthetic"]
    assert set(tested) == set(PLAN["arms"])
    (folder,) = out.glob("runs/*/seed0")
    drawn = {case.case_id for case in read_cohort(folder / "cohorts" / "pasted")}
    assert len(drawn) == 2
    trained = {
        path.parent.name: set(read_info(path.parent).training_cases) for path in folder.glob("arms/*/model.json")
    }
    assert trained["synthetic_2"] == trained["real_2"] | drawn
    assert not tested["synthetic"] & trained["synthetic_2"]
