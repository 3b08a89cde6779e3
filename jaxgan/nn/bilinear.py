"""Convolution, its adjoint and its weight gradient on CPUs: three bilinear maps, each differentiated into the others.

    correlate(x, k)[i, j] = sum_ab x[s i + a - p, s j + b - p] k[a, b]
    adjoint(y, k)         is what <adjoint(y, k), x> = <y, correlate(x, k)> asks for
    weigh(x, y)           is what <weigh(x, y), k> = <y, correlate(x, k)> asks for

XLA on CPUs has a fast convolution, of images [B, H, W, C] with kernels [K, L, C, D] in just that layout. JAX's rules
transpose a convolution by other layouts, for which XLA falls back to plain loops, 20 times slower and in the body of a
scan a hundred times. So the maps are primitives with rules of their own: the transpose of any of them in either
argument is another one, and derivatives of every order are fast, forward and backward. Each is computed by the fast
convolution, where it is large by fewer of them (`toom_cook`), or by a matrix product where it has too few channels.
"""

import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxgan.nn import toom_cook
from jaxgan.nn.parts import summed
from jaxgan.nn.primitive import alike, bilinear
from jaxgan.typing import Array
from jaxgan.unmerged import unmerged

_LAYOUT = ("NHWC", "HWIO", "NHWC")

# Measured on two cores: with fewer channels in its result the fast adjoint is slower than a product; so is a
# convolution of fewer channels than two; and the fast weight gradient, which sums over images as its channels, of fewer
# images times channels, but for kernels of so many taps. To so few channels as an image has, a convolution of stride 1
# is a product for each tap. What a weight gradient writes for its product is written in parts of so many bytes.
_FEW_ADJOINT, _FEW, _FEW_WEIGH, _MANY_TAPS, _IMAGE, _BYTES = 16, 2, 512, 49, 8, 2**21
# From so many pixels on, zeros between them cost more than four convolutions without.
_MANY_PIXELS = 64


def correlate(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    """f[B, H, W, C], f[K, L, C, D] -> f[B, h, w, D] with h = (H + 2 padding - K) // stride + 1."""
    size = (*x.shape[1:3], *kernel.shape[:2])
    return _correlate.bind(*alike(x, kernel), size=size, stride=stride, padding=padding)


def adjoint(y: Array, kernel: Array, stride: int, padding: int, image: tuple[int, int]) -> Array:
    """f[B, h, w, D], f[K, L, C, D] -> f[B, *image, C]."""
    size = (*image, *kernel.shape[:2])
    return _adjoint.bind(*alike(y, kernel), size=size, stride=stride, padding=padding)


# (argument, argument, size=(H, W, K, L), stride, padding) -> result: by the fast convolution, and by a product.


def _conv(x: Array, kernel: Array, pads: Any, stride: int = 1, **dilation: Any) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=_LAYOUT, **dilation)


