"""Conditional GANs: how labels enter networks, and that the recipe asks, judges and scores by the right ones."""

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxgan import nn
from jaxgan.errors import InputError
from jaxgan.objectives import OBJECTIVES, Objective, hinge, non_saturating
from jaxgan.recipes.gan import gan, uniform_labels
from jaxgan.typing import Mean

B, LATENT, K = 8, 4, 3
LABELS = jnp.array([0, 1, 2, 0, 1, 2, 2, 2])


def draw(seed, *shape):
    return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def filled(shapes, seed=0):
    """Arrays of these shapes with other numbers everywhere, counts zero, variances positive."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return jnp.zeros(leaf.shape, leaf.dtype)
        x = rng.normal(size=leaf.shape).astype(np.float32)
        return jnp.asarray(np.abs(x) + 0.5 if "var" in str(path[-1]) else x / np.sqrt(max(leaf.shape, default=1)))

    return jax.tree_util.tree_map_with_path(fill, shapes)


def variables_of(module, *args, **kwargs):
    return filled(jax.eval_shape(lambda: module.init(jax.random.key(0), *args, **kwargs)))


def initial(g):
    """A state to start from, without compiling ``init``."""
    state = filled(jax.eval_shape(g.init, jax.random.key(0)))
    return state.replace(opt_state=jax.tree.map(jnp.zeros_like, state.opt_state))


def difference(a, b):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(jax.tree.map(lambda x, y: x - y, a, b)))


# Labels.


def test_labels_and_mixtures_of_classes_become_vectors():
    np.testing.assert_array_equal(nn.encode(jnp.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])
    weights = jnp.array([[0.5, 0.5, 0.0]])
    np.testing.assert_array_equal(nn.encode(weights, 3), weights)
    assert nn.encode(None, None) is None


@pytest.mark.parametrize(
    ("label", "classes", "message"),
    [
        (np.array([1.0, 2.0]), 3, r"float\d+\[2\]. Labels are integers"),
        (np.zeros((2, 4), np.float32), 3, r"f32\[B, 3\]"),
        (np.zeros((2, 1), int), 3, "Labels are integers"),
        (np.array([True, False]), 3, "bool"),
        (np.array([0, 3, 7]), 3, r"holds \[3, 7\]. Allowed: 0 to 2"),
        (jnp.array([-1]), 3, r"holds \[-1\]"),
        (np.array([0]), None, "unconditional"),
        (None, 3, "3 classes and got no 'label'"),
    ],
)
def test_wrong_labels_are_refused(label, classes, message):
    with pytest.raises(InputError, match=message):
        nn.encode(label, classes)


def test_a_label_out_of_range_that_no_check_sees_is_not_clamped():
    code = jax.jit(lambda y: nn.encode(y, 3))(jnp.array([2, 3, -1]))
    np.testing.assert_array_equal(np.isnan(code).all(axis=1), [False, True, True])
    np.testing.assert_array_equal(np.isnan(code).any(axis=1), [False, True, True])


# Layers.


def test_conditional_batch_norm_with_one_class_is_batch_norm():
    x, y = draw(0, B, 2, 2, 5), nn.encode(jnp.zeros(B, int), 1)
    scale, offset, mean, var = draw(1, 5), draw(2, 5), draw(3, 5), jnp.abs(draw(4, 5))
    stats = {"mean": mean, "var": var}
    plain = {"params": {"scale": scale, "bias": offset}, "batch_stats": stats}
    params = {"scale": {"kernel": scale[None] - 1}, "offset": {"kernel": offset[None]}}
    conditional = {"params": params, "batch_stats": {"BatchNorm_0": stats}}
    for train in (True, False):
        norm = linen.BatchNorm(use_running_average=not train, momentum=0.9)
        expected, new = norm.apply(plain, x, mutable="batch_stats")
        got, moved = nn.ConditionalBatchNorm().apply(conditional, x, y, train=train, mutable="batch_stats")
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        assert difference(moved["batch_stats"]["BatchNorm_0"], new["batch_stats"]) < 1e-6


def test_conditional_batch_norm_starts_at_scale_one_and_offset_zero():
    x = 3 + 2 * draw(0, B, 2, 2, 5)
    norm = nn.ConditionalBatchNorm()
    for y in (nn.encode(LABELS, K), draw(1, B, 7)):
        got, _ = norm.init_with_output(jax.random.key(0), x, y, train=True)
        expected = (x - x.mean((0, 1, 2))) / np.sqrt(np.var(x, (0, 1, 2)) + 1e-5)
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_conditional_batch_norm_has_a_scale_and_an_offset_for_each_class():
    x, scale, offset = draw(0, B, 2, 2, 5), draw(1, K, 5), draw(2, K, 5)
    norm = nn.ConditionalBatchNorm()
    y = nn.encode(LABELS, K)
    variables = variables_of(norm, x, y, train=True)
    variables["params"] = {"scale": {"kernel": scale}, "offset": {"kernel": offset}}
    got, _ = norm.apply(variables, x, y, train=True, mutable="batch_stats")
    normal = (np.asarray(x) - np.mean(x, (0, 1, 2))) / np.sqrt(np.var(x, (0, 1, 2)) + 1e-5)
    for i, label in enumerate(LABELS):
        np.testing.assert_allclose(got[i], (1 + scale[label]) * normal[i] + offset[label], atol=1e-4)


def test_projection_adds_the_inner_product_of_features_and_the_labels_vector():
    d, x = nn.MLPDiscriminator(6, 1, classes=K), draw(0, B, 2)
    variables = variables_of(d, x, train=True, label=LABELS)
    p = jax.tree.map(np.asarray, variables["params"])
    h = np.asarray(x) @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"]
    h = np.where(h > 0, h, 0.2 * h)
    plain = (h @ p["Dense_1"]["kernel"] + p["Dense_1"]["bias"])[:, 0]
    vectors = p["projection"]["kernel"][np.asarray(LABELS)]
    got = d.apply(variables, x, train=True, label=LABELS)
    np.testing.assert_allclose(got, plain + np.sum(vectors * h, axis=1), rtol=1e-4, atol=1e-5)


def test_projection_on_zero_vectors_is_the_unconditional_discriminator():
    x = draw(0, B, 8, 8, 1)
    conditional, plain = nn.DCGANDiscriminator(2, norm=False, classes=K), nn.DCGANDiscriminator(2, norm=False)
    variables = variables_of(conditional, x, train=True, label=LABELS)
    expected = plain.apply(
        {"params": {k: v for k, v in variables["params"].items() if k != "projection"}}, x, train=True
    )
    assert np.abs(conditional.apply(variables, x, train=True, label=LABELS) - expected).max() > 1e-2
    variables["params"]["projection"] = {"kernel": jnp.zeros_like(variables["params"]["projection"]["kernel"])}
    np.testing.assert_array_equal(conditional.apply(variables, x, train=True, label=LABELS), expected)


@pytest.mark.parametrize("embed", [None, 5])
@pytest.mark.parametrize("classes", [K, None])
def test_concatenation_feeds_the_condition_to_any_network(classes, embed):
    """As part of z for a generator, as constant feature maps for a discriminator; through a map where there is one."""
    vector = jax.nn.one_hot(LABELS, K) if classes else draw(3, B, K)
    condition = LABELS if classes else vector
    for wrapper, network, x in (
        (nn.ConcatGenerator, nn.MLPGenerator((2,), 6, 1, None), draw(0, B, LATENT)),
        (nn.ConcatDiscriminator, nn.MLPDiscriminator(6, 1), draw(1, B, 2)),
        (nn.ConcatDiscriminator, nn.DCGANDiscriminator(2, norm=False), draw(2, B, 8, 8, 1)),
    ):
        wrapped = wrapper(network, classes, embed, condition="y")
        variables = variables_of(wrapped, x, train=True, y=condition)
        y = vector @ variables["params"]["embedding"]["kernel"] if embed else vector
        maps = np.broadcast_to(np.reshape(y, (B, *(1,) * (x.ndim - 2), -1)), (*x.shape[:-1], y.shape[-1]))
        joined = jnp.concatenate([x, maps], axis=-1)
        expected = network.apply({"params": variables["params"]["network"]}, joined, train=True)
        np.testing.assert_allclose(wrapped.apply(variables, x, train=True, y=condition), expected, rtol=1e-5, atol=1e-6)


def test_several_conditions_by_name():
    g = nn.ConcatGenerator(nn.MLPGenerator((2,), 6, 1, None), K)
    g = nn.ConcatGenerator(g, None, condition="text")
    z, text = draw(0, B, LATENT), draw(1, B, 3, 2)
    variables = variables_of(g, z, train=True, label=LABELS, text=text)
    joined = jnp.concatenate([z, text.reshape(B, 6), jax.nn.one_hot(LABELS, K)], axis=-1)
    inner = {"params": variables["params"]["network"]["network"]}
    expected = nn.MLPGenerator((2,), 6, 1, None).apply(inner, joined, train=True)
    got = g.apply(variables, z, train=True, label=LABELS, text=text)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="no condition 'text', but label"):
        g.apply(variables, z, train=True, label=LABELS)
    with pytest.raises(InputError, match="MLPGenerator takes no condition 'sound'"):
        g.apply(variables, z, train=True, label=LABELS, text=text, sound=text)


def test_remat_changes_no_number():
    z = draw(0, B, LATENT)
    variables = variables_of(nn.DCGANGenerator((8, 8, 1), 2, classes=K), z, train=True, label=LABELS)
    images = []
    for remat in (False, True):
        g = nn.DCGANGenerator((8, 8, 1), 2, remat=remat, classes=K)
        images.append(g.apply(variables, z, train=True, label=LABELS, mutable="batch_stats")[0])
    np.testing.assert_allclose(*images, atol=1e-6)
    other, _ = g.apply(variables, z, train=True, label=(LABELS + 1) % K, mutable="batch_stats")
    assert np.abs(other - images[0]).max() > 1e-2


# The recipe.


class Echo(linen.Module):
    """A generator of its label: the image is the number that it was asked for."""

    @linen.compact
    def __call__(self, z, *, train, label):
        return self.param("zero", linen.initializers.zeros, ()) * z[:, :1] + label.astype(jnp.float32)[:, None]


class Match(linen.Module):
    """Judges the image by its distance to the label that it is given."""

    @linen.compact
    def __call__(self, x, *, train, label):
        return self.param("one", linen.initializers.ones, ()) * x[:, 0] - 10.0 * label


def echo(**options):
    def penalty(critic, real, fake, key):
        return critic(fake)  # zero for the real label's own fakes only if the critic has the real labels, too

    objective = Objective(lambda real, fake: fake, lambda real, fake: fake, penalties=(penalty,))
    kwargs = {"latent_dim": 1, "objective": objective, "g_tx": optax.sgd(0.0), "d_tx": optax.sgd(0.0)}
    return gan(Echo(), Match(), conditions=("label",), **kwargs | options)


@pytest.mark.parametrize("penalty_every", [1, 2])
def test_which_labels_fakes_have(penalty_every):
    """The batch's by default, others on request; a penalty sees real images and fakes of the batch's labels."""
    labels = jnp.array([1, 1, 2])
    batch = {"image": jnp.full((3, 1), 5.0), "label": labels}
    own = echo(penalty_every=penalty_every)
    other = echo(penalty_every=penalty_every, fake_conditions=lambda key, batch: {"label": batch["label"] + 1})
    state = own.init(jax.random.key(0))
    for made, asked in ((own, labels), (other, labels + 1)):
        _, metrics = made.step(state, batch, jax.random.key(1))
        penalty = metrics["penalty"]
        penalty = penalty.total if isinstance(penalty, Mean) else penalty
        np.testing.assert_allclose(metrics["real_logit"], np.mean(5.0 - 10 * labels), rtol=1e-6)
        np.testing.assert_allclose(metrics["fake_logit"], np.mean(-9.0 * asked), rtol=1e-6)
        np.testing.assert_allclose(metrics["generator_loss"], np.mean(-9.0 * asked), rtol=1e-6)
        np.testing.assert_allclose(penalty, np.mean(-9.0 * labels), rtol=1e-6)


def test_metrics_by_class():
    made = echo(classes=4)
    batch = {"image": jnp.array([[1.0], [2.0], [6.0]]), "label": jnp.array([0, 2, 2])}
    _, metrics = made.step(made.init(jax.random.key(0)), batch, jax.random.key(1))
    for name, totals in (("real_logit", [1, 0, -32, 0]), ("fake_logit", [0, 0, -36, 0])):
        for k, (total, count) in enumerate(zip(totals, [1, 0, 2, 0], strict=True)):
            assert metrics[f"{name}/{k}"].total == total
            assert metrics[f"{name}/{k}"].count == count


def test_uniform_labels_are_uniform_and_the_same_under_every_engine():
    batch = {"image": jnp.zeros((3000, 1))}
    labels = uniform_labels(K)(jax.random.key(0), batch)["label"]
    assert labels.dtype == jnp.int32
    counts = np.bincount(labels, minlength=K)
    assert len(counts) == K
    assert np.abs(counts - 1000).max() < 100  # four standard deviations
    mapped = jax.pmap(uniform_labels(K, "d"), axis_name="d", in_axes=(None, 0), devices=jax.devices()[:2], axis_size=2)(
        jax.random.key(0), {"image": jnp.zeros((2, 1500, 1))}
    )
    np.testing.assert_array_equal(np.ravel(mapped["label"]), labels)


def test_samples_are_what_was_asked_for():
    made = echo()
    state = made.init(jax.random.key(0))
    np.testing.assert_array_equal(made.sample(state, jax.random.key(1), 3, label=np.array([2, 0, 1]))[:, 0], [2, 0, 1])
    # A mixture of two classes lies between them where the generator is linear in its label.
    g = gan(
        nn.ConcatGenerator(nn.MLPGenerator((2,), 8, 0, None), K),
        nn.MLPDiscriminator(8, 1, classes=K),
        latent_dim=LATENT,
        conditions=["label"],
    )
    state = initial(g)
    ends = [g.sample(state, jax.random.key(1), 1, label=jnp.array([k])) for k in (0, 2)]
    between = g.sample(state, jax.random.key(1), 1, label=jnp.array([[0.25, 0.0, 0.75]]))
    np.testing.assert_allclose(between, 0.25 * ends[0] + 0.75 * ends[1], atol=1e-6)


def concat(embed=None):
    return (
        nn.ConcatGenerator(nn.MLPGenerator((2,), 8, 1, None), K, embed),
        nn.ConcatDiscriminator(nn.MLPDiscriminator(8, 1), K, embed),
    )


WAYS = {
    "concat": concat,
    "embed": lambda: concat(embed=2),
    "projection": lambda: (concat()[0], nn.MLPDiscriminator(8, 1, classes=K)),
    "classifier": lambda: (concat()[0], nn.MLPDiscriminator(8, 1, classifier=K)),
    "projection and classifier": lambda: (concat()[0], nn.MLPDiscriminator(8, 1, classes=K, classifier=K)),
}


@pytest.mark.long
@pytest.mark.parametrize("name", ["hinge", "wgan_gp", "gan_r1", "non_saturating"])
def test_any_objective_with_any_conditioning(name):
    """One step of each moves both players by finite amounts that depend on the labels."""
    image = draw(0, B, 2)

    def moves(way):
        g = gan(
            *WAYS[way](),
            latent_dim=LATENT,
            objective=OBJECTIVES[name](),
            conditions=("label",),
            g_tx=optax.sgd(1.0),
            d_tx=optax.sgd(1.0),
        )
        state = initial(g)

        def move(label):
            new, _ = g.step(state, {"image": image, "label": label}, jax.random.clone(key))
            return jax.tree.map(jnp.subtract, new.params, state.params)

        return [move(label) for label in (LABELS, (LABELS + 1) % K)]

    key = jax.random.key(1)
    for way, (one, two) in jax.jit(lambda: {name: moves(name) for name in WAYS})().items():
        for player in ("generator", "discriminator"):
            for leaf in jax.tree.leaves(one[player]):
                assert np.isfinite(leaf).all(), (way, player)
            assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(one[player])) > 1e-4, (way, player)
            assert difference(one[player], two[player]) > 1e-4, (way, player)


@pytest.mark.parametrize("classify_fakes", [True, False])
def test_ac_gan_against_its_losses_written_out(classify_fakes):
    """Odena et al. 2017: D ascends L_S + L_C, G ascends L_C - L_S (non-saturating), L_C the class log-likelihood."""
    h, w_d, w_g = 0.1, 0.5, 2.0
    generator, discriminator = concat()[0], nn.MLPDiscriminator(8, 1, classifier=K)
    g = gan(
        generator,
        discriminator,
        latent_dim=LATENT,
        objective=non_saturating(),
        conditions=("label",),
        classifier_weight_d=w_d,
        classifier_weight_g=w_g,
        classify_fakes=classify_fakes,
        g_tx=optax.sgd(h),
        d_tx=optax.sgd(h),
    )
    state, batch, key = initial(g), {"image": draw(0, B, 2), "label": LABELS}, jax.random.key(1)
    new, metrics = jax.jit(g.step)(state, batch, key)

    with jax.debug_key_reuse(False):  # the latents that the step draws: fold_in the step, split below it
        players, _ = jax.random.split(jax.random.fold_in(key, 0), 2)
        z_d, z_g = (jax.random.normal(jax.random.split(q, 2)[0], (B, LATENT)) for q in jax.random.split(players, 2))

    def judged(theta_d, x):
        source, classes = discriminator.apply({"params": theta_d}, x, train=True)
        probability = jnp.exp(classes) / jnp.exp(classes).sum(1, keepdims=True)
        return jax.nn.sigmoid(source), jnp.log(probability[jnp.arange(B), LABELS]), classes.argmax(1) == LABELS

    def fakes(theta_g, z):
        return generator.apply({"params": theta_g}, z, train=True, label=LABELS)

    def d_loss(theta_d, theta_g):
        real, real_class, right = judged(theta_d, batch["image"])
        fake, fake_class, fake_right = judged(theta_d, fakes(theta_g, z_d))
        source = jnp.log(real) + jnp.log(1 - fake)
        return -jnp.mean(source + w_d * (real_class + classify_fakes * fake_class)), (right.mean(), fake_right.mean())

    def g_loss(theta_g, theta_d):
        fake, fake_class, _ = judged(theta_d, fakes(theta_g, z_g))
        return -jnp.mean(jnp.log(fake) + w_g * fake_class)

    theta_d, theta_g = state.params["discriminator"], state.params["generator"]
    (loss_d, shares), slope = jax.jit(jax.value_and_grad(d_loss, has_aux=True))(theta_d, theta_g)
    theta_d = jax.tree.map(lambda p, s: p - h * s, theta_d, slope)
    loss_g, slope = jax.jit(jax.value_and_grad(g_loss))(theta_g, theta_d)
    theta_g = jax.tree.map(lambda p, s: p - h * s, theta_g, slope)
    assert difference(new.params, {"generator": theta_g, "discriminator": theta_d}) < 1e-6
    np.testing.assert_allclose(metrics["discriminator_loss"], loss_d, rtol=1e-5)
    np.testing.assert_allclose(metrics["generator_loss"], loss_g, rtol=1e-5)
    assert (metrics["real_class_accuracy"], metrics["fake_class_accuracy"]) == shares


class SpectralMLP(linen.Module):
    """A player of normalised layers, as generator and as discriminator."""

    out: int

    @linen.compact
    def __call__(self, x, *, train, label):
        x = jnp.concatenate([x.reshape(len(x), -1), nn.encode(label, K)], axis=-1)
        x = nn.SpectralNorm(linen.Dense(6))(x)
        x = nn.SpectralNorm(linen.Dense(self.out))(jnp.tanh(x))
        return x[:, 0] if self.out == 1 else x


def spectral_gan(**options):
    still = {"g_tx": optax.sgd(0.0), "d_tx": optax.sgd(0.0)}
    return gan(
        SpectralMLP(2), SpectralMLP(1), latent_dim=LATENT, objective=hinge(), conditions=("label",), **still | options
    )


@pytest.mark.parametrize("options", [{}, {"d_steps": 2, "microbatches": 2}, {"simultaneous": True}])
def test_a_turn_is_one_power_iteration(options):
    """Whatever its passes and microbatches are, and never in the other player's turn."""
    g = spectral_gan(**options)
    state = initial(g)
    n = options.get("d_steps", 1)
    batch = {"image": draw(0, n * B, 2), "label": jnp.tile(LABELS, n)}
    new, _ = jax.jit(g.step)(state, batch, jax.random.key(1))
    for player, turns in (("generator", 1), ("discriminator", n)):
        for i in range(2):
            kernel = np.asarray(state.params[player][f"Dense_{i}"]["kernel"], np.float64)
            v = np.asarray(state.variables[player]["spectral"][f"SpectralNorm_{i}"]["kernel"], np.float64)
            for _ in range(turns):
                v = kernel.T @ (kernel @ v)
                v /= np.linalg.norm(v)
            got = new.variables[player]["spectral"][f"SpectralNorm_{i}"]["kernel"]
            np.testing.assert_allclose(got, v, rtol=1e-4, atol=1e-6)


