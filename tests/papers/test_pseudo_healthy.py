"""What Xia et al. 2019 (arXiv 1901.07295) fix: sizes of networks, and the terms of the losses."""

import pytest
import torch
from torch import nn

from lesionforge.config import parse_options
from lesionforge.errors import ConfigError
from lesionforge.healers.baselines import HealingCycleGAN, HealingGAN
from lesionforge.healers.healing_config import CRITIC_CHANNELS, HealingConfig
from lesionforge.healers.pseudo_healthy import PseudoHealthy
from lesionforge.losses.game import AdversarialGame
from lesionforge.losses.gradient_penalty import gradient_penalty
from lesionforge.networks.critic import PatchGAN, receptive_field
from lesionforge.networks.generators.residual_generator import PSEUDO_HEALTHY, ResidualGenerator
from lesionforge.networks.segmentation.segmentor import ResidualSegmentor
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.rng import torch_seed
from tests.synthesizers.healers import healer_info

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
MODES = pytest.mark.parametrize("mode", ["paired", "unpaired"])
SIDES = {2: (208, 160), 3: (32, 32, 32)}


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def critic(spatial_dims, *, width=1.0, **options):
    strides = (2,) * len(CRITIC_CHANNELS)
    sizes = {"channels": CRITIC_CHANNELS, "strides": strides, "keep_size": True, "width": width}
    return PatchGAN(spatial_dims=spatial_dims, **{"in_channels": 1, **sizes, **options})


def generator(spatial_dims, in_channels=1, out_channels=1, **options):
    sizes = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": out_channels}
    return ResidualGenerator(**sizes, **{**PSEUDO_HEALTHY, **options})


def test_the_networks_have_the_sizes_that_follow_from_the_tables():
    assert count(generator(2)) == 1_961_217
    assert count(generator(2, 2)) == 1_962_785
    assert count(generator(2, 2, 2)) == 1_963_074
    assert count(critic(2)) == 2_698_465
    assert count(critic(2, in_channels=2)) == 2_698_977


@BOTH
def test_a_generator_that_draws_the_change_has_the_same_size_and_begins_at_the_image(spatial_dims):
    torch.manual_seed(0)
    options = {"spatial_dims": spatial_dims, "width": 0.125, "channels": (32, 64), "blocks": 1}
    whole, change = (HealingConfig(**options, draws=draws).generator(3, 2) for draws in ("image", "change"))
    assert count(whole) == count(change)
    x = torch.rand(2, 3, *(16,) * spatial_dims)
    assert (change(x) - x[:, :2]).abs().mean() < 0.1 < (whole(x) - x[:, :2]).abs().mean()
    change.generator.layers[-2].bias.data.fill_(5)
    assert (change(x) == 1).float().mean() > 0.9
    assert change(x).max() == 1


