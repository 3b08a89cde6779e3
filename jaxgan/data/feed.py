"""From a source to the batches of a compiled step.

A small data set lives on the device as it is stored, and a step gathers its batch from there. A
large one stays on disk: threads read the batches of coming steps, and a step picks its own. So does
one that several processes share: each reads its own rows of every batch. The order depends on the
seed and the step alone: all ways give the same bits, from any step on, whatever the number of
processes and devices.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import axis
from jaxgan.data.crop import random_crop_flip
from jaxgan.data.domains import AnySource, Domains
from jaxgan.data.order import batch_indices
from jaxgan.data.records import Source, Synthetic
from jaxgan.errors import InputError
from jaxgan.typing import Array, Batch, Key, PyTree

_READ = 512  # records that a thread reads at a time
_STEPS = 64  # the most steps, and
_BYTES = 1 << 28  # the most bytes, that are read from disk ahead of a chunk
# Seeds differ by these, so that the orders of two domains, and their crops, know nothing of each other.
_SECOND, _CROPS = np.uint32(0x9E3779B9), np.uint32(0x7F4A7C15)


class Share(NamedTuple):
    """The part of every batch that this process reads, and how the parts become one.

    Attributes:
      rows: i[k], their positions in the batch.
      put: (host array, dimension) -> device array. The dimension holds k rows, and all rows of the batch once the
        processes have put theirs; None puts the whole array on every device.
    """

    rows: np.ndarray
    put: Callable[[np.ndarray, int | None], Array]


class Feed(NamedTuple):
    """How a compiled chunk of steps gets its data.

    Attributes:
      shape: of one example; of two domains, one for each.
      classes: the number of classes, None without labels.
      limit: the most steps that one load covers; None: any number.
      load: on the host, first step -> what the chunk from that step on reads, device arrays.
      split: which dimension of those arrays holds the rows of a batch, a prefix of what ``load``
        gives; None where every device holds all.
      draw: inside ``jit``, (loaded, step i32[], seed) -> the batch of that step: "image"
        f32[B, H, W, C] in [-1, 1], "label" i32[B]; of two domains "a" and "b", both images. The seed, u32[], may be
        traced; by default it is the feed's.
      peek: on the host, n -> the first n examples of the first batch; of two domains the first n that are shown,
        fewer if one has fewer.
    """

    shape: Any
    classes: int | None
    limit: int | None
    load: Callable[[int], PyTree]
    split: PyTree
    draw: Callable[..., Batch]
    peek: Callable[[int], Batch]


def feed(
    source: AnySource,
    batch: int,
    seed: int,
    *,
    memory_limit: int = 2 << 30,
    share: Share | None = None,
    axis_name: str | None = None,
) -> Feed:
    """Feeds a train step.

    Args:
      source: where the examples come from.
      batch: examples that one step consumes, on all devices together.
      seed: u32, names the order of the examples, or the noise of synthetic ones.
      memory_limit: in bytes; a source up to this size is read at once and kept on the device.
      share: what this process reads and where it goes, by default everything, to one device.
      axis_name: the axis of ``pmap`` or ``shard_map``: ``draw`` gives each replica its own rows.

    Returns:
      The feed.

    Raises:
      InputError: for fewer images than a batch, a batch below 1, a seed that is no u32.

    >>> from jaxgan.data import load
    >>> digits = feed(load("digits"), batch=32, seed=0)
    >>> digits.draw(digits.load(0), jnp.int32(0))["image"].shape
    (32, 8, 8, 1)
    """
    if batch < 1:
        raise InputError(f"The batch is {batch}. Allowed: 1 or more examples.")
    if not 0 <= seed < 2**32:
        raise InputError(f"The seed of the data is {seed}. Allowed: 0 to {2**32 - 1}.")
    if isinstance(source, Synthetic):
        return _synthetic(source, batch, seed, axis_name)
    if isinstance(source, Domains):
        return _domains(source, batch, seed, memory_limit, share, axis_name)
    if source.size < batch:
        raise InputError(
            f"{source.name} has {source.size} images, fewer than one step consumes, {batch}. "
            f"Set a batch of at most {source.size}; the images of all turns of a step count."
        )
    share = share or Share(np.arange(batch), lambda x, dimension: jnp.asarray(x))
    record = source.read(np.arange(1))
    record_bytes = sum(leaf.nbytes for leaf in record.values())
    if source.size * record_bytes <= memory_limit and len(share.rows) == batch:
        return _in_memory(source, batch, seed, share, axis_name)
    return _streamed(source, batch, seed, share, max(1, min(_STEPS, _BYTES // (batch * record_bytes))))


def _synthetic(source: Synthetic, batch: int, seed: int, axis_name: str | None) -> Feed:
    def draw(loaded, step, seed=seed):
        del loaded
        return axis.rows(source.draw(jax.random.fold_in(jax.random.key(seed), step), batch), axis_name)

    def peek(n):
        first = source.draw(jax.random.fold_in(jax.random.key(seed), 0), batch)
        return {key: leaf[:n] for key, leaf in first.items()}

    return Feed(source.shape, source.classes, None, lambda step: {}, None, draw, peek)


def _domains(
    source: Domains, batch: int, seed: int, memory_limit: int, share: Share | None, axis_name: str | None
) -> Feed:
    """Both sides, each in an order of its own unless they are pairs."""

    def second(seed):
        return seed if source.paired else seed ^ _SECOND

    options: dict[str, Any] = {"memory_limit": memory_limit // 2, "share": share, "axis_name": axis_name}
    sides = {"a": feed(source.a, batch, seed, **options), "b": feed(source.b, batch, int(second(seed)), **options)}
    limits = [side.limit for side in sides.values() if side.limit is not None]

    def load(step):
        return {name: side.load(step) for name, side in sides.items()}

    def draw(loaded, step, traced=None):
        seeds = ((), ()) if traced is None else ((traced,), (second(traced),))
        key = jax.random.fold_in(jax.random.key((seed if traced is None else traced) ^ _CROPS), step)
        images = {
            name: side.draw(loaded[name], step, *own)["image"]
            for (name, side), own in zip(sides.items(), seeds, strict=True)
        }
        return crops(source, images, key, axis_name)

    def peek(n):
        n = min(n, *(side.size for side in source.shown))
        first = {name: side.read(np.arange(n)) for name, side in zip("ab", source.shown, strict=True)}
        return {name: _scale(jax.tree.map(jnp.asarray, images))["image"] for name, images in first.items()}

    split = {name: side.split for name, side in sides.items()}
    return Feed(source.shape, None, min(limits, default=None), load, split, draw, peek)


def crops(source: Domains, images: Batch, key: Key, axis_name: str | None = None) -> Batch:
    """What a step sees of images of both domains: crops, some of them mirrored.

    Args:
      source: where they are from.
      images: "a" and "b", f32[B, H, W, C] in [-1, 1].
      key: decides on the crops, which are the same on both sides if the images are pairs.
      axis_name: the axis of ``pmap`` or ``shard_map`` that the batch is split over.

    Returns:
      "a" and "b", f32[B, size, size, C].

    >>> crops(facades, {"a": photos, "b": maps}, jax.random.key(0))  # doctest: +SKIP
    """
    keys = (key, jax.random.clone(key)) if source.paired else jax.random.split(key)
    load_size = source.a.shape[0]
    return {
        name: random_crop_flip(x, k, source.size, load_size, flip=source.flip, axis_name=axis_name)
        for (name, x), k in zip(images.items(), keys, strict=True)
    }


def _in_memory(source: Source, batch: int, seed: int, share: Share, axis_name: str | None) -> Feed:
    records = jax.tree.map(lambda x: share.put(x, None), _read_all(source))

    def draw(loaded, step, seed=seed):
        # The rows are taken before the gather: a replica reads its own examples alone.
        indices = axis.rows(batch_indices(seed, step, batch, source.size), axis_name)
        return _scale({key: leaf.at[indices].get(mode="clip") for key, leaf in loaded.items()})

    return Feed(source.shape, source.classes, None, lambda step: records, None, draw, _peek(source, batch, seed))


def _read_all(source: Source) -> dict[str, np.ndarray]:
    first = source.read(np.arange(1))
    records = {key: np.empty((source.size, *leaf.shape[1:]), leaf.dtype) for key, leaf in first.items()}

    def read(start):
        stop = min(start + _READ, source.size)
        for key, leaf in source.read(np.arange(start, stop)).items():
            records[key][start:stop] = leaf

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(read, range(0, source.size, _READ)))
    return records


def _streamed(source: Source, batch: int, seed: int, share: Share, limit: int) -> Feed:
    window: deque[dict[str, np.ndarray]] = deque()  # the batches from step `start` on
    start, batches = -1, iter(())  # no step yet

    def load(step):
        nonlocal start, batches
        if not start <= step <= start + len(window):
            window.clear()
            start, batches = step, _read_from(source, batch, seed, share.rows, step, limit)
        while start < step:
            window.popleft()
            start += 1
        while len(window) < limit:
            window.append(next(batches))
        stacked = {key: share.put(np.stack([each[key] for each in window]), 1) for key in window[0]}
        return {"first": share.put(np.asarray(step, np.int32), None), "records": stacked}

    def draw(loaded, step, seed=None):
        if seed is not None:
            raise InputError(
                f"{source.name} is streamed, in the order of one seed; several seeds at once need it in memory. "
                "Raise --memory-limit if the device holds it."
            )
        i = step - loaded["first"]
        return _scale({key: leaf[i] for key, leaf in loaded["records"].items()})

    split = {"first": None, "records": 1}
    return Feed(source.shape, source.classes, limit, load, split, draw, _peek(source, batch, seed))


def _peek(source: Source, batch: int, seed: int) -> Callable[[int], Batch]:
    def peek(n):
        first = source.read(np.asarray(batch_indices(seed, 0, batch, source.size))[:n])
        return _scale(jax.tree.map(jnp.asarray, first))

    return peek


def _read_from(
    source: Source, batch: int, seed: int, rows: np.ndarray, step: int, ahead: int
) -> Iterator[dict[str, np.ndarray]]:
    """The rows of the batches of a step and those after it, read by threads ahead of time."""

    def read(step):
        return source.read(np.asarray(batch_indices(seed, step, batch, source.size))[rows])

    threads = min(ahead, os.cpu_count() or 1)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
    return iter(grain.MapDataset.range(step, 2**31 - 1).map(read).to_iter_dataset(options))


def _scale(batch: Batch) -> Batch:
    """uint8 pixels x to float32, x / 127.5 - 1, symmetric about 0 and exact at -1 and 1.

    In that form XLA multiplies by a reciprocal of 127.5, and 255 becomes 1 + 2**-23.
    """
    image = batch["image"]
    if image.dtype == jnp.uint8:
        image = (2 * image.astype(jnp.float32) - 255) * np.float32(1 / 255)
    return batch | {"image": image}
