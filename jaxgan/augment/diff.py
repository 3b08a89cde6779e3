"""DiffAugment: Zhao et al. 2020, https://arxiv.org/abs/2006.10738."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from jaxgan import axis
from jaxgan.augment.base import Augment, check_input, each
from jaxgan.axis import Sampler
from jaxgan.errors import InputError, choose
from jaxgan.losses import widen
from jaxgan.typing import Array, Key


def diff_augment(
    policy: Sequence[str] = ("colour", "translation", "cutout"), *, axis_name: str | None = None
) -> Augment:
    """Differentiable augmentation of every image.

    Args:
      policy: what is done, in this order. "colour": brightness by -0.5 to 0.5, saturation times 0 to 2, contrast times
        0.5 to 1.5. "translation": a shift by up to 1/8 of each side, zeros come in. "cutout": a rectangle of half of
        each side is zero, somewhere on the image or over its border. The paper drops "cutout" where there is much data.
      axis_name: the axis of ``pmap`` or ``shard_map`` that the batch is split over.

    Returns:
      An `Augment` for images f[B, H, W, C] in [-1, 1]. The paper's p is 1, which is the default; with less, each entry
      of the policy changes each image with probability p.

    Raises:
      InputError: for an unknown entry or none; by the augmentation, for what is no batch of images and for a p outside
        of [0, 1].

    >>> augment = diff_augment(("translation", "cutout"))
    >>> augment(jnp.zeros((8, 32, 32, 3)), jax.random.key(0)).shape
    (8, 32, 32, 3)
    """
    if isinstance(policy, str) or not policy:
        raise InputError(f"policy is {policy!r}. It names what is done, in order: ('colour', 'translation', 'cutout').")
    transforms = [choose("entry of a policy", name, POLICIES) for name in policy]

    def augment(images: Array, key: Key, p: float | Array = 1.0) -> Array:
        images = jnp.asarray(images)
        check_input(images, p)
        out = widen(images)
        for transform, k in zip(transforms, jax.random.split(key, len(transforms)), strict=True):
            coin_key, k = jax.random.split(k)
            chosen = axis.draw(jax.random.uniform, coin_key, (len(images),), axis_name) < p
            out = jnp.where(each(chosen), transform(out, k, partial(axis.draw, axis_name=axis_name)), out)
        return out.astype(images.dtype)

    return augment


# (sampler, key, shape) -> random numbers, for the rows of this replica
Draw = Callable[[Sampler, Key, tuple[int, ...]], Array]


def _colour(x: Array, key: Key, draw: Draw) -> Array:
    brightness, saturation, contrast = each(draw(jax.random.uniform, key, (len(x), 3))).transpose(4, 0, 1, 2, 3)
    x = x + (brightness - 0.5)
    grey = jnp.mean(x, axis=-1, keepdims=True)
    x = grey + 2 * saturation * (x - grey)
    mean = jnp.mean(x, axis=(1, 2, 3), keepdims=True)
    return mean + (0.5 + contrast) * (x - mean)


def _translate(x: Array, key: Key, draw: Draw) -> Array:
    b, h, w, c = x.shape
    most = jnp.array([_share(h, 1 / 8), _share(w, 1 / 8)])
    corners = draw(lambda key, shape: jax.random.randint(key, shape, 0, 2 * most + 1), key, (b, 2))
    pads = [(_share(side, 1 / 8),) * 2 for side in (h, w)]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    return jax.vmap(lambda image, corner: jax.lax.dynamic_slice(image, (*corner, 0), (h, w, c)))(padded, corners)


def _cut_out(x: Array, key: Key, draw: Draw) -> Array:
    b, h, w, _ = x.shape
    sizes = jnp.array([_share(h, 1 / 2), _share(w, 1 / 2)])
    # The middle is anywhere on the image: a rectangle may reach over its border.
    ends = jnp.array([h, w]) + 1 - sizes % 2
    middles = draw(lambda key, shape: jax.random.randint(key, shape, 0, ends), key, (b, 2))

    def inside(dimension: int, side: int) -> Array:
        place = jnp.arange(side) - (middles - sizes // 2)[:, dimension, None]
        return (place >= 0) & (place < sizes[dimension])

    return jnp.where((inside(0, h)[:, :, None] & inside(1, w)[:, None])[..., None], 0, x)


def _share(side: int, share: float) -> int:
    """A share of a side in pixels, rounded up at a half."""
    return int(side * share + 0.5)


POLICIES: dict[str, Callable[[Array, Key, Draw], Array]] = {
    "colour": _colour,
    "translation": _translate,
    "cutout": _cut_out,
}
