"""How fast a configuration trains, and where its time goes: ``jaxgan bench``."""

import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data
from jaxgan.checkpoint import versions
from jaxgan.chunk import blank, make_chunk
from jaxgan.config import Config
from jaxgan.errors import InputError
from jaxgan.finite import Check
from jaxgan.flops import cycle_flops, loops
from jaxgan.parallel import Engine
from jaxgan.train import keys, make_feed
from jaxgan.turns import slices
from jaxgan.typing import PyTree

# A chunk of steps takes about so long: short enough for percentiles, long enough for the clock.
_CHUNK_SECONDS = 0.1
_MOST_STEPS = 1 << 12
_HEAVIEST = 10


def bench(config: Config, engine: Engine, *, seconds: float = 10.0, trace: Path | None = None) -> dict[str, Any]:
    """Measures the program that training runs: chunks of steps, with their data, without logs, pictures, checkpoints.

    Args:
      config: what is trained.
      engine: on which devices and how.
      seconds: how long steps are timed, after they are compiled and warm.
      trace: a directory for a profile of two chunks, to be opened with XProf or Perfetto.

    Returns:
      JSON data. "images_per_second"; "step_ms" with "median", "p10", "p90" of chunks, each of whole cycles of lazy
      turns; "compile_seconds" of tracing and compiling; "waiting_share", of the time for which steps wait for data that
      is read ahead, None if too few steps were timed to need more of it; "gflops_per_step" of matrix products and
      convolutions, the mean of a cycle; "matmul_tflops", what a large matrix product of the same dtype reaches here,
      and "mfu", the step's share of that; "bandwidth_gb_s", what adding two large arrays reaches; "gb_per_step", what
      XLA says that the operations of a step read and write on one device, and "bandwidth_share", how fast they do so as
      a share of that, above 1 where caches serve them. Both are None where the step loops or branches, which XLA's
      count does not see. "peak_mib" of the device, on CPUs of the process; with a trace "heaviest", the operations that
      took most time.

    Raises:
      InputError: before anything is compiled, if the configuration, its data and the devices do not fit together.

    >>> bench(PRESETS["digits"].config, parallel.sharded(), seconds=1.0)["images_per_second"]  # doctest: +SKIP
    """
    if not seconds > 0:
        raise InputError(f"--seconds is {seconds}; steps are timed for a while, above 0.")
    engine.check(config.smallest_batch)
    source = config.load()
    gan = config.build(source.shape, source.classes, engine.axis_name)
    images = config.batch * slices(gan.step)
    feed = make_feed(config, source, images, engine)
    init_key, key, _ = keys(config)
    loaded = feed.load(0)
    like = jax.eval_shape(gan.init, jax.random.clone(init_key))
    sums, before = blank(gan, engine, feed, loaded, like, key)

    began = time.perf_counter()
    program = make_chunk(gan, engine, feed, engine.layout(like), before)
    chunk = program.lower(like, sums, loaded, np.int32(1), key).compile()
    compile_seconds = time.perf_counter() - began
    of_step = _step(config, source, images)
    flops = _flops(*of_step)
    state = engine.init(gan)(init_key)
    run = _Chunks(chunk, state, engine.replicate(sums), feed, loaded, key)

    run(1)
    steps = _steps(run, len(flops))
    times, run.waits = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        times.append(run(steps) / steps)
    median, waited = statistics.median(times), sum(run.waits)
    waiting_share = None if feed.limit and not run.waits else round(waited / (waited + steps * sum(times)), 4)

    gflops, gb = statistics.mean(flops) / 1e9, None if loops(*of_step) else _gigabytes(chunk)
    dtype = getattr(config, "dtype", "float32")
    tflops, gb_s = _matmul_tflops(dtype), _bandwidth_gb_s()
    measured = {
        "images_per_second": round(images / median, 1),
        "images_per_step": images,
        "step_ms": {
            "median": 1e3 * median,
            "p10": 1e3 * float(np.quantile(times, 0.1)),
            "p90": 1e3 * float(np.quantile(times, 0.9)),
            "chunks": len(times),
            "steps_per_chunk": steps,
        },
        "compile_seconds": round(compile_seconds, 2),
        "waiting_share": waiting_share,
        "gflops_per_step": round(gflops, 4),
        "matmul_tflops": round(tflops, 4),
        "mfu": round(gflops / 1e3 / median / (tflops * engine.size), 4),
        "bandwidth_gb_s": round(gb_s, 1),
        "gb_per_step": gb,
        "bandwidth_share": gb and round(gb / median / gb_s, 4),
        "peak_mib": round(_peak_mib()),
    }
    if trace is not None:
        measured["heaviest"] = _profile(run, steps, trace)
    return {
        "measured": measured,
        "config": config.as_data(),
        "engine": engine.name,
        "devices": engine.size,
        "versions": versions(),
    }


