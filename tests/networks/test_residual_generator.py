"""The residual generator on sizes that it cannot halve."""

import pytest
import torch
from torch.nn.functional import pad

from lesionforge.networks.generators.residual_generator import ResidualGenerator

SIZES = [(18, 13), (16, 16), (16, 14, 5)]


@pytest.mark.parametrize("size", SIZES)
def test_odd_sizes_are_padded_by_reflection_and_cropped_again(size):
    torch.manual_seed(0)
    network = ResidualGenerator(
        spatial_dims=len(size), in_channels=2, out_channels=1, channels=(4, 4, 8), blocks=1, affine=False
    )
    x = torch.rand(2, 2, *size)
    widths = [n for side in reversed(size) for n in (0, -side % 4)]
    with torch.no_grad():
        drawn, padded = network(x), network.layers(pad(x, widths, mode="reflect"))
    assert drawn.shape == (2, 1, *size)
    assert torch.equal(drawn, padded[(..., *map(slice, size))])
    assert not any("norm" in name for name, _ in network.named_parameters())
