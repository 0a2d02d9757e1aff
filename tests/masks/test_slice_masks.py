from dataclasses import replace

import numpy as np
import pytest

from lesionforge.errors import ConfigError
from lesionforge.masks.placement import crop_to_lesion
from lesionforge.masks.slice_masks import SliceBank, sample_with_region
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.seeding import generator
from tests.masks.scans import ball


def volume(*, subject="s1", lesion_slices=range(4, 9), spacing=(1.0, 2.0, 5.0), region=True):
    shape = (40, 32, 12)
    brain = ball(shape, [19.5, 15.5, 5.5], [16, 13, 5])
    label = np.zeros(shape, np.int16)
    for z in lesion_slices:
        label[10 : 12 + z, 8:13, z] = 1
    label[11, 9, list(lesion_slices)[:1]] = 2
    image = np.where(brain, 0.2 + 0.05 * generator(0).normal(size=shape), -1).astype(np.float32)[None]
    return Sample(
        image=image,
        label=label,
        anatomy=None,
        region=brain if region else None,
        spacing=spacing,
        case_id=f"case_{subject}",
        subject_id=subject,
    )


def test_every_slice_with_a_lesion_is_a_mask():
    bank = SliceBank([volume(), volume(subject="s2", lesion_slices=[6])])
    assert len(bank.lesions) == 6
    assert bank.subjects == {"s1", "s2"}
    for lesion, z in zip(bank.lesions, range(4, 9), strict=False):
        assert np.array_equal(lesion.mask, crop_to_lesion(volume().label[..., z])[0])
        assert lesion.spacing == (1.0, 2.0)
        assert (lesion.mask_id, lesion.subject) == ("case_s1", "s1")
        assert all(0 <= c <= 1 for c in lesion.centre)
    assert set(np.unique(bank.lesions[0].mask)) == {1, 2}


def target_at(height):
    blank = replace(volume().slice(6), label=np.zeros((40, 32), np.int16), case_id="other")
    return replace(blank, height=height).as_scan()


def drawn_slices(bank, target, n=300):
    """Return how often each lesion of the bank is drawn."""
    rng = generator(1)
    sizes = [np.count_nonzero(bank.draw(target, rng).mask) for _ in range(n)]
    counts = [sizes.count(np.count_nonzero(lesion.mask)) for lesion in bank.lesions]
    assert sum(counts) == n
    return counts


@pytest.mark.parametrize(
    ("height", "slices"),
    [(4.5 / 12, {4, 5}), (6.5 / 12, {5, 6, 7}), (0.05, {4}), (0.95, {8})],
    ids=["lowest", "middle", "below all", "above all"],
)
def test_a_slice_gets_the_masks_of_its_height_evenly(height, slices):
    counts = drawn_slices(SliceBank([volume()]), target_at(height))
    assert {z for z, count in zip(range(4, 9), counts, strict=True) if count} == slices
    assert min(count for count in counts if count) > 200 / len(slices) / 2


def test_a_drawn_slice_is_placed_in_the_brain():
    target = target_at(0.5)
    placed = SliceBank([volume()]).sample(target, generator(2), min_volume=10.0)
    assert placed.mask.shape == (40, 32)
    assert placed.subjects == {"s1"}
    assert not placed.mask[~target.region].any()


def test_single_slices_are_taken_as_they_are():
    slices = [volume().slice(z) for z in (2, 5, 7)]
    bank = SliceBank(slices)
    assert len(bank.lesions) == 2
    assert np.array_equal(bank.lesions[0].mask, crop_to_lesion(slices[1].label)[0])


def test_a_slice_without_brain_gives_no_mask():
    sample = volume(lesion_slices=[0, 6])
    assert not sample.region[..., 0].any()
    assert len(SliceBank([sample]).lesions) == 1


def test_the_region_is_found_where_it_is_missing_and_kept_where_it_is_there():
    sample = volume(region=False)
    found = sample_with_region(sample)
    assert found.region is not None
    assert found.region.mean() > 0.05
    assert sample_with_region(found).region is found.region


@pytest.mark.parametrize("samples", [[], [volume(lesion_slices=[6])]])
def test_no_lesion_no_bank(samples):
    empty = [replace(sample, label=np.zeros_like(sample.label)) for sample in samples]
    with pytest.raises(ConfigError, match="no slice has a lesion"):
        SliceBank(empty)


def test_volumes_are_refused_in_one_line():
    sample = volume()
    with pytest.raises(ConfigError, match="2D mask") as error:
        SliceBank([sample]).draw(sample.as_scan(), generator(0))
    assert "\n" not in str(error.value)
