"""The computed order of a data set: a permutation an epoch, random, and exact at any step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.data import batch_indices
from jaxgan.data.order import _locate

SIZES = (1, 2, 3, 7, 64, 1000, 1797)


def epochs(seed, size, count, batch):
    """The first `count` epochs, [count, size], as steps of `batch` examples produce them."""
    steps = -(-size * count // batch)
    order = np.concatenate([batch_indices(seed, step, batch, size) for step in range(steps)])
    return order[: size * count].reshape(count, size)


def chi_square(counts):
    """Pearson's statistic against a uniform law, standardised: about normal(0, 1) under it."""
    expected, freedom = counts.sum() / counts.size, counts.size - 1
    return (((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 10])
def test_each_epoch_is_a_permutation(size, batch):
    order = epochs(seed=3, size=size, count=3, batch=batch)
    np.testing.assert_array_equal(np.sort(order, axis=1), np.tile(np.arange(size), (3, 1)))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = np.concatenate([epochs(seed, 1000, 3, 100) for seed in (0, 1, 2**32 - 1)])
    for i in range(len(orders)):
        for j in range(i):
            # Two independent permutations agree in one place on average, Poisson distributed.
            assert np.count_nonzero(orders[i] == orders[j]) < 10


@pytest.mark.parametrize("size", [2, 3, 10, 16, 61, 100])
def test_every_index_lands_at_every_position_equally_often(size):
    order = batch_indices(5, 0, 400 * size * size, size).reshape(-1, size)
    for index in (0, size // 2, size - 1):
        counts = np.bincount(np.argmax(order == index, axis=1), minlength=size)
        assert abs(chi_square(counts)) < 4


@pytest.mark.parametrize("size", [10, 16, 61, 100])
def test_neighbours_and_successive_epochs_are_independent(size):
    order = batch_indices(7, 0, 400 * size * size, size).reshape(-1, size)
    gaps = (order[:, 1] - order[:, 0]) % size
    assert abs(chi_square(np.bincount(gaps, minlength=size)[1:])) < 4  # never 0 within an epoch
    moves = (order[1:, 0] - order[:-1, 0]) % size
    assert abs(chi_square(np.bincount(moves, minlength=size))) < 4


@pytest.mark.parametrize("size", [2049, 60_000, 2**20 + 7])
def test_huge_steps_equal_the_arithmetic_of_integers(size):
    step, batch = 2**31 - 1, 2048
    indices = batch_indices(9, step, batch, size)
    places = [divmod(step * batch + i, size) for i in range(batch)]
    for epoch in {epoch for epoch, _ in places}:
        whole = batch_indices(9, epoch, size, size)  # a step of the size of the set is an epoch
        inside = [i for i in range(batch) if places[i][0] == epoch]
        np.testing.assert_array_equal(indices[inside], whole[[places[i][1] for i in inside]])


def test_the_position_is_exact_beyond_32_bits():
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 1797, 2**31 - 2, 2**31 - 1):
        for batch in (1, 2, 3, 2047, 2048, 10**6):
            steps = np.append(rng.integers(0, 2**31, 50), [0, 2**31 - 1]).astype(np.uint32)
            epoch, index = _locate(steps, batch, np.uint32(size))
            exact = [divmod(int(step) * batch, size) for step in steps]
            np.testing.assert_array_equal(epoch, [quotient % 2**32 for quotient, _ in exact])
            np.testing.assert_array_equal(index, [remainder for _, remainder in exact])


@pytest.mark.parametrize("size", [1, 3, 1797, 60_000, 2**31 - 1])
@pytest.mark.parametrize("batch", [1, 64, 2048])
def test_jit_gives_the_bits_of_numpy(size, batch):
    compiled = jax.jit(batch_indices, static_argnums=(2, 3))
    for seed, step in ((0, 0), (2**32 - 1, 123_457), (1, 2**31 - 1)):
        host = batch_indices(seed, step, batch, size)
        device = compiled(np.uint32(seed), jnp.int32(step), batch, size)
        assert isinstance(host, np.ndarray) and device.dtype == jnp.int32
        np.testing.assert_array_equal(host, device)


def test_a_compiled_step_costs_the_batch_and_not_the_data_set():
    size = 10_000_000
    step = jax.jit(lambda step: batch_indices(0, step, 32, size)).lower(jnp.int32(0))
    memory = step.compile().memory_analysis()
    assert memory.temp_size_in_bytes < 64 * 1024  # a permutation would hold 40 MB
