"""The recipes `gan` and `wgan`: against the algorithms written out, and under other engines."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxgan import nn
from jaxgan.errors import InputError
from jaxgan.objectives import OBJECTIVES, gan_r1, minimax, non_saturating
from jaxgan.recipes import Warmup, gan, rmsprop, wgan
from jaxgan.turns import slices

B, LATENT = 8, 4


def mlps():
    return nn.MLPGenerator((2,), 8, 1, None), nn.MLPDiscriminator(8, 1)


def dcgans(axis_name=None):
    return (
        nn.DCGANGenerator((16, 16, 1), 4, axis_name=axis_name),
        nn.DCGANDiscriminator(4, axis_name=axis_name),
    )


def images(n, *shape, seed=7):
    return {"image": jnp.tanh(jax.random.normal(jax.random.key(seed), (n, *(shape or (2,)))))}


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def difference(a, b):
    return largest(jax.tree.map(lambda x, y: x - y, a, b))


@pytest.mark.long
def test_algorithm_1_of_goodfellow():
    """k ascent steps on log D(x) + log(1 - D(G(z))), then a descent step on log(1 - D(G(z))), with plain SGD."""
    k, h = 3, 0.1
    generator, discriminator = mlps()
    g = gan(
        generator,
        discriminator,
        latent_dim=LATENT,
        objective=minimax(),
        g_tx=optax.sgd(h),
        d_tx=optax.sgd(h),
        d_steps=k,
    )
    state, batch, key = g.init(jax.random.key(0)), images(k * B), jax.random.key(1)
    new, metrics = jax.jit(g.step)(state, batch, key)

    # The latents that the step draws, by its documented rule: fold_in the step, split below it.
    with jax.debug_key_reuse(False):
        players, _ = jax.random.split(jax.random.fold_in(key, 0), 2)
        d_key, g_key = jax.random.split(players, 2)
        z = [jax.random.normal(jax.random.split(q, 2)[0], (B, LATENT)) for q in (*jax.random.split(d_key, k), g_key)]

    def value(theta_d, theta_g, x, z):
        d = lambda x: jax.nn.sigmoid(discriminator.apply({"params": theta_d}, x, train=True))  # noqa: E731
        fake = generator.apply({"params": theta_g}, z, train=True)
        return jnp.mean(jnp.log(d(x))) + jnp.mean(jnp.log(1 - d(fake)))

    theta_d, theta_g = state.params["discriminator"], state.params["generator"]
    losses = []
    for i in range(k):
        v, slope = jax.value_and_grad(value, 0)(theta_d, theta_g, batch["image"][i::k], z[i])
        losses.append(-v)
        theta_d = jax.tree.map(lambda p, s: p + h * s, theta_d, slope)
    slope = jax.grad(value, 1)(theta_d, theta_g, batch["image"][k - 1 :: k], z[k])
    theta_g = jax.tree.map(lambda p, s: p - h * s, theta_g, slope)

    assert difference(new.params, {"generator": theta_g, "discriminator": theta_d}) < 1e-6
    np.testing.assert_allclose(metrics["discriminator_loss"], np.mean(losses), rtol=1e-5)
    assert new.step == 1


def test_the_critic_is_clipped_after_every_update():
    g = wgan(*mlps(), latent_dim=LATENT, clip=0.01, half_life=0)
    assert slices(g.step) == 5
    state, step, key = g.init(jax.random.key(0)), jax.jit(g.step), jax.random.key(1)
    assert largest(state.params["discriminator"]) > 0.1
    for _ in range(3):
        state, metrics = step(state, images(5 * B), key)
        assert largest(state.params["discriminator"]) <= np.float32(0.01)
    assert largest(state.params["generator"]) > 0.1
    # Losses without a log: at the end of the critic's turn they are differences of its values.
    np.testing.assert_allclose(metrics["discriminator_loss"], metrics["fake_logit"] - metrics["real_logit"], atol=1e-7)


def test_warmup_counts_the_papers_critic_updates():
    """100 critic updates on the first 25 generator steps and on every 500th, 5 on the others."""
    # Only Adam's count is looked at, so that the networks may be as small as they like.
    g = wgan(*mlps(), latent_dim=1, warmup=Warmup(), d_tx=optax.adam(1e-4))
    state, step, key = g.init(jax.random.key(0)), jax.jit(g.step), jax.random.key(1)
    counts = []
    for start in (0, 24, 25, 26, 499, 500, 501):
        before = int(optax.tree.get(state.opt_state["discriminator"], "count"))
        state, _ = step(state.replace(step=jnp.int32(start)), images(5), key)
        counts.append(int(optax.tree.get(state.opt_state["discriminator"], "count")) - before)
    assert counts == [100, 100, 5, 5, 5, 100, 5]


def test_rmsprop_is_that_of_the_authors_code():
    """v <- 0.99 v + 0.01 g^2, then theta <- theta - lr g / (sqrt(v) + 1e-8)."""
    tx, g = rmsprop(5e-5), np.array([0.3, -2.0, 1e-4])
    state, v = tx.init(jnp.zeros(3)), np.zeros(3)
    for scale in (1, 0.5, -3):
        updates, state = tx.update(jnp.asarray(scale * g), state)
        v = 0.99 * v + 0.01 * (scale * g) ** 2
        np.testing.assert_allclose(updates, -5e-5 * scale * g / (np.sqrt(v) + 1e-8), rtol=1e-5)


@pytest.mark.long
def test_each_player_moves_only_itself():
    for frozen in ("generator", "discriminator"):
        tx = {"generator": optax.sgd(0.1), "discriminator": optax.sgd(0.1), frozen: optax.set_to_zero()}
        g = gan(*dcgans(), latent_dim=LATENT, g_tx=tx["generator"], d_tx=tx["discriminator"])
        state = g.init(jax.random.key(0))
        new, _ = jax.jit(g.step)(state, images(B, 16, 16, 1), jax.random.key(1))
        (other,) = {"generator", "discriminator"} - {frozen}
        assert difference(new.params[frozen], state.params[frozen]) == 0
        assert difference(new.params[other], state.params[other]) > 0
        # Batch statistics belong to the player whose turn it is.
        assert difference(new.variables, state.variables) > 0


@pytest.mark.long
def test_samples_come_from_the_averaged_generator():
    g = gan(*dcgans(), latent_dim=LATENT, half_life=1e9)
    state = g.init(jax.random.key(0))
    before = g.sample(state, jax.random.key(2), 3)
    new, _ = jax.jit(g.step)(state, images(B, 16, 16, 1), jax.random.key(1))
    assert before.shape == (3, 16, 16, 1)
    np.testing.assert_allclose(g.sample(new, jax.random.key(2), 3), before, atol=1e-5)
    current = new.replace(average={"generator": {"params": new.params["generator"], **new.variables["generator"]}})
    assert np.abs(g.sample(current, jax.random.key(2), 3) - before).max() > 1e-4


def test_a_donated_state_is_gone_and_the_new_one_is_whole():
    g = gan(*mlps(), latent_dim=LATENT)
    state = g.init(jax.random.key(0))
    new, _ = jax.jit(g.step, donate_argnums=0)(state, images(B), jax.random.key(1))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))
    assert np.isfinite(largest(new))


@pytest.mark.slow
def test_one_step_under_every_engine():
    """Batch norm, n_critic, warm-up and averaging: jit, sharded jit, shard_map and pmap give one answer."""
    options = {"latent_dim": LATENT, "d_steps": 2, "warmup": Warmup(4, 1, 9), "half_life": 20.0}
    plain, named = wgan(*dcgans(), **options), wgan(*dcgans("d"), **options, axis_name="d")
    n = 4
    state, batch, key = plain.init(jax.random.key(0)), images(2 * n * 2, 16, 16, 1), jax.random.key(1)
    expected = jax.jit(plain.step)(state, batch, key)
    mesh = jax.make_mesh((n,), ("d",), axis_types=(AxisType.Auto,))

    def check(got, tolerance=1e-5):
        for field in ("params", "variables", "average", "opt_state"):
            assert difference(getattr(got[0], field), getattr(expected[0], field)) < tolerance, field
        assert difference(got[1], expected[1]) < tolerance

    sharded = jax.device_put(batch, NamedSharding(mesh, P("d")))
    check(jax.jit(plain.step)(jax.device_put(state, NamedSharding(mesh, P())), sharded, key))
    mapped = jax.shard_map(named.step, mesh=mesh, in_specs=(P(), P("d"), P()), out_specs=P())
    check(jax.jit(mapped)(state, batch, key))
    pmapped = jax.pmap(named.step, axis_name="d", in_axes=(None, 0, None), devices=jax.devices()[:n])
    per_device = jax.tree.map(lambda x: x.reshape(n, -1, *x.shape[1:]), batch)
    got = pmapped(state, per_device, key)
    for replica in range(1, n):
        assert largest(jax.tree.map(lambda x, r=replica: x[r] - x[0], got)) == 0
    check(jax.tree.map(lambda x: x[0], got))


@pytest.mark.long
@pytest.mark.parametrize("name", ["wgan_gp", "dragan", "relativistic_average", "r3gan"])
def test_random_and_batch_wide_objectives_under_pmap(name):
    """Draws of a penalty and means over the batch are those of the global batch."""

    def make(**axis):
        options = axis if name != "r3gan" else {}
        chosen = OBJECTIVES[name](**options)
        return gan(*mlps(), latent_dim=LATENT, objective=chosen, g_tx=optax.sgd(0.1), d_tx=optax.sgd(0.1), **axis)

    n, batch, key = 4, images(4 * 2), jax.random.key(1)
    state = make().init(jax.random.key(0))
    expected = jax.jit(make().step)(state, batch, key)
    step = jax.pmap(make(axis_name="d").step, axis_name="d", in_axes=(None, 0, None), devices=jax.devices()[:n])
    got = step(state, jax.tree.map(lambda x: x.reshape(n, -1, *x.shape[1:]), batch), key)
    assert difference(jax.tree.map(lambda x: x[0], got), expected) < 1e-5


def test_vmap_trains_several_seeds_and_learning_rates():
    def train(seed, rate):
        g = gan(*mlps(), latent_dim=LATENT, g_tx=optax.sgd(rate), d_tx=optax.sgd(rate))
        state, key = g.init(jax.random.key(seed)), jax.random.key(1)
        return jax.lax.scan(lambda s, x: g.step(s, x, key), state, jax.tree.map(lambda x: x[None], images(B)))[0]

    seeds, rates = jnp.arange(3), jnp.array([0.1, 0.2, 0.3])
    states = jax.jit(jax.vmap(train))(seeds, rates)
    for i in range(3):
        alone = train(i, float(rates[i]))
        assert difference(jax.tree.map(lambda x, i=i: x[i], states.params), alone.params) < 1e-6


def test_options_that_exclude_each_other():
    with pytest.raises(InputError, match="d_steps = 2"):
        gan(*mlps(), d_steps=2, simultaneous=True)
    with pytest.raises(InputError, match="n = 0"):
        gan(*mlps(), d_steps=0)
    with pytest.raises(InputError, match="7 discriminator updates"):
        wgan(*mlps(), warmup=Warmup(7))
    g = gan(*mlps(), latent_dim=LATENT, objective=non_saturating(), d_steps=3)
    with pytest.raises(InputError, match="8 examples does not divide into 3"):
        g.step(g.init(jax.random.key(0)), images(8), jax.random.key(1))


def test_a_lazy_penalty_is_an_update_of_its_own():
    """Every third step once more, with the penalty three times as strong, through the same optimiser state."""
    g = gan(*mlps(), latent_dim=LATENT, objective=gan_r1(gamma=2.0), penalty_every=3)
    state, step, key = g.init(jax.random.key(0)), jax.jit(g.step), jax.random.key(1)
    counts, measured = [], []
    for _ in range(4):
        state, metrics = step(state, images(B), key)
        counts.append(int(optax.tree.get(state.opt_state["discriminator"], "count")))
        measured.append(float(metrics["penalty"].count))
    assert counts == [2, 3, 4, 6]
    assert measured == [1, 0, 0, 1]
    # With plain SGD and no other loss: the penalty's gradient, three times.
    h, sgd = 0.1, {"g_tx": optax.set_to_zero(), "d_tx": optax.sgd(0.1)}
    generator, discriminator = mlps()
    alone = gan_r1(gamma=2.0)._replace(d_loss=lambda real, fake: 0.0 * (real + fake))
    g = gan(generator, discriminator, latent_dim=LATENT, objective=alone, penalty_every=3, **sgd)
    state = g.init(jax.random.key(0))

    def r1(params):
        slope = jax.grad(lambda x: discriminator.apply({"params": params}, x, train=True).sum())(images(B)["image"])
        return jnp.mean(jnp.sum(slope**2, axis=1))  # gamma / 2 = 1

    old = state.params["discriminator"]
    expected = jax.tree.map(lambda p, s: p - h * 3 * s, old, jax.grad(r1)(old))
    new, metrics = jax.jit(g.step)(state, images(B), key)
    assert difference(new.params["discriminator"], expected) < 1e-5
    np.testing.assert_allclose(metrics["penalty"].total, r1(old), rtol=1e-4)


def test_a_penalty_is_added_to_the_loss():
    generator, discriminator = mlps()
    plain = gan(generator, discriminator, latent_dim=LATENT)
    with_r1 = gan(generator, discriminator, latent_dim=LATENT, objective=gan_r1(gamma=2.0))
    state = plain.init(jax.random.key(0))
    _, a = jax.jit(plain.step)(state, images(B), jax.random.key(1))
    _, b = jax.jit(with_r1.step)(state, images(B), jax.random.key(1))
    np.testing.assert_allclose(b["discriminator_loss"] - a["discriminator_loss"], b["penalty"], rtol=1e-4)
    assert b["penalty"] > 0


def test_batch_norm_under_a_gradient_penalty_is_not_silent():
    with pytest.warns(UserWarning, match="batch normalisation"):
        gan(*dcgans(), latent_dim=LATENT, objective=gan_r1()).init(jax.random.key(0))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_objective_moves_the_other_player(name):
    """In the generator's turn the discriminator is a constant, and the reverse."""
    generator, discriminator = mlps()
    for frozen, still in (
        ("generator", {"g_tx": optax.set_to_zero()}),
        ("discriminator", {"d_tx": optax.set_to_zero()}),
    ):
        made = OBJECTIVES[name]()._replace(constraint=optax.identity())
        g = gan(generator, discriminator, latent_dim=LATENT, objective=made, **still)
        state = g.init(jax.random.key(0))
        new, metrics = jax.jit(g.step)(state, images(B), jax.random.key(1))
        (other,) = {"generator", "discriminator"} - {frozen}
        assert difference(new.params[frozen], state.params[frozen]) == 0
        assert difference(new.params[other], state.params[other]) > 0
        assert all(np.isfinite(m) for m in metrics.values())
