"""Batch normalisation: Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan import axis
from jaxgan.nn.sums import spread, total
from jaxgan.typing import Array

_EPSILON = 1e-5


class BatchNorm(nn.Module):
    """``flax.linen.BatchNorm`` over all axes but the last, with its variables; on CPUs several times faster.

    Both moments are taken in one pass over the data, ``var = mean(x^2) - mean(x)^2``, and the layer is one product and
    one sum with numbers of the channels.

    Attributes:
      use_running_average: normalises by the running moments, not by those of this batch.
      momentum: of the running moments.
      dtype: of the result; moments and parameters are float32.
      use_scale: learns a scale of each channel,
      use_bias: and an offset.
      scale_init: initialiser of the scale.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which moments are shared.

    >>> x = BatchNorm(use_running_average=False)(x)  # doctest: +SKIP
    """

    use_running_average: bool
    momentum: float = 0.9
    dtype: Any = jnp.float32
    use_scale: bool = True
    use_bias: bool = True
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """f[B, ..., C] -> f[B, ..., C]."""
        channels = (x.shape[-1],)
        mean_ = self.variable("batch_stats", "mean", jnp.zeros, channels)
        var_ = self.variable("batch_stats", "var", jnp.ones, channels)
        wide = x.astype(jnp.float32)
        if self.use_running_average:
            mean, var = mean_.value, var_.value
        else:
            n = x.size // x.shape[-1]
            name = None if self.is_initializing() else self.axis_name
            mean, square = axis.mean((total(wide) / n, total(jnp.square(wide)) / n), name)
            var = jnp.maximum(0.0, square - jnp.square(mean))
            if not self.is_initializing():
                mean_.value = self.momentum * mean_.value + (1 - self.momentum) * mean
                var_.value = self.momentum * var_.value + (1 - self.momentum) * var
        factor = jax.lax.rsqrt(var + _EPSILON)
        if self.use_scale:
            factor *= self.param("scale", self.scale_init, channels)
        offset = -mean * factor
        if self.use_bias:
            offset += self.param("bias", nn.initializers.zeros, channels)
        return (wide * spread(factor, x.shape) + spread(offset, x.shape)).astype(self.dtype)
