"""The trainer: data, a compiled chunk of steps, logs, samples, checkpoints. It knows nothing of any one model."""

import contextlib
import functools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data, parallel, processes, rundir
from jaxgan.checkpoint import Checkpoints, differences, versions
from jaxgan.chunk import blank, make_chunk, make_look, means
from jaxgan.config import Config
from jaxgan.config.base import View
from jaxgan.data.fingerprint import fingerprint
from jaxgan.errors import RunError, RunWarning
from jaxgan.evaluate import InTraining, in_training
from jaxgan.finite import origin
from jaxgan.interruption import Interrupted, Signals, aside, signals
from jaxgan.parallel import WHOLE, Engine
from jaxgan.rundir import Run
from jaxgan.runlog import check_tensorboard
from jaxgan.state import TrainState
from jaxgan.turns import slices
from jaxgan.typing import Key, PyTree

# The host looks up from the device about so often: short enough to stop soon, long enough to cost nothing.
CHUNK_SECONDS = 1.0
# How often a run goes back to a checkpoint, and how many steps in a row it leaves out, before it ends.
ROLLBACKS, SKIPS = 3, 100


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

    The directory holds ``config.json``, ``metrics.jsonl``, ``samples/*.png`` and ``checkpoints/``, where
    ``config.eval_every`` asks for evaluations ``evaluations.jsonl`` and ``neighbours/*.png``, and ``events.jsonl`` if
    there was anything unusual. The seed and the step alone decide what a step computes: the same configuration gives
    the same bits, interrupted or not; on another number of devices it gives the same up to the order of sums. Ctrl-C,
    SIGTERM and SIGHUP save and end. A step that is not finite never reaches the state: see ``config.on_nonfinite``.

    Args:
      config: what to train, on what, for how long.
      run: the directory.
      engine: on which devices and how, by default `parallel.sharded` on all. A run may be resumed on another.
      source: the data, by default what ``config.data`` names.
      resume: go on from the newest good checkpoint in ``run``; a run that died before its first begins again.
      overwrite: delete a run that is in ``run`` already.
      tensorboard: write TensorBoard logs as well.
      quiet: print nothing.

    Returns:
      The state at the end.

    Raises:
      InputError: before anything is compiled, if the data, the networks, the devices and the configuration do not fit
        together, or the directory is taken.
      RunError: if a step is not finite and the run ends with it, or a file cannot be written: what was saved before is
        kept.
      KeyboardInterrupt, SystemExit: after saving, when interrupted (SIGTERM: status 143).

    Warns:
      RunWarning: of checkpoints that are no longer as they were written, and of what differs from the run before that
        is resumed: versions, data, settings that may change.

    >>> train(PRESETS["digits"].config, "runs/digits")  # doctest: +SKIP
    """
    run, engine = Path(run), engine or parallel.sharded()
    with signals() as caught:
        processes.check_same({**config.as_data(), "data_dir": None, "engine": engine.name, "resume": resume})
        rundir.check(run, resume=resume, overwrite=overwrite)
        if tensorboard:
            check_tensorboard()
        part = config.smallest_batch
        engine.check(part, "An update" if part == config.batch else "A microbatch")
        source = source or config.load()
        gan = config.build(source.shape, source.classes, engine.axis_name)
        init_key, step_key, sample_key = keys(config)
        about = describe(config, source)
        images = config.batch * slices(gan.step)  # that a step consumes
        feed = make_feed(config, source, images, engine)
        start = _newest(run) if resume else 0
        loaded = feed.load(start)

        # Tracing and restoring come first: whatever does not fit together is said before anything is compiled or
        # written.
        like = jax.eval_shape(gan.init, jax.random.clone(init_key))
        layout = engine.layout(like)
        empty, before = blank(gan, engine, feed, loaded, like, step_key)
        chunk = make_chunk(gan, engine, feed, layout, before).lower(like, empty, loaded, np.int32(1), step_key)
        progress = {"sums": empty, "rollbacks": np.zeros((), np.int32)}
        wanted = engine.shaped({"state": like, "progress": progress}, {"state": layout, "progress": WHOLE})
        restored = _restore(run, start, wanted, about) if start else None
        whole = functools.partial(jax.jit, out_shardings=engine.shardings(WHOLE))
        evaluation = in_training(config, gan, source, whole)
        rundir.make(run, config, overwrite=overwrite)

        # Every picture shows the same latents: the key is used again on purpose.
        view = config.view(source, feed)
        sample = whole(lambda state: view.draw(gan, state, jax.random.clone(sample_key)))
        init = engine.init(gan)

        def begin() -> dict[str, PyTree]:
            return {"state": init(jax.random.clone(init_key)), "progress": engine.replicate(progress)}

        if not quiet and processes.first():
            what = source.name
            if isinstance(source, data.Source):
                what += f", {source.size:,} images of {' x '.join(map(str, source.shape))}"
            print(f"{run}: {what}; compiling", flush=True)
        compiled = aside(chunk.compile)
        items = restored or aside(begin)
        with caught.noted(), written(run), Run(run, config, about, start, tensorboard, quiet) as out:

            def back() -> tuple[int, dict[str, PyTree]]:
                return out.back(wanted) or (0, begin())

            program = Program(compiled, sample, view, feed, images, step_key, evaluation, make_look(engine, feed), back)
            return loop(config, program, items, loaded, start, [out], lambda tree, _: tree, caught)
    raise AssertionError("an interruption ends in signals()")


class Program(NamedTuple):
    """What the loop runs.

    Attributes:
      chunk: compiled, ``(state, sums, loaded, n, key) -> (state, sums, check)``: n steps.
      sample: ``state -> images``, what a picture shows.
      view: how.
      feed: the data.
      images: that a step consumes.
      key: of the steps.
      evaluation: metrics while it trains, None: there are none.
      look: ``(loaded, step) -> finite.bad_share``, and
      back: ``() -> (step, items)``, where the run goes on after a step that is not finite. None: every step is.
    """

    chunk: Callable
    sample: Callable
    view: View
    feed: data.Feed
    images: int
    key: Key
    evaluation: InTraining | None = None
    look: Callable | None = None
    back: Callable | None = None


def loop(
    config: Config,
    program: Program,
    items: dict[str, PyTree],
    loaded: PyTree,
    start: int,
    runs: Sequence[Run],
    member: Callable[[PyTree, int], PyTree],
    caught: Signals,
) -> TrainState:
    """Trains to the last step or to a signal: chunks of steps, and between them rows, pictures and checkpoints.

    Args:
      config: of one run, or what all runs of an ensemble have in common.
      program: what is run.
      items: where to begin: the "state"; and the "progress", the "sums" of the metrics since the last row, and how
        often the run has gone back, "rollbacks", which is a part of what decides its random numbers. Donated.
      loaded: data of the step ``start``.
      start: the step.
      runs: where the outputs go.
      member: (state, sums or samples, i) -> what belongs to run i.
      caught: training ends at the first signal.

    Returns:
      The state at the end.

    Raises:
      RunError: if a step is not finite and the run cannot go on, after saving.
    """
    chunk, sample, view, feed, images, key, evaluation, look, back = program
    state, sums, rollbacks = items["state"], items["progress"]["sums"], int(items["progress"]["rollbacks"])
    step, reach = start, feed.limit and start + feed.limit  # the loaded batches end before step `reach`
    pace, busy, logged = 1, 0.0, start  # steps of the next chunk; seconds and step since the last row
    skipped = 0  # steps in a row
    every = [config.log_every, config.sample_every, config.save_every, *([evaluation.every] if evaluation else [])]
    stopped = False  # as all processes know it; one may have caught a signal since

    def save(step: int, score: float | None = None) -> None:
        for i, run in enumerate(runs):
            progress = {"sums": member(sums, i), "rollbacks": np.array(rollbacks, np.int32)}
            run.save(step, {"state": member(state, i), "progress": progress}, score)

    def pictures(step: int) -> None:
        drawn = sample(state)
        for i, run in enumerate(runs):
            run.picture(f"{step:06d}", member(drawn, i), view.across)

    def evaluate(step: int) -> float | None:
        """The score; one process gives an evaluation up for a signal."""
        assert evaluation
        try:
            with contextlib.nullcontext() if jax.process_count() > 1 else caught.at_once():
                values, picture = evaluation.measure(state)
        except Interrupted:
            return None
        for run in runs:
            run.evaluation(step, values, picture, evaluation.best)
        return evaluation.best(values) if evaluation.best else None

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
        current = jax.random.fold_in(key, rollbacks) if rollbacks else key
        state, sums, found = jax.block_until_ready(chunk(state, sums, loaded, np.int32(end - step), current))
        took, ok = time.perf_counter() - began, bool(found.ok)
        begun, step = step, end if ok else int(state.step)
        pace = max(1, min(4 * pace, int(CHUNK_SECONDS * max(1, step - begun) / took)))
        busy += took
        skipped = 0 if step > begun else skipped
        for run in runs:
            run.advance(step)
        # All processes run chunks of the same length and stop at the same step.
        paces, numbers = processes.agree(np.array([pace, caught.number])).T
        pace, stopped = int(paces.min()), bool(numbers.any())
        if stopped and not caught.number:
            caught.number = int(numbers.max())  # another process's: this one ends with the same status

        if not ok:
            assert look and back
            fault = f"Step {step} is not finite: {origin(jax.device_get(found), look(loaded, np.int32(step)))}."
            if config.on_nonfinite == "rollback" and rollbacks < ROLLBACKS:
                rollbacks += 1
                step, items = back()
                state, sums = items["state"], items["progress"]["sums"]
                loaded, reach = feed.load(step), feed.limit and step + feed.limit
                busy, logged = 0.0, step
                text = (
                    f"{fault} The run goes on from step {step} with other random numbers ({rollbacks} of {ROLLBACKS})."
                )
                _tell(runs, step, "rollback", text)
                continue
            if config.on_nonfinite != "skip" or skipped == SKIPS:
                save(step)
                text = f"{fault} {_advice(config, skipped, rollbacks)}"
                _tell(runs, step, "halt", text)
                raise RunError(text)
            skipped += 1
            _tell(runs, step, "skip", f"{fault} It was left out.")
            state, step = state.replace(step=state.step + 1), step + 1

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
            save(step, evaluate(step))
        elif step % config.save_every == 0:
            save(step)
    save(step)  # at the end, or where it was interrupted
    return state


def keys(config: Config) -> tuple[Key, Key, Key]:
    """The keys of a run: for the initial parameters, for the steps, for the pictures of samples."""
    init_key, step_key, sample_key = jax.random.split(jax.random.key(config.seed), 3)
    return init_key, step_key, sample_key


def make_feed(config: Config, source: data.AnySource, images: int, engine: Engine) -> data.Feed:
    """The feed of a run whose steps consume so many images, on all devices together."""
    return data.feed(
        source,
        images,
        config.seed,
        memory_limit=config.memory_limit << 20,
        share=engine.share(images),
        axis_name=engine.axis_name,
    )


def describe(config: Config, source: data.AnySource) -> dict[str, Any]:
    """What the checkpoints of a run say about it."""
    return {"settings": config.settings(source), "config": config.as_data(), "data": fingerprint(source)}


@contextlib.contextmanager
def written(run: Path) -> Iterator[None]:
    """What the operating system says of a file that cannot be written, as an error of the run."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{error.filename or run} could not be written: {error.strerror}. The checkpoints in {run} are as they "
            f"were. Mend that and go on with `jaxgan resume {run}`."
        ) from error


def _newest(run: Path) -> int:
    if not (run / "checkpoints").is_dir():
        return 0
    with Checkpoints(run / "checkpoints") as checkpoints:
        return checkpoints.newest() or 0


def _restore(run: Path, step: int, wanted: dict[str, PyTree], about: dict[str, Any]) -> dict[str, PyTree]:
    """A checkpoint to go on from; warns of what is no longer as it was when it was saved."""
    with Checkpoints(run / "checkpoints") as checkpoints:
        items, then = checkpoints.restore(wanted, step, about["settings"]), checkpoints.about(step)
    ours = {name: value for name, value in about["config"].items() if name != "steps"}  # to train longer is usual
    changed = [
        *differences(then["versions"], versions()),
        *differences({name: value for name, value in then["config"].items() if name in ours}, ours),
        *differences({"data": then["data"]}, {"data": about["data"]}),
    ]
    if changed:
        warnings.warn(
            f"{run} goes on from step {step}, but not all is as it was (checkpoint -> now):\n  " + "\n  ".join(changed),
            RunWarning,
            stacklevel=3,
        )
    return items


def _tell(runs: Sequence[Run], step: int, kind: str, text: str) -> None:
    for run in runs:
        run.event(step, kind, text)


def _advice(config: Config, skipped: int, rollbacks: int) -> str:
    if skipped:
        return f"It is the {skipped + 1}th in a row; the state before them is saved."
    tried = f"The run has gone back {rollbacks} times already; the" if rollbacks else "The"
    return (
        f"{tried} state before it is saved. `jaxgan resume RUN --on-nonfinite skip` leaves such steps out, "
        "--on-nonfinite rollback goes back and tries other random numbers; lower learning rates, a gradient penalty or "
        "float32 may mend it."
    )