def test_spectral_norms_do_not_depend_on_the_length_of_averaged_vectors():
    g = spectral_gan()
    state = initial(g)
    expected = g.sample(state, jax.random.key(1), B, label=LABELS)
    spectral = jax.tree.map(lambda v: 0.7 * v, state.average["generator"]["spectral"])
    shorter = state.replace(average={"generator": state.average["generator"] | {"spectral": spectral}})
    np.testing.assert_allclose(g.sample(shorter, jax.random.key(1), B, label=LABELS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.long
def test_one_conditional_step_under_shard_map():
    """Conditional batch norm, attributes, spectral vectors, drawn labels, n_critic: jit and shard_map agree."""

    def make(axis_name=None):
        return gan(
            nn.ConcatGenerator(nn.DCGANGenerator((8, 8, 1), 2, axis_name=axis_name, classes=K), None, condition="text"),
            nn.ConcatDiscriminator(SpectralMLP(1), None, 1, condition="text"),
            latent_dim=LATENT,
            objective=hinge(),
            d_steps=2,
            conditions={"label": jax.ShapeDtypeStruct((), jnp.int32), "text": jax.ShapeDtypeStruct((2,), jnp.float32)},
            fake_conditions=uniform_labels(K, axis_name),
            classes=K,
            axis_name=axis_name,
        )

    plain, named = make(), make("d")
    state = initial(plain)
    batch = {"image": draw(0, 2 * B, 8, 8, 1), "label": jnp.tile(LABELS, 2), "text": draw(1, 2 * B, 2)}
    expected, metrics = jax.jit(plain.step)(state, batch, jax.random.key(1))
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))
    mapped = jax.shard_map(named.step, mesh=mesh, in_specs=(P(), P("d"), P()), out_specs=P())
    got, got_metrics = jax.jit(mapped)(state, batch, jax.random.key(1))
    for field in ("params", "variables", "average"):
        assert difference(getattr(got, field), getattr(expected, field)) < 1e-5, field
    for name, value in metrics.items():
        share = lambda m: m.total / m.count if isinstance(m, Mean) else m  # noqa: E731
        np.testing.assert_allclose(share(got_metrics[name]), share(value), atol=1e-4, err_msg=name)


