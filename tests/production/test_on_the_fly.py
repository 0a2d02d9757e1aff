from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.data import Dataset
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Compose, RandFlipd

from lesionforge.augmentation.seeded import apply_seeded
from lesionforge.errors import PlacementError
from lesionforge.masks.base import MaskSource
from lesionforge.masks.ellipsoids import Ellipsoids
from lesionforge.masks.mask import DrawnMask
from lesionforge.masks.slice_masks import SliceBank
from lesionforge.preprocessing.lesions.margin import hole_around
from lesionforge.production.on_the_fly import CarveMixd, SynthesizeLesiond
from lesionforge.tasks.segmentation.training_set import TrainingSet
from lesionforge.training.items.source import Source
from tests.synthesizers.models import fit_library, read_samples, untrained_pix2pix

DIMS = [2, 3]
KINDS = ("pix2pix inpaint", "pix2pix scan", "copy_paste", "carvemix")
MARGIN = 4.0
SMALL = Ellipsoids(count=(1, 1), diameter_mm=(8.0, 14.0))


@pytest.fixture(scope="module")
def models(cohorts, tmp_path_factory):
    """The on-the-fly methods by dimensions and name."""
    folder, made = tmp_path_factory.mktemp("models"), {}
    for dims, cohort in cohorts.items():
        made[dims, "pix2pix inpaint"] = untrained_pix2pix(cohort, margin_mm=MARGIN)
        made[dims, "pix2pix scan"] = untrained_pix2pix(cohort, condition="scan", margin_mm=MARGIN)
        made[dims, "copy_paste"] = fit_library("copy_paste", cohort, folder / f"paste{dims}", margin_mm=MARGIN)
        made[dims, "carvemix"] = fit_library("carvemix", cohort, folder / f"carve{dims}")
    return made


@pytest.fixture(scope="module")
def samples(cohorts):
    return {dims: read_samples(cohort) for dims, cohort in cohorts.items()}


def make_transform(model, *, prob=1.0):
    if model.method == "carvemix":
        return CarveMixd(model, prob=prob)
    return SynthesizeLesiond(model, SMALL, prob=prob, min_volume=10.0)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_regions_found_before_clipping_hold_the_lesions(spatial_dims, samples):
    for sample in samples[spatial_dims]:
        assert sample.region.mean() > 0.2
        assert sample.region[sample.label > 0].all()


