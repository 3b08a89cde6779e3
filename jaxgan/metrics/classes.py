"""What a classifier says of generated images: the inception score, and the classes that they cover."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy.special import rel_entr, softmax

from jaxgan.errors import InputError
from jaxgan.metrics.features import as_features


class InceptionScore(NamedTuple):
    """The inception score over splits: mean and standard deviation, from 1 to the number of classes."""

    mean: float
    std: float


def inception_score(predictions: ArrayLike, *, splits: int = 10, logits: bool = False, seed: int = 0) -> InceptionScore:
    """The inception score ``exp(E KL(p(y|x) || p(y)))`` (Salimans et al. 2016).

    Args:
      predictions: [N, K] class probabilities of each generated image, or its logits.
      splits: parts of nearly equal size that are scored one by one.
      logits: whether the predictions are logits.
      seed: of the order in which images are split: in the order of their classes, every part would lack most of them.

    Raises:
      InputError: if the predictions are not finite, or not what `logits` says, or fewer than the splits.

    >>> inception_score(np.eye(10).repeat(100, axis=0), splits=1).mean.__round__(6)
    10.0
    """
    p = as_features("predictions", predictions).astype(np.float64)
    if logits:
        p = softmax(p, axis=1)
    elif p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-2:
        raise InputError(
            f"Probabilities are at least 0 and sum to 1 for each image; here the least is {p.min():.3g} and the sums "
            f"go from {p.sum(axis=1).min():.3g} to {p.sum(axis=1).max():.3g}. Pass logits=True if these are logits."
        )
    p /= p.sum(axis=1, keepdims=True)
    if not 1 <= splits <= len(p):
        raise InputError(f"splits is {splits}; {len(p)} images make 1 to {len(p)} parts.")
    parts = np.array_split(np.random.default_rng(seed).permutation(p), splits)
    scores = [np.exp(rel_entr(part, part.mean(axis=0)).sum(axis=1).mean()) for part in parts]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))