# Bad input.


def test_conditions_that_do_not_fit_are_refused_before_anything_is_compiled():
    generator, discriminator = concat()
    plain = gan(nn.MLPGenerator((2,), 8, 1, None), nn.MLPDiscriminator(8, 1), latent_dim=LATENT)
    with pytest.raises(InputError, match="unconditional"):
        plain.sample(initial(plain), jax.random.key(1), 2, label=np.zeros(2, int))
    with pytest.raises(InputError, match="MLPGenerator takes no condition 'label'"):
        gan(nn.MLPGenerator((2,)), nn.MLPDiscriminator(), conditions=("label",))
    with pytest.raises(InputError, match=r"Write \('label',\)"):
        gan(generator, discriminator, conditions="label")
    with pytest.raises(InputError, match="'label' is none of the conditions"):
        gan(nn.MLPGenerator((2,)), nn.MLPDiscriminator(), classes=K)
    with pytest.raises(InputError, match="fake_conditions is given"):
        gan(nn.MLPGenerator((2,)), nn.MLPDiscriminator(), fake_conditions=uniform_labels(K))
    with pytest.raises(InputError, match="3 classes and got no 'label'"):
        jax.eval_shape(gan(nn.MLPGenerator((2,)), nn.MLPDiscriminator(classes=K)).init, jax.random.key(0))
    with pytest.raises(InputError, match="unconditional and got the condition 'label'"):
        jax.eval_shape(gan(generator, nn.MLPDiscriminator(), conditions=("label",)).init, jax.random.key(0))

    g = gan(generator, discriminator, latent_dim=LATENT, conditions=("label",))
    state = jax.eval_shape(g.init, jax.random.key(0))

    def step(**batch):
        jax.eval_shape(g.step, state, {"image": jnp.zeros((4, 2)), **batch}, jax.random.key(1))

    with pytest.raises(InputError, match="The batch has no condition 'label', which the networks need; it has image"):
        step()
    with pytest.raises(InputError, match="Labels are integers"):
        step(label=jnp.zeros(4))
    with pytest.raises(InputError, match=r"'label' of shape \(4, 1\). Expected: \(4,\)"):
        step(label=jnp.zeros((4, 1), int))
    g_typo = gan(
        generator,
        discriminator,
        latent_dim=LATENT,
        conditions=("label",),
        fake_conditions=lambda key, batch: {"lable": batch["label"]},
    )
    with pytest.raises(InputError, match="Did you mean 'label'"):
        jax.eval_shape(g_typo.step, state, {"image": jnp.zeros((4, 2)), "label": jnp.zeros(4, int)}, jax.random.key(1))
    state = initial(g)
    for given, message in (
        ({}, "has no condition 'label'"),
        ({"label": np.zeros(3, int)}, r"shape \(3,\). Expected: \(2,\)"),
        ({"label": np.array([0, K])}, r"holds \[3\]"),
        ({"label": np.zeros(2)}, "Labels are integers"),
        ({"label": np.zeros(2, int), "text": np.zeros(2)}, r"condition 'text'\. Allowed: label"),
    ):
        with pytest.raises(InputError, match=message):
            g.sample(state, jax.random.key(1), 2, **given)


def test_a_classifier_needs_labels():
    g = gan(nn.MLPGenerator((2,)), nn.MLPDiscriminator(8, 1, classifier=K), latent_dim=LATENT)
    with pytest.raises(InputError, match="'label' is none of the conditions"):
        jax.eval_shape(
            g.step, jax.eval_shape(g.init, jax.random.key(0)), {"image": jnp.zeros((4, 2))}, jax.random.key(1)
        )
