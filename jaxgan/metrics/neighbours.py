"""Nearest neighbours: precision, recall, density and coverage."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxgan.errors import InputError
from jaxgan.metrics.features import as_pair, blocks


class PRDC(NamedTuple):
    """Fidelity and diversity as two numbers each.

    Attributes:
      precision: the share of generated samples that lie in the manifold of the real ones.
      recall: the share of real samples that lie in the manifold of the generated ones.
      density: how many neighbourhoods of real samples a generated one lies in, divided by k; it may exceed 1.
      coverage: the share of real samples that have a generated one in their neighbourhood.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(
    real: ArrayLike,
    fake: ArrayLike,
    *,
    manifold_k: int = 3,
    density_k: int = 5,
    block: int = 512,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> PRDC:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    A sample's neighbourhood is the closed ball out to its k-th nearest neighbour of its own kind, and a manifold the
    union of neighbourhoods. For two sets of one distribution density is 1 on average, and coverage ``1 - 2^-k`` for
    equal, large counts.

    Distances come from matrix products of centred features, in float64 by NumPy on the host: float32 products lose
    neighbours that are a thousand times closer than the spread, as those of a collapsed generator are. Distances below
    the rounding of the products, about 1e-7 of the spread, count as equal, so that copies do.

    Args:
      real: [N, D] features of real images.
      fake: [M, D] features of generated images.
      manifold_k: k of precision and recall.
      density_k: k of density and coverage.
      block: rows of distances in memory at a time. Beside the features in float64 it takes ``20 * block * max(N, M)``
        bytes: 500 MB for 50,000 samples.
      progress: called with the number of blocks done and of all blocks, after each.

    Raises:
      InputError: if the features are not finite or differ in D, or if a k or the block does not fit.

    >>> real, fake = np.random.default_rng(0).normal(size=(2, 500, 4))
    >>> prdc(real, fake).recall > 0.8 > 0.1 > prdc(real, 0.01 * fake).recall  # the second has collapsed
    True
    """
    real, fake = as_pair(real, fake)
    n, m = len(real), len(fake)
    for name, k, most in (("manifold_k", manifold_k, min(n, m) - 1), ("density_k", density_k, n - 1)):
        if not 1 <= k <= most:
            raise InputError(
                f"{name} is {k}; {n} real and {m} generated samples allow 1 to {most}. Pass another k or more samples."
            )
    if block < 1:
        raise InputError(f"block is {block}; at least 1 row of distances is needed.")
    centre = real.mean(axis=0, dtype=np.float64)
    x, y = real - centre, fake - centre
    # The rounding of sums of 2 D + 4 terms: what lies below cannot be told from 0, in any of the passes.
    largest = max(np.einsum("nd,nd->n", side, side).max() for side in (x, y))
    floor = (2 * x.shape[1] + 4) * np.finfo(x.dtype).eps * largest
    total = 2 * -(-n // block) + -(-m // block)
    done = 0

    def pairs(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        nonlocal done
        for rows, squares in _squared_distances(x, y, block):
            yield rows, np.maximum(squares, floor, out=squares)
            done += 1
            progress(done, total)

    def radii(x: np.ndarray, *ks: int) -> np.ndarray:
        """The squared distances [len(ks), N] to the k-th nearest neighbours."""
        result = np.empty((len(ks), len(x)))
        for rows, squares in pairs(x, x):
            squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = 0  # itself, the 0-th neighbour
            squares.partition(max(ks), axis=1)
            result[:, rows] = np.sort(squares[:, : max(ks) + 1], axis=1)[:, ks].T
        return result

    real_manifold, neighbourhood = radii(x, manifold_k, density_k)
    (fake_manifold,) = radii(y, manifold_k)
    precise, recalled, covered, inside = np.zeros(m, bool), 0, 0, 0
    for rows, squares in pairs(x, y):
        precise |= np.any(squares <= real_manifold[rows, None], axis=0)
        recalled += np.count_nonzero(np.any(squares <= fake_manifold, axis=1))
        near = squares <= neighbourhood[rows, None]
        inside += np.count_nonzero(near)
        covered += np.count_nonzero(np.any(near, axis=1))
    shares = precise.mean(), recalled / n, inside / (density_k * m), covered / n
    return PRDC(*map(float, shares))


def _squared_distances(x: np.ndarray, y: np.ndarray, block: int) -> Iterator[tuple[slice, np.ndarray]]:
    """The squared distances of all pairs of f64[N, D] and f64[M, D]: a block of rows, and its f64[rows, M]."""
    xx, yy = np.einsum("nd,nd->n", x, x), np.einsum("nd,nd->n", y, y)
    for rows in blocks(len(x), block):
        squares = (-2 * x[rows]) @ y.T
        squares += xx[rows, None]
        squares += yy
        yield rows, squares
