"""Rules of games in recipes: under every engine, in ensembles, and with what else the recipes have."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import parallel
from jaxgan.augment import diff_augment
from jaxgan.ensemble import ensemble, member
from jaxgan.errors import InputError
from jaxgan.games import Lookahead, consensus, extragradient, symplectic, unrolled
from jaxgan.nn import MinibatchStd, MLPDiscriminator, MLPGenerator, SpectralNorm
from jaxgan.nn.cyclegan import PatchDiscriminator, ResnetGenerator
from jaxgan.nn.stylegan2 import StyleDiscriminator, StyleGenerator
from jaxgan.objectives import gan_r1, wasserstein
from jaxgan.recipes import Warmup, cyclegan, gan, stylegan2

B, LATENT = 16, 4
BATCH = {"image": np.asarray(jax.random.normal(jax.random.key(7), (B, 3)))}
RULES = {
    "extragradient": extragradient,
    "consensus": partial(consensus, weight=0.5),
    "symplectic": symplectic,
    "unrolled": partial(unrolled, steps=2),
}


class Generator(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z, *, train):
        x = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name)(nn.Dense(4, use_bias=False)(z))
        return nn.Dense(3)(nn.tanh(x))


class Critic(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(1)(MinibatchStd(None, self.axis_name)(nn.tanh(nn.Dense(4)(x))))[:, 0]


class Spectral(nn.Module):
    @nn.compact
    def __call__(self, x, *, train):
        return nn.Dense(1)(nn.tanh(SpectralNorm(nn.Dense(4))(x.reshape(len(x), -1))))[:, 0]


def make(rule, axis_name=None):
    """Statistics over the batch of all devices, and a transform with a memory."""
    tx = optax.sgd(0.1, momentum=0.5)
    networks = Generator(axis_name), Critic(axis_name)
    options = {"latent_dim": LATENT, "g_tx": tx, "d_tx": tx, "half_life": 100.0, "axis_name": axis_name}
    return gan(*networks, rule=rule, lookahead=Lookahead(2, 0.3), **options)


def key(seed=3):
    return jax.random.key(seed)


def assert_close(tree, expected, rtol=1e-4):
    """Each leaf within rtol of its largest number."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(expected), strict=True):
        scale = max(np.abs(b).max(), 1e-2)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale, err_msg=jax.tree_util.keystr(path))


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_every_engine_computes_the_steps_of_one_device(rule):
    """Two steps: after the second the players fall back."""
    g = make(RULES[rule])
    start, step = g.init(key()), jax.jit(g.step)
    expected = start
    for _ in range(2):
        expected, expected_metrics = step(expected, BATCH, key())
    assert_close(expected.params, expected.memory["lookahead"], 0)
    for name in ("sharded", "shard_map"):
        engine = parallel.engine(name, 2)
        g = make(RULES[rule], engine.axis_name)
        state, step = engine.replicate(jax.tree.map(np.asarray, start)), engine.step(g)
        for _ in range(2):
            state, metrics = step(state, engine.place(BATCH), key())
        assert_close(jax.device_get((state, metrics)), (expected, expected_metrics))
        for leaf in jax.tree.leaves(state):  # replicas that are not told to agree drift apart
            shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
            assert all(np.array_equal(shards[0], shard) for shard in shards)


SWEPT = {
    "extragradient": lambda value: {"rule": extragradient, "g_tx": optax.sgd(value)},
    "consensus": lambda value: {"rule": partial(consensus, weight=value)},
    "symplectic": lambda value: {"rule": partial(symplectic, weight=value)},
    "unrolled": lambda value: {"rule": partial(unrolled, steps=2), "d_tx": optax.sgd(value)},
    "lookahead": lambda value: {"lookahead": Lookahead(2, value), "g_tx": optax.sgd(0.1)},
}


@pytest.mark.long
@pytest.mark.parametrize("name", SWEPT)
def test_members_of_an_ensemble_are_what_they_are_alone(no_key_checks, name):
    def build(value):
        return gan(MLPGenerator((3,), 4, 1, None), MLPDiscriminator(4, 1), latent_dim=LATENT, **SWEPT[name](value))

    values = jnp.array([0.1, 0.6])
    gans, keys = ensemble(build, {"value": values}), jax.random.split(key(), 2)
    state, step = jax.jit(gans.init)(keys), jax.jit(gans.step)
    for _ in range(2):
        state, _ = step(state, BATCH, keys)
    assert state.step == 2
    assert name != "lookahead" or "cond[" in str(jax.make_jaxpr(gans.step)(state, BATCH, keys))
    step_one = jax.jit(lambda value, *args: build(value).step(*args))
    for i, value in enumerate(values):
        alone = build(value).init(keys[i])
        for _ in range(2):
            alone, _ = step_one(value, alone, BATCH, keys[i])
        assert_close(member(state, i), alone)


