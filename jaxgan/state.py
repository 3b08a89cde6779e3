"""Everything that training changes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jaxgan.typing import Array, PyTree


class TrainState(flax.struct.PyTreeNode):
    """Everything that training changes, and nothing else: a pytree that a step maps to its successor.

    Attributes:
      step: i32[], the generator updates so far.
      params: the trained parameters by player, ``{"generator": ..., "discriminator": ...}``, float32.
      opt_state: one optax state per player.
      variables: Flax collections that are not trained, by player: ``{"generator": {"batch_stats": ...}}``.
      memory: what turns remember by name: counters, running means, image pools.
      average: by player, the Flax variables that samples are drawn with:
        ``{"generator": {"params": ..., "batch_stats": ...}}``.
    """

    step: Array
    params: dict[str, PyTree]
    opt_state: dict[str, PyTree]
    variables: dict[str, dict[str, PyTree]]
    memory: dict[str, Any]
    average: dict[str, dict[str, PyTree]]


def initial(
    generator: dict[str, PyTree],
    discriminator: dict[str, PyTree],
    g_tx: optax.GradientTransformation,
    d_tx: optax.GradientTransformation,
    memory: dict[str, Any] | None = None,
) -> TrainState:
    """The state before the first step, of a generator whose average is sampled and a discriminator.

    Args:
      generator: Flax variables, ``{"params": ..., ...}``.
      discriminator: the same.
      g_tx: the generator's optax transform.
      d_tx: the discriminator's.
      memory: what turns remember, by default nothing.

    >>> state = initial(g.init(key, z), d.init(key, x), optax.adam(2e-4), optax.adam(2e-4))  # doctest: +SKIP
    """
    networks = {"generator": dict(generator), "discriminator": dict(discriminator)}
    # A copy: a state that is donated must not hold one buffer twice.
    average = {"generator": jax.tree.map(jnp.copy, networks["generator"])}
    params = {player: variables.pop("params") for player, variables in networks.items()}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state={"generator": g_tx.init(params["generator"]), "discriminator": d_tx.init(params["discriminator"])},
        variables=networks,
        memory=memory or {},
        average=average,
    )
