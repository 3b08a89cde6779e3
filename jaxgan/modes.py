"""Benchmarks of mode collapse: how many modes of a mixture a GAN finds, by method, over seeds.

VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et al. 2018, https://arxiv.org/abs/1712.04086, section 4.1) train on a
ring of 8 and a grid of 25 Gaussians, and look at 2,500 samples. A method here is a configuration, and all of its seeds
are trained as one program.

The mixtures, the latents and the measures are PacGAN's. Networks and budgets are smaller: both players have three
layers of 64 units, where its generator has four of 400 with batch normalisation and its discriminator three of 200
maxout units, and 15,000 updates of 128 fresh points instead of 400 epochs over 100,000, 100 (or packs) at a time.
Learning rates fall to 0, and samples are drawn with an averaged generator. A batch counts points, not packs.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import data
from jaxgan import train as trainer
from jaxgan.config import GANConfig
from jaxgan.data import Synthetic
from jaxgan.ensemble import EACH, EACH_STATE, apart, ensemble, shares
from jaxgan.errors import InputError, choose
from jaxgan.metrics.coverage import Modes, modes
from jaxgan.parallel import WHOLE
from jaxgan.turns import slices

SAMPLES = 2500
# Steps of one program: between two of them progress is told.
_CHUNK = 500

_RING = GANConfig(
    data="ring", network="mlp", width=64, depth=3, latent_dim=2, batch=128, g_lr=1e-3, d_lr=1e-3, steps=15_000,
    decay_steps=15_000, half_life=100_000.0,
)  # fmt: skip
BENCHMARKS: dict[str, GANConfig] = {"ring": _RING, "grid": dataclasses.replace(_RING, data="grid")}

# Where penalties hold the discriminator's slope, players may take longer steps.
_LONG: dict[str, Any] = {"g_lr": 5e-3, "d_lr": 5e-3, "b2": 0.99}
_R3GAN: dict[str, Any] = {"objective": "r3gan", "penalty": 0.02, **_LONG}

# Fields by which a method differs from its benchmark's configuration.
METHODS: dict[str, dict[str, Any]] = {
    "gan": {},
    "pacgan2": {"packing": 2},
    "minibatch": {"minibatch_kernels": 16},
    "mode_seeking": {"mode_seeking": 0.01},
    "unrolled": {"rule": "unrolled", "rule_steps": 5},
    "consensus": {"rule": "consensus", "rule_weight": 0.1},
    "extragradient": {"rule": "extragradient"},
    "optimistic": {"optimizer": "optimistic_adam"},
    "lookahead": {"lookahead": 5},
    "wgan_gp": {"objective": "wgan_gp", "penalty": 0.1, "d_steps": 5},
    "gan_r1": {"objective": "gan_r1", "penalty": 0.02, **_LONG},
    "r3gan": _R3GAN,
    "r3gan_pacgan2": {**_R3GAN, "packing": 2},
}


def method(benchmark: str, name: str, steps: int | None = None) -> GANConfig:
    """The configuration of a method on a benchmark.

    Args:
      benchmark: "ring" or "grid".
      name: of the method, a key of `METHODS`.
      steps: over which its learning rates fall to 0; by default the benchmark's.

    Raises:
      InputError: for an unknown name, and if steps is below 1.

    >>> method("grid", "pacgan2").packing
    2
    """
    config = choose("benchmark of modes", benchmark, BENCHMARKS)
    fields = choose("method", name, METHODS)
    if steps is not None:
        fields = {"steps": steps, "decay_steps": steps} | fields
    return dataclasses.replace(config, **fields)


def measure(
    config: GANConfig, seeds: Sequence[int], *, progress: Callable[[int], object] = lambda done: None
) -> list[Modes]:
    """Trains a GAN on a mixture with every seed, all as one program, and counts the modes of its samples.

    Each is the GAN that ``jaxgan train --seed`` would train, up to the order of sums.

    Args:
      config: its data is a mixture: "ring" or "grid".
      seeds: of the members.
      progress: called with the number of steps done.

    Returns:
      For each seed the modes that 2,500 samples cover. A member that is not finite covers none.

    Raises:
      InputError: if the data is no mixture, or there is no seed.

    >>> measure(PRESETS["gan-ring"].config, range(10))  # doctest: +SKIP
    """
    source = config.load()
    if not isinstance(source, Synthetic):
        raise InputError(f"The data {config.data!r} has no known modes. Take ring or grid.")
    if not seeds:
        raise InputError("No seed was given; at least one is trained.")
    members = ensemble(lambda: config.build(source.shape, source.classes), {}, own_batches=True)
    feed = data.feed(source, config.batch * slices(config.build(source.shape, source.classes).step), 0)
    keys = [trainer.keys(dataclasses.replace(config, seed=seed)) for seed in seeds]
    init_keys, step_keys, sample_keys = (jnp.stack(same) for same in zip(*keys, strict=True))
    numbers = jnp.array(seeds, jnp.uint32)

    def chunk(state, n, numbers, keys):
        def step(_, state):
            batch = jax.vmap(lambda seed: feed.draw({}, state.step, seed))(numbers)
            return members.step(state, batch, keys)[0]

        return jax.lax.fori_loop(0, n, step, state)

    def draw(state, keys):
        return members.sample(state, keys, SAMPLES)

    mesh = shares(len(seeds))
    program = jax.jit(apart(chunk, mesh, (EACH_STATE, WHOLE, EACH, EACH), EACH_STATE), donate_argnums=0)
    state = jax.jit(apart(members.init, mesh, (EACH,), EACH_STATE))(init_keys)
    for start in range(0, config.steps, _CHUNK):
        state = program(state, min(_CHUNK, config.steps - start), numbers, step_keys)
        progress(int(state.step))
    samples = jax.jit(apart(draw, mesh, (EACH_STATE, EACH), EACH))(state, sample_keys)
    return [_modes(points, source) for points in np.asarray(samples)]


def _modes(points: np.ndarray, source: Synthetic) -> Modes:
    if not np.isfinite(points).all():
        return Modes(0, 0.0, float(np.log(len(source.modes))))
    return modes(points, source.modes, source.std)
