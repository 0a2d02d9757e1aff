"""The adversarial step: pool, accumulation, clipping, averaging, randomness."""

import copy

import pytest
import torch
from torch import nn

from lesionforge.losses.adversarial import ADVERSARIAL_LOSSES
from lesionforge.training.adversarial_step import AdversarialConfig, AdversarialModule, ImagePool
from lesionforge.training.loop import fit
from lesionforge.training.rng import torch_seed
from tests.training.runs import Numbers, read_metrics, training

SHAPES = {2: (1, 4, 4), 3: (1, 4, 4, 4)}


def numbered(start, count, spatial_dims):
    return torch.stack([torch.full(SHAPES[spatial_dims], float(n)) for n in range(start, start + count)])


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_the_pool_shows_half_from_its_past_once_full(spatial_dims):
    pool = ImagePool(10)
    with torch_seed(0, "pool"):
        first = pool.exchange(numbered(0, 10, spatial_dims))
        assert torch.equal(first, numbered(0, 10, spatial_dims))
        held, old, shown = set(range(10)), 0, []
        for start in range(10, 410, 4):
            fakes = numbered(start, 4, spatial_dims)
            out = pool.exchange(fakes)
            assert out.shape == fakes.shape
            for value, new in zip(out.flatten(1)[:, 0].tolist(), range(start, start + 4), strict=True):
                if value != new:
                    assert value in held
                    held = held - {value} | {new}
                    old += 1
                shown.append(value)
        assert {*pool.images.flatten(1)[:, 0].tolist()} == held
    assert len(pool.images) == 10
    assert len(shown) == len(set(shown))
    assert 0.4 < old / len(shown) < 0.6


def test_the_pool_is_kept_in_a_checkpoint_whatever_its_size():
    for count in (0, 3, 10):
        pool, other = ImagePool(5), ImagePool(5)
        other.exchange(numbered(100, 4, 2))
        with torch_seed(1):
            if count:
                pool.exchange(numbered(0, count, 2))
        other.load_state_dict(pool.state_dict())
        assert torch.equal(other.images, pool.images)
        with torch_seed(2):
            expected = pool.exchange(numbered(50, 6, 2))
        with torch_seed(2):
            assert torch.equal(other.exchange(numbered(50, 6, 2)), expected)


def test_without_a_pool_the_new_fakes_are_shown():
    fakes = numbered(0, 4, 2)
    assert ImagePool(0).exchange(fakes) is fakes


def test_a_pool_of_one_shows_every_fake_once():
    pool = ImagePool(1)
    with torch_seed(0, "pool"):
        shown = torch.cat([pool.exchange(numbered(start, 8, 2)).flatten(1)[:, 0] for start in range(0, 32, 8)])
    assert sorted([*shown.tolist(), float(pool.images.flatten()[0])]) == [float(n) for n in (0, *range(32))]


def test_both_optimisers_are_adam_with_the_published_rates():
    """Isola et al. 2017, section 3.3: a rate of 0.0002, momenta of 0.5 and 0.999."""
    for module, expected in ((Tiny(learning_rate=2e-4), (2e-4, 0.5)), (Tiny(learning_rate=0.1, beta1=0.8), (0.1, 0.8))):
        for optimiser in module.configure_optimizers():
            (group,) = optimiser.param_groups
            assert isinstance(optimiser, torch.optim.Adam)
            assert (group["lr"], group["betas"]) == (expected[0], (expected[1], 0.999))
    assert AdversarialConfig().learning_rate == 2e-4


def test_the_critic_may_learn_at_a_rate_of_its_own():
    rates = [
        [optimiser.param_groups[0]["lr"] for optimiser in Tiny(**options).configure_optimizers()]
        for options in ({"learning_rate": 1e-3}, {"learning_rate": 1e-3, "critic_learning_rate": 4e-3})
    ]
    assert rates == [[1e-3, 1e-3], [1e-3, 4e-3]]


def test_what_the_pool_shows_has_no_gradient():
    fakes = numbered(0, 4, 2).requires_grad_()
    assert not ImagePool(2).exchange(fakes).requires_grad


@pytest.mark.parametrize("name", ADVERSARIAL_LOSSES)
def test_adversarial_losses_fall_as_logits_come_right(name):
    loss = ADVERSARIAL_LOSSES[name]
    logits = [torch.tensor([level]) for level in torch.linspace(-3, 3, 7)]
    real = [float(loss.critic(logit, True)) for logit in logits]
    fake = [float(loss.critic(logit, False)) for logit in logits]
    drawn = [float(loss.generator(logit)) for logit in logits]
    assert real[:5] == sorted(real[:5], reverse=True)
    assert drawn[:5] == sorted(drawn[:5], reverse=True)
    assert real[0] > real[4]
    assert drawn[0] > drawn[4]
    assert fake[:3] == sorted(fake[:3], reverse=True) if name == "lsgan" else fake == sorted(fake)
    one, zero = torch.tensor([1.0]), torch.tensor([0.0])
    assert torch.equal(loss.critic_loss(one, zero), (loss.critic(one, True) + loss.critic(zero, False)) / 2)


