"""Many seeds as one program against the same seeds one after the other: the same curves, and the ratio of time.

python benchmarks/ensemble.py
"""

import dataclasses
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from results import write

from jaxgan import data
from jaxgan.ensemble import ensemble
from jaxgan.presets import PRESETS
from jaxgan.train import keys


def main(members: int = 32, steps: int = 2000, rounds: int = 5) -> None:
    """Measures an ensemble of the ring GAN.

    Args:
        members: Seeds.
        steps: Of each.
        rounds: How often both ways are timed.
    """
    config = PRESETS["gan-ring"].config
    source = config.load()
    gan = config.build(source.shape, source.classes)
    feed = data.feed(source, config.batch, 0)
    configs = [dataclasses.replace(config, seed=seed) for seed in range(members)]
    inits, step_keys, _ = (jnp.stack(same) for same in zip(*map(keys, configs), strict=True))
    seeds = jnp.arange(members, dtype=jnp.uint32)
    gans = ensemble(lambda: gan, {}, own_batches=True)

    @jax.jit
    def together(state):
        def step(state, _):
            batches = jax.vmap(lambda seed: feed.draw({}, state.step, seed))(seeds)
            state, metrics = gans.step(state, batches, step_keys)
            return state, metrics["discriminator_loss"]

        return jax.lax.scan(step, state, length=steps)

    @jax.jit
    def alone(state, seed, key):
        def step(state, _):
            state, metrics = gan.step(state, feed.draw({}, state.step, seed), key)
            return state, metrics["discriminator_loss"]

        return jax.lax.scan(step, state, length=steps)

    init, init_all = jax.jit(gan.init), jax.jit(gans.init)

    def sequential():
        return [alone(init(inits[i]), seeds[i], step_keys[i])[1] for i in range(members)]

    def at_once():
        return together(init_all(inits))[1].T

    def seconds(function):
        began = time.perf_counter()
        jax.block_until_ready(function())
        return time.perf_counter() - began

    one, many = np.array(sequential()), np.array(at_once())  # compiles as well
    ratios = [seconds(sequential) / seconds(at_once) for _ in range(rounds)]
    # Rounding differs, and a game amplifies it: the first steps agree closely, the last ones on average.
    apart = np.abs(one - many).max(axis=0)
    late = [curve[:, -500:].mean(axis=1) for curve in (one, many)]
    write(
        "ensemble",
        {
            "preset": "gan-ring",
            "members": members,
            "steps": steps,
            "sequential_over_ensemble": statistics.median(ratios),
            "ratios": ratios,
            "largest_difference_of_losses_at_step": {step: float(apart[step - 1]) for step in (1, 3, 10, 30, 100)},
            "mean_loss_of_last_500_steps": {
                "sequential": [float(late[0].mean()), float(late[0].std())],
                "ensemble": [float(late[1].mean()), float(late[1].std())],
            },
        },
    )


if __name__ == "__main__":
    tyro.cli(main)
