"""How good generated images are, in numbers: metrics of their features and of their classes.

- Of features [N, D] of real and of generated images: `fid` and `frechet` of their `moments`, `fid_by_class`,
  the `kernel` distance (KID), precision, recall, density and coverage (`prdc`), and the sliced Wasserstein distance of
  `jaxgan.divergences`. `compare` computes them by name.
- Of a classifier's predictions [N, K]: the `inception_score`, and the `class_modes` that their labels cover.
- Of points, where the true mixture is known: the `modes` that they cover.

All but the sliced Wasserstein distance is computed in float64 by NumPy on the host. Features that are not finite are
refused.
"""

from jaxgan.metrics.classes import InceptionScore, inception_score
from jaxgan.metrics.compare import METRICS, compare
from jaxgan.metrics.coverage import ClassModes, Modes, class_modes, modes
from jaxgan.metrics.frechet_distance import Moments, fid, fid_by_class, frechet, moments
from jaxgan.metrics.kernel_distance import KernelDistance, kernel
from jaxgan.metrics.neighbours import PRDC, prdc

__all__ = [
    "METRICS",
    "PRDC",
    "ClassModes",
    "InceptionScore",
    "KernelDistance",
    "Modes",
    "Moments",
    "class_modes",
    "compare",
    "fid",
    "fid_by_class",
    "frechet",
    "inception_score",
    "kernel",
    "modes",
    "moments",
    "prdc",
]
