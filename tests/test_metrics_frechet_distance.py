"""Moments and the FID: against NumPy, SciPy, closed forms and the field's own implementations."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from jaxgan.divergences import gaussian_w2
from jaxgan.errors import InputError
from jaxgan.metrics import Moments, fid, fid_by_class, frechet, moments


def draw(seed, n, d, low_rank=None):
    """Features [n, d] with unequal, correlated axes."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(low_rank or d, d)) * np.arange(1, d + 1) ** -0.5
    return rng.normal(size=(n, low_rank or d)) @ mix + rng.normal(size=d)


def assert_moments(got, rows):
    assert got.count == len(rows)
    np.testing.assert_allclose(got.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(got.covariance, np.cov(rows, rowvar=False), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cuts", [[], [1], [1, 2, 3], [50], [17, 18, 90]])
def test_moments_are_those_of_the_whole_however_it_is_cut(cuts):
    """Far from the origin, where a sum of squares would keep no digit of the variance."""
    rows = draw(0, 100, 5) + 1e6
    parts = [moments(part) for part in np.split(rows, cuts)]
    assert_moments(functools.reduce(Moments.merge, parts), rows)
    assert_moments(functools.reduce(Moments.merge, parts[::-1]), rows)


def test_moments_walk_in_blocks(monkeypatch):
    monkeypatch.setattr("jaxgan.metrics.frechet_distance.BLOCK", 7)
    rows = draw(1, 100, 5)
    assert_moments(moments(rows), rows)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.uint8])
def test_moments_of_any_dtype_are_float64(dtype):
    """255^2 would wrap around in uint8 and overflow in float16."""
    rows = jnp.asarray(np.random.default_rng(2).integers(0, 256, (100, 3)), dtype)
    got = moments(rows)
    assert got.mean.dtype == got.scatter.dtype == np.float64
    assert_moments(got, np.asarray(rows, np.float64))


def test_moments_refuse():
    with pytest.raises(InputError, match="2 of the 3 rows of the features hold NaN"):
        moments([[0.0, 1.0], [np.nan, 1.0], [np.inf, -np.inf]])
    for bad in (np.zeros((2, 3, 4)), np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((3, 2), complex), [["a", "b"]]):
        with pytest.raises(InputError, match="array \\[N, D\\] of real numbers"):
            moments(bad)
    with pytest.raises(InputError, match="Moments of 2 and of 3 features"):
        moments(np.zeros((4, 2))).merge(moments(np.zeros((4, 3))))
    with pytest.raises(InputError, match="2 samples at least, there is 1"):
        moments(np.ones((1, 2))).covariance  # noqa: B018


def gaussians(seed, d=12):
    x, y = draw(seed, 300, d), draw(seed + 100, 200, d)
    return x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)


@pytest.mark.parametrize("seed", range(3))
def test_frechet_is_scipys_and_the_square_of_the_wasserstein_distance(seed):
    m1, c1, m2, c2 = gaussians(seed)
    root = scipy.linalg.sqrtm(c1 @ c2)
    want = np.sum((m1 - m2) ** 2) + np.trace(c1 + c2 - 2 * np.real(root))
    np.testing.assert_allclose(frechet(m1, c1, m2, c2), want, rtol=1e-9)
    with jax.enable_x64(True):
        np.testing.assert_allclose(frechet(m1, c1, m2, c2), gaussian_w2(m1, c1, m2, c2) ** 2, rtol=1e-9)


def test_frechet_of_covariances_that_commute():
    """sum (sqrt a - sqrt b)^2 of their eigenvalues, some of which are 0 or tiny."""
    a, b = np.array([4.0, 1.0, 0.0, 1e-10, 9.0]), np.array([1.0, 0.0, 0.0, 4e-10, 25.0])
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    m = np.array([1.0, 0.0, 2.0, 0.0, 0.0])
    got = frechet(m, (rotation * a) @ rotation.T, 0 * m, (rotation * b) @ rotation.T)
    np.testing.assert_allclose(got, 5 + np.sum((np.sqrt(a) - np.sqrt(b)) ** 2), rtol=1e-12)


