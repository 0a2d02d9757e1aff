from dataclasses import replace

import numpy as np
import pytest
import torch

from lesionforge.errors import CohortError
from lesionforge.scores.cohorts.features import RandomFeatures, against_real, describe_images, distances
from lesionforge.scores.cohorts.fidelity import fidelity
from lesionforge.seeding import generator
from tests.helpers import tiny_cohort

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


def gauss(n, *, shift=0.0, scale=1.0, seed=0, features=12):
    return np.random.default_rng(seed).normal(shift, scale, (n, features))


@pytest.mark.parametrize("name", ["kid", "fid", "mmd"])
def test_distances_are_near_zero_for_one_source_and_grow_with_the_difference(name):
    same = distances(gauss(200), gauss(200, seed=1))[name]
    near = distances(gauss(200), gauss(200, shift=0.5, seed=1))[name]
    far = distances(gauss(200), gauss(200, shift=2.0, seed=1))[name]
    wide = distances(gauss(200), gauss(200, scale=2.0, seed=1))[name]
    assert abs(same) < 0.3 * near < 0.3 * far
    assert wide > 2 * abs(same)


def test_kid_is_the_unbiased_mmd_of_the_cubic_kernel():
    a, b = gauss(8), gauss(8, shift=0.3, seed=1)

    def kernel(x, y):
        return (x @ y.T / 12 + 1) ** 3

    def off_diagonal(k):
        return (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1))

    expected = off_diagonal(kernel(a, a)) + off_diagonal(kernel(b, b)) - 2 * kernel(a, b).mean()
    assert distances(a, b)["kid"] == pytest.approx(expected, rel=1e-6)


def test_fid_of_two_normals():
    """Means d apart in one feature, equal covariances: the distance is d²."""
    a = gauss(4000, features=3)
    b = gauss(4000, features=3, seed=1) + np.array([2.0, 0, 0])
    assert distances(a, b)["fid"] == pytest.approx(4.0, rel=0.05)


def test_features_are_the_same_everywhere_and_tell_images_apart():
    rng = np.random.default_rng(0)
    smooth = np.repeat(np.repeat(rng.normal(size=(4, 1, 8, 8)), 8, 2), 8, 3).astype(np.float32)
    rough = rng.normal(size=(4, 1, 64, 64)).astype(np.float32)
    torch.manual_seed(1)
    first = describe_images(smooth)
    torch.manual_seed(2)
    assert np.array_equal(first, describe_images(smooth))
    assert first.shape == (4, 160)
    assert RandomFeatures(1)(torch.from_numpy(smooth)).shape == (4, 160)
    within = np.linalg.norm(first[0] - first[1])
    assert np.linalg.norm(first[0] - describe_images(rough)[0]) > within


def test_the_floor_is_taken_between_subjects_with_sets_of_equal_size():
    """Subjects that differ much: images of one subject are near, halves of the subjects far."""
    rng = np.random.default_rng(0)
    means = rng.normal(0, 3, (6, 12))
    real = np.concatenate([gauss(20, seed=n) + means[n] for n in range(6)])
    subjects = [f"s{n}" for n in range(6) for _ in range(20)]
    found = against_real(real[::2], real, subjects, generator(0))
    for name in ("kid", "fid", "mmd"):
        drawn, floor = found[name]
        assert floor > drawn
    assert found == against_real(real[::2], real, subjects, generator(0))


def rows(table):
    return table.set_index("score")


