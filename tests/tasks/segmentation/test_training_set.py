from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.transforms import Compose, MapTransform, RandomizableTransform

from lesionforge.augmentation.classical import classical_augmentation
from lesionforge.errors import CohortError, ConfigError
from lesionforge.preprocessing.pipeline import Sample
from lesionforge.tasks.segmentation.new_lesions import count_new_lesions
from lesionforge.tasks.segmentation.training_set import TrainingSet
from lesionforge.training.items.deal import Fade
from lesionforge.training.items.source import Source

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
SHAPES = {2: (24, 20), 3: (24, 20, 12)}
ROI = {2: (16, 16), 3: (16, 16, 8)}


def make_sample(shape, level=0.0, *, label=None):
    label = np.zeros(shape, np.int16) if label is None else label
    return Sample(
        image=np.full((1, *shape), level, np.float32),
        label=label,
        anatomy=None,
        region=None,
        spacing=(1.0,) * len(shape),
        case_id=f"case_{level:g}",
        subject_id=f"sub_{level:g}",
    )


def ball(shape, radius, value=1, centre=None):
    centre = [n // 2 for n in shape] if centre is None else centre
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(np.indices(shape), centre, strict=True)))
    return np.where(distance < radius, value, 0).astype(np.int16)


def training_set(sources, spatial_dims, *, roi_size=None, augment=None, seed=0, fade=None):
    return TrainingSet(
        sources,
        spatial_dims=spatial_dims,
        roi_size=roi_size or ROI[spatial_dims],
        background=-1.0,
        augment=augment,
        seed=seed,
        fade=fade,
    )


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.75, 0.25), (0.2, 0.3, 0.5), (0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("start", [0, 8, 1000, 123_456])
def test_every_stretch_of_draws_has_the_shares(shares, start):
    levels = [k / 10 for k in range(len(shares))]
    sources = [
        Source(samples=[make_sample(SHAPES[2], level)], share=share)
        for level, share in zip(levels, shares, strict=True)
    ]
    items = training_set(sources, 2)
    drawn = Counter(round(float(items[draw]["image"][0, 0, 0]), 3) for draw in range(start, start + 64))
    for level, share in zip(levels, shares, strict=True):
        assert abs(drawn[level] - 64 * share) <= (2 if 0 < share < 1 else 0)


def test_samples_of_a_source_are_drawn_equally_often():
    items = training_set([Source(samples=[make_sample(SHAPES[2], level / 10) for level in range(4)])], 2)
    drawn = Counter(round(float(items[draw]["image"][0, 0, 0]), 3) for draw in range(400))
    assert len(drawn) == 4
    assert max(drawn.values()) < 1.5 * min(drawn.values())


@pytest.mark.parametrize("of_samples", [2, 3], ids=["slices", "slices of volumes"])
@pytest.mark.parametrize("n_lesion", [1, 3, 4])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_lesions_are_as_frequent_as_asked_however_many_cases_have_one(share, n_lesion, of_samples):
    shape = SHAPES[of_samples]
    samples = [make_sample(shape, label=ball(shape, 4) if n < n_lesion else None) for n in range(5)]
    items = training_set([Source(samples=samples, lesion_share=share)], 2, roi_size=SHAPES[2])
    shown = np.mean([bool(items[draw]["label"].any()) for draw in range(200)])
    assert shown == pytest.approx(share, abs=0.1 if 0 < share < 1 else 0)


@BOTH
@pytest.mark.parametrize(("n_lesion", "share"), [(0, 1.0), (3, 0.0)])
def test_without_any_item_of_the_kind_asked_for_others_are_taken(n_lesion, share, spatial_dims):
    shape = SHAPES[spatial_dims]
    samples = [make_sample(shape, label=np.full(shape, int(n < n_lesion), np.int16)) for n in range(3)]
    items = training_set([Source(samples=samples, lesion_share=share)], spatial_dims)
    assert {bool(items[draw]["label"].any()) for draw in range(10)} == {n_lesion > 0}


class DrawLesiond(MapTransform):
    """Marks the middle of every image; a real method draws there."""

    def __init__(self):
        super().__init__(("image", "label"))

    def __call__(self, data):
        middle = ball(data["label"].shape[1:], 3, value=2)[None]
        return {**data, "label": np.where(middle > 0, middle, data["label"])}


@pytest.mark.parametrize("of_samples", [2, 3], ids=["slices", "slices of volumes"])
@pytest.mark.parametrize("share", [0.25, 0.75])
def test_lesions_are_drawn_into_the_share_that_shall_show_one_where_there_is_none(share, of_samples):
    shape = SHAPES[of_samples]
    samples = [make_sample(shape, label=ball(shape, 4, centre=[6] * of_samples) if n < 2 else None) for n in range(4)]
    source = Source(samples=samples, transform=Compose([DrawLesiond()]), lesion_share=share)
    items = training_set([source], 2, roi_size=SHAPES[2])
    found = [set(np.unique(items[draw]["label"])) for draw in range(200)]
    drawn = [values for values in found if 2 in values]
    assert len(drawn) / 200 == pytest.approx(share, abs=0.1)
    assert all(values == {0} for values in found if 2 not in values)
    assert all(values == {0, 2} for values in drawn)


class DrawInBrightd(DrawLesiond):
    """Finds no place in dark images."""

    def __call__(self, data):
        return super().__call__(data) if data["image"].max() > 0.25 else dict(data)


@BOTH
def test_where_no_lesion_fits_another_sample_is_tried(spatial_dims):
    samples = [make_sample(SHAPES[spatial_dims], level / 10) for level in range(4)]
    source = Source(samples=samples, transform=Compose([DrawInBrightd()]), lesion_share=1.0)
    items = training_set([source], spatial_dims, roi_size=SHAPES[spatial_dims])
    drawn = [bool(items[draw]["label"].any()) for draw in range(50)]
    assert np.mean(drawn) > 0.9


def test_where_no_lesion_fits_anywhere_the_item_stays_without():
    source = Source(samples=[make_sample(SHAPES[2])], transform=Compose([DrawInBrightd()]), lesion_share=1.0)
    items = training_set([source], 2)
    assert not items[0]["label"].any()
    assert torch.equal(items[0]["image"], torch.zeros(1, *ROI[2]))


def in_slices(shape, slices):
    label = np.zeros(shape, np.int16)
    label[4:8, 4:8, slices] = 1
    return label


@pytest.mark.parametrize(
    ("known", "drawn", "shown"),
    [
        (range(2, 5), range(4, 8), {5, 6, 7}),
        (range(2, 8), range(3, 6), {3, 4, 5}),
        (range(2, 5), range(2, 2), {2, 3, 4}),
        (None, range(4, 8), {4, 5, 6, 7}),
        (range(0), range(4, 8), {4, 5, 6, 7}),
    ],
    ids=["some alone", "none alone", "nothing drawn", "not said", "lesion-free before"],
)
def test_slices_of_synthetic_volumes_show_drawn_lesions_alone_where_they_can(known, drawn, shown):
    shape = SHAPES[3]
    before = None if known is None else in_slices(shape, list(known))
    label = np.zeros(shape, np.int16) if before is None else before.copy()
    label[12:16, 12:16, list(drawn)] = 2
    sample = make_sample(shape, label=label)
    sample.image[0] = np.arange(shape[-1]) / 100
    items = training_set([Source(samples=[sample], lesion_share=1.0, known=[before])], 2, roi_size=SHAPES[2])
    with_lesion = [items[d] for d in range(60) if items[d]["label"].any()]
    assert {round(float(item["image"].mean()) * 100) for item in with_lesion} == shown
    items = training_set([Source(samples=[sample], lesion_share=0.0, known=[before])], 2, roi_size=SHAPES[2])
    assert not any(items[d]["label"].any() for d in range(20))


def test_a_scan_of_another_size_says_nothing_about_what_was_known():
    sample = make_sample(SHAPES[3], label=in_slices(SHAPES[3], [5]))
    known = np.ones((3, 3, 3), np.int16)
    items = training_set([Source(samples=[sample], lesion_share=1.0, known=[known])], 2)
    assert items[0]["label"].any()


def test_a_sample_of_unknown_lesions_is_refused():
    sample = replace(make_sample(SHAPES[2], 3), label=None)
    with pytest.raises(CohortError, match="case_3"):
        training_set([Source(samples=[sample])], 2)


@BOTH
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_lesion_share_is_the_share_of_crops_centred_on_a_lesion(spatial_dims, share):
    shape = {2: (64, 64), 3: (64, 64, 32)}[spatial_dims]
    label = ball(shape, 2, centre=[4] * spatial_dims)
    items = training_set([Source(samples=[make_sample(shape, label=label)], lesion_share=share)], spatial_dims)
    on_lesion = np.mean([bool(items[draw]["label"].any()) for draw in range(100)])
    by_chance = 0.35
    assert share - 0.15 <= on_lesion <= share + by_chance * (1 - share)


def test_slices_of_volumes_lie_along_the_last_axis():
    volume = np.zeros(SHAPES[3], np.int16)
    volume[..., 5] = ball(SHAPES[2], 4)
    sample = make_sample(SHAPES[3], label=volume)
    sample.image[0] = np.arange(12) / 100
    items = training_set([Source(samples=[sample], lesion_share=0.5)], 2, roi_size=(16, 16))
    seen = [(round(float(items[d]["image"].mean()) * 100), bool(items[d]["label"].any())) for d in range(60)]
    assert items[0]["image"].shape == (1, 16, 16)
    assert items[0]["label"].shape == (1, 16, 16)
    assert {z for z, lesion in seen if lesion} == {5}
    assert len({z for z, _ in seen}) > 6


@BOTH
def test_an_item_depends_on_the_seed_and_its_draw_alone(spatial_dims):
    rng = np.random.default_rng(0)
    shape = SHAPES[spatial_dims]
    samples = [make_sample(shape, label=ball(shape, 5)) for _ in range(3)]
    for sample in samples:
        sample.image[:] = rng.uniform(-1, 1, sample.image.shape)
    before = [sample.image.copy() for sample in samples]

    def make(seed):
        augment = classical_augmentation(spatial_dims, background=-1.0)
        sources = [
            Source(samples=samples, share=0.5, transform=Compose([AddNoised()])),
            Source(samples=samples, share=0.5),
        ]
        return training_set(sources, spatial_dims, augment=augment, seed=seed)

    first, second = make(1), make(1)
    forward = [first[draw] for draw in range(12)]
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    backward = [second[draw] for draw in reversed(range(12))][::-1]
    for one, other in zip(forward, backward, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])
    others = make(2)
    assert any(not torch.equal(forward[draw]["image"], others[draw]["image"]) for draw in range(12))
    for sample, image in zip(samples, before, strict=True):
        assert np.array_equal(sample.image, image)


