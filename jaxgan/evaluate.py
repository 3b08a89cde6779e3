"""How good a GAN is: metrics of its samples against its data, while it trains and afterwards."""

import dataclasses
import datetime
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data, diagnostics
from jaxgan.config import Config, EvaluatedConfig, SampledConfig
from jaxgan.config.sampled import check_metrics
from jaxgan.data import Domains, Source, Synthetic
from jaxgan.data.feed import crops
from jaxgan.errors import InputError
from jaxgan.metrics import METRICS, check, compare
from jaxgan.metrics.extraction import POINTS, Extractor, Seen, gather
from jaxgan.metrics.extractors import extractor as extractor_of
from jaxgan.metrics.extractors import usual
from jaxgan.metrics.features import blocks
from jaxgan.metrics.neighbourhood import nearest
from jaxgan.metrics.references import BATCH, order, reference
from jaxgan.rundir import open_run
from jaxgan.runlog import spelt
from jaxgan.sample import restore
from jaxgan.state import TrainState
from jaxgan.typing import GAN, Array, Batch

USUAL = ("fid", "kid", "prdc")
# These look at all real images, the others at as many as there are generated ones.
_OF_ALL = ("fid", "intra_fid")
# What an evaluation in training adds to the metrics that were asked for: alarms go by them.
ALWAYS = ("authenticity", "diversity")
# A picture of nearest neighbours has so many rows: a sample, and so many real images.
ROWS, NEIGHBOURS = 8, 7
# More would take days.
_MOST_SAMPLES, _MOST_SEEDS = 10_000_000, 1000

# (images done, images in all) -> None
Progress = Callable[[int, int], object]


class Evaluation(NamedTuple):
    """Metrics of one checkpoint.

    Attributes:
      values: by name, the mean over seeds.
      deviations: by name, their standard deviation over seeds (ddof 1); none of a single seed.
      about: JSON data: what was compared, through what, how many, when.
      neighbours: a table f32[ROWS, 1 + NEIGHBOURS, H, W, C] in [-1, 1], in each row a sample and the real images
        nearest to it; None of points, and of images of other sizes than the real ones.
    """

    values: dict[str, float]
    deviations: dict[str, float]
    about: dict[str, Any]
    neighbours: np.ndarray | None

    def as_data(self) -> dict[str, Any]:
        """The numbers as JSON data."""
        return {"values": spelt(self.values), "deviations": spelt(self.deviations), **self.about}


