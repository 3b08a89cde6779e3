"""Residual networks for GANs, for square images of 32, 48, 64 and 128 pixels.

For 32, 48 and 128 pixels they are those of spectral normalisation (Miyato et al. 2018, https://arxiv.org/abs/1802.05957),
for 64 those of the authors' code for Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637. For 32 the same networks
with width 128, mean pooling and no spectral normalisation are those of WGAN-GP (Gulrajani et al. 2017,
https://arxiv.org/abs/1704.00028). Options add self-attention (Zhang et al. 2019, https://arxiv.org/abs/1805.08318), and
BigGAN's shared embedding and hierarchical latents (Brock et al. 2019, https://arxiv.org/abs/1809.11096).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxgan.errors import InputError
from jaxgan.nn.attention import SelfAttention, mean_pool
from jaxgan.nn.conditional import batch_norm, discriminator_head, encode
from jaxgan.nn.conv import Conv
from jaxgan.nn.spectral import SpectralNorm
from jaxgan.typing import Array

_RESIDUAL = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
_XAVIER = nn.initializers.xavier_uniform()


class _Up(NamedTuple):
    base: int  # side of the first grid
    width: int  # channels of the last block
    first: int  # channels of the first grid, in widths
    blocks: tuple[int, ...]  # channels of the blocks, in widths; each doubles the image


class _Down(NamedTuple):
    width: int  # channels of the first block
    blocks: tuple[int, ...]  # channels of the blocks, in widths
    halvings: int  # so many blocks, from the first on, halve the image


_GENERATORS = {
    32: _Up(4, 256, 1, (1, 1, 1)),
    48: _Up(6, 64, 8, (4, 2, 1)),
    64: _Up(4, 64, 16, (8, 4, 2, 1)),
    128: _Up(4, 64, 16, (16, 8, 4, 2, 1)),
}
_DISCRIMINATORS = {
    32: _Down(128, (1, 1, 1, 1), 2),
    48: _Down(64, (1, 2, 4, 8, 16), 4),
    64: _Down(64, (1, 2, 4, 8, 16), 5),
    128: _Down(64, (1, 2, 4, 8, 16, 16), 5),
}


def _side(shape: tuple[int, ...]) -> int:
    if len(shape) != 3 or shape[0] != shape[1] or shape[0] not in _GENERATORS:
        sizes = ", ".join(f"{n} x {n}" for n in _GENERATORS)
        raise InputError(
            f"Residual networks make images of {sizes} pixels; the data has shape {shape}. Resize it, for example "
            "with --image-size 32, or take a DCGAN."
        )
    return shape[0]


def _check_attention(resolution: int | None, sides: list[int]) -> None:
    allowed = [side for side in sides if side % 2 == 0]
    if resolution is not None and resolution not in allowed:
        raise InputError(
            f"There is no grid of {resolution} pixels for attention. Allowed: {', '.join(map(str, allowed))}."
        )


class ResNetGenerator(nn.Module):
    """Latents to images, by residual blocks with batch normalisation that double the image.

    Attributes:
      shape: (H, W, C) of an image, of 32, 48, 64 or 128 pixels.
      width: channels of the last block; None for the paper's: 256 for 32 pixels, else 64.
      classes: of labels, which the blocks' batch normalisation then depends on; None: unconditional.
      embed: units of BigGAN's shared embedding: labels are embedded once, and every normalisation has a linear map of
        that. None: every normalisation has a table of its own.
      hierarchical: BigGAN's hierarchical latents: z is cut into equal chunks, the first makes the first grid and every
        block's normalisation sees one of the others beside the embedding.
      attention: adds self-attention where the image has so many pixels a side; None: nowhere.
      spectral: spectral normalisation of all layers but the conditional normalisations' maps.
      dtype: of the computation; parameters and batch statistics are float32.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which batch statistics are shared.
      remat: compute each block anew in the backward pass instead of keeping what it needs: less memory, more time.

    >>> generator = ResNetGenerator((32, 32, 3), width=32, classes=10)
    """

    shape: tuple[int, int, int]
    width: int | None = None
    classes: int | None = None
    embed: int | None = None
    hierarchical: bool = False
    attention: int | None = None
    spectral: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None
    remat: bool = False

    @nn.compact
    def __call__(self, z: Array, *, train: bool, label: Array | None = None) -> Array:
        """f[B, latent], i32[B] -> f32[B, H, W, C] in [-1, 1]; ``train`` takes batch statistics from this batch."""
        plan = _GENERATORS[_side(self.shape)]
        width = plan.width if self.width is None else self.width
        sides = [plan.base << (i + 1) for i in range(len(plan.blocks))]
        _check_attention(self.attention, sides)
        norm = _normalisation(self.spectral)
        z, ys = self._split(z, label, len(plan.blocks))

        first = nn.Dense(plan.base**2 * plan.first * width, dtype=self.dtype, kernel_init=_XAVIER)
        x = norm(first)(z).reshape(-1, plan.base, plan.base, plan.first * width)
        block = nn.remat(_UpBlock) if self.remat else _UpBlock
        for i, (y, side, times) in enumerate(zip(ys, sides, plan.blocks, strict=True)):
            x = block(times * width, train, self.spectral, self.dtype, self.axis_name, name=f"block_{i}")(x, y)
            if side == self.attention:
                x = SelfAttention(self.spectral, self.dtype, name="attention")(x)
        x = nn.relu(batch_norm(x, None, train=train, dtype=self.dtype, axis_name=self.axis_name))
        x = norm(Conv(self.shape[-1], 3, padding=1, dtype=self.dtype, kernel_init=_XAVIER))(x)
        return jnp.tanh(x.astype(jnp.float32))

    def _split(self, z: Array, label: Array | None, blocks: int) -> tuple[Array, list[Array | None]]:
        """The latents of the first grid, and what each block's normalisation depends on."""
        y = encode(label, self.classes)
        if self.embed is not None:
            if y is None:
                raise InputError(f"embed={self.embed} embeds labels; set classes as well, or leave it out.")
            y = nn.Dense(self.embed, use_bias=False, kernel_init=nn.initializers.normal(1.0), name="embedding")(y)
        if not self.hierarchical:
            return z, [y] * blocks
        if z.shape[-1] % (blocks + 1):
            raise InputError(
                f"Hierarchical latents are cut into {blocks + 1} equal chunks, which {z.shape[-1]} numbers do not "
                f"allow. Set latent_dim to a multiple of {blocks + 1}."
            )
        first, *chunks = jnp.split(z, blocks + 1, axis=-1)
        return first, [c if y is None else jnp.concatenate([y, c.astype(y.dtype)], axis=-1) for c in chunks]


