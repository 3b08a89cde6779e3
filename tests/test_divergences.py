"""Divergences against closed forms, SciPy and each other: float32 to 1e-5, float64 to 1e-9."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.optimize
import scipy.spatial
import scipy.stats
from jax.test_util import check_grads

from jaxgan import divergences, losses
from jaxgan.divergences import (
    dirac,
    gaussian_js,
    gaussian_kl,
    gaussian_tv,
    gaussian_w1,
    gaussian_w2,
    js,
    js_bound,
    kl,
    kl_bound,
    optimal_discriminator,
    optimal_logit,
    parallel_lines,
    quadrature,
    reverse_kl,
    reverse_kl_bound,
    sliced_wasserstein,
    tv,
    tv_bound,
    wasserstein_1d,
    wasserstein_bound,
)
from jaxgan.errors import InputError


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """The dtype of a test's inputs, with 64-bit types allowed for float64 alone."""
    with jax.enable_x64(request.param == "float64"):
        yield jnp.dtype(request.param)


def assert_close(got, want, dtype, scale=1.0):
    """Equal to 1e-5 in float32 and 1e-9 in float64, relatively or as a part of `scale`."""
    assert jnp.asarray(got).dtype == dtype
    tolerance = {"float32": 1e-5, "float64": 1e-9}[dtype.name]
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale)


def draw(seed, shape=(), low=0.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, shape)


def covariance(seed, d, rank=None):
    a = np.random.default_rng(seed).normal(size=(d, rank or d))
    return a @ a.T / (rank or d) + (0.1 * np.eye(d) if rank is None else 0)


def line(mu, dtype):
    """Nodes, weights, log densities of N(0, 1) and N(mu, 1), with a break at mu / 2 where p = q."""
    x, weights = quadrature(jnp.asarray([-13, mu / 2, mu + 13], dtype), order=96)
    return x, weights, (-(x**2) - np.log(2 * np.pi)) / 2, (-((x - mu) ** 2) - np.log(2 * np.pi)) / 2


# The theory of GANs: the losses at their optimal discriminators are divergences.

DRAWN = [float(mu) for mu in draw(0, 4, 0.1, 6.0)]


@pytest.mark.parametrize("mu", [1.0, 2.0, 4.0, *DRAWN])
def test_optimal_losses_are_divergences(mu, dtype):
    x, weights, log_p, log_q = line(mu, dtype)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    logit = optimal_logit(log_p, log_q)
    assert_close(logit, mu**2 / 2 - mu * x, dtype, scale=100)

    def value(loss, output, real_best, fake_best):
        """The expected loss: the other side's output is put where it costs nothing."""
        real, fake = loss(output, fake_best + 0 * output), loss(real_best + 0 * output, output)
        return jnp.sum(weights * (p * real + q * fake))

    logistic = value(losses.logistic_d, logit, 1e4, -1e4)
    hinge = value(losses.hinge_d, jnp.sign(p - q), 1, -1)
    least_squares = value(losses.least_squares_d, optimal_discriminator(p, q), 1, 0)
    total_variation = 2 * scipy.stats.norm.cdf(mu / 2) - 1
    assert_close(logistic, 2 * np.log(2) - 2 * gaussian_js(0.0, 1.0, mu, 1.0), dtype)
    assert_close(hinge, 2 - 2 * total_variation, dtype)
    assert_close(least_squares, jnp.sum(weights * p * q / (p + q)), dtype)
    assert_close(tv(p, q, weights), total_variation, dtype)


@pytest.mark.parametrize(("mu", "loss"), [(1.0, 1.163451), (2.0, 0.712633), (4.0, 0.120854)])
def test_js_of_shifted_gaussians_has_known_values(mu, loss):
    with jax.enable_x64(True):
        assert abs(2 * np.log(2) - 2 * gaussian_js(0.0, 1.0, mu, 1.0) - loss) < 5e-7