def evaluate(
    run: str | Path,
    metrics: Sequence[str] | None = None,
    *,
    samples: int | None = None,
    seeds: int = 1,
    step: int | None = None,
    split: str | None = None,
    extractor: Extractor | None = None,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Metrics of a run's samples, drawn with the averaged parameters, against the data that it was trained on.

    The FIDs look at all real images, the other metrics at as many as there are samples.

    Args:
      run: directory of the run.
      metrics: names in `metrics.METRICS`; by default "fid", "kid" and "prdc", of points "modes" and "swd".
      samples: how many; by default 10,000, of points 2,500 as in PacGAN.
      seeds: so many sets of samples are drawn and compared.
      step: of the checkpoint, by default the newest.
      split: of the data, by default the one of the training.
      extractor: what images are looked at through, by default the one of `metrics.extractors.usual`.
      progress: called with the number of images done and of all.

    Raises:
      InputError: if there is no run, or it translates images; for an unknown metric, or one that looks at what there is
        not; for fewer than 2 samples or no seed.

    >>> evaluate("runs/dcgan-mnist", ["fid", "prdc"], samples=5000).values["fid"]  # doctest: +SKIP
    """
    config = open_run(run)
    if not isinstance(config, SampledConfig):
        raise InputError(
            f"{run} draws no samples: it translates images. Translate some by `jaxgan translate`, and compare folders: "
            "`jaxgan evaluate --images OUT --reference DIR`."
        )
    if metrics is not None:
        check_metrics(metrics, config.labelled)
    if split is not None:
        config = dataclasses.replace(config, split=split)
    source = config.load()
    points = isinstance(source, Synthetic)
    if samples is None:
        samples = 2500 if points else 10_000
    metrics = metrics or (("modes", "swd") if points else USUAL)
    if not (2 <= samples <= _MOST_SAMPLES and 1 <= seeds <= _MOST_SEEDS):
        raise InputError(
            f"{samples} samples and {seeds} seeds: metrics need at least 2 samples and 1 seed, and take at most "
            f"{_MOST_SAMPLES:,} and {_MOST_SEEDS:,}."
        )
    extractor = _extractor(source, extractor)
    total = seeds * samples + (0 if points else source.size)
    trained = restore(run, step)
    real = look(source, extractor, samples, progress=lambda done, _: progress(done, total))
    _check(metrics, real, config)
    draw = drawer(trained.gan, extractor, samples, real.label if config.labelled else None, jax.jit)
    done = total - seeds * samples
    sets = []
    for seed in range(seeds):
        start = done + seed * samples
        sets.append(draw(trained.state, seed, lambda n, start=start: progress(start + n, total)))
    values = [measure(real, fake, metrics) for fake, _ in sets]
    about = {
        "run": Path(run).name,
        "step": int(trained.state.step),
        "data": source.name if points else f"{config.data} {config.split}",
        "samples": samples,
        "seeds": seeds,
        **_about(real, extractor),
    }
    fake, images = sets[0]
    picture = None if isinstance(source, Synthetic) else neighbours(source, real, fake, images)
    return Evaluation(*_summary(values), about, picture)


def evaluate_images(
    images: str,
    reference_images: str,
    metrics: Sequence[str] | None = None,
    *,
    split: str = "train",
    image_size: int | None = None,
    data_dir: str | Path | None = None,
    extractor: Extractor | None = None,
    progress: Progress = lambda done, total: None,
) -> Evaluation:
    """Metrics of images of any origin against others.

    Args:
      images: a folder of them, or the name of a data set.
      reference_images: a folder of real images, or the name of a data set.
      metrics: names in `metrics.METRICS`; by default "fid", "kid" and "prdc".
      split: of a tfds data set.
      image_size: side in pixels that images are cropped and resized to, antialiased; by default they stay as they are.
      data_dir: where tfds data sets are.
      extractor: by default that of `metrics.extractors.usual` for the reference.
      progress: called with the number of images done and of all.

    Raises:
      InputError: if there are no such images, or a metric is unknown or looks at what there is not.
    """
    metrics, sources = metrics or USUAL, []
    check_metrics(metrics, labelled=True)  # whether they are is known once they are loaded
    for name in (reference_images, images):
        source = data.load(name, data_dir=data_dir, split=split, image_size=image_size)
        if isinstance(source, Synthetic):
            raise InputError(f"{name!r} draws points. Name a folder of images, or a data set of them.")
        sources.append(source)
    real_source, fake_source = sources
    extractor = _extractor(real_source, extractor)
    total = real_source.size + fake_source.size
    real = reference(real_source, extractor, progress=lambda done, _: progress(done, total))
    fake = reference(fake_source, extractor, progress=lambda done, _: progress(real_source.size + done, total))
    check(metrics, real, fake)
    about = {"images": images, "data": reference_images, "samples": fake_source.size, **_about(real, extractor)}
    picture = None
    if fake_source.shape == real_source.shape:
        picture = neighbours(real_source, real, fake, _floats(fake_source.read(order(fake_source, ROWS))["image"]))
    return Evaluation(*_summary([measure(real, fake, metrics)]), about, picture)


class InTraining(NamedTuple):
    """Evaluation while a run trains.

    Attributes:
      every: so many steps.
      measure: ``state -> (values by name, a picture of nearest neighbours or None)``.
      best: ``values -> float``, by which the best checkpoint is kept: more is better. None: no value says which is.
    """

    every: int
    measure: Callable[[TrainState], tuple[dict[str, float], np.ndarray | None]]
    best: Callable[[dict[str, float]], float] | None


def in_training(
    config: Config, gan: GAN, source: data.AnySource, jit: Callable[[Callable], Callable]
) -> InTraining | None:
    """What ``config.eval_every`` asks for, None if nothing. Looks at the real images, or finds them in the cache.

    Args:
      config: of the run.
      gan: its functions.
      source: its data.
      jit: compiles a function of the state for its engine, with outputs that every process has whole.

    Raises:
      InputError: for an unknown metric or extractor, or one that looks at what there is not; for diagnostics of a GAN
        that does not tell its losses.
    """
    if not isinstance(config, EvaluatedConfig) or config.eval_every is None:
        return None
    diagnose = diagnoser(config, source, jit) if config.diagnostics else lambda state: {}
    if not isinstance(config, SampledConfig):
        return InTraining(config.eval_every, lambda state: (diagnose(state), None), None)
    assert isinstance(source, Source | Synthetic)
    metrics, extractor = config.metrics, _extractor(source, config.eval_extractor)
    real = look(source, extractor, config.eval_samples)
    _check(metrics, real, config)
    draw = drawer(gan, extractor, config.eval_samples, real.label if config.labelled else None, jit)
    extra = [name for name in ALWAYS if name not in metrics]

    def values(state: TrainState) -> tuple[dict[str, float], np.ndarray | None]:
        fake, images = draw(state, 0)
        picture = None if isinstance(source, Synthetic) else neighbours(source, real, fake, images)
        return measure(real, fake, [*metrics, *extra]) | diagnose(state), picture

    first = METRICS[metrics[0]]
    # The first value of a metric is its own: prdc's is its precision.
    name = "precision" if metrics[0] == "prdc" else metrics[0]
    return InTraining(config.eval_every, values, lambda values: first.sign * values[name])


def diagnoser(
    config: EvaluatedConfig, source: data.AnySource, jit: Callable[[Callable], Callable]
) -> Callable[[TrainState], dict[str, float]]:
    """``state -> diagnostics.values`` of the game on a batch that is always the same.

    Args:
      config: of the run.
      source: its data.
      jit: see `in_training`.

    Raises:
      InputError: if the GAN does not tell its losses.
    """
    gan = config.build(source.shape, source.classes)  # on the whole batch: there is no axis
    diagnostics.check(gan)
    batch = still(source, config.batch)
    program = jit(lambda state: diagnostics.diagnose(gan, state, batch, jax.random.key(0)))
    return lambda state: diagnostics.values(jax.device_get(program(state)))


def still(source: data.AnySource, n: int) -> Batch:
    """A batch of n examples that is always the same; of two domains with crops as a step sees them."""
    if isinstance(source, Synthetic):
        return source.draw(jax.random.key(0), n)
    if isinstance(source, Domains):
        sides = {name: still(side, n)["image"] for name, side in (("a", source.a), ("b", source.b))}
        return crops(source, sides, jax.random.key(0))
    read = source.read(order(source, n))
    return jax.tree.map(jnp.asarray, read | {"image": _floats(read["image"])})


def look(source: Source | Synthetic, extractor: Extractor, samples: int, progress: Progress = lambda *_: None) -> Seen:
    """What the extractor sees of all images of a source; of a mixture it is so many points."""
    if not isinstance(source, Synthetic):
        return reference(source, extractor, progress=progress)
    drawn = source.draw(jax.random.key(0), samples)
    return Seen(np.asarray(drawn["image"]), None, np.asarray(drawn["label"]), (source.modes, source.std))


def drawer(
    gan: GAN,
    extractor: Extractor,
    samples: int,
    label: np.ndarray | None,
    jit: Callable[[Callable], Callable],
) -> Callable[..., tuple[Seen, np.ndarray]]:
    """``(state, seed, progress) -> (what the extractor sees of the samples, the first of them)``.

    Args:
      gan: its functions.
      extractor: the network.
      samples: how many are drawn, `references.BATCH` at a time.
      label: i[N], what a conditional GAN is asked for: the classes of the real images, in their proportions; else None.
      jit: see `in_training`.
    """
    batch = min(BATCH, samples)

    @jit
    def program(state: TrainState, key: Array, asked: dict[str, Array]) -> tuple[Array, Array, Array | None]:
        images = gan.sample(state, key, batch, **asked)
        return images, *extractor.apply(images)

    asked_for = None if label is None else np.resize(label, samples)

    def draw(
        state: TrainState, seed: int, progress: Callable[[int], object] = lambda done: None
    ) -> tuple[Seen, np.ndarray]:
        keys = jax.random.split(jax.random.key(seed), -(-samples // batch))
        first: list[np.ndarray] = []

        def parts() -> Iterator[tuple[Array, Array | None]]:
            for key, rows in zip(keys, blocks(samples, batch), strict=True):
                # The last batch is drawn whole, and what is too much of it is left out.
                asked = {} if asked_for is None else {"label": np.resize(asked_for[rows], batch)}
                images, *seen = program(state, key, asked)
                if not first:
                    first.append(np.asarray(images[:ROWS]))
                yield tuple(seen)

        seen = gather(parts(), lambda done: progress(min(done, samples))).first(samples)
        return seen._replace(label=asked_for), first[0]

    return draw


def measure(real: Seen, fake: Seen, metrics: Sequence[str]) -> dict[str, float]:
    """The metrics, of which only the FIDs look at more real images than there are generated ones."""
    equal = real.first(len(fake.features))
    return {k: v for name in metrics for k, v in compare(real if name in _OF_ALL else equal, fake, [name]).items()}


def neighbours(source: Source, real: Seen, fake: Seen, images: np.ndarray) -> np.ndarray:
    """A table, in each row a generated image and the real ones whose features are nearest to its own, in [-1, 1]."""
    count = min(NEIGHBOURS, len(real.features))
    _, indices = nearest(real.features, fake.features[: len(images)], count)
    found = _floats(source.read(order(source)[indices.ravel()])["image"])
    found = found.reshape(len(images), count, *images.shape[1:])
    return np.concatenate([images[:, None], found], axis=1)


def _extractor(source: Source | Synthetic, given: Extractor | str | None) -> Extractor:
    if isinstance(source, Synthetic):
        if given is not None:
            raise InputError(f"The data {source.name!r} has points, which are their own features. Name no extractor.")
        return POINTS
    if isinstance(given, Extractor):
        return given
    return extractor_of(given or usual(source.name, source.shape[-1]))


def _check(metrics: Sequence[str], real: Seen, config: SampledConfig) -> None:
    """Says what a metric lacks before anything is drawn."""
    check(metrics, real, Seen(real.features, real.logits, real.label if config.labelled else None))


def _about(real: Seen, extractor: Extractor) -> dict[str, Any]:
    return {
        "real": len(real.features),
        "extractor": extractor.name,
        "extractor_digest": extractor.digest,
        "date": datetime.date.today().isoformat(),
    }


def _summary(values: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    columns = {name: [row[name] for row in values] for name in values[0]}
    deviations = {k: float(np.std(v, ddof=1)) for k, v in columns.items()} if len(values) > 1 else {}
    return {k: float(np.mean(v)) for k, v in columns.items()}, deviations


def _floats(images: np.ndarray) -> np.ndarray:
    return images if images.dtype == np.float32 else images.astype(np.float32) / 127.5 - 1
