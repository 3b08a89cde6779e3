"""The augmentations of ADA: Karras et al. 2020, https://arxiv.org/abs/2006.06676, appendix B."""

import math
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import axis
from jaxgan.augment.base import Augment, check_input, each
from jaxgan.augment.warp import move_pixels, resample
from jaxgan.errors import InputError
from jaxgan.losses import widen
from jaxgan.typing import Array, Key


def ada(*, blit: bool = True, geometric: bool = True, colour: bool = True, axis_name: str | None = None) -> Augment:
    """The pipeline of adaptive discriminator augmentation, in the paper's strongest set for most data, "bgc".

    Each transformation changes each image with probability p. With p below 0.8 or so a generator does not learn the
    augmentations, since most images escape each of them.

    All that moves pixels is one map, and where that only exchanges pixels, they are not interpolated; what lies beyond
    the border is the mirror image. Filters, noise and cutouts, which the paper tries and leaves out, are not here.

    Args:
      blit: mirrored images (half of them), quarter turns (0 to 3 of them), shifts by whole pixels (by up to 1/8 of the
        side).
      geometric: scaled by 2^N(0, 0.2^2), rotated by any angle, stretched along one side and shrunk along the other by
        2^N(0, 0.2^2), rotated again, shifted by N(0, 1/8^2) sides. The probability of each rotation is
        1 - sqrt(1 - p), so that p is that of either.
      colour: brightness N(0, 0.2^2) added, contrast 2^N(0, 0.5^2), inverted luma (half of them), a rotation of hues by
        any angle, saturation 2^N(0, 1). Images of one channel have no hues.
      axis_name: the axis of ``pmap`` or ``shard_map`` that the batch is split over.

    Returns:
      An `Augment` for images f[B, H, W, C], those of [-1, 1] that brightness is meant for, with p f32[] in [0, 1]. It
      computes in float32 and returns the dtype of the images. With p = 0 it returns them as they are.

    Raises:
      InputError: if nothing is switched on; by the augmentation, for images that are not square if blit, for channels
        other than 1 or 3 if colour, for what is no batch of images, and for a p outside of [0, 1].

    >>> augment = ada()
    >>> augment(jnp.zeros((8, 32, 32, 3)), jax.random.key(0), 0.6).shape
    (8, 32, 32, 3)
    """
    if not (blit or geometric or colour):
        raise InputError("ada() has blit, geometric and colour switched off and would change nothing.")

    def augment(images: Array, key: Key, p: float | Array) -> Array:
        images = jnp.asarray(images)
        check_input(images, p)
        b, h, w, channels = images.shape
        if blit and h != w:
            raise InputError(f"Images of {h} x {w} pixels cannot be turned by 90 degrees. Set ada(blit=False).")
        if colour and channels not in (1, 3):
            raise InputError(
                f"Colours are those of 1 or 3 channels; the images have {channels}. Set ada(colour=False)."
            )
        blit_key, warp_key, colour_key = jax.random.split(key, 3)
        out = widen(images)
        moves = draw_blit(blit_key, p, b, h, axis_name) if blit else jnp.eye(3)
        if blit:
            out = move_pixels(out, moves)
        if geometric:
            warp = draw_warp(warp_key, p, b, (h, w), axis_name)
            warped = jnp.any(warp != jnp.eye(3), axis=(1, 2))
            out = jnp.where(each(warped), resample(widen(images), _product(moves, warp)), out)
        if colour:
            out = recolour(out, draw_colour(colour_key, p, b, axis_name))
        return out.astype(images.dtype)

    return augment


def draw_blit(key: Key, p: float | Array, batch: int, side: int, axis_name: str | None = None) -> Array:
    """Inverse maps of whole pixels for square images, f32[B, 3, 3]: see `jaxgan.augment.warp`."""
    flip, turns, x, y, *coins = axis.draw(jax.random.uniform, key, (batch, 7), axis_name).T
    flip, turns = _where(coins[0] < p, jnp.floor(2 * flip)), _where(coins[1] < p, jnp.floor(4 * turns))
    x, y = (_where(coins[2] < p, jnp.round(side / 4 * (u - 0.5))) for u in (x, y))
    # The cosine of a quarter turn is not exactly 0.
    return _product(_scaling(1 - 2 * flip, 1), jnp.round(_rotation(turns * math.pi / 2)), _shift(x, y))