def test_adversarial_losses_are_the_published_ones():
    logits = torch.tensor([-1.5, 0.0, 2.0])
    lsgan, log, hinge = (ADVERSARIAL_LOSSES[name] for name in ("lsgan", "log", "hinge"))
    torch.testing.assert_close(lsgan.critic(logits, True), (logits - 1).square().mean())
    torch.testing.assert_close(lsgan.critic(logits, False), logits.square().mean())
    torch.testing.assert_close(lsgan.generator(logits), (logits - 1).square().mean())
    torch.testing.assert_close(log.critic(logits, True), -torch.sigmoid(logits).log().mean())
    torch.testing.assert_close(log.critic(logits, False), -(1 - torch.sigmoid(logits)).log().mean())
    torch.testing.assert_close(log.generator(logits), -torch.sigmoid(logits).log().mean())
    torch.testing.assert_close(hinge.critic(logits, True), -torch.clamp(logits - 1, max=0).mean())
    torch.testing.assert_close(hinge.critic(logits, False), -torch.clamp(-logits - 1, max=0).mean())
    torch.testing.assert_close(hinge.generator(logits), -logits.mean())


class Tiny(AdversarialModule):
    """Two linear maps; their losses are means over the batch."""

    def __init__(self, *, accumulate=1, dropout=0.0, **options):
        with torch_seed(0, "weights"):
            generator, critic = nn.Sequential(nn.Linear(1, 3), nn.Dropout(dropout), nn.Linear(3, 1)), nn.Linear(1, 1)
        config = AdversarialConfig(**{"learning_rate": 0.01, "pool_size": 0, **options})
        super().__init__(generator, critic, config=config, seed=0, accumulate=accumulate)
        self.norms, self.history, self.drawn = [], [], []

    def generator_loss(self, batch):
        self.drawn.append(float(torch.rand(())))
        fake = self.generator(batch["draw"][:, None] / 10)
        return (self.critic(fake) - 1).square().mean() + (fake - 2).abs().mean(), fake.detach(), {}

    def critic_loss(self, batch, fakes):
        return self.critic(fakes).square().mean() + (self.critic(batch["draw"][:, None] / 10) - 1).square().mean(), {}

    def on_before_optimizer_step(self, optimizer):
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        self.norms.append(float(torch.stack([weight.grad.norm() for weight in weights]).norm()))
        self.history.append(copy.deepcopy(self.generator.state_dict()))


def train(module, out, **options):
    fit(module, Numbers(), out=out, config=training(accumulate=module.accumulate, **options))
    return module


def test_two_batches_of_two_make_the_step_of_one_batch_of_four(tmp_path):
    one = train(Tiny(), tmp_path / "one", batch_size=4, steps=1)
    two = train(Tiny(accumulate=2), tmp_path / "two", batch_size=2, steps=1)
    start = Tiny().state_dict()
    for name, weight in [*one.generator.named_parameters("generator"), *one.critic.named_parameters("critic")]:
        torch.testing.assert_close(two.state_dict()[name], weight.detach())
        assert not torch.equal(weight, start[name])
    assert len(one.norms) == len(two.norms) == 2
    assert two.norms == pytest.approx(one.norms, rel=1e-5)


def test_gradients_are_bounded(tmp_path):
    free = train(Tiny(), tmp_path / "free", steps=4, batch_size=2)
    bound = train(Tiny(clip_norm=0.05), tmp_path / "bound", steps=4, batch_size=2)
    assert min(free.norms) > 0.1
    assert max(bound.norms) <= 0.05 * 1.0001


@pytest.mark.parametrize("accumulate", [1, 2])
def test_averaged_weights_follow_with_the_decay(accumulate, tmp_path):
    """Once for each step, however many batches it takes; the first steps forget faster."""
    decay = 0.25
    module = train(Tiny(ema_decay=decay, accumulate=accumulate), tmp_path / "run", steps=5, batch_size=2)
    after = [*module.history[1::2]]
    expected = dict(after[0])
    for kept, state in zip([2 / 11, decay, decay, decay], after[1:], strict=True):
        expected = {name: kept * expected[name] + (1 - kept) * state[name] for name in state}
    for name, weight in module.result.state_dict().items():
        torch.testing.assert_close(weight, expected[name])
        assert not torch.equal(weight, after[-1][name])
    assert train(Tiny(ema_decay=0), tmp_path / "last", steps=1).result is not None
    last = Tiny(ema_decay=0)
    assert last.result is last.generator


