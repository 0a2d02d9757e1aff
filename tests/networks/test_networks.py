import pytest
import torch

from lesionforge.networks.convolution import strided_convolution, transposed_convolution
from lesionforge.networks.critic import PatchGAN
from lesionforge.networks.generators.lcgan import LcganGenerator
from lesionforge.networks.generators.unet_generator import UNetGenerator
from lesionforge.networks.norm import instance_norm


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_generator_keeps_the_size_and_the_range(spatial_dims):
    generator = UNetGenerator(
        spatial_dims=spatial_dims, in_channels=3, out_channels=2, channels=(4, 8, 8), activation="sigmoid"
    )
    out = generator(torch.randn(2, 3, *[16] * spatial_dims))
    assert out.shape == (2, 2, *[16] * spatial_dims)
    assert out.min() >= 0
    assert out.max() <= 1


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (3, 3), (4, 4), (2, 1, 3), (4, 3, 2)])
def test_strides_divide_and_multiply_the_size(strides):
    dims, size = len(strides), [12 * stride for stride in strides]
    down, up = (make(dims, 1, 1, strides) for make in (strided_convolution, transposed_convolution))
    small = down(torch.randn(1, 1, *size))
    assert list(small.shape[2:]) == [12] * dims
    assert list(up(small).shape[2:]) == size


@pytest.mark.parametrize("strides", [(1, 2), (2, 3), (4, 1)])
def test_a_transposed_convolution_is_the_transpose_of_the_strided_one(strides):
    down, up = (make(2, 1, 1, strides) for make in (strided_convolution, transposed_convolution))
    for layer in (*down.modules(), *up.modules()):
        if isinstance(layer, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            layer.bias.data.zero_()
    up_weight, down_weight = (next(p for p in net.parameters() if p.dim() > 1) for net in (up, down))
    up_weight.data.copy_(down_weight)
    x, y = torch.randn(1, 1, 12, 12), torch.randn(1, 1, *[12 // stride for stride in strides])
    assert (down(x) * y).sum().item() == pytest.approx((x * up(y)).sum().item(), abs=1e-4)


@pytest.mark.parametrize("network", [UNetGenerator, LcganGenerator])
def test_every_axis_has_its_own_strides(network):
    strides = [(2, 2, 2), (2, 2, 1), (2, 2, 3)]
    options = {"spatial_dims": 3, "in_channels": 2, "out_channels": 3, "channels": (4, 8, 8)}
    inputs = torch.randn(1, 2, 16, 24, 12)
    assert network(**options, strides=strides).eval()(inputs).shape == (1, 3, 16, 24, 12)
    even = network(**options, strides=[(2, 2, 2)] * 3)
    torch.manual_seed(0)
    usual = network(**options)
    even.load_state_dict(usual.state_dict())
    inputs = torch.randn(1, 2, 16, 24, 8)
    assert torch.equal(even.eval()(inputs), usual.eval()(inputs))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_width_scales_every_layer(spatial_dims):
    def widest(width):
        network = UNetGenerator(spatial_dims=spatial_dims, in_channels=1, out_channels=1, channels=(8, 16), width=width)
        return max(p.shape[0] for p in network.parameters())

    assert widest(0.5) * 2 == widest(1.0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_discriminator_judges_patches(spatial_dims):
    network = PatchGAN(spatial_dims=spatial_dims, in_channels=2, width=0.25)
    assert network(torch.randn(1, 2, *[64] * spatial_dims)).shape == (1, 1, *[6] * spatial_dims)


def test_spectral_norm_bounds_the_convolutions():
    network = PatchGAN(spatial_dims=2, in_channels=2, width=0.25, spectral_norm=True)
    for _ in range(200):
        network(torch.randn(1, 2, 64, 64))
    network.eval()
    for layer in network.layers:
        if isinstance(layer, torch.nn.Conv2d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_single_voxel_is_scaled_and_shifted(spatial_dims):
    norm = instance_norm(spatial_dims, 3)
    norm.norm.weight.data.fill_(2.0)
    norm.norm.bias.data.fill_(1.0)
    x = torch.randn(2, 3, *[1] * spatial_dims)
    assert torch.equal(norm(x), x * 2 + 1)
    assert norm(torch.randn(2, 3, *[4] * spatial_dims)).mean().item() == pytest.approx(1, abs=1e-4)