class _Chunks:
    """The state, and the chunks that it goes through."""

    def __init__(self, chunk: Callable, state: PyTree, sums: PyTree, feed: data.Feed, loaded: PyTree, key: Any):
        self.chunk, self.state, self.sums, self.feed, self.loaded, self.key = chunk, state, sums, feed, loaded, key
        self.step, self.reach, self.waits = 0, feed.limit, []

    def __call__(self, steps: int) -> float:
        """Makes so many steps; returns the seconds that they took, without those of waiting for data."""
        took = 0.0
        while steps:
            if self.step == self.reach:
                began = time.perf_counter()
                self.loaded, self.reach = self.feed.load(self.step), self.step + (self.feed.limit or 0)
                self.waits.append(time.perf_counter() - began)
            n = steps if self.reach is None else min(steps, self.reach - self.step)
            took += self._chunk(n)
            steps -= n
        return took

    def _chunk(self, steps: int) -> float:
        began = time.perf_counter()
        self.state, self.sums, found = jax.block_until_ready(
            self.chunk(self.state, self.sums, self.loaded, np.int32(steps), self.key)
        )
        took = time.perf_counter() - began
        self.step += steps
        _check_finite(found, self.step)
        return took


def _check_finite(found: Check, step: int) -> None:
    if not bool(found.ok):
        raise InputError(
            f"A step before step {step} is not finite, so there is nothing to time. Lower --g-lr and --d-lr."
        )


def _steps(run: _Chunks, cycle: int) -> int:
    """How many steps last long enough: as many in which every lazy turn has its share."""
    steps = cycle
    while run(steps) < _CHUNK_SECONDS and steps < _MOST_STEPS:
        steps *= 2
    return steps


def _step(config: Config, source: data.AnySource, images: int) -> tuple[Callable, PyTree, PyTree, PyTree]:
    """The step on one device, which all devices share, and the shapes of its arguments."""
    gan, feed = config.build(source.shape, source.classes), data.feed(source, images, config.seed)
    like = jax.eval_shape(gan.init, jax.random.key(0))
    batch = jax.eval_shape(lambda n: jax.tree.map(jnp.asarray, feed.peek(images)), 0)
    return gan.step, like, batch, jax.eval_shape(jax.random.key, 0)


def _flops(step: Callable, *args: PyTree) -> list[float]:
    """Of each step of a cycle of lazy turns."""
    nothing = jax.tree.map(lambda _: None, args)

    def at(number: int) -> tuple[PyTree, PyTree]:
        return (nothing[0].replace(step=jnp.int32(number)), *nothing[1:]), args

    return cycle_flops(step, at)


def _gigabytes(chunk: Any) -> float:
    """Of one step: XLA counts the body of the chunk's loop once, and what is around it is little."""
    return chunk.cost_analysis()["bytes accessed"] / 1e9


def _matmul_tflops(dtype: str) -> float:
    """The rate of a large matrix product on one device."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    x = jnp.ones((side, side), dtype)
    return 2 * side**3 / _best(jax.jit(lambda x: x @ x), x) / 1e12


def _bandwidth_gb_s() -> float:
    """Bytes read and written in a second while two large arrays are added on one device."""
    x = jnp.ones(1 << (25 if jax.default_backend() == "cpu" else 28), jnp.float32)
    return 3 * x.nbytes / _best(jax.jit(lambda x, y: x + y), x, x + 1) / 1e9


def _best(function: Callable, *args: Any) -> float:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - began)
    return min(times)


def _peak_mib() -> float:
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _profile(run: _Chunks, steps: int, directory: Path) -> list[dict[str, Any]]:
    """Writes a profile of two chunks; returns the operations that took most of the time."""
    with jax.profiler.trace(str(directory)):
        took = run(steps) + run(steps)
    path = max(directory.rglob("*.xplane.pb"), key=lambda file: file.stat().st_mtime)
    names = _sources(run.chunk)
    totals: dict[str, float] = defaultdict(float)
    for plane in jax.profiler.ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            for event in line.events:
                if event.name in names:
                    totals[event.name] += event.duration_ns / 1e9
    heaviest = sorted(totals, key=totals.__getitem__, reverse=True)[:_HEAVIEST]
    whole = max(took, sum(totals.values()))
    return [{"operation": n, "of": names[n], "share": round(totals[n] / whole, 4)} for n in heaviest]


def _sources(compiled: Any) -> dict[str, str]:
    """Where each operation of the compiled program comes from, in the words of the traced functions."""
    found = {}
    for line in compiled.as_text().splitlines():
        name, equals, rest = line.strip().removeprefix("ROOT ").partition(" = ")
        if equals and name.startswith("%"):
            words = rest.partition('op_name="')[2].partition('"')[0]
            found[name[1:]] = "/".join(words.split("/")[-4:])
    inner = ("while", "conditional", "call")  # what they take is taken by what is in them
    return {name: words for name, words in found.items() if not name.startswith(inner)}


def compare(now: dict[str, Any], then: dict[str, Any]) -> dict[str, float]:
    """Ratios of two measurements, above 1 where the present one is better.

    Raises:
      InputError: if they are of different configurations or machines.
    """
    apart = [name for name in ("config", "engine", "devices") if now[name] != then.get(name)]
    if now["versions"]["device"] != then.get("versions", {}).get("device"):
        apart.append("device")
    if apart:
        raise InputError(f"The two measurements differ in {', '.join(apart)}: their numbers do not compare.")
    a, b = now["measured"], then["measured"]
    return {
        "images_per_second": a["images_per_second"] / b["images_per_second"],
        "compile_seconds": b["compile_seconds"] / a["compile_seconds"],
        "peak_mib": b["peak_mib"] / a["peak_mib"],
    }
