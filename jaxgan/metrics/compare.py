"""Metrics of real and generated samples by name."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import ArrayLike

from jaxgan.divergences import sliced_wasserstein
from jaxgan.errors import InputError, choose
from jaxgan.metrics.classes import inception_score
from jaxgan.metrics.coverage import class_modes, modes
from jaxgan.metrics.extraction import Seen
from jaxgan.metrics.features import as_pair
from jaxgan.metrics.frechet_distance import fid, fid_by_class, moments
from jaxgan.metrics.kernel_distance import kernel
from jaxgan.metrics.neighbourhood import authenticity
from jaxgan.metrics.neighbours import prdc

Values = dict[str, float]


class Metric(NamedTuple):
    """A metric that can be asked for by name.

    Attributes:
      compute: ``(real, generated) -> values by name``; the first of them is the metric's own.
      sign: 1 where more is better, -1 where less is.
      needs: what it looks at beside features: "label" of both sides, "logits" of the generated one.
    """

    compute: Callable[[Seen, Seen], Values]
    sign: int
    needs: str | None = None


def _fid(real: Seen, fake: Seen) -> Values:
    return {"fid": fid(moments(real.features), moments(fake.features))}


def _kid(real: Seen, fake: Seen) -> Values:
    size = min(1000, len(real.features), len(fake.features))
    mean, std, error = kernel(real.features, fake.features, subset_size=size)
    return {"kid": mean, "kid_std": std, "kid_standard_error": error}


def _prdc(real: Seen, fake: Seen) -> Values:
    return prdc(real.features, fake.features)._asdict()


def _authenticity(real: Seen, fake: Seen) -> Values:
    return {"authenticity": authenticity(real.features, fake.features)}


def _diversity(real: Seen, fake: Seen) -> Values:
    spread = [np.var(x.features, axis=0, dtype=np.float64).sum() for x in (fake, real)]
    return {"diversity": float(spread[0] / spread[1])}


def _swd(real: Seen, fake: Seen) -> Values:
    return {"swd": float(sliced_wasserstein(jax.random.key(0), real.features, fake.features))}


def _intra_fid(real: Seen, fake: Seen) -> Values:
    assert real.label is not None and fake.label is not None
    by_class = fid_by_class(real.features, real.label, fake.features, fake.label)
    mean = float(np.mean([*by_class.values()]))
    return {"intra_fid": mean} | {f"fid/{k}": value for k, value in by_class.items()}


def _inception_score(real: Seen, fake: Seen) -> Values:
    assert fake.logits is not None
    mean, std = inception_score(fake.logits, logits=True, splits=min(10, len(fake.logits)))
    return {"inception_score": mean, "inception_score_std": std}


def _accuracy(real: Seen, fake: Seen) -> Values:
    assert fake.logits is not None and fake.label is not None
    return {"accuracy": float(np.mean(fake.logits.argmax(axis=1) == fake.label))}


def _modes(real: Seen, fake: Seen) -> Values:
    if real.mixture is not None:
        covered, good, reverse_kl = modes(fake.features, *real.mixture)
        return {"modes": covered, "high_quality": good, "reverse_kl": reverse_kl}
    assert fake.logits is not None
    covered, reverse_kl = class_modes(fake.logits.argmax(axis=1), fake.logits.shape[1])
    return {"modes": covered, "reverse_kl": reverse_kl}


METRICS: dict[str, Metric] = {
    "fid": Metric(_fid, -1),
    "kid": Metric(_kid, -1),
    "prdc": Metric(_prdc, 1),
    "swd": Metric(_swd, -1),
    "authenticity": Metric(_authenticity, 1),
    "diversity": Metric(_diversity, 1),
    "intra_fid": Metric(_intra_fid, -1, "label"),
    "accuracy": Metric(_accuracy, 1, "label and logits"),
    "inception_score": Metric(_inception_score, 1, "logits"),
    "modes": Metric(_modes, 1, "logits"),
}


def check(metrics: Iterable[str], real: Seen, fake: Seen) -> list[Metric]:
    """The metrics of these names.

    Raises:
      InputError: if a name is unknown, or a metric looks at what one of the sides does not have.
    """
    chosen = {name: choose("metric", name, METRICS) for name in metrics}
    for name, (_, _, needs) in chosen.items():
        if "label" in (needs or "") and (real.label is None or fake.label is None):
            raise InputError(f"{name} goes by the classes of images: it needs a conditional GAN, and labelled data.")
        if "logits" in (needs or "") and fake.logits is None and (real.mixture is None or name != "modes"):
            raise InputError(f"{name} goes by predictions: it needs an extractor that classifies, digits or inception.")
    return [*chosen.values()]


def compare(
    real: ArrayLike | Seen, fake: ArrayLike | Seen, metrics: Iterable[str] = ("fid", "kid", "prdc", "swd")
) -> Values:
    """Several metrics of two sets of samples, with their default settings.

    Args:
      real: what an extractor sees of real images, or their features [N, D] alone.
      fake: the same of generated images, [M, D].
      metrics: names in `METRICS`: "fid"; "kid", of subsets of 1,000 or of all, if they are fewer; "prdc"; "swd", the
        sliced Wasserstein-2 distance; "authenticity"; "diversity", the variance of the generated features, summed, as a
        share of that of the real ones. With labels "intra_fid", the mean FID of the classes, and, by a classifier,
        "accuracy". With a classifier "inception_score" and "modes", the classes covered; of points "modes" of the
        mixture.

    Returns:
      The values of all of them: "fid", "kid", "kid_std", "kid_standard_error", "precision", "recall", "density",
      "coverage", and so on.

    Raises:
      InputError: if a name is unknown, or a metric refuses the samples.

    >>> real, fake = np.random.default_rng(0).normal(size=(2, 500, 4))
    >>> values = compare(real, fake, ["fid", "prdc"])
    >>> sorted(values)
    ['coverage', 'density', 'fid', 'precision', 'recall']
    """
    real, fake = (x if isinstance(x, Seen) else Seen(np.asarray(x)) for x in (real, fake))
    chosen = check(metrics, real, fake)
    features = as_pair(real.features, fake.features)
    real, fake = (x._replace(features=f) for x, f in zip((real, fake), features, strict=True))
    return {name: value for metric in chosen for name, value in metric.compute(real, fake).items()}