def draw_warp(key: Key, p: float | Array, batch: int, sides: tuple[int, int], axis_name: str | None = None) -> Array:
    """Inverse maps of images (height, width), f32[B, 3, 3], the identity where nothing is drawn."""
    uniform_key, normal_key = jax.random.split(key)
    before, after, *coins = axis.draw(jax.random.uniform, uniform_key, (batch, 7), axis_name).T
    scale, stretch, x, y = axis.draw(jax.random.normal, normal_key, (batch, 4), axis_name).T
    scale, stretch = (jnp.exp2(_where(c < p, 0.2 * n)) for c, n in zip(coins[:2], (scale, stretch), strict=True))
    rotated = 1 - jnp.sqrt(1 - p)  # the probability of each rotation, so that p is that of any
    before, after = (
        _rotation(_where(c < rotated, 2 * math.pi * (u - 0.5)))
        for c, u in zip(coins[2:4], (before, after), strict=True)
    )
    x, y = (_where(coins[4] < p, side / 8 * n) for side, n in zip(sides[::-1], (x, y), strict=True))
    return _product(_scaling(1 / scale, 1 / scale), before, _scaling(1 / stretch, stretch), after, _shift(x, y))


class Colour(NamedTuple):
    """How colours change, f32[B] each; zeros change nothing.

    Attributes:
      brightness: is added.
      contrast: the binary logarithm of a factor.
      inverted: 1 where luma is mirrored at 0.
      hue: an angle.
      saturation: the binary logarithm of a factor.
    """

    brightness: Array
    contrast: Array
    inverted: Array
    hue: Array
    saturation: Array


def draw_colour(key: Key, p: float | Array, batch: int, axis_name: str | None = None) -> Colour:
    """Changes of colour, each with probability p."""
    uniform_key, normal_key = jax.random.split(key)
    inverted, hue, *coins = axis.draw(jax.random.uniform, uniform_key, (batch, 7), axis_name).T
    brightness, contrast, saturation = axis.draw(jax.random.normal, normal_key, (batch, 3), axis_name).T
    values = (0.2 * brightness, 0.5 * contrast, jnp.floor(2 * inverted), 2 * math.pi * (hue - 0.5), saturation)
    return Colour(*(_where(coin < p, value) for coin, value in zip(coins, values, strict=True)))


def recolour(images: Array, colour: Colour) -> Array:
    """Changes colours; images that nothing is drawn for stay as they are.

    The paper's five matrices commute with the splitting of a colour into its luma, the mean of the channels, and what
    is left, its chroma. Their product is written out for these two.

    Args:
      images: f32[B, H, W, C], C 1 or 3.
      colour: what is drawn.
    """
    brightness, contrast, inverted, hue, saturation = (each(c) for c in colour)
    luma = jnp.mean(images, axis=-1, keepdims=True)
    chroma = images - luma
    # Across the axis of greys: its cross product with the colour.
    across = (jnp.roll(chroma, 1, axis=-1) - jnp.roll(chroma, -1, axis=-1)) / math.sqrt(3)
    rotated = jnp.cos(hue) * chroma + jnp.sin(hue) * across
    out = jnp.exp2(contrast) * ((1 - 2 * inverted) * (luma + brightness) + jnp.exp2(saturation) * rotated)
    changed = jnp.any(jnp.stack(colour) != 0, axis=0)
    return jnp.where(each(changed), out, images)


def _where(chosen: Array, value: Array) -> Array:
    """What is drawn, or 0, which changes nothing."""
    return jnp.where(chosen, value, 0)


# Matrices f32[B, 3, 3] of inverse maps.


def _matrix(*rows: tuple[float | Array, ...]) -> Array:
    entries = jnp.broadcast_arrays(*(jnp.asarray(entry, jnp.float32) for row in rows for entry in row))
    return jnp.stack(entries, axis=-1).reshape(-1, len(rows), len(rows))


def _scaling(x: float | Array, y: float | Array) -> Array:
    return _matrix((x, 0, 0), (0, y, 0), (0, 0, 1))


def _rotation(angle: Array) -> Array:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return _matrix((cos, -sin, 0), (sin, cos, 0), (0, 0, 1))


def _shift(x: Array, y: Array) -> Array:
    return _matrix((1, 0, x), (0, 1, y), (0, 0, 1))


def _product(*matrices: Array) -> Array:
    return reduce(partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST), matrices)