def test_training_leaves_the_global_generator_alone(tmp_path):
    runs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        runs.append(train(Tiny(dropout=0.5), tmp_path / str(seed), steps=2, batch_size=2))
    for first, second in zip(runs[0].parameters(), runs[1].parameters(), strict=True):
        assert torch.equal(first, second)
    before = torch.get_rng_state()
    with torch_seed(3, "x"):
        drawn = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    with torch_seed(3, "x"):
        assert torch.equal(torch.rand(4), drawn)
    with torch_seed(3, "y"):
        assert not torch.equal(torch.rand(4), drawn)


def test_every_batch_has_randomness_of_its_own(tmp_path):
    drawn = train(Tiny(accumulate=2), tmp_path / "a", steps=4, epoch_steps=2, batch_size=1).drawn
    assert len(set(drawn)) == len(drawn) == 8
    assert train(Tiny(accumulate=2), tmp_path / "b", steps=4, epoch_steps=2, batch_size=1).drawn == drawn


def test_the_global_generator_goes_on_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), torch_seed(0):
        torch.rand(3, device="nowhere")
    assert torch.equal(torch.get_rng_state(), before)


def test_each_network_learns_from_its_own_loss_alone(tmp_path):
    module = Tiny()
    optimisers = module.configure_optimizers()
    owners = [{id(weight) for group in one.param_groups for weight in group["params"]} for one in optimisers]
    assert owners == [{id(w) for w in net.parameters()} for net in (module.generator, module.critic)]
    train(module, tmp_path / "run", steps=1, batch_size=2)
    start = Tiny().critic.state_dict()
    batch = {"draw": torch.tensor([0.0, 1.0])}
    expected = copy.deepcopy(Tiny())
    optimiser = expected.configure_optimizers()[1]
    with torch.no_grad():
        fakes = expected.generator(batch["draw"][:, None] / 10)
    expected.critic_loss(batch, fakes)[0].backward()
    optimiser.step()
    for name, weight in module.critic.state_dict().items():
        torch.testing.assert_close(weight, expected.critic.state_dict()[name])
        assert not torch.equal(weight, start[name])


class Linear(AdversarialModule):
    """Two weights; the gradient of each is the mean of the draws that it is shown."""

    def __init__(self, *, accumulate, n_critic):
        generator, critic = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        config = AdversarialConfig(pool_size=0, n_critic=n_critic)
        super().__init__(generator, critic, config=config, seed=0, accumulate=accumulate)
        self.gradients = []

    def generator_loss(self, batch):
        fakes = batch["draw"][:, None]
        return self.generator(fakes).mean(), fakes, {}

    def critic_loss(self, batch, fakes):
        assert torch.equal(fakes[:, 0], batch["draw"])
        return self.critic(fakes).mean(), {}

    def on_before_optimizer_step(self, optimizer):
        (weight,) = optimizer.param_groups[0]["params"]
        self.gradients.append(("generator" if weight is self.generator.weight else "critic", float(weight.grad)))


@pytest.mark.parametrize(("accumulate", "n_critic", "batch_size"), [(1, 1, 4), (2, 2, 2), (3, 2, 1), (1, 5, 1)])
def test_each_step_of_the_critic_has_the_gradient_of_its_own_batches(accumulate, n_critic, batch_size, tmp_path):
    module = Linear(accumulate=accumulate, n_critic=n_critic)
    train(module, tmp_path / "run", steps=3, epoch_steps=2, batch_size=batch_size)
    of_step = accumulate * batch_size
    means = [sum(range(first, first + of_step)) / of_step for first in range(0, 3 * n_critic * of_step, of_step)]
    of_critic = [gradient for name, gradient in module.gradients if name == "critic"]
    of_generator = [gradient for name, gradient in module.gradients if name == "generator"]
    assert of_critic == pytest.approx(means)
    assert of_generator == pytest.approx(means[::n_critic])
    order = ["generator", *["critic"] * n_critic] * 3
    assert [name for name, _ in module.gradients] == order


@pytest.mark.parametrize("n_critic", [1, 3])
def test_small_batches_make_the_steps_of_large_ones_for_every_step_of_the_critic(n_critic, tmp_path):
    one = train(Tiny(n_critic=n_critic), tmp_path / "one", batch_size=4, steps=2)
    two = train(Tiny(n_critic=n_critic, accumulate=2), tmp_path / "two", batch_size=2, steps=2)
    assert len(one.norms) == len(two.norms) == 2 * (1 + n_critic)
    assert two.norms == pytest.approx(one.norms, rel=1e-4)
    for name, weight in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], weight)


def test_the_average_counts_steps_of_the_generator(tmp_path):
    module = train(Tiny(n_critic=3, accumulate=2), tmp_path / "run", steps=4, epoch_steps=2, batch_size=1)
    assert module.averaged.n_averaged == 4
    assert len(set(module.drawn)) == len(module.drawn) == 4 * 3 * 2


def test_the_log_counts_steps_of_the_generator(tmp_path):
    train(Tiny(n_critic=3, accumulate=2), tmp_path / "run", steps=6, epoch_steps=2, batch_size=1)
    assert [int(row["step"]) for row in read_metrics(tmp_path / "run")] == [1, 3, 5]
