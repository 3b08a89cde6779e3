"""A shuffled order of a data set that is computed, not stored.

The example at position ``p = step * batch + i`` belongs to epoch ``p // size``, and its index is a
pseudo-random permutation of ``p % size``, keyed with the seed and the epoch. So an epoch neither
skips nor repeats an example, also where it ends in the middle of a batch, and the step alone says
where in the data a run is.

The permutation is a Feistel network on a grid of rows and columns that holds ``size`` points, with
additions modulo their numbers (Black & Rogaway, "Ciphers with arbitrary finite domains", 2002). A
point that lands outside ``size`` goes through again until it is inside (cycle walking); the grid
has fewer points to spare than it has rows, so that is rare.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.typing import Array

_ROUNDS = 8  # with 6, where neighbours land is measurably dependent in sets of tens of examples
_GOLDEN = np.uint32(0x9E3779B9)


def _mix(x: Any) -> Any:
    """MurmurHash3's 32-bit finaliser: a bijection on u32, every bit depends on every bit."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return x ^ (x >> np.uint32(16))


def _locate(step: Any, batch: int, size: np.uint32) -> tuple[Any, Any]:
    """``divmod(step * batch, size)``, where the product may exceed u32; the quotient wraps."""
    quotient, remainder = step // size, step % size
    epoch, index = quotient, remainder
    for bit in f"{batch:b}"[1:]:  # Horner: double, add the step where the bit is set, carry
        epoch, index = 2 * epoch + (2 * index) // size, (2 * index) % size
        if bit == "1":
            epoch, index = (
                epoch + quotient + (index + remainder) // size,
                (index + remainder) % size,
            )
    return epoch, index


def _shuffle(index: Any, epoch: Any, seed: Any, size: np.uint32, xp: Any) -> Any:
    """Permutes each index below ``size``, u32[n], within its epoch, u32[n]."""
    rows = np.uint32(math.isqrt(int(size) - 1) + 1)
    columns = np.uint32(-(-int(size) // int(rows)))
    keys = [_mix(epoch ^ _mix(seed ^ (np.uint32(i) * _GOLDEN))) for i in range(_ROUNDS)]

    def encrypt(x):
        row, column = x // columns, x % columns
        for even, odd in zip(keys[::2], keys[1::2], strict=True):
            row = (row + _mix(column ^ even) % rows) % rows
            column = (column + _mix(row ^ odd) % columns) % columns
        return row * columns + column

    def outside(x):
        return (x >= size).any()

    def walk(x):
        return xp.where(x >= size, encrypt(x), x)

    index = encrypt(index)
    if xp is jnp:
        return jax.lax.while_loop(outside, walk, index)
    while outside(index):
        index = walk(index)
    return index


def batch_indices(seed: Any, step: Any, batch: int, size: int) -> Array | np.ndarray:
    """The examples that a step reads: a shuffled order of the data set, another one in each epoch.

    Costs O(batch). It runs in JAX where the seed or the step is a JAX array, as inside ``jit``, and
    else in NumPy; the bits are the same.

    Args:
      seed: u32[], names the order.
      step: i32[], not negative; ``step * batch`` may exceed 32 bits.
      batch: examples a step, positive.
      size: examples in the data set, from 1 to 2**31 - 1.

    Returns:
      i32[batch], indices below ``size``.

    >>> sorted(int(i) for step in range(2) for i in batch_indices(0, step, batch=3, size=6))
    [0, 1, 2, 3, 4, 5]
    """
    xp = jnp if isinstance(seed, jax.Array) or isinstance(step, jax.Array) else np
    n = np.uint32(size)
    with np.errstate(over="ignore"):  # the arithmetic of u32 is meant to wrap
        seed, step = xp.asarray(seed, np.uint32), xp.asarray(step, np.uint32)
        epoch, index = _locate(step, batch, n)
        position = index + xp.arange(batch, dtype=np.uint32)
        index = _shuffle(position % n, epoch + position // n, seed, n, xp)
    return index.astype(np.int32)
