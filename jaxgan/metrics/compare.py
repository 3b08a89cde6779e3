"""Metrics of two sets of features by name."""

from collections.abc import Callable, Iterable

import jax
from jax.typing import ArrayLike

from jaxgan.divergences import sliced_wasserstein
from jaxgan.errors import choose
from jaxgan.metrics.features import as_pair
from jaxgan.metrics.frechet_distance import fid, moments
from jaxgan.metrics.kernel_distance import kernel
from jaxgan.metrics.neighbours import prdc


def _fid(real: ArrayLike, fake: ArrayLike) -> dict[str, float]:
    return {"fid": fid(moments(real), moments(fake))}


def _kid(real: ArrayLike, fake: ArrayLike) -> dict[str, float]:
    mean, std, error = kernel(real, fake)
    return {"kid": mean, "kid_std": std, "kid_standard_error": error}


def _prdc(real: ArrayLike, fake: ArrayLike) -> dict[str, float]:
    return prdc(real, fake)._asdict()


def _swd(real: ArrayLike, fake: ArrayLike) -> dict[str, float]:
    return {"swd": float(sliced_wasserstein(jax.random.key(0), real, fake))}


# (real features [N, D], generated features [M, D]) -> values by name
METRICS: dict[str, Callable[[ArrayLike, ArrayLike], dict[str, float]]] = {
    "fid": _fid,
    "kid": _kid,
    "prdc": _prdc,
    "swd": _swd,
}


def compare(real: ArrayLike, fake: ArrayLike, metrics: Iterable[str] = tuple(METRICS)) -> dict[str, float]:
    """Several metrics of two sets of features, with their default settings.

    Args:
      real: [N, D] features of real images.
      fake: [M, D] features of generated images.
      metrics: names in `METRICS`: "fid", "kid", "prdc" and "swd", the sliced Wasserstein-2 distance.

    Returns:
      The values of all of them: "fid", "kid", "kid_std", "kid_standard_error", "precision", "recall", "density",
      "coverage", "swd".

    Raises:
      InputError: if a name is unknown, or a metric refuses the features.

    >>> compare(real_features, fake_features, ["fid", "prdc"])["recall"]
    """
    chosen = [choose("metric", name, METRICS) for name in metrics]
    real, fake = as_pair(real, fake)
    return {name: value for metric in chosen for name, value in metric(real, fake).items()}
