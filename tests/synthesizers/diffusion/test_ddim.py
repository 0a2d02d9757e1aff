"""Sampling against its closed form: with a network that is never wrong, every step lies on the path to the image."""

import pytest
import torch

from lesionforge.synthesizers.diffusion.ddim import ddim_step, noised, sample_in_hole

BOTH = pytest.mark.parametrize("spatial_dims", [2, 3])
STEPS = pytest.mark.parametrize("steps", [1, 2, 20, 25])


def scene(spatial_dims, *, batch=3, channels=2):
    """An image, a hole in it, and noise."""
    shape = (batch, channels, *(8,) * spatial_dims)
    draws = torch.Generator().manual_seed(spatial_dims)
    image = torch.rand(shape, generator=draws) * 2 - 1
    hole = torch.zeros((batch, 1, *shape[2:]), dtype=torch.bool)
    hole[:, :, 2:6, 3:7] = True
    return image, hole, torch.randn(shape, generator=draws)


def test_time_0_is_the_image_and_time_1_the_noise():
    image, _, noise = scene(2)
    assert torch.equal(noised(image, noise, torch.zeros(3)), image)
    assert torch.allclose(noised(image, noise, torch.ones(3)), noise, atol=1e-6)
    for time in (0.1, 0.5, 0.9):
        kept = noised(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.tensor([time]))
        added = noised(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.tensor([time]))
        assert torch.allclose(kept**2 + added**2, torch.ones(1, 1, 2, 2))


@BOTH
def test_a_step_with_the_true_image_stays_on_its_path(spatial_dims):
    """Also from one width of a step to any other, which schedulers of few steps get wrong."""
    image, _, noise = scene(spatial_dims)
    for time, until in ((1.0, 0.95), (0.5, 0.1), (0.05, 0.0)):
        t, s = torch.full((3,), time), torch.full((3,), until)
        found = ddim_step(noised(image, noise, t), image, t, s)
        assert torch.allclose(found, noised(image, noise, s), atol=2e-5)


@BOTH
@STEPS
def test_a_network_that_is_never_wrong_draws_the_image_exactly(steps, spatial_dims):
    image, hole, noise = scene(spatial_dims)
    seen = []

    def perfect(shown, time):
        seen.append((shown, time))
        return image

    drawn = sample_in_hole(perfect, image * ~hole, hole, noise, steps=steps)
    assert torch.equal(drawn, image)
    assert [round(float(time[0]), 4) for _, time in seen] == [round(1 - k / steps, 4) for k in range(steps)]
    for shown, time in seen:
        assert torch.allclose(shown, noised(image, noise, time), atol=5e-5)


@BOTH
def test_beyond_the_hole_nothing_changes_whatever_the_network_says(spatial_dims):
    image, hole, noise = scene(spatial_dims)
    drawn = sample_in_hole(lambda shown, time: 5 * shown, image * ~hole, hole, noise, steps=4)
    outside = ~hole.expand_as(image)
    assert torch.equal(drawn[outside], image[outside])
    assert drawn.abs().max() <= 1
    assert not torch.equal(drawn, image)


@BOTH
def test_what_is_known_is_as_noisy_as_what_is_drawn_at_every_step(spatial_dims):
    image, hole, noise = scene(spatial_dims)
    outside = ~hole.expand_as(image)

    def network(shown, time):
        assert torch.allclose(shown[outside], noised(image, noise, time)[outside], atol=1e-6)
        return torch.zeros_like(shown)

    sample_in_hole(network, image * ~hole, hole, noise, steps=5)


def test_items_of_a_batch_do_not_know_of_each_other():
    image, hole, noise = scene(2)
    draw = {"steps": 6, "predict": lambda shown, time: torch.tanh(shown)}
    together = sample_in_hole(known=image * ~hole, hole=hole, noise=noise, **draw)
    alone = sample_in_hole(known=(image * ~hole)[1:2], hole=hole[1:2], noise=noise[1:2], **draw)
    assert torch.equal(together[1:2], alone)
