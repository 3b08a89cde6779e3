"""Penalties against closed forms, finite differences to second order, every dtype's ends."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import losses
from jaxgan.errors import InputError
from jaxgan.penalties import (
    Anchors,
    consistency,
    dragan,
    gradient_penalty,
    lecam,
    path_length,
    r1,
    r2,
)

DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)


def fresh_key():
    """One key's value, each time a key that has not been used."""
    return jax.random.key(0)


def darker(images, key):
    """An augmentation: every image times a draw of its own from [0.5, 1]."""
    return images * jax.random.uniform(key, (len(images), 1, 1, 1), minval=0.5)


PENALTIES = {
    "gradient_penalty": gradient_penalty(),
    "one_sided": gradient_penalty(one_sided=True, target=0.1),
    "dragan": dragan(),
    "r1": r1(),
    "r2": r2(),
    "consistency": consistency(darker),
}
GRADIENT_PENALTIES = sorted(set(PENALTIES) - {"consistency"})
KEYLESS = {"r1": r1(), "r2": r2()}  # what the others draw depends on the place in the batch


def images(seed, shape=(4, 3, 3, 2)):
    rng = np.random.default_rng(seed)
    return jnp.float32(rng.normal(size=shape)), jnp.float32(rng.normal(size=shape))


def linear(w, x):
    return jnp.sum(w * x, axis=tuple(range(1, x.ndim)))


def curved(params, x):
    """A smooth critic with one hidden layer."""
    w, v = params
    return jnp.tanh(x.reshape(len(x), -1) @ w) @ v


def curved_params(seed=1, pixels=18, hidden=5):
    rng = np.random.default_rng(seed)
    return 0.3 * rng.normal(size=(pixels, hidden)), rng.normal(size=hidden)


# Closed forms.


@pytest.mark.parametrize("shape", [(1, 2, 2, 1), (3, 4, 4, 3), (8, 16, 16, 1), (5, 7)])
def test_linear_critic(shape):
    real, fake = images(2, shape)
    w = np.random.default_rng(3).normal(size=shape[1:])
    norm = np.sqrt(np.sum(w**2))
    critic = partial(linear, jnp.float32(w))
    expected = {
        gradient_penalty(10.0): 10 * (norm - 1) ** 2,
        gradient_penalty(1.0, target=norm + 2): 4.0,
        gradient_penalty(1.0, target=norm + 2, one_sided=True): 0.0,
        gradient_penalty(1.0, target=norm - 2, one_sided=True): 4.0,
        dragan(3.0): 3 * (norm - 1) ** 2,
        r1(0.7): 0.35 * norm**2,
        r2(0.7): 0.35 * norm**2,
    }
    for penalty, value in expected.items():
        found = penalty(critic, real, fake, fresh_key())
        assert found.shape == (shape[0],)
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("penalty", "side"), [(r1(3.0), 0), (r2(3.0), 1)])
def test_r1_looks_at_real_and_r2_at_generated_images(penalty, side):
    both = images(4)
    critic = lambda x: 0.5 * jnp.sum(x**2, axis=(1, 2, 3))  # noqa: E731  (its gradient is x)
    expected = 1.5 * np.sum(np.square(both[side]), axis=(1, 2, 3))
    np.testing.assert_allclose(penalty(critic, *both, fresh_key()), expected, rtol=1e-5)


def test_gradient_penalty_looks_between_the_pairs_and_everywhere_between():
    n, weight = 20_000, 1.0
    real, fake = jnp.full((n, 1), 2.0), jnp.full((n, 1), 5.0)
    # The critic x^2 / 2 has gradient x, so that the penalty tells where it looked.
    looked = 1.0 + jnp.sqrt(gradient_penalty(weight)(lambda x: 0.5 * jnp.sum(x**2, axis=1), real, fake, fresh_key()))
    assert looked.min() >= 2.0 and looked.max() <= 5.0
    np.testing.assert_allclose(looked.mean(), 3.5, atol=0.03)
    np.testing.assert_allclose(looked.std(), 3 / np.sqrt(12), rtol=0.02)


def test_dragan_looks_around_real_images():
    real = jnp.full((20_000, 1), 10.0)
    looked = 1.0 + jnp.sqrt(dragan(1.0, std=0.5)(lambda x: 0.5 * jnp.sum(x**2, axis=1), real, real, fresh_key()))
    np.testing.assert_allclose(looked.mean(), 10.0, atol=0.02)
    np.testing.assert_allclose(looked.std(), 0.5, rtol=0.02)


