"""A run of steps as one program: what the trainer calls between two looks at the clock."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import axis, data
from jaxgan.finite import Check, bad_share, check, keep
from jaxgan.parallel import WHOLE, Engine
from jaxgan.state import TrainState
from jaxgan.typing import GAN, Array, Key, Mean, Metrics, PyTree


def make_chunk(gan: GAN, engine: Engine, feed: data.Feed, layout: PyTree, before: Check) -> Callable:
    """``(state, sums, loaded, n, key) -> (state, sums, check)``: n steps, or those before the first that is not finite.

    Of such a step nothing is kept; its check says what was found. The number of steps is an argument, so one program
    serves every chunk, and a chunk may end on any step. The metrics are summed up on the device, from row to row of the
    log. State and sums are donated.

    Args:
      gan: its functions.
      engine: that compiles it.
      feed: of the data.
      layout: of the state.
      before: the check of no step, as `blank` gives it.
    """

    def chunk(state: TrainState, sums: PyTree, loaded: PyTree, n: Array, key: Key) -> tuple[TrainState, PyTree, Check]:
        def go_on(carry: tuple[TrainState, PyTree, Check, Array]) -> Array:
            return (carry[3] > 0) & carry[2].ok

        def step(carry: tuple[TrainState, PyTree, Check, Array]) -> tuple[TrainState, PyTree, Check, Array]:
            state, sums, _, left = carry
            after, metrics = gan.step(state, feed.draw(loaded, state.step), jax.random.clone(key))
            found = check(after, metrics)
            sums = jax.tree.map(jnp.add, sums, tally(metrics, found.ok))
            return keep(found.ok, after, state), sums, found, left - 1

        return jax.lax.while_loop(go_on, step, (state, sums, jax.tree.map(jnp.asarray, before), n))[:3]

    ins = (layout, WHOLE, engine.specs(feed.split), WHOLE, WHOLE)
    return engine.compile(chunk, ins, (layout, WHOLE, WHOLE), donate=(0, 1))


def blank(
    gan: GAN, engine: Engine, feed: data.Feed, loaded: PyTree, like: TrainState, key: Key
) -> tuple[dict[str, Mean], Check]:
    """The sums and the check of no steps at all."""

    def once(state: TrainState, loaded: PyTree, key: Key) -> tuple[dict[str, Mean], Check]:
        after, metrics = gan.step(state, feed.draw(loaded, state.step), key)
        found = check(after, metrics)
        return tally(metrics, found.ok), found

    program = engine.compile(once, (engine.layout(like), engine.specs(feed.split), WHOLE), WHOLE)
    sums, found = jax.eval_shape(program, like, loaded, key)
    empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), sums)
    return empty, jax.tree.map(lambda x: np.ones(x.shape, x.dtype), found)


def make_look(engine: Engine, feed: data.Feed) -> Callable[[PyTree, Any], dict[str, Array]]:
    """``(loaded, step) -> finite.bad_share`` of the batch of that step."""

    def look(loaded: PyTree, step: Array) -> dict[str, Array]:
        return axis.mean(bad_share(feed.draw(loaded, step)), engine.axis_name)

    return engine.compile(look, (engine.specs(feed.split), WHOLE), WHOLE)


def tally(metrics: Metrics, ok: Array) -> dict[str, Mean]:
    """What a step adds to the sums: every metric and its count, nothing if it is not ok; and whether it was skipped."""
    one = jnp.ones((), jnp.float32)
    counted = {name: m if isinstance(m, Mean) else Mean(m.astype(jnp.float32), one) for name, m in metrics.items()}
    counted = jax.tree.map(lambda x: jnp.where(ok, x, 0), counted)
    return counted | {"skipped": Mean(1 - ok.astype(jnp.float32), one)}


def means(sums: dict[str, Mean]) -> dict[str, float]:
    """The means of the metrics; one that was never measured is left out."""
    sums = jax.device_get(sums)
    return {name: float(total / count) for name, (total, count) in sums.items() if count > 0}
