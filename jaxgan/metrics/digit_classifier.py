"""A classifier of digits that comes with the package: metrics of MNIST and of scikit-learn's digits, offline.

`benchmarks/classifier.py` trains it, measures it and writes ``digits.npz`` beside this file.
"""

import functools
import hashlib
from importlib import resources
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxgan.errors import InputError
from jaxgan.metrics import npz_file
from jaxgan.metrics.extraction import Extractor
from jaxgan.nn import Conv
from jaxgan.nn.attention import max_pool
from jaxgan.typing import Array, PyTree

SIDE, CLASSES, WEIGHTS = 28, 10, "digits.npz"


class DigitClassifier(nn.Module):
    """Two convolutions of 5 x 5 with pooling, one hidden layer, dropout."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> tuple[Array, Array]:
        """f[B, 28, 28, 1] in [-1, 1] -> the hidden layer before it is rectified f32[B, 64], and logits f32[B, 10]."""
        for features in (16, 32):
            x = max_pool(nn.relu(Conv(features, 5, padding=2)(x)))
        features = nn.Dense(64)(x.reshape(len(x), -1))  # rectified, a third of them would not vary at all
        x = nn.Dropout(0.5, deterministic=not train)(nn.relu(features))
        return features, nn.Dense(CLASSES)(x)


def resize(images: Array) -> Array:
    """Images f32[N, H, W, 1] of any size as the classifier takes them: stretched to 28 x 28, antialiased."""
    if images.shape[1:3] == (SIDE, SIDE):
        return images
    return jax.image.resize(images, (len(images), SIDE, SIDE, 1), "cubic")


def digits() -> Extractor:
    """The classifier: 64 features and the logits of ten classes, of grey images of digits.

    Features are standardised: over MNIST's training images each has mean 0 and variance 1.

    Raises:
      InputError: while tracing, for images with colours.

    >>> features, logits = digits().apply(images)  # doctest: +SKIP
    """
    weights, digest = _weights()

    def apply(images: Array) -> tuple[Array, Array]:
        _check(images, 1)
        return _classify(weights, images)

    return Extractor("digits", digest, apply)


def stacked_digits() -> Extractor:
    """Of images whose three channels are three digits: 192 features and the logits of 1,000 classes.

    Stacked MNIST, Metz et al. 2017 and Srivastava et al. 2017: the class of an image is the number that its channels
    spell, red hundreds, green tens, blue units.

    Raises:
      InputError: while tracing, for images without three channels.
    """
    weights, digest = _weights()

    def apply(images: Array) -> tuple[Array, Array]:
        _check(images, 3)
        features, logits = zip(*(_classify(weights, images[..., i, None]) for i in range(3)), strict=True)
        hundreds, tens, units = (jax.nn.log_softmax(x) for x in logits)
        joint = hundreds[:, :, None, None] + tens[:, None, :, None] + units[:, None, None, :]
        return jnp.concatenate(features, axis=1), joint.reshape(len(images), CLASSES**3)

    return Extractor("stacked_digits", digest, apply)


def _classify(weights: PyTree, images: Array) -> tuple[Array, Array]:
    out = DigitClassifier().apply({"params": weights["params"]}, resize(images), train=False)
    features, logits = cast(tuple[Array, Array], out)
    return (features - weights["features"]["mean"]) / weights["features"]["std"], logits


@functools.cache
def _weights() -> tuple[PyTree, str]:
    """``{"params": ..., "features": {"mean": f32[64], "std": f32[64]}}``, and a digest of their file."""
    file = resources.files("jaxgan.metrics") / WEIGHTS
    content = file.read_bytes()
    with resources.as_file(file) as path:
        weights: dict[str, Any] = {name: array.astype(np.float32) for name, array in npz_file.read(path).items()}
    return unflatten_dict(weights, sep="/"), hashlib.sha256(content).hexdigest()[:16]


def _check(images: Array, channels: int) -> None:
    if images.ndim != 4 or images.shape[-1] != channels:
        wanted = "grey digits" if channels == 1 else "a digit in each of three channels"
        raise InputError(
            f"This classifier knows {wanted}, f32[N, height, width, {channels}]; got {images.dtype} of shape "
            f"{images.shape}. Choose another extractor, for example --extractor inception."
        )
