"""Lazy regularisation: one program that branches, beside three programs that the host chooses from.

    python benchmarks/lazy.py

StyleGAN2 penalises gradients on every 16th step and path lengths on every 4th. `every` makes that a `lax.cond` inside
the step, so that a scan can run any number of steps without the host. The peer compiles three steps, with both
regularisers, with path lengths and with none, and dispatches the right one. Measured are 16 steps, which hold all.
"""

import dataclasses
import time
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from results import write

from jaxgan.config import StyleGAN2Config
from jaxgan.presets import PRESETS
from jaxgan.typing import GAN

STEPS = 16


def main(rounds: int = 5, batch: int = 16) -> None:
    """Times 16 steps of `stylegan2-mnist` both ways, in turns, and reads the compiler's estimate of memory.

    Args:
        rounds: How often each is timed; the median of the ratios counts.
        batch: Images of a step.
    """
    config = PRESETS["stylegan2-mnist"].config
    assert isinstance(config, StyleGAN2Config)

    def build(**options: float) -> GAN:
        return dataclasses.replace(config, batch=batch, **options).build((32, 32, 1), None)

    lazy = build()
    # Regularisers that run always cost what those of the step cost that runs them.
    kinds = {
        "both": build(r1_every=1, path_every=1),
        "path": build(r1=0.0, path_every=1),
        "none": build(r1=0.0, path_length=0.0),
    }
    key = jax.random.key(1)
    data = {"image": jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (batch, 32, 32, 1)), jnp.float32)}
    state = jax.jit(lazy.init)(jax.random.key(0))

    def scanned(state, data):
        return jax.lax.fori_loop(0, STEPS, lambda _, s: lazy.step(s, data, key)[0], state)

    def stepper(gan: GAN):
        # Without path lengths there is no memory of them to carry; the state keeps it.
        def step(state, data):
            new, _ = gan.step(state, data, key)
            return new.replace(memory=state.memory | new.memory)

        return step

    one = jax.jit(scanned, donate_argnums=0).lower(state, data).compile()
    three = {name: jax.jit(stepper(gan), donate_argnums=0).lower(state, data).compile() for name, gan in kinds.items()}
    order = [
        "both" if i % config.r1_every == 0 else "path" if i % config.path_every == 0 else "none" for i in range(STEPS)
    ]

    def branching(state):
        return one(state, data)

    def dispatched(state):
        for name in order:
            state = three[name](state, data)
        return state

    times: dict[str, list[float]] = {"branching": [], "dispatched": []}
    for _ in range(rounds + 1):  # the first warms up
        for name, run in (("branching", branching), ("dispatched", dispatched)):
            copy = jax.block_until_ready(jax.tree.map(jnp.copy, state))
            began = time.perf_counter()
            jax.block_until_ready(run(copy))
            times[name].append(time.perf_counter() - began)

    def temporary(compiled) -> float:
        return compiled.memory_analysis().temp_size_in_bytes / 2**20

    write(
        "lazy",
        {
            "batch": batch,
            "milliseconds_a_step": {name: 1e3 * median(t[1:]) / STEPS for name, t in times.items()},
            "branching_over_dispatched": median(
                a / b for a, b in zip(times["branching"][1:], times["dispatched"][1:], strict=True)
            ),
            "temporary_mib": {"branching": temporary(one), **{name: temporary(c) for name, c in three.items()}},
        },
    )


if __name__ == "__main__":
    tyro.cli(main)
