"""What pseudo-healthy synthesis is trained on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lesionforge.cohort.case import Annotation
from lesionforge.errors import CohortError, ConfigError
from lesionforge.healers.healing_items import KEPT_PLACES, TISSUE_SHARE, HealingItems, box_sums, draw_places
from lesionforge.healers.registry import HEALERS
from lesionforge.seeding import generator
from tests.helpers import tiny_cohort
from tests.synthesizers.healers import healer_options
from tests.synthesizers.models import ball_mask, make_sample, tiny_training

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
SHAPES = {2: (24, 20), 3: (24, 20, 18)}
BRIGHT = 1.0


def subject(spatial_dims, number, *, radius=0, shape=None):
    """A sample whose tissue is between 0 and ½ of −1 to 1, and whose lesion is as bright as can be."""
    shape = shape or SHAPES[spatial_dims]
    label = ball_mask(shape, [n // 2 for n in shape], radius) if radius else np.zeros(shape, np.int16)
    sample = make_sample(shape, label=label, seed=number)
    image = np.where(label > 0, BRIGHT, np.abs(sample.image) / 2).astype(np.float32)
    who = {"case_id": f"case_{number}", "subject_id": f"sub_{number}"}
    return replace(sample, image=image, level=(0.6,), **who)


def items_of(samples, spatial_dims, **options):
    defaults = {"output": (-1.0, 1.0), "classes": (1,), "pairing": "paired", "augment": False, "seed": 0}
    return HealingItems(samples, spatial_dims=spatial_dims, **{"roi_size": (16,) * spatial_dims, **defaults, **options})


def mixed(spatial_dims, **options):
    return [subject(spatial_dims, n, radius=r, **options) for n, r in enumerate([3, 0, 4, 5])]


@BOTH
@pytest.mark.parametrize("augment", [False, True])
def test_pathological_items_show_a_lesion_and_healthy_ones_none(augment, spatial_dims):
    items = items_of(mixed(spatial_dims), spatial_dims, augment=augment)
    for draw in range(12):
        item = items[draw]
        assert set(item) == {"pathological", "healthy", "mask"}
        assert all(tensor.shape == (1, *(16,) * spatial_dims) for tensor in item.values())
        assert item["pathological"].max() > 0.95
        assert item["healthy"].max() < 0.8
        assert item["healthy"].min() >= 0
        assert np.isclose(item["healthy"].numpy(), items[draw]["healthy"].numpy()).all()


@BOTH
@pytest.mark.parametrize("augment", [False, True])
def test_a_paired_mask_is_that_of_its_image(augment, spatial_dims):
    items = items_of(mixed(spatial_dims), spatial_dims, augment=augment)
    for draw in range(12):
        item = items[draw]
        bright = item["pathological"] > (0.8 if augment else 0.99)
        overlap = 2 * (bright & (item["mask"] > 0)).sum() / (bright.sum() + item["mask"].sum())
        assert overlap > (0.8 if augment else 0.999)


@BOTH
def test_an_unpaired_mask_is_of_another_subject(spatial_dims):
    """Whole images, and lesions of another size for each subject."""
    samples = mixed(spatial_dims, shape=(16,) * spatial_dims)
    items = items_of(samples, spatial_dims, pairing="unpaired")
    sizes = {int((sample.label > 0).sum()) for sample in samples} - {0}
    assert len(sizes) == 3
    for draw in range(20):
        item = items[draw]
        shown, mask = int((item["pathological"] > 0.99).sum()), int(item["mask"].sum())
        assert {shown, mask} <= sizes
        assert shown != mask


@BOTH
def test_unpaired_items_do_not_depend_on_the_masks_of_their_images(spatial_dims):
    """Of whole images nothing changes if their own masks are moved."""
    samples = mixed(spatial_dims, shape=(16,) * spatial_dims)
    moved = [replace(sample, label=np.roll(sample.label, 3, 0)) for sample in samples]
    before, after = (items_of(s, spatial_dims, pairing="unpaired") for s in (samples, moved))
    for draw in range(8):
        for name in ("pathological", "healthy"):
            assert np.array_equal(before[draw][name].numpy(), after[draw][name].numpy())
        assert not np.array_equal(before[draw]["mask"].numpy(), after[draw]["mask"].numpy())


def test_slices_of_volumes_are_healthy_if_they_show_no_lesion():
    volume = subject(3, 0, radius=4)
    items = items_of([volume], 2)
    lesion = volume.label.any((0, 1))
    assert [plane.z for plane in items.pathological] == list(np.flatnonzero(lesion))
    assert [plane.z for plane in items.healthy] == list(np.flatnonzero(~lesion))
    assert [plane.height for plane in items.healthy] == pytest.approx((np.flatnonzero(~lesion) + 0.5) / len(lesion))


def test_slices_may_be_taken_from_the_middle_of_the_head_alone():
    volumes = [subject(3, number, radius=4) for number in range(2)]
    every, middle = items_of(volumes, 2), items_of(volumes, 2, fraction=0.6)
    for kind in ("pathological", "healthy"):
        heights = {plane.height for plane in getattr(every, kind)}
        assert {plane.height for plane in getattr(middle, kind)} == {h for h in heights if abs(h - 0.5) <= 0.3}
    assert 0 < len(middle.healthy) < len(every.healthy)


def test_healthy_slices_are_drawn_at_the_levels_of_the_pathological_ones():
    volumes = [subject(3, number, radius=4 * (number < 3)) for number in range(6)]
    items = items_of(volumes, 2)
    everywhere = {plane.height for plane in items.healthy}
    lesions = {plane.height for plane in items.pathological}
    said = items.match_levels(20)
    drawn = {plane.height for plane, chance in zip(items.healthy, items.chances, strict=True) if chance > 0}
    assert drawn == lesions < everywhere
    assert said["auc"] > 0.6 > said["auc_matched"]
    assert "healthy slices lie at the level of a pathological one" in said["what"]


def test_pathological_slices_without_a_healthy_counterpart_are_not_trained_on():
    volumes = [subject(3, number, radius=radius) for number, radius in enumerate((4, 4, 2, 2))]
    items = items_of(volumes, 2, pairing="unpaired")
    before = {(plane.sample, plane.z) for plane in items.pathological}
    items.match_levels(20)
    after = {(plane.sample, plane.z) for plane in items.pathological}
    assert after
    assert after < before
    assert len(items.masked) == len(items.subjects) == len(after)


def test_levels_that_leave_masks_of_one_subject_are_refused_if_unpaired():
    """The second subject's lesion reaches where no slice is healthy, and nowhere else."""
    volumes = [subject(3, 0, radius=2), subject(3, 1, radius=4), subject(3, 2, radius=0)]
    middle = volumes[1].label.shape[-1] // 2
    volumes[1].label[..., :middle] = volumes[1].label[..., middle + 1 :] = 0
    for number in (0, 2):
        volumes[number].label[..., middle] = 1
    items = items_of(volumes, 2, pairing="unpaired")
    with pytest.raises(CohortError, match="masks of fewer than two subjects"):
        items.match_levels(20)


