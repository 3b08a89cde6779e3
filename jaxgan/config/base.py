"""What the configurations of all recipes have in common."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen
import jax

from jaxgan import data as datasets
from jaxgan import pictures
from jaxgan.errors import InputError
from jaxgan.state import TrainState
from jaxgan.typing import GAN, Array, Key

_LARGEST = 2**31 - 1  # devices count steps, and all else, in 32 bits


class View(NamedTuple):
    """What the pictures of a run show.

    Attributes:
      data: f[N, ...], examples of the data.
      draw: inside ``jit``, ``(gan, state, key) -> f[N, ...]``, what the GAN makes.
      across: how many stand in a row, None: about as many as rows.
    """

    data: Array
    draw: Callable[[GAN, TrainState, Key], Array]
    across: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What the trainer needs to know, whatever the recipe."""

    recipe: ClassVar[str]
    # What one does with a finished run, after "jaxgan".
    use: ClassVar[str] = "sample {run} --count 64 --out grid.png"
    # Fields that may change when a run is resumed: they do not change what a step computes.
    free: ClassVar[frozenset[str]] = frozenset(
        {
            "data_dir",
            "steps",
            "log_every",
            "sample_every",
            "save_every",
            "keep",
            "samples",
            "memory_limit",
            "on_nonfinite",
        }
    )

    data_dir: str | None = None
    """Where tfds data sets are prepared; by default $JAXGAN_DATA, $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    memory_limit: int = 2048
    """Data sets up to this many MiB are held on the device; larger ones are read from disk."""
    batch: int = 64
    """Images of one update, on all devices together."""
    steps: int = 5000
    """Generator updates in all."""
    seed: int = 0
    """Seed of parameters, latents and the order of the data."""
    log_every: int = 100
    """Steps between rows of metrics.jsonl."""
    sample_every: int = 500
    """Steps between pictures of samples."""
    save_every: int = 1000
    """Steps between checkpoints."""
    keep: int = 3
    """Checkpoints that are kept."""
    samples: int = 64
    """Samples in a picture."""
    on_nonfinite: Literal["halt", "skip", "rollback"] = "halt"
    """What follows a step that is not finite, of which nothing is kept: the run saves and ends, the step is left out,
    or the run goes back to its newest checkpoint and on with other random numbers, at most three times."""

    def __post_init__(self):
        positive = "batch steps log_every sample_every save_every keep samples memory_limit"
        for name in positive.split():
            self._at_least(name, 1)
        pictures.check_count("samples", self.samples)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{field.name} is {value}; it must be a finite number.")
            if isinstance(value, int) and field.name != "seed" and value > _LARGEST:
                raise InputError(f"{field.name} is {value}; it must be at most {_LARGEST}.")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; a seed lies between 0 and 2^32 - 1.")

    @property
    def smallest_batch(self) -> int:
        """Images of the smallest part of a batch that all devices share."""
        return self.batch

    def load(self) -> datasets.AnySource:
        """The data that the configuration names."""
        raise NotImplementedError

    def build(self, shape: Any, classes: int | None, axis_name: str | None = None) -> GAN:
        """The GAN for this data.

        Args:
          shape: of one example, as the source has it.
          classes: how many there are, None if the examples are not labelled.
          axis_name: that of the engine that the GAN will run on.
        """
        raise NotImplementedError

    def generators(self, shape: Any, classes: int | None) -> dict[str, flax.linen.Module]:
        """The networks that samples are made with, by name: "generator", or a translation's "ab" and "ba".

        Args:
          shape: as of `build`.
          classes: as of `build`.
        """
        raise NotImplementedError

    def view(self, source: datasets.AnySource, feed: datasets.Feed) -> View:
        """What the pictures of the run show."""
        raise NotImplementedError

    def settings(self, source: datasets.AnySource) -> dict[str, Any]:
        """What the training state depends on, as JSON data: fields, and the shape and classes of the data."""
        fields = {name: value for name, value in self.as_data().items() if name not in self.free}
        return {**fields, "shape": json.loads(json.dumps(source.shape)), "classes": source.classes}

    def as_data(self) -> dict[str, Any]:
        """The recipe's name and every field, as JSON data."""
        return {"recipe": self.recipe, **dataclasses.asdict(self)}

    def _at_least(self, name: str, least: float, *, above: bool = False) -> None:
        value = getattr(self, name)
        if isinstance(value, jax.Array):  # a sweep's: each of its values was checked before
            return
        if value < least or (above and value == least):
            raise InputError(f"{name} is {value}; it must be {'above' if above else 'at least'} {least}.")
