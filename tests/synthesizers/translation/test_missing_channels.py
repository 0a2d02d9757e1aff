"""Scans that lack channels are trained on, and what they lack enters no loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lesionforge.cohort.scan import load_scan
from lesionforge.errors import CohortError
from lesionforge.preprocessing.intensity import Head
from lesionforge.preprocessing.pipeline import Preprocessing
from lesionforge.seeding import generator
from lesionforge.synthesizers.registry import SYNTHESIZERS
from lesionforge.synthesizers.translation.crop_config import condition_of
from lesionforge.synthesizers.translation.pix2pix import Pix2Pix, Pix2PixModule
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig
from lesionforge.synthesizers.translation.training_crops import TrainingCrops
from lesionforge.training.items.samples import cached_samples
from lesionforge.training.model_folder import describe
from tests.synthesizers.models import tiny_options, tiny_training

DIMS = [2, 3]


def lacking(cohort, channel, cases):
    """The cohort, whose first cases lack a channel."""
    return cohort.with_cases(
        [
            replace(case, images={name: file for name, file in case.images.items() if name != channel or i >= cases})
            for i, case in enumerate(cohort)
        ]
    )


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("channel", [0, 1])
def test_known_channels_are_as_if_the_scan_were_complete(spatial_dims, channel, rich_cohorts):
    cohort = rich_cohorts[spatial_dims]
    preprocessing = Preprocessing(
        spatial_dims=spatial_dims, channels=cohort.channels, intensity=Head(reach=(1.3, 1.7)), output=(-1, 1)
    )
    complete = preprocessing.forward(load_scan(cohort.cases[0], cohort.channels))
    (sample,) = cached_samples(list(lacking(cohort, cohort.channels[channel], 1))[:1], preprocessing)
    assert (sample.lacks, complete.lacks) == ((channel,), ())
    assert np.array_equal(sample.image[1 - channel], complete.image[1 - channel])
    assert (sample.image[channel] == -1).all()
    assert sample.level[1 - channel] == complete.level[1 - channel]
    assert np.array_equal(sample.label, complete.label)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_no_loss_pulls_at_a_channel_that_the_scans_lack(spatial_dims, rich_cohorts):
    """Without it, both losses are those of the other channel alone, and its last weights get no gradient."""
    cohort = rich_cohorts[spatial_dims].with_lesions()
    preprocessing = Preprocessing(spatial_dims=spatial_dims, channels=cohort.channels)
    config = Pix2PixConfig(**tiny_options(spatial_dims, condition="label", augment=False))
    condition = condition_of(config, describe("pix2pix", config, preprocessing, cohort))
    gradients, losses = {}, {}
    for missing in (0, len(cohort)):
        samples = cached_samples(lacking(cohort, cohort.channels[1], missing), preprocessing)
        crops = TrainingCrops(samples, config, condition, seed=0)
        batch = torch.utils.data.default_collate([crops[draw] for draw in range(2)])
        module = Pix2PixModule(config, condition, seed=0)
        loss, pair, logs = module.generator_loss(batch)
        loss.backward()
        last = [weights for weights in module.generator.parameters() if weights.grad is not None][-1]
        assert last.shape == (len(cohort.channels),)
        gradients[missing] = last.grad.abs() > 0
        fake = pair[:, -2:]
        losses[missing] = (fake - batch["image"])[:, 0].abs().mean(), logs["l1"]
        if missing:
            assert torch.equal(fake[:, 1], batch["image"][:, 1])
    assert gradients[0].tolist() == [True, True]
    assert gradients[len(cohort)].tolist() == [True, False]
    of_known, l1 = losses[len(cohort)]
    assert l1.item() == pytest.approx(of_known.item(), rel=1e-5)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_cases_that_lack_a_channel_are_trained_on_where_it_can_be_left_out(spatial_dims, rich_cohorts, tmp_path):
    """A model of label maps draws all channels; one that sees the image, or is trained unpaired, needs them."""
    cohort = lacking(rich_cohorts[spatial_dims], rich_cohorts[spatial_dims].channels[1], 2)
    for name, options in {"pix2pix": {"condition": "label"}, "cyclegan": {}}.items():
        cases = SYNTHESIZERS[name].training_cases(
            cohort, cohort.channels, SYNTHESIZERS[name].Config(**tiny_options(spatial_dims, **options))
        )
        assert len(cases) == len(cohort) - (0 if name == "pix2pix" else 2)
    for condition in ("inpaint", "scan"):
        config = Pix2PixConfig(**tiny_options(spatial_dims, condition=condition))
        assert len(Pix2Pix.training_cases(cohort, cohort.channels, config)) == len(cohort) - 2
    model = Pix2Pix.fit(
        cohort,
        channels=cohort.channels,
        config=tiny_options(spatial_dims, condition="label"),
        training=tiny_training(),
        out=tmp_path / "model",
    )
    assert set(model.info.training_cases) == {case.case_id for case in cohort}
    sample = model.info.preprocessing.forward(load_scan(cohort.cases[-1], cohort.channels))
    drawn = model.synthesize(sample, np.zeros_like(sample.label), generator(0))
    assert np.isfinite(drawn.image).all()
    none = cohort.with_cases([replace(case, images={}) for case in cohort])
    with pytest.raises(CohortError, match="has no case with a lesion and the channels"):
        Pix2Pix.fit(
            none,
            channels=cohort.channels,
            config=tiny_options(spatial_dims, condition="label"),
            training=tiny_training(),
            out=tmp_path / "none",
        )
