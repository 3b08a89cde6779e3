"""Lookahead over all players: slow weights that the fast ones fall back to (Chavdarova et al. 2021)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan.errors import InputError
from jaxgan.state import TrainState
from jaxgan.turns import when
from jaxgan.typing import Array, Batch, Key, Metrics, PyTree, Turn


class Lookahead(NamedTuple):
    """When the players fall back, and how far.

    Attributes:
      k: steps from one to the next.
      alpha: the share of the way from the slow weights to the fast ones that is kept.
    """

    k: int = 5
    alpha: float | Array = 0.5


def look_ahead(lookahead: Lookahead) -> Turn:
    """After every k steps moves the slow weights towards the fast ones, and these to the slow (algorithm 1).

    https://arxiv.org/abs/2006.14567: ``slow += alpha * (fast - slow)``, ``fast = slow``, of all players at once. It
    stands after the players' turns and before `average`. The states of the transforms stay as they are.

    Args:
      lookahead: its alpha may be traced.

    Returns:
      A turn for a state with the slow weights in ``memory["lookahead"]``, as `with_slow_weights` makes it.

    Raises:
      InputError: for a k below 1 or an alpha outside of (0, 1].

    >>> train_step(d_turn, g_turn, look_ahead(Lookahead(k=5)), average("generator", 10_000))  # doctest: +SKIP
    """
    k, alpha = lookahead
    if k < 1:
        raise InputError(f"Lookahead's k is {k}; the players fall back after every so many steps, at least 1.")
    if isinstance(alpha, int | float) and not 0 < alpha <= 1:
        raise InputError(f"Lookahead's alpha is {alpha}; of the way a share above 0 and at most 1 is kept.")

    def fall_back(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        del batch, key
        slow: PyTree = optax.incremental_update(state.params, state.memory["lookahead"], alpha)
        return state.replace(params=slow, memory=state.memory | {"lookahead": slow}), {}

    # The step is counted at its end.
    return when(lambda state: (state.step + 1) % k == 0, fall_back)


def with_slow_weights(state: TrainState, lookahead: Lookahead | None) -> TrainState:
    """The state at the start, with the slow weights of all players in its memory if there is a lookahead."""
    if lookahead is None:
        return state
    # A copy: a state that is donated must not hold one buffer twice.
    return state.replace(memory=state.memory | {"lookahead": jax.tree.map(jnp.copy, state.params)})
