"""Extractors by name."""

from collections.abc import Callable
from pathlib import Path

from jaxgan.errors import InputError, choose
from jaxgan.metrics.digit_classifier import digits, stacked_digits
from jaxgan.metrics.extraction import Extractor
from jaxgan.metrics.inception_features import inception

EXTRACTORS: dict[str, Callable[..., Extractor]] = {
    "digits": digits,
    "stacked_digits": stacked_digits,
    "inception": inception,
}


def extractor(name: str, weights: str | Path | None = None) -> Extractor:
    """An extractor by its name.

    Args:
      name: "digits" or "stacked_digits", whose weights come with jaxgan, or "inception", that of FID.
      weights: file of the weights of "inception"; by default they are downloaded once.

    Raises:
      InputError: for an unknown name, and for weights that cannot be used.
    """
    make = choose("extractor", name, EXTRACTORS)
    if weights is None:
        return make()
    if name != "inception":
        raise InputError(f"The weights of the extractor {name!r} come with jaxgan. Leave the file {weights} out.")
    return make(weights)


def usual(data: str, channels: int) -> str:
    """The name of the extractor for a data set, "mnist" or "mnist/3.0.1": inception but for grey and stacked digits."""
    name = data.partition("/")[0]
    if name == "stacked_mnist":
        return "stacked_digits"
    return "digits" if name in ("mnist", "digits") and channels == 1 else "inception"
