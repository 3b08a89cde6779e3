"""Affine maps of images: without rounding where they move whole pixels, without aliasing where they do not.

A map is given by its inverse, f32[B, 3, 3]: the offset (x, y, 1) of an output pixel from the centre of the image, in
pixels, times this matrix is the offset of the input pixel that is seen there. Outside of the image lies its mirror
image, at any distance; the outermost pixels are not doubled.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.typing import Array

# The scaling filter of the wavelet sym6: orthogonal to its shifts by 2, 4, ..., with six vanishing moments.
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)


# The filter is not symmetric: it moves what it upsamples by so many pixels, and its adjoint moves it back.
_DELAY = (float(np.average(np.arange(12), weights=SYM6)) - 5.5) / 2


def move_pixels(images: Array, inverse: Array) -> Array:
    """A map that takes pixels to pixels: mirrored and rotated by quarter turns, shifted by whole pixels.

    Args:
      images: f[B, H, W, C].
      inverse: f32[B, 3, 3].

    Returns:
      [B, H, W, C]: every pixel is one of the image, exactly.
    """
    _, h, w, _ = images.shape
    y, x = (jnp.round(s).astype(jnp.int32) for s in _sources(inverse, _offsets(h), _offsets(w), (h, w)))
    return jax.vmap(lambda image, y, x: image.at[y, x].get(mode="clip"))(images, y, x)


def resample(images: Array, inverse: Array) -> Array:
    """Any affine map, as ADA makes it (Karras et al. 2020, https://arxiv.org/abs/2006.06676, appendix B).

    The image is upsampled by two with an orthogonal wavelet, read off bilinearly at twice the resolution, and
    downsampled with the adjoint of the upsampling, which inverts it: details stay sharp, and those that the map makes
    finer than a pixel are filtered out. Up- and downsampling are products with banded matrices, a small part of a
    discriminator's work where sides have up to some hundred pixels. The authors' code lays the mirror image around the
    image before it upsamples, and black around that; here the upsampled image is mirrored, which spares up to eight
    ninths of that work and differs in the finest details alone.

    Args:
      images: f32[B, H, W, C].
      inverse: f32[B, 3, 3].

    Returns:
      f32[B, H, W, C], linear in the images.
    """
    _, h, w, _ = images.shape
    exact = jax.lax.Precision.HIGHEST  # tensor cores would round the images to ten bits
    fine = jnp.einsum("ph,qw,bhwc->bpqc", _upsampling(h), _upsampling(w), images, precision=exact)
    down_h, down_w = _filters(h) / np.sqrt(2), _filters(w) / np.sqrt(2)
    rows, columns = _offsets(down_h.shape[1]) / 2, _offsets(down_w.shape[1]) / 2
    y, x = _sources(inverse, rows, columns, (h, w), _DELAY)

    def interpolate(image: Array, y: Array, x: Array) -> Array:
        top, left = y.astype(jnp.int32), x.astype(jnp.int32)
        v, u = (y - top)[..., None], (x - left)[..., None]

        def corner(i: int, j: int) -> Array:
            return image.at[top + i, left + j].get(mode="clip")

        return (1 - v) * ((1 - u) * corner(0, 0) + u * corner(0, 1)) + v * ((1 - u) * corner(1, 0) + u * corner(1, 1))

    # The upsampled image has points a quarter of a pixel to either side of each pixel's centre.
    seen = jax.vmap(interpolate)(fine, 2 * y + 0.5, 2 * x + 0.5)
    return jnp.einsum("hp,wq,bpqc->bhwc", down_h, down_w, seen, precision=exact)


def _offsets(n: int) -> Array:
    """The distances of n points from their centre."""
    return jnp.arange(n) - (n - 1) / 2


def _sources(
    inverse: Array, rows: Array, columns: Array, sides: tuple[int, int], delay: float = 0.0
) -> tuple[Array, Array]:
    """The indices of row and column, f32[B, N, M], that points at offsets rows f32[N], columns f32[M] come from.

    The image is mirrored at its outermost pixels, which are seen ``delay`` pixels beside their place.
    """

    def source(form: Array, side: int) -> Array:
        a, b, c = (form[:, k, None, None] for k in range(3))
        index = a * columns + b * rows[:, None] + c + (side - 1) / 2 - delay
        # The mirror images repeat after a period; the distance to the nearest of its multiples folds them onto one.
        period = 2 * (side - 1)
        return jnp.abs(index - period * jnp.round(index / period)) + delay

    return source(inverse[:, 1], sides[0]), source(inverse[:, 0], sides[1])


def _filters(n: int) -> np.ndarray:
    """[n, 2n + 10], orthonormal rows: the wavelet's filter at every second place."""
    rows = np.zeros((n, 2 * n + 10), np.float32)
    for i in range(n):
        rows[i, 2 * i : 2 * i + 12] = SYM6
    return rows


def _upsampling(n: int) -> np.ndarray:
    """[2n, n]: upsamples a row of n pixels, whose mirror image is around it."""
    mirrored = np.eye(n, dtype=np.float32)[np.pad(np.arange(n), 3, mode="reflect")]
    return np.float32(np.sqrt(2)) * (_filters(n + 6).T @ mirrored)[11:-11]
