"""Augmentation in the recipes `gan` and `cyclegan`: it is what the discriminator sees, and it adapts where asked."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import nn, parallel
from jaxgan.augment import ada, diff_augment, real_sign
from jaxgan.config import CycleGANConfig, GANConfig
from jaxgan.errors import InputError
from jaxgan.objectives import gan_r1, least_squares, non_saturating
from jaxgan.recipes import gan
from jaxgan.recipes.cyclegan import cyclegan

B, SHAPE = 8, (8, 8, 1)


def key(seed=0):
    return jax.random.key(seed)


def images(seed=7, n=B):
    return jnp.tanh(jax.random.normal(key(seed), (n, *SHAPE)))


def shade(images, key, p):
    """An augmentation that compiles fast and draws nothing: p = 1 halves every image."""
    del key
    return images * (1 - p / 2)


class Judge(linen.Module):
    """A discriminator, or one that halves what it sees."""

    scale: float = 1.0

    @linen.compact
    def __call__(self, x, *, train):
        x = linen.leaky_relu(linen.Dense(8)(self.scale * x.reshape(len(x), -1)), 0.2)
        return linen.Dense(1)(x)[:, 0]


class Mapper(linen.Module):
    @linen.compact
    def __call__(self, x, *, train):
        return jnp.tanh(linen.Dense(1)(linen.relu(linen.Dense(4)(x))))


def one(scale=1.0, **options):
    return gan(nn.MLPGenerator(SHAPE, 8, 1), Judge(scale), latent_dim=4, half_life=0, **options)


def two(scale=1.0, **options):
    judge = Judge(scale)
    return cyclegan(Mapper(), Mapper(), judge, judge, SHAPE, SHAPE, pool=3, **options)


RECIPES = {"gan": (one, {"image": images()}), "cyclegan": (two, {"a": images(1), "b": images(2)})}


def close(a, b, atol=1e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=atol), a, b)


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("objective", [non_saturating, gan_r1])
def test_what_is_augmented_is_what_the_discriminator_sees(recipe, objective):
    """An augmentation that halves is a discriminator that halves: in both turns, and in penalties."""
    make, batch = RECIPES[recipe]
    sgd = {"g_tx": optax.sgd(0.1), "d_tx": optax.sgd(0.1), "objective": objective()}
    augmented, halving, plain = make(augment=shade, target=None, **sgd), make(0.5, **sgd), make(**sgd)
    state = augmented.init(key())
    assert "ada" not in state.memory
    after, metrics = jax.jit(augmented.step)(state, batch, key(1))
    expected, others = jax.jit(halving.step)(state, batch, key(1))
    close(after.params, expected.params)
    close({k: metrics[k] for k in others}, others)
    unlike, _ = jax.jit(plain.step)(state, batch, key(1))
    for player in ("generator", "discriminator"):
        moved = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), unlike.params[player], after.params[player])
        assert max(jax.tree.leaves(moved)) > 1e-4


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_probability_follows_the_sign_of_real_logits(recipe):
    make, batch = RECIPES[recipe]
    still = {"g_tx": optax.sgd(0.0), "d_tx": optax.sgd(0.0)}
    adaptive = make(augment=shade, target=0.6, images_to_one=100, **still)
    state = adaptive.init(key())
    assert state.memory["ada"].p == 0
    state = state.replace(memory=state.memory | {"ada": state.memory["ada"]._replace(p=jnp.float32(0.5))})
    step, p, signs = jax.jit(adaptive.step), [], []
    for _ in range(4):
        state, metrics = step(state, batch, key(1))
        p.append(float(metrics["augment_p"]))
        signs.append(float(metrics["real_sign"]))
    change = np.sign(np.mean(signs) - 0.6) * 4 * B / 100
    np.testing.assert_allclose(p, [0.5, 0.5, 0.5, 0.5 + change], rtol=1e-6)
    assert state.memory["ada"].p == np.float32(p[-1])


def test_simultaneous_players_adapt_as_well():
    adaptive = one(augment=shade, images_to_one=100, simultaneous=True)
    state = adaptive.init(key())
    for _ in range(4):
        state, metrics = jax.jit(adaptive.step)(state, RECIPES["gan"][1], key(1))
    assert metrics["augment_p"] == state.memory["ada"].p
    assert state.memory["ada"].count == 0  # four turns are an interval


def test_real_sign_is_the_papers_where_the_middle_is_zero_and_knows_no_offset():
    real, fake = jax.random.normal(key(1), (64,)), jax.random.normal(key(2), (64,))
    fake = fake - jnp.mean(fake) - jnp.mean(real)  # the means are opposite
    expected = jnp.mean(jnp.sign(real))
    np.testing.assert_allclose(real_sign(real, fake), expected, atol=1e-6)
    np.testing.assert_allclose(real_sign(real + 7, fake + 7), expected, atol=1e-6)
    assert real_sign(jnp.array([0.6, 0.9]), jnp.array([0.1, 0.3])) == 1  # least squares: all are told apart


@pytest.mark.long
@pytest.mark.parametrize("recipe", RECIPES)
def test_two_devices_give_the_step_of_one(recipe):
    make, batch = RECIPES[recipe]
    results = []
    for engine in (parallel.jit(), parallel.shard_map(2)):
        adaptive = make(augment=shade, axis_name=engine.axis_name)
        state = engine.init(adaptive)(key())
        state = state.replace(
            memory=state.memory | {"ada": state.memory["ada"]._replace(p=jnp.full_like(state.step, 0.8, jnp.float32))}
        )
        results.append(engine.step(adaptive)(state, engine.place(batch), key(1)))
    (state, metrics), (other, others) = jax.device_get(results)
    close(others, metrics, atol=1e-5)
    close(other.params, state.params, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("augment", [ada, diff_augment])
def test_the_library_augmentations_play(recipe, augment):
    make, batch = RECIPES[recipe]
    state, _ = jax.jit(make(augment=augment(), target=None).step)(make().init(key()), batch, key(1))
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(state))


def test_configurations_augment():
    adaptive = GANConfig(network="mlp", width=4, augment="ada")
    assert "ada" in jax.eval_shape(adaptive.build(SHAPE, None).init, key()).memory
    always = GANConfig(network="mlp", width=4, augment="diff")
    assert "ada" not in jax.eval_shape(always.build(SHAPE, None).init, key()).memory
    translation = CycleGANConfig(image_size=64, width=4, d_width=4, augment="ada")
    shapes = {"a": (64, 64, 3), "b": (64, 64, 3)}
    assert "ada" in jax.eval_shape(translation.build(shapes, None).init, key()).memory
    with pytest.raises(InputError, match="A translation needs two domains"):
        translation.build((64, 64, 3), None)
    with pytest.raises(InputError, match="conditional shows the discriminators two in one"):
        CycleGANConfig(paired=100.0, conditional=True, augment="diff")
    with pytest.raises(InputError, match="two in one"):
        two(augment=shade, conditional=True, objective=least_squares())
    with pytest.raises(InputError, match="images_to_one is 0"):
        GANConfig(images_to_one=0)
