"""The Inception network of the FID: Inception-v3 as TensorFlow published it on 2015-12-05, with all its oddities.

The FID is a distance of the features of this network, and no other network gives the same numbers. It is not the
Inception-v3 of Szegedy et al. 2015 (https://arxiv.org/abs/1512.00567) that image libraries offer: averages leave the
padding out, the last block takes a maximum where the paper averages, it knows 1,008 classes, and images are resized to
its 299 x 299 pixels in a way that moves and aliases them (Parmar et al. 2021, https://arxiv.org/abs/2104.11222).
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.typing import Array

SIDE, CLASSES = 299, 1008
# Or else GPUs round to TF32, and TPUs to bfloat16.
_EXACT = jax.lax.Precision.HIGHEST


def resize_legacy(images: Array) -> Array:
    """Resizes to 299 x 299 as the FID does: bilinear, without antialiasing, pixel i of the result at i size / 299.

    This is TensorFlow 1's default: no half pixel is added, so that what is enlarged moves to the left and up.

    Args:
      images: f[N, H, W, C].

    Returns:
      f[N, 299, 299, C].
    """
    return _interpolate(_interpolate(images, 2), 1)


def _interpolate(x: Array, axis: int) -> Array:
    size = x.shape[axis]
    # A product, not a quotient, in float32: it decides which pixel comes first, and TensorFlow has it so.
    at = np.arange(SIDE, dtype=x.dtype) * np.float32(size / SIDE)
    low = at.astype(int)
    fraction = np.expand_dims(at - low, [i for i in range(x.ndim) if i != axis])
    before, after = (jnp.take(x, i, axis=axis) for i in (low, np.minimum(low + 1, size - 1)))
    return before + (after - before) * fraction.astype(x.dtype)


def resize_antialiased(images: Array) -> Array:
    """Resizes to 299 x 299 as clean-fid does (Parmar et al. 2021): bicubic with antialiasing, without rounding.

    The same as Pillow's bicubic filter in floating point: Keys' cubic with a = -0.5, widened where images shrink.

    Args:
      images: f[N, H, W, C].

    Returns:
      f[N, 299, 299, C]; overshoots the range of the images near edges.
    """
    rows, columns = (_cubic(size).astype(images.dtype) for size in images.shape[1:3])
    return jnp.einsum("ih,nhwc,jw->nijc", rows, images, columns, precision=_EXACT)


def _cubic(size: int) -> np.ndarray:
    """The filter as a matrix, f64[299, size]. jax.image has it in float32, ten times less exact for large images."""
    scale = size / SIDE
    centre = (np.arange(SIDE)[:, None] + 0.5) * scale - 0.5
    t = np.abs(np.arange(size) - centre) / max(scale, 1)
    weights = np.where(t < 1, (1.5 * t - 2.5) * t**2 + 1, np.where(t < 2, ((2.5 - 0.5 * t) * t - 4) * t + 2, 0))
    return weights / weights.sum(axis=1, keepdims=True)


class InceptionV3(nn.Module):
    """The network, with its batch statistics frozen; layers are called as in the published PyTorch weights.

    >>> features, logits = InceptionV3().apply(variables, resize_legacy(images))  # doctest: +SKIP
    """

    @nn.compact
    def __call__(self, images: Array) -> tuple[Array, Array]:
        """Looks at images.

        Args:
          images: f[N, 299, 299, 3], from 0 to 255.

        Returns:
          The features f[N, 2048], averages over the last layer, and the logits f[N, 1008]. The logits are without the
          bias of the last layer, which is how the inception score has been computed ever since Salimans et al. 2016.
        """
        x = (images - 128) / 128
        x = _Conv(32, 3, 2, "VALID", name="Conv2d_1a_3x3")(x)
        x = _Conv(32, 3, 1, "VALID", name="Conv2d_2a_3x3")(x)
        x = _Conv(64, 3, name="Conv2d_2b_3x3")(x)
        x = nn.max_pool(x, (3, 3), (2, 2))
        x = _Conv(80, 1, name="Conv2d_3b_1x1")(x)
        x = _Conv(192, 3, 1, "VALID", name="Conv2d_4a_3x3")(x)
        x = nn.max_pool(x, (3, 3), (2, 2))
        for letter, pooled in zip("bcd", (32, 64, 64), strict=True):
            x = _InceptionA(pooled, name=f"Mixed_5{letter}")(x)
        x = _InceptionB(name="Mixed_6a")(x)
        for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
            x = _InceptionC(width, name=f"Mixed_6{letter}")(x)
        x = _InceptionD(name="Mixed_7a")(x)
        x = _InceptionE(_mean_pool, name="Mixed_7b")(x)
        x = _InceptionE(_max_pool, name="Mixed_7c")(x)
        features = x.mean(axis=(1, 2))
        return features, nn.Dense(CLASSES, use_bias=False, precision=_EXACT, name="fc")(features)


class _Conv(nn.Module):
    """Convolution, batch norm with frozen statistics, rectifier; size is of the kernel, one number if it is square."""

    features: int
    size: int | tuple[int, int]
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        stride = (self.stride, self.stride)
        x = nn.Conv(self.features, size, stride, self.padding, use_bias=False, precision=_EXACT, name="conv")(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="bn")(x))


def _branch(x: Array, name: str, *layers: tuple) -> Array:
    """Layers one after the other, each given by the arguments of _Conv."""
    for i, layer in enumerate(layers, 1):
        x = _Conv(*layer, name=f"{name}_{i}" if len(layers) > 1 else name)(x)
    return x


def _mean_pool(x: Array) -> Array:
    return nn.avg_pool(x, (3, 3), padding="SAME", count_include_pad=False)


def _max_pool(x: Array) -> Array:
    return nn.max_pool(x, (3, 3), padding="SAME")


def _concat(*branches: Array) -> Array:
    return jnp.concatenate(branches, axis=-1)


class _InceptionA(nn.Module):
    """35 x 35 pixels, figure 5 of Szegedy et al. 2015."""

    pooled: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return _concat(
            _branch(x, "branch1x1", (64, 1)),
            _branch(x, "branch5x5", (48, 1), (64, 5)),
            _branch(x, "branch3x3dbl", (64, 1), (96, 3), (96, 3)),
            _branch(_mean_pool(x), "branch_pool", (self.pooled, 1)),
        )


class _InceptionB(nn.Module):
    """From 35 x 35 pixels to 17 x 17."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return _concat(
            _branch(x, "branch3x3", (384, 3, 2, "VALID")),
            _branch(x, "branch3x3dbl", (64, 1), (96, 3), (96, 3, 2, "VALID")),
            nn.max_pool(x, (3, 3), (2, 2)),
        )