def test_consistency_is_the_squared_change_of_the_logit():
    real, fake = images(5)
    shift = consistency(lambda x, key: x + 0.25, weight=2.0)
    w = jnp.float32(np.random.default_rng(6).normal(size=real.shape[1:]))
    expected = 2 * (0.25 * np.sum(w)) ** 2
    np.testing.assert_allclose(shift(partial(linear, w), real, fake, fresh_key()), np.full(4, expected), rtol=1e-4)


def test_lecam_is_the_distance_to_the_other_sides_mean():
    real, fake = jnp.float32([1.0, 3.0]), jnp.float32([-2.0, 0.5])
    value, anchors = lecam(0.5, decay=0.9)(real, fake, Anchors(4.0, -1.0))
    np.testing.assert_allclose(value, [0.5 * (4 + 36), 0.5 * (16 + 12.25)], rtol=1e-6)
    np.testing.assert_allclose(anchors, (0.9 * 4 + 0.1 * 2, 0.9 * -1 + 0.1 * -0.75), rtol=1e-6)


def test_lecam_anchors_go_to_the_mean_logits():
    _, anchors = jax.lax.scan(
        lambda a, _: (lecam()(jnp.float32([1.0, 3.0]), jnp.float32([-5.0, 0.0]), a)[1], a),
        Anchors(jnp.zeros(()), jnp.zeros(())),
        length=2000,
    )
    np.testing.assert_allclose((anchors.real[-1], anchors.fake[-1]), (2.0, -2.5), rtol=1e-4)


def test_path_length_of_a_linear_generator_is_the_frobenius_norm_squared():
    n, side, channels, latent = 40_000, 2, 3, 4
    a = np.random.default_rng(7).normal(size=(latent, side * side * channels))
    generate = lambda w: (w @ jnp.float32(a)).reshape(-1, side, side, channels)  # noqa: E731
    value, mean = path_length(1.0, decay=1.0)(generate, jnp.zeros((n, latent)), fresh_key(), 0.0)
    frobenius = np.sum(a**2) / side**2  # of the Jacobian over the root of the pixels
    np.testing.assert_allclose(value.mean(), frobenius, rtol=0.02)
    np.testing.assert_allclose(mean, jnp.sqrt(value).mean(), rtol=1e-5)
    # Without pixels to divide by: a generator of points.
    value, _ = path_length(1.0)(lambda w: w @ jnp.float32(a), jnp.zeros((n, latent)), fresh_key(), 0.0)
    np.testing.assert_allclose(value.mean(), np.sum(a**2), rtol=0.02)


def test_path_length_exactly():
    # With one output channel of one pixel |J^T y| = |a| |y|, whose mean over y is |a| sqrt(2 / pi).
    a = jnp.float32([3.0, 4.0])
    generate = lambda w: (w @ a).reshape(-1, 1, 1, 1)  # noqa: E731
    w = jnp.zeros((50_000, 2))
    penalty = path_length(2.0, decay=0.25)
    from_zero, mean = penalty(generate, w, fresh_key(), 0.0)
    np.testing.assert_allclose(4 * mean, 5 * np.sqrt(2 / np.pi), rtol=0.02)
    length = np.sqrt(from_zero / 2)
    np.testing.assert_allclose(penalty(generate, w, fresh_key(), 1.5)[0], 2 * (length - 1.5) ** 2, rtol=1e-4, atol=1e-4)


def test_path_length_of_a_w_per_layer_averages_over_layers():
    a = jnp.float32([[3.0, 4.0], [0.0, 12.0]])  # the layers' slopes, of norm 5 and 12
    generate = lambda w: jnp.einsum("bld,ld->b", w, a).reshape(-1, 1, 1, 1)  # noqa: E731
    value, _ = path_length(1.0)(generate, jnp.zeros((50_000, 2, 2)), fresh_key(), 0.0)
    np.testing.assert_allclose(value.mean(), (25 + 144) / 2, rtol=0.03)


