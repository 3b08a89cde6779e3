"""Many runs as one program: every combination of values with every seed."""

import contextlib
import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table

from jaxgan import data, rundir
from jaxgan import train as trainer
from jaxgan.chunk import tally
from jaxgan.config import Config, EvaluatedConfig, float_fields
from jaxgan.ensemble import AXES, EACH, EACH_STATE, apart, ensemble, shares
from jaxgan.errors import InputError, choose
from jaxgan.finite import FINE, check, keep
from jaxgan.interruption import aside, signals
from jaxgan.parallel import WHOLE
from jaxgan.rundir import Run
from jaxgan.runlog import read
from jaxgan.turns import slices
from jaxgan.typing import GAN, Array, PyTree

# Each is a directory with files of its own.
_MOST = 4096


def sweep(
    config: Config,
    out: str | Path,
    *,
    seeds: int = 1,
    values: dict[str, Sequence[float]] | None = None,
    devices: int | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> list[Path]:
    """Trains every combination of values with every seed, all at once, each as a run that can be sampled and resumed.

    Args:
      config: what all have in common.
      out: directory of the runs, which are named after what they differ in: ``clip=0.01,seed=3``.
      seeds: how many, counted from ``config.seed``. A seed is that of the parameters, the latents and the data's order.
      values: for each float field of the configuration the values to try.
      devices: the members are shared out over the first so many devices, or as many of them as divide the members.
      overwrite: delete runs that are in the way.
      quiet: print nothing.

    A member whose step is not finite keeps the state that it had; "skipped" is the share of such steps.

    Returns:
      The directories of the runs.

    Raises:
      InputError: before anything is compiled, if a field is no float field, a value is not allowed, or a directory is
        taken.

    >>> sweep(PRESETS["gan-ring"].config, "runs/ring", seeds=8, values={"g_lr": (1e-4, 1e-3)})  # doctest: +SKIP
    """
    values = dict(values or {})
    members = _members(config, seeds, values)
    runs = [Path(out) / _name(member, values) for member in members]
    if twice := [run for i, run in enumerate(runs) if run in runs[:i]]:
        raise InputError(
            f"Two members would be kept in {twice[0]}, which is named after their values. Give values that differ in "
            "their first six digits."
        )
    for run in runs:
        rundir.check(run, resume=False, overwrite=overwrite)
    if isinstance(config, EvaluatedConfig) and config.eval_every is not None:
        raise InputError(
            "A sweep is not evaluated while it trains, nor diagnosed. Leave eval_every and diagnostics out; of its "
            "members `jaxgan evaluate RUN` measures the samples, and `jaxgan.diagnostics.diagnose` the game."
        )
    mesh = shares(len(members), devices)
    source = config.load()
    images = config.batch * slices(config.build(source.shape, source.classes).step)
    feed = data.feed(source, images, config.seed, memory_limit=config.memory_limit << 20)
    swept = {name: jnp.array([getattr(m, name) for m in members], jnp.float32) for name in values}
    own = seeds > 1  # members of one seed see the same batches
    keys = [jnp.stack(same) for same in zip(*(trainer.keys(m) for m in members), strict=True)]
    seed = jnp.array([m.seed for m in members], jnp.uint32)

    def build(values: dict[str, Array]) -> GAN:
        return ensemble(
            lambda **v: dataclasses.replace(config, **v).build(source.shape, source.classes), values, own_batches=own
        )

    def metrics_of(state, loaded, values, seed, key):
        drawn = jax.vmap(lambda s: feed.draw(loaded, state.step, s))(seed) if own else feed.draw(loaded, state.step)
        after, metrics = build(values).step(state, drawn, key)

        def one(after, before, metrics):
            ok = check(after, metrics).ok
            return keep(ok, after, before).replace(step=after.step), tally(metrics, ok)

        return jax.vmap(one, (AXES, AXES, 0), (AXES, 0))(after, state, metrics)

    def chunk(state, sums, loaded, n, values, seed, key):
        def step(_, carry):
            state, metrics = metrics_of(carry[0], loaded, values, seed, key)
            return state, jax.tree.map(jnp.add, carry[1], metrics)

        return jax.lax.fori_loop(0, n, step, (state, sums))

    init_keys, step_keys, sample_keys = keys
    ins = (EACH_STATE, EACH, WHOLE, WHOLE, EACH, EACH, EACH)
    compiled = jax.jit(apart(chunk, mesh, ins, (EACH_STATE, EACH)), donate_argnums=(0, 1))
    init = jax.jit(apart(lambda values, keys: build(values).init(keys), mesh, (EACH, EACH), EACH_STATE))
    loaded = feed.load(0)
    state = jax.eval_shape(init, swept, init_keys)
    shapes = jax.eval_shape(metrics_of, state, loaded, swept, seed, step_keys)[1]
    sums = jax.device_put(
        jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes), jax.sharding.NamedSharding(mesh, EACH)
    )
    for member, run in zip(members, runs, strict=True):
        rundir.make(run, member, overwrite=overwrite)

    view = config.view(source, feed)

    def draw(values, state, keys):
        def one(values, state, key):
            gan = dataclasses.replace(config, **values).build(source.shape, source.classes)
            return view.draw(gan, state, jax.random.clone(key))

        return jax.vmap(one, (0, AXES, 0))(values, state, keys)

    drawn = jax.jit(apart(draw, mesh, (EACH, EACH_STATE, EACH), EACH))

    def sample(state):
        return drawn(swept, state, sample_keys)

    console = rich.console.Console(quiet=quiet)
    console.print(f"{len(members)} members on {mesh.size} device{'s' if mesh.size > 1 else ''}: compiling")
    with signals() as caught:
        rest = (swept, seed, step_keys)
        program = aside(compiled.lower(state, sums, loaded, np.int32(1), *rest).compile)
        items = {"state": aside(lambda: init(swept, init_keys)), "progress": {"sums": sums, "rollbacks": 0}}

        def advance(state, sums, loaded, n, _):
            return *program(state, sums, loaded, n, *rest), FINE

        with caught.noted(), trainer.written(Path(out)), contextlib.ExitStack() as stack:
            outs = [
                # The first speaks for all while they train.
                stack.enter_context(Run(run, member, trainer.describe(member, source), quiet=quiet or run != runs[0]))
                for member, run in zip(members, runs, strict=True)
            ]
            trained = trainer.Program(advance, sample, view, feed, images * len(members), step_keys)
            trainer.loop(config, trained, items, loaded, 0, outs, _take, caught)
        if not quiet:
            console.print(table(runs, members, values))
            console.print(f"{len(runs)} runs, in {out}", highlight=False, markup=False, soft_wrap=True)
    return runs


