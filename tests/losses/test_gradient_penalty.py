import pytest
import torch

from lesionforge.losses.gradient_penalty import gradient_penalty

SHAPES = {2: (2, 5, 4), 3: (2, 5, 4, 3)}
BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


def pair(spatial_dims, n=6):
    torch.manual_seed(0)
    return torch.rand(n, *SHAPES[spatial_dims]), torch.rand(n, *SHAPES[spatial_dims])


@BOTH
@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_a_linear_critic_is_punished_by_the_norm_over_all_voxels(spatial_dims, norm):
    slope = torch.randn(SHAPES[spatial_dims])
    slope *= norm / slope.norm()
    penalty = gradient_penalty(lambda x: (x * slope).flatten(1).sum(1), *pair(spatial_dims))
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)


@BOTH
def test_every_sample_has_a_norm_of_its_own(spatial_dims):
    """With norms 0 and 2 in equal shares the mean penalty is 1; a common norm would give another."""
    slope = torch.zeros(6, *SHAPES[spatial_dims])
    slope[::2] = 2 / slope[0].numel() ** 0.5
    penalty = gradient_penalty(lambda x: (x * slope).flatten(1).sum(1), *pair(spatial_dims))
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)


def test_it_is_taken_between_real_and_fake():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.flatten(1).sum(1)

    real, fake = torch.ones(200, *SHAPES[2]), torch.zeros(200, *SHAPES[2])
    gradient_penalty(critic, real, fake)
    places = seen[0].flatten(1)
    assert torch.allclose(places.amin(1), places.amax(1))
    assert 0.4 < float(places.mean()) < 0.6
    assert float(places.min()) < 0.1
    assert float(places.max()) > 0.9


def test_it_trains_the_critic_and_not_the_generator():
    weight = torch.nn.Parameter(torch.full(SHAPES[2], 0.5))
    real, fake = pair(2)
    fake.requires_grad_()
    gradient_penalty(lambda x: (x * weight).square().flatten(1).sum(1), real, fake).backward()
    assert weight.grad is not None
    assert weight.grad.abs().max() > 0
    assert fake.grad is None


def test_it_is_computed_in_full_precision_and_without_a_surrounding_graph():
    layer = torch.nn.Linear(40, 1)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = gradient_penalty(lambda x: layer(x.flatten(1)), *pair(2))
    assert penalty.dtype == torch.float32
    assert penalty.requires_grad
    assert penalty.item() == pytest.approx((layer.weight.norm().item() - 1) ** 2, abs=1e-5)
