"""The lesion-conditional GAN: what its paper and the implementation that it cites fix."""

import itertools
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from lesionforge.cli.common import parse_settings
from lesionforge.networks.critic import PatchGAN
from lesionforge.networks.generators.lcgan import CRITIC_CHANNELS, LcganGenerator
from lesionforge.networks.norm import batch_norm
from lesionforge.synthesizers.translation.conditions import Condition
from lesionforge.synthesizers.translation.pix2pix_config import Pix2PixConfig

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
PAPERS = Path(__file__).parents[2] / "docs" / "papers.md"


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def critic(in_channels, *, spatial_dims=2, width=1.0):
    sizes = {"spatial_dims": spatial_dims, "in_channels": in_channels, "width": width}
    return PatchGAN(**sizes, channels=CRITIC_CHANNELS, norm="batch")


def small_generator(spatial_dims, *, dropout=0.0):
    torch.manual_seed(0)
    sizes = {"spatial_dims": spatial_dims, "in_channels": 3, "out_channels": 2}
    return LcganGenerator(**sizes, channels=(4, 8, 8, 8), dropout=dropout)


@pytest.mark.parametrize(("channels", "parameters"), [(1, 54_414_337), (3, 54_420_483)])
def test_the_generator_has_the_size_of_the_cited_implementation(channels, parameters):
    assert count(LcganGenerator(spatial_dims=2, in_channels=channels, out_channels=channels)) == parameters


PUBLIC_STRIDES = ((2, 2, 2),) * 3 + ((2, 2, 1),) * 4 + ((2, 2, 3),)
"""Of the public code for the tumour system, which takes 256 × 256 × 24 voxels."""


def test_in_3d_the_generator_is_that_of_the_public_code_for_tumours():
    sizes = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1, "strides": PUBLIC_STRIDES}
    with torch.device("meta"):
        network = LcganGenerator(**sizes)
        assert count(network) == 217_608_193
        assert network.eval()(torch.empty(1, 1, 256, 256, 24)).shape == (1, 1, 256, 256, 24)


@pytest.mark.parametrize(("channels", "parameters"), [(2, 2_765_505), (6, 2_769_601)])
def test_the_discriminator_has_the_size_of_the_cited_implementation(channels, parameters):
    assert count(critic(channels)) == parameters


def test_the_discriminator_judges_30_by_30_patches_of_70_pixels():
    network, image = critic(2, width=0.06), torch.randn(1, 2, 256, 256, requires_grad=True)
    logits = network.eval()(image)
    assert logits.shape == (1, 1, 30, 30)
    without_norms(network)(image)[0, 0, 15, 15].backward()
    seen = image.grad[0].abs().sum(0) > 0
    assert [np.ptp(np.flatnonzero(seen.any(axis))) + 1 for axis in (0, 1)] == [70, 70]
    assert network.receptive_field == 70


def without_norms(network):
    """Return the convolutions alone, since a norm looks at the whole map."""
    return torch.nn.Sequential(*(layer for layer in network.layers if isinstance(layer, torch.nn.Conv2d)))


def test_the_documented_command_builds_the_published_system():
    (text,) = [block for block in re.findall(r"```sh\n(.*?)```", PAPERS.read_text(), re.DOTALL) if "lcgan" in block]
    (command,) = [line for line in text.replace("\\\n", " ").splitlines() if "train pix2pix" in line]
    words = shlex.split(command)
    options, training = parse_settings([after for word, after in itertools.pairwise(words) if word == "--set"])
    config = Pix2PixConfig(**options, condition=words[words.index("--condition") + 1])
    five = Condition(name=config.condition, image_channels=1, classes=(1, 2, 3, 4, 5), noise_channels=0)
    assert config.noise_channels == 0
    assert count(config.generator(five.in_channels, 1)) == 54_414_337 + 5 * 1024
    assert count(config.critic(five.critic_channels + 1)) == 2_765_505 + 5 * 1024
    assert (config.adversarial, config.lambda_l1, config.dropout, config.candidates) == (
        "log",
        100,
        0.5,
        (10, 50, 100, 200),
    )
    adam = config.optimiser
    assert (adam.learning_rate, adam.beta1, adam.ema_decay, adam.pool_size) == (2e-4, 0.5, 0, 0)
    assert config.lesions_only
    assert (config.roi_size, config.jitter, config.mirror, config.augment) == ((256, 256), True, False, False)
    assert training == {"batch_size": 1}


@BOTH
def test_the_generator_keeps_the_size_and_every_weight_learns(spatial_dims):
    network = small_generator(spatial_dims, dropout=0.5)
    drawn = network(torch.randn(2, 3, *[16] * spatial_dims))
    assert drawn.shape == (2, 2, *[16] * spatial_dims)
    assert drawn.abs().max() <= 1
    drawn.square().mean().backward()
    for name, weight in network.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0 or cancelled_by_a_norm(name), name


def cancelled_by_a_norm(name):
    """Whether this is the bias of a convolution before a norm, which takes it away again."""
    return name.endswith(".1.bias")


@BOTH
def test_weights_begin_with_a_spread_of_one_fiftieth(spatial_dims):
    network = small_generator(spatial_dims)
    kernels = torch.cat([weight.flatten() for weight in network.parameters() if weight.dim() > 2])
    assert kernels.std().item() == pytest.approx(0.02, rel=0.05)
    assert kernels.mean().item() == pytest.approx(0, abs=0.002)
    scales = torch.cat([batch_norm(512).norm.weight for _ in range(4)])
    assert scales.std().item() == pytest.approx(0.02, rel=0.1)
    assert scales.mean().item() == pytest.approx(1, abs=0.002)


@BOTH
def test_a_batch_is_normalised_by_its_own_statistics_and_a_drawn_image_by_its(spatial_dims):
    norm, x = (
        batch_norm(3),
        torch.randn(4, 3, *[5] * spatial_dims) * torch.arange(1.0, 5).view(4, *[1] * (spatial_dims + 1)),
    )
    norm.norm.weight.data.fill_(1.0)
    for training, axes in ((True, (0, *range(2, spatial_dims + 2))), (False, tuple(range(2, spatial_dims + 2)))):
        out = norm.train(training)(x)
        torch.testing.assert_close(out.mean(axes), torch.zeros_like(out.mean(axes)), atol=1e-6, rtol=0)
        variance = x.var(axes, correction=0)
        torch.testing.assert_close(out.var(axes, correction=0), variance / (variance + 1e-5))
    assert not norm.state_dict().keys() & {"norm.running_mean", "norm.running_var"}


@BOTH
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_map_of_one_voxel_is_scaled_and_shifted_in_any_batch(batch, training, spatial_dims):
    norm, x = batch_norm(3).train(training), torch.randn(batch, 3, *[1] * spatial_dims)
    norm.norm.weight.data.fill_(2.0)
    norm.norm.bias.data.fill_(1.0)
    assert torch.equal(norm(x), 2 * x + 1)


@BOTH
def test_what_a_network_draws_does_not_depend_on_its_neighbours(spatial_dims):
    """Trained in batches of one it draws what it drew then; in larger ones each image moves the others."""
    network, x = small_generator(spatial_dims), torch.randn(3, 3, *[16] * spatial_dims)
    with torch.no_grad():
        alone = torch.cat([network.train()(image[None]) for image in x])
        assert not torch.allclose(network(x), alone, atol=1e-3)
        torch.testing.assert_close(network.eval()(x), alone, atol=1e-6, rtol=0)
