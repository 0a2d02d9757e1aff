"""Distances between sets of images, from features that need no download and no training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from torch import Tensor, nn
from torchmetrics.image.kid import maximum_mean_discrepancy, poly_mmd

from lesionforge.cohort.scan import FloatArray
from lesionforge.training.inference import in_sub_batches
from lesionforge.training.loop import Device, pick_device
from lesionforge.training.rng import torch_seed

WIDTHS, REPEATS, BATCH = (16, 32, 32), 20, 32


class RandomFeatures(nn.Module):
    """Fixed random convolutions at three resolutions; the features are the mean and standard deviation of each map.

    The weights come from a fixed seed, so all machines compute the same features and nothing is downloaded. Features of
    networks trained on photographs, which are commonly used, may rank images differently. Compare only values of the
    same kind of features, and compare each with the same value between real cases.

    Args:
        in_channels: number of image channels.

    Shapes:
        input ``(batch, in_channels, x, y)``; output ``(batch, 160)``.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        with torch_seed(0, "features"):
            self.steps = nn.ModuleList(
                nn.Sequential(nn.Conv2d(before, after, 5, stride=2, padding=2), nn.LeakyReLU(0.2))
                for before, after in zip((in_channels, *WIDTHS[:-1]), WIDTHS, strict=True)
            )
            for step in self.steps.modules():
                if isinstance(step, nn.Conv2d):
                    nn.init.orthogonal_(step.weight)
        self.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the ``(batch, 160)`` features of ``(batch, in_channels, x, y)`` images."""
        found = []
        for step in self.steps:
            images = step(images)
            flat = images.flatten(2)
            found += [flat.mean(2), flat.std(2)]
        return torch.cat(found, 1)


def describe_images(images: FloatArray, *, device: Device = "cpu") -> NDArray[np.float64]:
    """Return the ``(n, 160)`` features of ``(n, channel, x, y)`` images."""
    network = RandomFeatures(images.shape[1]).to(pick_device(device))
    return in_sub_batches(network, images, size=BATCH).astype(np.float64)


def distances(first: NDArray[np.float64], second: NDArray[np.float64]) -> dict[str, float]:
    """Return the distances ``kid``, ``fid`` and ``mmd`` between two ``(n, feature)`` sets.

    ``kid``: unbiased squared MMD with the kernel (x·y/d + 1)³ (Bińkowski et al. 2018). ``fid``: Fréchet distance of two
    normal distributions (Heusel et al. 2017); it is larger for smaller sets. ``mmd``: unbiased squared MMD with a
    Gaussian kernel whose width is the median distance (Gretton et al. 2012).
    """
    a, b = torch.from_numpy(first), torch.from_numpy(second)
    gamma = 1 / (2 * np.median(euclidean_distances(first, second)) ** 2 + 1e-12)
    kernels = [torch.from_numpy(rbf_kernel(*pair, gamma=gamma)) for pair in ((first,), (first, second), (second,))]
    return {
        "kid": float(poly_mmd(a, b)),
        "fid": _frechet(first, second),
        "mmd": float(maximum_mean_discrepancy(*kernels)),
    }


def _frechet(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½).

    The trace of the root is computed from eigenvalues, so sets may be smaller than the number of features.
    """
    covariances = [np.cov(part.T) for part in (first, second)]
    roots = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0))
    shift = np.square(first.mean(0) - second.mean(0)).sum()
    return float(shift + sum(np.trace(part) for part in covariances) - 2 * roots.sum())


def against_real(
    drawn: NDArray[np.float64], real: NDArray[np.float64], subjects: Sequence[str], rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """Return each distance of drawn to real images, with the same distance between two halves of the real subjects.

    Both are means over 20 random choices of sets of equal size, so the number of images does not favour either.
    Features are first standardised to mean 0 and standard deviation 1 over the real images.

    Args:
        drawn: ``(n, feature)``.
        real: ``(m, feature)``.
        subjects: subject of each real image; at least two subjects.
        rng: generator that chooses the sets.

    Returns:
        Name → distance of drawn to real images, and distance between real images.
    """
    centre, spread = real.mean(0), real.std(0) + 1e-6
    drawn, real = (drawn - centre) / spread, (real - centre) / spread
    found: list[dict[str, float]] = []
    floor: list[dict[str, float]] = []
    names = np.array(sorted(set(subjects)))
    for _ in range(REPEATS):
        half = set(rng.permutation(names)[: len(names) // 2])
        is_first = np.array([subject in half for subject in subjects])
        parts = real[is_first], real[~is_first]
        size = min(len(drawn), *map(len, parts))
        chosen = [part[rng.permutation(len(part))[:size]] for part in (drawn, real, *parts)]
        found.append(distances(*chosen[:2]))
        floor.append(distances(*chosen[2:]))
    return {
        name: (float(np.mean([row[name] for row in found])), float(np.mean([row[name] for row in floor])))
        for name in found[0]
    }
