"""Self-attention over the pixels of an image (SAGAN, Zhang et al. 2019, https://arxiv.org/abs/1805.08318)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.nn.conv import Conv
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.typing import Array


class SelfAttention(nn.Module):
    """Adds to every pixel what it attends to, times gamma, which starts at zero.

    Queries and keys have an eighth of the channels, values a half; keys and values are the maxima over squares of 2 x 2
    pixels, which the authors' code does to save memory.

    Attributes:
      spectral: spectral normalisation of the four 1 x 1 convolutions.
      dtype: of the computation; the softmax is float32.

    >>> x = SelfAttention()(x)  # doctest: +SKIP
    """

    spectral: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """f[B, H, W, C] -> f[B, H, W, C]; H and W are even."""
        b, h, w, c = x.shape

        def project(x: Array, features: int, name: str) -> Array:
            layer = Conv(features, 1, use_bias=False, dtype=self.dtype, name=name)
            return (SpectralNorm(layer) if self.spectral else layer)(x)

        query = project(x, max(c // 8, 1), "query").reshape(b, h * w, -1)
        key = max_pool(project(x, max(c // 8, 1), "key")).reshape(b, h * w // 4, -1)
        value = max_pool(project(x, max(c // 2, 1), "value")).reshape(b, h * w // 4, -1)
        scores = jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores).astype(self.dtype)
        attended = jnp.einsum("bqk,bkc->bqc", weights, value).reshape(b, h, w, -1)
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return x + gamma.astype(self.dtype) * project(attended, c, "output")


def max_pool(x: Array) -> Array:
    """The maximum over squares of 2 x 2 pixels, with derivatives of every order."""
    return _squares(x).max(axis=(2, 4))


def mean_pool(x: Array) -> Array:
    """The mean over squares of 2 x 2 pixels."""
    return _squares(x).mean(axis=(2, 4))


def _squares(x: Array) -> Array:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c)