def test_a_cohort_without_a_common_level_is_refused():
    items = items_of([subject(3, number, radius=4) for number in range(2)], 2)
    with pytest.raises(CohortError, match="none of them at the same level"):
        items.match_levels(20)


def test_slices_without_tissue_are_not_healthy():
    volume = subject(3, 0, radius=4)
    volume.image[..., :3] = -1
    items = items_of([volume], 2)
    assert min(plane.z for plane in items.healthy) == 3


def test_in_volumes_a_healthy_crop_may_lie_beside_the_lesion():
    volume = subject(3, 0, radius=3)
    items = items_of([volume], 3, roi_size=(8, 8, 8))
    for draw in range(10):
        assert items[draw]["healthy"].max() < 0.8
    starts = items.healthy[0].places
    sums = box_sums(volume.label, (8, 8, 8))
    assert all(sums[tuple(start)] == 0 for start in starts)


@BOTH
def test_a_box_is_drawn_as_often_as_it_has_room(spatial_dims):
    room = np.zeros((6,) * spatial_dims, int)
    room.flat[:4] = 1, 10, 0, 29
    drawn = room[tuple(draw_places(room, generator(0)).T)]
    assert len(drawn) == KEPT_PLACES
    assert set(drawn) == {1, 10, 29}
    assert drawn.mean() == pytest.approx((1 + 100 + 29**2) / 40, rel=0.1)


@BOTH
def test_one_box_is_kept_once_and_none_never(spatial_dims):
    room = np.zeros((6,) * spatial_dims, int)
    assert draw_places(room, generator(0)).shape == (0, spatial_dims)
    room.flat[3] = 5
    assert draw_places(room, generator(0)).tolist() == np.argwhere(room).tolist()


@BOTH
def test_healthy_crops_lie_in_tissue_as_often_as_there_is_of_it(spatial_dims):
    sample = subject(spatial_dims, 0, shape=(40,) * spatial_dims)
    sample.image[...] = -1
    sample.image[0][(slice(4, 8),) * spatial_dims] = 0.3
    sample.image[0][(slice(20, 40),) * spatial_dims] = 0.3
    items = items_of([subject(spatial_dims, 1, radius=3), sample], spatial_dims, roi_size=(8,) * spatial_dims)
    (plane,) = (plane for plane in items.healthy if plane.sample == 1)
    tissue = sample.image[0] > 0
    shares = [tissue[tuple(slice(at, at + 8) for at in place)].mean() for place in plane.places]
    boxes = box_sums(tissue, (8,) * spatial_dims) / 8**spatial_dims
    boxes = boxes[boxes >= TISSUE_SHARE]
    assert min(shares) >= TISSUE_SHARE
    assert np.mean(shares) == pytest.approx(np.sum(boxes**2) / np.sum(boxes), rel=0.05)
    assert np.mean(shares) > 1.1 * boxes.mean()


