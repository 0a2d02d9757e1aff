"""Sizes that the papers state, or that follow from their tables."""

import pytest
import torch

from lesionforge.losses.adversarial import ADVERSARIAL_LOSSES
from lesionforge.networks.critic import PatchGAN, receptive_field
from lesionforge.networks.generators.mask_gan import MaskCritic, MaskGenerator
from lesionforge.networks.generators.spade_generator import SpadeGenerator
from lesionforge.networks.generators.unet_generator import UNetGenerator
from lesionforge.networks.googlenet import GoogLeNet
from lesionforge.networks.segmentation.fcn8s import FCN8s
from lesionforge.networks.segmentation.stroke_unet import StrokeUNet


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("in_channels", "affine", "parameters"), [(29, True, 41_857_025), (29, False, 41_848_193), (1, True, 41_828_353)]
)
def test_pix2pix_generator_has_the_published_size(in_channels, affine, parameters):
    assert count(UNetGenerator(spatial_dims=2, in_channels=in_channels, out_channels=1, affine=affine)) == parameters


def test_patchgan_has_half_of_the_888898_parameters_stated():
    assert count(PatchGAN(spatial_dims=2, in_channels=30)) == 444_449


def test_mask_gan_has_the_size_of_the_released_code():
    size = (128, 128, 32)
    drawer = MaskGenerator(spatial_dims=3, size=size, out_channels=1, start=(4, 4, 4))
    assert count(drawer) == 1_796_392
    assert count(MaskCritic(spatial_dims=3, size=size, in_channels=1)) == 22_103_656
    assert drawer.inside == (slice(0, 128), slice(0, 128), slice(48, 80))


def test_spade_has_the_size_that_follows_from_the_paper():
    assert count(SpadeGenerator(spatial_dims=2, in_channels=29 + 1, out_channels=1)) == 1_029_337
    park = SpadeGenerator(spatial_dims=2, in_channels=29 + 1, out_channels=1, hidden_channels=128, shortcut=True)
    assert count(park) == 3_160_873


def test_the_stroke_unet_has_the_published_size():
    assert count(StrokeUNet(spatial_dims=3, in_channels=1, out_channels=2)) == 5_645_410


def test_receptive_fields():
    assert receptive_field((2, 2, 2, 1)) == PatchGAN(spatial_dims=2, in_channels=2).receptive_field == 70
    assert receptive_field((2, 2, 1)) == 34
    assert receptive_field((2, 1)) == 16
    assert receptive_field((2, 2, 2)) == 46
    assert receptive_field((2, 2, 2, 2)) == 94


def test_a_training_step_at_the_papers_size_reaches_every_weight():
    """128×128 with seven steps down: the innermost map is one pixel, where an instance norm cannot normalise."""
    torch.manual_seed(0)
    generator = UNetGenerator(spatial_dims=2, in_channels=29, out_channels=1)
    critic = PatchGAN(spatial_dims=2, in_channels=30)
    condition, image = torch.randn(2, 29, 128, 128), torch.rand(2, 1, 128, 128) * 2 - 1
    fake = generator(condition)
    real_logits = critic(torch.cat([condition, image], 1))
    fake_logits = critic(torch.cat([condition, fake], 1))
    adversarial = ADVERSARIAL_LOSSES["lsgan"].critic_loss(real_logits, fake_logits)
    (adversarial + 10 * (fake - image).abs().mean()).backward()
    for name, weight in [*generator.named_parameters(), *critic.named_parameters()]:
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.abs().max() > 0, name


def test_googlenet_has_the_published_size():
    """6,998,552 with biases and without norms; batch norm makes a bias superfluous and adds two numbers a map."""
    network = GoogLeNet(in_channels=3, out_channels=1000)
    maps = sum(layer.out_channels for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
    assert count(network) - maps == 6_998_552
    assert network.features(torch.zeros(1, 3, 224, 224)).shape == (1, 1024, 7, 7)


def test_fcn8s_has_the_encoder_of_vgg16():
    with torch.device("meta"):
        network = FCN8s(in_channels=3, out_channels=21)
    assert count(network.features) == 14_714_688
    assert count(network.features) + count(network.classifier) == 134_260_544
    scores = 21 * (4096 + 512 + 256 + 3)
    assert count(network) == 134_260_544 + scores + 2 * 21 * 21 * 4 * 4


def test_fcn8s_has_thirteen_convolutions_in_five_blocks_and_a_stride_of_32():
    with torch.device("meta"):
        network = FCN8s(in_channels=1, out_channels=6)
    kinds = [type(layer).__name__ for layer in network.features if not isinstance(layer, torch.nn.ReLU)]
    assert [len(block.split()) for block in " ".join(kinds).split("MaxPool2d")[:-1]] == [2, 2, 3, 3, 3]
    assert [conv.kernel_size for conv in network.classifier if isinstance(conv, torch.nn.Conv2d)] == [(7, 7), (1, 1)]
    assert network.features(torch.rand(1, 1, 256, 256, device="meta")).shape == (1, 512, 8, 8)