class Items(torch.utils.data.Dataset):
    """Samples under a transform that is seeded with the item's number."""

    def __init__(self, samples, transform):
        self.samples, self.transform = samples, Compose([transform])

    def __len__(self):
        return 3 * len(self.samples)

    def __getitem__(self, index):
        item = apply_seeded(self.transform, self.samples[index % len(self.samples)].as_item(), 100 + index)
        return {"image": np.asarray(item["image"]), "label": np.asarray(item["label"])}


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_with_any_number_of_workers(kind, spatial_dims, models, samples):
    items = Items(samples[spatial_dims], make_transform(models[spatial_dims, kind], prob=0.5))
    batches = {
        workers: list(torch.utils.data.DataLoader(items, batch_size=4, num_workers=workers)) for workers in (0, 2)
    }
    for one, other in zip(*batches.values(), strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])
    originals = [
        torch.from_numpy(samples[spatial_dims][i % len(samples[spatial_dims])].image) for i in range(len(items))
    ]
    changed = [
        not torch.equal(a, b) for a, b in zip(torch.cat([b["image"] for b in batches[0]]), originals, strict=True)
    ]
    assert any(changed)
    assert not all(changed)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_monais_own_seeding_reaches_it(kind, spatial_dims, models, samples):
    """``set_random_state`` of the Compose that a MONAI Dataset applies, epoch after epoch."""
    known = ("image", "label", "region", "spacing", "case_id", "height")
    keep = [{key: sample.as_item()[key] for key in known} for sample in samples[spatial_dims]]

    def epochs(seed):
        transform = Compose([make_transform(models[spatial_dims, kind]), RandFlipd(("image", "label"), prob=0.5)])
        transform.set_random_state(seed)
        loader = torch.utils.data.DataLoader(Dataset(keep, transform), batch_size=2)
        return [batch["image"].numpy() for _ in range(2) for batch in loader]

    first, again, other = epochs(1), epochs(1), epochs(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    half = len(first) // 2
    assert not all(np.array_equal(a, b) for a, b in zip(first[:half], first[half:], strict=True))


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_never_is_never(kind, spatial_dims, models, samples):
    transform = make_transform(models[spatial_dims, kind], prob=0.0)
    for sample in samples[spatial_dims]:
        item = sample.as_item()
        after = transform(item)
        assert after.keys() == item.keys()
        assert all(after[key] is item[key] for key in item)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("kind", ["pix2pix inpaint", "pix2pix scan", "copy_paste"])
def test_always_is_always_and_only_around_the_lesion(kind, spatial_dims, models, samples):
    transform = make_transform(models[spatial_dims, kind])
    transform.set_random_state(0)
    for sample in samples[spatial_dims]:
        before = sample.image.copy(), sample.label.copy()
        after = transform(sample.as_item())
        label = after["label"][0]
        new = (label > 0) & (sample.label == 0)
        assert new.any()
        assert np.array_equal(label[~new], sample.label[~new])
        hole, _ = hole_around(new.astype(np.int16), MARGIN, sample.spacing)
        changed = (after["image"] != sample.image).any(0)
        assert changed[new].mean() > 0.9
        assert not changed[~hole].any()
        assert np.array_equal(before[0], sample.image)
        assert np.array_equal(before[1], sample.label)
        assert after["label"].dtype == sample.as_item()["label"].dtype
        assert after["image"].dtype == np.float32


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_no_new_lesion_is_smaller_than_asked(spatial_dims, models, samples):
    least = {2: 120.0, 3: 900.0}[spatial_dims]
    transform = SynthesizeLesiond(models[spatial_dims, "copy_paste"], SMALL, prob=1.0, min_volume=least, max_redraws=50)
    transform.set_random_state(0)
    sample = next(sample for sample in samples[spatial_dims] if not sample.label.any())
    for _ in range(5):
        label = transform(sample.as_item())["label"]
        assert np.count_nonzero(label) * np.prod(sample.spacing) >= least


def test_a_2d_models_margin_stays_in_the_slices_of_the_mask(cohorts, samples):
    model = untrained_pix2pix(cohorts[3], spatial_dims=2, condition="scan", margin_mm=MARGIN)
    transform = make_transform(model)
    transform.set_random_state(0)
    for sample in samples[3]:
        after = transform(sample.as_item())
        changed = (after["image"] != sample.image).any((0, 1, 2))
        assert np.array_equal(changed, (after["label"][0] != sample.label).any((0, 1)))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_carving_replaces_image_and_label_together(spatial_dims, models, samples):
    transform = make_transform(models[spatial_dims, "carvemix"])
    transform.set_random_state(3)
    grown = 0
    for sample in samples[spatial_dims]:
        after = transform(replace(sample, level=()).as_item())
        changed = (after["image"] != sample.image).any(0)
        assert changed.any()
        assert not (after["label"][0] != sample.label)[~changed].any()
        grown += bool((after["label"][0] > sample.label).any())
    assert grown


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_global_generators_are_left_alone(kind, spatial_dims, models, samples):
    transform = Compose([make_transform(models[spatial_dims, kind])])
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    before = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    results = [apply_seeded(transform, sample.as_item(), 1) for sample in samples[spatial_dims]]
    after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(after[1], before[0][1])
    assert after[2:] == before[0][2:]
    assert torch.equal(torch.get_rng_state(), before[1])
    np.random.seed(6)  # noqa: NPY002
    torch.manual_seed(6)
    for result, sample in zip(results, samples[spatial_dims], strict=True):
        again = apply_seeded(transform, sample.as_item(), 1)
        assert np.array_equal(again["image"], result["image"])


class NoPlace(MaskSource):
    """Draws what never fits."""

    digest = ""
    subjects = frozenset()

    def __init__(self):
        self.drawn = 0

    def draw(self, scan, rng):
        self.drawn += 1
        return DrawnMask(mask=np.zeros((1,) * scan.spatial_dims, np.int16), mask_id="none", subjects=frozenset())


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_an_item_without_a_place_stays_as_it_is(spatial_dims, models, samples):
    masks = NoPlace()
    transform = SynthesizeLesiond(models[spatial_dims, "copy_paste"], masks, prob=1.0, max_redraws=3)
    item = samples[spatial_dims][0].as_item()
    after = transform(item)
    assert masks.drawn == 4
    assert all(after[key] is item[key] for key in item)
    nowhere = replace(samples[spatial_dims][0], region=np.zeros_like(samples[spatial_dims][0].label, bool))
    with pytest.raises(PlacementError):
        masks.sample(nowhere.as_scan(), np.random.default_rng(0))
    after = transform(nowhere.as_item())
    assert np.array_equal(after["image"], nowhere.image)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("method", ["object_paste", "selfmix"])
def test_a_lesion_that_a_method_places_itself_is_drawn_or_the_item_stays(
    method, spatial_dims, cohorts, samples, tmp_path
):
    transform = CarveMixd(fit_library(method, cohorts[spatial_dims], tmp_path / "m"), prob=1.0)
    sample = samples[spatial_dims][0]
    drawn = [apply_seeded(Compose([transform]), sample.as_item(), seed) for seed in (0, 0, 1)]
    assert np.array_equal(drawn[0]["image"], drawn[1]["image"])
    assert not np.array_equal(drawn[0]["image"], drawn[2]["image"])
    new = drawn[0]["label"][0] != sample.label
    assert new.any()
    assert np.array_equal(np.asarray(drawn[0]["image"])[:, ~new], sample.image[:, ~new])
    item = replace(sample, region=np.zeros_like(sample.region)).as_item()
    after = transform(item)
    assert all(after[key] is item[key] for key in item)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [torch.as_tensor, MetaTensor])
