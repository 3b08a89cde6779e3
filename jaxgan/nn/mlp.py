"""Multi-layer perceptrons, for points and for small images."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.nn.conditional import discriminator_head
from jaxgan.nn.minibatch import MinibatchDiscrimination
from jaxgan.typing import Array


class MLPGenerator(nn.Module):
    """Latents to images or points.

    Attributes:
      shape: of one example, (H, W, C) or (D,).
      width: units of each hidden layer.
      depth: hidden layers, with ReLU.
      output: applied to the last layer: ``jnp.tanh`` for images in [-1, 1], None for points.
      dtype: of the computation; parameters are float32.

    >>> generator = MLPGenerator((2,), width=128, output=None)
    """

    shape: tuple[int, ...]
    width: int = 256
    depth: int = 3
    output: Callable[[Array], Array] | None = jnp.tanh
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, *, train: bool) -> Array:
        """f[B, latent] -> f32[B, *shape]."""
        del train  # no layer behaves differently in training
        x = z
        for _ in range(self.depth):
            x = nn.relu(_dense(self, self.width)(x))
        size = 1
        for side in self.shape:
            size *= side
        x = _dense(self, size)(x).astype(jnp.float32).reshape(-1, *self.shape)
        return x if self.output is None else self.output(x)


class MLPDiscriminator(nn.Module):
    """Images or points to logits.

    Attributes:
      width: units of each hidden layer.
      depth: hidden layers, with leaky ReLU of slope 0.2.
      dtype: of the computation; parameters and logits are float32.
      classes: of labels, whose learned vectors are multiplied with the features (a projection discriminator, Miyato &
        Koyama 2018); None: without.
      classifier: AC-GAN's classes: the logits of an auxiliary classifier are a second output, f32[B, classifier].
      kernels: of `MinibatchDiscrimination` before the last layer; None: without.
      axis_name: the axis of ``pmap`` or ``shard_map``, for these.
    """

    width: int = 256
    depth: int = 3
    dtype: Any = jnp.float32
    classes: int | None = None
    classifier: int | None = None
    kernels: int | None = None
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool, label: Array | None = None) -> Array | tuple[Array, Array]:
        """f[B, ...], i32[B] -> f32[B] logits."""
        del train
        x = x.reshape(x.shape[0], -1)
        for _ in range(self.depth):
            x = nn.leaky_relu(_dense(self, self.width)(x), 0.2)
        x = x.astype(jnp.float32)
        if self.kernels is not None:
            x = MinibatchDiscrimination(self.kernels, axis_name=self.axis_name)(x)
        return discriminator_head(x, label, classes=self.classes, classifier=self.classifier)


def _dense(module: MLPGenerator | MLPDiscriminator, features: int) -> nn.Dense:
    # He et al. 2015: keeps the scale of activations through rectifiers.
    return nn.Dense(features, dtype=module.dtype, kernel_init=nn.initializers.he_normal())
