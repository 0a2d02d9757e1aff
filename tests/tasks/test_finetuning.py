"""Training that begins with another model's weights, the stroke system's network, and cases too small to learn from."""

import numpy as np
import pytest
import torch

from lesionforge.cohort.scan import read_label
from lesionforge.errors import CohortError, ConfigError
from lesionforge.networks.segmentation.segmentor import ResidualSegmentor
from lesionforge.networks.segmentation.stroke_unet import StrokeUNet
from lesionforge.tasks.segmentation.segmentation_task import SegmentationTask
from lesionforge.training.model_folder import read_tensors
from tests.helpers import NESTED, tiny_cohort
from tests.tasks.segmentation.test_segmentation_task import BOTH, fit


@BOTH
def test_training_goes_on_from_the_pretrained_weights(tmp_path, spatial_dims):
    first = tiny_cohort(tmp_path / "a", spatial_dims=spatial_dims, n_subjects=3)
    second = tiny_cohort(tmp_path / "b", spatial_dims=spatial_dims, n_subjects=2, seed=4)
    pretrained = fit(first, tmp_path / "first", spatial_dims)
    before = {name: tensor.clone() for name, tensor in pretrained.network.state_dict().items()}
    rate = 1e-9
    tuned = fit(second, tmp_path / "second", spatial_dims, pretrained=pretrained, learning_rate=rate, seed=5)
    after = read_tensors(tmp_path / "second")
    assert all(torch.allclose(after[name], before[name], atol=1e-6) for name in before)
    assert all(torch.equal(pretrained.network.state_dict()[name], before[name]) for name in before)
    assert tuned.info.preprocessing == pretrained.info.preprocessing
    scratch = fit(second, tmp_path / "scratch", spatial_dims, seed=5).network.state_dict()
    assert any(not torch.allclose(scratch[name], before[name], atol=1e-3) for name in before)


def test_all_who_were_ever_trained_on_are_parents(tmp_path):
    first = tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=4)
    pretrained = fit(first.of_subjects(["sub_00", "sub_01"]), tmp_path / "first", 2)
    loaded = SegmentationTask.load(tmp_path / "first")
    tuned = fit(first.of_subjects(["sub_02"]), tmp_path / "second", 2, pretrained=loaded)
    assert tuned.info.training_subjects == ("sub_00", "sub_01", "sub_02")
    assert tuned.info.training_cases == (*pretrained.info.training_cases, "case_002")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"filters": (4, 8)}, r"filters: is \(4, 8\), but \(8, 16, 32\) in the pretrained model"),
        ({"network": "stroke"}, "network: is stroke, but residual"),
        ({"normalise": "none"}, "normalise"),
    ],
)
def test_another_network_is_refused(tmp_path, options, what):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=2)
    pretrained = fit(cohort, tmp_path / "first", 2)
    with pytest.raises(ConfigError, match=what):
        fit(cohort, tmp_path / "second", 2, pretrained=pretrained, **options)


def test_other_channels_and_classes_are_refused(tmp_path):
    plain = tiny_cohort(tmp_path / "a", spatial_dims=2, n_subjects=2)
    nested = tiny_cohort(tmp_path / "b", spatial_dims=2, n_subjects=2, labels=NESTED)
    other = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=2, channels=("T1",))
    pretrained = fit(plain, tmp_path / "first", 2)
    for number, cohort in enumerate((nested, other)):
        with pytest.raises(ConfigError, match="other channels or lesion classes"):
            fit(cohort, tmp_path / f"n{number}", 2, pretrained=pretrained)


@BOTH
@pytest.mark.parametrize(("network", "kind"), [("stroke", StrokeUNet), ("pseudo_healthy", ResidualSegmentor)])
def test_the_networks_of_the_papers_are_trained_saved_and_loaded(tmp_path, network, kind, spatial_dims):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=spatial_dims, n_subjects=2)
    task = fit(cohort, tmp_path / "model", spatial_dims, network=network, dropout=0.02)
    assert isinstance(task.network, kind)
    loaded = SegmentationTask.load(tmp_path / "model")
    for name, tensor in task.network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], tensor)


@BOTH
def test_cases_with_small_lesions_are_not_trained_on_and_lesion_free_ones_are(tmp_path, spatial_dims):
    cohort = tiny_cohort(tmp_path / "a", spatial_dims=spatial_dims, n_subjects=6, n_healthy=1)
    sizes = {case.case_id: int(np.count_nonzero(read_label(case.label)[0])) for case in cohort}
    median = int(np.median([size for size in sizes.values() if size]))
    task = fit(cohort, tmp_path / "model", spatial_dims, min_lesion_voxels=median)
    expected = [case_id for case_id, size in sizes.items() if size == 0 or size >= median]
    assert list(task.info.training_cases) == expected
    with pytest.raises(CohortError, match=r"has no case with lesions of 1000000 voxels; lower min_lesion_voxels"):
        fit(cohort.with_lesions(), tmp_path / "none", spatial_dims, min_lesion_voxels=1_000_000)
