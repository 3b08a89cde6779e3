"""From images to what metrics look at: features and predictions, batch by batch."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.errors import InputError
from jaxgan.typing import Array


class Extractor(NamedTuple):
    """A network that metrics look at images through; any function of images makes one.

    Attributes:
      name: what the values of metrics are to be called after.
      digest: of its weights and of what is done to images before: values compare where it is the same.
      apply: pure, ``images f32[N, H, W, C] in [-1, 1] -> (features f32[N, D], logits f32[N, K] or None)``.
    """

    name: str
    digest: str
    apply: Callable[[Array], tuple[Array, Array | None]]


class Seen(NamedTuple):
    """What an extractor sees of a set of images.

    Attributes:
      features: f[N, D].
      logits: f[N, K], None where the extractor does not classify.
      label: i[N], the classes that the images are known to be of, or were asked for; None without.
      mixture: where the samples are points: the centres f[M, D] and the standard deviation of the true mixture.
    """

    features: np.ndarray
    logits: np.ndarray | None = None
    label: np.ndarray | None = None
    mixture: tuple[np.ndarray, float] | None = None

    def first(self, n: int) -> "Seen":
        """The first n of them."""
        features, logits, label = (x if x is None else x[:n] for x in self[:3])
        assert features is not None
        return Seen(features, logits, label, self.mixture)


# Points in the plane are their own features.
POINTS = Extractor("points", "", lambda points: (points, None))


def extract(
    extractor: Extractor,
    batches: Iterable[np.ndarray],
    *,
    label: np.ndarray | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> Seen:
    """What the extractor sees of images that come in batches; one compilation for each of their shapes.

    Args:
      extractor: the network.
      batches: u8[N, H, W, C], or f32[N, H, W, C] in [-1, 1].
      label: i[N], of all of them.
      progress: called with the number of images done, after each batch.

    Raises:
      InputError: for images that are of another kind, are not finite or are outside of [-1, 1].

    >>> seen = extract(digits(), [images], label=labels)  # doctest: +SKIP
    """
    apply = jax.jit(extractor.apply)
    return gather((apply(as_floats(batch)) for batch in batches), progress)._replace(label=label)


def gather(parts: Iterable[tuple[Array, Array | None]], progress: Callable[[int], object]) -> Seen:
    """What an extractor returned of one batch after the other, on the host; progress as in `extract`.

    Raises:
      InputError: if there is none.
    """
    features, logits, done = [], [], 0
    for some, predicted in parts:
        features.append(np.asarray(some, np.float32))
        if predicted is not None:
            logits.append(np.asarray(predicted, np.float32))
        done += len(some)
        progress(done)
    if not features:
        raise InputError("There are no images to look at.")
    return Seen(np.concatenate(features), np.concatenate(logits) if logits else None)


def as_floats(images: np.ndarray) -> Array:
    """Images as f32 in [-1, 1].

    Raises:
      InputError: as `extract`.
    """
    if images.dtype == np.uint8:
        return jnp.asarray(images, jnp.float32) / 127.5 - 1
    if images.dtype != np.float32:
        raise InputError(f"Images are uint8, or float32 in [-1, 1]; got {images.dtype} of shape {images.shape}.")
    least, most = float(images.min()), float(images.max())
    # Written so that NaN does not pass.
    if not (least >= -1 - 1e-3 and most <= 1 + 1e-3):
        raise InputError(
            f"The images go from {least:.4g} to {most:.4g}. Float images are in [-1, 1]: scale them, or pass uint8."
        )
    return jnp.asarray(images)
