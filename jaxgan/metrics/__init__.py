"""How good generated images are, in numbers: metrics of their features and of their classes.

- Of features [N, D] of real and of generated images: `fid` and `frechet` of their `moments`, `fid_by_class`,
  the `kernel` distance (KID), precision, recall, density and coverage (`prdc`), the `authenticity`, the `nearest` real
  images, and the sliced Wasserstein distance of `jaxgan.divergences`. `compare` computes them by name.
- Of a classifier's predictions [N, K]: the `inception_score`, and the `class_modes` that their labels cover.
- Of points, where the true mixture is known: the `modes` that they cover.

An `Extractor` makes features and predictions of images: `digits`, `stacked_digits`, `inception`, or any function;
`extract` runs it over batches, `reference` over a data set, once. `jaxgan.evaluate` does all of it for a run.

All but the sliced Wasserstein distance is computed in float64 on the host. Features that are not finite are refused.
"""

from jaxgan.metrics.classes import InceptionScore, inception_score
from jaxgan.metrics.compare import METRICS, Metric, check, compare
from jaxgan.metrics.coverage import ClassModes, Modes, class_modes, modes
from jaxgan.metrics.digit_classifier import digits, stacked_digits
from jaxgan.metrics.extraction import Extractor, Seen, extract
from jaxgan.metrics.frechet_distance import Moments, fid, fid_by_class, frechet, moments
from jaxgan.metrics.inception_features import inception
from jaxgan.metrics.kernel_distance import KernelDistance, kernel
from jaxgan.metrics.neighbourhood import authenticity, nearest
from jaxgan.metrics.neighbours import PRDC, prdc
from jaxgan.metrics.references import reference

__all__ = [
    "METRICS",
    "PRDC",
    "ClassModes",
    "Extractor",
    "InceptionScore",
    "KernelDistance",
    "Metric",
    "Modes",
    "Moments",
    "Seen",
    "authenticity",
    "check",
    "class_modes",
    "compare",
    "digits",
    "extract",
    "fid",
    "fid_by_class",
    "frechet",
    "inception",
    "inception_score",
    "kernel",
    "modes",
    "moments",
    "nearest",
    "prdc",
    "reference",
    "stacked_digits",
]
