"""What a trained GAN makes: samples, and the way from one class to another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import parallel, rundir
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import Config, SampledConfig
from jaxgan.errors import InputError
from jaxgan.nn import check_labels
from jaxgan.state import TrainState
from jaxgan.typing import GAN, Array, Key


class Trained(NamedTuple):
    """A run as one of its checkpoints has it.

    Attributes:
      config: of the run.
      gan: its functions.
      state: its state, on one device.
      shape: of the examples that it was trained on.
      classes: how many there are, None without labels.
    """

    config: Config
    gan: GAN
    state: TrainState
    shape: Any
    classes: int | None


def restore(run: str | Path, step: int | None = None) -> Trained:
    """A trained GAN.

    Args:
      run: directory of the run.
      step: of the checkpoint, by default the newest.

    Raises:
      InputError: if there is no run, or no such checkpoint.

    >>> trained = restore("runs/digits")  # doctest: +SKIP
    >>> images = trained.gan.sample(trained.state, jax.random.key(0), 16)  # doctest: +SKIP
    """
    config = rundir.open_run(run)
    none = InputError(f"{run} has no checkpoint yet. `jaxgan resume {run}` trains it.")
    if not (Path(run) / "checkpoints").is_dir():
        raise none
    with Checkpoints(Path(run) / "checkpoints") as checkpoints:
        step = checkpoints.newest(step)
        if step is None:
            raise none
        settings = checkpoints.about(step)["settings"]
        shape, classes = settings["shape"], settings["classes"]
        shape = shape if isinstance(shape, dict) else tuple(shape)
        gan = config.build(shape, classes)
        like, engine = jax.eval_shape(gan.init, jax.random.key(0)), parallel.jit()
        state = checkpoints.restore({"state": engine.shaped(like, engine.layout(like))}, step)["state"]
    return Trained(config, gan, state, shape, classes)


def key_of(seed: int) -> Key:
    """The key of a seed. Raises InputError for one that is no u32: JAX would take it for another."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed is {seed}; a seed lies between 0 and 2^32 - 1.")
    return jax.random.key(seed)


def draw_samples(
    run: str | Path, count: int, seed: int = 0, step: int | None = None, *, label: Array | np.ndarray | None = None
) -> Array:
    """Samples of a trained GAN, drawn with the averaged parameters.

    Args:
      run: directory of the run.
      count: how many.
      seed: of the latents.
      step: of the checkpoint, by default the newest.
      label: what a conditional GAN is asked for: classes, i32[count], or weights that mix them, f32[count, classes]. By
        default what the run's pictures show: the classes in turn, row by row.

    Returns:
      f32[count, H, W, C] in [-1, 1], or f32[count, 2] for points.

    Raises:
      InputError: if there is no run, or no such checkpoint, or the run knows no such labels.
    """
    draw, _ = _sampler(run, count, step)
    return draw(seed, label)


def interpolate(
    run: str | Path, start: int, end: int, rows: int, columns: int, seed: int = 0, step: int | None = None
) -> Array:
    """From one class to another: every row has one latent, and its label moves from ``start`` to ``end``.

    Args:
      run: directory of the run, of a conditional GAN.
      start: class of the first column.
      end: class of the last.
      rows: how many latents.
      columns: how many steps from class to class, at least 2.
      seed: of the latents.
      step: of the checkpoint, by default the newest.

    Returns:
      f32[rows * columns, H, W, C] in [-1, 1], row by row.

    Raises:
      InputError: as `draw_samples`; for fewer than 2 columns.
    """
    if columns < 2:
        raise InputError(f"An interpolation has at least 2 columns; it got {columns}.")
    draw, classes = _sampler(run, rows, step)
    check_labels(np.array([start, end]), classes)
    ends = np.eye(classes or 0, dtype=np.float32)[[start, end]]
    # The same seed draws the same latents for every column.
    shares = np.linspace(0, 1, columns, dtype=np.float32)
    labels = [np.repeat(((1 - share) * ends[0] + share * ends[1])[None], rows, axis=0) for share in shares]
    drawn = jnp.stack([draw(seed, label) for label in labels], axis=1)
    return drawn.reshape(rows * columns, *drawn.shape[2:])


def _sampler(run: str | Path, count: int, step: int | None) -> tuple[Callable, int | None]:
    """Restores a run once, for any number of draws: ``(seed, label or None) -> images``; and its number of classes."""
    if count < 1:
        raise InputError(f"count is {count}; at least one sample can be drawn.")
    config, gan, state, _, classes = restore(run, step)
    if not isinstance(config, SampledConfig):
        raise InputError(
            f"{run} draws no samples: it translates images. `jaxgan translate {run} IMAGES --direction ab --out DIR`."
        )
    usual = config.conditions(count, classes)
    sample = jax.jit(lambda state, key, asked: gan.sample(state, key, count, **asked))

    def draw(seed: int, label: Array | np.ndarray | None) -> Array:
        asked = usual
        if label is not None:
            if "label" not in usual:
                raise InputError(f"{run} is no conditional GAN: it cannot be asked for a label. Leave the label out.")
            asked = {"label": np.asarray(label)}
            check_labels(asked["label"], classes)
        return sample(state, key_of(seed), asked)

    return draw, classes
