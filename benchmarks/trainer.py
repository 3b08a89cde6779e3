"""What the trainer costs over its bare step, how long a checkpoint stalls it, and whether its memory stays flat.

    python benchmarks/trainer.py [--preset digits] [--steps 2000] [--rounds 5]

Both run the same compiled step on the same data. The bare one is a single scan; the trainer also feeds, logs, draws
pictures and saves checkpoints at the preset's intervals. A checkpoint stalls the loop while it is copied from the
device, and while the one before it is still being written. A round measures one right after the other, and the median
of the rounds' ratios counts, because machines drift.
"""

import dataclasses
import statistics
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

import jax
import psutil
import tyro
from results import write

from jaxgan import data
from jaxgan.presets import PRESETS
from jaxgan.rundir import Run
from jaxgan.runlog import read
from jaxgan.train import keys, train
from jaxgan.turns import slices


def main(preset: str = "digits", steps: int = 2000, rounds: int = 5) -> None:
    """Measures the trainer against its bare step.

    Args:
        preset: Which configuration.
        steps: Training steps of a round.
        rounds: How often each is measured.
    """
    config = dataclasses.replace(PRESETS[preset].config, steps=steps)
    source = config.load()
    gan = config.build(source.shape, source.classes)
    feed = data.feed(source, config.batch * slices(gan.step), config.seed)
    init_key, step_key, _ = keys(config)
    loaded = feed.load(0)

    @jax.jit
    def bare(state):
        def body(state, _):
            return gan.step(state, feed.draw(loaded, state.step), step_key)

        return jax.lax.scan(body, state, length=steps)

    def bare_seconds():
        state = jax.jit(gan.init)(jax.random.clone(init_key))
        began = time.perf_counter()
        jax.block_until_ready(bare(state))
        return time.perf_counter() - began

    def trainer_seconds(run):
        # The log's clock runs from before compiling, so steady time is read off between the first and the last row.
        train(config, run, source=source, quiet=True)
        rows = read(run / "metrics.jsonl")
        return (rows[-1]["seconds"] - rows[0]["seconds"]) * steps / (rows[-1]["step"] - rows[0]["step"])

    times = {"bare": [], "trainer": []}
    bare_seconds()  # compiles
    with tempfile.TemporaryDirectory() as folder:
        for i in range(rounds):
            times["bare"].append(bare_seconds())
            times["trainer"].append(trainer_seconds(Path(folder) / str(i)))
        with _Memory() as memory, mock.patch.object(Run, "save", _timed(Run.save, stalls := [])):
            took = trainer_seconds(Path(folder) / "memory")
    steady = memory.mib[len(memory.mib) // 3 :]  # after compiling and the first pictures and checkpoints
    write(
        "trainer",
        {
            "preset": preset,
            "steps": steps,
            "rounds": rounds,
            "bare_seconds": times["bare"],
            "trainer_seconds": times["trainer"],
            "median_ratio": statistics.median(t / b for b, t in zip(times["bare"], times["trainer"], strict=True)),
            "checkpoint_stall_ms": {"median": 1e3 * statistics.median(stalls), "most": 1e3 * max(stalls)},
            "checkpoint_stall_share": sum(stalls) / took,
            "steady_rss_mib": {"first": steady[0], "last": steady[-1], "most": max(steady)},
        },
    )


def _timed(function, seconds):
    def timed(*args):
        began = time.perf_counter()
        function(*args)
        seconds.append(time.perf_counter() - began)

    return timed


class _Memory:
    """Notes the resident memory of this process four times a second."""

    def __enter__(self):
        self.mib, self._stop = [], threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        process = psutil.Process()
        while not self._stop.wait(0.25):
            self.mib.append(round(process.memory_info().rss / 2**20, 1))


if __name__ == "__main__":
    tyro.cli(main)
