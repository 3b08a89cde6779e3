"""What works against collapse: packing, minibatch discrimination, mode seeking."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import parallel, penalties
from jaxgan.augment import diff_augment
from jaxgan.config import GANConfig
from jaxgan.errors import InputError
from jaxgan.nn import (
    ConcatDiscriminator,
    ConcatGenerator,
    DCGANDiscriminator,
    MinibatchDiscrimination,
    MLPDiscriminator,
    MLPGenerator,
    SpectralNorm,
    encode,
)
from jaxgan.objectives import OBJECTIVES, gan_r1, wgan_gp
from jaxgan.packing import pack, pack_conditions, unpack
from jaxgan.recipes import gan

B, LATENT = 8, 3
POINTS = np.asarray(jax.random.normal(jax.random.key(7), (B, 2)))
LABEL = np.arange(B, dtype=np.int32) % 3


def key(seed=3):
    return jax.random.key(seed)


def close(tree, expected, rtol=1e-5):
    """Each leaf within rtol of its largest number."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(
            a, b, rtol=0, atol=rtol * max(np.abs(b).max(), 1e-2), err_msg=jax.tree_util.keystr(path)
        )


class Linear(nn.Module):
    """D(pack) = w . pack: its gradient is w everywhere."""

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(1, use_bias=False)(x.reshape(len(x), -1))[:, 0]


# Packing.


def test_a_pack_has_the_channels_of_its_images():
    images = np.arange(4 * 2 * 3 * 2.0).reshape(4, 2, 3, 2)
    packs = pack(images, 2)
    assert packs.shape == (2, 2, 3, 4)
    for p in range(2):
        for i in range(2):
            np.testing.assert_array_equal(packs[p, ..., 2 * i : 2 * i + 2], images[2 * p + i])
    np.testing.assert_array_equal(unpack(packs, 2), images)
    np.testing.assert_array_equal(pack(np.arange(6.0).reshape(6, 1), 3), [[0, 1, 2], [3, 4, 5]])
    assert pack_conditions({"label": LABEL}, 2)["label"].tolist() == LABEL.reshape(4, 2).tolist()
    np.testing.assert_array_equal(encode(np.array([[0, 2]]), 3), [[1, 0, 0, 0, 0, 1]])
    with pytest.raises(InputError, match="8 images do not divide into packs of 3"):
        pack(POINTS, 3)


def test_losses_and_penalties_are_of_packs():
    """Against the formulas, for a discriminator that is linear in the pack, at the first step."""
    g = gan(MLPGenerator((2,), 4, 1, None), Linear(), latent_dim=LATENT, objective=wgan_gp(3.0), packing=2)
    state = g.init(key())
    w = np.asarray(state.params["discriminator"]["Dense_0"]["kernel"])
    assert w.shape == (4, 1)
    state, metrics = jax.jit(g.step)(state, {"image": POINTS}, key())
    assert metrics["real_logit"] == pytest.approx((POINTS.reshape(4, 4) @ w).mean(), rel=1e-5)
    penalty = 3 * (np.linalg.norm(w) - 1) ** 2
    assert metrics["penalty"] == pytest.approx(penalty, rel=1e-4)
    total = float(metrics["fake_logit"] - metrics["real_logit"] + metrics["penalty"])
    assert metrics["discriminator_loss"] == pytest.approx(total, rel=1e-4)


def test_slopes_are_those_of_packs():
    """R1 of a discriminator that is not linear, over the four coordinates of two points together."""
    discriminator = MLPDiscriminator(4, 1)
    networks = MLPGenerator((2,), 4, 1, None), discriminator
    g = gan(*networks, latent_dim=LATENT, objective=gan_r1(0.7), packing=2)
    state = g.init(key())

    def critic(x):
        return discriminator.apply({"params": state.params["discriminator"]}, x[None], train=True)[0]

    slopes = jax.vmap(jax.grad(critic))(POINTS.reshape(4, 4))
    _, metrics = jax.jit(g.step)(state, {"image": POINTS}, key())
    assert metrics["penalty"] == pytest.approx(0.35 * np.square(slopes).sum(1).mean(), rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"objective": gan_r1(1.0), "penalty_every": 2, "d_steps": 2}])
