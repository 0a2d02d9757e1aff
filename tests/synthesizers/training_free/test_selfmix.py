"""SelfMix: a lesion of a scan, fused with the scan's own tissue elsewhere."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.errors import ConfigError, PlacementError
from lesionforge.production.synthesize import synthesize_cohort
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import load_synthesizer
from lesionforge.synthesizers.training_free.selfmix import fusion_weight
from tests.helpers import NESTED, tiny_cohort
from tests.synthesizers.models import ball_mask, fit_library, read_samples

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A cohort with a lesion-free case, a fitted model and its folder, by dimensions."""
    made = {}
    for dims in (2, 3):
        folder = tmp_path_factory.mktemp(f"selfmix{dims}")
        cohort = tiny_cohort(folder / "c", spatial_dims=dims, n_subjects=3, n_healthy=1, labels=NESTED)
        made[dims] = cohort, fit_library("selfmix", cohort, folder / "model"), folder / "model"
    return made


def nothing(sample):
    return np.zeros_like(sample.label)


@BOTH
def test_the_weight_follows_the_formula(spatial_dims):
    spacing = (1.0, 2.0, 3.0)[:spatial_dims]
    label = ball_mask((13, 13, 9)[:spatial_dims], (6, 6, 4)[:spatial_dims], 4)
    label[label > 0] += (np.indices(label.shape)[0] > 6)[label > 0]
    for least in (0.7, 0.9, 1.0):
        weight = fusion_weight(label, spacing, least)
        depth = ndimage.distance_transform_edt(label > 0, sampling=spacing)
        expected = (1 - least) * depth / depth.max() + least
        assert weight[label > 0] == pytest.approx(expected[label > 0])
        assert (weight[label == 0] == 0).all()


@BOTH
def test_the_fused_lesion_lies_between_lesion_and_tissue(spatial_dims, models):
    """Of a scan whose lesion is 0.5 and whose tissue is -0.5: lambda is read off the edge, and lies in (0.7, 1)."""
    cohort, model, _ = models[spatial_dims]
    sample = read_samples(cohort.subset(["case_000"]))[0]
    flat = replace(sample, image=np.full_like(sample.image, -0.5))
    lesions = [replace(x, image=np.full_like(x.image, 0.5)) for x in model.lesions]
    model, seen = type(model)(model.info, lesions), []
    for seed in range(20):
        drawn = model.synthesize(flat, nothing(sample), generator(seed))
        new = drawn.label != sample.label
        assert np.array_equal(drawn.image[:, ~new], flat.image[:, ~new])
        weight = drawn.image[0][new] + 0.5
        assert weight.min() > 0.7
        assert weight.max() <= 1 + 1e-6
        seen.append(weight.min())
    assert np.ptp(seen) > 0.1


@BOTH
def test_the_lesion_is_the_scans_own_and_the_old_one_stays(spatial_dims, models):
    cohort, model, _ = models[spatial_dims]
    for sample in read_samples(cohort.with_lesions()):
        for seed in range(4):
            (chosen,) = model.chosen(sample, generator(seed))
            assert model.info.training_cases[chosen.case] == sample.case_id
        drawn = model.synthesize(sample, nothing(sample), generator(1))
        old = sample.label > 0
        assert np.array_equal(drawn.label[old], sample.label[old])
        assert np.array_equal(drawn.image[:, old], sample.image[:, old])
        assert np.count_nonzero(drawn.label) > np.count_nonzero(old)


@BOTH
def test_the_same_seed_fuses_the_same_also_with_a_loaded_model(spatial_dims, models):
    cohort, model, folder = models[spatial_dims]
    sample, loaded = read_samples(cohort)[0], load_synthesizer(folder)
    images = [m.synthesize(sample, nothing(sample), generator(5)).image for m in (model, loaded)]
    assert np.array_equal(*images)
    assert len({model.synthesize(sample, nothing(sample), generator(s)).image.tobytes() for s in range(4)}) == 4


@BOTH
def test_scans_without_a_lesion_are_left_out(spatial_dims, models, tmp_path):
    cohort, model, _ = models[spatial_dims]
    run = synthesize_cohort(model, cohort, None, out=tmp_path / "drawn")
    assert not run.problems
    assert {case.source_case for case in run.cohort} == {case.case_id for case in cohort.with_lesions()}
    with pytest.raises(ConfigError, match="which lesion-free scans lack"):
        synthesize_cohort(model, cohort, None, out=tmp_path / "free", lesion_free=True)


@BOTH
def test_a_scan_that_it_was_not_fitted_on_is_named(spatial_dims, models):
    cohort, model, _ = models[spatial_dims]
    stranger = replace(read_samples(cohort)[0], case_id="stranger")
    with pytest.raises(PlacementError, match=r"stranger.*fitted on"):
        model.synthesize(stranger, nothing(stranger), generator(0))