@BOTH
def test_the_networks_keep_the_size_and_the_discriminator_has_a_sixteenth_of_it(spatial_dims):
    side = SIDES[spatial_dims]
    x = torch.rand(1, 1, *side)
    with torch.no_grad():
        drawn = generator(spatial_dims, width=0.1)(x)
        found = ResidualSegmentor(spatial_dims=spatial_dims, in_channels=1, out_channels=2, width=0.1)(x)
        judged = critic(spatial_dims, width=0.1)(x)
    assert drawn.shape == x.shape
    assert found.shape == (1, 2, *side)
    assert judged.shape == (1, 1, *(n // 16 for n in side))
    for image in (drawn, found):
        assert image.min() >= 0
        assert image.max() <= 1
    assert judged.min() < 0, "its output is linear"


def test_one_answer_of_the_discriminator_sees_94_pixels():
    torch.manual_seed(0)
    network = critic(2, width=0.1, spectral_norm=True)
    for weight in network.parameters():
        weight.data.abs_().add_(0.01)
    image = torch.ones(1, 1, 208, 160, requires_grad=True)
    network(image)[0, 0, 6, 5].backward()
    rows, columns = (image.grad[0, 0] != 0).any(1), (image.grad[0, 0] != 0).any(0)
    assert (int(rows.sum()), int(columns.sum())) == (94, 94)
    assert receptive_field((2, 2, 2, 2)) == 94


@BOTH
def test_the_segmentor_is_a_residual_unet_with_leaky_relu_whose_every_weight_learns(spatial_dims):
    torch.manual_seed(0)
    network = ResidualSegmentor(spatial_dims=spatial_dims, in_channels=1, out_channels=1, channels=(4, 8, 8))
    assert network.divisor == 4
    assert {m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)} == {0.2}
    assert not any(isinstance(m, nn.ReLU | nn.PReLU) for m in network.modules())
    network(torch.rand(2, 1, *(n // 4 for n in SIDES[spatial_dims]))).square().mean().backward()
    assert all(w.grad is not None and torch.isfinite(w.grad).all() for w in network.parameters())


@BOTH
def test_the_segmentor_gives_probabilities_or_their_logits(spatial_dims):
    torch.manual_seed(0)
    options = {"spatial_dims": spatial_dims, "in_channels": 1, "out_channels": 2, "channels": (4, 8)}
    network, logits = ResidualSegmentor(**options), ResidualSegmentor(**options, sigmoid=False)
    logits.load_state_dict(network.state_dict())
    x = torch.rand(1, 1, *(8,) * spatial_dims)
    assert torch.equal(torch.sigmoid(logits(x)), network(x))
    assert logits(x).min() < 0


@BOTH
def test_nothing_keeps_a_map_from_being_empty(spatial_dims):
    """The norms lie before the last convolution, whose bias alone can say that there is no lesion anywhere."""
    torch.manual_seed(0)
    network = ResidualSegmentor(spatial_dims=spatial_dims, in_channels=1, out_channels=1, channels=(4, 8))
    assert isinstance(list(network.modules())[-1], nn.Conv2d | nn.Conv3d)
    network.head.weight.data.zero_()
    network.head.bias.data.fill_(-20)
    assert network(torch.rand(1, 1, *(n // 4 for n in SIDES[spatial_dims]))).max() < 1e-6


def test_least_squares_are_those_that_the_printed_game_means():
    """½E[(D(x_h) − 1)²] + ½E[D(fake)²] for D, ½E[(D(fake) − 1)²] for its opponent."""
    game = AdversarialGame("lsgan")
    real, fake = torch.tensor([[0.5], [2.0]]), torch.tensor([[-1.0], [0.25]])
    expected = 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()
    assert game.critic_loss(lambda x: x, real, fake)[0].item() == pytest.approx(expected.item())
    assert game.generator_loss(lambda x: x, fake).item() == pytest.approx(0.5 * (fake - 1).square().mean().item())


def test_the_printed_game_is_a_maximum_and_its_sigmoid_bounds_it():
    game = AdversarialGame("bounded")
    real, fake = torch.tensor([[0.5], [2.0]]), torch.tensor([[-1.0], [0.25]])
    printed = 0.5 * (fake.sigmoid() - 1).square().mean() + 0.5 * real.sigmoid().square().mean()
    assert game.critic_loss(lambda x: x, real, fake)[0].item() == pytest.approx(-printed.item())
    assert game.critic_loss(lambda x: x, 1e4 + real, fake - 1e4)[0].item() == pytest.approx(-1)
    assert game.generator_loss(lambda x: x, fake).item() == pytest.approx(
        0.5 * (fake.sigmoid() - 1).square().mean().item()
    )


def test_the_wasserstein_game_has_a_penalty_and_no_halves():
    game = AdversarialGame("wgan", lambda_gp=10.0)
    with torch_seed(0, "game"):
        real, fake = torch.rand(2, 1, 4, 4), torch.rand(4, 1, 4, 4)

    def judge(x):
        return x.square().flatten(1).sum(1)

    with torch_seed(1):
        loss, parts = game.critic_loss(judge, real, fake)
    with torch_seed(1):
        penalty = gradient_penalty(judge, torch.cat([real, real]), fake)
    expected = judge(fake).mean() - judge(real).mean() + 10 * penalty
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts["penalty"].item() == pytest.approx(penalty.item(), rel=1e-5)
    assert parts["wasserstein"].item() == pytest.approx((10 * penalty - expected).item(), rel=1e-5)
    assert game.generator_loss(judge, fake).item() == pytest.approx(-judge(fake).mean().item())


def module_of(method, spatial_dims, **options):
    return method.module(healer_info(method.method, spatial_dims, **options), TrainingConfig())


def batch_of(spatial_dims, n=2):
    size = (16,) * spatial_dims
    with torch_seed(0, "batch"):
        images = torch.rand(2, n, 1, *size)
        return {"pathological": images[0], "healthy": images[1], "mask": (torch.rand(n, 1, *size) > 0.8).float()}


PUBLISHED = {
    ("paired", "lsgan"): (10, 10, 10, 1, 1, 10),
    ("unpaired", "lsgan"): (10, 10, 10, 2, 2, 10),
    ("paired", "wgan"): (20, 10, 10, 2, 1, 10),
    ("unpaired", "wgan"): (20, 10, 10, 2, 1, 1),
}


@BOTH
@pytest.mark.parametrize(("mode", "adversarial"), PUBLISHED)
def test_the_loss_is_the_weighted_sum_of_the_papers_terms(mode, adversarial, spatial_dims):
    module = module_of(PseudoHealthy, spatial_dims, mode=mode, adversarial=adversarial)
    batch = batch_of(spatial_dims)
    x_p, x_h, mask = batch["pathological"], batch["healthy"], batch["mask"]
    draw, again, find = (module.generator[name] for name in ("generator", "reconstructor", "segmentor"))
    with torch.no_grad():
        loss, fakes, terms = module.generator_loss(batch)
        healed, found = draw(x_p), find(x_p)
        kept = again(torch.cat([x_h, torch.zeros_like(x_h)], 1))
        answers = [module.critic["image"](fake) for fake in (healed, kept)]
        adversary = [-a.mean() if adversarial == "wgan" else (a - 1).square().mean() / 2 for a in answers]
        if mode == "paired":
            axes = tuple(range(2, x_p.ndim))
            overlap, total = (found * mask).sum(axes), found.sum(axes) + mask.sum(axes)
            of_mask = (1 - (2 * overlap + 0.1) / (total + 0.1)).mean()
        else:
            judged = module.critic["mask"](found)
            of_mask = -judged.mean() if adversarial == "wgan" else (judged - 1).square().mean() / 2
    with torch.no_grad():
        expected = {
            "pathological": (again(torch.cat([healed, found], 1)) - x_p).abs().mean(),
            "healthy": (draw(kept) - x_h).abs().mean(),
            "empty": find(kept).mean(),
            "adversarial_ph": adversary[0],
            "adversarial_hh": adversary[1],
            "mask": of_mask,
        }
    assert {name: float(term) for name, term in terms.items()} == pytest.approx(
        {name: float(term) for name, term in expected.items()}, rel=1e-4
    )
    weighted = sum(w * float(term) for w, term in zip(PUBLISHED[mode, adversarial], expected.values(), strict=True))
    assert float(loss) == pytest.approx(weighted, rel=1e-4)
    assert torch.equal(fakes, torch.cat([healed, kept, found], 1))


@BOTH
@MODES
def test_the_discriminator_learns_from_both_cycles(mode, spatial_dims):
    module = module_of(PseudoHealthy, spatial_dims, mode=mode)
    batch = batch_of(spatial_dims)
    with torch.no_grad():
        _, fakes, _ = module.generator_loss(batch)
        loss, _ = module.critic_loss(batch, fakes)
        judge = module.critic["image"]
        real = (judge(batch["healthy"]) - 1).square().mean() / 2
        expected = sum(real + judge(fakes[:, n : n + 1]).square().mean() / 2 for n in (0, 1))
        if mode == "unpaired":
            of_masks = module.critic["mask"]
            expected += (of_masks(batch["mask"]) - 1).square().mean() / 2 + of_masks(fakes[:, 2:]).square().mean() / 2
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


def reached(module, network):
    """Names of the weights that have a gradient which is not zero."""
    named = getattr(module, network).named_parameters()
    return {name for name, weight in named if weight.grad is not None and weight.grad.abs().max() > 0}


@BOTH
@pytest.mark.parametrize(
    ("method", "options"),
    [
        *((PseudoHealthy, {"mode": mode}) for mode in ("paired", "unpaired")),
        *((method, {}) for method in (HealingGAN, HealingCycleGAN)),
    ],
)
def test_every_network_learns_and_each_side_from_its_own_loss_alone(method, options, spatial_dims):
    module = module_of(method, spatial_dims, **options)
    batch = batch_of(spatial_dims)
    loss, fakes, _ = module.generator_loss(batch)
    assert not fakes.requires_grad
    loss.backward()
    first_of = {name.split(".")[0] for name in reached(module, "generator")}
    assert first_of == set(module.generator)
    assert len(reached(module, "generator")) > 0.9 * len(list(module.generator.parameters()))
    module.zero_grad()
    module.critic_loss(batch, fakes)[0].backward()
    assert not reached(module, "generator")
    assert {name.split(".")[0] for name in reached(module, "critic")} == set(module.critic)


def test_only_unpaired_training_has_a_discriminator_of_masks():
    assert set(module_of(PseudoHealthy, 2, mode="paired").critic) == {"image"}
    assert set(module_of(PseudoHealthy, 2, mode="unpaired").critic) == {"image", "mask"}


@BOTH
def test_cyclegan_loses_nothing_on_both_ways_round_if_it_does_nothing(spatial_dims):
    module = module_of(HealingCycleGAN, spatial_dims, lambda_cycle=7.0)
    batch = batch_of(spatial_dims)
    with torch.no_grad():
        loss, fakes, logs = module.generator_loss(batch)
        healthy, pathological = module.generator["healthy"], module.generator["pathological"]
        around = (pathological(healthy(batch["pathological"])) - batch["pathological"]).abs().mean()
        around += (healthy(pathological(batch["healthy"])) - batch["healthy"]).abs().mean()
        module.generator = nn.ModuleDict({name: nn.Identity() for name in module.generator})
        _, _, nothing = module.generator_loss(batch)
    assert float(logs["cycle"]) == pytest.approx(float(around), rel=1e-4)
    assert float(loss - logs["adversarial"]) == pytest.approx(7 * float(around), rel=1e-3)
    assert torch.equal(fakes, torch.cat([healthy(batch["pathological"]), pathological(batch["healthy"])], 1))
    assert float(nothing["cycle"]) == 0


@BOTH
@pytest.mark.parametrize("method", [PseudoHealthy, HealingGAN, HealingCycleGAN])
def test_a_critic_whose_gradient_is_penalised_has_neither_norm_nor_pool(method, spatial_dims):
    """Gulrajani et al. 2017, section 4: the penalty is of each item alone, and on new fakes."""
    norms = nn.modules.batchnorm._NormBase
    for adversarial, has_norm in (("wgan", False), ("lsgan", True)):
        module = module_of(method, spatial_dims, adversarial=adversarial)
        assert any(isinstance(layer, norms) for layer in module.critic.modules()) == has_norm
        assert (module.config.pool_size > 0) == has_norm
    given = method.Config(adversarial="wgan", optimiser={"beta1": 0.0})
    assert (given.optimiser.pool_size, given.optimiser.beta1, given.optimiser.learning_rate) == (0, 0, 1e-4)
    with pytest.raises(ConfigError, match="pool_size is not 0") as caught:
        parse_options(method.Config, {"adversarial": "wgan", "optimiser": {"pool_size": 50}})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("mode", "adversarial"), PUBLISHED)
def test_one_weight_leaves_the_others_as_published(mode, adversarial):
    options = {"mode": mode, "adversarial": adversarial}
    names = ("pathological", "healthy", "empty", "adversarial_ph", "adversarial_hh", "mask")
    published = dict(zip(names, PUBLISHED[mode, adversarial], strict=True))
    for name in names:
        given = PseudoHealthy.Config(**options, weights={name: 7})
        assert given.weights.model_dump() == published | {name: 7}
    assert PseudoHealthy.Config(**options, weights=None).weights.model_dump() == published
