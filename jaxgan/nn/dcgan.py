"""DCGAN: Radford, Metz & Chintala 2015, https://arxiv.org/abs/1511.06434.

Strided convolutions instead of pooling, batch normalisation, ReLU in the generator and leaky ReLU in the
discriminator, weights from N(0, 0.02). Kernels of 4 with stride 2, as in the authors' Torch code.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import InputError
from jaxgan.nn.conditional import batch_norm, discriminator_head, encode
from jaxgan.nn.conv import Conv, ConvTranspose
from jaxgan.nn.minibatch import MinibatchDiscrimination
from jaxgan.nn.sums import spread
from jaxgan.typing import Array

_INIT = nn.initializers.normal(0.02)


def doublings(shape: tuple[int, ...]) -> int:
    """How often an image is halved until its smaller side is 4 to 7 pixels.

    Args:
      shape: (H, W, C).

    Raises:
      InputError: if that does not come out even, or a side is not of 8 to 128 pixels.

    >>> doublings((28, 28, 1)), doublings((64, 64, 3))
    (2, 4)
    """
    if len(shape) != 3:
        raise InputError(f"DCGAN makes images of shape (height, width, channels); the data has shape {shape}.")
    for k in range(1, 6):
        if 4 <= min(shape[:2]) / 2**k < 8 and all(side % 2**k == 0 and side <= 128 for side in shape[:2]):
            return k
    sizes = sorted(base << k for base in (4, 5, 6, 7) for k in range(1, 6) if base << k <= 128)
    near = sorted(sizes, key=lambda size: abs(size - min(shape[:2])))[:2]
    raise InputError(
        f"DCGAN cannot make images of {shape[0]} x {shape[1]} pixels: it doubles a grid of 4 to 7 pixels. Sizes that "
        f"it makes: {', '.join(map(str, sizes))}. Resize the data, for example with --image-size {near[0]}."
    )


class DCGANGenerator(nn.Module):
    """Latents to images.

    Attributes:
      shape: (H, W, C) of an image; sides of 8 to 128 pixels that are 4, 5, 6 or 7 times a power of two.
      width: channels before the last layer; each layer below has twice as many. The paper's network for 64 pixels
        has 128, the authors' code 64.
      dtype: of the computation; parameters and batch statistics are float32.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which batch statistics are shared.
      remat: compute each layer anew in the backward pass instead of keeping what it needs: less memory, more time.
      classes: of labels, which batch normalisation then depends on (`ConditionalBatchNorm`); None: unconditional.

    >>> generator = DCGANGenerator((28, 28, 1), width=32)
    """

    shape: tuple[int, int, int]
    width: int = 64
    dtype: Any = jnp.float32
    axis_name: str | None = None
    remat: bool = False
    classes: int | None = None

    @nn.compact
    def __call__(self, z: Array, *, train: bool, label: Array | None = None) -> Array:
        """f[B, latent], i32[B] -> f32[B, H, W, C] in [-1, 1]; ``train`` takes batch statistics from this batch."""
        y = encode(label, self.classes)
        k = doublings(self.shape)
        h, w, channels = self.shape[0] >> k, self.shape[1] >> k, self.shape[2]
        features = self.width << (k - 1)
        x = nn.Dense(h * w * features, use_bias=False, dtype=self.dtype, kernel_init=_INIT)(z)
        x = x.reshape(-1, h, w, features)

        def layer(self: DCGANGenerator, x: Array, y: Array | None, features: int) -> Array:
            x = nn.relu(_batch_norm(self, x, y, train))
            return ConvTranspose(features, self.dtype, _INIT)(x)

        layer = nn.remat(layer, static_argnums=3) if self.remat else layer
        for i in reversed(range(k)):
            x = layer(self, x, y, self.width << (i - 1) if i else channels)
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        return jnp.tanh(x.astype(jnp.float32) + spread(bias, x.shape))


class DCGANDiscriminator(nn.Module):
    """Images to logits: without a sigmoid it is a WGAN's critic as well.

    Attributes:
      width: channels of the first layer; each layer after it has twice as many.
      norm: batch normalisation after every convolution but the first. Without it examples do not see each other, as
        gradient penalties ask for.
      dtype: of the computation; parameters, batch statistics and logits are float32.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which batch statistics are shared.
      remat: as in `DCGANGenerator`.
      classes: of labels, whose learned vectors are multiplied with the features (a projection discriminator, Miyato &
        Koyama 2018); None: without.
      classifier: AC-GAN's classes: the logits of an auxiliary classifier are a second output, f32[B, classifier].
      kernels: of `MinibatchDiscrimination` before the last layer; None: without.
    """

    width: int = 64
    norm: bool = True
    dtype: Any = jnp.float32
    axis_name: str | None = None
    remat: bool = False
    classes: int | None = None
    classifier: int | None = None
    kernels: int | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool, label: Array | None = None) -> Array | tuple[Array, Array]:
        """f[B, H, W, C], i32[B] -> f32[B] logits."""

        def layer(self: DCGANDiscriminator, x: Array, i: int) -> Array:
            norm = self.norm and i > 0
            x = Conv(self.width << i, 4, 2, 1, use_bias=not norm, dtype=self.dtype, kernel_init=_INIT)(x)
            x = _batch_norm(self, x, None, train) if norm else x
            return nn.leaky_relu(x, 0.2)

        layer = nn.remat(layer, static_argnums=2) if self.remat else layer
        for i in range(doublings(x.shape[1:])):
            x = layer(self, x, i)
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        if self.kernels is not None:
            x = MinibatchDiscrimination(self.kernels, axis_name=self.axis_name)(x)
        return discriminator_head(x, label, classes=self.classes, classifier=self.classifier, kernel_init=_INIT)


def _batch_norm(module: DCGANGenerator | DCGANDiscriminator, x: Array, y: Array | None, train: bool) -> Array:
    return batch_norm(
        x, y, train=train, dtype=module.dtype, axis_name=module.axis_name, scale_init=lambda *args: 1 + _INIT(*args)
    )
