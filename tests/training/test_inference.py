"""Sliding windows: what a network says of a scan does not show where its windows lie."""

import numpy as np
import pytest
import torch
from torch import nn

from lesionforge.training.inference import in_windows, linear_weights

EACH = pytest.mark.parametrize(
    ("shape", "roi_size"),
    [
        pytest.param((37, 22), (16, 16), id="odd sizes"),
        pytest.param((37, 9), (16, 16), id="smaller than a window along one axis"),
        pytest.param((5, 7), (16, 16), id="smaller than a window"),
        pytest.param((20, 18, 43), (16, 16, 16), id="volume"),
        pytest.param((20, 13, 27), (20, 14, 8), id="whole slices, several windows in z"),
        pytest.param((9, 9, 5), (16, 16, 8), id="volume smaller than a window"),
    ],
)


class Shift(nn.Module):
    """Changes the level from window to window, as instance norm does."""

    def forward(self, x):
        return x - 0.5 * x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def ramp(shape):
    """Rises by 1 a voxel along the last axis."""
    return np.broadcast_to(np.arange(shape[-1], dtype=np.float32), shape)[None, None].copy()


@EACH
def test_what_changes_nothing_leaves_no_step(shape, roi_size):
    """A constant stays a constant, and a ramp a ramp, within float32."""
    for image in (np.full((1, 1, *shape), 0.7, np.float32), ramp(shape)):
        made = in_windows(nn.Identity(), image, roi_size=roi_size, seamless=True)
        assert made.shape == image.shape
        assert np.allclose(made, image, atol=1e-4)


@EACH
def test_levels_that_change_from_window_to_window_fade_into_each_other(shape, roi_size):
    """The levels of two neighbouring windows differ by a quarter of a window; this is spread over half a window."""
    image = ramp(shape)
    steps = np.abs(np.diff(in_windows(Shift(), image, roi_size=roi_size, seamless=True), axis=-1) - 1)
    assert steps.max(initial=0) <= 1


def test_gaussian_weights_leave_a_step_there():
    image = ramp((20, 13, 27))
    made = {seamless: in_windows(Shift(), image, roi_size=(20, 14, 8), seamless=seamless) for seamless in (True, False)}
    largest = {seamless: np.abs(np.diff(image, axis=-1) - 1).max() for seamless, image in made.items()}
    assert largest[False] > 3 * largest[True]


def test_weights_are_positive_and_those_of_two_windows_that_overlap_by_half_sum_to_one():
    weights = linear_weights((8, 6))
    assert weights.shape == (8, 6)
    assert weights.min() > 0
    along = weights[:, 2] / weights[:, 2].max() * (7 / 8)
    assert torch.allclose(along[:4] + along[4:], torch.ones(4))