class AddNoised(RandomizableTransform, MapTransform):
    def __init__(self):
        MapTransform.__init__(self, ("image",))
        RandomizableTransform.__init__(self, 1.0)

    def __call__(self, data):
        return {**data, "image": data["image"] + self.R.normal(size=data["image"].shape).astype(np.float32)}


@BOTH
def test_what_lies_over_the_edge_is_background(spatial_dims):
    shape = (10,) * spatial_dims
    sample = make_sample(shape, 0.5, label=np.ones(shape, np.int16))
    items = training_set([Source(samples=[sample])], spatial_dims, roi_size=(16,) * spatial_dims)
    image, label = items[0]["image"].numpy(), items[0]["label"].numpy()
    assert np.count_nonzero(image == 0.5) == np.count_nonzero(label == 1) == 10**spatial_dims
    assert np.array_equal(image == -1.0, label == 0)


@BOTH
def test_labels_follow_the_image_under_augmentation(spatial_dims):
    """Where the image is its label, it stays so but for interpolation, noise and changes of brightness."""
    shape = {2: (48, 48), 3: (48, 48, 24)}[spatial_dims]
    label = ball(shape, 9, centre=[n // 3 for n in shape])
    label[ball(shape, 4, centre=[n // 3 for n in shape]) > 0] = 2
    sample = make_sample(shape, label=label)
    sample.image[0] = np.where(label > 0, 1.0, -1.0)
    augment = classical_augmentation(spatial_dims, background=-1.0)
    items = training_set([Source(samples=[sample])], spatial_dims, roi_size=shape, augment=augment)
    moved = 0
    for draw in range(25):
        image, found = items[draw]["image"].numpy()[0], items[draw]["label"].numpy()[0]
        assert image.shape == found.shape == shape
        assert np.isfinite(image).all()
        assert set(np.unique(found)) <= {0, 1, 2}
        assert (found == 1).any()
        assert (found == 2).any()
        inside, outside = image[found > 0], image[found == 0]
        half = (np.median(inside) + np.median(outside)) / 2
        overlap = np.mean((image > half) == (found > 0))
        assert np.median(inside) > np.median(outside)
        assert overlap > 0.96
        assert abs(np.median(outside) + 1) < 0.2
        moved += not np.array_equal(found, label)
    assert moved > 10


@BOTH
def test_augmentation_keeps_channels_and_varies(spatial_dims):
    shape = SHAPES[spatial_dims]
    rng = np.random.default_rng(0)
    item = {
        "image": rng.uniform(-1, 1, (2, *shape)).astype(np.float32),
        "label": ball(shape, 5)[None].astype(np.float32),
    }
    augment = classical_augmentation(spatial_dims, background=-1.0)
    results = []
    for seed in range(8):
        augment.set_random_state(seed)
        results.append(np.asarray(augment(item)["image"]))
    assert {result.shape for result in results} == {(2, *shape)}
    assert len({result.tobytes() for result in results}) == 8


def two_sources(spatial_dims, share, *, real=0.0, drawn=0.5):
    shape = SHAPES[spatial_dims]
    return [
        Source(samples=[make_sample(shape, level, label=ball(shape, 3))], share=part)
        for level, part in ((real, 1 - share), (drawn, share))
    ]


@BOTH
@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_synthetic_share_falls_to_0_between_two_points_of_the_run(share, spatial_dims):
    items = training_set(two_sources(spatial_dims, share), spatial_dims, fade=Fade.over(600, (0.5, 0.75)))
    drawn = np.array([float(items[draw]["image"].max()) > 0.25 for draw in range(600)])
    assert drawn[:300].mean() == pytest.approx(share, abs=0.02)
    assert drawn[300:450].mean() == pytest.approx(share / 2, abs=0.03)
    assert drawn[300:350].mean() > drawn[400:450].mean()
    assert not drawn[450:].any()


@BOTH
def test_the_items_before_a_fall_and_the_real_ones_in_it_are_those_of_a_run_without(spatial_dims):
    fades = training_set(two_sources(spatial_dims, 0.5), spatial_dims, fade=Fade.over(200, (0.4, 0.8)))
    stays = training_set(two_sources(spatial_dims, 0.5), spatial_dims)
    for draw in reversed(range(200)):
        one, other = fades[draw], stays[draw]
        if draw < 80 or not other["image"].any():
            assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_fall_may_be_a_step_and_nothing_else_is_taken_for_one():
    step = Fade.over(100, (0.3, 0.3))
    assert [step.left(draw) for draw in (0, 29, 30, 99)] == [1, 1, 0, 0]
    for part in ((0.8, 0.5), (-0.1, 0.5), (0.5, 1.1), (1.0, 1.0), (0.0, 0.0)):
        with pytest.raises(ConfigError, match="fade: there is no fall from"):
            Fade.over(100, part)


@pytest.mark.parametrize("of_samples", [2, 3], ids=["slices", "slices of volumes"])
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_new_lesions_are_counted_in_what_is_dealt(share, of_samples):
    """The drawn lesion has another class, so the items themselves show what must be counted."""
    shape = SHAPES[of_samples]
    known = ball(shape, 3, centre=[5] * of_samples)
    drawn = np.maximum(known, ball(shape, 3, value=2, centre=[n - 5 for n in shape]))
    sources = [
        Source(samples=[make_sample(shape, label=known)], share=1 - share),
        Source(samples=[make_sample(shape, 0.5, label=drawn)] * 3, share=share, known=[known, None, drawn]),
    ]
    items = training_set(sources, 2)
    shown = [set(np.unique(items[draw]["label"])) for draw in range(300)]
    bright = [float(items[draw]["image"].max()) > 0.25 for draw in range(300)]
    found = [items.shows_new_lesion(draw) for draw in range(300)]
    assert not any(new for new, synthetic in zip(found, bright, strict=True) if not synthetic)
    assert all(values - {0} for values, new in zip(shown, found, strict=True) if new)
    counted = count_new_lesions(items, 300)
    assert (counted["items"], counted["counted"]) == (300, 300)
    assert counted["new_lesion"] == pytest.approx(np.mean(found))
    assert 0 < np.mean(found) < share * 0.6


@BOTH
def test_every_drawn_lesion_of_a_lesion_free_scan_is_new_and_a_redrawn_one_is_not(spatial_dims):
    shape = SHAPES[spatial_dims]
    label = ball(shape, 4)
    sample = make_sample(shape, label=label)
    for known, share in ((np.zeros_like(label), 1.0), (label, 0.0)):
        source = Source(samples=[sample], lesion_share=1.0, known=[known])
        assert count_new_lesions(training_set([source], spatial_dims), 50)["new_lesion"] == share


@pytest.mark.parametrize("of_samples", [2, 3], ids=["slices", "slices of volumes"])
@pytest.mark.parametrize("share", [0.25, 1.0])
def test_lesions_drawn_on_the_fly_are_counted_as_they_are_shown(share, of_samples):
    """The drawn lesion has another class, so the items themselves show what must be counted."""
    shape = SHAPES[of_samples]
    samples = [make_sample(shape, label=ball(shape, 3, centre=[5] * of_samples)), make_sample(shape)]
    drawing = Source(samples=samples, share=share, transform=Compose([DrawLesiond()]))
    items = training_set([Source(samples=samples, share=1 - share), drawing], 2, roi_size=(8, 8))
    shown = [2 in items[draw]["label"] for draw in range(200)]
    assert [items.shows_new_lesion(draw) for draw in range(200)] == shown
    assert 0.3 * share < np.mean(shown) < 0.6 * share
    counted = count_new_lesions(items, 200)
    assert counted == {"items": 200, "counted": 200, "new_lesion": np.mean(shown)}
    assert count_new_lesions(items, 10_000)["counted"] == 200


def test_a_transform_that_finds_no_place_shows_nothing_new():
    source = Source(samples=[make_sample(SHAPES[2], label=ball(SHAPES[2], 4))], transform=Compose([]), lesion_share=1.0)
    assert count_new_lesions(training_set([source], 2), 20)["new_lesion"] == 0
