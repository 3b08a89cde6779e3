"""Every objective on the ring of 8 Gaussians: training stays finite, and four objectives find every mode."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import nn
from jaxgan.data.sources import ring
from jaxgan.objectives import OBJECTIVES, hinge, r3gan, wgan_gp
from jaxgan.recipes import gan, rmsprop, wgan
from jaxgan.transforms import spectral_projection
from jaxgan.turns import slices

RING = ring()
SEEDS, SAMPLES, STEPS = 3, 2_500, 15_000


def networks(width, depth):
    return nn.MLPGenerator((2,), width, depth, None), nn.MLPDiscriminator(width, depth)


def train(gan, steps, batch, **compiler_options):
    """Trains one GAN for each seed, all in one program.

    Returns the states, for each seed whether every metric of every step was finite, and samples f32[seeds, 2500, 2].
    """
    images = batch * slices(gan.step)

    def run(key):
        init_key, data_key, step_key, sample_key = jax.random.split(key, 4)

        def body(carry, i):
            state, finite = carry
            state, metrics = gan.step(state, RING.draw(jax.random.fold_in(data_key, i), images), step_key)
            return (state, finite & all_finite(metrics)), None

        (state, finite), _ = jax.lax.scan(body, (gan.init(init_key), jnp.array(True)), jnp.arange(steps))
        return state, finite, gan.sample(state, sample_key, SAMPLES)

    program = jax.jit(jax.vmap(run), compiler_options=compiler_options)
    # Under vmap the checker refuses every scan over split keys, as repeat() is one, though each key is used once.
    with jax.debug_key_reuse(False):
        return program(jax.random.split(jax.random.key(0), SEEDS))


def all_finite(tree):
    return jnp.all(jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


def mode_counts(points):
    """High-quality points by mode: those within three standard deviations of it (PacGAN, section 4.1)."""
    distance = np.linalg.norm(np.asarray(points)[:, None] - RING.modes, axis=-1)
    nearest, good = distance.argmin(axis=1), distance.min(axis=1) <= 3 * RING.std
    return np.bincount(nearest[good], minlength=len(RING.modes))


def test_the_measure_of_coverage():
    """Of a Gaussian in the plane 1 - exp(-9/2) lies within three standard deviations."""
    n = 80_000
    counts = mode_counts(RING.draw(jax.random.key(0), n)["image"])
    share = 1 - np.exp(-4.5)
    assert abs(counts.sum() / n - share) < 5 * np.sqrt(share * (1 - share) / n)
    np.testing.assert_allclose(counts, share * n / 8, atol=5 * np.sqrt(n / 8))
    # A generator that answers with one mode, or with the space between two of them, covers one, or none.
    assert (mode_counts(np.repeat(RING.modes[3:4], 9, axis=0)) == [0, 0, 0, 9, 0, 0, 0, 0]).all()
    assert not mode_counts((RING.modes[:1] + RING.modes[1:2]) / 2).any()


@pytest.mark.long
@pytest.mark.parametrize("name", OBJECTIVES)
def test_2000_steps_without_a_nan(name):
    g = gan(*networks(16, 2), latent_dim=2, objective=OBJECTIVES[name]())
    # A program that runs for less than a second is not worth five seconds of LLVM's optimisation.
    states, finite, samples = train(g, 2_000, 32, xla_backend_optimization_level=0)
    assert (states.step == 2_000).all()
    assert finite.all(), "a metric"
    assert all_finite((states.params, states.average, states.opt_state)), "a parameter"
    assert all_finite(samples)


def decayed(learning_rate, d_steps=1):
    return optax.cosine_decay_schedule(learning_rate, STEPS * d_steps)


def with_adam(objective, d_steps=1):
    g_tx, d_tx = (optax.adam(decayed(1e-3, n), b1=0.5) for n in (1, d_steps))
    return gan(*networks(64, 3), latent_dim=2, objective=objective, g_tx=g_tx, d_tx=d_tx, d_steps=d_steps)


def with_rmsprop(clip):
    return wgan(*networks(64, 3), latent_dim=2, clip=clip, g_tx=rmsprop(decayed(1e-3)), d_tx=rmsprop(decayed(1e-3, 5)))


COVERING = {
    # Three layers of 64 units hold the critic's slope below sqrt(2) 64^3 clip^4: below 37. The paper's 0.01 holds it
    # below 0.004; then every mode is found, but only one sample in three to seven is of high quality.
    "wgan": lambda: with_rmsprop(clip=0.1),
    "wgan_gp": lambda: with_adam(wgan_gp(0.1), d_steps=5),
    # With bounded spectral norms, as Miyato et al. have it: without, one seed in three or so loses a mode or nearly.
    "hinge": lambda: with_adam(hinge()._replace(constraint=spectral_projection(2.0))),
    "r3gan": lambda: with_adam(r3gan(0.02)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERING)
def test_covers_every_mode(name):
    """8 of 8 modes with every seed, each with at least 100 high-quality samples of 2,500: a third of its share."""
    _, _, samples = train(COVERING[name](), STEPS, 128)
    counts = np.stack([mode_counts(points) for points in samples])
    assert counts.shape == (SEEDS, 8)
    assert counts.min() >= 100, f"high-quality samples by seed and mode:\n{counts}"