def table(runs: Sequence[Path], members: Sequence[Config], values: dict[str, Sequence[float]]) -> rich.table.Table:
    """The last row of each run's log: mean and standard deviation over the seeds of each combination of values."""
    groups: dict[tuple[float, ...], list[dict[str, float]]] = {}
    for run, member in zip(runs, members, strict=True):
        *_, last = read(run / "metrics.jsonl")
        groups.setdefault(tuple(getattr(member, name) for name in values), []).append(last)
    names = [n for n in next(iter(groups.values()))[0] if n not in ("step", "seconds", "images_per_second")]
    seeds = len(members) // len(groups)
    titles = [", ".join(f"{n} {v:g}" for n, v in zip(values, combination, strict=True)) for combination in groups]
    result = rich.table.Table(f"{seeds} seed{'s' if seeds > 1 else ''}: mean ± deviation", *titles)
    for name in names:
        numbers = [np.array([float(row[name]) for row in rows]) for rows in groups.values()]
        result.add_row(name, *(f"{x.mean():.4g} ± {x.std():.2g}" for x in numbers))
    return result


def _members(config: Config, seeds: int, values: dict[str, Sequence[float]]) -> list[Config]:
    for name, numbers in values.items():
        choose("float field", name, dict.fromkeys(float_fields(config)))
        if not numbers or len(set(numbers)) < len(numbers):
            raise InputError(f"{name} is to take the values {list(numbers)}; give at least one, and each once.")
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; at least one is trained.")
    if (count := seeds * math.prod(map(len, values.values()))) > _MOST:
        raise InputError(f"{count} members were asked for; a sweep has at most {_MOST}. Take fewer seeds or values.")
    return [
        dataclasses.replace(config, seed=config.seed + i, **dict(zip(values, combination, strict=True)))
        for combination in itertools.product(*values.values())
        for i in range(seeds)
    ]


def _name(member: Config, values: dict[str, Sequence[float]]) -> str:
    return ",".join([*(f"{name}={getattr(member, name):g}" for name in values), f"seed={member.seed}"])


def _take(tree: PyTree, i: int) -> PyTree:
    """What belongs to one member; the step's number belongs to all."""

    def row(x: Array) -> Array:
        # From the device that has it: x[i] would be a program of all devices, in which they wait for each other.
        for shard in x.addressable_shards:
            first, end, _ = shard.index[0].indices(len(x))
            if first <= i < end:
                return shard.data[i - first]
        raise AssertionError(f"no device of this process has member {i}")

    return jax.tree.map(lambda x: row(x) if x.ndim else x, tree)
