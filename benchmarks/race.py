"""Races: jaxgan's step beside PyTorch's, turn by turn in one process, and what a race has to show before it counts.

A workload is one file with a race in it. Before anything is timed both sides make one step from the same weights, on
the same images and latents, and their optimisers must have seen the same gradients of every parameter. Then they take
turns, because machines drift: a round runs each side for about a second, and what counts is the median over rounds of
the ratio within a round.

Memory is what a step takes beside what stays from step to step: XLA's plan of its temporary buffers, and the most that
PyTorch's allocator held at once, less the least. Both leave out what libraries allocate past them.
"""

# PyTorch comes with the extra jaxgan[reference].
# pyright: reportMissingImports=false
import gc
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from peers import weights
from results import write

from jaxgan import data
from jaxgan.config import Config
from jaxgan.parallel import jit
from jaxgan.typing import GAN, Array, PyTree

# How far the optimisers' moments of a parameter may be apart after one step, as a share of their norm. First updates of
# Adam and RMSProp are signs of gradients, where rounding decides on those that are nearly zero, and there may be five
# before the generator's turn; a wrong slope or factor shows as tens of per cent.
APART = 0.05

# A norm that counts as zero beside that of all moments: biases before a normalisation have no gradient but rounding's.
ZERO = 1e-5


class Entry(NamedTuple):
    """One side of a race.

    Attributes:
      run: makes so many steps, and returns when they are done.
      compile_seconds: until its first step was made.
      temporary_mib: memory of a step.
      steps: how many steps one call makes at least.
      times: what the time of a step counts: more than once if ``run`` makes only a part of it.
    """

    run: Callable[[int], None]
    compile_seconds: float
    temporary_mib: float
    steps: int = 1
    times: float = 1.0


def entry(make: Callable[[], Callable[[int], None]], steps: int = 1, times: float = 1.0) -> Entry:
    """Times what comes before the first step, and reads the memory of the steps after it."""
    began = time.perf_counter()
    run = make()
    run(steps)
    seconds = time.perf_counter() - began
    size = run.temporary_bytes if isinstance(run, Program) else _allocated(run, steps)
    return Entry(run, seconds, size / 2**20, steps, times)


def _allocated(run: Callable[[int], None], steps: int) -> float:
    """Bytes between the least and the most that PyTorch's allocator held while the steps were made."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run(steps)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return float(max(held, default=0) - min(held, default=0))


def race(name: str, ours: Entry, theirs: Mapping[str, Entry], *, rounds: int = 9, seconds: float = 1.0, **about: Any):
    """Runs a race, prints it, and writes it to results/NAME.json.

    Args:
      name: of the race.
      ours: jaxgan.
      theirs: the peers by name; the fastest of them counts.
      rounds: how often each side is timed.
      seconds: how long each time, about.
      **about: what else is written down.
    """
    sides = {"jaxgan": ours, **theirs}
    times = in_turns(sides, rounds, seconds)
    medians = {side: statistics.median(values) for side, values in times.items()}
    best = min(theirs, key=lambda side: medians[side])
    ratios = {side: [t / j for t, j in zip(times[side], times["jaxgan"], strict=True)] for side in theirs}
    write(
        name,
        {
            **about,
            "ms_per_step": {side: round(1e3 * value, 3) for side, value in medians.items()},
            "compile_seconds": {side: round(each.compile_seconds, 2) for side, each in sides.items()},
            "temporary_mib": {side: round(each.temporary_mib, 2) for side, each in sides.items()},
            "best_peer": best,
            "ratio": round(statistics.median(ratios[best]), 3),
            "ratio_quartiles": [round(float(np.quantile(ratios[best], q)), 3) for q in (0.25, 0.75)],
            "ratio_to": {side: round(statistics.median(values), 3) for side, values in ratios.items()},
            "rounds": rounds,
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        },
    )


def in_turns(sides: Mapping[str, Entry], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of a step of each side, round by round.

    Args:
      sides: by name; each was called before.
      rounds: how often each is timed.
      seconds: how long each time, about.
    """
    counts = {}
    for side, each in sides.items():
        took = _seconds(each.run, each.steps)  # the call before was the first, and may have been slower
        counts[side] = each.steps * max(1, round(seconds / took))
    times: dict[str, list[float]] = {side: [] for side in sides}
    for i in range(rounds):
        order = list(sides)[:: 1 if i % 2 else -1]
        for side in order:
            gc.collect()
            sides[side].run(sides[side].steps)  # not timed: it fetches the memory that the other side gave back
            times[side].append(sides[side].times * _seconds(sides[side].run, counts[side]) / counts[side])
    return times


def _seconds(run: Callable[[int], None], steps: int) -> float:
    began = time.perf_counter()
    run(steps)
    return time.perf_counter() - began


# The ways in which PyTorch makes a step, and the options of a peer's step.
WAYS: Mapping[str, Mapping[str, Any]] = {"eager": {}, "torch.compile": {"compiled": True}}


