"""Whether the channels of a case belong together."""

import numpy as np
import pytest
from scipy import ndimage

from lesionforge.preprocessing.pipeline import Sample
from lesionforge.scores.cohorts.channel_fit import ChannelVoxels, channel_errors
from lesionforge.scores.cohorts.fidelity import fidelity
from lesionforge.seeding import generator
from tests.helpers import tiny_cohort

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


def smooth_blobs(shape, seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    return noise / noise.std()


def head(spatial_dims, seed, *, other=None, lesion=None):
    """Return a sample of two channels; the second is the first, inverted and bent, or that of another seed."""
    shape = (40, 40, 6)[:spatial_dims]
    first, second = (smooth_blobs(shape, number) for number in (seed, seed if other is None else other))
    label = np.zeros(shape, np.int16)
    label[(slice(10, 20), slice(10, 20))] = 1
    image = np.stack([2 + first, 2 - np.tanh(second)]).astype(np.float32)
    if lesion is not None:
        image[1][label > 0] = lesion
    return Sample(
        image=image,
        label=label,
        anatomy=None,
        region=None,
        spacing=(1.0,) * spatial_dims,
        case_id=f"case_{seed}",
        subject_id=f"sub_{seed}",
    )


def voxels(spatial_dims, seeds, *, parents=None, **options):
    samples = [head(spatial_dims, seed, **options) for seed in seeds]
    return [ChannelVoxels.of(sample, frozenset(parents or {sample.subject_id})) for sample in samples]


@BOTH
def test_channels_of_one_head_fit_and_those_of_two_do_not(spatial_dims):
    real = voxels(spatial_dims, range(6))
    same, held_out = channel_errors(voxels(spatial_dims, range(10, 14)), real, generator(0))
    strangers = [*voxels(spatial_dims, [10], other=20), *voxels(spatial_dims, [11], other=21)]
    mixed, _ = channel_errors(strangers, real, generator(0))
    assert same["head"] == pytest.approx(held_out["head"], rel=0.5)
    assert mixed["head"] > 3 * held_out["head"]


@BOTH
def test_a_lesion_in_one_channel_alone_is_noticed_in_the_lesion(spatial_dims):
    real = voxels(spatial_dims, range(6))
    found, held_out = channel_errors(voxels(spatial_dims, range(10, 14), lesion=9.0), real, generator(0))
    assert found["lesion"] > 3 * held_out["lesion"]
    assert found["lesion"] > 3 * found["head"]


def test_no_regression_predicts_the_subjects_that_it_was_fitted_on():
    """A drawn case of a training subject is predicted by the other half, as its real case is."""
    real = voxels(2, range(6))
    for number in (0, 3):
        copy, _ = channel_errors([real[number]], real, generator(0))
        unknown, _ = channel_errors(voxels(2, [number], parents={"nobody"}), real, generator(0))
        assert copy["head"] >= unknown["head"] * 0.5
    both, _ = channel_errors(voxels(2, [0], parents={f"sub_{n}" for n in range(6)}), real, generator(0))
    nobody, _ = channel_errors(voxels(2, [0], parents={"nobody"}), real, generator(0))
    assert both == nobody


def test_fidelity_tells_of_it_where_there_are_channels_to_compare(tmp_path):
    for channels in (("FLAIR",), ("T1", "FLAIR")):
        name = "-".join(channels)
        cohort = tiny_cohort(tmp_path / name, spatial_dims=2, n_subjects=8, channels=channels)
        table = fidelity(cohort, cohort).set_index("score")
        rows = [score for score in table.index if score.startswith("channel_fit")]
        assert rows == (["channel_fit_head", "channel_fit_lesion"] if len(channels) > 1 else [])
        for row in rows:
            assert table.loc[row, "drawn"] == pytest.approx(table.loc[row, "real"], rel=1e-6)