@pytest.mark.parametrize("seed", range(4))
def test_gaussians_agree_with_quadrature(seed, dtype):
    m, n = (float(x) for x in draw(seed, 2, -2, 2))
    v, w = (float(x) for x in draw(seed + 10, 2, 0.3, 3))
    # In double, by SciPy, split where the densities cross.
    p, q = scipy.stats.norm(m, np.sqrt(v)), scipy.stats.norm(n, np.sqrt(w))
    crossings = np.roots([1 / w - 1 / v, 2 * (m / v - n / w), n**2 / w - m**2 / v + np.log(w / v)])
    panels = sorted([-25, *np.real(crossings[np.abs(crossings) < 25]), 25])
    points = np.unique(np.concatenate([np.linspace(a, b, 16) for a, b in itertools.pairwise(panels)]))

    def integral(f):
        return sum(scipy.integrate.fixed_quad(f, a, b, n=40)[0] for a, b in itertools.pairwise(points))

    def mixture(x):
        return np.logaddexp(p.logpdf(x), q.logpdf(x)) - np.log(2)

    gaussians = [jnp.asarray(x, dtype) for x in (m, v, n, w)]
    assert_close(gaussian_kl(*gaussians), integral(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x))), dtype)
    want_js = integral(lambda x: p.pdf(x) * (p.logpdf(x) - mixture(x)) / 2 + q.pdf(x) * (q.logpdf(x) - mixture(x)) / 2)
    assert_close(gaussian_js(*gaussians), want_js, dtype)
    assert_close(gaussian_tv(*gaussians), integral(lambda x: abs(p.pdf(x) - q.pdf(x)) / 2), dtype)
    w1 = scipy.integrate.quad(lambda x: abs(p.cdf(x) - q.cdf(x)), -25, 25, limit=400, epsabs=1e-11)
    assert_close(gaussian_w1(*gaussians), w1[0], dtype)
    # The grid, from log densities and from densities.
    x, weights = (jnp.asarray(a, dtype) for a in quadrature(jnp.asarray(points, dtype), 40))
    log_p, log_q = jnp.asarray(p.logpdf(x), dtype), jnp.asarray(q.logpdf(x), dtype)
    assert_close(kl(log_p, log_q, weights, log=True), gaussian_kl(*gaussians), dtype)
    assert_close(
        reverse_kl(log_p, log_q, weights, log=True),
        gaussian_kl(*gaussians[2:], *gaussians[:2]),
        dtype,
    )
    assert_close(js(jnp.exp(log_p), jnp.exp(log_q), weights), want_js, dtype)


def test_gaussian_js_keeps_its_promise_at_extreme_ratios():
    with jax.enable_x64(True):
        for mean, std in [(0.0, 30.0), (5.0, 1 / 30), (30.0, 30.0), (0.03, 1.0), (40.0, 1.0)]:
            both = [np.linspace(-13, 13, 400), mean + std * np.linspace(-13, 13, 400)]
            breaks = np.unique(np.concatenate(both))
            x, weights = quadrature(breaks, 16)
            log_p = scipy.stats.norm.logpdf(x)
            log_q = scipy.stats.norm.logpdf(x, mean, std)
            want = js(log_p, log_q, weights, log=True)
            assert abs(gaussian_js(0.0, 1.0, mean, std**2) - want) < 1e-9, (mean, std)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_gaussian_kl_of_full_covariances(d, dtype):
    a, b = covariance(0, d), covariance(1, d)
    m, n = draw(2, d), draw(3, d)
    inverse = np.linalg.inv(b)
    want = np.trace(inverse @ a) - d + (m - n) @ inverse @ (m - n)
    want = (want + np.linalg.slogdet(b)[1] - np.linalg.slogdet(a)[1]) / 2
    m, a, n, b = (jnp.asarray(x, dtype) for x in (m, a, n, b))
    assert_close(gaussian_kl(m, a, n, b), want, dtype)
    # The three forms of a covariance agree.
    diagonal = jnp.diag(b)
    assert_close(gaussian_kl(m, a, n, diagonal), float(gaussian_kl(m, a, n, jnp.diag(diagonal))), dtype)
    assert_close(
        gaussian_kl(m, diagonal, n, jnp.asarray(2.0, dtype)),
        float(gaussian_kl(m, jnp.diag(diagonal), n, 2 * jnp.eye(d, dtype=dtype))),
        dtype,
    )


