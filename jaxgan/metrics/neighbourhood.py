"""Which real images generated ones are near to: whether a generator remembers."""

import numpy as np
from jax.typing import ArrayLike

from jaxgan.errors import InputError
from jaxgan.metrics.features import as_pair


def nearest(real: ArrayLike, fake: ArrayLike, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The real samples that are nearest to each generated one.

    Args:
      real: [N, D] features of real images.
      fake: [M, D] features of generated images.
      k: how many.

    Returns:
      Distances f64[M, k], ascending, and indices i[M, k] into the real ones.

    Raises:
      InputError: if the features are not finite or differ in D, or there are fewer than k real samples.
    """
    from sklearn.neighbors import NearestNeighbors  # takes a second to import

    real, fake = as_pair(real, fake)
    if not 1 <= k <= len(real):
        raise InputError(f"k is {k}; of {len(real)} real samples 1 to {len(real)} can be nearest.")
    finder = NearestNeighbors(n_neighbors=k).fit(real.astype(np.float64))
    distances, indices = finder.kneighbors(fake.astype(np.float64))
    return distances, indices


def authenticity(real: ArrayLike, fake: ArrayLike) -> float:
    """The share of generated samples that are no near copies (Alaa et al. 2022, authenticity).

    A sample is a near copy if its nearest real one is nearer to it than to any other real one. A generator that only
    repeats has an authenticity of 0. One that is as good as new data has about a half, and one whose samples lie apart
    from the data has more, up to 1: the number tells of memory, not of quality.

    Args:
      real: [N, D] features of the real images that were trained on, at least 2.
      fake: [M, D] features of generated images.

    Raises:
      InputError: as `nearest`.

    >>> authenticity([[0.0], [1.0], [10.0]], [[0.1], [5.0]])
    0.5
    """
    real, fake = as_pair(real, fake)
    distances, indices = nearest(real, fake)
    own, _ = nearest(real, real[indices[:, 0]], 2)  # the nearest of a real one is itself
    return float(np.mean(distances[:, 0] >= own[:, 1]))
