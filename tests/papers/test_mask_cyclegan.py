"""What Faryna et al. 2021 (arXiv 2101.06468) fix, and what follows from their text: networks, cycles and losses."""

import pytest
import torch
from torch import nn

from lesionforge.config import parse_options
from lesionforge.errors import ConfigError
from lesionforge.healers.mask_cyclegan import MaskCycleGAN
from lesionforge.losses.abnormality_mask import abnormality_mask
from lesionforge.training.loop import TrainingConfig
from lesionforge.training.rng import torch_seed
from tests.synthesizers.healers import healer_info

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])


def count(module):
    return sum(weight.numel() for weight in module.parameters())


def module_of(spatial_dims, *, classes=1, channels=("SWI",), **options):
    labels = {"background": 0, **{f"class {n}": n for n in range(1, classes + 1)}}
    info = healer_info("mask_cyclegan", spatial_dims, channels=channels, labels=labels, **options)
    return MaskCycleGAN.module(info, TrainingConfig())


def batch_of(spatial_dims, *, classes=1, channels=1, n=2):
    size = (16,) * spatial_dims
    with torch_seed(0, "batch"):
        images = torch.rand(2, n, channels, *size)
        masks = (torch.rand(2, n, classes, *size) > 0.8).float()
    return {"pathological": images[0], "healthy": images[1], "mask": masks[0], "semi_random": masks[1]}


@pytest.mark.parametrize(("width", "parameters"), [(1.0, 5_886_049), (0.5, 1_477_681)])
def test_the_3d_generators_have_the_published_size(width, parameters):
    """From image and mask to image, at base widths of 32 and 16; the norms have no parameters."""
    config = MaskCycleGAN.Config(spatial_dims=3, width=width)
    assert count(config.generator(2, 1)) == parameters


@BOTH
def test_generators_see_image_and_mask_and_critics_the_image_alone(spatial_dims):
    module = module_of(spatial_dims, classes=3, channels=("SWI", "T1"))
    batch = batch_of(spatial_dims, classes=3, channels=2)
    assert set(module.generator) == set(module.critic) == {"healthy", "pathological"}
    for name in module.generator:
        drawn = module.generator[name](torch.cat([batch["healthy"], batch["mask"]], 1))
        assert drawn.shape == batch["healthy"].shape
        assert isinstance(list(module.critic[name].modules())[-1], nn.Conv2d | nn.Conv3d), "its output is linear"
        assert module.critic[name](drawn).shape[:2] == (2, 1)


def test_the_options_are_those_of_the_paper():
    config = MaskCycleGAN.Config()
    optimiser = config.optimiser
    assert (optimiser.learning_rate, optimiser.beta1, optimiser.beta2) == (1e-4, 0.5, 0.99)
    assert (config.adversarial, optimiser.n_critic, optimiser.pool_size, config.lambda_gp) == ("wgan", 5, 0, 10)
    assert (config.lambda_cycle, config.lambda_identity, config.lambda_abnormality) == (10, 5, 10)
    assert MaskCycleGAN.Config(spatial_dims=3, roi_size=(160, 146, 32)).roi_size == (160, 146, 32)
    with pytest.raises(ConfigError, match="each 16 or more"):
        parse_options(MaskCycleGAN.Config, {"spatial_dims": 3, "roi_size": [160, 146, 8]})


@BOTH
def test_a_critic_has_no_norm_that_could_mix_samples(spatial_dims):
    module = module_of(spatial_dims)
    norms = nn.modules.batchnorm._NormBase
    assert not any(isinstance(layer, norms) for layer in module.critic.modules())


@BOTH
@pytest.mark.parametrize("identity_php", ["none", "healthy_empty", "pathological_empty"])
def test_the_loss_is_the_weighted_sum_of_both_cycles_terms(spatial_dims, identity_php):
    module, batch = module_of(spatial_dims, identity_php=identity_php), batch_of(spatial_dims)
    x_h, x_p, y_p, y = (batch[name] for name in ("healthy", "pathological", "mask", "semi_random"))

    def hp(image, mask):
        return module.generator["pathological"](torch.cat([image, mask], 1))

    def ph(image, mask):
        return module.generator["healthy"](torch.cat([image, mask], 1))

    with torch.no_grad():
        loss, fakes, terms = module.generator_loss(batch)
        drawn, healed, empty = hp(x_h, y), ph(x_p, y_p), torch.zeros_like(y)
        cycle = (ph(drawn, y) - x_h).abs().mean() + (hp(healed, y_p) - x_p).abs().mean()
        identity = (ph(x_h, empty) - x_h).abs().mean()
        kept = {"healthy_empty": x_h, "pathological_empty": x_p}.get(identity_php)
        identity += 0 if kept is None else (hp(kept, empty) - kept).abs().mean()
        abnormality = ((1 - y_p) * (healed - x_p).abs()).flatten(1).sum(1) / (1 - y_p).flatten(1).sum(1)
        adversarial = -module.critic["pathological"](drawn).mean() - module.critic["healthy"](healed).mean()
    expected = adversarial + 10 * cycle + 5 * identity + 10 * abnormality.mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)
    assert set(terms) == {"adversarial", "cycle", "identity", "abnormality"}
    assert torch.equal(fakes, torch.cat([healed, drawn], 1))
    with torch.no_grad():
        assert torch.equal(fakes, module.fakes(batch)), "further critic steps see the same without the losses"


