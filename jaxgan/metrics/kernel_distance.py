"""The kernel inception distance (KID): a squared maximum mean discrepancy of features, without bias."""

import math
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxgan.errors import InputError
from jaxgan.metrics.features import as_pair, blocks

# Rows of a kernel matrix that are in memory at a time.
BLOCK = 1024


class KernelDistance(NamedTuple):
    """The kernel distance over subsets.

    Attributes:
      mean: the estimate; not far below 0 where the distributions are equal.
      std: the standard deviation of one subset's estimate, as papers report it.
      standard_error: of the mean, with regard to new samples of both kinds. NaN where one subset, or subsets that are
        the whole set, leave nothing to measure it by.
    """

    mean: float
    std: float
    standard_error: float


def kernel(
    real: ArrayLike, fake: ArrayLike, *, subsets: int = 100, subset_size: int = 1000, seed: int = 0
) -> KernelDistance:
    """The kernel inception distance (Binkowski et al. 2018, section 4).

    The unbiased estimate of the squared maximum mean discrepancy with the kernel ``(x . y / D + 1)^3``, averaged over
    random subsets that are drawn without replacement. Computed in float64 by NumPy on the host.

    The subsets share samples, so that the error of their mean is larger than ``std / sqrt(subsets)``: to first order,
    two subsets of m out of n samples are correlated by m / n. The standard error counts this; where the distributions
    are equal it is too large rather than too small.

    Args:
      real: [N, D] features of real images.
      fake: [M, D] features of generated images.
      subsets: their number.
      subset_size: samples of either kind in each, at most N and M.
      seed: of the subsets.

    Raises:
      InputError: if the features are not finite, differ in D, or are fewer than the subset size.

    >>> real, fake = np.random.default_rng(0).normal(size=(2, 500, 4))
    >>> same, apart = (kernel(real, x, subset_size=250).mean for x in (fake, fake + 1))
    >>> abs(same) < 0.05 < apart
    True
    """
    real, fake = as_pair(real, fake)
    n = min(len(real), len(fake))
    if not 2 <= subset_size <= n:
        raise InputError(
            f"subset_size is {subset_size}; of {len(real)} real and {len(fake)} generated samples a subset holds "
            f"2 to {n}. Pass another subset_size or more samples."
        )
    if subsets < 1:
        raise InputError(f"subsets is {subsets}; at least 1 is needed.")
    rng = np.random.default_rng(seed)
    values = np.array(
        [_mmd2(*(x[rng.choice(len(x), subset_size, replace=False)] for x in (real, fake))) for _ in range(subsets)]
    )
    shared = subset_size / n
    error = math.nan
    if subsets > 1 and shared < 1:
        # Subsets of the same samples differ by the part of the variance that they do not share.
        variance = values.var(ddof=1) / (1 - shared)
        error = math.sqrt(variance * (shared + (1 - shared) / subsets))
    return KernelDistance(float(values.mean()), float(values.std()), error)


def _mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate from m samples of each kind: no sample is compared with itself."""
    m = len(x)
    x, y = (side.astype(np.float64) / math.sqrt(side.shape[1]) for side in (x, y))
    own = sum(_total(side, side) - np.sum((np.sum(side**2, axis=1) + 1) ** 3) for side in (x, y))
    return float(own / (m * (m - 1)) - 2 * _total(x, y) / m**2)


def _total(x: np.ndarray, y: np.ndarray) -> float:
    """The sum of the kernel over all pairs."""
    products = (x[rows] @ y.T + 1 for rows in blocks(len(x), BLOCK))
    return sum(float(np.vdot(k * k, k)) for k in products)