class Ours(NamedTuple):
    """A configuration, its GAN, the first state, and a batch for a step."""

    config: Config
    gan: GAN
    state: PyTree
    batch: dict[str, Array]

    @classmethod
    def of(cls, config: Config, slices: int = 1) -> "Ours":
        """Builds what `jaxgan train` would train on one device.

        Args:
          config: of the run.
          slices: batches that a step consumes.
        """
        source = config.load()
        gan = config.build(source.shape, source.classes)
        batch = data.feed(source, slices * config.batch, config.seed).peek(slices * config.batch)
        return cls(config, gan, jax.jit(gan.init)(jax.random.key(config.seed)), jax.tree.map(jnp.asarray, batch))

    def stepwise(self) -> "Program":
        """One compiled step, called again and again."""
        return Program(jit().step(self.gan), self.state, self.batch, jax.random.key(1))

    def scanned(self, length: int) -> "Program":
        """So many steps as one program."""

        def steps(state: PyTree, batch: PyTree, key: Array) -> tuple[PyTree, None]:
            return jax.lax.scan(lambda s, _: (self.gan.step(s, batch, key)[0], None), state, length=length)

        return Program(jax.jit(steps, donate_argnums=0), self.state, self.batch, jax.random.key(1), length=length)

    def against(
        self,
        name: str,
        step: Callable[..., Any],
        *batch: torch.Tensor,
        apart: Any,
        rounds: int,
        steps: int = 1,
        ways: Mapping[str, Mapping[str, Any]] = WAYS,
    ) -> None:
        """Races single steps of both sides.

        Args:
          name: of the race.
          step: makes a peer's step, with the options of a way; its ``run(*batch)`` makes steps on the batch.
          *batch: what the peer takes.
          apart: how far both are apart after one step.
          rounds: how often each side is timed.
          steps: how many one call makes at least, a cycle of lazy turns.
          ways: the peers by name, and the options that make them.
        """
        peers = {
            way: entry(lambda options=options: step(**options).run(*batch), steps) for way, options in ways.items()
        }
        race(name, entry(self.stepwise, steps), peers, rounds=rounds, **self.about(apart))

    def about(self, apart: Any) -> dict[str, Any]:
        """What every race writes down of its GAN."""
        return {
            "config": self.config.as_data(),
            "parameters": sum(x.size for x in jax.tree.leaves(self.state.params)),
            "apart_after_one_step": apart,
        }

    def once(self, draws: "Draws") -> PyTree:
        """The optimisers' states after one step in which every random number is one of ``draws``."""
        with draws.in_jax():
            state, _ = jax.jit(self.gan.step)(self.state, self.batch, jax.random.key(1))
        return state.opt_state


class Program:
    """A compiled program, called again and again.

    Attributes:
      temporary_bytes: that it takes beside its arguments, on all devices.
    """

    def __init__(self, program: Any, state: PyTree, *args: PyTree, length: int = 1):
        """Compiles a program.

        Args:
          program: as ``jax.jit`` makes it, (state, *args) -> (state, anything); the state is donated.
          state: the first, of which it takes a copy.
          *args: the same for every call.
          length: steps of a call.
        """
        self.state, self.args, self.length = jax.tree.map(jnp.copy, state), args, length
        self.compiled = program.lower(self.state, *args).compile()
        memory = self.compiled.memory_analysis()
        devices = max(len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state))
        beside = memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        self.temporary_bytes = devices * beside

    def __call__(self, steps: int) -> None:
        for _ in range(steps // self.length):
            self.state, _ = self.compiled(self.state, *self.args)
        jax.block_until_ready(self.state)


class Draws:
    """Random numbers that are the same for both sides: one array for each shape that is asked for."""

    def array(self, shape: tuple[int, ...], uniform: bool = False) -> np.ndarray:
        """f32 of that shape."""
        rng = np.random.default_rng(list(shape))
        return (rng.random(shape) if uniform else rng.standard_normal(shape)).astype(np.float32)

    def in_jax(self) -> AbstractContextManager:
        """What is traced inside draws these numbers."""
        return mock.patch("jaxgan.axis.draw", self.jax)

    def jax(self, sampler: Callable, key: Array, shape: tuple[int, ...], axis_name: str | None = None) -> Array:
        """Stands in for `jaxgan.axis.draw`."""
        del key, axis_name
        return jnp.asarray(self.array(shape, uniform="uniform" in repr(sampler)))

    def normal(self, *shape: int) -> torch.Tensor:
        """Stands in for ``torch.randn``."""
        return torch.from_numpy(self.array(shape))

    def uniform(self, *shape: int) -> torch.Tensor:
        """Stands in for ``torch.rand``."""
        return torch.from_numpy(self.array(shape, uniform=True))


def check_same(
    ours: PyTree, theirs: Mapping[str, tuple[torch.nn.Module, torch.optim.Optimizer]], members: int = 1
) -> float:
    """How far the optimisers' moments are apart after one step, as a share of their norm; Adam's first, RMSProp's only.

    They tell more than the parameters: Adam's first step is the sign of a gradient, which rounding turns where the
    gradient is nearly zero.

    Args:
      ours: the players' optimiser states.
      theirs: the players' modules and optimisers.
      members: of an ensemble, each of which is looked at alone; they are the leading axis of what both sides hold.

    Raises:
      AssertionError: if it is more than `APART`: the two sides do not compute the same.
    """
    worst = 0.0
    for player, (module, tx) in theirs.items():
        name = "mu" if optax.tree.get(ours[player], "mu") is not None else "nu"
        peer = {"mu": "exp_avg", "nu": "square_avg"}[name]
        seen = _flat(optax.tree.get(ours[player], name))
        other = _flat(weights(module, lambda tensor, state=tx.state, peer=peer: state[tensor][peer]))
        assert other.keys() == seen.keys(), (player, other.keys() ^ seen.keys())
        total = np.linalg.norm([np.linalg.norm(value) for value in seen.values()])
        for leaf in seen:
            a, b = seen[leaf].reshape(members, -1), other[leaf].reshape(members, -1)
            norms = np.maximum(np.linalg.norm(a, axis=1), ZERO * total)
            aparts = np.linalg.norm(a - b, axis=1)
            for norm, apart in zip(norms, aparts, strict=True):
                assert norm > 0 and apart <= APART * norm, f"{player}{leaf}: {apart:.2g} apart of {norm:.2g}"
            worst = max(worst, float(np.max(aparts / norms)))
    return worst


def _flat(tree: PyTree) -> dict[str, np.ndarray]:
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
