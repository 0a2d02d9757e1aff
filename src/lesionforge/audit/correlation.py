"""Nearest images by normalised cross-correlation over small shifts and flips.

All pairs are first compared on a coarse grid, by matrix products. The best pairs of each image are then compared on the
full grid, at all shifts at once by the fast Fourier transform. Some queries are searched at a time, so that memory does
not grow with the number of pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
QUERIES_AT_ONCE = 256
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

    @classmethod
    def where_allowed(cls, similarity: NDArray[np.float64], index: NDArray[np.intp]) -> Nearest:
        """Return the result of queries, those with a similarity of −inf as without an image to compare with."""
        none = np.isneginf(similarity)
        return cls(similarity=np.where(none, np.nan, similarity), index=np.where(none, -1, index))


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
    small = [min(COARSE[len(shifts)], n) for n in queries.shape[2:]]
    table = _coarse(among, small, device).flatten(1).T

    def search(queries: FloatArray, allowed: BoolArray | None) -> Nearest:
        pairs = _candidates(queries, table, allowed, shifts, small, candidates)
        found = _exact(torch.from_numpy(queries), torch.from_numpy(among), pairs, shifts, device)
        best, rows = found.argmax(1), np.arange(len(queries))
        return Nearest.where_allowed(found[rows, best], pairs.image[rows, best])

    return in_parts(search, queries, allowed)


def in_parts(
    search: Callable[[FloatArray, BoolArray | None], Nearest], queries: FloatArray, allowed: BoolArray | None
) -> Nearest:
    """Search for some queries at a time, which bounds what the comparisons of all pairs take in memory.

    Args:
        search: takes queries and ``(query, image)`` pairs to compare, or ``None``.
        queries: ``(query, channel, x, y[, z])``, at least one.
        allowed: ``(query, image)`` pairs to compare; all by default.
    """
    parts = [slice(start, start + QUERIES_AT_ONCE) for start in range(0, len(queries), QUERIES_AT_ONCE)]
    found = [search(queries[part], None if allowed is None else allowed[part]) for part in parts]
    return Nearest(
        similarity=np.concatenate([one.similarity for one in found]),
        index=np.concatenate([one.index for one in found]),
    )


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


def _coarse(images: FloatArray, shape: Sequence[int], device: str) -> Tensor:
    """Return images averaged to a coarse grid, of norm 1."""
    return _unit(torch.from_numpy(resampled(images, shape)).to(device))


def _candidates(
    queries: FloatArray,
    table: Tensor,
    allowed: BoolArray | None,
    shifts: Sequence[int],
    small: Sequence[int],
    count: int,
) -> _Pairs:
    """Return the best pairs on the coarse grid; ``table`` has a column for each image."""
    reach = [-(-shift * few // n) for shift, few, n in zip(shifts, small, queries.shape[2:], strict=True)]
    coarse = _coarse(queries, small, str(table.device))
    best = torch.stack(
        side_by_side(lambda axes: _best_over_shifts(_flipped(coarse, axes), table, reach), flips(len(shifts))), 1
    )
    if allowed is not None:
        best[~torch.from_numpy(allowed).to(table.device)[:, None].expand_as(best)] = -torch.inf
    found = best.flatten(1).topk(min(count, best[0].numel()), dim=1)
    places, scores = found.indices.cpu().numpy(), found.values.cpu().numpy()
    images = table.shape[1]
    return _Pairs(image=places % images, flip=places // images, allowed=~np.isneginf(scores))


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
