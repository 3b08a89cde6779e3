"""Features as Gaussians: their moments, gathered batch by batch, and the Fréchet distance (FID)."""

import functools
import warnings
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jaxgan.errors import InputError
from jaxgan.metrics.features import as_features, as_pair, blocks

# Rows that are cast to float64 at a time.
BLOCK = 4096


class Moments(NamedTuple):
    """The moments of a set of samples; those of any two sets can be merged.

    A data set of any size takes the memory of one covariance:

    >>> batches = np.random.default_rng(0).normal(size=(5, 100, 4))
    >>> total = functools.reduce(Moments.merge, (moments(features) for features in batches))
    >>> total.count, total.covariance.shape
    (500, (4, 4))

    Attributes:
      count: N, the number of samples.
      mean: f64[D].
      scatter: f64[D, D], the sum over samples of the outer products of their deviations from the mean.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """f64[D, D], ``scatter / (N - 1)`` as ``np.cov``."""
        if self.count < 2:
            raise InputError(f"A covariance needs 2 samples at least, there is {self.count}. Add samples.")
        return self.scatter / (self.count - 1)

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both sets together (Chan et al. 1979): nothing large is subtracted from anything large.

        Raises:
          InputError: if the sets differ in D.
        """
        if self.mean.shape != other.mean.shape:
            raise InputError(
                f"Moments of {self.mean.size} and of {other.mean.size} features cannot be merged. "
                "Take all features from the same layer of the same network."
            )
        count = self.count + other.count
        gap = other.mean - self.mean
        scatter = self.scatter + other.scatter
        scatter += np.outer(gap, gap * (self.count * other.count / count))
        return Moments(count, self.mean + gap * (other.count / count), scatter)


def moments(features: ArrayLike) -> Moments:
    """The moments of features [N, D], in float64 whatever their dtype.

    A feature that does not vary has a variance of exactly 0.

    Raises:
      InputError: if the features are not finite real numbers [N, D], or there are none.

    >>> moments([[0.0, 1.0], [2.0, 1.0]]).covariance
    array([[2., 0.],
           [0., 0.]])
    """
    rows = as_features("features", features)
    return functools.reduce(Moments.merge, (_moments(rows[block]) for block in blocks(len(rows), BLOCK)))


def _moments(rows: np.ndarray) -> Moments:
    shift = rows[0].astype(np.float64)  # the mean of a constant, subtracted, would leave its rounding
    centred = rows - shift
    mean = centred.mean(axis=0)
    centred -= mean
    return Moments(len(rows), shift + mean, centred.T @ centred)


def frechet(mean1: ArrayLike, cov1: ArrayLike, mean2: ArrayLike, cov2: ArrayLike) -> float:
    """The Fréchet distance of two Gaussians, the FID of their features (Heusel et al. 2017, equation 6).

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)``, in float64 on the host. The last trace is the sum of the
    singular values of ``C1^1/2 C2^1/2``, which takes no root of a rounding error: singular covariances cost no digits
    and nothing has to be added to their diagonals. `jaxgan.divergences.gaussian_w2` is its differentiable square root.

    Args:
      mean1: [D].
      cov1: [D, D], symmetric positive semidefinite.
      mean2: [D].
      cov2: [D, D].

    Returns:
      The distance, at least 0, in squared units of the features.

    Raises:
      InputError: if the shapes do not fit, a number is not finite, or a covariance is not symmetric positive
        semidefinite.

    >>> frechet([0.0, 0.0], np.eye(2), [3.0, 0.0], np.diag([25.0, 1.0]))
    25.0
    """
    m1, m2, c1, c2 = (np.asarray(value, np.float64) for value in (mean1, mean2, cov1, cov2))
    d = m1.size
    if not d or m1.ndim != 1 or m2.shape != m1.shape or c1.shape != (d, d) or c2.shape != (d, d):
        raise InputError(
            f"frechet() takes two means [D] and covariances [D, D]; got {m1.shape}, {c1.shape} and "
            f"{m2.shape}, {c2.shape}. Take all features from the same layer of the same network."
        )
    if not all(np.isfinite(value).all() for value in (m1, m2, c1, c2)):
        raise InputError("frechet() got NaN or infinity. Look for features that are not finite.")
    cross = np.linalg.svd(_root("cov1", c1).T @ _root("cov2", c2), compute_uv=False).sum()
    return max(float(np.sum((m1 - m2) ** 2) + np.trace(c1) + np.trace(c2) - 2 * cross), 0.0)


