"""What the trainer costs over its bare scanned step, and whether its memory stays flat.

    python benchmarks/trainer.py [--preset digits] [--steps 2000] [--rounds 5]

Both run the same compiled step on the same data. The bare one is a single scan; the trainer also feeds, logs, draws
pictures and saves checkpoints at the preset's intervals. The rounds are interleaved, and the medians are compared.
"""

import dataclasses
import resource
import statistics
import tempfile
import time
from pathlib import Path

import jax
import psutil
import tyro
from results import write

from jaxgan import data
from jaxgan.presets import PRESETS
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
    source = data.load(config.data, data_dir=config.data_dir)
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

    process, times, memory = psutil.Process(), {"bare": [], "trainer": []}, []
    bare_seconds()  # compiles
    with tempfile.TemporaryDirectory() as folder:
        for i in range(rounds):
            times["bare"].append(bare_seconds())
            times["trainer"].append(trainer_seconds(Path(folder) / str(i)))
            memory.append(process.memory_info().rss / 2**20)
    medians = {name: statistics.median(t) for name, t in times.items()}
    write(
        "trainer",
        {
            "preset": preset,
            "steps": steps,
            "rounds": rounds,
            "bare_seconds": times["bare"],
            "trainer_seconds": times["trainer"],
            "median_ratio": medians["trainer"] / medians["bare"],
            "rss_mib_after_each_round": memory,
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        },
    )


if __name__ == "__main__":
    tyro.cli(main)