@BOTH
def test_weights_say_how_likely_a_healthy_plane_is(spatial_dims):
    samples = [subject(spatial_dims, n, radius=4 * (n == 0)) for n in range(4)]
    plain = items_of(samples, spatial_dims)
    weights = [1.0 if plane.sample == 2 else 0.0 for plane in plain.healthy]
    chosen = items_of(samples, spatial_dims)
    chosen.weigh(weights)
    assert {plane.sample for plane in plain.healthy} >= {1, 2, 3}
    seen = (samples[2].image + 1) / 2
    for draw in range(8):
        healthy = chosen[draw]["healthy"].numpy()
        assert np.isin(healthy.round(5), seen.round(5)).all()


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 1.0]])
def test_weights_that_are_none_are_refused(weights):
    samples = [subject(2, n, radius=4 * (n == 0)) for n in range(4)]
    with pytest.raises(ValueError, match="3 numbers"):
        items_of(samples, 2).weigh(weights)


def test_sums_over_boxes():
    array = np.random.default_rng(0).integers(0, 5, (6, 5, 4))
    sums = box_sums(array, (3, 2))
    assert sums.shape == (4, 4, 4)
    assert sums[2, 1, 3] == array[2:5, 1:3, 3].sum()
    assert box_sums(array, (6, 5, 4)).tolist() == [[[array.sum()]]]


@BOTH
@pytest.mark.parametrize(
    ("radii", "options", "what"),
    [
        ([0, 0], {}, "with a lesion"),
        ([4, 4], {}, "lesion-free"),
        ([4, 0], {"pairing": "unpaired"}, "fewer than two subjects"),
    ],
)
def test_what_training_lacks_is_told_in_a_line(radii, options, what, spatial_dims):
    samples = [subject(spatial_dims, n, radius=r, shape=(16,) * spatial_dims) for n, r in enumerate(radii)]
    with pytest.raises(CohortError, match=what) as error:
        items_of(samples, spatial_dims, **options)
    assert "\n" not in str(error.value)


def fit(cohort, out, method="pseudo_healthy", **options):
    config = healer_options(method, 2, **options)
    return HEALERS[method].fit(cohort, channels=cohort.channels, config=config, training=tiny_training(), out=out)


def test_masks_that_are_missing_are_for_unpaired_training(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=5, n_healthy=1, shape=(16, 16))
    bare = replace(cohort.cases[0], label=None)
    without = cohort.with_cases([bare, *cohort.cases[1:]])
    with pytest.raises(CohortError, match="no mask") as error:
        fit(without, tmp_path / "paired")
    assert "`unpaired`" in str(error.value)
    assert error.value.where == "case_000"
    model = fit(without, tmp_path / "unpaired", mode="unpaired")
    assert "case_000" in model.info.training_cases


def test_cases_of_unknown_annotation_are_not_trained_on(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=4, n_healthy=1, n_unknown=1, shape=(16, 16))
    model = fit(cohort, tmp_path / "m", method="healing_gan")
    assert model.info.training_cases == ("case_000", "case_001", "case_002")
    unknown = cohort.with_cases([case for case in cohort if case.annotation is Annotation.UNKNOWN])
    with pytest.raises(CohortError, match="no annotated case"):
        fit(unknown, tmp_path / "none")


@pytest.mark.parametrize(("bins", "written"), [(20, True), (None, False)])
def test_training_on_slices_of_volumes_says_how_they_were_matched(tmp_path, bins, written):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=3, n_subjects=4, n_healthy=2, shape=(16, 16, 12))
    fit(cohort, tmp_path / "m", method="healing_gan", level_bins=bins)
    file = tmp_path / "m" / "levels.json"
    assert file.is_file() == written
    if written:
        assert "pathological slices have no counterpart" in json.loads(file.read_text())["what"]


def test_a_model_trains_at_the_spacing_that_is_asked_for(tmp_path):
    cohort = tiny_cohort(tmp_path / "c", spatial_dims=2, n_subjects=3, n_healthy=1, shape=(64, 48))
    own = fit(cohort, tmp_path / "own", method="healing_gan", roi_size=None)
    spacing = tuple(2 * mm for mm in own.info.preprocessing.spacing)
    coarse = fit(cohort, tmp_path / "coarse", method="healing_gan", roi_size=None, spacing=spacing)
    assert coarse.info.preprocessing.spacing == spacing
    assert (own.config.roi_size, coarse.config.roi_size) == ((64, 48), (32, 24))
    with pytest.raises(ConfigError, match="but needs 2 numbers"):
        fit(cohort, tmp_path / "three", method="healing_gan", spacing=(2.0, 2.0, 2.0))
    with pytest.raises(ConfigError, match="spacing"):
        fit(cohort, tmp_path / "none", method="healing_gan", spacing=(0.0, 2.0))