@pytest.mark.parametrize("spatial_dims", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_cohort_of_the_same_kind_is_near_the_floor_and_another_is_not(tmp_path, spatial_dims):
    options = {"spatial_dims": spatial_dims, "n_subjects": 24}
    real = tiny_cohort(tmp_path / "real", **options)
    same = tiny_cohort(tmp_path / "same", **options, seed=7)
    scores = rows(fidelity(same, real))
    assert scores["drawn"].notna().all()
    shape = {2: (40, 64), 3: (32, 20, 16)}[spatial_dims]
    other = rows(fidelity(tiny_cohort(tmp_path / "other", **options, shape=shape, seed=7), real))
    for name in ("kid_slices", "fid_slices", "lesion_volume_ks"):
        assert other.loc[name, "drawn"] > 2 * scores.loc[name, "drawn"]
    assert scores.loc["lesion_volume_ks", "drawn"] < 0.45
    assert scores.loc["lesion_contrast", "drawn"] == pytest.approx(scores.loc["lesion_contrast", "real"], rel=0.15)
    assert scores.loc["lesion_contrast", "real"] > 1.2
    assert ("coherence" in scores.index) == (spatial_dims == 3)
    assert "psnr" not in scores.index


@pytest.mark.slow
def test_lesions_without_contrast_are_seen(tmp_path):
    from nibabel import Nifti1Image, load, save

    real = tiny_cohort(tmp_path / "real", spatial_dims=3, n_subjects=12)
    faint = tiny_cohort(tmp_path / "faint", spatial_dims=3, n_subjects=12, seed=5)
    for case in faint:
        image, label = load(case.images["FLAIR"]), np.asarray(load(case.label).dataobj)
        values = np.asarray(image.dataobj)
        healthy = np.median(values[(label == 0) & (values > 40)])
        save(Nifti1Image(np.where(label > 0, healthy, values).astype(np.int16), image.affine), case.images["FLAIR"])
    scores = rows(fidelity(faint, real))
    assert scores.loc["lesion_contrast", "drawn"] == pytest.approx(1, abs=0.1)
    assert scores.loc["lesion_contrast_ks", "drawn"] > 0.9
    assert scores.loc["intensity_inside", "drawn"] > 5 * scores.loc["intensity_outside", "drawn"]
    assert scores.loc["kid_lesions", "drawn"] > scores.loc["kid_lesions", "real"]


@BOTH
def test_cases_whose_source_is_there_are_paired_with_it(tmp_path, spatial_dims):
    real = tiny_cohort(tmp_path / "real", spatial_dims=spatial_dims, n_subjects=9)
    drawn = [replace(case, case_id=f"{case.case_id}_s", source_case=case.case_id, origin="synthetic") for case in real]
    scores = rows(fidelity(real.with_cases(drawn), real))
    assert scores.loc["ssim", "drawn"] == pytest.approx(1)
    assert scores.loc["psnr", "drawn"] == np.inf


def test_copies_of_one_image_are_not_diverse(tmp_path):
    real = tiny_cohort(tmp_path / "real", spatial_dims=2, n_subjects=10)
    copies = [replace(real.cases[0], case_id=f"copy_{n}") for n in range(10)]
    scores = rows(fidelity(real.with_cases(copies), real))
    assert scores.loc["pairwise_ms_ssim", "drawn"] == pytest.approx(1, abs=1e-3)
    assert scores.loc["pairwise_ms_ssim", "real"] < 0.95


@pytest.mark.parametrize("n", [12, 13])
def test_any_two_slices_are_a_pair_however_many_there_are(n, tmp_path):
    """Slices with the same remainder of their number by four are copies; pairs of these alone would look alike."""
    real = tiny_cohort(tmp_path / "real", spatial_dims=2, n_subjects=13)
    cases = [replace(real.cases[number % 4], case_id=f"copy_{number:02d}") for number in range(n)]
    scores = rows(fidelity(real.with_cases(cases), real))
    assert scores.loc["pairwise_ms_ssim", "drawn"] < 0.98


def test_too_few_cases_and_one_subject_are_refused(tmp_path):
    real = tiny_cohort(tmp_path / "real", spatial_dims=2, n_subjects=10)
    with pytest.raises(CohortError, match="has fewer than 8 cases with lesions"):
        fidelity(real.with_cases(real.cases[:7]), real)
    one = real.with_cases([replace(case, subject_id="same") for case in real])
    with pytest.raises(CohortError, match="has one subject only"):
        fidelity(real, one)
    with pytest.raises(CohortError, match="no channel 'T9'"):
        fidelity(real, real, channels=("T9",))
