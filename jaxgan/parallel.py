"""Engines: how one pure step is laid over devices.

A step is written once, and every engine computes the same numbers with it:

>>> engine = sharded()  # or pmap(), shard_map(), jit()
>>> dcgan = gan(generator, discriminator, axis_name=engine.axis_name)  # doctest: +SKIP
>>> state = engine.init(dcgan)(jax.random.key(0))  # doctest: +SKIP
>>> step = engine.step(dcgan)  # compiled, the state is donated  # doctest: +SKIP
>>> state, metrics = step(state, engine.place({"image": images}), key)  # doctest: +SKIP

Batches are global under every engine: ``images`` holds the examples of all devices. The state has the same structure
and the same shapes under each, so that a checkpoint of one is a checkpoint of all.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan.axis import DATA, MODEL
from jaxgan.data import Share
from jaxgan.errors import InputError, choose
from jaxgan.typing import GAN, Array, Batch, Device, Key, Metrics, PyTree, Turn

WHOLE = PartitionSpec()  # the same on every device

# Arrays with fewer numbers are not worth splitting: to gather them takes longer than to hold them.
_SMALL = 1 << 12
# Examples of a step: their indices alone take 128 MiB.
_LARGEST = 1 << 24


@dataclasses.dataclass(frozen=True)
class Engine:
    """A way to run pure functions on devices.

    Attributes:
      name: of the engine.
      mesh: the devices, on the axis `DATA`, and `MODEL` as well where parameters are split.
      axis_name: what the recipe and its networks must be built with; None where batches are global inside the step.
    """

    name: str
    mesh: Mesh
    axis_name: str | None = None

    @property
    def size(self) -> int:
        """The number of devices."""
        return self.mesh.size

    def split(self, dimension: int = 0) -> PartitionSpec:
        """How a batch is laid out, an array whose given dimension holds the examples."""
        return PartitionSpec(*(None,) * dimension, self.mesh.axis_names)

    def layout(self, like: PyTree) -> PyTree:
        """How a state is laid out: replicated, or large arrays split over the model axis.

        Args:
          like: the state, or its shapes as ``jax.eval_shape`` gives them.

        Returns:
          A tree of `PartitionSpec`.
        """
        parts = self.mesh.shape.get(MODEL, 1)

        def spec(x: Array) -> PartitionSpec:
            sides = [side if side % parts == 0 else 0 for side in x.shape]
            if parts == 1 or math.prod(x.shape) < _SMALL or not any(sides):
                return WHOLE
            return PartitionSpec(*(None,) * int(np.argmax(sides)), MODEL)

        return jax.tree.map(spec, like)

    def specs(self, split: PyTree) -> PyTree:
        """How arrays are laid out of which ``split`` says the dimension that holds the examples; None replicates."""
        return jax.tree.map(lambda d: WHOLE if d is None else self.split(d), split, is_leaf=lambda d: d is None)

    def shardings(self, specs: PyTree) -> PyTree:
        """The shardings that belong to a tree of `PartitionSpec`."""
        return jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), specs, is_leaf=_is_spec)

    def shaped(self, like: PyTree, specs: PyTree) -> PyTree:
        """Shapes with the shardings that a checkpoint is to be restored with; the specs may be a prefix."""
        shardings = jax.tree.broadcast(self.shardings(specs), like)
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), like, shardings)

    def compile(self, function: Callable, ins: Any, outs: Any, donate: Sequence[int] = ()) -> Any:
        """Compiles a function of arrays. What it returns is called, or lowered, as what ``jax.jit`` returns.

        Args:
          function: what is run; with an ``axis_name`` it sees the rows of one replica.
          ins: for each argument a `PartitionSpec` or a tree of them: `WHOLE`, ``split()`` or ``layout(state)``.
          outs: the same for the results.
          donate: positions of the arguments whose memory the results may take.
        """
        program = {"pmap": self._mapped, "shard_map": self._replicated}.get(self.name, self._partitioned)
        return jax.jit(
            program(function, ins, outs),
            in_shardings=self.shardings(ins),
            out_shardings=self.shardings(outs),
            donate_argnums=tuple(donate),
        )

    def init(self, gan: GAN) -> Callable[[Key], PyTree]:
        """The GAN's ``init``, compiled: key -> state, laid out on the devices."""
        layout = self.layout(jax.eval_shape(gan.init, jax.random.key(0)))
        return jax.jit(gan.init, out_shardings=self.shardings(layout))

    def step(self, gan: GAN) -> Callable[[PyTree, Batch, Key], tuple[PyTree, Metrics]]:
        """The GAN's step, compiled; its state is donated.

        Raises:
          InputError: at the call, if the devices do not divide the batch.
        """
        layout = self.layout(jax.eval_shape(gan.init, jax.random.key(0)))
        return self.compile(gan.step, (layout, self.split(), WHOLE), (layout, WHOLE), donate=(0,))

    def place(self, batch: PyTree, dimension: int = 0) -> PyTree:
        """Puts a global batch on the devices.

        Args:
          batch: arrays; the devices must divide the given dimension of each. With several processes, the same on each.
          dimension: which one holds the examples.

        Raises:
          InputError: if the devices do not divide the batch.
        """
        for leaf in jax.tree.leaves(batch):
            self.check(leaf.shape[dimension])
        sharding = NamedSharding(self.mesh, self.split(dimension))
        return jax.device_put(jax.tree.map(lambda x: self.fold(x, dimension), batch), sharding)

    def replicate(self, tree: PyTree) -> PyTree:
        """Puts arrays on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, WHOLE))

    def fold(self, x: Any, dimension: int) -> Any:
        """``pmap`` wants a dimension of devices before that of the examples; the others take arrays as they are."""
        return x.reshape(self._folded(x.shape, dimension))

    def _folded(self, shape: tuple[int, ...], dimension: int) -> tuple[int, ...]:
        if self.name != "pmap":
            return shape
        return (*shape[:dimension], self.size, shape[dimension] // self.size, *shape[dimension + 1 :])

    def share(self, batch: int) -> Share:
        """The rows of a batch that this process reads for its devices, and where they go.

        Raises:
          InputError: for more examples than can be counted out.
        """
        if batch > _LARGEST:
            raise InputError(f"A step would consume {batch} examples; at most {_LARGEST:,} do. Set a smaller --batch.")
        shards = NamedSharding(self.mesh, self.split()).addressable_devices_indices_map((batch,)).values()
        rows = np.unique(np.concatenate([np.arange(batch)[shard] for shard in shards]))

        def put(x: np.ndarray, dimension: int | None) -> Array:
            if dimension is None:
                return self.replicate(x)
            sharding = NamedSharding(self.mesh, self.split(dimension))
            whole = self._folded((*x.shape[:dimension], batch, *x.shape[dimension + 1 :]), dimension)
            return jax.make_array_from_process_local_data(sharding, self.fold(x, dimension), whole)

        return Share(rows, put)

    def check(self, batch: int, what: str = "A batch") -> None:
        """Raises InputError if the devices do not divide a batch of so many examples."""
        if batch < 1:
            raise InputError(f"{what} of {batch} examples is none. It holds at least {self.size}, one for each device.")
        if batch % self.size:
            low = batch // self.size * self.size
            fewer = max(n for n in range(1, self.size) if batch % n == 0)
            raise InputError(
                f"{what} of {batch} example{'s' if batch > 1 else ''} does not divide over {self.size} devices. "
                f"The nearest that do hold {f'{low} or ' if low else ''}{low + self.size} examples; "
                f"or take fewer devices: --devices {fewer}."
            )

    def _partitioned(self, function: Callable, ins: PyTree, outs: PyTree) -> Callable:
        del ins, outs

        def partitioned(*args: PyTree) -> PyTree:
            # Inside, `axis.rows` sees the mesh and spreads over it what the step draws by itself.
            with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh):
                return function(*args)

        return partitioned

    def _replicated(self, function: Callable, ins: PyTree, outs: PyTree) -> Callable:
        return jax.shard_map(function, mesh=self.mesh, in_specs=ins, out_specs=outs)

    def _mapped(self, function: Callable, ins: PyTree, outs: PyTree) -> Callable:
        ins, outs = (jax.tree.map(_dimension, specs, is_leaf=_is_spec) for specs in (ins, outs))
        # pmap wants one mapped argument at least, and there is none where every replica draws its own rows.
        mapped = jax.pmap(
            lambda _, *args: function(*args),
            axis_name=DATA,
            in_axes=(0, *ins),
            out_axes=outs,
            devices=self.mesh.devices.ravel().tolist(),
        )
        return lambda *args: mapped(np.arange(self.size), *args)


def jit() -> Engine:
    """Plain ``jit`` on one device, the first.

    >>> jit().size
    1
    """
    return Engine("jit", _mesh("jit", 1))


def sharded(devices: int | Sequence[Device] | None = None, *, model: int = 1) -> Engine:
    """``jit`` with the batch sharded over devices: the compiler splits the work. The default of everything.

    Args:
      devices: which, or the first so many; by default all.
      model: over so many of them parameters, their averages and the optimisers' states are split as well (fully
        sharded data parallelism), for networks larger than a device.

    Raises:
      InputError: if there are fewer devices, or ``model`` does not divide them.

    >>> sharded(1).axis_name is None  # a batch is global: networks need no axis
    True
    """
    return Engine("sharded", _mesh("sharded", devices, model))


def pmap(devices: int | Sequence[Device] | None = None) -> Engine:
    """``jax.pmap``: one replica a device.

    A batch that `Engine.place` has placed is [devices, B, ...]. The state keeps its shapes: its arrays are replicated.
    It runs in one process; in several `shard_map` computes the same.

    Args:
      devices: which, or the first so many; by default all.

    Raises:
      InputError: if there are fewer devices, or several processes.

    >>> pmap(1).axis_name  # for the recipe and its networks
    'data'
    """
    if jax.process_count() > 1:
        raise InputError("The engine pmap runs in one process. With several take shard_map, which computes the same.")
    return Engine("pmap", _mesh("pmap", devices), DATA)


def shard_map(devices: int | Sequence[Device] | None = None) -> Engine:
    """``jax.shard_map``: one replica a device, checked for what varies between them.

    Args:
      devices: which, or the first so many; by default all.

    Raises:
      InputError: if there are fewer devices.

    >>> shard_map(1).axis_name  # for the recipe and its networks
    'data'
    """
    return Engine("shard_map", _mesh("shard_map", devices), DATA)


ENGINES: dict[str, Callable[..., Engine]] = {"sharded": sharded, "pmap": pmap, "shard_map": shard_map}


def engine(name: str = "sharded", devices: int | None = None) -> Engine:
    """An engine by its name.

    Args:
      name: a key of ``ENGINES``: "sharded", "pmap" or "shard_map".
      devices: the first so many; by default all.

    Raises:
      InputError: if there is no such engine, or there are fewer devices.

    >>> engine("shard_map", 1).name
    'shard_map'
    """
    return choose("engine", name, ENGINES)(devices)


def scan(turn: Turn) -> Turn:
    """A step on each of n batches, as one program: ``(state, batches [n, B, ...], key) -> (state, metrics [n])``.

    The key is the same for every step: `train_step` folds the step's number into it. An engine runs it as any other
    step, with ``compile(scan(step), (layout, split(1), WHOLE), (layout, WHOLE))`` and ``place(batches, 1)``.
    """

    def steps(state: PyTree, batches: Batch, key: Key) -> tuple[PyTree, Metrics]:
        return jax.lax.scan(lambda state, batch: turn(state, batch, jax.random.clone(key)), state, batches)

    return steps


def _mesh(name: str, devices: int | Sequence[Device] | None, model: int = 1) -> Mesh:
    found = jax.devices()
    if isinstance(devices, int):
        if not 1 <= devices <= len(found):
            there = ", ".join(sorted({device.device_kind for device in found}))
            hint = f" Ask for 1 to {len(found)}."
            if devices > len(found) and found[0].platform == "cpu":
                hint = f" JAX_NUM_CPU_DEVICES={devices} in the environment makes JAX simulate more on a CPU."
            raise InputError(f"{devices} devices were asked for; there are {len(found)} ({there}).{hint}")
        devices = found[:devices]
    chosen = list(found if devices is None else devices)
    if jax.process_count() > 1 and len(chosen) < len(found):
        raise InputError(
            f"{len(chosen)} devices were asked for; with several processes all {len(found)} take part. "
            "Leave --devices out, or show each process fewer (CUDA_VISIBLE_DEVICES, JAX_NUM_CPU_DEVICES)."
        )
    if model < 1 or len(chosen) % model:
        raise InputError(f"model is {model}; it must divide the number of devices, {len(chosen)}.")
    sides = {DATA: len(chosen) // model} | ({MODEL: model} if model > 1 else {})
    auto = (AxisType.Auto,) * len(sides)  # the compiler's partitioner works on these; make_mesh's default is Explicit
    return jax.make_mesh(tuple(sides.values()), tuple(sides), auto, devices=chosen)


def _is_spec(x: Any) -> bool:
    return isinstance(x, PartitionSpec)


def _dimension(spec: PartitionSpec) -> int | None:
    """The dimension that a spec splits, as pmap's axes."""
    return next((i for i, names in enumerate(spec) if names), None)
