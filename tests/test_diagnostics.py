"""Diagnostics against explicit Jacobians, closed forms, and a run that writes them down."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import test_cyclegan as cycle
from jax.flatten_util import ravel_pytree
from PIL import Image

from jaxgan import data, parallel
from jaxgan.augment import ada
from jaxgan.config import CycleGANConfig, GANConfig
from jaxgan.diagnostics import NAMES, diagnose, values
from jaxgan.dynamics import arnoldi, dirac_gan, eigenvalues, jacobian, ritz_values, vector_field
from jaxgan.ensemble import AXES, ensemble, member
from jaxgan.errors import InputError
from jaxgan.evaluate import still
from jaxgan.nn import MLPDiscriminator, MLPGenerator
from jaxgan.nn.r3gan import R3Discriminator, R3Generator
from jaxgan.nn.stylegan2 import StyleDiscriminator, StyleGenerator
from jaxgan.objectives import gan_r1, minimax, wasserstein
from jaxgan.recipes import gan, stylegan2, wgan
from jaxgan.recipes.r3gan import burn_in, r3gan, r3gan_augment
from jaxgan.report import collect
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

    found = values(diagnose(g, state, BATCH, key()))
    assert {*found} == {*NAMES}
    assert found["real_slope"] == pytest.approx(np.mean([slope(x) for x in BATCH["image"]]), rel=1e-5)


def critic_g(fake):
    return -jnp.mean(fake)


def critic_d(real, fake):
    """Halved, as all losses of a CycleGAN's discriminators."""
    return 0.5 * (jnp.mean(fake) - jnp.mean(real))


@pytest.mark.long
@pytest.mark.parametrize(
    ("options", "g_of", "d_of"),
    [
        ({"cycle": 0.1, "objective": wasserstein()}, critic_g, critic_d),
        ({"cycle": 0.0, "paired": 0.3, "conditional": True}, cycle.lsgan_g, cycle.lsgan_d),
    ],
)
def test_a_cyclegan_is_diagnosed_by_domain(options, g_of, d_of):
    """Against the paper's losses written out, the whole Jacobian of both players, and gradients one image at a time."""
    g, x = cycle.make(**options), cycle.batch()
    state = cycle.initial(g)
    # What the pool holds of earlier steps answers to no player.
    images = {domain: cycle.draw(i, *pool.shape) for i, (domain, pool) in enumerate(state.memory["pool"].items())}
    state = state.replace(memory={"pool": images | {"count": jnp.int32(cycle.N)}})
    weights = {"paired": 0.0, "conditional": False} | options
    others = {"a": "b", "b": "a"}

    def fakes(params, x):
        return {"a": cycle.apply(params["ba"], "ba", x["b"]), "b": cycle.apply(params["ab"], "ab", x["a"])}

    def judge(domain, params, x, image):
        seen = jnp.concatenate([x[others[domain]], image], -1) if weights["conditional"] else image
        return cycle.apply(params[domain], domain, seen)

    def l1(made):
        return sum(jnp.mean(jnp.abs(made[domain] - x[domain])) for domain in "ab")

    def g_loss(generators, discriminators):
        made = fakes(generators, x)
        adversarial = sum(g_of(judge(domain, discriminators, x, made[domain])) for domain in "ab")
        return adversarial + weights["cycle"] * l1(fakes(generators, made)) + weights["paired"] * l1(made)

    def d_loss(discriminators, generators):
        made = fakes(generators, x)
        logits = {d: [judge(d, discriminators, x, image) for image in (x[d], made[d])] for d in "ab"}
        return sum(d_of(*both) for both in logits.values())

    def gradients(params):
        d, g = params["discriminator"], params["generator"]
        return {"discriminator": jax.grad(d_loss)(d, g), "generator": jax.grad(g_loss)(g, d)}

    def slope(domain, params, images):
        def of_one(x, image):
            one = {name: each[None] for name, each in x.items()}
            return jnp.mean(judge(domain, params["discriminator"], one, image[None]))

        norms = jax.vmap(lambda x, image: jnp.linalg.norm(jax.grad(of_one, argnums=1)(x, image)))
        return jnp.mean(norms(x, images))

    flat, unravel = ravel_pytree(state.params)
    matrix = jax.jit(jax.jacobian(lambda p: -ravel_pytree(gradients(unravel(p)))[0]))(flat)
    found = np.linalg.eigvals(np.asarray(matrix, np.float64))
    expected = {"largest_real": found.real.max(), "largest_imaginary": found.imag.max()}
    assert expected["largest_imaginary"] > 0.01
    for player, own in jax.jit(gradients)(state.params).items():
        expected |= {f"{player}_gradient/{name}": optax.tree.norm(gradient) for name, gradient in own.items()}
    # Not compiled as one: a program without XLA's dear passes may compute a maximum twice, and then not find it.
    made = fakes(state.params["generator"], x)
    for domain in "ab":
        expected[f"real_slope/{domain}"] = slope(domain, state.params, x[domain])
        expected[f"fake_slope/{domain}"] = slope(domain, state.params, made[domain])
    found = values(jax.jit(lambda s: diagnose(g, s, x, key(), products=flat.size))(state))
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-3)
    assert {name.partition("/")[0] for name in found} == {*NAMES}


