"""Nearest images by normalised cross-correlation over small shifts and flips.

All pairs are first compared on a coarse grid, by matrix products. The best pairs of each image are then compared on the
full grid, at all shifts at once by the fast Fourier transform.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain, combinations, product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from lesionforge.audit.views import resampled
from lesionforge.cohort.scan import BoolArray, FloatArray
from lesionforge.training.inference import side_by_side

COARSE = {2: 16, 3: 8}
PAIRS_AT_ONCE = 64
_Part = tuple[int, tuple[NDArray[np.intp], NDArray[np.intp]]]
"""Number of a flip, and the places of candidates in the table of queries and candidates."""


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The most similar image for each query.

    Attributes:
        similarity: ``(query,)``, at most 1; NaN if there is no image to compare with.
        index: ``(query,)`` number of the image; −1 if there is none.
    """

    similarity: NDArray[np.float64]
    index: NDArray[np.intp]

    @classmethod
    def of_none(cls, n: int) -> Nearest:
        """Return the result of ``n`` queries without an image to compare with."""
        return cls(similarity=np.full(n, np.nan), index=np.full(n, -1))


def nearest_by_correlation(
    queries: FloatArray,
    among: FloatArray,
    allowed: BoolArray | None = None,
    *,
    max_shift: int,
    candidates: int,
    device: str = "cpu",
) -> Nearest:
    """Return the image with the highest normalised cross-correlation for each query.

    Args:
        queries: ``(query, channel, x, y[, z])`` images of norm 1.
        among: ``(image, channel, x, y[, z])`` images of norm 1, on the same grid.
        allowed: ``(query, image)`` pairs to compare; all by default.
        max_shift: largest shift along each axis in voxels, but at most a quarter of the grid.
        candidates: pairs (image and flip) per query that are compared on the full grid.
        device: where to compute.
    """
    if not len(queries) or not len(among):
        return Nearest.of_none(len(queries))
    shifts = [min(max_shift, n // 4) for n in queries.shape[2:]]
    pairs = _candidates(queries, among, allowed, shifts, candidates, device)
    found = _exact(torch.from_numpy(queries), torch.from_numpy(among), pairs, shifts, device)
    best = found.argmax(1)
    rows = np.arange(len(queries))
    similarity, index = found[rows, best], pairs.image[rows, best]
    none = np.isneginf(similarity)
    return Nearest(similarity=np.where(none, np.nan, similarity), index=np.where(none, -1, index))


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Candidates: image and flip, each ``(query, candidate)``; ``allowed`` says which of them count."""

    image: NDArray[np.intp]
    flip: NDArray[np.intp]
    allowed: BoolArray


def flips(dims: int) -> list[tuple[int, ...]]:
    """Return all sets of spatial axes to flip, the empty one first.

    >>> flips(2)
    [(), (0,), (1,), (0, 1)]
    """
    return list(chain.from_iterable(combinations(range(dims), count) for count in range(dims + 1)))


def _candidates(
    queries: FloatArray,
    among: FloatArray,
    allowed: BoolArray | None,
    shifts: Sequence[int],
    count: int,
    device: str,
) -> _Pairs:
    """Return the best pairs on the coarse grid."""
    dims = len(shifts)
    shape = [min(COARSE[dims], n) for n in queries.shape[2:]]
    reach = [-(-shift * small // n) for shift, small, n in zip(shifts, shape, queries.shape[2:], strict=True)]
    coarse, others = (_unit(torch.from_numpy(resampled(images, shape)).to(device)) for images in (queries, among))
    table = others.flatten(1).T
    best = torch.stack(
        side_by_side(lambda axes: _best_over_shifts(_flipped(coarse, axes), table, reach), flips(dims)), 1
    )
    if allowed is not None:
        best[~torch.from_numpy(allowed).to(device)[:, None].expand_as(best)] = -torch.inf
    found = best.flatten(1).topk(min(count, best[0].numel()), dim=1)
    places, scores = found.indices.cpu().numpy(), found.values.cpu().numpy()
    return _Pairs(image=places % len(among), flip=places // len(among), allowed=~np.isneginf(scores))


def _best_over_shifts(queries: Tensor, table: Tensor, reach: Sequence[int]) -> Tensor:
    """Return the highest product of each query with each column of a table, over all shifts up to ``reach``."""
    with torch.inference_mode():
        products = (moved.flatten(1) @ table for moved in _all_shifts(queries, reach))
        return reduce(torch.maximum, products)


def _all_shifts(images: Tensor, reach: Sequence[int]) -> Iterator[Tensor]:
    axes = tuple(range(2, images.dim()))
    for steps in product(*(range(-most, most + 1) for most in reach)):
        yield shifted(images, steps, axes)


def shifted(images: Tensor, steps: Sequence[int], axes: Sequence[int]) -> Tensor:
    """Return images moved by whole voxels; what enters is 0."""
    moved = torch.roll(images, tuple(steps), tuple(axes))
    for axis, step in zip(axes, steps, strict=True):
        if step:
            entered = slice(0, step) if step > 0 else slice(step, None)
            moved[(slice(None),) * axis + (entered,)] = 0
    return moved


def _exact(queries: Tensor, among: Tensor, pairs: _Pairs, shifts: Sequence[int], device: str) -> NDArray[np.float64]:
    """Return the correlation of each pair at its best shift, −inf for pairs that do not count."""
    found = np.full(pairs.image.shape, -np.inf)
    axes_of = flips(len(shifts))

    def compare(part: _Part) -> None:
        number, here = part
        with torch.inference_mode():
            first = _flipped(queries[here[0]].to(device), axes_of[number])
            found[here] = best_correlation(first, among[pairs.image[here]].to(device), shifts).cpu().numpy()

    side_by_side(compare, list(_parts(pairs, len(axes_of))))
    return found


def _parts(pairs: _Pairs, flip_count: int) -> Iterator[_Part]:
    """Yield the candidates in parts of one flip."""
    for number in range(flip_count):
        rows, columns = np.nonzero((pairs.flip == number) & pairs.allowed)
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            yield number, (rows[part], columns[part])


def best_correlation(first: Tensor, second: Tensor, shifts: Sequence[int]) -> Tensor:
    """Return the highest cross-correlation of each pair of images over all shifts.

    Args:
        first: ``(pair, channel, x, y[, z])`` images of norm 1.
        second: the same.
        shifts: largest shift along each axis, in voxels.
    """
    axes = tuple(range(2, first.dim()))
    size = [next_fast_len(n + shift, real=True) for n, shift in zip(first.shape[2:], shifts, strict=True)]
    spectrum = (torch.fft.rfftn(first, size, axes) * torch.fft.rfftn(second, size, axes).conj()).sum(1)
    correlation = torch.fft.irfftn(spectrum, size, tuple(range(1, first.dim() - 1)))
    window = torch.roll(correlation, tuple(shifts), tuple(range(1, first.dim() - 1)))
    for axis, shift in enumerate(shifts, start=1):
        window = window.narrow(axis, 0, 2 * shift + 1)
    return window.flatten(1).amax(1).clamp(max=1.0)


def _flipped(images: Tensor, axes: Sequence[int]) -> Tensor:
    return images.flip([axis + 2 for axis in axes]) if axes else images


def _unit(images: Tensor) -> Tensor:
    norm = images.flatten(1).norm(dim=1).clamp(min=1e-12)
    return images / norm.reshape(-1, *[1] * (images.dim() - 1))
