"""Diagnostics against explicit Jacobians, closed forms, and a run that writes them down."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import parallel
from jaxgan.config import GANConfig
from jaxgan.diagnostics import diagnose, values
from jaxgan.dynamics import arnoldi, dirac_gan, eigenvalues, jacobian, ritz_values, vector_field
from jaxgan.errors import InputError
from jaxgan.nn import MLPDiscriminator, MLPGenerator
from jaxgan.nn.r3gan import R3Discriminator, R3Generator
from jaxgan.nn.stylegan2 import StyleDiscriminator, StyleGenerator
from jaxgan.objectives import gan_r1, minimax, wasserstein
from jaxgan.recipes import gan, stylegan2
from jaxgan.recipes.r3gan import r3gan
from jaxgan.train import train

B = 8
BATCH = {"image": np.asarray(jax.random.normal(jax.random.key(7), (B, 2)))}


def key(seed=3):
    return jax.random.key(seed)


class Point(nn.Module):
    """G(z) = theta, whatever z."""

    theta: float

    @nn.compact
    def __call__(self, z, *, train):
        return jnp.zeros((len(z), 1)) + self.param("theta", nn.initializers.constant(self.theta), ())


class Slope(nn.Module):
    """D(x) = psi x."""

    psi: float

    @nn.compact
    def __call__(self, x, *, train):
        return self.param("psi", nn.initializers.constant(self.psi), ()) * x[:, 0]


@pytest.mark.parametrize("gamma", [0.0, 0.6, 1.9])
def test_the_dirac_gan(gamma):
    """Eigenvalues -gamma/2 +- sqrt(gamma^2/4 - 1/4) at the equilibrium, and the slope psi everywhere."""
    objective = minimax()._replace(penalties=gan_r1(gamma).penalties)
    data = {"image": np.zeros((4, 1), np.float32)}
    g = gan(Point(0.0), Slope(0.0), latent_dim=1, objective=objective)
    found = values(jax.jit(lambda s: diagnose(g, s, data, key()))(g.init(key())))
    root = np.emath.sqrt(gamma**2 / 4 - 0.25)
    assert found["largest_real"] == pytest.approx((-gamma / 2 + root).real, abs=1e-5)
    assert found["largest_imaginary"] == pytest.approx(abs(np.imag(root)), abs=1e-5)
    assert found["generator_gradient"] == found["discriminator_gradient"] == 0
    g = gan(Point(0.3), Slope(-2.0), latent_dim=1, objective=wasserstein())
    found = values(diagnose(g, g.init(key()), data, key()))
    assert (found["real_slope"], found["fake_slope"]) == (2, 2)
    assert (found["generator_gradient"], found["discriminator_gradient"]) == pytest.approx((2, 0.3))


@pytest.mark.parametrize("options", [{}, {"packing": 2, "penalty_every": 4, "objective": gan_r1(0.5)}])
def test_eigenvalues_of_networks_are_those_of_the_jacobian(options):
    """All of a small game's: as many products as parameters."""
    networks = MLPGenerator((2,), 3, 1, None), MLPDiscriminator(3, 1)
    g = gan(*networks, latent_dim=2, **options)
    state = g.init(key())
    n = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    found = values(jax.jit(lambda s: diagnose(g, s, BATCH, key(), products=n))(state))
    game_key = jax.random.split(key(), 3)[0]

    def loss(player):
        others = {"discriminator": "generator", "generator": "discriminator"}[player]

        def of_all(params):
            seen = state.replace(params=state.params | {others: params[others]})
            return g.losses[player](params[player], seen, BATCH, jax.random.clone(game_key))[0]

        return of_all

    field = vector_field({player: loss(player) for player in g.losses})
    expected = np.linalg.eigvals(jax.jit(lambda params: jacobian(field, params))(state.params))
    assert found["largest_real"] == pytest.approx(expected.real.max(), rel=1e-3, abs=1e-4)
    assert found["largest_imaginary"] == pytest.approx(expected.imag.max(), rel=1e-3, abs=1e-4)