@pytest.mark.long
@pytest.mark.parametrize("rule", ["extragradient", "unrolled"])
def test_rules_keep_what_the_recipe_has(rule):
    """Constraints, penalties of their own steps, power iterations, adapted augmentation."""
    objective = wasserstein(0.05)._replace(penalties=gan_r1().penalties)
    g = gan(
        MLPGenerator((4, 4, 1), 4, 1), Spectral(), latent_dim=LATENT, objective=objective, penalty_every=2,
        augment=diff_augment(("colour",)), rule=RULES[rule],
    )  # fmt: skip
    state, step = g.init(key()), jax.jit(g.step)
    images = {"image": np.tanh(np.random.default_rng(0).normal(size=(8, 4, 4, 1))).astype(np.float32)}
    counts = []
    for _ in range(3):
        before, (state, metrics) = state, step(state, images, key())
        counts.append(float(metrics["lazy_loss"].count))
    assert counts == [1, 0, 1]
    assert state.memory["ada"].count == 3 and {"generator_loss", "discriminator_loss", "augment_p"} <= metrics.keys()
    once = {"params": before.params["discriminator"], **before.variables["discriminator"]}
    _, once = Spectral().apply(once, images["image"], train=False, mutable="spectral")
    assert_close(state.variables["discriminator"], once, 1e-6)
    weights = jax.tree.leaves(state.params["discriminator"])
    assert 0.0499 < max(float(abs(w).max()) for w in weights) <= 0.05
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    assert not np.allclose(*(jax.tree.leaves(s.params["generator"])[0] for s in (before, state)))


def test_a_rule_excludes_what_it_decides():
    networks = MLPGenerator((3,), 4, 1), MLPDiscriminator(4, 1)
    for options, words in (
        ({"d_steps": 2}, "A rule updates both players once.*d_steps = 2"),
        ({"warmup": Warmup()}, "warm-up"),
        ({"microbatches": 2}, "microbatches = 2"),
        ({"simultaneous": True}, "simultaneous = True"),
    ):
        with pytest.raises(InputError, match=words):
            gan(*networks, rule=extragradient, **options)


def test_lookahead_follows_the_players_of_a_step_and_precedes_the_average():
    """Alternating steps with several of the discriminator: its slow weights are met after the generator's turn."""

    def build(lookahead):
        networks = MLPGenerator((3,), 4, 1, None), MLPDiscriminator(4, 1)
        tx = optax.sgd(0.1)
        return gan(*networks, latent_dim=LATENT, g_tx=tx, d_tx=tx, d_steps=2, half_life=0.0, lookahead=lookahead)

    plain, g = build(None), build(Lookahead(2, 0.25))
    start = g.init(key())
    fast = start.replace(memory={})
    step, ahead = jax.jit(plain.step), jax.jit(g.step)
    state = start
    for t in range(2):
        fast, _ = step(fast, BATCH, key())
        state, _ = ahead(state, BATCH, key())
        if t == 0:
            assert_close(state.params, fast.params, 1e-6)
    slow = jax.tree.map(lambda a, b: a + 0.25 * (b - a), start.params, fast.params)
    assert_close(state.params, slow, 1e-6)
    assert_close(state.memory["lookahead"], slow, 1e-6)
    assert_close(state.average["generator"]["params"], slow["generator"], 1e-6)


@pytest.mark.slow
def test_stylegan2_takes_every_rule_and_a_lookahead():
    options = {"channel_base": 8, "channel_max": 2, "mapping_layers": 1}
    networks = StyleGenerator((8, 8, 1), latent_dim=2, w_dim=2, **options), StyleDiscriminator(group=2, **options)
    tx, batch = optax.sgd(0.1), {"image": np.ones((4, 8, 8, 1), np.float32) / 2}

    def build(rule):
        ahead = Lookahead(1, 0.5)
        return stylegan2(*networks, rule=rule, lookahead=ahead, path_length=0, r1=0, g_tx=tx, d_tx=tx)

    g = build(extragradient)
    start = jax.jit(g.init)(key())
    for rule in RULES.values():  # all that they differentiate has derivatives
        _, metrics = jax.eval_shape(build(rule).step, start, batch, key())
        assert {"generator_loss", "discriminator_loss", "fake_logit"} <= metrics.keys()
    state, _ = jax.jit(g.step)(start, batch, key())
    assert_close(state.params, state.memory["lookahead"], 0)
    for player in ("generator", "discriminator"):
        assert optax.tree.norm(optax.tree.sub(start.params[player], state.params[player])) > 0


@pytest.mark.slow
def test_cyclegan_takes_a_lookahead_and_optimistic_players():
    def build(lookahead):
        networks = [ResnetGenerator(1, 2, 0)] * 2 + [PatchDiscriminator(2, 1)] * 2
        tx = optax.optimistic_gradient_descent(0.1)
        return cyclegan(*networks, (8, 8, 1), (8, 8, 1), pool=2, g_tx=tx, d_tx=tx, lookahead=lookahead)

    plain, g = build(None), build(Lookahead(1, 0.5))
    images = np.tanh(np.random.default_rng(0).normal(size=(2, 2, 8, 8, 1))).astype(np.float32)
    batch, start = {"a": images[0], "b": images[1]}, jax.jit(g.init)(key())
    memory = {name: part for name, part in start.memory.items() if name != "lookahead"}
    fast, _ = jax.jit(plain.step)(start.replace(memory=memory), batch, key())
    state, _ = jax.jit(g.step)(start, batch, key())
    assert_close(state.params, jax.tree.map(lambda a, b: (a + b) / 2, start.params, fast.params), 1e-5)
    assert_close(state.average["generator"]["params"], state.params["generator"], 0)