class ResNetDiscriminator(nn.Module):
    """Images to logits, by residual blocks without batch normalisation, the first of which halve the image.

    Attributes:
      width: channels of the first block; None for the paper's: 128 for 32 pixels, else 64.
      classes: of labels, whose learned vectors are multiplied with the features (a projection discriminator); None:
        without.
      classifier: AC-GAN's classes: the logits of an auxiliary classifier are a second output, f32[B, classifier].
      attention: adds self-attention where the image has so many pixels a side; None: nowhere.
      spectral: spectral normalisation of all layers.
      mean_pool: features are the mean over pixels, as WGAN-GP has it, instead of the sum.
      dtype: of the computation; parameters and logits are float32.
      remat: compute each block anew in the backward pass instead of keeping what it needs: less memory, more time.

    >>> discriminator = ResNetDiscriminator(width=32, classes=10)
    """

    width: int | None = None
    classes: int | None = None
    classifier: int | None = None
    attention: int | None = None
    spectral: bool = True
    mean_pool: bool = False
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool, label: Array | None = None) -> Array | tuple[Array, Array]:
        """f[B, H, W, C], i32[B] -> f32[B] logits."""
        del train  # no layer behaves differently in training
        side = _side(x.shape[1:])
        plan = _DISCRIMINATORS[side]
        width = plan.width if self.width is None else self.width
        _check_attention(self.attention, [side >> (i + 1) for i in range(plan.halvings)])

        block = nn.remat(_DownBlock) if self.remat else _DownBlock
        for i, times in enumerate(plan.blocks):
            halve = i < plan.halvings
            x = block(times * width, i == 0, halve, self.spectral, self.dtype, name=f"block_{i}")(x)
            if halve and x.shape[1] == self.attention:
                x = SelfAttention(self.spectral, self.dtype, name="attention")(x)
        x = nn.relu(x).astype(jnp.float32)
        x = x.mean((1, 2)) if self.mean_pool else x.sum((1, 2))
        return discriminator_head(
            x,
            label,
            classes=self.classes,
            classifier=self.classifier,
            kernel_init=_XAVIER,
            norm=_normalisation(self.spectral),
        )


class _UpBlock(nn.Module):
    features: int
    train: bool
    spectral: bool
    dtype: Any
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Array, y: Array | None) -> Array:
        norm = _normalisation(self.spectral)

        def activate(x: Array) -> Array:
            return nn.relu(batch_norm(x, y, train=self.train, dtype=self.dtype, axis_name=self.axis_name))

        def conv3(x: Array) -> Array:
            return norm(Conv(self.features, 3, padding=1, dtype=self.dtype, kernel_init=_RESIDUAL))(x)

        residual = conv3(activate(conv3(_upsample(activate(x)))))
        # A 1 x 1 convolution before the upsampling gives what one after it would, from a quarter of the pixels.
        return residual + _upsample(norm(Conv(self.features, 1, dtype=self.dtype, kernel_init=_XAVIER))(x))


class _DownBlock(nn.Module):
    features: int
    first: bool  # sees the image: no activation before the first convolution
    halve: bool
    spectral: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        norm = _normalisation(self.spectral)

        def conv(x: Array, features: int, size: int, init: nn.initializers.Initializer) -> Array:
            return norm(Conv(features, size, padding=size // 2, dtype=self.dtype, kernel_init=init))(x)

        inner = self.features if self.first else x.shape[-1]
        residual = conv(x if self.first else nn.relu(x), inner, 3, _RESIDUAL)
        residual = conv(nn.relu(residual), self.features, 3, _RESIDUAL)
        shortcut = x
        if self.halve:
            residual, shortcut = mean_pool(residual), mean_pool(shortcut)
        if self.halve or x.shape[-1] != self.features:
            shortcut = conv(shortcut, self.features, 1, _XAVIER)
        return residual + shortcut


def _normalisation(spectral: bool) -> Callable[[nn.Module], Callable]:
    return SpectralNorm if spectral else lambda layer: layer


def _upsample(x: Array) -> Array:
    """Nearest neighbours: every pixel becomes a square of 2 x 2."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)
