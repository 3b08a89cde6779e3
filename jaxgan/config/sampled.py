"""What the configurations of recipes have in common that draw samples from one set of images."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from jaxgan import data as datasets
from jaxgan import pictures
from jaxgan.config.base import View
from jaxgan.config.evaluated import EvaluatedConfig
from jaxgan.data.sources import check_size
from jaxgan.errors import InputError, choose
from jaxgan.metrics import METRICS
from jaxgan.metrics.extractors import EXTRACTORS


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledConfig(EvaluatedConfig):
    """A recipe whose ``sample`` draws images, of the classes that are asked for if it is conditional."""

    data: str = "digits"
    """Data set: digits, ring, grid, stacked_mnist, the name of a tfds image data set, or a folder of images."""
    split: str = "train"
    """Split of a tfds data set."""
    image_size: int | None = None
    """Crop and resize images to this many pixels; by default they stay as they are."""

    eval_metrics: str = "fid"
    """What is evaluated: names of metrics with commas between them, as `jaxgan evaluate --help` lists them. The best
    checkpoint by the first is kept."""
    eval_samples: int = 5000
    """Samples of an evaluation."""
    eval_extractor: str | None = None
    """The network that looks at them: digits, stacked_digits or inception; by default what suits the data."""

    free: ClassVar[frozenset[str]] = EvaluatedConfig.free | {"eval_metrics", "eval_samples", "eval_extractor"}

    def __post_init__(self):
        super().__post_init__()
        self._at_least("eval_samples", 2)
        check_metrics(self.metrics, self.labelled)
        if self.eval_extractor is not None:
            choose("extractor", self.eval_extractor, EXTRACTORS)
        if self.image_size is not None:
            check_size(self.image_size)

    @property
    def metrics(self) -> list[str]:
        """The names in ``eval_metrics``."""
        return [name.strip() for name in self.eval_metrics.split(",")]

    @property
    def labelled(self) -> bool:
        """Whether samples are asked for by class."""
        raise NotImplementedError

    def load(self) -> datasets.Source | datasets.Synthetic:
        return datasets.load(self.data, data_dir=self.data_dir, split=self.split, image_size=self.image_size)

    def conditions(self, n: int, classes: int | None) -> dict[str, np.ndarray]:
        """What a picture of n samples asks for: the classes in turn, row by row."""
        if not self.labelled or classes is None:
            return {}
        return {"label": np.arange(n) // pictures.columns(n) % classes}

    def view(self, source: datasets.AnySource, feed: datasets.Feed) -> View:
        asked = self.conditions(self.samples, source.classes)
        return View(
            feed.peek(self.samples)["image"],
            lambda gan, state, key: gan.sample(state, key, self.samples, **asked),
            None,
        )


def check_metrics(names: Sequence[str], labelled: bool) -> None:
    """Says what is wrong with the names of metrics before anything is looked at.

    Args:
      names: the metrics.
      labelled: whether the samples are of classes.

    Raises:
      InputError: for an unknown name, and a metric that goes by classes where there are none.
    """
    for name in names:
        if "label" in (choose("metric", name, METRICS).needs or "") and not labelled:
            raise InputError(
                f"{name} goes by the classes of images: it needs a conditional GAN, and labelled data. Leave it out."
            )
