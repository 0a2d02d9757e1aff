import random

import numpy as np

from lesionforge.seeding import derive_seed, generator


def test_a_seed_depends_on_every_key_and_their_order():
    seeds = [
        derive_seed(*keys)
        for keys in [(0,), (1,), (0, "a"), (0, "b"), (0, "a", "b"), (0, "b", "a"), (0, "ab"), (0, "a", 1), (0, "a", 11)]
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(3, "case", 7) == derive_seed(3, "case", 7)


def test_a_seed_is_the_same_in_every_process():
    assert derive_seed(0, "case_000") == 8067553063117718158


def test_a_generator_repeats_and_leaves_the_global_ones_alone():
    np_before, py_before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = generator(5, "a").random(8)
    assert np.array_equal(first, generator(5, "a").random(8))
    assert not np.array_equal(first, generator(5, "b").random(8))
    assert np.array_equal(np.random.get_state()[1], np_before)  # noqa: NPY002
    assert random.getstate() == py_before
