"""Minibatch standard deviation (Karras et al. 2018, https://arxiv.org/abs/1710.10196, section 3)."""

import flax.linen as nn
import jax.numpy as jnp

from jaxgan import axis
from jaxgan.errors import InputError
from jaxgan.typing import Array


class MinibatchStd(nn.Module):
    """Adds a feature that tells how much the examples of a group differ: a discriminator sees lost variety.

    The standard deviation over the group, of every feature at every place, averaged to one number.

    Attributes:
      group: examples of a group, which follow each other in the batch, so that a replica holds whole groups and every
        engine computes the same. None takes the global batch as one group.
      axis_name: the axis of ``pmap`` or ``shard_map``.

    >>> MinibatchStd(group=4).apply({}, jnp.zeros((8, 4, 4, 3))).shape
    (8, 4, 4, 4)
    """

    group: int | None = 4
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """f[B, ..., C] -> f[B, ..., C + 1].

        Raises:
          InputError: while tracing, if groups do not divide the examples of a replica.
        """
        n, group = len(x), self.group
        if self.is_initializing():
            group = None  # one example makes the parameters
        if group is not None and n % group:
            raise InputError(
                f"{n} examples do not divide into groups of {group} for the minibatch standard deviation. Take a "
                f"multiple of {group} on each device, or another group."
            )
        y = x.astype(jnp.float32).reshape(-1, group or n, *x.shape[1:])
        axis_name = self.axis_name if group is None and not self.is_initializing() else None
        centred = y - axis.mean(jnp.mean(y, 1, keepdims=True), axis_name)
        variance = axis.mean(jnp.mean(jnp.square(centred), 1), axis_name)
        # The root has no gradient at 0, where all examples of a group are alike.
        std = jnp.sqrt(variance + 1e-8).mean(tuple(range(1, variance.ndim)))
        feature = jnp.repeat(std, n // len(std)).reshape(n, *(1,) * (x.ndim - 1))
        return jnp.concatenate([x, jnp.broadcast_to(feature, (*x.shape[:-1], 1)).astype(x.dtype)], axis=-1)
