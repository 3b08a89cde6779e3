"""Gradients that are adjusted by products with the game's Jacobian: consensus and symplectic adjustment.

With xi the gradients of all players, each of its own loss, J = xi' is the Jacobian of the game. Its symmetric part is
that of a common potential, its antisymmetric part what makes players circle. Neither is ever formed: one linearisation
of xi gives J v, and its transpose J^T v, at a few times the cost of a gradient.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxgan import axis
from jaxgan.games.game import Game, Players, gradients, move, note, take
from jaxgan.state import TrainState
from jaxgan.typing import Array, Batch, Key, Metrics, Turn

# A product with the Jacobian or its transpose.
Product: TypeAlias = Callable[[Players], Players]


def consensus(game: Game, *, weight: float | Array = 10.0, axis_name: str | None = None) -> Turn:
    """Every player also lowers ``weight / 2 * |xi|^2``, the squared gradients of all (Mescheder et al. 2017).

    https://arxiv.org/abs/1705.10461: the transforms get xi + weight * J^T xi. Both factors come from the same batch, so
    that the expectation of the product is larger than the product for the whole data: small batches are biased.

    Args:
      game: ``{player: (loss, tx)}``; each loss as that of `jaxgan.turns.descend`, twice differentiable.
      weight: the paper's gamma, not negative; it may be traced.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which gradients, metrics and variables are averaged.

    Returns:
      A turn that reports what simultaneous turns of `descend` would; gradient norms are those of xi.

    >>> gan(generator, discriminator, rule=partial(consensus, weight=1.0))  # doctest: +SKIP
    """

    def adjust(xi: Players, product: Product, transposed: Product) -> Players:
        del product
        return optax.tree.add_scale(xi, weight, transposed(xi))

    return _adjusted(game, adjust, axis_name)


def symplectic(game: Game, *, weight: float | Array = 1.0, axis_name: str | None = None) -> Turn:
    """Symplectic gradient adjustment (Balduzzi et al. 2018, https://arxiv.org/abs/1802.05642, algorithm 1).

    The transforms get xi + weight * s * A^T xi, A = (J - J^T) / 2. The sign s of <xi, h> <A^T xi, h> / d + 0.1, with
    h = J^T xi and d the number of parameters, draws to fixed points that are stable and away from others.

    Args:
      game: ``{player: (loss, tx)}``; each loss as that of `jaxgan.turns.descend`, twice differentiable.
      weight: of the adjustment, in the paper 1; it may be traced.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which gradients, metrics and variables are averaged.

    Returns:
      A turn that reports what simultaneous turns of `descend` would; gradient norms are those of xi.

    >>> gan(generator, discriminator, rule=symplectic)  # doctest: +SKIP
    """

    def adjust(xi: Players, product: Product, transposed: Product) -> Players:
        h = transposed(xi)
        adjustment = jax.tree.map(lambda a, b: (a - b) / 2, h, product(xi))
        towards = optax.tree.vdot(xi, h) * optax.tree.vdot(adjustment, h) / optax.tree.size(xi)
        return optax.tree.add_scale(xi, weight * jnp.sign(towards + 0.1), adjustment)

    return _adjusted(game, adjust, axis_name)


def _adjusted(game: Game, adjust: Callable[[Players, Product, Product], Players], axis_name: str | None) -> Turn:
    """Simultaneous steps along ``adjust(xi, v -> J v, v -> J^T v)``."""

    def turn(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        params = take(game, state, axis_name)
        local, jacobian, losses = jax.linearize(
            lambda params: gradients(game, params, state, batch, key), params, has_aux=True
        )
        transpose = jax.linear_transpose(jacobian, params)

        # J is the mean of the replicas' own.
        def product(v: Players) -> Players:
            return axis.mean(jacobian(axis.varying(v, axis_name)), axis_name)

        def transposed(v: Players) -> Players:
            return axis.mean(transpose(axis.varying(v, axis_name))[0], axis_name)

        xi = axis.mean(local, axis_name)
        state, metrics = note(state, xi, losses, axis_name)
        return move(game, state, adjust(xi, product, transposed)), metrics

    return turn
