"""Losses against the papers' formulas, closed forms of divergences, and the ends of every dtype."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import losses
from jaxgan.errors import InputError

DTYPES = (jnp.float32, jnp.bfloat16, jnp.float16)
PAIRED = {name: getattr(losses, name) for name in dir(losses) if name.endswith(("_d", "_g"))}
AVERAGED = {"relativistic_average_d", "relativistic_average_g"}  # functions of the whole batch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# The papers' definitions, on probabilities where they have them, in numpy's float64.
REFERENCES = {
    "logistic_d": lambda r, f: -np.log(sigmoid(r)) - np.log(1 - sigmoid(f)),
    "minimax_g": lambda r, f: np.log(1 - sigmoid(f)),
    "non_saturating_g": lambda r, f: -np.log(sigmoid(f)),
    "least_squares_d": lambda r, f: (r - 1) ** 2 + f**2,
    "least_squares_g": lambda r, f: (f - 1) ** 2,
    "hinge_d": lambda r, f: -np.minimum(0, r - 1) - np.minimum(0, -f - 1),
    "wasserstein_d": lambda r, f: -(r - f),
    "wasserstein_g": lambda r, f: -f,
    "relativistic_d": lambda r, f: -np.log(sigmoid(r - f)),
    "relativistic_g": lambda r, f: -np.log(sigmoid(f - r)),
    "relativistic_average_d": lambda r, f: -np.log(sigmoid(r - f.mean())) - np.log(1 - sigmoid(f - r.mean())),
    "relativistic_average_g": lambda r, f: -np.log(sigmoid(f - r.mean())) - np.log(1 - sigmoid(r - f.mean())),
}


def logits(seed, n=64, scale=3.0):
    rng = np.random.default_rng(seed)
    return scale * rng.normal(size=n), scale * rng.normal(size=n)


@pytest.mark.parametrize("name", sorted(PAIRED))
def test_is_the_papers_formula(name):
    real, fake = logits(0)
    expected = REFERENCES[name](real, fake)
    single = PAIRED[name](jnp.float32(real), jnp.float32(fake))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, expected, rtol=1e-5, atol=1e-5)
    with jax.enable_x64(True):
        double = PAIRED[name](jnp.asarray(real), jnp.asarray(fake))
        assert double.dtype == jnp.float64
        np.testing.assert_allclose(double, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(PAIRED))
@pytest.mark.parametrize("dtype", (jnp.bfloat16, jnp.float16))
def test_half_precision_logits_are_computed_in_float32(name, dtype):
    real, fake = (jnp.asarray(x, dtype) for x in logits(1))
    expected = REFERENCES[name](np.asarray(real, np.float64), np.asarray(fake, np.float64))
    value = PAIRED[name](real, fake)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5)


def test_label_smoothing_is_cross_entropy_with_soft_labels():
    real, fake = logits(2)

    def cross_entropy(label, x):
        return -label * np.log(sigmoid(x)) - (1 - label) * np.log(1 - sigmoid(x))

    one_sided = losses.logistic_d(jnp.float32(real), jnp.float32(fake), smooth=0.1)
    np.testing.assert_allclose(one_sided, cross_entropy(0.9, real) + cross_entropy(0.0, fake), rtol=1e-5, atol=1e-5)
    two_sided = losses.logistic_d(jnp.float32(real), jnp.float32(fake), smooth=0.1, smooth_fake=0.2)
    np.testing.assert_allclose(two_sided, cross_entropy(0.9, real) + cross_entropy(0.2, fake), rtol=1e-5, atol=1e-5)


def test_smoothed_labels_are_where_the_loss_is_least():
    optimum = jax.grad(lambda x: losses.logistic_d(x, x * 0, smooth=0.1))(jnp.log(9.0))
    np.testing.assert_allclose(optimum, 0.0, atol=1e-6)  # sigmoid(log 9) = 0.9
    optimum = jax.grad(lambda x: losses.logistic_d(x * 0, x, smooth_fake=0.2))(-jnp.log(4.0))
    np.testing.assert_allclose(optimum, 0.0, atol=1e-6)  # sigmoid(-log 4) = 0.2


def test_pearson_targets():
    real, fake = jnp.float32(logits(3))
    d = losses.least_squares_d(real, fake, target_real=1.0, target_fake=-1.0)
    np.testing.assert_allclose(d, (real - 1) ** 2 + (fake + 1) ** 2, rtol=1e-6)
    np.testing.assert_allclose(losses.least_squares_g(real, fake, target=0.0), fake**2, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(PAIRED))
def test_no_nan_at_the_ends_of_the_dtype(name, dtype):
    top = float(jnp.finfo(dtype).max)
    ends = np.array([0, 17, -17, 90, -90, 1e4, -1e4, top, -top])
    real, fake = (jnp.asarray(x.ravel(), dtype) for x in np.meshgrid(ends, ends))
    value, pull_back = jax.vjp(PAIRED[name], real, fake)
    gradients = pull_back(jnp.ones_like(value))
    assert not np.isnan(value).any()
    assert not any(np.isnan(np.asarray(g, np.float32)).any() for g in gradients)
    moderate = (np.abs(np.asarray(real, np.float64)) < 1e5) & (np.abs(np.asarray(fake, np.float64)) < 1e5)
    if name not in AVERAGED:
        assert np.isfinite(np.asarray(value)[moderate]).all()


@pytest.mark.parametrize("name", sorted(AVERAGED))
def test_means_of_large_logits_do_not_overflow(name):
    top = jnp.full(1024, jnp.finfo(jnp.float32).max) / 2
    np.testing.assert_allclose(PAIRED[name](top, top), 2 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize("name", ("logistic_d", "non_saturating_g", "hinge_d", "wasserstein_g"))
def test_linear_losses_are_finite_at_the_ends_of_float16(name):
    top = float(jnp.finfo(jnp.float16).max)
    real, fake = jnp.float16([-top, top]), jnp.float16([top, -top])
    value, pull_back = jax.vjp(PAIRED[name], real, fake)
    assert np.isfinite(value).all()
    assert all(np.isfinite(g).all() for g in pull_back(jnp.ones_like(value)))


def test_certain_discriminator_starves_the_saturating_generator_alone():
    sure = jnp.float32(-17.0)  # the logit of a fake that is found out
    starved = jax.grad(lambda f: losses.minimax_g(f, f))(sure)
    np.testing.assert_allclose(starved, -1 / (1 + np.exp(17.0)), rtol=1e-5)
    fed = jax.grad(lambda f: losses.non_saturating_g(f, f))(sure)
    np.testing.assert_allclose(fed, -1.0, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(PAIRED))
def test_order_of_the_batch_does_not_matter(name):
    real, fake = jnp.float32(logits(4))
    order = np.random.default_rng(5).permutation(len(real))
    np.testing.assert_allclose(
        PAIRED[name](real[order], fake[order]),
        PAIRED[name](real, fake)[order],
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", sorted(set(PAIRED) - AVERAGED))
def test_batch_is_the_mean_of_its_halves(name):
    real, fake = jnp.float32(logits(6))
    whole = jnp.mean(PAIRED[name](real, fake))
    halves = [jnp.mean(PAIRED[name](real[part], fake[part])) for part in np.s_[:32, 32:]]
    np.testing.assert_allclose(whole, sum(halves) / 2, rtol=1e-5)


def test_relativistic_average_over_an_axis_is_that_of_the_whole_batch():
    real, fake = jnp.float32(logits(7))
    split = jax.vmap(
        lambda r, f: losses.relativistic_average_d(r, f, axis_name="devices"),
        axis_name="devices",
    )(real.reshape(4, 16), fake.reshape(4, 16))
    np.testing.assert_allclose(split.ravel(), losses.relativistic_average_d(real, fake), rtol=1e-5, atol=1e-6)


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(InputError, match=r"\(4, 1\).*\(4,\)"):
        losses.logistic_d(jnp.zeros((4, 1)), jnp.zeros(4))


# Closed forms: p = N(0, 1), q = N(mu, 1), integrated over a grid in float64.

MUS = (1.0, 2.0, 4.0, *np.random.default_rng(8).uniform(0.1, 5.0, 3))


def gaussians(mu):
    x = mu / 2 + 1.4e-4 * np.arange(-100_000, 100_001)  # the middle point is where p = q
    p, q = (np.exp(-((x - m) ** 2) / 2) / np.sqrt(2 * np.pi) for m in (0.0, mu))
    return x, p, q, x[1] - x[0]


def expected_loss(loss, d, p, q, dx):
    """E_p of the loss's real part and E_q of its fake part: the loss is a sum of the two."""
    zero = jnp.zeros_like(d)
    at_zero = loss(zero, zero)
    real_part = loss(d, zero) - at_zero / 2
    fake_part = loss(zero, d) - at_zero / 2
    return float(np.sum(p * real_part + q * fake_part) * dx)


