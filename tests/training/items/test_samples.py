"""Samples are read once, and are the same in memory and in the file of what does not fit there."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lesionforge.augmentation.classical import classical_augmentation
from lesionforge.cohort.inspection.fingerprint import fingerprint
from lesionforge.errors import CohortError, OutputError
from lesionforge.healers.healing_items import HealingItems
from lesionforge.preprocessing.brain.region import with_region
from lesionforge.preprocessing.lesions.lesion_library import build_library
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.tasks.segmentation.training_set import TrainingSet
from lesionforge.training.items import samples as module
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.items.source import Source
from tests.helpers import NESTED, tiny_cohort

DRAWS = range(24)
KINDS = [(2, 2), (2, 3), (3, 3)]
"""Dimensions of the network and of the scans."""


def segmentation_items(samples, spatial_dims, roi_size):
    augment = classical_augmentation(spatial_dims, background=-1.0)
    sources = [Source(samples=samples)]
    return TrainingSet(sources, spatial_dims=spatial_dims, roi_size=roi_size, background=-1.0, augment=augment, seed=3)


def translation_items(samples, spatial_dims, roi_size, *, condition):
    config = Pix2PixConfig(spatial_dims=spatial_dims, roi_size=roi_size, condition=condition, channels=(4, 8))
    channels = samples[0].image.shape[0]
    shown = Condition(
        name=condition, image_channels=channels, classes=(1, 2), anatomy=(), noise_channels=1, lesion_intensity=False
    )
    return TrainingCrops(samples, config, shown, seed=3)


def healing_items(samples, spatial_dims, roi_size):
    return HealingItems(
        samples,
        spatial_dims=spatial_dims,
        roi_size=roi_size,
        output=(-1.0, 1.0),
        classes=(1, 2),
        pairing="unpaired",
        augment=True,
        seed=3,
    )


ITEMS = {
    "segmentation": segmentation_items,
    "inpaint": partial(translation_items, condition="inpaint"),
    "scan": partial(translation_items, condition="scan"),
    "label": partial(translation_items, condition="label"),
    "healing": healing_items,
}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: f"{kind[0]}D of {kind[1]}D")
def both(request, tmp_path_factory):
    """Return the network's dimensions, and the same samples in memory, in part in the file, and all in the file."""
    spatial_dims, of_scans = request.param
    cohort = tiny_cohort(
        tmp_path_factory.mktemp("cohort") / "c",
        spatial_dims=of_scans,
        channels=("FLAIR", "T1"),
        labels=NESTED,
        n_healthy=1,
        anatomy=True,
    )
    preprocessing = Preprocessing.fit(fingerprint(cohort, cohort.channels), spatial_dims=spatial_dims)
    read = partial(cached_samples, cohort, preprocessing, prepare=with_region)
    in_memory = read()
    one = sum(array.nbytes for array in module._arrays(in_memory[0]).values())
    return spatial_dims, in_memory, read(memory=2 * one), read(memory=0)


def is_mapped(sample):
    return not sample.image.flags.owndata and not isinstance(sample.image.base, np.ndarray)


def test_samples_are_the_same_in_memory_and_in_the_file(both):
    _, in_memory, in_part, in_file = both
    assert [is_mapped(sample) for sample in in_memory] == [False] * 4
    assert sum(is_mapped(sample) for sample in in_part) == 2
    assert [is_mapped(sample) for sample in in_file] == [True] * 4
    for others in (in_part, in_file):
        for one, other in zip(in_memory, others, strict=True):
            assert (one.case_id, one.spacing, one.level) == (other.case_id, other.spacing, other.level)
            for name, array in module._arrays(one).items():
                assert np.array_equal(array, getattr(other, name))
                assert array.dtype == getattr(other, name).dtype


@pytest.mark.parametrize("kind", ITEMS)
def test_training_items_are_the_same_whichever_way(both, kind):
    spatial_dims, *ways = both
    roi_size = (24,) * spatial_dims
    first, *others = [ITEMS[kind](samples, spatial_dims, roi_size) for samples in ways]
    for draw in DRAWS:
        expected = first[draw]
        for other in others:
            item = other[draw]
            assert set(item) == set(expected)
            assert all(torch.equal(item[name], expected[name]) for name in item)


def test_lesions_that_are_kept_are_the_same_whichever_way(both):
    spatial_dims, *ways = both
    with_lesions = [[sample for sample in samples if sample.label.any()] for samples in ways]
    libraries = [build_library(samples, slices=spatial_dims == 2, context_mm=4.0) for samples in with_lesions]
    for lesions in zip(*libraries, strict=True):
        assert all(np.array_equal(lesion.image, lesions[0].image) for lesion in lesions)
        assert all(np.array_equal(lesion.distance, lesions[0].distance) for lesion in lesions)


def test_a_slice_of_a_volume_in_the_file_lies_in_one_piece(both):
    spatial_dims, _, _, in_file = both
    if in_file[0].image.ndim - 1 > spatial_dims:
        assert all(sample.image[..., 3].flags.f_contiguous for sample in in_file)
    else:
        assert spatial_dims == 2 or all(sample.image.flags.c_contiguous for sample in in_file)


@pytest.mark.parametrize("memory", [0, 50_000, 10**9])
def test_every_scan_is_read_once_however_many_items_are_drawn(tmp_path, monkeypatch, memory):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=5)
    read, original = [], module.load_scan
    monkeypatch.setattr(
        module, "load_scan", lambda case, channels: read.append(case.case_id) or original(case, channels)
    )
    samples = cached_samples(cohort, Preprocessing(spatial_dims=2, channels=cohort.channels), memory=memory)
    items = segmentation_items(samples, 2, (16, 16))
    for draw in range(50):
        items[draw]
    assert sorted(read) == [case.case_id for case in cohort]


def test_the_file_has_no_name_and_ends_with_the_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3)
    before = set(Path("/proc/self/fd").iterdir())
    samples = cached_samples(cohort, Preprocessing(spatial_dims=3, channels=cohort.channels), memory=0)
    assert not list((tmp_path / "temporary").iterdir())
    mapped = str(tmp_path / "temporary")
    assert mapped in Path("/proc/self/maps").read_text()
    assert len(set(Path("/proc/self/fd").iterdir()) - before) <= 1
    del samples
    assert mapped not in Path("/proc/self/maps").read_text()


def test_a_process_that_is_interrupted_or_fails_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3)
    for error in (KeyboardInterrupt, CohortError("case", "is bad", "mend it")):
        original, read = module.load_scan, []

        def fail(case, channels, *, error=error, read=read, original=original):
            read.append(case)
            if len(read) == 3:
                raise error
            return original(case, channels)

        with monkeypatch.context() as patch:
            patch.setattr(module, "load_scan", fail)
            with pytest.raises(type(error) if isinstance(error, Exception) else error):
                cached_samples(cohort, Preprocessing(spatial_dims=3, channels=cohort.channels), memory=0)
        assert not list((tmp_path / "temporary").iterdir())


def test_changes_of_an_item_do_not_reach_the_file(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3)
    samples = cached_samples(cohort, Preprocessing(spatial_dims=2, channels=cohort.channels), memory=0)
    before = samples[0].slice(3).image.copy()
    samples[0].slice(3).image[:] = 7
    assert np.array_equal(samples[0].slice(3).image, before)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    class Full:
        def tell(self):
            return 0

        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2)
    with pytest.raises(OutputError, match=r"cannot hold the prepared scans \(No space left on device\); set TMPDIR"):
        cached_samples(cohort, Preprocessing(spatial_dims=2, channels=cohort.channels), memory=0)
