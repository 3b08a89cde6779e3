"""Extragradient: a step along the gradient that waits at the end of that step."""

from jaxgan import axis
from jaxgan.games.game import Game, gradients, move, note, take
from jaxgan.state import TrainState
from jaxgan.typing import Batch, Key, Metrics, Turn


def extragradient(game: Game, *, axis_name: str | None = None) -> Turn:
    """Every player extrapolates, and then steps from where it was, along its gradient at the extrapolated point.

    Korpelevich 1976; for GANs Gidel et al. 2019, https://arxiv.org/abs/1802.10551, algorithm 2. With Adam it is their
    algorithm 4, ExtraAdam: the moments and the count go through both steps. A constraint that a transform ends with,
    such as `clip_weights`, holds at both points.

    Both steps see the same batch and draw with the same key: it is an extragradient step of one sampled game, which
    Mishchenko et al. 2020, https://arxiv.org/abs/1905.11373, show to converge where samples of their own for each step,
    as in algorithm 4, need not.

    Args:
      game: ``{player: (loss, tx)}``; each loss as that of `jaxgan.turns.descend`.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which gradients, metrics and variables are averaged.

    Returns:
      A turn that reports what simultaneous turns of `descend` would: the losses where the step starts.

    >>> gan(generator, discriminator, rule=extragradient)  # doctest: +SKIP
    """

    def turn(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        grads, losses = gradients(game, take(game, state, axis_name), state, batch, key)
        grads = axis.mean(grads, axis_name)
        state, metrics = note(state, grads, losses, axis_name)
        there = move(game, state, grads)
        grads, losses = gradients(game, take(game, there, axis_name), there, batch, key)
        grads = axis.mean(grads, axis_name)
        there, _ = note(there, grads, losses, axis_name)
        return move(game, there.replace(params=state.params), grads), metrics

    return turn