@pytest.mark.parametrize("rank", [None, 2])
def test_gaussian_w2_is_the_bures_distance(rank, dtype):
    d = 4
    a, b = covariance(0, d, rank), covariance(1, d)
    m, n = draw(2, d), draw(3, d)
    root = scipy.linalg.sqrtm(a + 1e-30 * np.eye(d)).real
    cross = scipy.linalg.sqrtm(root @ b @ root + 1e-30 * np.eye(d)).real
    want = np.sqrt(np.sum((m - n) ** 2) + np.trace(a) + np.trace(b) - 2 * np.trace(cross))
    m, a, n, b = (jnp.asarray(x, dtype) for x in (m, a, n, b))
    if rank is None:
        assert_close(gaussian_w2(m, a, n, b), want, dtype)
    else:
        np.testing.assert_allclose(gaussian_w2(m, a, n, b), want, rtol=2 * np.sqrt(jnp.finfo(dtype).eps))
    assert_close(gaussian_w2(m, 4.0, n, 1.0), np.sqrt(np.sum((m - n) ** 2) + d), dtype)
    variances = jnp.asarray(draw(4, d), dtype)
    assert_close(
        gaussian_w2(m, variances, n, 2 * variances),
        float(gaussian_w2(m, jnp.diag(variances), n, jnp.diag(2 * variances))),
        dtype,
    )


def test_gaussian_w2_is_differentiable_where_eigenvalues_coincide():
    # W_2^2 of N(0, I) and N(0, A) is tr A + D - 2 tr A^1/2 with gradient I - A^-1/2, which at
    # A = c I changes by c^-3/2 / 2 S in the direction S.
    with jax.enable_x64(True):
        c, d = 4.0, 3

        def squared(a):
            return gaussian_w2(jnp.zeros(d), jnp.eye(d), jnp.zeros(d), a) ** 2

        gradient = jax.grad(squared)(c * jnp.eye(d))
        np.testing.assert_allclose(gradient, (1 - c**-0.5) * np.eye(d), atol=1e-9)
        direction = covariance(0, d)
        _, bend = jax.jvp(jax.grad(squared), (c * jnp.eye(d),), (jnp.asarray(direction),))
        np.testing.assert_allclose(bend, c**-1.5 / 2 * direction, atol=1e-9)
        check_grads(lambda s: squared(jnp.asarray(covariance(1, d)) + s @ s.T), (direction,), order=2)


def test_gaussians_have_finite_gradients_everywhere():
    same = (1.0, 2.0, 1.0, 2.0)
    for divergence in (gaussian_kl, gaussian_js, gaussian_tv, gaussian_w1, gaussian_w2):
        for arguments in (
            same,
            (0.0, 1.0, 3.0, 1.0),
            (0.0, 1.0, 0.0, 9.0),
            (0.0, 1.0, 50.0, 1.001),
        ):
            gradients = jax.grad(divergence, (0, 1, 2, 3))(*arguments)
            assert np.isfinite(gradients).all(), (divergence, arguments)
        assert abs(divergence(*same)) < 1e-6
    # TV = 2 Phi(mu / 2) - 1, whose slope is the density at mu / 2.
    slope = jax.grad(gaussian_tv, 2)(0.0, 1.0, 1.5, 1.0)
    np.testing.assert_allclose(slope, scipy.stats.norm.pdf(0.75), rtol=1e-5)


