"""The named axis of ``pmap`` and ``shard_map``: all that a step needs to know of it.

Every function takes ``axis_name=None`` as well, which stands for no axis: under plain or sharded ``jit`` the batch
is the global one and nothing has to be exchanged.
"""

import jax

from jaxgan.typing import Array, Key, PyTree


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


def normal(key: Key, shape: tuple[int, ...], axis_name: str | None) -> Array:
    """Standard normal draws, f32[shape], that do not depend on the engine.

    Args:
      key: the same on every replica.
      shape: of this replica's draw; its first axis is the batch.
      axis_name: each replica takes its own rows of the draw for the global batch, which are the rows that a
        sharded ``jit`` places on that device.
    """
    batch, *rest = shape
    # Only the rows that are kept are computed: the draw is a function of the counter and fuses with the slice.
    draws = jax.random.normal(key, (size(axis_name) * batch, *rest))
    if axis_name is None:
        return draws
    return jax.lax.dynamic_slice_in_dim(draws, jax.lax.axis_index(axis_name) * batch, batch)