@pytest.mark.parametrize("theta", (-1.5, 0.3, 2.0))
@pytest.mark.parametrize("weight", (0.1, 1.0, 10.0))
def test_wgan_gp_on_two_diracs(theta, weight):
    """Real images at theta, generated ones at 0, critics slope * x."""
    real, fake = jnp.full((1, 1), theta), jnp.zeros((1, 1))

    def gain(slope):
        critic = partial(linear, slope)
        loss = losses.wasserstein_d(critic(real), critic(fake))
        penalty = gradient_penalty(weight)(critic, real, fake, fresh_key())
        return -jnp.sum(loss + penalty)

    slope = jnp.sign(theta) * jnp.float32(1 + abs(theta) / (2 * weight))
    value = abs(theta) + theta**2 / (4 * weight)
    np.testing.assert_allclose(gain(slope), value, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(gain)(slope), 0.0, atol=1e-5 * max(1.0, weight))
    others = jnp.linspace(-30.0, 30.0, 1001)
    assert jax.vmap(gain)(others).max() <= value * (1 + 1e-5)


# Derivatives.


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_derivatives_to_second_order(name):
    with jax.enable_x64(True):
        real, fake = (jnp.asarray(x, jnp.float64) for x in images(8, (2, 3, 3, 2)))
        params = jax.tree.map(jnp.asarray, curved_params())

        @jax.jit
        def loss(params, real, fake):
            return jnp.mean(PENALTIES[name](partial(curved, params), real, fake, fresh_key()))

        assert loss(params, real, fake) > 1e-3
        check_grads(loss, (params, real, fake), order=2, modes=("rev",), atol=1e-5, rtol=1e-5)


def test_derivatives_of_lecam_and_path_length_to_second_order():
    with jax.enable_x64(True):
        real, fake = (jnp.asarray(x[:, 0, 0, 0], jnp.float64) for x in images(9))
        value = jax.jit(lambda r, f: jnp.mean(lecam()(r, f, Anchors(0.5, -0.5))[0]))
        check_grads(value, (real, fake), order=2, modes=("rev",), atol=1e-6, rtol=1e-6)

        w = jnp.asarray(np.random.default_rng(10).normal(size=(3, 5)))
        params = jnp.asarray(0.5 * np.random.default_rng(11).normal(size=(5, 8)))

        @jax.jit
        def length(params, w):
            generate = lambda w: jnp.tanh(w @ params).reshape(-1, 2, 2, 2)  # noqa: E731
            return jnp.mean(path_length()(generate, w, fresh_key(), 0.3)[0])

        check_grads(length, (params, w), order=2, modes=("rev",), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_finite_to_second_order_where_the_critic_is_flat_or_nearly(name):
    real, fake = images(12, (2, 3, 3, 2))
    params = jax.tree.map(jnp.float32, curved_params(hidden=2))

    def loss(params):
        return jnp.mean(PENALTIES[name](partial(curved, params), real, fake, fresh_key()))

    def derivatives(scale):  # the critic's slopes go with its square
        flat = jax.tree.map(lambda x: scale * x, params)
        return loss(flat), jax.grad(loss)(flat), jax.hessian(loss)(flat)

    finite(jax.jit(jax.vmap(derivatives))(jnp.float32([0.0, 1e-10, 1e-9, 1e-8, 1e-4])))


def test_path_length_is_finite_to_second_order_where_the_generator_is_flat():
    def loss(params):
        generate = lambda w: (w @ params).reshape(-1, 2, 2, 1)  # noqa: E731
        return jnp.mean(path_length()(generate, jnp.ones((3, 5)), fresh_key(), 0.3)[0])

    flat = jnp.zeros((5, 4))
    finite(jax.jit(lambda p: (loss(p), jax.grad(loss)(p), jax.hessian(loss)(p)))(flat))


def finite(*trees):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trees))


# Batches.


@pytest.mark.parametrize("name", sorted(KEYLESS))
def test_order_does_not_matter_and_a_batch_is_the_mean_of_its_halves(name):
    real, fake = images(13, (8, 3, 3, 2))
    critic = partial(curved, jax.tree.map(jnp.float32, curved_params()))
    value = partial(KEYLESS[name], critic, key=fresh_key())
    whole = value(real=real, fake=fake)
    order = np.random.default_rng(14).permutation(8)
    np.testing.assert_allclose(value(real=real[order], fake=fake[order]), whole[order], rtol=1e-5)
    halves = [value(real=real[i], fake=fake[i]).mean() for i in np.s_[:4, 4:]]
    np.testing.assert_allclose(whole.mean(), sum(halves) / 2, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_order_does_not_matter_to_penalties_that_draw(name):
    # Every image alike, so that only the draws could tell one place of the batch from another:
    # exchanging the pairs leaves every value in its place.
    real, fake = (jnp.tile(x[:1], (6, 1, 1, 1)) for x in images(15))
    critic = partial(curved, jax.tree.map(jnp.float32, curved_params()))
    once = PENALTIES[name](critic, real, fake, fresh_key())
    swapped = PENALTIES[name](critic, real[::-1], fake[::-1], fresh_key())
    np.testing.assert_array_equal(once, swapped)


# Dtypes.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(PENALTIES))
def test_no_nan_at_the_ends_of_the_dtype(name, dtype):
    top = float(jnp.finfo(dtype).max)
    real = jnp.ones((2, 2, 2, 1), dtype)
    levels = jnp.float32([0, 17, -17, 90, -90, 1e4, -1e4, top, -top])

    def loss(level):
        # The logit of an image of ones is the level, and so is the slope at one pixel.
        w = jnp.zeros((2, 2, 1)).at[0, 0].set(level)
        return jnp.mean(PENALTIES[name](partial(linear, w), real, -real, fresh_key()))

    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(loss)))(levels)
    assert value.dtype == jnp.float32
    assert not np.isnan(value).any()
    assert not np.isnan(gradient).any()
    if name in GRADIENT_PENALTIES:
        finite(value, gradient)


