"""Whole ensembles in one program: N seeds, or N values of any float hyperparameter, by ``vmap``.

>>> from jaxgan import nn, wgan
>>> generator, critic = nn.MLPGenerator((2,), 8, 1), nn.MLPDiscriminator(8, 1)
>>> clips = {"clip": jnp.array([0.005, 0.01, 0.02])}
>>> gans = ensemble(lambda clip: wgan(generator, critic, latent_dim=2, clip=clip), clips)
>>> state = gans.init(jax.random.split(jax.random.key(0), 3))
>>> state, metrics = gans.step(state, batch, jax.random.split(key, 3))  # metrics f32[3]  # doctest: +SKIP
>>> best = member(state, 2)  # a state of one GAN
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, PartitionSpec

from jaxgan import parallel
from jaxgan.axis import DATA
from jaxgan.errors import InputError
from jaxgan.state import TrainState
from jaxgan.typing import GAN, Array, Batch, Key, Metrics, PyTree

# The step's number is one for all: what depends on it, as `every` does, then stays a branch that is taken or not.
AXES = TrainState(step=None, params=0, opt_state=0, variables=0, memory=0, average=0)  # type: ignore  (axes, not arrays)

# How a device's share of the members is laid out: an array with a leading axis of members, and a whole state.
EACH = PartitionSpec(DATA)
EACH_STATE = jax.tree.map(lambda axis: EACH if axis == 0 else PartitionSpec(), AXES, is_leaf=lambda axis: axis is None)


def ensemble(build: Callable[..., GAN], values: dict[str, Array], *, own_batches: bool = False) -> GAN:
    """N GANs as one.

    Args:
      build: ``(**hyperparameters) -> GAN``, called while tracing with scalars that stand for the values of one member.
        They must not decide on shapes or on Python branches.
      values: f[N] or i[N] for each hyperparameter. Members that differ in their keys alone have none: ``{}``.
      own_batches: whether each member has a batch of its own, [N, B, ...], or all of them see one, [B, ...].

    Returns:
      A GAN whose init takes N keys, whose step takes N keys, and whose sample takes N keys and the number of samples
      of each member. All of the state but its step, the metrics and the samples have a leading axis of members; a
      member computes what it would alone with its key.

    Raises:
      InputError: if the hyperparameters have different numbers of values.
    """
    sizes = {name: len(value) for name, value in values.items()}
    if len(set(sizes.values())) > 1:
        raise InputError(f"Every hyperparameter of an ensemble needs one value a member; it got {sizes}.")

    def init(keys: Key) -> TrainState:
        return jax.vmap(lambda value, key: build(**value).init(key), out_axes=AXES)(values, keys)

    def step(state: TrainState, batch: Batch, keys: Key) -> tuple[TrainState, Metrics]:
        def one(value: dict[str, Array], state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
            return build(**value).step(state, batch, key)

        axes = (0, AXES, 0 if own_batches else None, 0)
        return jax.vmap(one, axes, (AXES, 0))(values, state, batch, keys)

    def sample(state: TrainState, keys: Key, n: int, **conditions: PyTree) -> Array:
        def one(value: dict[str, Array], state: TrainState, key: Key) -> Array:
            return build(**value).sample(state, key, n, **conditions)

        return jax.vmap(one, (0, AXES, 0))(values, state, keys)

    return GAN(init, step, sample)


# On CPUs members run in groups of up to so many, one group with all its steps after the other: a group of small ones
# stays in a core's cache, and still shares what it costs to begin an operation.
_GROUP = 16


def shares(members: int, devices: int | None = None) -> Mesh:
    """The devices that the members are shared out over: of the first so many, or of all, as many as divide them."""
    most = parallel.sharded(devices).size
    return parallel.sharded(max(n for n in range(1, most + 1) if members % n == 0)).mesh


def apart(function: Callable, mesh: Mesh, ins: Any, outs: Any) -> Callable:
    """A function of members that each device runs on its share of them, as a program of its own; CPUs in groups.

    Args:
      function: of arrays with a leading axis of members, or of what is the same for all.
      mesh: as `shares` gives it.
      ins: for each argument `EACH`, `EACH_STATE` or ``jax.sharding.PartitionSpec()``.
      outs: the same for the results.
    """
    if mesh.devices.flat[0].platform == "cpu":
        function = _in_groups(function, ins, outs)
    # Members know nothing of each other: nothing is exchanged, so nothing can be forgotten.
    return jax.shard_map(function, mesh=mesh, in_specs=ins, out_specs=outs, check_vma=False)


def _in_groups(function: Callable, ins: Any, outs: Any) -> Callable:
    """The function on one group of members after the other."""

    def each(specs: Any, tree: PyTree) -> list[bool]:
        return [spec == EACH for spec in jax.tree.leaves(jax.tree.broadcast(specs, tree))]

    def grouped(*args: PyTree) -> PyTree:
        leaves, structure = jax.tree.flatten(args)
        split = each(ins, args)
        members = next(len(leaf) for leaf, own in zip(leaves, split, strict=True) if own)
        size = max(n for n in range(1, min(members, _GROUP) + 1) if members % n == 0)
        if size < _GROUP // 4 or size == members:  # too small to be worth it, or all
            return function(*args)

        def one(own: list[Array]) -> PyTree:
            parts = iter(own)
            return function(*structure.unflatten(next(parts) if s else x for x, s in zip(leaves, split, strict=True)))

        own = [x.reshape(members // size, size, *x.shape[1:]) for x, s in zip(leaves, split, strict=True) if s]
        results, structure_out = jax.tree.flatten(jax.lax.map(one, own))
        kept = each(outs, structure_out.unflatten(results))
        return structure_out.unflatten(
            x.reshape(members, *x.shape[2:]) if s else x[0] for x, s in zip(results, kept, strict=True)
        )

    return grouped


def member(state: TrainState, i: int) -> TrainState:
    """The state of one member of an ensemble, as its own recipe would have it.

    Args:
      state: of the ensemble, whose leaves are [N, ...].
      i: which member, 0 to N - 1.
    """
    parts = jax.tree.map(lambda x: x[i], state.replace(step=None))
    return parts.replace(step=state.step)
