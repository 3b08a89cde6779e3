"""Convolutions along the rows of images by fewer products, as Toom (1963), Cook (1966) and Winograd (1980) found.

A kernel of r rows makes m rows of a result of m + r - 1 rows of an image. With B, G and A of `_matrices`, its products

    result = A^T ((G kernel) * (B image))

are m + r - 1, where the plain sum over taps has m r. They are convolutions along columns, each of a weighted sum of
rows; where images are large enough, those sums cost less than what is saved. With a stride of s, a row here is s rows.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim

from jaxgan.nn.parts import parts, summed
from jaxgan.typing import Array

# How many rows of the result belong together, and where polynomials are evaluated, beside infinity: -1/2 where -2 is
# usual makes rounding errors a third smaller. Barabasz et al. 2020, https://arxiv.org/abs/1803.10986, look for such.
_ROWS, _POINTS = 4, (0.0, 1.0, -1.0, 2.0, -0.5)

# Measured on two cores: with fewer channels the sums cost more than they save, and with fewer operations the starting
# of so many convolutions does; so much of the tiles is to be filled. Arrays beyond so many bytes are taken in parts of
# the batch, which stay in the cache.
_CHANNELS, _OPERATIONS, _FULL, _BYTES = 32, 5e7, 0.85, 2**23


def pays(x: Array, kernel: tuple[int, ...], stride: int, h: int, w: int) -> bool:
    """Whether a convolution of x[B, H, W, C] with kernel[K, L, C, D] to [B, h, w, D] is faster this way.

    Of a batch of any size, which an exported generator takes, nobody knows.
    """
    if is_symbolic_dim(x.shape[0]):
        return False
    rows, _, c, d = kernel
    known = rows % stride == 0 and rows // stride in (2, 3) and h >= _FULL * _ROWS * _tiles(h)
    precise = x.dtype.itemsize >= 4  # sums of bfloat16 would lose what it has
    return known and precise and min(c, d) >= _CHANNELS and 2 * len(x) * h * w * math.prod(kernel) >= _OPERATIONS


def correlate(x: Array, kernel: Array, stride: int, pad: tuple[int, int], conv: Callable[..., Array]) -> Array:
    """A convolution that `pays`.

    Args:
      x: f[B, H, W, C].
      kernel: f[K, L, C, D].
      stride: of rows.
      pad: rows of zeros above and below x.
      conv: (f[B, n stride, W, C], f[stride, L, C, D]) -> f[B, n, w, D]: the same in rows that do not overlap.

    Returns:
      f[B, h, w, D] with h = (H + sum(pad) - K) // stride + 1.
    """
    taps = len(kernel) // stride
    a, g, b = _matrices(taps)
    h = (x.shape[1] + sum(pad) - len(kernel)) // stride + 1
    kernel_rows = list(kernel.reshape(taps, stride, *kernel.shape[1:]))
    kernels = [_sum(weights, kernel_rows) for weights in g]
    xs = parts(x, x.nbytes * kernel.shape[3] // kernel.shape[2], _BYTES)

    def part(i: Array | int) -> Array:
        rows = _image_rows(xs[:, i], h, taps, stride, pad[0])
        products = [conv(_sum(weights, rows), kernel) for weights, kernel in zip(b, kernels, strict=True)]
        y = jnp.stack([_sum(weights, products) for weights in a.T], axis=2)
        return y.reshape(len(y), -1, *y.shape[3:])[:, :h]

    def write(i: Array, y: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(y, part(i), i, 1)

    if xs.shape[1] == 1:
        return part(0)
    shape = jax.eval_shape(part, 0).shape
    y = jax.lax.full_like(x, 0, shape=(*xs.shape[:2], *shape[1:]))
    return jax.lax.fori_loop(0, xs.shape[1], write, y).reshape(len(x), *shape[1:])


def weigh(x: Array, y: Array, taps: int, stride: int, pad: int, conv: Callable[..., Array]) -> Array:
    """The gradient in its kernel of a convolution that `pays`.

    Args:
      x: f[B, H, W, C].
      y: f[B, h, w, D], the cotangent of the result.
      taps: the kernel's rows, in strides.
      stride: of rows.
      pad: rows of zeros above x.
      conv: (f[B, n stride, W, C], f[B, n, w, D]) -> f[stride, L, C, D]: the same in rows that do not overlap.

    Returns:
      f[taps stride, L, C, D].
    """
    a, g, b = _matrices(taps)
    h = y.shape[1]
    y = jnp.pad(y, ((0, 0), (0, _ROWS * _tiles(h) - h), (0, 0), (0, 0)))

    def products(x: Array, y: Array) -> list[Array]:
        rows, results = _image_rows(x, h, taps, stride, pad), [y[:, m::_ROWS] for m in range(_ROWS)]
        return [conv(_sum(in_b, rows), _sum(in_a, results)) for in_a, in_b in zip(a, b, strict=True)]

    sums = summed(products, x, y, x.nbytes + y.nbytes, _BYTES)
    return jnp.concatenate([_sum(weights, sums) for weights in g.T])


class _Matrices(NamedTuple):
    """For m rows of a result, r taps and n = m + r - 1 products: a[n, m], g[n, r], b[n, n]."""

    a: np.ndarray
    g: np.ndarray
    b: np.ndarray


@functools.cache
def _matrices(taps: int) -> _Matrices:
    """A row for each point p: its powers 1, p, p^2, ..., at infinity the highest one; b undoes n such powers."""
    points = np.array(_POINTS[: _ROWS + taps - 2])

    def powers(n: int) -> np.ndarray:
        return np.vstack([points[:, None] ** np.arange(n), np.eye(n)[-1:]])

    b = np.linalg.inv(powers(len(points) + 1)).T
    # What b is divided by goes to the kernel, which is smaller than an image: halves of whole numbers are left.
    scale = np.append([np.prod([p - q for q in points if q != p]) for p in points], 1.0)
    return _Matrices(powers(_ROWS), powers(taps) / scale[:, None], (2 * b * scale[:, None]).round() / 2)


def _tiles(h: int) -> int:
    return -(-h // _ROWS)


def _image_rows(x: Array, h: int, taps: int, stride: int, above: int) -> list[Array]:
    """The first row of every tile, the second one, and so on: _ROWS + taps - 1 times f[B, tiles stride, W, C]."""
    end = _ROWS * (_tiles(h) - 1) + 1
    rows = end + _ROWS + taps - 2
    below = stride * rows - above - x.shape[1]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (above, below, 0), (0, 0, 0), (0, 0, 0)])
    x = x.reshape(len(x), rows, stride, *x.shape[2:])
    return [x[:, n : n + end : _ROWS].reshape(len(x), -1, *x.shape[3:]) for n in range(_ROWS + taps - 1)]


def _sum(weights: np.ndarray, arrays: Sequence[Array]) -> Array:
    """Of those arrays that count, each times its weight."""
    return functools.reduce(jnp.add, (float(w) * each for w, each in zip(weights, arrays, strict=True) if w))
