"""Random crops and mirrored images, made on the device inside a step."""

import jax
import jax.numpy as jnp

from jaxgan import axis
from jaxgan.errors import InputError
from jaxgan.typing import Array, Key


def random_crop_flip(
    images: Array, key: Key, size: int, load_size: int, *, flip: bool = True, axis_name: str | None = None
) -> Array:
    """CycleGAN's data augmentation: resizes images, crops each at random and mirrors every other one.

    Args:
      images: f[B, H, W, C] in [-1, 1].
      key: the same one gives the same crops, for the other half of pairs for example.
      size: side of the square crops in pixels.
      load_size: side of the squares that images are resized to before, whatever their shape; bicubic, antialiased where
        it shrinks, cut off at -1 and 1. The paper's code takes 286 for crops of 256.
      flip: whether images are mirrored at all.
      axis_name: the axis of ``pmap`` or ``shard_map`` that the batch is split over.

    Returns:
      [B, size, size, C] in the dtype of the images.

    Raises:
      InputError: for a crop that is larger than the resized image or empty, and for arrays that are no float images.

    >>> random_crop_flip(jnp.zeros((8, 256, 256, 3)), jax.random.key(0), 256, 286).shape
    (8, 256, 256, 3)
    """
    if images.ndim != 4 or not jnp.issubdtype(images.dtype, jnp.floating):
        raise InputError(
            f"Crops are taken from float images [batch, height, width, channels] in [-1, 1]; got {images.dtype} of "
            f"shape {images.shape}."
        )
    if not 1 <= size <= load_size:
        raise InputError(
            f"A crop of {size} pixels does not fit into an image that is resized to {load_size}. "
            f"Set size between 1 and {load_size}, or load_size to at least {max(size, 1)}."
        )
    b, h, w, c = images.shape
    if (h, w) != (load_size, load_size):
        images = jax.image.resize(images, (b, load_size, load_size, c), "cubic")
        images = jnp.clip(images, -1, 1)  # cubic interpolation overshoots at edges

    def offsets(key: Key, shape: tuple[int, ...]) -> Array:
        return jax.random.randint(key, shape, 0, load_size - size + 1)

    corner_key, flip_key = jax.random.split(key)
    corners = axis.draw(offsets, corner_key, (b, 2), axis_name)
    mirrored = axis.draw(lambda key, shape: jax.random.bernoulli(key, shape=shape), flip_key, (b,), axis_name)

    def crop(image: Array, corner: Array, mirror: Array) -> Array:
        image = jax.lax.dynamic_slice(image, (*corner, 0), (size, size, c))
        return jnp.where(mirror, image[:, ::-1], image) if flip else image

    return jax.vmap(crop)(images, corners, mirrored)
