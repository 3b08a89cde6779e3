"""Parts of a batch, so that what is computed from them stays in the cache: for CPUs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxgan.typing import Array, PyTree


def parts(x: Array, size: int, most: int) -> Array:
    """Splits a batch.

    Args:
      x: f[B, ...].
      size: bytes that are written for all of it,
      most: and at most for one part, if the batch can be split so far.

    Returns:
      f[B / n, n, ...], n parts along the second axis: each has some of what every device has.
    """
    counts = [n for n in range(1, len(x) + 1) if n == 1 or len(x) % (n * jax.device_count()) == 0]
    count = next((n for n in counts if size <= n * most), counts[-1])
    return x.reshape(-1, count, *x.shape[1:])


def summed(function: Callable[[Array, Array], PyTree], x: Array, y: Array, size: int, most: int) -> PyTree:
    """The sum of a function of two batches over their `parts`.

    >>> summed(lambda x, y: x.T @ y, jnp.ones((8, 3)), jnp.ones((8, 2)), size=160, most=80)
    Array([[8., 8.],
           [8., 8.],
           [8., 8.]], dtype=float32)
    """
    xs, ys = (parts(each, size, most) for each in (x, y))

    def add(i: Array, sums: PyTree) -> PyTree:
        return jax.tree.map(jnp.add, sums, function(xs[:, i], ys[:, i]))

    first = function(xs[:, 0], ys[:, 0])
    return first if xs.shape[1] == 1 else jax.lax.fori_loop(1, xs.shape[1], add, first)
