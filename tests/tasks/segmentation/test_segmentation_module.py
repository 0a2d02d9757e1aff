"""The loss of segmentation networks."""

import pytest
import torch

from lesionforge.tasks.segmentation.segmentation_module import SegmentationModule


def loss_of(logits, label):
    module = SegmentationModule(torch.nn.Identity(), learning_rate=1e-3, steps=1, seed=0)
    return module.loss(logits, label), torch.nn.functional.cross_entropy(logits, label[:, 0])


def sample(spatial_dims, *, side=16, lesions=(True, True)):
    label = torch.zeros(len(lesions), 1, *[side] * spatial_dims, dtype=torch.int64)
    for item, has_lesion in zip(label, lesions, strict=True):
        item[(0, *[slice(0, 4)] * spatial_dims)] = int(has_lesion)
    return label


def certain(found, classes=2):
    return 20.0 * torch.nn.functional.one_hot(found[:, 0], classes).movedim(-1, 1).float()


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("side", [8, 32])
def test_finding_nothing_solves_no_part_of_dice_however_much_background_there_is(spatial_dims, side):
    label = sample(spatial_dims, side=side)
    loss, cross_entropy = loss_of(certain(torch.zeros_like(label)), label)
    assert float(loss - cross_entropy) == pytest.approx(1, abs=1e-3)
    loss, _ = loss_of(certain(label), label)
    assert float(loss) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_dice_is_over_the_batch(spatial_dims):
    """An item without lesions costs nothing if nothing is found in it, and one missed lesion of two half of Dice."""
    label = sample(spatial_dims, lesions=(True, False))
    assert float(loss_of(certain(label), label)[0]) == pytest.approx(0, abs=1e-3)
    label = sample(spatial_dims)
    found = label.clone()
    found[1] = 0
    loss, cross_entropy = loss_of(certain(found), label)
    assert float(loss - cross_entropy) == pytest.approx(1 - 2 / 3, abs=1e-3)


@pytest.mark.parametrize("steps", [10, 200, 1001])
def test_the_rate_rises_over_the_first_tenth_and_falls_to_zero(steps):
    module = SegmentationModule(torch.nn.Identity(), learning_rate=1e-3, steps=steps, seed=0)
    rates = [module.rate(step) for step in range(steps + 1)]
    top = rates.index(max(rates))
    assert top <= steps / 10
    assert rates == [*sorted(rates[: top + 1]), *sorted(rates[top + 1 :], reverse=True)]
    assert 0 < rates[0] <= 10 / steps
    assert rates[-1] == 0


def test_a_steep_gradient_is_bounded():
    network = torch.nn.Linear(3, 2)
    module = SegmentationModule(network, learning_rate=1e-3, steps=1, seed=0)
    for weights in network.parameters():
        weights.grad = torch.full_like(weights, 100.0)
    module.on_before_optimizer_step(torch.optim.Adam(network.parameters()))
    norm = torch.linalg.vector_norm(torch.cat([weights.grad.flatten() for weights in network.parameters()]))
    assert float(norm) == pytest.approx(1, rel=1e-3)
