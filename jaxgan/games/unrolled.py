"""Unrolled GANs: a player that sees how the others will answer (Metz et al. 2017)."""

import jax
import jax.numpy as jnp

from jaxgan import axis
from jaxgan.errors import InputError, closest
from jaxgan.games.game import Game, Players, gradients, move, take
from jaxgan.state import TrainState
from jaxgan.turns import descend, together
from jaxgan.typing import Array, Aux, Batch, Key, LossFn, Params, PyTree, Turn


def unroll(loss: LossFn, player: str, others: Game, *, steps: int, axis_name: str | None = None) -> LossFn:
    """The loss after the others have made so many steps against the player: differentiable through them.

    The others' steps are those that their transforms would make from the state, on the loss's batch, with fresh keys.
    They are made in thought: the state keeps the parameters of the others, and variables that their losses return are
    dropped. Memory and time grow with the steps, as those of any loop that is differentiated.

    Where a gradient is zero Adam's square root has no derivative; that of the step by the gradient is then 0.

    Args:
      loss: the player's, as that of `jaxgan.turns.descend`.
      player: whose loss it is, a key of ``state.params``.
      others: ``{player: (loss, tx)}`` of those that answer, all at once.
      steps: at least 1.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which the others' gradients are averaged.

    Raises:
      InputError: if steps < 1.

    >>> ahead = unroll(g_loss, "generator", {"discriminator": (d_loss, d_tx)}, steps=5)  # doctest: +SKIP
    >>> turn = descend("generator", ahead, g_tx)  # doctest: +SKIP
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; the others are followed for so many steps, at least 1.")

    def unrolled_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        state = state.replace(params=state.params | {player: params})
        loss_key, key = jax.random.split(key)

        def answer(carry: tuple[Players, PyTree], key: Key) -> tuple[tuple[Players, PyTree], None]:
            seen = with_others(carry)
            grads, _ = gradients(others, take(others, seen, axis_name), seen, batch, key)
            seen = move(others, seen, jax.tree.map(_differentiable_at_zero, axis.mean(grads, axis_name)))
            return own(seen), None

        def own(state: TrainState) -> tuple[Players, PyTree]:
            return {other: state.params[other] for other in others}, {other: state.opt_state[other] for other in others}

        def with_others(carry: tuple[Players, PyTree]) -> TrainState:
            moved, opt_state = carry
            return state.replace(params=state.params | moved, opt_state=state.opt_state | opt_state)

        answers, _ = jax.lax.scan(answer, own(state), jax.random.split(key, steps))
        return loss(params, with_others(answers), batch, loss_key)

    return unrolled_loss


def unrolled(game: Game, *, player: str = "generator", steps: int = 5, axis_name: str | None = None) -> Turn:
    """Simultaneous steps in which one player's loss is taken after the others' answers.

    https://arxiv.org/abs/1611.02163, section 2.3: the others follow their own losses as they are.

    Args:
      game: ``{player: (loss, tx)}``; each loss as that of `jaxgan.turns.descend`, the others' twice differentiable.
      player: who looks ahead.
      steps: how far; see `unroll`.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which gradients, metrics and variables are averaged.

    Raises:
      InputError: if the player is none of the game's, or steps < 1.

    >>> gan(generator, discriminator, rule=partial(unrolled, steps=5))  # doctest: +SKIP
    """
    if player not in game:
        raise InputError(f"There is no player {player!r}. {closest(player, game)}")
    others = {name: own for name, own in game.items() if name != player}
    loss, tx = game[player]
    return together(
        *(descend(name, other_loss, other_tx, axis_name=axis_name) for name, (other_loss, other_tx) in others.items()),
        descend(player, unroll(loss, player, others, steps=steps, axis_name=axis_name), tx, axis_name=axis_name),
    )


@jax.custom_vjp
def _differentiable_at_zero(grad: Array) -> Array:
    """The gradient; where it is zero and what follows has no derivative there, its cotangent is zero."""
    return grad


def _keep(grad: Array) -> tuple[Array, Array]:
    return grad, grad


def _drop(grad: Array, cotangent: Array) -> tuple[Array]:
    return (jnp.where((grad == 0) & ~jnp.isfinite(cotangent), 0.0, cotangent),)


_differentiable_at_zero.defvjp(_keep, _drop)
