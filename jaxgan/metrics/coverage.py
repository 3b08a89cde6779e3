"""Which modes of a known distribution a generator covers: those of a mixture, or classes."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from scipy.spatial.distance import cdist
from scipy.special import rel_entr

from jaxgan.errors import InputError
from jaxgan.metrics.features import as_features


class Modes(NamedTuple):
    """How points cover the modes of a mixture.

    Attributes:
      covered: the number of modes that have a high-quality point.
      high_quality: the share of points that are of high quality.
      reverse_kl: nats, KL(generated || uniform) of the nearest modes. Its mean for n points of the mixture itself is
        about ``(K - 1) / (2 n)``.
    """

    covered: int
    high_quality: float
    reverse_kl: float


class ClassModes(NamedTuple):
    """How labels cover the classes: `covered` and `reverse_kl` as in `Modes`."""

    covered: int
    reverse_kl: float


def modes(points: ArrayLike, centres: ArrayLike, std: float, *, at_least: int = 1) -> Modes:
    """Modes of a mixture of equal Gaussians that points cover (PacGAN, Lin et al. 2018, section 4.1).

    Every point belongs to the nearest centre, and is of high quality within three standard deviations of it: in the
    plane that is the share ``1 - exp(-9/2)``, 98.9 %, of the mixture's own points.

    Args:
      points: [N, D] generated points.
      centres: [K, D] of the Gaussians.
      std: their common standard deviation along each axis.
      at_least: how many high-quality points cover a mode.

    Raises:
      InputError: if the points are not finite, differ from the centres in D, or std or at_least is not positive.

    >>> modes([[0.0, 0.1], [1.0, 5.0]], centres=[[0.0, 0.0], [1.0, 0.0]], std=0.1)
    Modes(covered=1, high_quality=0.5, reverse_kl=0.0)
    """
    points, centres = as_features("points", points), as_features("centres", centres)
    if points.shape[1] != centres.shape[1]:
        raise InputError(
            f"The points have {points.shape[1]} coordinates, the centres {centres.shape[1]}. Pass the mixture's own."
        )
    if not (std > 0 and at_least >= 1):
        raise InputError(f"std is {std} and at_least {at_least}. Both must be positive.")
    distance = cdist(points, centres)
    nearest = distance.argmin(axis=1)
    good = distance.min(axis=1) <= 3 * std
    covered = np.bincount(nearest[good], minlength=len(centres)) >= at_least
    return Modes(int(covered.sum()), float(good.mean()), _reverse_kl(nearest, len(centres)))


def class_modes(labels: ArrayLike, classes: int) -> ClassModes:
    """Classes that generated images cover, for a data set of equally many images of each.

    Stacked MNIST has 1,000 (Metz et al. 2017): three digits, one in each channel, that a classifier reads.

    Args:
      labels: i[N], the class of each generated image, from 0.
      classes: K, their number.

    Raises:
      InputError: if the labels are not integers [N] from 0 to K - 1, or there are none.

    >>> digits = np.array([[0, 1, 2], [0, 1, 2], [9, 9, 9]])
    >>> class_modes(digits @ [100, 10, 1], 1000).covered
    2
    """
    label = np.asarray(labels)
    if label.ndim != 1 or not label.size or not np.issubdtype(label.dtype, np.integer):
        raise InputError(f"The labels must be integers [N], not empty; got {label.dtype}{[*label.shape]}.")
    if label.min() < 0 or label.max() >= classes:
        raise InputError(
            f"The labels go from {label.min()} to {label.max()}; {classes} classes have labels 0 to {classes - 1}."
        )
    return ClassModes(np.unique(label).size, _reverse_kl(label, classes))


def _reverse_kl(labels: np.ndarray, classes: int) -> float:
    """KL of the labels' frequencies from the uniform distribution; it is finite where classes are missing."""
    share = np.bincount(labels, minlength=classes) / len(labels)
    return float(rel_entr(share, 1 / classes).sum())
