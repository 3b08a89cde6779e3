"""Networks of R3GAN, for square images of 4, 5, 6 or 7 pixels times a power of two.

Huang, Gokaslan, Kuleshov & Tompkin 2024, https://arxiv.org/abs/2501.05441, configuration E: in both players the same
residual blocks, inverted bottlenecks around a grouped convolution, and nothing that normalises. Instead every block
starts as the identity (fix-up initialisation, Zhang et al. 2019, https://arxiv.org/abs/1901.09321): its last
convolution starts at zero, the other two are scaled by L^(-1/4) for L blocks, so that however deep a network is, its
blocks together add about as much variance as they find.
"""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxgan.errors import InputError
from jaxgan.nn.conditional import encode
from jaxgan.nn.conv import Conv
from jaxgan.nn.resample import downsample2, upsample2
from jaxgan.nn.sums import spread
from jaxgan.typing import Array

_SLOPE = 0.2
_EXPANSION = 2  # channels inside of a block, for each one outside
_RECTIFIED = math.sqrt(2 / (1 + _SLOPE**2))  # what brings the mean square after leaky ReLU back to 1


def grouped_conv(x: Array, kernel: Array) -> Array:
    """Convolution within groups of channels that know nothing of each other; the image keeps its size.

    Args:
      x: f[B, H, W, G * C]: group g is the channels from g * C on.
      kernel: f[K, K, C, G * D], K odd: its outputs from g * D on are those of group g.

    Returns:
      f[B, H, W, G * D].

    >>> grouped_conv(jnp.ones((1, 8, 8, 32)), jnp.ones((3, 3, 16, 32))).shape  # two groups
    (1, 8, 8, 32)
    """
    size, _, c, d = kernel.shape
    groups, margin = x.shape[-1] // c, size // 2

    def product(x: Array, kernel: Array) -> Array:
        # As `jaxgan.nn.conv`, patches of one row each and their products with all rows of the kernel, but for each
        # group: the groups go to the front while there are few numbers.
        b, h, w, _ = x.shape
        x = jnp.moveaxis(x.reshape(b, h, w, groups, c), 3, 0)
        x = jnp.pad(x, ((0, 0), (0, 0), (margin, margin), (margin, margin), (0, 0)))
        strips = jnp.concatenate([x[:, :, :, j : j + w] for j in range(size)], axis=-1)
        rows = kernel.reshape(size, size * c, groups, -1).transpose(2, 1, 0, 3).reshape(groups, size * c, -1)
        taps = (strips.reshape(groups, -1, size * c) @ rows).reshape(groups, b, h + 2 * margin, w, size, -1)
        out = functools.reduce(jnp.add, [taps[:, :, i : i + h, :, i] for i in range(size)])
        return jnp.moveaxis(out, 0, 3).reshape(b, h, w, d)

    def native(x: Array, kernel: Array) -> Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    return jax.lax.platform_dependent(x, kernel, cpu=product, default=native)


class R3Generator(nn.Module):
    """Latents to images: R3GAN's generator.

    Attributes:
      shape: (H, W, C) of an image; H = W is 4, 5, 6 or 7 times a power of two.
      channel_base: at r pixels a side there are channel_base / r channels,
      channel_max: and at most so many. The defaults are the paper's for CIFAR-10 and FFHQ.
      blocks: at each resolution.
      group: channels of a group of the grouped convolutions; it divides the doubled channels of every resolution.
      classes: of labels, whose embedding is joined to the latent; None: unconditional.
      embed: dimensions of that.
      dtype: of the computation above the lowest resolution; parameters, the lowest resolution and images are float32.

    >>> generator = R3Generator((28, 28, 1), channel_base=896, channel_max=64)
    """

    shape: tuple[int, int, int]
    channel_base: int = 24_576
    channel_max: int = 768
    blocks: int = 2
    group: int = 16
    classes: int | None = None
    embed: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Array, *, train: bool, label: Array | None = None) -> Array:
        """f[B, latent], i32[B] -> f32[B, H, W, C], trained towards [-1, 1] but not bounded."""
        del train  # no layer behaves differently in training
        plan = _Plan(self.shape, self.channel_base, self.channel_max, self.blocks, self.group)
        z = z.astype(jnp.float32)
        if (y := encode(label, self.classes)) is not None:
            z = jnp.concatenate([z, _linear(self.embed, "embedding")(y)], axis=-1)
        first, *sides = plan.sides
        basis = self.param("basis", nn.initializers.normal(1.0), (first, first, plan.channels(first)))
        x = basis * _linear(plan.channels(first), "scale")(z)[:, None, None]
        x = _stage(plan, first, jnp.float32, x)
        for side in sides:
            x = x.astype(self.dtype)
            if x.shape[-1] != plan.channels(side):
                # Before the upsampling it gives what it would after it, from a quarter of the pixels.
                x = _pointwise(plan.channels(side), self.dtype, f"transition_{side}")(x)
            x = _stage(plan, side, self.dtype, upsample2(x))
        return _pointwise(self.shape[-1], x.dtype, "to_image")(x).astype(jnp.float32)


