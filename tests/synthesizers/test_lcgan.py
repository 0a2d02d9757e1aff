"""``pix2pix`` with the networks and the training of the lesion-conditional GAN."""

import numpy as np
import pytest

from lesionforge.seeding import generator
from lesionforge.synthesizers.translation import pix2pix, translator
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.training import fitting
from tests.synthesizers.models import (
    ball_mask,
    make_sample,
    read_samples,
    tiny_options,
    tiny_training,
    train_pix2pix,
    untrained_pix2pix,
)

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
SMALL = {"network": "lcgan", "channels": (32, 64), "width": 0.125, "condition": "label", "dropout": 0.5}


def test_slices_of_a_volume_are_drawn_as_if_each_were_alone(cohorts):
    model = untrained_pix2pix(cohorts[3], spatial_dims=2, **SMALL)
    sample = read_samples(cohorts[3], model.info.preprocessing)[0]
    mask = ball_mask(sample.label.shape, [n // 2 for n in sample.label.shape], 5)
    drawn = model.synthesize(sample, mask, generator(0)).image
    for z in range(sample.label.shape[-1]):
        alone = model.synthesize(sample.slice(z), mask[..., z], generator(0)).image
        np.testing.assert_allclose(alone, drawn[..., z], atol=1e-5)


@BOTH
def test_it_trains_in_batches_of_one_unless_told(spatial_dims, cohorts, tmp_path):
    cohort = cohorts[spatial_dims]
    for chosen, used in ((None, 1), (3, 3)):
        model = Pix2Pix.fit(
            cohort,
            channels=cohort.channels,
            config=tiny_options(spatial_dims, **SMALL),
            training=tiny_training(batch_size=chosen),
            out=tmp_path / str(used),
        )
        assert model.info.training["batch_size"] == used
        assert all(tensor.isfinite().all() for tensor in model.tensors().values())


def crops_of(spatial_dims, **options):
    """Return crops as large as the one sample, which is bright where its two lesions are."""
    shape = (32, 40, 48)[:spatial_dims]
    centres = ([16, 20, 24][:spatial_dims], [20, 12, 30][:spatial_dims])
    label = np.max([ball_mask(shape, centre, 5, value) for value, centre in enumerate(centres, start=1)], axis=0)
    sample = make_sample(shape, label=label)
    sample.image[0] = np.where(label > 0, 1.0, -1.0)
    options = {"spatial_dims": spatial_dims, "roi_size": shape, "condition": "label", "augment": False, **options}
    shown = Condition(name="label", image_channels=1, classes=(1, 2), noise_channels=0)
    return label, TrainingCrops([sample], Pix2PixConfig(channels=(4, 4), lesion_share=1, **options), shown, seed=0)


@BOTH
def test_jitter_moves_image_and_label_alike_and_keeps_the_size(spatial_dims):
    label, crops = crops_of(spatial_dims, jitter=True)
    corners = set()
    for item in (crops[draw] for draw in range(24)):
        lesion = item["condition"][1:].sum(0).numpy()
        assert item["image"].shape[1:] == lesion.shape == label.shape
        apart = (lesion != (item["image"][0].numpy() > 0)).sum() / lesion.sum()
        assert apart < {2: 0.1, 3: 0.2}[spatial_dims]
        assert lesion.sum() / (label > 0).sum() == pytest.approx((286 / 256) ** spatial_dims, rel=0.15)
        corners.add(tuple(np.argwhere(lesion > 0)[0]))
    assert len(corners) > 8


@BOTH
def test_mirroring_exchanges_left_and_right_of_both(spatial_dims):
    label, crops = crops_of(spatial_dims, mirror=True)
    seen = set()
    for item in (crops[draw] for draw in range(12)):
        classes = item["condition"].argmax(0).numpy()
        assert np.array_equal(classes > 0, item["image"][0].numpy() > 0)
        assert np.array_equal(classes, label) or np.array_equal(classes, label[::-1])
        seen.add(np.array_equal(classes, label))
    assert seen == {True, False}


@BOTH
def test_published_augmentation_moves_label_and_image_alike_and_stays_in_the_range(spatial_dims):
    label, crops = crops_of(spatial_dims, augment="ct_published")
    sizes = []
    for item in (crops[draw] for draw in range(12)):
        lesion = item["condition"][1:].sum(0).numpy()
        image = item["image"][0].numpy()
        assert image.min() == -1
        assert image.max() <= 1
        assert image[lesion > 0].mean() > 0 > image[lesion == 0].mean()
        sizes.append(lesion.sum() / (label > 0).sum())
    assert min(sizes) < 0.95
    assert max(sizes) > 1.05


@BOTH
def test_without_either_crops_stay_as_they_are(spatial_dims):
    label, crops = crops_of(spatial_dims)
    assert all(np.array_equal(crops[draw]["condition"].argmax(0).numpy(), label) for draw in range(8))


@BOTH
def test_lesion_free_cases_are_left_out_where_every_crop_shows_a_lesion(spatial_dims, cohorts, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "fit", lambda *args, **kwargs: 1)
    cases = {}
    for share in (0.5, 1):
        options = {**SMALL, "lesion_share": share}
        model = train_pix2pix(cohorts[spatial_dims], tmp_path / str(share), spatial_dims=spatial_dims, **options)
        cases[share] = model.info.training_cases
    assert cases[1] == tuple(case.case_id for case in cohorts[spatial_dims].with_lesions())
    assert cases[0.5] == tuple(case.case_id for case in cohorts[spatial_dims])


@BOTH
def test_an_epoch_is_as_many_crops_as_there_are_slices_or_scans_to_cut_them_from(spatial_dims):
    shape = (24, 24, 10)
    samples = [make_sample(shape, label=ball_mask(shape, (12, 12, 5), 2)), make_sample(shape)]
    lesion_slices, slices = (5, 20) if spatial_dims == 2 else (1, 2)
    for share, expected in ((1, lesion_slices), (0.5, slices), (0, slices - lesion_slices)):
        options = {"spatial_dims": spatial_dims, "roi_size": (24,) * spatial_dims, "channels": (4, 4)}
        config = Pix2PixConfig(condition="label", lesion_share=share, **options)
        assert (
            len(TrainingCrops(samples, config, Condition(name="label", image_channels=1, classes=(1,)), seed=0))
            == expected
        )


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_a_picture_of_training_shows_what_would_be_drawn(decay):
    """Without dropout and whatever else is in the picture; training goes on as before."""
    options = {**SMALL, "roi_size": (24, 24), "optimiser": {"ema_decay": decay}}
    condition = Condition(name="label", image_channels=1, classes=(1,))
    config = Pix2PixConfig(**options)
    module = pix2pix.Pix2PixModule(config, condition, seed=0).train()
    sample = make_sample((24, 24), label=ball_mask((24, 24), (12, 12), 4))
    modes = []
    module.result.register_forward_hook(lambda network, *_: modes.append(network.training))
    translator.picture(module, TrainingCrops([sample], config, condition, seed=0))
    assert modes == [False]
    assert all(part.training for part in module.result.modules())
