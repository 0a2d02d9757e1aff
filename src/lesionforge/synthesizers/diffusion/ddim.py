"""Noise and its removal: the schedule of a diffusion model, and sampling with a network that predicts the image.

Ho et al. 2020 (DDPM), Song et al. 2021 (DDIM, η = 0). Time runs from 0 (image) to 1 (noise ε). With the cosine schedule
without its offset (Nichol and Dhariwal 2021),

    x_t = cos(πt/2) · x_0 + sin(πt/2) · ε,

so x_1 is pure noise. A step from t to s puts the predicted image and the noise that belongs to it together again:

    ε̂ = (x_t − cos(πt/2) · x̂_0) / sin(πt/2),   x_s = cos(πs/2) · x̂_0 + sin(πs/2) · ε̂.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]
"""Predicts the image x_0 from x_t ``(batch, channel, x, y[, z])`` and the times ``(batch,)``."""


def noised(image: Tensor, noise: Tensor, time: Tensor) -> Tensor:
    """Return x_t.

    Args:
        image: ``(batch, channel, x, y[, z])`` x_0.
        noise: ε, standard normal, same shape.
        time: ``(batch,)`` from 0 to 1.
    """
    angle = _beside(time, image) * (torch.pi / 2)
    return angle.cos() * image + angle.sin() * noise


def ddim_step(shown: Tensor, predicted: Tensor, time: Tensor, until: Tensor) -> Tensor:
    """Return x_s, given x_t and the predicted image; the same x_s for the same input.

    Args:
        shown: ``(batch, channel, x, y[, z])`` x_t.
        predicted: x̂_0, same shape.
        time: ``(batch,)`` t, above 0.
        until: ``(batch,)`` s, from 0 to below t.
    """
    angle = _beside(time, shown) * (torch.pi / 2)
    noise = (shown - angle.cos() * predicted) / angle.sin()
    return noised(predicted, noise, until)


def sample_in_hole(predict: Predict, known: Tensor, hole: Tensor, noise: Tensor, *, steps: int) -> Tensor:
    """Return images whose hole is drawn; beyond it they are ``known``.

    Before each step, all that is known takes on the noise of the step (Lugmayr et al. 2022, RePaint, without its
    repeated steps), always from the same ``noise``.

    Args:
        predict: predicts images.
        known: ``(batch, channel, x, y[, z])`` images, -1 to 1; not read in the hole.
        hole: ``(batch, 1, x, y[, z])`` bool.
        noise: standard normal, the shape of ``known``; the only source of variation.
        steps: number of steps, evenly spaced in time.
    """
    shown, times = noise, torch.linspace(1, 0, steps + 1, device=noise.device)
    for time, until in zip(times[:-1].expand(len(noise), -1).T, times[1:].expand(len(noise), -1).T, strict=True):
        shown = torch.where(hole, shown, noised(known, noise, time))
        shown = ddim_step(shown, predict(shown, time).clamp(-1, 1), time, until)
    return torch.where(hole, shown, known)


def _beside(time: Tensor, image: Tensor) -> Tensor:
    return time.reshape(-1, *[1] * (image.dim() - 1))