@BOTH
def test_each_critic_judges_its_own_domain(spatial_dims):
    module, batch = module_of(spatial_dims, lambda_gp=0.0), batch_of(spatial_dims)
    with torch.no_grad():
        _, fakes, _ = module.generator_loss(batch)
    loss, logs = module.critic_loss(batch, fakes)
    for name, fake in zip(("healthy", "pathological"), fakes.chunk(2, 1), strict=True):
        with torch.no_grad():
            expected = module.critic[name](fake).mean() - module.critic[name](batch[name]).mean()
        assert float(logs[f"d_{name}"].detach()) == pytest.approx(float(expected), rel=1e-4)
    assert torch.isclose(loss, logs["d_healthy"] + logs["d_pathological"])


@BOTH
def test_critics_may_see_the_mask_of_each_image(spatial_dims):
    module = module_of(spatial_dims, classes=2, lambda_gp=0.0, critic_sees_mask=True)
    batch = batch_of(spatial_dims, classes=2)
    x_h, x_p, y_p, y = (batch[name] for name in ("healthy", "pathological", "mask", "semi_random"))
    with torch.no_grad():
        _, fakes, terms = module.generator_loss(batch)
        healed = torch.cat([module.generator["healthy"](torch.cat([x_p, y_p], 1)), y_p], 1)
        drawn = torch.cat([module.generator["pathological"](torch.cat([x_h, y], 1)), y], 1)
        _, logs = module.critic_loss(batch, fakes)
        answers = {
            "healthy": (healed, torch.cat([x_h, y], 1)),
            "pathological": (drawn, torch.cat([x_p, y_p], 1)),
        }
        for name, (fake, real) in answers.items():
            expected = module.critic[name](fake).mean() - module.critic[name](real).mean()
            assert float(logs[f"d_{name}"]) == pytest.approx(float(expected), rel=1e-4)
        adversarial = -sum(module.critic[name](fake).mean() for name, (fake, _) in answers.items())
    assert float(terms["adversarial"]) == pytest.approx(float(adversarial), rel=1e-4)
    assert torch.equal(fakes, torch.cat([healed, drawn], 1))
    with torch.no_grad():
        assert torch.equal(fakes, module.fakes(batch)), "further critic steps see the same without the losses"


@BOTH
def test_every_network_learns_and_each_side_from_its_own_loss_alone(spatial_dims):
    module, batch = module_of(spatial_dims), batch_of(spatial_dims)
    loss, fakes, _ = module.generator_loss(batch)
    loss.backward()
    assert all(weight.grad is not None for weight in module.generator.parameters())
    module.zero_grad()
    module.critic_loss(batch, fakes)[0].backward()
    assert all(weight.grad is None for weight in module.generator.parameters())
    assert all(
        any(w.grad is not None and w.grad.any() for w in critic.parameters()) for critic in module.critic.values()
    )


def test_the_critics_compute_in_fp32_under_bf16():
    module, batch = module_of(2), batch_of(2)
    kinds = set()
    for critic in module.critic.values():
        critic.register_forward_hook(lambda network, inputs, output: kinds.add(output.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        loss, fakes, _ = module.generator_loss(batch)
        of_critics, _ = module.critic_loss(batch, fakes)
    (loss + of_critics).backward()
    assert fakes.dtype == torch.bfloat16
    assert kinds == {torch.float32}
    assert all(torch.isfinite(w.grad).all() for w in module.critic.parameters())


@BOTH
@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("normalise", ["mask", "volume"])
def test_the_abnormality_mask_loss_counts_what_changes_outside_the_lesion_alone(spatial_dims, p, normalise):
    image = torch.zeros(1, 2, *(4,) * spatial_dims)
    mask = torch.zeros(1, 3, *(4,) * spatial_dims)
    inside, beside = (0, slice(None), *(1,) * spatial_dims), (0, 1, *(2,) * spatial_dims)
    mask[(0, 2, *(1,) * spatial_dims)] = 1
    healed = image.clone()
    healed[inside] = 0.5
    assert abnormality_mask(healed, image, mask, p=p, normalise=normalise) == 0
    healed[beside] = 0.5
    voxels = 4**spatial_dims - (normalise == "mask")
    expected = 0.5**p / 2 / voxels
    assert float(abnormality_mask(healed, image, mask, p=p, normalise=normalise)) == pytest.approx(expected)


def test_a_mask_of_the_whole_image_leaves_nothing_to_keep():
    image = torch.zeros(2, 1, 4, 4)
    assert abnormality_mask(image + 1, image, torch.ones_like(image)) == 0
