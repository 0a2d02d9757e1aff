"""Crops in training, whole volumes out: where drawing by crops and drawing whole agree, and that there are no seams."""

from dataclasses import replace

import numpy as np
import pytest

from lesionforge.seeding import generator
from tests.synthesizers.models import ball_mask, make_sample, untrained_pix2pix

ROI, LONG, REACH = 24, 192, 72
"""Voxels: a training crop, a volume eight times as long, and how far an edge of the volume reaches at most."""


def label_map(length):
    """Return a sample with an anatomy and a lesion that are the same in every plane along the first axis."""
    plane = np.zeros((ROI, ROI), np.int16)
    plane[4:20, 4:20], plane[8:14, 10:18] = 1, 2
    sample = make_sample(
        (length, ROI, ROI), label=np.broadcast_to(ball_mask((ROI, ROI), (9, 9), 3), (length, ROI, ROI))
    )
    return replace(sample, anatomy=np.broadcast_to(plane, (length, ROI, ROI)))


def drawn(model, sample):
    return model.synthesize(sample, sample.label, generator(0)).image


def drawing_model(cohort, network="unet"):
    return untrained_pix2pix(cohort, condition="label", network=network, noise_channels=0, lesion_intensity=False)


@pytest.mark.parametrize("network", ["unet", "resnet"])
def test_a_volume_of_eight_crops_shows_no_seam(network, cohorts):
    """Planes that show the same are drawn the same, wherever crops would have met: no window, and one norm for all."""
    model = drawing_model(cohorts[3], network)
    image, step = drawn(model, label_map(LONG)), model.config.divisor
    middle = image[:, REACH : LONG - REACH]
    assert middle.std() > 0.05
    assert np.abs(middle[:, step:] - middle[:, :-step]).max() < 1e-4


def test_a_crop_and_a_whole_volume_of_the_same_are_drawn_alike(cohorts):
    """But for the level: instance norm takes it from all that is drawn, and edges are a larger part of a crop."""
    model = drawing_model(cohorts[3])
    crop, long, longer = (drawn(model, label_map(length)) for length in (ROI, LONG, 2 * LONG))
    middle, at = (slice(first, first + model.config.divisor) for first in (ROI // 2, REACH))
    by_crop, whole, of_longer = crop[:, middle], long[:, at], longer[:, at]
    assert np.corrcoef(by_crop.ravel(), whole.ravel())[0, 1] > 0.99
    assert np.abs(whole - of_longer).max() < np.abs(by_crop - whole).max() < whole.std()


def test_a_hole_is_drawn_from_its_crop_alone_in_a_volume_of_any_size(cohorts):
    model = untrained_pix2pix(cohorts[3], condition="inpaint", noise_channels=0)
    whole = make_sample((LONG, ROI, ROI))
    mask = ball_mask((LONG, ROI, ROI), (LONG // 2, ROI // 2, ROI // 2), 4)
    around = slice(LONG // 2 - ROI // 2, LONG // 2 + ROI // 2)
    alone = replace(whole, image=whole.image[:, around], label=whole.label[around], region=whole.region[around])
    image = model.synthesize(whole, mask, generator(0)).image
    assert np.array_equal(image[:, around], model.synthesize(alone, mask[around], generator(0)).image)
    outside = np.delete(np.arange(LONG), np.arange(LONG)[around])
    assert np.array_equal(image[:, outside], whole.image[:, outside])
