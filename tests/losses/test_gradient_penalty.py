import pytest
import torch

from lesionforge.losses.game import AdversarialGame
from lesionforge.losses.gradient_penalty import gradient_penalty
from lesionforge.training.rng import torch_seed

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


@BOTH
@pytest.mark.parametrize("patches", [1, 4, 16])
def test_the_mean_over_patches_is_what_has_a_slope(spatial_dims, patches):
    """A critic that answers the same for every patch is punished as one that answers once."""
    slope = torch.randn(SHAPES[spatial_dims])
    slope *= 3 / slope.norm()

    def critic(x):
        return (x * slope).flatten(1).sum(1)[:, None, None].expand(-1, 1, patches)

    penalty = gradient_penalty(critic, *pair(spatial_dims))
    assert penalty.item() == pytest.approx(4.0, abs=1e-4)


def slope_of_mean(critic, images):
    images = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(critic(images).flatten(1).mean(1).sum(), images)
    return float(slope.flatten(1).norm(dim=1).mean())


@pytest.mark.parametrize(("patches", "spatial_dims"), [(1, 2), (16, 2), (64, 2), (1, 3), (64, 3)])
def test_the_mean_answer_of_a_trained_critic_has_a_slope_of_one(patches, spatial_dims):
    """Whatever the number of patches, the generator is told as much as by a critic with one answer."""
    side = 4 * round(patches ** (1 / spatial_dims))
    game = AdversarialGame("wgan", lambda_gp=10.0)
    with torch_seed(patches, "critic"):
        critic = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[spatial_dims](1, 1, 4, 4)
        optimiser = torch.optim.Adam(critic.parameters(), lr=0.05)
        for _ in range(120):
            real, fake = torch.rand(2, 4, 1, *[side] * spatial_dims)
            loss, _ = game.critic_loss(critic, real + 0.5 / side ** (spatial_dims / 2), fake)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert critic(real).flatten(1).shape[1] == patches
    assert slope_of_mean(critic, real) == pytest.approx(1.0, abs=0.1)


def test_a_penalised_critic_answers_in_full_precision_wherever_it_is_asked():
    seen = []
    layer = torch.nn.Linear(40, 1)

    def critic(x):
        seen.append(layer(x.flatten(1)).dtype)
        return layer(x.flatten(1))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        real, fake = (part.bfloat16() for part in pair(2))
        for name, kept in (("wgan", torch.float32), ("lsgan", torch.bfloat16)):
            game = AdversarialGame(name)
            game.critic_loss(critic, real, fake)
            game.generator_loss(critic, fake)
            assert set(seen) == {kept}
            seen.clear()