@pytest.mark.parametrize("mean", [0.3, 5.0, 60.0])
@pytest.mark.parametrize("std", [0.1, 1.0, 1.0005, 7.0])
def test_gaussian_tv_and_w1_across_equal_variances(mean, std, dtype):
    # The closed forms divide by the difference of the variances, which is 0, tiny or large here.
    p, q = (0.5, jnp.asarray(1.0, dtype)), (mean, jnp.asarray(std**2, dtype))
    for divergence in (gaussian_tv, gaussian_w1):
        assert_close(divergence(*p, *q), divergence(*q, *p), dtype)
    x, weights = quadrature(jnp.linspace(-50, 120, 3401), 8)
    densities = (scipy.stats.norm.pdf(x, m, s) for m, s in ((0.5, 1), (mean, std)))
    np.testing.assert_allclose(gaussian_tv(*p, *q), tv(*densities, weights), atol=2e-5)
    cdfs = (scipy.stats.norm.cdf(x, m, s) for m, s in ((0.5, 1), (mean, std)))
    np.testing.assert_allclose(gaussian_w1(*p, *q), weights @ abs(np.subtract(*cdfs)), rtol=1e-4)


# Discrete distributions.


def test_discrete_divergences_agree_with_scipy(dtype):
    p, q = (np.random.default_rng(s).dirichlet(np.ones(7), 3) for s in (0, 1))
    p, q = jnp.asarray(p, dtype), jnp.asarray(q, dtype)
    entropy = scipy.stats.entropy(np.float64(p), np.float64(q), axis=-1)
    assert_close(kl(p, q), entropy, dtype)
    assert_close(reverse_kl(q, p), entropy, dtype)
    distance = scipy.spatial.distance.jensenshannon(np.float64(p), np.float64(q), axis=-1)
    assert_close(js(p, q), distance**2, dtype)
    assert_close(tv(p, q), 0.5 * np.abs(np.float64(p) - np.float64(q)).sum(-1), dtype)
    for divergence in (kl, reverse_kl, js, tv):
        assert_close(divergence(jnp.log(p), jnp.log(q), log=True), divergence(p, q), dtype)
        assert_close(jax.vmap(divergence)(p, q), divergence(p, q), dtype)
        assert_close(jax.jit(divergence)(p, q[0]), jax.vmap(divergence, (0, None))(p, q[0]), dtype)


def test_right_limits_at_zero_probabilities(dtype):
    half, left, right = (jnp.asarray(x, dtype) for x in ([0.5, 0.5], [1, 0], [0, 1]))
    assert_close(kl(left, half), np.log(2), dtype)
    assert kl(half, left) == jnp.inf == reverse_kl(left, half)
    assert_close(js(left, right), np.log(2), dtype)
    assert_close(js(left, half), 0.75 * np.log(4 / 3), dtype)
    assert_close(tv(left, right), 1.0, dtype)
    for p, q in [(left, half), (half, left), (left, right), (left, left)]:
        for divergence in (kl, reverse_kl, js, tv):
            of_logs = functools.partial(divergence, log=True)
            logs = jnp.log(p), jnp.log(q)
            assert np.isfinite(jax.grad(divergence, (0, 1))(p, q)).all(), divergence
            assert np.isfinite(jax.grad(of_logs, (0, 1))(*logs)).all(), divergence
            np.testing.assert_allclose(of_logs(*logs), divergence(p, q), rtol=1e-6)
    # Where nothing is zero the gradient is the derivative: log(p / q) + 1 and -p / q.
    p, q = jnp.asarray([0.2, 0.8], dtype), jnp.asarray([0.6, 0.4], dtype)
    grad_p, grad_q = jax.grad(kl, (0, 1))(p, q)
    assert_close(grad_p, np.log(p / q) + 1, dtype)
    assert_close(grad_q, -p / q, dtype)


def test_logarithms_keep_what_underflows():
    # exp(-1250) is 0 even in float64, but KL(N(0,1) || N(50,1)) is 1250.
    x, weights = quadrature(jnp.linspace(-10.0, 60.0, 71))
    log_p, log_q = (-((x - m) ** 2) / 2 - np.log(2 * np.pi) / 2 for m in (0, 50))
    np.testing.assert_allclose(kl(log_p, log_q, weights, log=True), 1250, rtol=1e-5)
    assert kl(jnp.exp(log_p), jnp.exp(log_q), weights) == jnp.inf