class _InceptionC(nn.Module):
    """17 x 17 pixels; 7 x 7 is taken apart into 1 x 7 and 7 x 1."""

    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        w, row, column = self.width, (1, 7), (7, 1)
        return _concat(
            _branch(x, "branch1x1", (192, 1)),
            _branch(x, "branch7x7", (w, 1), (w, row), (192, column)),
            _branch(x, "branch7x7dbl", (w, 1), (w, column), (w, row), (w, column), (192, row)),
            _branch(_mean_pool(x), "branch_pool", (192, 1)),
        )


class _InceptionD(nn.Module):
    """From 17 x 17 pixels to 8 x 8."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return _concat(
            _branch(x, "branch3x3", (192, 1), (320, 3, 2, "VALID")),
            _branch(x, "branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, "VALID")),
            nn.max_pool(x, (3, 3), (2, 2)),
        )


class _InceptionE(nn.Module):
    """8 x 8 pixels; the last layer of two branches is a row beside a column."""

    pool: Callable[[Array], Array]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        def fork(x: Array, name: str) -> Array:
            return _concat(_branch(x, f"{name}a", (384, (1, 3))), _branch(x, f"{name}b", (384, (3, 1))))

        return _concat(
            _branch(x, "branch1x1", (320, 1)),
            fork(_branch(x, "branch3x3_1", (384, 1)), "branch3x3_2"),
            fork(_branch(x, "branch3x3dbl", (448, 1), (384, 3)), "branch3x3dbl_3"),
            _branch(self.pool(x), "branch_pool", (192, 1)),
        )
