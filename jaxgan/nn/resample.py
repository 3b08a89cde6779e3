"""Resampling with a short filter: zero-insertion, convolution and decimation in one (upfirdn).

Filters are sums of shifted slices, split into phases: no product with an inserted zero is ever computed, and no
grouped convolution is needed, which compilers treat badly, above all in the body of a loop on CPUs. There a filter is a
primitive, whose transpose is a filter again: JAX's would add up an image as large as the whole for each tap.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad
from jax.typing import ArrayLike

from jaxgan.errors import InputError
from jaxgan.nn.primitive import alike, bilinear
from jaxgan.typing import Array
from jaxgan.unmerged import unmerged

# The low-pass filter of StyleGAN, along each axis; it sums to 1.
BINOMIAL = np.array([1.0, 3.0, 3.0, 1.0], np.float32) / 8


def upfirdn(x: Array, kernel: ArrayLike, up: int = 1, down: int = 1, pad: tuple[int, int] = (0, 0)) -> Array:
    """Inserts zeros, pads, filters, and keeps every so many pixels.

    Along each axis, with ``z[up * i] = x[i]``, zeros elsewhere and before z[0] and after z[up * H - 1] so many zeros
    as ``pad`` says, the output is every ``down``-th of the places where the flipped kernel fits: a true convolution.

    Args:
      x: f[B, H, W, C].
      kernel: f[k], applied along both axes, or f[k, l], whose axes are those of the image.
      up: zeros are inserted so that the image is this many times as large.
      down: of the filtered image every so many pixels are kept.
      pad: zeros before and after, along both axes; negative numbers crop.

    Returns:
      f[B, (up * H + sum(pad) - k) // down + 1, (up * W + sum(pad) - l) // down + 1, C] in the dtype of x.

    Raises:
      InputError: if arguments are out of range, or the kernel fits nowhere.

    >>> upfirdn(jnp.arange(4.0).reshape(1, 2, 2, 1), jnp.ones(2), up=2, pad=(1, 0))[0, :, :, 0]
    Array([[0., 0., 1., 1.],
           [0., 0., 1., 1.],
           [2., 2., 3., 3.],
           [2., 2., 3., 3.]], dtype=float32)
    """
    kernel = jnp.asarray(kernel, x.dtype)
    if x.ndim != 4 or kernel.ndim not in (1, 2) or up < 1 or down < 1:
        raise InputError(
            f"upfirdn() got images of shape {x.shape}, a kernel of shape {kernel.shape}, up={up} and down={down}. It "
            "takes [batch, height, width, channels], a kernel with one or two axes, and factors of at least 1."
        )
    if kernel.ndim == 1 and up == down == 1:
        kernel = jnp.outer(kernel, kernel)  # more products, but images are read and written once: twice as fast on CPUs
    if kernel.ndim == 2:
        return _filter(x, kernel, (up, up), (down, down), (pad, pad))
    x = _filter(x, kernel[:, None], (up, 1), (down, 1), (pad, (0, 0)))
    return _filter(x, kernel[None, :], (1, up), (1, down), ((0, 0), pad))


def upsample2(x: Array, kernel: ArrayLike = BINOMIAL) -> Array:
    """Doubles an image: zeros are inserted and filtered away; brightness stays.

    Args:
      x: f[B, H, W, C].
      kernel: f[k], k >= 2, of sum 1.

    Returns:
      f[B, 2H, 2W, C]. Beyond the border the image counts as zero.
    """
    k = np.shape(kernel)[0]
    return upfirdn(x, 2 * jnp.asarray(kernel), up=2, pad=((k + 1) // 2, (k - 2) // 2))


def downsample2(x: Array, kernel: ArrayLike = BINOMIAL) -> Array:
    """Halves an image: filters it and keeps every second pixel.

    Args:
      x: f[B, H, W, C], H and W even.
      kernel: f[k], k >= 2, of sum 1.

    Returns:
      f[B, H / 2, W / 2, C]. Beyond the border the image counts as zero.
    """
    k = np.shape(kernel)[0]
    return upfirdn(x, kernel, down=2, pad=((k - 1) // 2, (k - 2) // 2))


class _Axis(NamedTuple):
    """One axis of a filter: output q * m + r is the sum of tap times x[start + m * stride] over phase r of q."""

    phases: list[list[tuple[int, int]]]  # of each phase the pairs (tap, start), start in the padded image
    stride: int
    count: int  # outputs of a phase
    size: int  # outputs in all: the last phases may have one less
    pad: tuple[int, int]


def _plan(n: int, k: int, up: int, down: int, pad: tuple[int, int]) -> _Axis:
    size = (n * up + sum(pad) - k) // down + 1
    if size < 1:
        raise InputError(
            f"A kernel of {k} taps does not fit into {n} pixels with up={up} and pad={pad}. Take a shorter kernel, or "
            "more padding."
        )
    q, stride = up // math.gcd(up, down), down // math.gcd(up, down)
    count = -(-size // q)
    # Output j sees z[j * down + t - pad[0]] through the flipped kernel's tap t; only multiples of up are not zero.
    phases = [
        [(k - 1 - t, (r * down + t - pad[0]) // up) for t in range(k) if (r * down + t - pad[0]) % up == 0]
        for r in range(q)
    ]
    starts = [start for phase in phases for _, start in phase] or [0]
    before, after = -min(starts), max(starts) + (count - 1) * stride + 1 - n
    phases = [[(tap, start + before) for tap, start in phase] for phase in phases]
    return _Axis(phases, stride, count, size, (before, after))


def _filter(x: Array, kernel: Array, up: tuple[int, int], down: tuple[int, int], pad: tuple) -> Array:
    """`upfirdn` with numbers of its own for each axis; kernel f[k, l]."""
    ways: dict[str, Any] = {"up": up, "down": down, "pad": tuple(map(tuple, pad))}
    return jax.lax.platform_dependent(
        x, kernel, cpu=lambda x, k: _filtered.bind(*alike(x, k), **ways), default=partial(_sum_of_slices, **ways)
    )


def _sum_of_slices(x: Array, kernel: Array, **ways: Any) -> Array:
    rows, cols = _plans(x.shape, kernel.shape, **ways)
    b, *_, c = x.shape
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (*rows.pad, 0), (*cols.pad, 0), (0, 0, 0)])
    shape = (b, rows.count, cols.count, c)
    flat = x.reshape(*x.shape[:2], -1)  # a row is one long vector: XLA on CPUs is twice as fast than along channels

    def shifted(i: int, j: int) -> Array:
        last = i + (rows.count - 1) * rows.stride + 1
        if cols.stride == 1:
            part = jax.lax.slice(flat, (0, i, j * c), (b, last, (j + cols.count) * c), (1, rows.stride, 1))
            return part.reshape(shape)
        ends = (b, last, j + (cols.count - 1) * cols.stride + 1, c)
        return jax.lax.slice(x, (0, i, j, 0), ends, (1, rows.stride, cols.stride, 1))

    def phase(tall: list[tuple[int, int]], wide: list[tuple[int, int]]) -> Array:
        terms = [kernel[s, t] * shifted(i, j) for s, i in tall for t, j in wide]
        return sum(terms[1:], start=terms[0]) if terms else jnp.zeros(shape, x.dtype)

    grid = [jnp.stack([phase(tall, wide) for wide in cols.phases], axis=3) for tall in rows.phases]
    out = jnp.stack(grid, axis=2).reshape(b, rows.count * len(rows.phases), cols.count * len(cols.phases), c)
    return out[:, : rows.size, : cols.size]


def _plans(x: tuple[int, ...], kernel: tuple[int, ...], *, up: Any, down: Any, pad: Any) -> list[_Axis]:
    return [_plan(*args) for args in zip(x[1:3], kernel, up, down, pad, strict=True)]


def _shape(x: tuple[int, ...], kernel: tuple[int, ...], **ways: Any) -> tuple[int, ...]:
    rows, cols = _plans(x, kernel, **ways)
    return (x[0], rows.size, cols.size, x[3])


def _to_images(y: Array, x: Any, kernel: Array, *, up: Any, down: Any, pad: Any) -> Array:
    """The adjoint: up and down exchanged, the kernel turned round, and padding that gives the size of x again."""
    before = [k - 1 - p for k, (p, _) in zip(kernel.shape, pad, strict=True)]
    sides = zip(x.aval.shape[1:3], y.shape[1:3], kernel.shape, up, down, before, strict=True)
    around = tuple((b, (n - 1) * u + k - m * d - b) for n, m, k, u, d, b in sides)
    return _filtered.bind(y, kernel[::-1, ::-1], up=down, down=up, pad=around)


def _to_kernels(y: Array, x: Array, kernel: Any, **ways: Any) -> Array:
    (out,) = jax.linear_transpose(partial(_sum_of_slices, x, **ways), kernel.aval)(y)
    return out


def _by_itself(x: Array, kernel: Array, **ways: Any) -> Array:
    # Merged with what made x, the padding would compute that number by number, ten times as slow.
    return unmerged(partial(_sum_of_slices, **ways))(x, kernel)


_filtered = bilinear("filtered", _by_itself, _sum_of_slices, _shape, static=("up", "down", "pad"))
ad.defbilinear(_filtered, _to_images, _to_kernels)
