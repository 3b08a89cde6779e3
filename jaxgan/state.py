"""Everything that training changes."""

from typing import Any

import flax.struct

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
