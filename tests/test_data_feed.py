"""Feeding a compiled step: from memory, from disk and from a density."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.data import Source, batch_indices, feed, from_arrays, load
from jaxgan.errors import InputError


def numbered(size=50):
    """Images that show their own number, with labels."""
    number = np.arange(size)
    image = np.broadcast_to(number[:, None, None, None], (size, 2, 3, 1)).astype(np.uint8)
    return from_arrays(image, number % 7)


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(np.asarray(one[key]), np.asarray(other[key]), strict=True)


@pytest.mark.parametrize("memory_limit", [2 << 30, 0])
def test_batches_follow_the_order_in_minus_one_to_one(memory_limit):
    fed = feed(numbered(), 8, seed=4, memory_limit=memory_limit)
    assert fed.shape == (2, 3, 1) and fed.classes == 7
    assert (fed.limit is None) == (memory_limit > 0)
    draw = jax.jit(fed.draw)
    for step in (0, 5, 6, 7):  # epoch 0 ends within step 6
        batch = draw(fed.load(step), jnp.int32(step))
        indices = batch_indices(4, step, 8, 50)
        assert batch["image"].dtype == jnp.float32 and batch["image"].shape == (8, 2, 3, 1)
        expected = indices / 127.5 - 1
        np.testing.assert_allclose(batch["image"][:, 1, 2, 0], expected, rtol=2**-22)
        np.testing.assert_array_equal(batch["label"], (indices % 7).astype(np.int32), strict=True)


def test_uint8_maps_onto_minus_one_to_one_without_leaving_it():
    image = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    fed = feed(from_arrays(image), 256, seed=0)
    batch = jax.jit(fed.draw)(fed.load(0), jnp.int32(0))
    values = np.sort(np.asarray(batch["image"]).ravel())
    assert "label" not in batch and values[0] == -1 and values[-1] == 1
    np.testing.assert_array_equal(values, -values[::-1])
    np.testing.assert_allclose(values, np.arange(256) / 127.5 - 1, rtol=2**-23)


@pytest.mark.parametrize("kind", ["uint8", "float32", "mnist"])
def test_memory_and_disk_give_the_same_bits(kind, request):
    if kind == "mnist":
        source = load("mnist", data_dir=request.getfixturevalue("data_dir"), split="test[:1000]")
    elif kind == "uint8":
        source = numbered()
    else:
        image = np.random.default_rng(0).uniform(-1, 1, (40, 3, 3, 2)).astype(np.float32)
        source = from_arrays(image)
    memory, disk = feed(source, 32, 1), feed(source, 32, 1, memory_limit=0)
    draws = jax.jit(memory.draw), jax.jit(disk.draw)
    # In turn: the next chunk, one that overlaps it, a jump ahead, and a jump back.
    for first in (0, disk.limit, disk.limit + 3, 10_000, 2):
        loaded = memory.load(first), disk.load(first)
        for step in (first, first + disk.limit - 1):
            assert_same_bits(*(d(x, jnp.int32(step)) for d, x in zip(draws, loaded, strict=True)))


def test_a_chunk_scans_over_its_steps_without_recompiling():
    fed = feed(numbered(), 8, 0, memory_limit=0)

    @jax.jit
    def chunk(loaded, first):
        def body(step, _):
            return step + 1, fed.draw(loaded, step)["image"][:, 0, 0, 0]

        return jax.lax.scan(body, first, length=3)[1]

    for first in (0, 3, 6):
        values = chunk(fed.load(first), jnp.int32(first))
        indices = np.stack([batch_indices(0, first + i, 8, 50) for i in range(3)])
        np.testing.assert_array_equal(np.rint((np.asarray(values) + 1) * 127.5), indices)
    assert chunk._cache_size() == 1


def test_sequential_loads_read_every_record_once():
    inner, reads = numbered(), []

    def read(indices):
        reads.append(tuple(indices))
        return inner.read(indices)

    source = Source("counted", inner.shape, inner.size, inner.classes, read)
    fed = feed(source, 8, 0, memory_limit=0)
    for first in (0, 40, 80):  # shorter than the limit: the rest is kept
        fed.load(first)
    steps = [step for step in range(80) if tuple(batch_indices(0, step, 8, 50)) in reads]
    assert steps == list(range(80)) and len(set(reads)) == len(reads)


def test_an_error_while_reading_reaches_the_caller():
    inner = numbered()

    def read(indices):
        if len(indices) > 1:
            raise OSError("the disk is gone")
        return inner.read(indices)

    source = Source("broken", inner.shape, inner.size, inner.classes, read)
    for limit in (2 << 30, 0):
        with pytest.raises(OSError, match="the disk is gone"):
            feed(source, 8, 0, memory_limit=limit).load(0)


def test_a_mixture_draws_by_seed_and_step():
    ring = load("ring")
    fed = feed(ring, 16, seed=3)
    assert (fed.shape, fed.classes, fed.limit) == ((2,), 8, None)
    draw = jax.jit(fed.draw)
    one, two = draw(fed.load(0), jnp.int32(7)), draw(fed.load(7), jnp.int32(7))
    assert_same_bits(one, two)
    assert_same_bits(one, jax.jit(ring.draw, static_argnums=1)(jax.random.fold_in(jax.random.key(3), 7), 16))
    others = draw({}, jnp.int32(8)), jax.jit(feed(ring, 16, seed=4).draw)({}, jnp.int32(7))
    assert all(not np.array_equal(one["image"], other["image"]) for other in others)


def test_what_is_refused():
    for source, batch, seed, parts in (
        (numbered(), 51, 0, ("50 images", "51")),
        (numbered(), 0, 0, ("batch is 0",)),
        (numbered(), 1, -1, ("seed", "-1")),
        (load("ring"), 1, 2**32, ("seed", str(2**32))),
    ):
        with pytest.raises(InputError) as caught:
            feed(source, batch, seed)
        assert all(part in str(caught.value) for part in parts)