class R3Discriminator(nn.Module):
    """Images to logits: R3GAN's discriminator.

    Attributes:
      channel_base: at r pixels a side there are channel_base / r channels,
      channel_max: and at most so many. The defaults are the paper's for CIFAR-10 and FFHQ.
      blocks: at each resolution.
      group: channels of a group of the grouped convolutions; it divides the doubled channels of every resolution.
      classes: of labels: the logit is the inner product of the image's features and the label's embedding (a projection
        discriminator); None: unconditional.
      dtype: of the computation above the lowest resolution; parameters, the lowest resolution and logits are float32.

    >>> discriminator = R3Discriminator(channel_base=896, channel_max=64)
    """

    channel_base: int = 24_576
    channel_max: int = 768
    blocks: int = 2
    group: int = 16
    classes: int | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, *, train: bool, label: Array | None = None) -> Array:
        """f[B, H, W, C], i32[B] -> f32[B] logits."""
        del train  # no layer behaves differently in training
        plan = _Plan(x.shape[1:], self.channel_base, self.channel_max, self.blocks, self.group)
        y = encode(label, self.classes)
        *sides, last = reversed(plan.sides)
        x = _pointwise(plan.channels(x.shape[1]), self.dtype if sides else jnp.float32, "from_image")(x)
        for side in sides:
            x = downsample2(_stage(plan, side, self.dtype, x))
            if x.shape[-1] != plan.channels(side // 2):
                x = _pointwise(plan.channels(side // 2), self.dtype, f"transition_{side}")(x)
        x = _stage(plan, last, jnp.float32, x.astype(jnp.float32))
        basis = self.param("basis", nn.initializers.normal(1 / last), (last, last, x.shape[-1]))
        features = jnp.sum(basis * x, axis=(1, 2))
        if y is None:
            return _linear(1, "logit")(features)[:, 0]
        width = features.shape[-1]
        embedding = _linear(width, "embedding", gain=1 / math.sqrt(width))(y)
        return jnp.sum(_linear(width, "logit")(features) * embedding, axis=-1)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Resolutions and what they have."""

    shape: tuple[int, ...]
    base: int
    most: int
    blocks: int
    group: int

    def __post_init__(self) -> None:
        side = self.shape[0]
        if len(self.shape) != 3 or side != self.shape[1] or side < 4 or side % (1 << self._doublings):
            raise InputError(
                f"R3GAN makes square images of 4, 5, 6 or 7 pixels a side times a power of two, as 28 or 32; the data "
                f"has shape {tuple(self.shape)}. Resize it, for example with --image-size 32."
            )
        if self.blocks < 1 or self.group < 1:
            raise InputError(f"R3GAN got blocks={self.blocks} and group={self.group}; each is at least 1.")
        for s in self.sides:
            if self.channels(s) < 1 or _EXPANSION * self.channels(s) % self.group:
                raise InputError(
                    f"channel_base={self.base} and channel_max={self.most} give {self.channels(s)} channels at {s} "
                    f"pixels, whose double does not divide into groups of {self.group}. Set --channel-base to a "
                    f"multiple of {math.lcm(self.group, 2) // 2 * side}, --channel-max to one of "
                    f"{math.lcm(self.group, 2) // 2}, or a smaller --group."
                )

    @property
    def _doublings(self) -> int:
        return max(0, self.shape[0].bit_length() - 3)  # 4 to 7 have three binary digits

    @property
    def sides(self) -> tuple[int, ...]:
        """The resolutions, from the lowest to the image's."""
        return tuple(self.shape[0] >> k for k in reversed(range(self._doublings + 1)))

    def channels(self, side: int) -> int:
        return min(self.base // side, self.most)

    @property
    def gain(self) -> float:
        """Of the convolutions that an activation follows: two of them make L^(-1/2), whose square is L^-1."""
        return _RECTIFIED * (self.blocks * len(self.sides)) ** -0.25


class _Block(nn.Module):
    gain: float
    group: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = _msr(self.gain)
        y = Conv(_EXPANSION * x.shape[-1], 1, dtype=self.dtype, kernel_init=init, name="expand")(x)
        y = nn.leaky_relu(y, _SLOPE)
        kernel = self.param("kernel", init, (3, 3, self.group, y.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (y.shape[-1],))
        y = grouped_conv(y, kernel.astype(self.dtype)) + spread(bias.astype(self.dtype), y.shape)
        y = nn.leaky_relu(y, _SLOPE)
        zeros = nn.initializers.zeros
        return x + Conv(x.shape[-1], 1, use_bias=False, dtype=self.dtype, kernel_init=zeros, name="project")(y)


def _stage(plan: _Plan, side: int, dtype: Any, x: Array) -> Array:
    """The blocks of a resolution, inside of a module's compact method."""
    for i in range(plan.blocks):
        x = _Block(plan.gain, plan.group, dtype, name=f"block_{side}_{i}")(x)
    return x


def _msr(gain: float = 1.0) -> nn.initializers.Initializer:
    """N(0, gain^2 / fan in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


def _linear(features: int, name: str, gain: float = 1.0) -> nn.Dense:
    return nn.Dense(features, use_bias=False, kernel_init=_msr(gain), name=name)


def _pointwise(features: int, dtype: Any, name: str) -> Conv:
    return Conv(features, 1, use_bias=False, dtype=dtype, kernel_init=_msr(), name=name)
