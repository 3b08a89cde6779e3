"""The named axis of ``pmap`` and ``shard_map``: all that a step needs to know of it.

Every function takes ``axis_name=None`` as well, which stands for no axis: under plain or sharded ``jit`` the batch
is the global one and nothing has to be exchanged.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

import jax
from jax.sharding import AxisType, PartitionSpec

from jaxgan.typing import Array, Key, PyTree

# The axes of a mesh: batches are split over both, parameters over the second.
DATA, MODEL = "data", "model"

# (key, shape) -> random numbers of that shape
Sampler: TypeAlias = Callable[[Key, tuple[int, ...]], Array]


def size(axis_name: str | None) -> int:
    """The number of replicas along the axis."""
    return 1 if axis_name is None else jax.lax.psum(1, axis_name)


def mean(tree: PyTree, axis_name: str | None) -> PyTree:
    """The mean over the replicas of every leaf.

    Args:
      tree: arrays of this replica.
      axis_name: without one the tree is returned as it is.
    """
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def gather(x: Array, axis_name: str | None) -> Array:
    """The rows of all replicas, in their order: the global batch."""
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def varying(tree: PyTree, axis_name: str | None) -> PyTree:
    """Marks replicated leaves as differing between replicas.

    ``shard_map`` sums the gradient of a replicated value over the axis by itself; that of a varying value stays
    local. Marked before differentiation, one ``mean`` of the gradients is right under ``pmap`` and ``shard_map``.

    Args:
      tree: replicated arrays, such as parameters.
      axis_name: without one the tree is returned as it is.

    Returns:
      The same values.
    """
    return tree if axis_name is None else jax.lax.pcast(tree, axis_name, to="varying")


def rows(tree: PyTree, axis_name: str | None) -> PyTree:
    """Spreads global batches over the devices: what every device computes on, in whatever engine.

    Args:
      tree: arrays of a global batch, [N, ...], the same on every device.
      axis_name: each replica takes its own rows, which are those that a sharded ``jit`` places on that device.
        Without an axis, and under a mesh with the axes `DATA` or `MODEL`, the rows are sharded over these. The
        partitioner could not know it otherwise: latents are drawn from a key, and nothing ties them to the sharding
        of the real images.
    """

    def own(x: Array) -> Array:
        size = x.shape[0] // jax.lax.psum(1, axis_name)
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(axis_name) * size, size)

    if axis_name is not None:
        return jax.tree.map(own, tree)
    mesh = jax.sharding.get_abstract_mesh()
    names = tuple(name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Auto)
    names = tuple(name for name in names if name in (DATA, MODEL))
    devices = math.prod(mesh.shape[name] for name in names)

    def shard(x: Array) -> Array:
        return x if x.shape[0] % devices else jax.lax.with_sharding_constraint(x, PartitionSpec(names))

    return jax.tree.map(shard, tree) if names else tree


def draw(sampler: Sampler, key: Key, shape: tuple[int, ...], axis_name: str | None) -> Array:
    """Random numbers that do not depend on the engine.

    Args:
      sampler: ``jax.random.normal``, ``jax.random.uniform``, or another function ``(key, shape) -> Array``.
      key: the same on every replica.
      shape: of this replica's draw; its first axis is the batch.
      axis_name: each replica takes its own `rows` of the draw for the global batch.

    >>> z = draw(jax.random.normal, jax.random.key(0), (64, 100), None)
    """
    batch, *rest = shape
    # Only the rows that are kept are computed: a draw is a function of its counter and fuses with the slice.
    return rows(sampler(key, (size(axis_name) * batch, *rest)), axis_name)
