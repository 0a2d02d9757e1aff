from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.cohort.case import Annotation
from lesionforge.cohort.scan import load_scan
from lesionforge.scores.drawn_images.sharpness import (
    cohort_sharpness,
    laplacian_variance,
    mean_frequency,
    scan_sharpness,
    spectrum_mean,
)
from tests.helpers import tiny_cohort

HEAD = np.ones((1, 64, 64), bool)


def noise(seed=0):
    return np.random.default_rng(seed).normal(size=(1, 64, 64))


def blurred(image, sigma):
    return ndimage.gaussian_filter(image, (0, sigma, sigma))


@pytest.mark.parametrize("measure", [lambda image: laplacian_variance(image, HEAD), mean_frequency])
def test_blur_lowers_sharpness(measure):
    image = blurred(noise(), 1)
    values = [float(measure(blurred(image, sigma))[0]) for sigma in (0, 0.5, 1, 2)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 1.3 * values[-1]


def test_the_laplacian_of_a_parabola_does_not_vary_and_that_of_a_checkerboard_does():
    x, y = np.meshgrid(np.arange(64.0), np.arange(64.0), indexing="ij")
    inside = np.zeros((1, 64, 64), bool)
    inside[:, 4:-4, 4:-4] = True
    assert laplacian_variance((x**2 + y**2)[None], inside)[0] == pytest.approx(0)
    assert laplacian_variance(((x + y) % 2)[None], inside)[0] == pytest.approx(16.0)


def test_only_the_head_counts_for_the_laplacian():
    image, head = blurred(noise(), 1), HEAD.copy()
    head[:, :32] = False
    rough = image.copy()
    rough[:, :28] += noise(1)[:, :28]
    assert laplacian_variance(rough, head)[0] == pytest.approx(laplacian_variance(image, head)[0])
    assert np.isnan(laplacian_variance(image, ~HEAD)[0])


def test_the_mean_of_the_spectrum_follows_contrast_and_so_calls_a_blurred_slice_sharp():
    image = noise()
    assert spectrum_mean(3 * image)[0] == pytest.approx(3 * spectrum_mean(image)[0])
    assert spectrum_mean(10 * blurred(image, 1))[0] > spectrum_mean(image)[0]
    assert mean_frequency(10 * blurred(image, 1))[0] < mean_frequency(image)[0]


def test_white_noise_has_the_spectrum_that_theory_says():
    image = np.random.default_rng(0).normal(0, 2, (4, 128, 128))
    assert spectrum_mean(image).mean() == pytest.approx(2 * np.sqrt(np.pi) / 2, rel=0.01)
    assert mean_frequency(image).mean() == pytest.approx(0.3826, rel=0.01)
    assert np.isnan(mean_frequency(np.ones((1, 8, 8)))[0])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_linear_change_of_the_window_changes_nothing_and_blur_does(spatial_dims, tmp_path):
    scan = load_scan(tiny_cohort(tmp_path, spatial_dims=spatial_dims, n_subjects=1).cases[0], ("FLAIR",))
    before = scan_sharpness(scan)
    window = scan_sharpness(replace(scan, image=3.7 * scan.image - 1000))
    smooth = scan_sharpness(replace(scan, image=ndimage.gaussian_filter(scan.image, (0, *[1] * spatial_dims))))
    for name, value in before.items():
        assert window[name] == pytest.approx(value, rel=1e-3)
    assert smooth["laplacian_variance"] < 0.5 * before["laplacian_variance"]
    assert smooth["mean_frequency"] < before["mean_frequency"]


def test_of_a_volume_the_slices_with_a_lesion_are_looked_at(tmp_path):
    scan = load_scan(tiny_cohort(tmp_path, spatial_dims=3, n_subjects=1).cases[0], ("FLAIR",))
    label = np.zeros_like(scan.label)
    label[12:18, 12:18, 8] = 1
    rough = scan.image.copy()
    rough[..., 9:] += np.random.default_rng(0).normal(0, 30, rough[..., 9:].shape) * (rough[..., 9:] > 0)
    marked = replace(scan, label=label)
    assert scan_sharpness(replace(marked, image=rough))["laplacian_variance"] == pytest.approx(
        scan_sharpness(marked)["laplacian_variance"], rel=0.5
    )
    everywhere = scan_sharpness(replace(marked, image=rough, label=None))
    assert everywhere["laplacian_variance"] > 2 * scan_sharpness(marked)["laplacian_variance"]


def test_every_case_of_a_cohort_has_a_row_lesion_free_ones_too(tmp_path):
    cohort = tiny_cohort(tmp_path, spatial_dims=2, n_subjects=3, n_healthy=1)
    table = cohort_sharpness(cohort)
    assert list(table["case_id"]) == [case.case_id for case in cohort]
    assert table.notna().all(axis=None)
    assert any(case.annotation is Annotation.LESION_FREE for case in cohort)