def test_packs_of_one_change_nothing(options):
    """To the bit, as a weight of 0 of mode seeking."""
    states = []
    for more in ({}, {"packing": 1, "mode_seeking": 0.0}):
        networks = MLPGenerator((2,), 4, 1, None), MLPDiscriminator(4, 1)
        g = gan(*networks, latent_dim=LATENT, **options, **more)
        state, _ = jax.jit(g.step)(g.init(key()), {"image": POINTS}, key())
        states.append(state)
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_every_objective_takes_packs():
    for name, make in OBJECTIVES.items():
        g = gan(MLPGenerator((2,), 4, 1, None), MLPDiscriminator(4, 1), latent_dim=LATENT, objective=make(), packing=4)
        _, metrics = jax.eval_shape(g.step, jax.eval_shape(g.init, key()), {"image": POINTS}, key())
        assert {leaf.shape for leaf in jax.tree.leaves(metrics)} == {()}, name


class Spectral(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(1)(nn.tanh(SpectralNorm(nn.Dense(4))(x.reshape(len(x), -1))))[:, 0]


def test_images_are_augmented_before_they_are_packed():
    """Augmentation of one channel, power iterations over packs, penalties through both."""
    seen = []

    def augment(images, key, p):
        seen.append(images.shape)
        return diff_augment(("colour",))(images, key, p)

    networks = MLPGenerator((4, 4, 1), 4, 1), Spectral()
    g = gan(*networks, latent_dim=LATENT, objective=gan_r1(1.0), packing=2, augment=augment, target=None)
    images = np.tanh(np.random.default_rng(0).normal(size=(B, 4, 4, 1))).astype(np.float32)
    state, metrics = jax.jit(g.step)(g.init(key()), {"image": images}, key())
    assert set(seen) == {(B, 4, 4, 1)}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, metrics)))


@pytest.mark.parametrize("conditioning", ["concat", "projection"])
def test_packs_of_labelled_images(conditioning):
    """The discriminator is told the label of each image of a pack: to swap two of them changes what it says."""
    config = GANConfig(
        network="mlp", width=4, depth=1, latent_dim=LATENT, conditioning=conditioning, packing=2, batch=B
    )
    g = config.build((2,), 3)
    state, metrics = jax.jit(g.step)(g.init(key()), {"image": POINTS, "label": LABEL}, key())
    assert np.isfinite(metrics["generator_loss"]) and "real_logit/0" not in metrics
    discriminator = MLPDiscriminator(4, 1, classes=3 if conditioning == "projection" else None)
    if conditioning == "concat":
        discriminator = ConcatDiscriminator(discriminator, 3)
    said = [
        discriminator.apply(
            {"params": state.params["discriminator"]}, POINTS[:2].reshape(1, 4), train=True, label=label
        )
        for label in (np.array([[0, 1]]), np.array([[1, 0]]))
    ]
    assert said[0] != said[1]


def test_a_classifier_has_no_class_of_a_pack():
    networks = ConcatGenerator(MLPGenerator((2,), 4, 1, None), 3), MLPDiscriminator(4, 1, classifier=3)
    g = gan(*networks, latent_dim=LATENT, conditions=("label",), packing=2)
    with pytest.raises(InputError, match="packing is 2: a classifier"):
        jax.eval_shape(g.step, jax.eval_shape(g.init, key()), {"image": POINTS, "label": LABEL}, key())
    with pytest.raises(InputError, match="of no one label"):
        gan(*networks, latent_dim=LATENT, conditions=("label",), packing=2, classes=3)
    with pytest.raises(InputError, match="packing is 0"):
        gan(*networks, packing=0)


# Minibatch discrimination.