def _correlate_fast(x: Array, kernel: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
    del size
    return _convolve(x, kernel, [(padding, padding)] * 2, stride)


def _convolve(x: Array, kernel: Array, pads: Any, stride: int = 1) -> Array:
    sides = zip(x.shape[1:3], kernel.shape[:2], pads, strict=True)
    if toom_cook.pays(x, kernel.shape, stride, *((n + sum(pad) - k) // stride + 1 for n, k, pad in sides)):
        columns = partial(_conv, pads=[(0, 0), pads[1]], stride=stride)
        return toom_cook.correlate(x, kernel, stride, pads[0], columns)
    return _conv(x, kernel, pads, stride)


def _correlate_product(x: Array, kernel: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
    if _makes_images(kernel.shape[2:], stride):
        return _correlate_by_taps(x, kernel, padding)
    return _patches(x, size[2:], (stride, stride), (padding, padding)) @ kernel.reshape(-1, kernel.shape[-1])


def _makes_images(channels: tuple[int, ...], stride: int) -> bool:
    c, d = channels
    return stride == 1 and d <= min(c, _IMAGE)


def _correlate_by_taps(x: Array, kernel: Array, padding: int) -> Array:
    """What every pixel gives to each tap, then the sums of what belongs together: of columns, then of rows."""
    rows, cols, c, d = kernel.shape
    taps = x.reshape(-1, c) @ kernel.transpose(2, 0, 1, 3).reshape(c, -1)
    taps = taps.reshape(*x.shape[:3], rows, cols, d)
    taps = _pad(_pad(taps, (padding, padding), 1), (padding, padding), 2)
    h, w = taps.shape[1] - rows + 1, taps.shape[2] - cols + 1
    beside = functools.reduce(jnp.add, (taps[:, :, b : b + w, :, b] for b in range(cols)))
    return functools.reduce(jnp.add, (beside[:, a : a + h, :, a] for a in range(rows)))


def _adjoint_fast(y: Array, kernel: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    if stride == 1:
        return _convolve(y, turned, [(k - 1 - padding,) * 2 for k in size[2:]])
    even = all(n % stride == 0 and k >= stride for n, k in zip(size[:2], size[2:], strict=True))
    if even and size[0] * size[1] >= _MANY_PIXELS:
        return _adjoint_by_phases(y, turned, size=size, stride=stride, padding=padding)
    # The kernel slides, turned round, over y with zeros in between; at the end there are pixels that it never reached.
    pads = [
        (k - 1 - padding, k - 1 - padding + (n + 2 * padding - k) % stride)
        for n, k in zip(size[:2], size[2:], strict=True)
    ]
    return _conv(y, turned, pads, lhs_dilation=(stride, stride))


def _adjoint_by_phases(y: Array, turned: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
    """Without zeros in between: each position between two pixels of y by the taps that reach it, at most half of them.

    Pixel s i + r gets tap a from y[i + (r + p - a) / s], wherever that is a whole number.
    """

    def phase(r: int, axis: int) -> tuple[slice, tuple[int, int]]:
        n, k, least = size[axis] // stride, size[2 + axis], (r + padding) % stride
        most = least + (k - 1 - least) // stride * stride
        # Turned round, tap a is number k - 1 - a; offsets run from that of the last tap to that of the first.
        taps = slice(k - 1 - most, k - least, stride)
        return taps, ((most - r - padding) // stride, n + (r + padding - least) // stride - y.shape[1 + axis])

    def row(r: int) -> Array:
        (rows, above), columns = phase(r, 0), [phase(q, 1) for q in range(stride)]
        return jnp.stack([_convolve(y, turned[rows, cols], [above, beside]) for cols, beside in columns], axis=3)

    image = jnp.stack([row(r) for r in range(stride)], axis=2)
    return image.reshape(y.shape[0], *size[:2], turned.shape[3])


def _adjoint_product(y: Array, kernel: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
    (b, h, w, d), (rows, cols, c, _) = y.shape, kernel.shape
    taps = (y.reshape(-1, d) @ kernel.reshape(-1, d).T).reshape(b, h, w, rows, cols, c)
    both = _overlap(_overlap(taps, 1, 3, stride), 2, 4, stride)
    image = both.transpose(0, 1, 3, 2, 4, 5).reshape(b, stride * both.shape[1], stride * both.shape[2], c)
    # A kernel whose side the stride does not divide leaves too many zeros at the end, pixels it never reached too few.
    pads = [(-padding, padding + n - have) for n, have in zip(size[:2], image.shape[1:3], strict=True)]
    return jax.lax.pad(image, jnp.zeros((), image.dtype), [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)])


def _weigh_fast(x: Array, y: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
    if not _weighs_less(x, y, size, stride):
        return _weigh_by_images(x, y, size[2:], stride, (padding, padding))
    way = _weigh_by_images if _has_images(x) else _weigh_by_patches
    columns = partial(way, taps=(stride, size[3]), stride=stride, pads=(0, padding))
    return toom_cook.weigh(x, y, size[2] // stride, stride, padding, columns)


def _weighs_less(x: Array, y: Array, size: tuple[int, ...], stride: int) -> bool:
    return toom_cook.pays(x, (*size[2:], x.shape[3], y.shape[3]), stride, *y.shape[1:3])


def _has_images(x: Array) -> bool:
    return len(x) * x.shape[3] >= _FEW_WEIGH


def _weigh_by_images(x: Array, y: Array, taps: tuple[int, ...], stride: int, pads: tuple[int, int]) -> Array:
    # Images are channels here, and channels are images; the transposes are written down because only then the layout
    # is the fast one. Merged with what made x and y, which the gradients of other layers need as well, they would
    # compute all of that again, in strides. Pixels beyond the kernel's last position are left out.
    sides = zip(x.shape[1:3], y.shape[1:3], taps, pads, strict=True)
    x, y = _turned(x, y)
    around = [(pad, stride * (m - 1) + k - pad - n) for n, m, k, pad in sides]
    return _conv(x, y, around, rhs_dilation=(stride, stride)).transpose(1, 2, 0, 3)


@unmerged
def _turned(x: Array, y: Array) -> tuple[Array, Array]:
    return x.transpose(3, 1, 2, 0), y.transpose(1, 2, 0, 3)


def _weigh_product(x: Array, y: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
    (rows, cols), c, d = size[2:], x.shape[-1], y.shape[-1]
    # The numbers that each way has to write for a position of the kernel; the least counts.
    ways = [
        (rows * cols * c, partial(_weigh_by_patches, taps=size[2:], stride=stride, pads=(padding, padding))),
        (stride * cols * c + rows * d, partial(_weigh_by_strips, size=size, stride=stride, padding=padding)),
    ]
    if stride == 1 and padding < min(rows, cols):
        ways.append((rows * cols * d, partial(_weigh_by_patches_of_y, taps=size[2:], padding=padding)))
    numbers, way = min(ways, key=lambda each: each[0])
    return summed(way, x, y, numbers * y.nbytes // d, _BYTES)


def _weigh_by_patches_of_y(x: Array, y: Array, taps: tuple[int, ...], padding: int) -> Array:
    rows, cols = taps
    patches = _patches(y, taps, (1, 1), (rows - 1 - padding, cols - 1 - padding))
    out = x.reshape(-1, x.shape[-1]).T @ patches.reshape(-1, patches.shape[-1])
    # Seen from y, taps run backwards.
    return out.reshape(-1, rows, cols, y.shape[-1]).transpose(1, 2, 0, 3)[::-1, ::-1]


def _weigh_by_patches(x: Array, y: Array, taps: tuple[int, ...], stride: int, pads: tuple[int, int]) -> Array:
    patches = _patches(x, taps, (stride, stride), pads)
    return jnp.einsum("bhwi,bhwo->io", patches, y).reshape(*taps, x.shape[3], y.shape[3])


def _weigh_by_strips(x: Array, y: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
    """Patches of one row each, times y shifted by as many rows as the kernel has; rows of x by their rest, modulo s."""
    rows, cols = size[2:]
    strips = _patches(jnp.pad(x, ((0, 0), (padding, padding), (0, 0), (0, 0))), (1, cols), (1, stride), (0, padding))
    kernel = []
    for rest in range(min(stride, rows)):
        mine = strips[:, rest::stride]
        shifted = [
            jnp.pad(y, ((0, 0), (t, mine.shape[1] - y.shape[1] - t), (0, 0), (0, 0)))
            for t in range(-(-(rows - rest) // stride))
        ]
        out = mine.reshape(-1, mine.shape[-1]).T @ jnp.concatenate(shifted, axis=-1).reshape(
            -1, len(shifted) * y.shape[-1]
        )
        kernel.append(out.reshape(cols, x.shape[-1], len(shifted), y.shape[-1]).transpose(2, 0, 1, 3))
    by_rest = [jnp.pad(part, ((0, len(kernel[0]) - len(part)), (0, 0), (0, 0), (0, 0))) for part in kernel]
    return jnp.stack(by_rest, axis=1).reshape(-1, cols, x.shape[-1], y.shape[-1])[:rows]


def _patches(x: Array, size: tuple[int, ...], strides: tuple[int, int], padding: tuple[int, int]) -> Array:
    """f[B, H, W, C] -> f[B, h, w, K * L * C]: what each position of a kernel of size (K, L) sees, row by row."""
    (rows, cols), (down, right) = size, strides
    x = jnp.pad(x, ((0, 0), *((p, p) for p in padding), (0, 0)))
    h, w = (x.shape[1] - rows) // down + 1, (x.shape[2] - cols) // right + 1
    windows = [
        x[:, a : a + down * (h - 1) + 1 : down, b : b + right * (w - 1) + 1 : right]
        for a in range(rows)
        for b in range(cols)
    ]
    return jnp.concatenate(windows, axis=-1)


def _overlap(taps: Array, axis: int, tap_axis: int, stride: int) -> Array:
    """Adds up along an axis the windows that overlap; the axis of taps is left with the positions between two windows.

    Tap s t + r of window i lands in row s (i + t) + r: t shifts the window, r is the position.
    """
    k = taps.shape[tap_axis]
    last = (k - 1) // stride
    sums = []
    for t in range(last + 1):
        part = jax.lax.slice_in_dim(taps, stride * t, min(stride * (t + 1), k), axis=tap_axis)
        sums.append(_pad(_pad(part, (t, last - t), axis), (0, stride - part.shape[tap_axis]), tap_axis))
    return functools.reduce(jnp.add, sums)


def _pad(x: Array, pad: tuple[int, int], axis: int) -> Array:
    return jnp.pad(x, [pad if i == axis else (0, 0) for i in range(x.ndim)])


def _primitive(name: str, fast: Any, product: Any, is_fast: Any, shape: Any) -> Primitive:
    """A bilinear map.

    Args:
      name: of the primitive.
      fast: how it is computed if ``is_fast``.
      product: how otherwise, for kernels of a single tap, and where both arguments are mapped over.
      is_fast: (argument, argument, size=, stride=) -> whether.
      shape: (shape, shape, size, stride, padding) -> shape of the result.
    """

    def compute(a: Array, b: Array, *, size: tuple[int, ...], stride: int, padding: int) -> Array:
        is_it = size[2] * size[3] > 1 and is_fast(a, b, size=size, stride=stride)
        return (fast if is_it else product)(a, b, size=size, stride=stride, padding=padding)

    static = ("size", "stride", "padding")
    return bilinear(name, compute, product, shape, static=static, by_image=name != "weigh")


def _is_weighed_fast(x: Array, y: Array, *, size: tuple[int, ...], stride: int) -> bool:
    large = stride == 1 and size[2] * size[3] >= _MANY_TAPS
    by_images = (large or _has_images(x)) and not _makes_images((x.shape[3], y.shape[3]), stride)
    return by_images or _weighs_less(x, y, size, stride)


def _correlate_shape(x: Any, kernel: Any, *, size: Any, stride: int, padding: int) -> tuple[int, ...]:
    h, w = ((n + 2 * padding - k) // stride + 1 for n, k in zip(size[:2], size[2:], strict=True))
    return (x[0], h, w, kernel[3])


_correlate = _primitive(
    "correlate", _correlate_fast, _correlate_product,
    lambda x, kernel, stride, **_: x.shape[3] >= _FEW and not _makes_images(kernel.shape[2:], stride), _correlate_shape,
)  # fmt: skip
_adjoint = _primitive(
    "adjoint", _adjoint_fast, _adjoint_product, lambda y, kernel, **_: kernel.shape[2] >= _FEW_ADJOINT,
    lambda y, kernel, size, **_: (y[0], *size[:2], kernel[2]),
)  # fmt: skip
_weigh = _primitive(
    "weigh", _weigh_fast, _weigh_product, _is_weighed_fast, lambda x, y, size, **_: (*size[2:], x[3], y[3])
)


def _transpose(to: Primitive, first: int, second: int) -> Any:
    """(cotangent, argument, argument) -> ``to`` of two of the three."""
    return lambda *args, **kw: to.bind(args[first], args[second], **kw)


ad.defbilinear(_correlate, _transpose(_adjoint, 0, 2), _transpose(_weigh, 1, 0))
ad.defbilinear(_adjoint, _transpose(_correlate, 0, 2), _transpose(_weigh, 0, 1))
ad.defbilinear(_weigh, _transpose(_adjoint, 2, 0), _transpose(_correlate, 1, 0))
