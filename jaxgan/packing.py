"""Packing: a discriminator that sees several images at a time (PacGAN).

Lin, Khetan, Fanti & Oh 2018, https://arxiv.org/abs/1712.04086: mode collapse shows in a few samples together where it
does not in each. A pack of m images is one image with m times the channels, and so is one of points.
"""

import jax
import jax.numpy as jnp

from jaxgan.errors import InputError
from jaxgan.typing import Array, PyTree


def pack(images: Array, m: int) -> Array:
    """Packs of m images that follow each other in the batch, so that a replica holds whole packs.

    Args:
      images: f[B, ..., C].
      m: images of a pack.

    Returns:
      f[B / m, ..., m * C]; the channels from i * C on are those of image i of the pack.

    Raises:
      InputError: while tracing, if m does not divide B.

    >>> pack(jnp.ones((8, 28, 28, 1)), 2).shape
    (4, 28, 28, 2)
    """
    if m == 1:
        return images
    grouped = jnp.moveaxis(_rows(images, m), 1, -2)
    return grouped.reshape(*grouped.shape[:-2], -1)


def unpack(packs: Array, m: int) -> Array:
    """The images that `pack` packed, f[B / m, ..., m * C] -> f[B, ..., C]."""
    if m == 1:
        return packs
    split = jnp.moveaxis(packs.reshape(*packs.shape[:-1], m, -1), -2, 1)
    return split.reshape(-1, *split.shape[2:])


def pack_conditions(conditions: PyTree, m: int) -> PyTree:
    """Conditions of the images of a pack, [B, ...] -> [B / m, m, ...]."""
    return conditions if m == 1 else jax.tree.map(lambda x: _rows(x, m), conditions)


def _rows(x: Array, m: int) -> Array:
    if x.shape[0] % m:
        raise InputError(
            f"{x.shape[0]} images do not divide into packs of {m}. Take a batch that holds a multiple of {m} on each "
            "device, or other packs."
        )
    return x.reshape(x.shape[0] // m, m, *x.shape[1:])
