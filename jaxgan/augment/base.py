"""What all augmentations share."""

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp
from jax.core import Tracer

from jaxgan.errors import InputError
from jaxgan.typing import Array, Key

# (images f[B, H, W, C], key, p f32[]) -> images of that shape and dtype. Each transformation changes an image with
# probability p; an image that none of them changes stays as it is, to the last bit.
Augment: TypeAlias = Callable[[Array, Key, float | Array], Array]


def each(values: Array) -> Array:
    """One number for each image, [B], in the shape that its pixels can be multiplied with: [B, 1, 1, 1]."""
    return values[:, None, None, None]


def check_input(images: Array, p: float | Array) -> None:
    """Raises InputError for what is no batch of images, and for a p that is known and is no probability."""
    if images.ndim != 4 or min(images.shape[1:3]) < 2 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            "Augmentations take float images [batch, height, width, channels] of at least 2 x 2 pixels; got "
            f"{images.dtype} of shape {images.shape}."
        )
    if jnp.ndim(p) != 0:
        raise InputError(f"p has shape {jnp.shape(p)}. It is one probability for all images; vmap runs over several.")
    if not isinstance(p, Tracer) and not 0 <= float(p) <= 1:  # in a jit, an array compared would be traced
        raise InputError(f"p is {p}. An augmentation is applied with a probability p between 0 and 1.")
