"""What the configurations of recipes have in common that draw samples from one set of images."""

import dataclasses
from typing import ClassVar

import numpy as np

from jaxgan import data as datasets
from jaxgan import pictures
from jaxgan.config.base import Config, View


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampledConfig(Config):
    """A recipe whose ``sample`` draws images, of the classes that are asked for if it is conditional."""

    data: str = "digits"
    """Data set: digits, ring, grid, the name of a tfds image data set, or a folder of images."""
    split: str = "train"
    """Split of a tfds data set."""
    image_size: int | None = None
    """Crop and resize images to this many pixels; by default they stay as they are."""

    eval_every: int | None = None
    """Steps between evaluations; by default there are none."""
    eval_metrics: str = "fid"
    """What is evaluated: names of metrics with commas between them. The best checkpoint by the first is kept."""
    eval_samples: int = 5000
    """Samples of an evaluation."""
    eval_extractor: str | None = None
    """The network that looks at them: digits, stacked_digits or inception; by default what suits the data."""

    free: ClassVar[frozenset[str]] = Config.free | {"eval_every", "eval_metrics", "eval_samples", "eval_extractor"}

    def __post_init__(self):
        super().__post_init__()
        for name in ("eval_every", "eval_samples"):
            if getattr(self, name) is not None:
                self._at_least(name, 1 if name == "eval_every" else 2)
        if self.image_size is not None:
            self._at_least("image_size", 1)

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