@pytest.mark.parametrize("mu", MUS)
def test_logistic_loss_at_the_optimal_logit_is_two_log_two_minus_two_js(mu):
    x, p, q, dx = gaussians(mu)
    m = (p + q) / 2
    js = np.sum(p * np.log(p / m) + q * np.log(q / m)) * dx / 2
    with jax.enable_x64(True):
        loss = expected_loss(losses.logistic_d, jnp.asarray(mu**2 / 2 - mu * x), p, q, dx)
    np.testing.assert_allclose(loss, 2 * np.log(2) - 2 * js, rtol=0, atol=1e-9)
    printed = {1.0: 1.163451, 2.0: 0.712633, 4.0: 0.120854}
    if mu in printed:
        np.testing.assert_allclose(loss, printed[mu], atol=5e-7)


@pytest.mark.parametrize("mu", MUS)
def test_hinge_loss_at_its_optimum_is_two_minus_two_tv(mu):
    x, p, q, dx = gaussians(mu)
    tv = math.erf(mu / math.sqrt(8))
    with jax.enable_x64(True):
        sign = jnp.asarray(np.sign(mu / 2 - x))  # of p - q
        loss = expected_loss(losses.hinge_d, sign, p, q, dx)
    np.testing.assert_allclose(loss, 2 - 2 * tv, rtol=0, atol=2e-9)


@pytest.mark.parametrize("mu", MUS)
def test_least_squares_loss_at_its_optimum_is_the_integral_of_pq_over_their_sum(mu):
    _, p, q, dx = gaussians(mu)
    with jax.enable_x64(True):
        loss = expected_loss(losses.least_squares_d, jnp.asarray(p / (p + q)), p, q, dx)
    np.testing.assert_allclose(loss, np.sum(p * q / (p + q)) * dx, rtol=0, atol=1e-9)


@pytest.mark.parametrize("theta", (-1.5, 0.3, 2.0))
def test_wasserstein_on_two_diracs_is_their_distance(theta):
    slopes = jnp.linspace(-1.0, 1.0, 201)  # the critics slope * x that are 1-Lipschitz
    loss = losses.wasserstein_d(slopes * 0.0, slopes * theta)  # real at 0, fake at theta
    np.testing.assert_allclose(-loss.min(), abs(theta), rtol=1e-6)
