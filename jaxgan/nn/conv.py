"""Convolutions that XLA compiles well on every platform, forward and backward, in loops and outside.

On CPUs they are the maps of `jaxgan.nn.bilinear`, on other platforms XLA's own convolutions.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nn.bilinear import adjoint, correlate
from jaxgan.nn.sums import spread
from jaxgan.typing import Array

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(x: Array, kernel: Array, *, stride: int = 1, padding: int = 0) -> Array:
    """Convolution, as neural networks have it: out[i, j] = sum over a, b of x[s i + a - p, s j + b - p] kernel[a, b].

    Args:
      x: f[B, H, W, C].
      kernel: f[K, L, C, D].
      stride: s, in both directions.
      padding: p, zeros on each side.

    Returns:
      f[B, (H + 2p - K) // s + 1, (W + 2p - L) // s + 1, D].

    >>> conv(jnp.ones((1, 28, 28, 3)), jnp.ones((4, 4, 3, 5)), stride=2, padding=1).shape
    (1, 14, 14, 5)
    """

    def on_cpu(x: Array, kernel: Array) -> Array:
        return correlate(x, kernel, stride, padding)

    def native(x: Array, kernel: Array) -> Array:
        pad = [(padding, padding)] * 2
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), pad, dimension_numbers=_LAYOUT)

    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=native)


def conv_transpose(x: Array, kernel: Array, *, padding: int = 1) -> Array:
    """Transposed convolution of stride 2; with kernel 4 and padding 1 it doubles height and width.

    The adjoint of `conv` with that kernel, stride and padding: out[2i + a - p, 2j + b - p] += x[i, j] kernel[a, b].

    Args:
      x: f[B, H, W, C].
      kernel: f[K, L, C, D].
      padding: p, what is cut off on each side.

    Returns:
      f[B, 2H - 2 + K - 2p, 2W - 2 + L - 2p, D].

    >>> conv_transpose(jnp.ones((1, 7, 7, 3)), jnp.ones((4, 4, 3, 5))).shape
    (1, 14, 14, 5)
    """
    rows, cols = kernel.shape[:2]

    def on_cpu(x: Array, kernel: Array) -> Array:
        image = (2 * x.shape[1] - 2 + rows - 2 * padding, 2 * x.shape[2] - 2 + cols - 2 * padding)
        return adjoint(x, kernel.swapaxes(2, 3), 2, padding, image)

    def native(x: Array, kernel: Array) -> Array:
        # XLA slides the kernel over x with zeros in between, which is the adjoint of the flipped kernel.
        pad = [(n - 1 - padding, n - 1 - padding) for n in (rows, cols)]
        return jax.lax.conv_general_dilated(
            x, kernel[::-1, ::-1], (1, 1), pad, lhs_dilation=(2, 2), dimension_numbers=_LAYOUT
        )

    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=native)


class Conv(nn.Module):
    """Learned `conv` with a square kernel.

    Attributes:
      features: output channels.
      size: side of the kernel.
      stride: in both directions.
      padding: zeros on each side.
      use_bias: adds a bias, f32[features].
      dtype: of the computation; parameters are float32.
      kernel_init: initialiser of the kernel, f32[size, size, C, features].
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    use_bias: bool = True
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, x.shape[-1], self.features))
        x = conv(x.astype(self.dtype), kernel.astype(self.dtype), stride=self.stride, padding=self.padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            x += spread(bias.astype(self.dtype), x.shape)
        return x


class ConvTranspose(nn.Module):
    """Learned `conv_transpose` without a bias: doubles height and width.

    Attributes:
      features: output channels.
      dtype: of the computation; the kernel is float32.
      kernel_init: initialiser of the kernel, f32[4, 4, C, features].
    """

    features: int
    dtype: Any = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (4, 4, x.shape[-1], self.features))
        return conv_transpose(x.astype(self.dtype), kernel.astype(self.dtype))
