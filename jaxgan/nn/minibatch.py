"""What a discriminator sees of the other examples of its batch: features in which lost variety shows."""

import flax.linen as nn
import jax.numpy as jnp

from jaxgan import axis
from jaxgan.errors import InputError
from jaxgan.typing import Array


class MinibatchStd(nn.Module):
    """Adds a feature that tells how much the examples of a group differ.

    The standard deviation over the group, of every feature at every place, averaged to one number (Karras et al. 2018,
    https://arxiv.org/abs/1710.10196, section 3).

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


class MinibatchDiscrimination(nn.Module):
    """Adds features that tell how close the other examples of the batch are (Salimans et al. 2016).

    https://arxiv.org/abs/1606.03498, section 3.2: a learned tensor makes of the features of an example K rows of D
    numbers, and feature k is ``sum_j exp(-|M_ik - M_jk|_1)`` over all examples j of the batch, itself among them. It
    takes B^2 K D operations, and grows with the batch: use the batch of the training. The batch is the global one, but
    in microbatches each of these.

    Attributes:
      kernels: K, in the authors' code 100.
      dims: D, in the authors' code 5.
      axis_name: the axis of ``pmap`` or ``shard_map``.

    >>> x = MinibatchDiscrimination(kernels=16)(x)  # f[B, C] -> f32[B, C + 16]  # doctest: +SKIP
    """

    kernels: int = 100
    dims: int = 5
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """f[B, C] -> f32[B, C + K]."""
        x = x.astype(jnp.float32)
        dense = nn.Dense(self.kernels * self.dims, use_bias=False, name="tensor")
        own = dense(x).reshape(-1, self.kernels, self.dims)
        # One example makes the parameters, outside of any axis.
        others = own if self.is_initializing() else axis.gather(own, self.axis_name)
        distance = jnp.abs(own[:, None] - others).sum(axis=-1)
        return jnp.concatenate([x, jnp.exp(-distance).sum(axis=1)], axis=-1)
