"""A game, the gradients of its players, and their steps: what all rules are made of."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import optax

from jaxgan import axis
from jaxgan.state import TrainState
from jaxgan.turns import merge
from jaxgan.typing import Array, Aux, Batch, Key, LossFn, Metrics, Params, Turn

# {"generator": (loss, tx), ...}: what each player minimises, and with which optax transform.
Game: TypeAlias = Mapping[str, tuple[LossFn, optax.GradientTransformation]]

# (game, *, axis_name) -> turn: one update of every player.
Rule: TypeAlias = Callable[..., Turn]

# Parameters by player, and what has their structure: gradients, products with the Jacobian.
Players: TypeAlias = dict[str, Params]

# By player the loss, and what it returns beside it.
Losses: TypeAlias = dict[str, tuple[Array, Aux]]


def gradients(game: Game, params: Players, state: TrainState, batch: Batch, key: Key) -> tuple[Players, Losses]:
    """Every player's gradient of its own loss, where the players have these parameters.

    All losses get the same key, so that those that draw their latents in the same way see the same fakes. Under a named
    axis the gradients are those of the replica's rows, if the parameters are `axis.varying`.

    Args:
      game: the losses.
      params: of the game's players; those of others, and everything else, come from the state.
      state: what the losses look at.
      batch: the same for all.
      key: the same for all.
    """
    seen, grads, losses = state.replace(params=state.params | params), {}, {}
    for player, (loss, _) in game.items():
        gradient = jax.value_and_grad(loss, has_aux=True)
        # The reuse is wanted; `clone` tells the key-reuse checker so.
        losses[player], grads[player] = gradient(params[player], seen, batch, jax.random.clone(key))
    return grads, losses


def take(game: Game, state: TrainState, axis_name: str | None) -> Players:
    """The parameters of the game's players, ready to be differentiated by."""
    return axis.varying({player: state.params[player] for player in game}, axis_name)


def move(game: Game, state: TrainState, grads: Players) -> TrainState:
    """One step of every player's transform along what stands for its gradient, averaged over the axis."""
    params, opt_state = {}, {}
    for player, (_, tx) in game.items():
        own = state.params[player]
        updates, opt_state[player] = tx.update(grads[player], state.opt_state[player], own)
        params[player] = optax.apply_updates(own, updates)
    return state.replace(params=state.params | params, opt_state=state.opt_state | opt_state)


def note(state: TrainState, grads: Players, losses: Losses, axis_name: str | None) -> tuple[TrainState, Metrics]:
    """The state with the variables that the losses return, and what `jaxgan.turns.descend` would report.

    Args:
      state: before the turn.
      grads: the players' gradients, averaged over the axis.
      losses: as `gradients` returns them.
      axis_name: the axis of ``pmap`` or ``shard_map``.
    """
    metrics: Metrics = {}
    for player, (value, aux) in losses.items():
        named, variables = axis.mean(({f"{player}_loss": value, **aux.metrics}, aux.variables), axis_name)
        metrics |= named | {f"gradient_norm/{player}_loss": optax.tree.norm(grads[player])}
        state = state.replace(variables=merge(state.variables, variables))
    return state, metrics