@pytest.mark.parametrize(("n1", "n2"), [(20, 20), (20, 300), (300, 20), (2, 50)])
def test_frechet_of_singular_covariances_loses_no_digits(n1, n2):
    """Fewer samples than features: the cross term is the nuclear norm of the product of the centred samples."""
    x, y = draw(0, n1, 60), draw(1, n2, 60)
    a, b = ((side - side.mean(0)) / np.sqrt(len(side) - 1) for side in (x, y))
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    want = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.sum(a**2) + np.sum(b**2) - 2 * cross
    mx, my = moments(x), moments(y)
    np.testing.assert_allclose(frechet(mx.mean, mx.covariance, my.mean, my.covariance), want, rtol=1e-11)
    trace = np.trace(mx.covariance)
    assert 0 <= frechet(mx.mean, mx.covariance, mx.mean, mx.covariance) < 1e-12 * trace
    # Images that are all alike have no covariance at all.
    zero = np.zeros((60, 60))
    np.testing.assert_allclose(frechet(mx.mean, mx.covariance, mx.mean, zero), trace, rtol=1e-12)
    assert frechet(mx.mean, zero, mx.mean, zero) == 0


def test_frechet_refuses():
    eye, m = np.eye(2), np.zeros(2)
    for bad in ((m, np.eye(3), m, eye), (m, eye, np.zeros(3), np.eye(3)), (eye, eye, eye, eye), (0.0, 1.0, 0.0, 1.0)):
        with pytest.raises(InputError, match="two means \\[D\\] and covariances"):
            frechet(*bad)
    with pytest.raises(InputError, match="not finite"):
        frechet(m, eye, [0.0, np.nan], eye)
    with pytest.raises(InputError, match="cov2 is not symmetric"):
        frechet(m, eye, m, [[1.0, 0.5], [0.0, 1.0]])
    with pytest.raises(InputError, match="cov1 has the eigenvalue -1"):
        frechet(m, np.diag([1.0, -1.0]), m, eye)


def test_the_bias_of_the_fid():
    """N samples of a standard normal are D/N + D(D+1)/4N from it, to first order in 1/N, and never 0."""
    n, d = 2000, 8
    rng = np.random.default_rng(0)
    values = []
    for _ in range(200):
        got = moments(rng.normal(size=(n, d)))
        values.append(frechet(got.mean, got.covariance, np.zeros(d), np.eye(d)))
    np.testing.assert_allclose(np.mean(values), d / n + d * (d + 1) / (4 * n), rtol=0.06)


def test_fid_warns_of_what_misleads():
    many, few = draw(0, 100, 8), draw(1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fid(moments(many), moments(draw(2, 9, 8)))
    with pytest.warns(UserWarning, match="from 8 generated samples of 8 features: their covariance has rank 7 at most"):
        fid(moments(many), moments(few))
    dead = many.copy()
    dead[:, [1, 4]] = [0.1, 0.0]  # the mean of 33 times 0.1 is not 0.1
    with pytest.warns(UserWarning, match="2 of 8 features do not vary over the 100 real samples"):
        fid(functools.reduce(Moments.merge, map(moments, np.split(dead, [33, 66]))), moments(many))


def test_fid_by_class():
    real, fake = draw(0, 60, 2), draw(1, 90, 2)
    real_labels, fake_labels = np.arange(60) % 3, np.arange(90) // 30
    got = fid_by_class(real, real_labels, fake, fake_labels)
    assert [*got] == [0, 1, 2]
    for label, value in got.items():
        assert value == fid(moments(real[label::3]), moments(fake[30 * label : 30 * label + 30]))
    with pytest.raises(InputError, match=r"classes \[2\] there are fewer than 2"):
        fid_by_class(real, real_labels, fake[:61], fake_labels[:61])
    with pytest.raises(InputError, match="60 samples need integer labels"):
        fid_by_class(real, real_labels / 2, fake, fake_labels)
    with pytest.raises(InputError, match="60 samples need integer labels"):
        fid_by_class(real, real_labels[1:], fake, fake_labels)
    with pytest.raises(InputError, match="2 features and the generated ones 1"):
        fid_by_class(real, real_labels, fake[:, :1], fake_labels)


def test_torch_fidelity_agrees():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_fidelity.metric_fid")
    real, fake = draw(0, 300, 12), draw(1, 200, 12)
    statistics = [theirs.fid_features_to_statistics(torch.from_numpy(x)) for x in (real, fake)]
    want = theirs.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    np.testing.assert_allclose(fid(moments(real), moments(fake)), want, rtol=1e-9)


def test_torchmetrics_agrees():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.image.fid")

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1)

    real, fake = draw(0, 300, 12), draw(1, 200, 12)
    metric = theirs.FrechetInceptionDistance(Flat(), input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    for rows, is_real in ((real, True), (fake, False)):
        for part in np.split(rows, 4):
            metric.update(torch.from_numpy(part.reshape(-1, 3, 2, 2)), real=is_real)
    np.testing.assert_allclose(fid(moments(real), moments(fake)), metric.compute(), rtol=1e-9)