def test_slopes_are_mean_norms():
    network = MLPDiscriminator(3, 1)
    g = gan(MLPGenerator((2,), 3, 1, None), network, latent_dim=2)
    state = g.init(key())

    def slope(x):
        return np.linalg.norm(
            jax.grad(lambda x: network.apply({"params": state.params["discriminator"]}, x[None], train=True)[0])(x)
        )

    found = diagnose(g, state, BATCH, key())
    assert found.real_slope == pytest.approx(np.mean([slope(x) for x in BATCH["image"]]), rel=1e-5)


# The iteration.


def test_arnoldi_finds_the_outermost_eigenvalues():
    """Of 200, of which three stand out: with 30 products to four digits. All of a small matrix, and no more."""
    rng = np.random.default_rng(0)
    blocks = np.diag(rng.uniform(-1, 0, 200))
    blocks[0, 0], blocks[1:3, 1:3] = 2.0, [[-0.5, 3.0], [-3.0, -0.5]]
    basis = np.linalg.qr(rng.normal(size=(200, 200)))[0]
    a = jnp.asarray(basis @ blocks @ basis.T, jnp.float32)
    first = jnp.asarray(rng.normal(size=200), jnp.float32)
    found = ritz_values(jax.jit(lambda v: arnoldi(lambda x: a @ x, v, 30))(first))
    assert found.real.max() == pytest.approx(2, abs=2e-4)
    assert found.imag.max() == pytest.approx(3, abs=2e-4)
    field, at = vector_field(dirac_gan(0.4)), {"generator": 0.0, "discriminator": 0.0}
    matrix = jacobian(field, at)
    np.testing.assert_allclose(
        ritz_values(arnoldi(lambda v: matrix @ v, jnp.array([1.0, 2.0]), 9)), eigenvalues(field, at), atol=1e-6
    )
    # The start is an eigenvector: nothing else is found, and nothing is made up.
    np.testing.assert_allclose(ritz_values(arnoldi(lambda v: -3 * v, jnp.ones(5), 4)), [-3], atol=1e-6)


# Recipes and runs.


@pytest.mark.long
def test_recipes_tell_their_losses():
    options = {"channel_base": 8, "channel_max": 2, "mapping_layers": 1}
    generator = StyleGenerator((8, 8, 1), latent_dim=2, w_dim=2, **options)
    style = stylegan2(generator, StyleDiscriminator(group=2, **options))
    small = {"channel_base": 16, "channel_max": 4, "blocks": 1, "group": 2}
    r3 = r3gan(R3Generator((8, 8, 1), **small), R3Discriminator(**small), latent_dim=2, gamma=lambda images: images + 1)
    batch = {"image": np.zeros((4, 8, 8, 1), np.float32)}
    for g in (style, r3):
        found = jax.eval_shape(lambda s, g=g: diagnose(g, s, batch, key()), jax.eval_shape(g.init, key()))
        assert found.hessenberg.shape == (20, 20) and found.fake_slope.shape == ()
    with pytest.raises(InputError, match="does not tell its losses"):
        diagnose(style._replace(losses={}), None, batch, key())


@pytest.mark.long
@pytest.mark.parametrize("engine", ["sharded", "shard_map"])
def test_a_run_writes_them_down(tmp_path, engine):
    config = GANConfig(
        data="ring", network="mlp", width=4, depth=1, latent_dim=2, batch=8, steps=4, samples=4, eval_every=2,
        eval_metrics="modes", eval_samples=50, diagnostics=True,
    )  # fmt: skip
    state = train(config, tmp_path / "run", engine=parallel.engine(engine, 2), quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    g, batch = config.build((2,), 8), config.load().draw(jax.random.key(0), 8)
    expected = values(diagnose(g, jax.device_get(state), batch, jax.random.key(0)))
    assert {name: rows[-1][name] for name in expected} == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert rows[0]["largest_imaginary"] != rows[1]["largest_imaginary"]
