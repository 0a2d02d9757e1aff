import numpy as np
import pytest
import torch
from torch.nn import functional

from lesionforge.networks.segmentation.fcn8s import FCN8s


def narrow(in_channels=1, out_channels=3, **options):
    torch.manual_seed(0)
    return FCN8s(in_channels=in_channels, out_channels=out_channels, width=1 / 16, **options).eval()


@pytest.mark.parametrize("size", [(64, 96), (50, 38), (31, 33), (1, 7)])
@pytest.mark.parametrize("in_channels", [1, 2, 4])
def test_the_output_has_the_size_of_the_input_and_a_channel_for_each_class(in_channels, size):
    logits = narrow(in_channels)(torch.rand(2, in_channels, *size))
    assert logits.shape == (2, 3, *size)


def test_it_begins_undecided_and_every_parameter_learns():
    network = narrow(dropout=0.0)
    image, truth = torch.rand(1, 1, 64, 64), torch.randint(0, 3, (1, 64, 64))
    assert not network(image).any()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        functional.cross_entropy(network(image), truth).backward()
        optimiser.step()
    assert all(parameter.grad.any() for parameter in network.parameters())


def test_it_learns_where_a_bright_spot_is():
    network = narrow(out_channels=2, dropout=0.0)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    image = torch.full((1, 1, 64, 64), -1.0)
    image[..., 8:32, 36:60] = 1
    truth = (image[:, 0] > 0).long()
    for _ in range(30):
        optimiser.zero_grad()
        functional.cross_entropy(network(image), truth).backward()
        optimiser.step()
    found = network(image).argmax(1)
    assert 2 * (found * truth).sum() / (found.sum() + truth.sum()) > 0.8


@pytest.mark.parametrize(("path", "within"), [("score_pool3", 4), ("score_pool4", 8), ("score_fc7", 16)])
def test_each_way_up_keeps_things_where_they_are(path, within):
    """With one score layer alone, and deep layers that look alike in all directions, a spot is answered around it."""
    network = narrow(out_channels=2)
    for layer in (getattr(network, path), network.classifier[0], network.classifier[3]):
        torch.nn.init.ones_(layer.weight)
    for centre in ((200, 248), (260, 190)):
        spot = np.square(np.indices((448, 448)) - np.reshape(centre, (2, 1, 1))).sum(0) < 12**2
        with torch.no_grad():
            answer = network(torch.from_numpy(spot[None, None].astype(np.float32)))[0, 1].numpy()
        found = (np.indices(answer.shape) * answer).sum((1, 2)) / answer.sum()
        assert np.abs(found - centre).max() < within


def test_doubling_begins_as_bilinear_interpolation():
    network, scores = narrow(), torch.rand(1, 3, 9, 12)
    expected = functional.interpolate(scores, scale_factor=2, mode="bilinear")[..., 1:-1, 1:-1]
    for double in (network.double_fc7, network.double_pool4):
        assert torch.allclose(double(scores)[..., 1:-1, 1:-1], expected, atol=1e-6)


def test_dropout_is_that_of_the_two_deep_layers():
    rates = [layer.p for layer in narrow().modules() if isinstance(layer, torch.nn.Dropout)]
    assert rates == [0.5, 0.5]