def test_items_of_other_loaders_keep_their_kind_of_array(make, kind, spatial_dims, models, samples):
    """So that changed and unchanged items go into one batch."""
    transform = make_transform(models[spatial_dims, kind])
    transform.set_random_state(0)
    sample = samples[spatial_dims][0]
    item = {
        "image": make(torch.from_numpy(sample.image.copy())),
        "label": make(torch.from_numpy(sample.label[None].astype(np.float32))),
        "region": make(torch.from_numpy(sample.region[None])),
        "case_id": "x",
    }
    after = transform(item)
    assert not np.array_equal(np.asarray(after["image"]), sample.image)
    for key in ("image", "label"):
        assert type(after[key]) is type(item[key])
        assert after[key].dtype == item[key].dtype
        assert after[key].shape == item[key].shape


@pytest.mark.parametrize("kind", ["pix2pix inpaint", "copy_paste", "carvemix", "object_paste", "selfmix"])
def test_a_task_trains_on_slices_of_volumes_with_lesions_drawn_in(kind, cohorts, tmp_path):
    """A 2D task on volumes: slices go through a 2D method with a bank of slices."""
    cohort = cohorts[3]
    if kind == "pix2pix inpaint":
        model = untrained_pix2pix(cohort, spatial_dims=2, margin_mm=MARGIN)
    else:
        model = fit_library(kind, cohort, tmp_path / "m", spatial_dims=2)
    volumes = read_samples(cohort, model.info.preprocessing)
    transform = (
        CarveMixd(model, prob=1.0)
        if not model.needs_mask
        else SynthesizeLesiond(model, SliceBank(volumes), prob=1.0, min_volume=10.0)
    )

    def items(source):
        return TrainingSet([source], spatial_dims=2, roi_size=(24, 24), background=-1.0, augment=None, seed=0)

    plain = items(Source(samples=volumes))
    synthetic = items(Source(samples=volumes, transform=Compose([transform])))
    differ = [not torch.equal(plain[draw]["image"], synthetic[draw]["image"]) for draw in range(16)]
    assert sum(differ) > 4
    for draw in range(16):
        item = synthetic[draw]
        assert item["image"].shape == (1, 24, 24)
        assert item["label"].dtype == torch.int64
        assert torch.equal(item["image"], synthetic[draw]["image"])