def test_optimal_discriminator(dtype):
    p, q = (jnp.asarray(draw(s, 9), dtype) for s in (0, 1))
    assert_close(optimal_discriminator(p, q), np.float64(p) / (np.float64(p) + q), dtype)
    assert_close(jax.nn.sigmoid(optimal_logit(jnp.log(p), jnp.log(q))), optimal_discriminator(p, q), dtype)
    # It minimises the expected logistic loss at every point.
    loss = lambda d: -jnp.sum(p * jnp.log(d) + q * jnp.log(1 - d))  # noqa: E731
    assert_close(jax.grad(loss)(optimal_discriminator(p, q)), 0 * p, dtype)
    edges = jnp.asarray([0, 0, 1], dtype), jnp.asarray([0, 1, 0], dtype)
    np.testing.assert_array_equal(optimal_discriminator(*edges), [0.5, 0, 1])
    np.testing.assert_array_equal(optimal_logit(*map(jnp.log, edges)), [0, -jnp.inf, jnp.inf])
    assert np.isfinite(jax.grad(lambda *pq: optimal_discriminator(*pq).sum(), (0, 1))(*edges)).all()


def test_half_precision_is_computed_in_float32():
    p, q = jnp.asarray([0.25, 0.75]), jnp.asarray([0.5, 0.5])
    for half in (jnp.float16, jnp.bfloat16):
        assert js(p.astype(half), q.astype(half)) == js(p, q)


# Quadrature.


def test_quadrature_is_exact_for_polynomials_and_kinks(dtype):
    x, weights = quadrature(jnp.asarray([-1, 0.5, 2], dtype), order=4)
    for degree in range(8):
        assert_close(
            jnp.sum(weights * x**degree),
            (2 ** (degree + 1) - (-1) ** (degree + 1)) / (degree + 1),
            dtype,
        )
    assert_close(jnp.sum(weights * jnp.abs(x - 0.5)), 2.25, dtype)


# Diracs.


@pytest.mark.parametrize("theta", [-0.7, 0.0, 1e-3, 5.0])
def test_parallel_lines(theta, dtype):
    got = parallel_lines(jnp.asarray(theta, dtype))
    apart = theta != 0
    assert_close(got.kl, np.inf if apart else 0, dtype)
    assert_close(got.reverse_kl, np.inf if apart else 0, dtype)
    assert_close(got.js, np.log(2) if apart else 0, dtype)
    assert_close(got.tv, 1.0 if apart else 0, dtype)
    assert_close(got.w1, abs(theta), dtype)
    assert_close(got.w2, abs(theta), dtype)
    slopes = jax.jacobian(parallel_lines)(jnp.asarray(theta, dtype))
    assert slopes == (0, 0, 0, 0, np.sign(theta), np.sign(theta))


def test_parallel_lines_agree_with_samples_and_plot_by_vmap():
    # Points (0, z) and (theta, z) at the same heights: the assignment of least cost pairs equal z.
    theta, z = 0.6, draw(0, 30)
    cost = scipy.spatial.distance.cdist(np.c_[0 * z, z], np.c_[0 * z + theta, z])
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    np.testing.assert_allclose(parallel_lines(theta).w1, cost[rows, columns].mean(), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(parallel_lines)(jnp.linspace(-1, 1, 5)).w1, [1, 0.5, 0, 0.5, 1])


def test_diracs_in_several_dimensions():
    np.testing.assert_allclose(dirac([0.0, 0.0], [3.0, 4.0]).w2, 5, rtol=1e-6)
    same = dirac([1.0, 2.0], [1.0, 2.0])
    assert same == (0, 0, 0, 0, 0, 0)
    assert np.isfinite(jax.grad(lambda a: dirac(a, a).w1)(jnp.ones(2))).all()


# Samples.


