"""From a source to the batches of a compiled step.

A small data set lives on the device as it is stored, and a step gathers its batch from there. A
large one stays on disk: threads read the batches of coming steps, and a step picks its own. The
order depends on the seed and the step alone: both ways give the same bits, from any step on.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.data.order import batch_indices
from jaxgan.data.records import Source, Synthetic
from jaxgan.errors import InputError
from jaxgan.typing import Array, Batch, PyTree

_READ = 512  # records that a thread reads at a time
_STEPS = 64  # the most steps, and
_BYTES = 1 << 28  # the most bytes, that are read from disk ahead of a chunk


class Feed(NamedTuple):
    """How a compiled chunk of steps gets its data.

    Attributes:
      shape: of one example.
      classes: the number of classes, None without labels.
      limit: the most steps that one load covers; None: any number.
      load: on the host, first step -> what the chunk from that step on reads, device arrays.
      draw: inside ``jit``, (loaded, step i32[]) -> the batch of that step: "image" f32[B, H, W, C]
        in [-1, 1], "label" i32[B].
    """

    shape: tuple[int, ...]
    classes: int | None
    limit: int | None
    load: Callable[[int], PyTree]
    draw: Callable[[PyTree, Array], Batch]


def feed(source: Source | Synthetic, batch: int, seed: int, *, memory_limit: int = 2 << 30) -> Feed:
    """Feeds a train step.

    Args:
      source: where the examples come from.
      batch: examples that one step consumes.
      seed: u32, names the order of the examples, or the noise of synthetic ones.
      memory_limit: in bytes; a source up to this size is read at once and kept on the device.

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
        return _synthetic(source, batch, seed)
    if source.size < batch:
        raise InputError(
            f"{source.name} has {source.size} images, fewer than one step consumes, {batch}. "
            f"Set a batch of at most {source.size}; the images of all turns of a step count."
        )
    record = source.read(np.arange(1))
    record_bytes = sum(leaf.nbytes for leaf in record.values())
    if source.size * record_bytes <= memory_limit:
        return _in_memory(source, batch, seed)
    return _on_disk(source, batch, seed, max(1, min(_STEPS, _BYTES // (batch * record_bytes))))


def _synthetic(source: Synthetic, batch: int, seed: int) -> Feed:
    def draw(loaded, step):
        del loaded
        return source.draw(jax.random.fold_in(jax.random.key(seed), step), batch)

    return Feed(source.shape, source.classes, None, lambda step: {}, draw)


def _in_memory(source: Source, batch: int, seed: int) -> Feed:
    records = jax.tree.map(jnp.asarray, _read_all(source))

    def draw(loaded, step):
        indices = batch_indices(seed, step, batch, source.size)
        return _scale({key: leaf.at[indices].get(mode="clip") for key, leaf in loaded.items()})

    return Feed(source.shape, source.classes, None, lambda step: records, draw)


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


def _on_disk(source: Source, batch: int, seed: int, limit: int) -> Feed:
    window: deque[dict[str, np.ndarray]] = deque()  # the batches from step `start` on
    start, batches = -1, iter(())  # no step yet

    def load(step):
        nonlocal start, batches
        if not start <= step <= start + len(window):
            window.clear()
            start, batches = step, _read_from(source, batch, seed, step, limit)
        while start < step:
            window.popleft()
            start += 1
        while len(window) < limit:
            window.append(next(batches))
        stacked = {key: jnp.asarray(np.stack([each[key] for each in window])) for key in window[0]}
        return {"first": jnp.int32(step), "records": stacked}

    def draw(loaded, step):
        i = step - loaded["first"]
        return _scale({key: leaf[i] for key, leaf in loaded["records"].items()})

    return Feed(source.shape, source.classes, limit, load, draw)


def _read_from(source: Source, batch: int, seed: int, step: int, ahead: int) -> Iterator[dict[str, np.ndarray]]:
    """The batches of a step and those after it, read by threads ahead of time."""

    def read(step):
        return source.read(np.asarray(batch_indices(seed, step, batch, source.size)))

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
