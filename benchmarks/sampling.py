"""Samples a second, by how many are drawn at once.

    python benchmarks/sampling.py [--presets digits dcgan-mnist stylegan2-mnist]

It times the program that `jaxgan sample` runs, after it is compiled. The generators are untrained, which costs the
same.
"""

import statistics
import time

import jax
import tyro
from results import write

from jaxgan.config import SampledConfig
from jaxgan.presets import PRESETS
from jaxgan.sample import key_of
from jaxgan.tuning import tune


def main(
    presets: tuple[str, ...] = ("digits", "dcgan-mnist", "stylegan2-mnist"),
    counts: tuple[int, ...] = (1, 64, 256),
    rounds: int = 9,
) -> None:
    """Times sampling.

    Args:
        presets: Which configurations.
        counts: Samples of a call.
        rounds: How often each is timed; the median counts.
    """
    tune()
    rows = []
    for preset in presets:
        config = PRESETS[preset].config
        assert isinstance(config, SampledConfig)
        source = config.load()
        gan = config.build(source.shape, source.classes)
        state = jax.jit(gan.init)(jax.random.key(0))
        for count in counts:
            asked = config.conditions(count, source.classes)
            sample = jax.jit(lambda state, key, asked, gan=gan, count=count: gan.sample(state, key, count, **asked))
            seconds = []
            for seed in range(rounds + 1):
                began = time.perf_counter()
                jax.block_until_ready(sample(state, key_of(seed), asked))
                seconds.append(time.perf_counter() - began)
            first, *rest = seconds
            median = statistics.median(rest)
            rows.append(
                {
                    "preset": preset,
                    "samples": count,
                    "ms": round(1e3 * median, 3),
                    "images_per_second": round(count / median, 1),
                    "first_call_seconds": round(first, 2),
                }
            )
    write("sampling", {"rounds": rounds, "rows": rows})


if __name__ == "__main__":
    tyro.cli(main)