def test_minibatch_discrimination_against_a_loop():
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    layer = MinibatchDiscrimination(kernels=4, dims=2)
    variables = layer.init(key(), x[:1])
    tensor = np.asarray(variables["params"]["tensor"]["kernel"]).reshape(3, 4, 2)
    out = layer.apply(variables, x)
    np.testing.assert_array_equal(out[:, :3], x)
    rows = np.einsum("na,abc->nbc", x, tensor)
    for i in range(5):
        for b in range(4):
            closeness = sum(np.exp(-np.abs(rows[i, b] - rows[j, b]).sum()) for j in range(5))
            assert out[i, 3 + b] == pytest.approx(closeness, rel=1e-5)
    alike = layer.apply(variables, np.repeat(x[:1], 5, axis=0))
    np.testing.assert_allclose(alike[:, 3:], 5, rtol=1e-6)  # a collapsed batch: each is as close to all as to itself


def test_networks_have_kernels():
    points, images = jnp.asarray(POINTS), jnp.zeros((2, 8, 8, 1))
    for network, x in ((MLPDiscriminator(4, 1, kernels=6), points), (DCGANDiscriminator(2, kernels=6), images)):
        variables = network.init(key(), x[:1], train=False)
        (layer,) = (value for name, value in variables["params"].items() if name.startswith("Minibatch"))
        assert layer["tensor"]["kernel"].shape[1] == 30
        out, _ = network.apply(variables, x, train=True, mutable=["batch_stats"])
        assert out.shape == (len(x),)
    config = GANConfig(network="mlp", width=4, depth=1, minibatch_kernels=6)
    assert any("Minibatch" in str(p) for p, _ in jax.tree_util.tree_leaves_with_path(
        jax.eval_shape(config.build((2,), None).init, key())
    ))  # fmt: skip


# Mode seeking.


def test_mode_seeking_is_the_inverse_ratio_of_distances():
    rng = np.random.default_rng(0)
    fake, other, z, other_z = (rng.normal(size=shape) for shape in ((6, 2, 2, 1), (6, 2, 2, 1), (6, 3), (6, 3)))
    ratio = np.abs(fake - other).mean() / np.abs(z - other_z).mean()
    assert penalties.mode_seeking(fake, other, z, other_z) == pytest.approx(1 / (ratio + 1e-5), rel=1e-5)
    assert penalties.mode_seeking(fake, fake, z, other_z) == pytest.approx(1e5, rel=1e-5)


def test_the_generator_seeks_modes():
    """A linear generator z -> w z has the ratio |w| mean|z1 - z2| / mean|z1 - z2| = |w|: the loss is 1 / |w|."""

    class Scale(nn.Module):
        @nn.compact
        def __call__(self, z, *, train):
            return self.param("w", nn.initializers.constant(0.5), ()) * z

    class Blind(nn.Module):
        @nn.compact
        def __call__(self, x, *, train):
            return 0 * x[:, 0] + self.param("b", nn.initializers.zeros, ())

    tx = optax.sgd(0.1)
    g = gan(Scale(), Blind(), latent_dim=2, g_tx=tx, d_tx=tx, mode_seeking=0.3)
    state, metrics = jax.jit(g.step)(g.init(key()), {"image": POINTS}, key())
    assert metrics["mode_seeking"] == pytest.approx(2, rel=1e-4)
    assert state.params["generator"]["w"] == pytest.approx(0.5 + 0.1 * 0.3 / 0.5**2, rel=1e-4)


# Engines.


@pytest.mark.long
def test_every_engine_computes_the_step_of_one_device():
    """Packs lie on one device; kernels and distances are of the global batch."""

    def make(axis_name=None):
        networks = MLPGenerator((2,), 4, 1, None), MLPDiscriminator(4, 1, kernels=3, axis_name=axis_name)
        tx, options = optax.sgd(0.1), {"objective": wgan_gp(1.0, axis_name=axis_name), "axis_name": axis_name}
        return gan(*networks, latent_dim=LATENT, g_tx=tx, d_tx=tx, packing=2, mode_seeking=0.2, **options)

    g = make()
    start = g.init(key())
    expected = jax.jit(g.step)(start, {"image": POINTS}, key())
    for name in parallel.ENGINES:
        engine = parallel.engine(name, 2)
        state, metrics = engine.step(make(engine.axis_name))(
            engine.replicate(jax.tree.map(np.asarray, start)), engine.place({"image": POINTS}), key()
        )
        close(jax.device_get((state, metrics)), expected)