def test_members_of_an_ensemble_are_diagnosed_at_once():
    networks = MLPGenerator((2,), 3, 1, None), MLPDiscriminator(3, 1)

    def build(clip):
        return wgan(*networks, latent_dim=2, clip=clip, g_tx=optax.sgd(0.1), d_tx=optax.sgd(0.1), d_steps=1)

    clips = {"clip": jnp.array([0.1, 0.5])}
    gans = ensemble(build, clips)
    state = jax.jit(gans.init)(jax.random.split(key(0), 2))
    state, _ = jax.jit(gans.step)(state, BATCH, jax.random.split(key(1), 2))

    def look(value, state):
        return diagnose(build(**value), state, BATCH, key())

    found = jax.jit(jax.vmap(look, (0, AXES)))(clips, state)
    for i, clip in enumerate(clips["clip"]):
        own = jax.jit(look)({"clip": clip}, member(state, i))
        assert values(jax.tree.map(lambda x, i=i: x[i], found)) == pytest.approx(values(own), rel=1e-3, abs=1e-6)
    with pytest.raises(InputError, match="Of an ensemble diagnose the members"):
        diagnose(gans, state, BATCH, key())


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


def style():
    """A StyleGAN2 with both lazy regularisers, and augmentation that adapts."""
    options = {"channel_base": 8, "channel_max": 2, "mapping_layers": 1}
    generator = StyleGenerator((8, 8, 1), latent_dim=2, w_dim=2, **options)
    return stylegan2(generator, StyleDiscriminator(group=2, **options), r1_every=2, path_every=2, augment=ada())


def r3():
    """An R3GAN in its burn-in."""
    small = {"channel_base": 16, "channel_max": 4, "blocks": 1, "group": 2}
    return r3gan(
        R3Generator((8, 8, 1), **small), R3Discriminator(**small), latent_dim=2, gamma=burn_in(1.0, 0.1, 100),
        augment=r3gan_augment(), augment_p=burn_in(0.0, 0.5, 100),
    )  # fmt: skip


@pytest.mark.long
def test_recipes_tell_their_losses():
    batch = {"image": np.zeros((4, 8, 8, 1), np.float32)}
    for g in (style(), r3()):
        found = jax.eval_shape(lambda s, g=g: diagnose(g, s, batch, key()), jax.eval_shape(g.init, key()))
        assert found.hessenberg.shape == (20, 20) and found.slopes["fake_slope"].shape == ()
    with pytest.raises(InputError, match="does not tell its losses"):
        diagnose(style()._replace(losses={}), None, batch, key())


