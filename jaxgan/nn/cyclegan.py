"""Networks of CycleGAN, https://arxiv.org/abs/1703.10593 (Zhu et al. 2017), and of pix2pix, 1611.07004 (Isola et al.).

Images to images, and images to one logit for each overlapping patch. Every layer sees one image at a time (instance
normalisation), kernels start from N(0, 0.02), and convolutions before a normalisation have no bias, which it would
subtract again.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import InputError
from jaxgan.nn.conv import Conv, ConvTranspose
from jaxgan.nn.sums import spread, total
from jaxgan.typing import Array

_INIT = nn.initializers.normal(0.02)


def instance_norm(x: Array, eps: float = 1e-5) -> Array:
    """Every channel of every image to mean 0 and variance 1 (Ulyanov et al. 2016), without scale and offset.

    Args:
      x: f[B, H, W, C].
      eps: added to the variance.

    Returns:
      f[B, H, W, C] in the dtype of x; mean and variance over pixels are computed in float32.

    >>> instance_norm(jnp.array([[[[1.0], [3.0]]]])).ravel().round(4)
    Array([-1.,  1.], dtype=float32)
    """
    wide = x.astype(jnp.float32)
    pixels = x.shape[1] * x.shape[2]
    centred = wide - spread(total(wide, images=True) / pixels, x.shape)
    variance = total(jnp.square(centred), images=True) / pixels
    return (centred * spread(jax.lax.rsqrt(variance + eps), x.shape)).astype(x.dtype)


def reflect(x: Array, pad: int) -> Array:
    """Reflection padding: rows and columns mirrored at the outermost ones, which are not repeated.

    Args:
      x: f[B, H, W, C], H and W larger than pad.
      pad: pixels on each side.

    Returns:
      f[B, H + 2 pad, W + 2 pad, C].
    """
    return jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")


class ResnetGenerator(nn.Module):
    """Images to images of the same size: two halvings, residual blocks, two doublings.

    The paper's network (appendix, "Network architectures"): 6 blocks for images of 128 pixels, 9 from 256 on, with
    reflection padding around all convolutions of stride 1. One thing differs: the doublings are transposed
    convolutions with kernel 4, not 3 with one row of output padding. Each output pixel then is the sum of equally many
    products, and the layer is the one that the rest of the library uses.

    Attributes:
      channels: of the images that it makes; those that it takes may have any number.
      width: channels of the first layer.
      blocks: residual blocks, of 4 * width channels.
      dtype: of the computation; parameters and images are float32.

    >>> generator = ResnetGenerator(channels=3, width=32, blocks=6)
    """

    channels: int
    width: int = 64
    blocks: int = 9
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """f[B, H, W, C] -> f32[B, H, W, channels] in [-1, 1]; H and W are multiples of 4, at least 8."""
        del train  # no layer behaves differently in training
        _check_multiple(x, 4, 8, "The ResNet generator halves images twice")

        def conv(x: Array, features: int, size: int, *, stride: int = 1, padding: int = 0) -> Array:
            return Conv(features, size, stride, padding, use_bias=False, dtype=self.dtype, kernel_init=_INIT)(x)

        x = nn.relu(instance_norm(conv(reflect(x, 3), self.width, 7)))
        for times in (2, 4):
            x = nn.relu(instance_norm(conv(x, times * self.width, 3, stride=2, padding=1)))
        for _ in range(self.blocks):
            residual = nn.relu(instance_norm(conv(reflect(x, 1), 4 * self.width, 3)))
            x += instance_norm(conv(reflect(residual, 1), 4 * self.width, 3))
        for times in (2, 1):
            x = nn.relu(instance_norm(ConvTranspose(times * self.width, self.dtype, _INIT)(x)))
        x = Conv(self.channels, 7, dtype=self.dtype, kernel_init=_INIT)(reflect(x, 3))
        return jnp.tanh(x.astype(jnp.float32))


class UNetGenerator(nn.Module):
    """Images to images of the same size, halved and doubled again, with a skip connection on every scale.

    The generator of pix2pix without its dropout, as the CycleGAN authors run it.

    Attributes:
      channels: of the images that it makes; those that it takes may have any number.
      width: channels of the first layer; they double with each of the next three and then stay.
      depth: how often it halves an image, so that sides are multiples of 2^depth: 7 for images of 128 pixels, 8 for 256
        as in the paper, which halve them to a single pixel; 2 takes every multiple of 4.
      dtype: of the computation; parameters and images are float32.

    >>> generator = UNetGenerator(channels=3, width=32, depth=7)
    """

    channels: int
    width: int = 64
    depth: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """f[B, H, W, C] -> f32[B, H, W, channels] in [-1, 1]; H and W are multiples of 2^depth."""
        del train  # no layer behaves differently in training
        if self.depth < 2:
            raise InputError(f"A U-Net of depth {self.depth} has no scale in between. Set depth to at least 2.")
        side = 1 << self.depth
        _check_multiple(x, side, side, f"A U-Net of depth {self.depth} halves images {self.depth} times")

        skips: list[Array] = []
        for i in range(self.depth):
            # Neither the first is normalised nor the last, whose grid may be a pixel, of which nothing would be left.
            norm = 0 < i < self.depth - 1
            x = nn.leaky_relu(x, 0.2) if i else x
            x = Conv(self.width << min(i, 3), 4, 2, 1, use_bias=not norm, dtype=self.dtype, kernel_init=_INIT)(x)
            x = instance_norm(x) if norm else x
            skips.append(x)
        for i, skip in reversed(list(enumerate(skips[:-1]))):
            x = ConvTranspose(self.width << min(i, 3), self.dtype, _INIT)(nn.relu(x))
            x = jnp.concatenate([skip, instance_norm(x)], axis=-1)
        x = ConvTranspose(self.channels, self.dtype, _INIT)(nn.relu(x))
        bias = self.param("bias", nn.initializers.zeros, (self.channels,))
        return jnp.tanh(x.astype(jnp.float32) + spread(bias, x.shape))


class PatchDiscriminator(nn.Module):
    """Images to one logit for each of many overlapping patches.

    Attributes:
      width: channels of the first layer; they double with each of the next three and then stay.
      layers: convolutions of stride 2, which make a logit depend on a patch of 16, 34, 70 (the paper's), 142, ...
        pixels a side, 1, 2, 3, 4, ... of them. 0: every pixel is judged by itself.
      dtype: of the computation; parameters and logits are float32.

    >>> discriminator = PatchDiscriminator()  # 70 x 70
    """

    width: int = 64
    layers: int = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """f[B, H, W, C] -> f32[B, H / 2^layers - 2, W / 2^layers - 2] logits; [B, H, W] for layers = 0."""
        del train  # no layer behaves differently in training
        _check_patches(x, self.layers)

        def conv(x: Array, features: int, stride: int, bias: bool) -> Array:
            size, padding = (4, 1) if self.layers else (1, 0)
            return Conv(features, size, stride, padding, use_bias=bias, dtype=self.dtype, kernel_init=_INIT)(x)

        x = nn.leaky_relu(conv(x, self.width, 2 if self.layers else 1, True), 0.2)
        for i in range(1, max(self.layers, 1) + 1):
            stride = 2 if i < self.layers else 1
            x = nn.leaky_relu(instance_norm(conv(x, self.width << min(i, 3), stride, False)), 0.2)
        return conv(x, 1, 1, True)[..., 0].astype(jnp.float32)


def _check_multiple(x: Array, multiple: int, least: int, why: str) -> None:
    """Raises InputError unless both sides of the images are multiples, and not smaller than the least."""
    _check_images(x)
    sides = x.shape[1:3]
    if all(side % multiple == 0 and side >= least for side in sides):
        return
    near = ([max(least, (side + up) // multiple * multiple) for side in sides] for up in (0, multiple - 1))
    raise InputError(
        f"{why}: height and width must be multiples of {multiple}, at least {least}. The images have {sides[0]} x "
        f"{sides[1]} pixels. Crop, resize or pad them; the nearest sizes are "
        f"{' and '.join(dict.fromkeys(f'{h} x {w}' for h, w in near))}."
    )


def _check_patches(x: Array, layers: int) -> None:
    """Raises InputError if the images are too small for a single patch."""
    if layers < 0:
        raise InputError(f"A patch discriminator got layers={layers}; it has 0 (it judges pixels) or more.")
    _check_images(x)
    sides = x.shape[1:3]
    if layers and min(sides) < 3 << layers:
        fits = max((min(sides) // 3).bit_length() - 1, 0)
        raise InputError(
            f"A patch discriminator with layers={layers} takes images of at least {3 << layers} pixels a side; these "
            f"have {sides[0]} x {sides[1]}. Take larger images, or layers={fits} for these."
        )


def _check_images(x: Array) -> None:
    if x.ndim != 4:
        raise InputError(f"Images are [batch, height, width, channels]; got an array of shape {x.shape}.")
