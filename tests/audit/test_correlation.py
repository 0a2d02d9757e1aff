import itertools
from functools import partial

import numpy as np
import pytest
import torch

from lesionforge.audit import correlation
from lesionforge.audit.correlation import flips, nearest_by_correlation
from lesionforge.audit.encoder import nearest_by_encoder
from lesionforge.audit.views import unit

SHAPES = {2: (16, 20), 3: (12, 8, 10)}


def images(n, dims, *, seed, channels=2):
    rng = np.random.default_rng(seed)
    return np.stack([unit(rng.standard_normal((channels, *SHAPES[dims]), np.float32)) for _ in range(n)])


def moved(image, steps):
    padded = np.pad(image, [(0, 0), *[(4, 4)] * len(steps)])
    start = [4 - step for step in steps]
    return padded[(..., *(slice(a, a + n) for a, n in zip(start, image.shape[1:], strict=True)))]


def by_loop(query, image, shift):
    """Return the highest correlation of two images over flips and shifts, one pair, one shift at a time."""
    dims = query.ndim - 1
    reach = [range(-min(shift, n // 4), min(shift, n // 4) + 1) for n in query.shape[1:]]
    turned = (np.flip(query, [axis + 1 for axis in axes]) for axes in flips(dims))
    return max(float((moved(one, steps) * image).sum()) for one in turned for steps in itertools.product(*reach))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_nearest_image_is_that_of_a_loop_over_pairs_flips_and_shifts(dims):
    queries, among = images(3, dims, seed=0), images(4, dims, seed=1)
    everything = len(among) * 2**dims
    found = nearest_by_correlation(queries, among, max_shift=2, candidates=everything)
    expected = np.array([[by_loop(query, image, 2) for image in among] for query in queries])
    assert found.similarity == pytest.approx(expected.max(1), abs=1e-5)
    assert found.index.tolist() == expected.argmax(1).tolist()


def test_queries_are_searched_in_parts_and_the_result_is_that_of_all_at_once(monkeypatch):
    queries, among = images(7, 2, seed=0), images(5, 2, seed=1)
    allowed = np.random.default_rng(0).random((7, 5)) < 0.6
    allowed[3] = False
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(queries[0].size, 4)).requires_grad_(False)
    searches = [
        partial(nearest_by_correlation, queries, among, max_shift=1, candidates=20),
        partial(nearest_by_encoder, queries, among, network=network),
    ]
    whole = [search(allowed=limits) for search in searches for limits in (None, allowed)]
    monkeypatch.setattr(correlation, "QUERIES_AT_ONCE", 3)
    parts = [search(allowed=limits) for search in searches for limits in (None, allowed)]
    for one, other in zip(whole, parts, strict=True):
        assert np.array_equal(one.index, other.index)
        np.testing.assert_allclose(one.similarity, other.similarity, atol=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_flipped_and_moved_copy_is_found_among_many_by_a_few_candidates(dims):
    among = images(60, dims, seed=0)
    smooth = np.zeros_like(among)
    middle = (..., *(slice(3, -3) for _ in range(dims)))
    smooth[middle] = among[middle]
    among = np.stack([unit(image) for image in smooth])
    steps = (2, -1, 1)[:dims]
    queries = np.stack([moved(np.flip(image, dims), steps) for image in among[:5]])
    found = nearest_by_correlation(queries, among, max_shift=2, candidates=8)
    assert found.index.tolist() == [0, 1, 2, 3, 4]
    assert found.similarity == pytest.approx(np.ones(5), abs=1e-5)


def test_pairs_that_are_not_allowed_do_not_count():
    among = images(5, 2, seed=0)
    allowed = ~np.eye(5, dtype=bool)
    allowed[4] = False
    found = nearest_by_correlation(among, among, allowed, max_shift=1, candidates=4)
    assert (found.index[:4] != np.arange(4)).all()
    assert (found.similarity[:4] < 0.9).all()
    assert found.index[4] == -1
    assert np.isnan(found.similarity[4])


def test_nothing_to_compare_with_gives_no_similarity():
    queries = images(2, 2, seed=0)
    found = nearest_by_correlation(queries, queries[:0], max_shift=1, candidates=4)
    assert np.isnan(found.similarity).all()
    assert len(nearest_by_correlation(queries[:0], queries, max_shift=1, candidates=4).index) == 0