@pytest.mark.parametrize(("n", "m"), [(12, 12), (12, 7), (1, 7)])
def test_wasserstein_1d_agrees_with_scipy(n, m, dtype):
    x, y = draw(0, n, -1, 2), draw(1, m, 0, 4)
    got = wasserstein_1d(jnp.asarray(x, dtype), jnp.asarray(y, dtype))
    assert_close(got, scipy.stats.wasserstein_distance(x, y), dtype)
    u, v = draw(2, n), draw(3, m)
    got = wasserstein_1d(
        jnp.asarray(x, dtype),
        jnp.asarray(y, dtype),
        x_weights=jnp.asarray(u, dtype),
        y_weights=jnp.asarray(v, dtype),
    )
    assert_close(got, scipy.stats.wasserstein_distance(x, y, u, v), dtype)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3.0])
@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 4)])
def test_wasserstein_1d_is_the_cheapest_assignment(p, n, m, dtype):
    x, y = draw(0, n), draw(1, m, 0.5, 2)
    # Twelve copies of mass 1/12 each, whatever the counts.
    x12, y12 = np.repeat(x, 12 // n), np.repeat(y, 12 // m)
    cost = np.abs(x12[:, None] - y12) ** p
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    want = cost[rows, columns].mean() ** (1 / p)
    x, y = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
    assert_close(wasserstein_1d(x, y, p), want, dtype)
    assert_close(wasserstein_1d(y, x, p), want, dtype)
    assert_close(jax.jit(wasserstein_1d)(x, y, p), want, dtype)


def test_wasserstein_1d_of_a_density_on_a_grid():
    # N(0, 1) and N(1, 4), as atoms at the nodes.
    with jax.enable_x64(True):
        x, weights = quadrature(jnp.linspace(-14, 16, 301), 16)
        p = weights * jax.scipy.stats.norm.pdf(x)
        q = weights * jax.scipy.stats.norm.pdf(x, 1, 2)
        got = wasserstein_1d(x, x, x_weights=p, y_weights=q)
        np.testing.assert_allclose(got, gaussian_w1(0.0, 1.0, 1.0, 4.0), atol=1e-4)
        got = wasserstein_1d(x, x, 2, x_weights=p, y_weights=q)
        np.testing.assert_allclose(got, gaussian_w2(0.0, 1.0, 1.0, 4.0), atol=1e-2)


def test_wasserstein_1d_gradients():
    with jax.enable_x64(True):
        x, y = (jnp.asarray(draw(s, n)) for s, n in ((0, 12), (1, 7)))
        u, v = (jnp.asarray(draw(s, n, 0.5, 1)) for s, n in ((2, 12), (3, 7)))
        for p in (1, 2, 2.5):
            check_grads(
                lambda x, y, u, v: wasserstein_1d(x, y, p, x_weights=u, y_weights=v),  # noqa: B023
                (x, y, u, v),
                order=1,
                eps=1e-7,
                rtol=1e-5,
            )
            # A shift moves the distance of samples that lie apart at slope 1.
            slope = jax.grad(lambda s: wasserstein_1d(x, y + s, p))(10.0)  # noqa: B023
            np.testing.assert_allclose(slope, 1, atol=0.02)
            assert np.isfinite(jax.grad(wasserstein_1d)(x, x, p)).all()


def test_sliced_wasserstein_of_a_shift_and_on_the_line():
    x, y = (jnp.asarray(np.random.default_rng(s).normal(size=(40, 3)), jnp.float32) for s in (0, 1))
    # In one dimension every direction is the line.
    line = jax.jit(sliced_wasserstein)(jax.random.key(0), x[:, :1], y[:, :1])
    np.testing.assert_allclose(line, wasserstein_1d(x[:, 0], y[:, 0], 2), rtol=1e-5)
    # A shift s: the square is the mean of (direction . s)^2, on average abs(s)^2 / 3, with a
    # standard error over n directions of abs(s)^2 sqrt((1/5 - 1/9) / n).
    shift = jnp.asarray([1.0, -2.0, 2.0])
    squared = sliced_wasserstein(jax.random.key(1), x, x + shift, projections=4000) ** 2
    assert abs(squared - 3) < 4 * 9 * np.sqrt((1 / 5 - 1 / 9) / 4000)


def test_sliced_wasserstein_is_a_lower_bound_and_ignores_order():
    x, y = (np.random.default_rng(s).normal(size=(40, 3)).astype("float32") for s in (0, 1))
    sliced = jax.jit(jax.value_and_grad(sliced_wasserstein, 1))
    got, _ = sliced(jax.random.key(0), x, y)
    np.testing.assert_allclose(sliced(jax.random.key(0), x, y[::-1])[0], got, rtol=1e-5)
    cost = scipy.spatial.distance.cdist(x, y, "sqeuclidean")
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    assert 0 < got < np.sqrt(cost[rows, columns].mean())
    value, gradient = sliced(jax.random.key(1), x, x)
    assert value == 0 and np.isfinite(gradient).all()


# Variational bounds.

COUNTS = np.array([1, 2, 5, 8]), np.array([6, 4, 4, 2])  # of 16 samples each, so means are exact


@jax.jit
def bounds(logit):
    """Every bound of the distributions of COUNTS for a discriminator with these logits."""
    real, fake = (jnp.repeat(logit, n, total_repeat_length=16) for n in COUNTS)
    return (
        kl_bound(real, fake),
        reverse_kl_bound(real, fake),
        js_bound(real, fake),
        tv_bound(real, fake),
    )


def test_bounds_are_tight_at_the_optimum_and_below_elsewhere(dtype):
    p, q = (jnp.asarray(n / 16, dtype) for n in COUNTS)
    true = np.array([kl(p, q), reverse_kl(p, q), js(p, q), tv(p, q)])
    best = optimal_logit(jnp.log(p), jnp.log(q))
    assert_close(jnp.stack(bounds(best)[:3]), true[:3], dtype)
    assert_close(bounds(1e6 * best)[3], true[3], dtype)
    others = jnp.asarray(np.random.default_rng(0).normal(0, 2, (50, 4)), dtype)
    for bound, value in zip(jax.jit(jax.vmap(bounds))(others), true, strict=True):
        assert (bound < value).all()
    # The optimum is a maximum: no slope in any direction.
    for slope in jax.jit(jax.jacobian(bounds))(best)[:3]:
        assert_close(slope, 0 * best, dtype)


def test_js_bound_is_what_the_logistic_loss_leaves():
    real, fake = (jnp.asarray(draw(s, 20, -5, 5), jnp.float32) for s in (0, 1))
    loss = jnp.mean(losses.logistic_d(real, fake))
    np.testing.assert_allclose(js_bound(real, fake), np.log(2) - loss / 2, rtol=1e-5)


def test_bounds_are_stable_at_huge_logits():
    huge = jnp.asarray([-1e4, -90.0, 0.0, 90.0, 1e4])
    for bound in (js_bound, tv_bound):
        value, gradients = jax.value_and_grad(bound, (0, 1))(huge, huge)
        assert np.isfinite(value) and np.isfinite(gradients).all()
    assert kl_bound(huge, huge) == -jnp.inf == reverse_kl_bound(huge, huge)


def test_wasserstein_bound(dtype):
    # Diracs at 0 and theta: the critic f(x) = w x is best at slope -sign(theta) and gives theta.
    theta = jnp.asarray(-1.7, dtype)
    w = jnp.asarray(3.0, dtype)
    bound = wasserstein_bound(jnp.zeros(1, dtype), w * theta, lipschitz=w)
    assert_close(bound, parallel_lines(theta).w1, dtype)
    # Any Lipschitz function stays below the distance of the samples, of any two counts.
    x, y = (jnp.asarray(draw(s, n, -2, 2), dtype) for s, n in ((0, 12), (1, 7)))
    true = wasserstein_1d(x, y)
    for frequency in (0.3, 1.0, 4.0):
        real, fake = jnp.sin(frequency * x), jnp.sin(frequency * y)
        assert abs(wasserstein_bound(real, fake, lipschitz=frequency)) < true
    # Of samples that lie apart the best critic is linear.
    assert_close(wasserstein_bound(-x, -(y + 10)), wasserstein_1d(x, y + 10), dtype)


# Bad input.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kl([0.5, 0.5], [0.2, 0.3, 0.5]), "same K points"),
        (lambda: kl(0.5, 0.5), "same K points"),
        (lambda: kl([0.5, 0.5], [0.5, 0.5], [1.0, 1.0, 1.0]), "weights"),
        (lambda: kl(jnp.ones((2, 1)), jnp.ones((3, 1))), "broadcast"),
        (lambda: js([1.5, -0.5], [0.5, 0.5]), "p has a probability of -0.5"),
        (lambda: js([0.5, 0.5], [0.5, jnp.nan]), "q has a probability of nan"),
        (lambda: tv([0.5, 0.5], [1.0, 2.0]), "sum to 3.0, not to 1"),
        (lambda: tv([0.5, 0.5], [0.5, 0.5], [3.0, -1.0]), "least weight is -1"),
        (lambda: kl([0.5j, 0.5], [0.5, 0.5]), "real numbers"),
        (lambda: kl(["half"], [0.5]), "real numbers"),
        (lambda: optimal_discriminator(-1.0, 1.0), "negative"),
        (lambda: quadrature([0.0]), "P >= 1"),
        (lambda: quadrature([0.0, 1.0], 0), "order 0"),
        (lambda: quadrature([1.0, 0.0]), "increase"),
        (lambda: gaussian_kl(0.0, 0.0, 0.0, 1.0), "covariance of p has an eigenvalue of 0"),
        (lambda: gaussian_kl([0.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0], 1.0), "Use jax.vmap"),
        (lambda: gaussian_w2([0.0], 1.0, [0.0, 0.0], 1.0), "Use jax.vmap"),
        (
            lambda: gaussian_w2(jnp.zeros(2), jnp.eye(2), jnp.zeros(2), jnp.diag(jnp.array([1.0, -1]))),
            "q has",
        ),
        (
            lambda: gaussian_w2(jnp.zeros(2), jnp.ones((2, 2)).at[0, 1].set(0), jnp.zeros(2), 1.0),
            "symmetric",
        ),
        (lambda: gaussian_js(0.0, -1.0, 0.0, 1.0), "covariance of p"),
        (lambda: gaussian_tv(jnp.zeros(2), 1.0, jnp.zeros(3), 1.0), "broadcast"),
        (lambda: dirac([0.0], [0.0, 1.0]), "two points"),
        (lambda: wasserstein_1d(jnp.ones((2, 2)), [0.0]), "sliced_wasserstein"),
        (lambda: wasserstein_1d([], [0.0]), "not empty"),
        (lambda: wasserstein_1d([0.0], [1.0], 0.5), "p >= 1"),
        (lambda: wasserstein_1d([0.0], [1.0], x_weights=[1.0, 2.0]), "x_weights must be"),
        (lambda: wasserstein_1d([0.0], [1.0], y_weights=[-1.0]), "y_weights must be"),
        (
            lambda: sliced_wasserstein(jax.random.key(0), jnp.ones((2, 3)), jnp.ones((2, 2))),
            "Flatten",
        ),
        (
            lambda: sliced_wasserstein(jax.random.key(0), jnp.ones((2, 3)), jnp.ones((2, 3)), projections=0),
            "1 direction",
        ),
        (lambda: wasserstein_bound([0.0], [0.0], lipschitz=0.0), "positive"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_values_are_not_checked_under_a_trace():
    bad = jnp.asarray([[0.5, -0.5]])
    for transformed in (jax.jit(tv), jax.vmap(tv), jax.grad(lambda p, q: tv(p, q).sum(), (0, 1))):
        transformed(bad, bad)
    # Constants inside jit are known, but comparing them there would be traced.
    assert jax.jit(lambda: kl(jnp.asarray([0.5, 0.5]), jnp.asarray([0.5, 0.5])))() == 0


def test_everything_public_is_exported():
    for name in divergences.__all__:
        assert getattr(divergences, name).__doc__
