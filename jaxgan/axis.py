"""The named axis of ``pmap`` and ``shard_map``: all that a step needs to know of it.

Every function takes ``axis_name=None`` as well, which stands for no axis: under plain or sharded ``jit`` the batch
is the global one and nothing has to be exchanged.
"""

from collections.abc import Callable
from typing import TypeAlias

import jax

from jaxgan.typing import Array, Key, PyTree

# (key, shape) -> random numbers of that shape
Sampler: TypeAlias = Callable[[Key, tuple[int, ...]], Array]


def size(axis_name: str | None) -> int:
    """The number of replicas along the axis."""
    return 1 if axis_name is None else jax.lax.psum(1, axis_name)


def mean(tree: PyTree, axis_name: str | None) -> PyTree:
    """The mean over the replicas of every leaf."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def varying(tree: PyTree, axis_name: str | None) -> PyTree:
    """Marks replicated leaves as differing between replicas.

    ``shard_map`` sums the gradient of a replicated value over the axis by itself; that of a varying value stays
    local. Marked before differentiation, one ``mean`` of the gradients is right under ``pmap`` and ``shard_map``.
    """
    return tree if axis_name is None else jax.lax.pcast(tree, axis_name, to="varying")


def draw(sampler: Sampler, key: Key, shape: tuple[int, ...], axis_name: str | None) -> Array:
    """Random numbers that do not depend on the engine.

    Args:
      sampler: ``jax.random.normal``, ``jax.random.uniform``, or another function ``(key, shape) -> Array``.
      key: the same on every replica.
      shape: of this replica's draw; its first axis is the batch.
      axis_name: each replica takes its own rows of the draw for the global batch, which are the rows that a
        sharded ``jit`` places on that device.

    >>> z = draw(jax.random.normal, jax.random.key(0), (64, 100), None)
    """
    batch, *rest = shape
    # Only the rows that are kept are computed: a draw is a function of its counter and fuses with the slice.
    draws = sampler(key, (size(axis_name) * batch, *rest))
    if axis_name is None:
        return draws
    return jax.lax.dynamic_slice_in_dim(draws, jax.lax.axis_index(axis_name) * batch, batch)