@pytest.mark.slow
@pytest.mark.parametrize(("make", "shift"), [(style, 0.3), (r3, 0.0)])
def test_products_are_differences_of_gradients(make, shift):
    """Of recipes with lazy turns, adaptive augmentation and a burn-in, along the iteration's first vector."""
    g, batch = make(), {"image": jax.random.normal(key(2), (4, 8, 8, 1))}
    state = jax.jit(g.init)(key(0)).replace(step=jnp.int32(5))
    if "ada" in state.memory:
        state = state.replace(memory=state.memory | {"ada": state.memory["ada"]._replace(p=jnp.float32(0.5))})
    # Differences need a place without kinks; a StyleGAN2 starts at one: its biases are zero, and so are blank pixels.
    flat, unravel = ravel_pytree(state.params)
    flat += shift * jax.random.normal(key(9), flat.shape)
    state = state.replace(params=unravel(flat))
    found = jax.jit(lambda s: diagnose(g, s, batch, key(), products=1))(state)
    game_key, _, start_key = jax.random.split(key(), 3)
    start = jax.random.normal(start_key, flat.shape)
    start /= jnp.linalg.norm(start)

    @jax.jit
    def gradients(p, state):
        there = state.replace(params=unravel(p))

        def gradient(player):
            loss = g.losses[player]
            return jax.grad(lambda own: loss(own, there, batch, jax.random.clone(game_key))[0])(there.params[player])

        return {player: gradient(player) for player in g.losses}

    def along(p):
        own, _ = ravel_pytree(gradients(p, state))
        return np.asarray(own, np.float64) @ np.asarray(start, np.float64)

    near = 3e-3
    expected = (along(flat - near * start) - along(flat + near * start)) / (2 * near)
    assert found.hessenberg[0, 0] == pytest.approx(expected, rel=0.02)
    for player, gradient in gradients(flat, state).items():
        assert found.gradients[f"{player}_gradient"] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-3)


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
    # The report has a curve of each.
    shown = collect([tmp_path / "run"])
    curves = shown["runs"][0]["evaluations"]
    assert curves["step"] == [2, 4]
    for name in expected:
        assert name in shown["game"] and curves[name] == [row[name] for row in rows]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of three images."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for side in ("photos", "paintings"):
        (root / side).mkdir()
        for i in range(3):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(root / side / f"{i}.png")
    return {"a": str(root / "photos"), "b": str(root / "paintings")}


@pytest.mark.long
def test_a_translation_writes_them_down_and_the_report_shows_them(tmp_path, folders):
    config = CycleGANConfig(
        **folders, image_size=8, load_size=10, generator="unet", depth=2, width=2, d_width=2, layers=0, pool=2, batch=2,
        steps=3, samples=2, eval_every=2, diagnostics=True,
    )  # fmt: skip
    state = train(config, tmp_path / "run", engine=parallel.engine("shard_map", 2), quiet=True)
    rows = [json.loads(line) for line in (tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3]
    source = config.load()
    g, batch = config.build(source.shape, None), still(source, 2)
    for player, loss in g.losses.items():
        by = jax.jit(jax.grad(lambda own, s, loss=loss: loss(own, s, batch, key())[0]))
        for name, gradient in by(state.params[player], jax.device_get(state)).items():
            assert rows[-1][f"{player}_gradient/{name}"] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-3)
    shown = collect([tmp_path / "run"])
    curves = shown["runs"][0]["evaluations"]
    assert len(curves) == 1 + 2 + 4 + 4  # steps, eigenvalues, slopes, gradients
    for name in {*curves} - {"step"}:
        assert name.partition("/")[0] in shown["game"] and curves[name] == [row[name] for row in rows]
        assert np.isfinite(curves[name]).all() and (curves[name][0] != curves[name][1] or "imaginary" in name)


def test_the_batch_of_a_translation_is_one_of_training(folders):
    """Crops of the images to train on, always the same; those of pairs show the same."""
    x, again = (still(data.domains(**folders, size=16), 3) for _ in range(2))
    for domain in "ab":
        np.testing.assert_array_equal(x[domain], again[domain])
    assert x["a"].shape == (3, 16, 16, 3) and not np.array_equal(x["a"], x["b"])
    pairs = still(data.domains(a=folders["a"], b=folders["a"], size=16, paired=True), 3)
    np.testing.assert_array_equal(pairs["a"], pairs["b"])


def test_a_recipe_that_does_not_tell_is_refused_before_it_trains(tmp_path, monkeypatch):
    build = GANConfig.build
    monkeypatch.setattr(GANConfig, "build", lambda *args: build(*args)._replace(losses={}, judged=None))
    config = GANConfig(data="ring", network="mlp", steps=1, eval_every=1, eval_metrics="modes", diagnostics=True)
    with pytest.raises(InputError, match="does not tell its losses"):
        train(config, tmp_path / "run", engine=parallel.jit(), quiet=True)
    assert not (tmp_path / "run").exists()
