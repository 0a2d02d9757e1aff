"""The generators of image translation besides the U-Net, and the segmentation network of the stroke system."""

import pytest
import torch
from torch import nn

from lesionforge.networks.generators.residual_generator import ResidualGenerator
from lesionforge.networks.generators.spade_generator import SpadeGenerator
from lesionforge.networks.generators.unet_generator import UNetGenerator
from lesionforge.networks.segmentation.stroke_unet import StrokeUNet
from lesionforge.training.rng import torch_seed

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
STYLES = pytest.mark.parametrize("style", [{}, {"hidden_channels": 4, "shortcut": True}], ids=["stroke", "Park"])
SIZES = {2: (32, 16), 3: (16, 8, 8)}


def spade(spatial_dims, **style):
    torch.manual_seed(0)
    return SpadeGenerator(
        spatial_dims=spatial_dims,
        in_channels=4,
        out_channels=2,
        channels=(8, 4, 4),
        size=SIZES[spatial_dims],
        latent=6,
        **style,
    )


def labels_and_noise(spatial_dims, *, noise=None, n=2):
    size = SIZES[spatial_dims]
    labels = torch.zeros(n, 3, *size)
    labels[:, 0] = 1
    labels[:, :, 4:8, 2:6] = torch.tensor([0.0, 1, 0]).view(3, *[1] * spatial_dims)
    return torch.cat([labels, torch.randn(n, 1, *size) if noise is None else noise], 1)


def all_reached(network, output):
    """Whether the mean of an output gives every weight a finite gradient that is not zero."""
    output.square().mean().backward()
    return {
        name
        for name, weight in network.named_parameters()
        if weight.grad is None or not torch.isfinite(weight.grad).all() or weight.grad.abs().max() == 0
    } == set()


@BOTH
@STYLES
def test_spade_draws_in_range_and_every_weight_learns(spatial_dims, style):
    network = spade(spatial_dims, **style)
    out = network(labels_and_noise(spatial_dims))
    assert out.shape == (2, 2, *SIZES[spatial_dims])
    assert out.abs().max() <= 1
    assert all_reached(network, out)


@BOTH
@STYLES
def test_spade_draws_another_image_for_another_latent_vector_and_other_labels(spatial_dims, style):
    network = spade(spatial_dims, **style)
    for weight in network.parameters():
        weight.data.normal_(0, 0.3)
    x = labels_and_noise(spatial_dims, n=1)
    other_latent, other_rest, other_labels = x.clone(), x.clone(), x.clone()
    other_latent[:, -1].view(1, -1)[:, :6] += 1
    other_rest[:, -1].view(1, -1)[:, 6:] += 1
    other_labels[:, :-1] = x[:, :-1].roll(1, 1)
    drawn = network(x)
    assert not torch.allclose(network(other_latent), drawn, atol=1e-4)
    assert torch.equal(network(other_rest), drawn)
    assert not torch.allclose(network(other_labels), drawn, atol=1e-4)


@BOTH
def test_spade_draws_other_sizes(spatial_dims):
    network = spade(spatial_dims)
    size = tuple(2 * n for n in SIZES[spatial_dims])
    assert network(torch.randn(1, 4, *size)).shape == (1, 2, *size)


def test_spade_needs_room_for_its_latent_vector():
    network = SpadeGenerator(spatial_dims=2, in_channels=2, out_channels=1, channels=(2, 2), size=(4, 4), latent=32)
    with pytest.raises(ValueError, match="16 voxels cannot hold a latent vector of 32"):
        network(torch.zeros(1, 2, 4, 4))


@BOTH
def test_the_residual_generator_keeps_size_and_range_and_every_weight_learns(spatial_dims):
    torch.manual_seed(0)
    network = ResidualGenerator(spatial_dims=spatial_dims, in_channels=3, out_channels=2, channels=(4, 8), blocks=2)
    size = tuple(n // 2 for n in SIZES[spatial_dims])
    out = network(torch.randn(2, 3, *size))
    assert network.divisor == 2
    assert out.shape == (2, 2, *size)
    assert out.abs().max() <= 1
    assert all_reached(network, out)


@BOTH
def test_the_stroke_unet_keeps_the_size_and_every_weight_learns(spatial_dims):
    torch.manual_seed(0)
    network = StrokeUNet(spatial_dims=spatial_dims, in_channels=2, out_channels=3, filters=(4, 8, 8))
    out = network(torch.randn(2, 2, *SIZES[spatial_dims]))
    assert out.shape == (2, 3, *SIZES[spatial_dims])
    assert all_reached(network, out)


def test_the_stroke_unet_drops_two_percent_while_it_trains():
    network = StrokeUNet(spatial_dims=2, in_channels=1, out_channels=2, filters=(4, 8))
    assert {m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)} == {0.02}
    x = torch.randn(1, 1, 8, 8)
    network.eval()
    assert torch.equal(network(x), network(x))


GENERATORS = {
    "unet": (UNetGenerator, {"channels": (8, 8, 8)}, 2),
    "resnet": (ResidualGenerator, {"channels": (8, 8), "blocks": 2}, 2),
    "spade": (SpadeGenerator, {"channels": (8, 8, 8), "latent": 16}, 3),
}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("name", GENERATORS)
def test_dropout_is_in_every_step_of_the_decoder_in_training_alone_and_adds_no_parameter(name, spatial_dims):
    kind, options, places = GENERATORS[name]
    size = (16,) * spatial_dims
    if name == "spade":
        options = {**options, "size": size}

    def made(dropout):
        with torch_seed(0, "weights"):
            return kind(spatial_dims=spatial_dims, in_channels=3, out_channels=1, dropout=dropout, **options)

    plain, dropping = made(0.0), made(0.3)
    layers = [layer for layer in dropping.modules() if isinstance(layer, nn.Dropout)]
    assert [layer.p for layer in layers] == [0.3] * places
    assert [p.shape for p in plain.parameters()] == [p.shape for p in dropping.parameters()]
    x = torch.randn(1, 3, *size)
    assert not torch.equal(dropping(x), dropping(x))
    assert torch.equal(plain(x), plain(x))
    assert torch.equal(dropping.eval()(x), plain.eval()(x))
