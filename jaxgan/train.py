"""The trainer: data, a compiled chunk of steps, logs, samples, checkpoints. It knows nothing of any one model."""

import contextlib
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import config as configs
from jaxgan import data, pictures
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import Config
from jaxgan.errors import InputError
from jaxgan.runlog import RunLog, check_tensorboard
from jaxgan.state import TrainState
from jaxgan.turns import slices
from jaxgan.typing import GAN, Array, Key, Mean, Metrics, PyTree

# The host looks up from the device about so often: short enough to stop soon, long enough to cost nothing.
CHUNK_SECONDS = 1.0


def train(
    config: Config,
    run: str | Path,
    *,
    source: data.Source | data.Synthetic | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    quiet: bool = False,
) -> TrainState:
    """Trains a GAN and keeps everything about it in one directory.

    The directory holds ``config.json``, ``metrics.jsonl``, ``samples/*.png`` and ``checkpoints/``. The seed and the
    step alone decide what a step computes: the same configuration gives the same bits, interrupted or not. Ctrl-C and
    SIGTERM save and end.

    Args:
      config: what to train, on what, for how long.
      run: the directory.
      source: the data, by default what ``config.data`` names.
      resume: go on from the newest checkpoint in ``run``.
      overwrite: delete a run that is in ``run`` already.
      tensorboard: write TensorBoard logs as well.
      quiet: print nothing.

    Returns:
      The state at the end.

    Raises:
      InputError: before anything is compiled, if the data, the networks and the configuration do not fit together, or
        the directory is taken.
      KeyboardInterrupt, SystemExit: after saving, when interrupted (SIGTERM: status 143).

    >>> train(PRESETS["digits"].config, "runs/digits")  # doctest: +SKIP
    """
    run = Path(run)
    _check_run(run, resume=resume, overwrite=overwrite)
    if tensorboard:
        check_tensorboard()
    source = source or data.load(
        config.data, data_dir=config.data_dir, split=config.split, image_size=config.image_size
    )
    gan = config.build(source.shape, source.classes)
    init_key, step_key, sample_key = keys(config)
    settings = {**config.settings(), "shape": list(source.shape), "classes": source.classes}
    images = config.batch * slices(gan.step)  # that a step consumes
    feed = data.feed(source, images, config.seed, memory_limit=config.memory_limit << 20)
    start = _newest(run) if resume else 0
    loaded, reach = feed.load(start), feed.limit and start + feed.limit  # the loaded batches end before step `reach`

    # Tracing and restoring come first: whatever does not fit together is said before anything is compiled or written.
    like = jax.eval_shape(gan.init, jax.random.clone(init_key))
    zeros = zero_sums(gan, feed, loaded, like, step_key)
    traced = make_chunk(gan, feed, step_key).lower(like, zeros, loaded, np.int32(1))
    restored = _restore(run, {"state": like, "sums": zeros}, settings) if resume else {}
    _make_run(run, config, overwrite=overwrite)

    with (
        Checkpoints(run / "checkpoints", config.keep) as checkpoints,
        RunLog(run, config.steps, start, tensorboard, quiet) as log,
        _signals() as signals,
    ):
        chunk = traced.compile()
        # Every picture shows the same latents: the key is used again on purpose.
        sample = jax.jit(lambda state: gan.sample(state, jax.random.clone(sample_key), config.samples))
        if resume:
            state, sums = restored["state"], restored["sums"]
        else:
            state, sums = jax.jit(gan.init)(init_key), zeros
            pictures.save(feed.draw(loaded, jnp.int32(0))["image"][: config.samples], run / "samples/real.png")
            pictures.save(sample(state), run / f"samples/{0:06d}.png")
        step = start
        pace, busy, logged = 1, 0.0, step  # steps of the next chunk; seconds and step since the last row

        while step < config.steps and not signals:
            if feed.limit and step == reach:
                loaded, reach = feed.load(step), step + feed.limit
            events = (step + n - step % n for n in (config.log_every, config.sample_every, config.save_every))
            end = min(step + pace, config.steps, reach or config.steps, *events)

            began = time.perf_counter()
            state, sums = jax.block_until_ready(chunk(state, sums, loaded, np.int32(end - step)))
            took = time.perf_counter() - began
            pace = max(1, min(4 * pace, int(CHUNK_SECONDS * (end - step) / took)))
            busy, step = busy + took, end
            log.advance(step)

            last = step == config.steps
            if last or step % config.log_every == 0:
                log.row(step, means(sums), images * (step - logged) / busy)
                busy, logged = 0.0, step
            if step % config.log_every == 0:  # a run that ends in between may be resumed: its sums go on
                sums = jax.tree.map(jnp.zeros_like, sums)
            if last or step % config.sample_every == 0:
                pictures.save(sample(state), run / f"samples/{step:06d}.png")
            if step % config.save_every == 0:
                checkpoints.save(step, {"state": state, "sums": sums}, settings)
        checkpoints.save(step, {"state": state, "sums": sums}, settings)  # at the end, or where it was interrupted
    if signals:
        raise KeyboardInterrupt if signals[0] == signal.SIGINT else SystemExit(128 + signals[0])
    return state