@pytest.mark.parametrize("dtype", DTYPES)
def test_lecam_has_no_nan_at_the_ends_of_the_dtype(dtype):
    top = float(jnp.finfo(dtype).max)
    ends = jnp.asarray([0, 17, -17, 90, -90, 1e4, -1e4, top, -top], dtype)
    (value, anchors), pull_back = jax.vjp(lambda x: lecam()(x, -x, Anchors(1.0, -1.0)), ends)
    (gradient,) = pull_back((jnp.ones_like(value), jax.tree.map(jnp.zeros_like, anchors)))
    for x in (value, *anchors, gradient.astype(jnp.float32)):
        assert not np.isnan(x).any()


@pytest.mark.parametrize("name", GRADIENT_PENALTIES)
def test_float16_images_are_penalised_in_float32(name):
    # Slopes whose squares float16 would round to zero.
    real, fake = (x.astype(jnp.float16) for x in images(16))
    critic = partial(linear, jnp.full(real.shape[1:], 1e-5))
    expected = PENALTIES[name](critic, real.astype(jnp.float32), fake.astype(jnp.float32), fresh_key())
    np.testing.assert_allclose(PENALTIES[name](critic, real, fake, fresh_key()), expected, rtol=1e-6)
    if name in ("r1", "r2"):
        np.testing.assert_allclose(expected, 5 * real[0].size * 1e-10, rtol=1e-5)


@pytest.mark.parametrize("name", GRADIENT_PENALTIES)
def test_float16_critics_are_refused(name):
    real, fake = images(17)
    with pytest.raises(InputError, match=r"float16.*bfloat16"):
        PENALTIES[name](lambda x: linear(0.1, x).astype(jnp.float16), real, fake, fresh_key())


def test_float16_generators_are_refused():
    with pytest.raises(InputError, match=r"float16.*bfloat16"):
        path_length()(lambda w: w.astype(jnp.float16), jnp.ones((2, 3)), fresh_key(), 0.0)


def test_bfloat16_critics_are_penalised():
    real, fake = images(18)
    w = jnp.bfloat16(0.5)
    critic = lambda x: linear(w, x.astype(jnp.bfloat16))  # noqa: E731
    np.testing.assert_allclose(r1(2.0)(critic, real, fake, fresh_key()), 0.25 * 18, rtol=1e-2)


# Bad input.


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (gradient_penalty, "weight"),
        (dragan, "weight"),
        (r1, "gamma"),
        (r2, "gamma"),
        (partial(consistency, darker), "weight"),
        (lecam, "weight"),
        (path_length, "weight"),
    ],
)
@pytest.mark.parametrize("value", (-1.0, float("nan")))
def test_weights_must_not_be_negative(make, name, value):
    with pytest.raises(InputError, match=f"{name} is {value}"):
        make(**{name: value})


@pytest.mark.parametrize("make", (lecam, path_length))
@pytest.mark.parametrize("decay", (-0.1, 1.1))
def test_decays_lie_between_zero_and_one(make, decay):
    with pytest.raises(InputError, match=f"decay is {decay}"):
        make(decay=decay)


def test_gradient_penalty_refuses_batches_that_do_not_pair():
    with pytest.raises(InputError, match=r"\(4, 3\).*\(1, 3\)"):
        gradient_penalty()(partial(linear, 1.0), jnp.ones((4, 3)), jnp.ones((1, 3)), fresh_key())