def _root(name: str, cov: np.ndarray) -> np.ndarray:
    """A matrix [D, rank] whose product with its transpose is the covariance."""
    rounding = len(cov) * np.finfo(cov.dtype).eps * np.abs(cov).max()
    if np.abs(cov - cov.T).max() > 10 * rounding:
        raise InputError(f"{name} is not symmetric. Pass (c + c.T) / 2.")
    values, vectors = np.linalg.eigh(cov)
    rounding = len(cov) * np.finfo(cov.dtype).eps * values[-1]
    if values[0] < -10 * rounding:
        raise InputError(f"{name} has the eigenvalue {values[0]:.3g}; those of a covariance are at least 0.")
    positive = values > rounding
    return vectors[:, positive] * np.sqrt(values[positive])


def fid(real: Moments, fake: Moments) -> float:
    """The Fréchet inception distance of two sets of features, with a warning where the number misleads.

    It warns of fewer samples than features and of features that do not vary. The FID falls as samples are added,
    also where it does not warn: compare only values of equal sample counts.

    Args:
      real: of the real images, as `moments` gives them.
      fake: of the generated images.

    Returns:
      The distance, at least 0; its definition is that of pytorch-fid and torch-fidelity.

    Raises:
      InputError: if the sets differ in D or one has a single sample.

    >>> real = np.random.default_rng(0).normal(size=(500, 4))
    >>> round(fid(moments(real), moments(real + 1)), 6)  # the squared distance of the means
    4.0
    """
    for name, (count, mean, scatter) in (("real", real), ("generated", fake)):
        d = mean.size
        if count <= d:
            warnings.warn(
                f"FID from {count} {name} samples of {d} features: their covariance has rank {count - 1} at most, and "
                "the FID comes out too large, even between two samples of one distribution. Use more than "
                f"{d} samples, or the kernel distance (KID), which has no bias.",
                stacklevel=2,
            )
        constant = np.count_nonzero(np.diag(scatter) == 0)
        if constant:
            warnings.warn(
                f"{constant} of {d} features do not vary over the {count} {name} samples: they enter the FID through "
                "their mean and the other side's variance. Look for dead units, or images that are all alike.",
                stacklevel=2,
            )
    return frechet(real.mean, real.covariance, fake.mean, fake.covariance)


def fid_by_class(real: ArrayLike, real_labels: ArrayLike, fake: ArrayLike, fake_labels: ArrayLike) -> dict[int, float]:
    """The FID within each class; the mean over classes is the intra-FID of Miyato and Koyama (2018).

    Args:
      real: [N, D] features of real images.
      real_labels: i[N].
      fake: [M, D] features of generated images.
      fake_labels: i[M].

    Returns:
      The distance by label.

    Raises:
      InputError: if the shapes do not fit, or a class has fewer than 2 images on either side.

    >>> real = np.random.default_rng(0).normal(size=(500, 4))
    >>> label = np.arange(500) % 2
    >>> {k: round(v, 6) for k, v in fid_by_class(real, label, real + label[:, None], label).items()}
    {0: 0.0, 1: 4.0}
    """
    real, fake = as_pair(real, fake)
    labels = np.asarray(real_labels), np.asarray(fake_labels)
    for side, rows in zip(labels, (real, fake), strict=True):
        if side.shape != (len(rows),) or not np.issubdtype(side.dtype, np.integer):
            raise InputError(f"{len(rows)} samples need integer labels [{len(rows)}]; got {side.dtype}{[*side.shape]}.")
    classes = np.union1d(*labels)
    few = [int(c) for c in classes if min(np.count_nonzero(side == c) for side in labels) < 2]
    if few:
        raise InputError(f"Of the classes {few} there are fewer than 2 real or 2 generated images. Add some.")
    return {
        int(c): fid(*(moments(x[side == c]) for x, side in zip((real, fake), labels, strict=True))) for c in classes
    }
