"""The trainer: data, a compiled chunk of steps, logs, samples, checkpoints. It knows nothing of any one model."""

import contextlib
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data, parallel, processes, rundir
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import Config
from jaxgan.config.base import View
from jaxgan.evaluate import InTraining, in_training
from jaxgan.parallel import WHOLE, Engine
from jaxgan.rundir import Run
from jaxgan.runlog import check_tensorboard
from jaxgan.state import TrainState
from jaxgan.turns import slices
from jaxgan.typing import GAN, Array, Key, Mean, Metrics, PyTree

# The host looks up from the device about so often: short enough to stop soon, long enough to cost nothing.
CHUNK_SECONDS = 1.0


def train(
    config: Config,
    run: str | Path,
    *,
    engine: Engine | None = None,
    source: data.AnySource | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    quiet: bool = False,
) -> TrainState:
    """Trains a GAN and keeps everything about it in one directory.

    The directory holds ``config.json``, ``metrics.jsonl``, ``samples/*.png`` and ``checkpoints/``, and where
    ``config.eval_every`` asks for evaluations ``evaluations.jsonl`` and ``neighbours/*.png``. The seed and the
    step alone decide what a step computes: the same configuration gives the same bits, interrupted or not; on another
    number of devices it gives the same up to the order of sums. Ctrl-C and SIGTERM save and end.

    Args:
      config: what to train, on what, for how long.
      run: the directory.
      engine: on which devices and how, by default `parallel.sharded` on all. A run may be resumed on another.
      source: the data, by default what ``config.data`` names.
      resume: go on from the newest checkpoint in ``run``; a run that died before its first begins again.
      overwrite: delete a run that is in ``run`` already.
      tensorboard: write TensorBoard logs as well.
      quiet: print nothing.

    Returns:
      The state at the end.

    Raises:
      InputError: before anything is compiled, if the data, the networks, the devices and the configuration do not fit
        together, or the directory is taken.
      KeyboardInterrupt, SystemExit: after saving, when interrupted (SIGTERM: status 143).

    >>> train(PRESETS["digits"].config, "runs/digits")  # doctest: +SKIP
    """
    run, engine = Path(run), engine or parallel.sharded()
    processes.check_same({**config.as_data(), "data_dir": None, "engine": engine.name, "resume": resume})
    rundir.check(run, resume=resume, overwrite=overwrite)
    if tensorboard:
        check_tensorboard()
    part = config.smallest_batch
    engine.check(part, "An update" if part == config.batch else "A microbatch")
    source = source or config.load()
    gan = config.build(source.shape, source.classes, engine.axis_name)
    init_key, step_key, sample_key = keys(config)
    settings = config.settings(source)
    images = config.batch * slices(gan.step)  # that a step consumes
    feed = data.feed(
        source,
        images,
        config.seed,
        memory_limit=config.memory_limit << 20,
        share=engine.share(images),
        axis_name=engine.axis_name,
    )
    start = _newest(run) if resume else 0
    loaded = feed.load(start)

    # Tracing and restoring come first: whatever does not fit together is said before anything is compiled or written.
    state = jax.eval_shape(gan.init, jax.random.clone(init_key))
    layout = engine.layout(state)
    sums = engine.replicate(zero_sums(gan, engine, feed, loaded, state, step_key))
    chunk = make_chunk(gan, engine, feed, layout, step_key).lower(state, sums, loaded, np.int32(1))
    if start:
        like = engine.shaped({"state": state, "sums": sums}, {"state": layout, "sums": WHOLE})
        state, sums = _restore(run, like, settings)
    whole = functools.partial(jax.jit, out_shardings=engine.shardings(WHOLE))
    evaluation = in_training(config, gan, source, whole)
    rundir.make(run, config, overwrite=overwrite)

    # Every picture shows the same latents: the key is used again on purpose.
    view = config.view(source, feed)
    sample = whole(lambda state: view.draw(gan, state, jax.random.clone(sample_key)))
    with Run(run, config, settings, start, tensorboard, quiet) as out, signals() as caught:
        program = Program(chunk.compile(), sample, view, feed, images, evaluation)
        if not start:
            state = engine.init(gan)(init_key)
        state, stopped = loop(config, program, state, sums, loaded, start, [out], lambda tree, _: tree, caught)
    stop(stopped)
    return state


class Program(NamedTuple):
    """What the loop runs.

    Attributes:
      chunk: compiled, ``(state, sums, loaded, n) -> (state, sums)``: n steps.
      sample: ``state -> images``, what a picture shows.
      view: how.
      feed: the data.
      images: that a step consumes.
      evaluation: metrics while it trains, None: there are none.
    """

    chunk: Callable
    sample: Callable
    view: View
    feed: data.Feed
    images: int
    evaluation: InTraining | None = None