def keys(config: Config) -> tuple[Key, Key, Key]:
    """The keys of a run: for the initial parameters, for the steps, for the pictures of samples."""
    init_key, step_key, sample_key = jax.random.split(jax.random.key(config.seed), 3)
    return init_key, step_key, sample_key


def make_chunk(gan: GAN, feed: data.Feed, key: Key) -> Callable:
    """A run of steps as one program, ``(state, sums, loaded, n) -> (state, sums)``; state and sums are donated.

    The number of steps is an argument, so one program serves every chunk, and a chunk may end on any step. The metrics
    are summed up on the device, from row to row of the log.
    """

    def chunk(state: TrainState, sums: PyTree, loaded: PyTree, n: Array) -> tuple[TrainState, PyTree]:
        def body(_: Array, carry: tuple[TrainState, PyTree]) -> tuple[TrainState, PyTree]:
            state, sums = carry
            state, metrics = gan.step(state, feed.draw(loaded, state.step), key)
            return state, jax.tree.map(jnp.add, sums, _countable(metrics))

        return jax.lax.fori_loop(0, n, body, (state, sums))

    return jax.jit(chunk, donate_argnums=(0, 1))


def zero_sums(gan: GAN, feed: data.Feed, loaded: PyTree, like: TrainState, key: Key) -> dict[str, Mean]:
    """The sums of no steps at all."""
    shapes = jax.eval_shape(lambda s, d: _countable(gan.step(s, feed.draw(d, s.step), key)[1]), like, loaded)
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def means(sums: dict[str, Mean]) -> dict[str, float]:
    """The means of the metrics; one that was never measured is left out."""
    sums = jax.device_get(sums)
    return {name: float(total / count) for name, (total, count) in sums.items() if count > 0}


def _countable(metrics: Metrics) -> dict[str, Mean]:
    one = jnp.ones((), jnp.float32)
    return {name: m if isinstance(m, Mean) else Mean(m.astype(jnp.float32), one) for name, m in metrics.items()}


def _check_run(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Says whether the directory of a run can be used; touches nothing."""
    is_run = (run / "config.json").is_file()
    if resume:
        if not is_run:
            raise InputError(f"{run} is no run: it has no config.json. Start one with `jaxgan train --run {run}`.")
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        if not overwrite:
            raise InputError(
                f"{run} exists already. Go on with it by `jaxgan resume {run}`, choose another directory with "
                "--run, or replace it with --overwrite."
            )
        if not is_run:
            raise InputError(
                f"{run} has no config.json, so it is no run, and it will not be deleted. Choose another directory."
            )


def _newest(run: Path) -> int:
    with Checkpoints(run / "checkpoints") as checkpoints:
        return checkpoints.latest() or 0


def _restore(run: Path, like: dict[str, PyTree], settings: dict) -> dict[str, PyTree]:
    with Checkpoints(run / "checkpoints") as checkpoints:
        return checkpoints.restore(like, settings)


def _make_run(run: Path, config: Config, *, overwrite: bool) -> None:
    """Makes the directory of a run that `_check_run` let pass, or says why it can't."""
    try:
        if overwrite and run.exists():
            shutil.rmtree(run)
        (run / "samples").mkdir(parents=True, exist_ok=True)
        configs.write(config, run / "config.json")
    except OSError as error:
        raise InputError(f"{run} cannot be written: {error.strerror}. Choose another directory with --run.") from error


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects Ctrl-C and SIGTERM in a list instead of dying of them; a second one does no harm."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # only the main thread may set handlers
        return
    before = {n: signal.signal(n, lambda n, _: caught.append(n)) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def open_run(run: str | Path) -> Config:
    """The configuration of a run.

    Raises:
      InputError: if the directory is no run, or its configuration cannot be read.
    """
    run = Path(run)
    if not (run / "config.json").is_file():
        raise InputError(f"{run} is no run: it has no config.json. `jaxgan train --run {run}` starts one there.")
    return configs.read(run / "config.json")


def draw_samples(run: str | Path, count: int, seed: int = 0, step: int | None = None) -> Array:
    """Samples of a trained GAN, drawn with the averaged parameters.

    Args:
      run: directory of the run.
      count: how many.
      seed: of the latents.
      step: of the checkpoint, by default the newest.

    Returns:
      f32[count, H, W, C] in [-1, 1], or f32[count, 2] for points.

    Raises:
      InputError: if there is no run, or no such checkpoint.
    """
    if count < 1:
        raise InputError(f"count is {count}; at least one sample can be drawn.")
    config = open_run(run)
    with Checkpoints(Path(run) / "checkpoints") as checkpoints:
        settings = checkpoints.settings(step)
        gan = config.build(tuple(settings["shape"]), settings["classes"])
        like = jax.eval_shape(gan.init, jax.random.key(0))
        state = checkpoints.restore({"state": like}, step=step)["state"]
    return jax.jit(gan.sample, static_argnums=2)(state, jax.random.key(seed), count)