def loop(
    config: Config,
    program: Program,
    state: TrainState,
    sums: PyTree,
    loaded: PyTree,
    start: int,
    runs: Sequence[Run],
    member: Callable[[PyTree, int], PyTree],
    signals: Sequence[int],
) -> tuple[TrainState, int]:
    """Trains to the last step or to a signal: chunks of steps, and between them rows, pictures and checkpoints.

    Args:
      config: of one run, or what all runs of an ensemble have in common.
      program: what is run.
      state: where to begin; donated.
      sums: of the metrics since the last row; donated.
      loaded: data of the step ``start``.
      start: the step.
      runs: where the outputs go.
      member: (state, sums or samples, i) -> what belongs to run i.
      signals: signals that were caught; training ends at the first.

    Returns:
      The state at the end, and the signal that ended training, or 0.
    """
    chunk, sample, view, feed, images, evaluation = program
    step, reach = start, feed.limit and start + feed.limit  # the loaded batches end before step `reach`
    pace, busy, logged = 1, 0.0, start  # steps of the next chunk; seconds and step since the last row
    every = [config.log_every, config.sample_every, config.save_every, *([evaluation.every] if evaluation else [])]
    stopped = 0  # the signal that all processes know of; one may have caught another since

    def save(step: int, score: float | None = None) -> None:
        for i, run in enumerate(runs):
            run.save(step, {"state": member(state, i), "sums": member(sums, i)}, score)

    def pictures(step: int) -> None:
        drawn = sample(state)
        for i, run in enumerate(runs):
            run.picture(f"{step:06d}", member(drawn, i), view.across)

    if start == 0:
        for run in runs:
            run.picture("real", view.data, view.across)
        pictures(0)

    while step < config.steps and not stopped:
        if feed.limit and step == reach:
            loaded, reach = feed.load(step), step + feed.limit
        events = (step + n - step % n for n in every)
        end = min(step + pace, config.steps, reach or config.steps, *events)

        began = time.perf_counter()
        state, sums = jax.block_until_ready(chunk(state, sums, loaded, np.int32(end - step)))
        took = time.perf_counter() - began
        pace = max(1, min(4 * pace, int(CHUNK_SECONDS * (end - step) / took)))
        busy, step = busy + took, end
        for run in runs:
            run.advance(step)
        # All processes run chunks of the same length and stop at the same step.
        paces, caught = processes.agree(np.array([pace, signals[0] if signals else 0])).T
        pace, stopped = int(paces.min()), int(caught.max())

        last = step == config.steps
        if last or step % config.log_every == 0:
            speed = images * (step - logged) / busy
            for i, run in enumerate(runs):
                run.row(step, means(member(sums, i)), speed)
            busy, logged = 0.0, step
        if step % config.log_every == 0:  # a run that ends in between may be resumed: its sums go on
            sums = jax.tree.map(jnp.zeros_like, sums)
        if last or step % config.sample_every == 0:
            pictures(step)
        if evaluation and (last or step % evaluation.every == 0):
            values, picture = evaluation.measure(state)
            for run in runs:
                run.evaluation(step, values, picture, evaluation.best)
            save(step, evaluation.best(values))
        elif step % config.save_every == 0:
            save(step)
    save(step)  # at the end, or where it was interrupted
    return state, stopped


def keys(config: Config) -> tuple[Key, Key, Key]:
    """The keys of a run: for the initial parameters, for the steps, for the pictures of samples."""
    init_key, step_key, sample_key = jax.random.split(jax.random.key(config.seed), 3)
    return init_key, step_key, sample_key


def make_chunk(gan: GAN, engine: Engine, feed: data.Feed, layout: PyTree, key: Key) -> Callable:
    """A run of steps as one program, ``(state, sums, loaded, n) -> (state, sums)``; state and sums are donated.

    The number of steps is an argument, so one program serves every chunk, and a chunk may end on any step. The metrics
    are summed up on the device, from row to row of the log.
    """

    def chunk(state: TrainState, sums: PyTree, loaded: PyTree, n: Array) -> tuple[TrainState, PyTree]:
        def step(_: Array, carry: tuple[TrainState, PyTree]) -> tuple[TrainState, PyTree]:
            state, sums = carry
            state, metrics = gan.step(state, feed.draw(loaded, state.step), key)
            return state, jax.tree.map(jnp.add, sums, countable(metrics))

        return jax.lax.fori_loop(0, n, step, (state, sums))

    ins = (layout, WHOLE, engine.specs(feed.split), WHOLE)
    return engine.compile(chunk, ins, (layout, WHOLE), donate=(0, 1))


def zero_sums(gan: GAN, engine: Engine, feed: data.Feed, loaded: PyTree, like: TrainState, key: Key) -> dict[str, Mean]:
    """The sums of no steps at all."""

    def metrics(state: TrainState, loaded: PyTree) -> dict[str, Mean]:
        return countable(gan.step(state, feed.draw(loaded, state.step), key)[1])

    program = engine.compile(metrics, (engine.layout(like), engine.specs(feed.split)), WHOLE)
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), jax.eval_shape(program, like, loaded))


def countable(metrics: Metrics) -> dict[str, Mean]:
    """Every metric as a sum and a count."""
    one = jnp.ones((), jnp.float32)
    return {name: m if isinstance(m, Mean) else Mean(m.astype(jnp.float32), one) for name, m in metrics.items()}


def means(sums: dict[str, Mean]) -> dict[str, float]:
    """The means of the metrics; one that was never measured is left out."""
    sums = jax.device_get(sums)
    return {name: float(total / count) for name, (total, count) in sums.items() if count > 0}


def _newest(run: Path) -> int:
    with Checkpoints(run / "checkpoints") as checkpoints:
        return checkpoints.latest() or 0


def _restore(run: Path, like: dict[str, PyTree], settings: dict) -> tuple[PyTree, PyTree]:
    with Checkpoints(run / "checkpoints") as checkpoints:
        restored = checkpoints.restore(like, settings)
    return restored["state"], restored["sums"]


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
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


def stop(number: int) -> None:
    """Ends as the signal would have; 0 does nothing."""
    if number:
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
