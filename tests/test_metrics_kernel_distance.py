"""The kernel distance: against its double sum, exact values, and repeated experiments for its standard error."""

import numpy as np
import pytest

from jaxgan.errors import InputError
from jaxgan.metrics import kernel


def draw(seed, n, d, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (n, d))


def naive(x, y):
    """The estimate term by term."""
    k = lambda a, b: (a @ b / a.size + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("block", [1024, 4])
def test_the_whole_set_as_its_only_subset(block, monkeypatch):
    monkeypatch.setattr("jaxgan.metrics.kernel_distance.BLOCK", block)
    x, y = draw(0, 10, 5), draw(1, 10, 5, shift=0.5)
    got = kernel(x, y, subsets=3, subset_size=10)
    np.testing.assert_allclose(got.mean, naive(x, y), rtol=1e-12)
    assert got.std < 1e-12 and np.isnan(got.standard_error)


def test_subsets():
    """Drawn without replacement, from sets of unequal size, reproducibly."""
    x, y = draw(0, 30, 4), draw(1, 20, 4, shift=0.5)
    got = kernel(x, y, subsets=6, subset_size=8, seed=3)
    rng = np.random.default_rng(3)
    values = [naive(x[rng.choice(30, 8, replace=False)], y[rng.choice(20, 8, replace=False)]) for _ in range(6)]
    np.testing.assert_allclose(got[:2], (np.mean(values), np.std(values)), rtol=1e-12)
    assert kernel(x, y, subsets=6, subset_size=8, seed=3) == got
    assert kernel(x, y, subsets=6, subset_size=8, seed=4).mean != got.mean
    assert np.isnan(kernel(x, y, subsets=1, subset_size=8).standard_error)


def test_unbiased_with_an_honest_standard_error():
    """The true value of two distributions on three atoms is (p - q)' K (p - q); 400 experiments scatter around it."""
    atoms = np.array([[0.0, 1.0], [1.0, -1.0], [2.0, 0.5]])
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    true = (p - q) @ (atoms @ atoms.T / 2 + 1) ** 3 @ (p - q)
    rng = np.random.default_rng(0)
    draws = ([atoms[rng.choice(3, 80, p=side)] for side in (p, q)] for _ in range(400))
    got = [kernel(x, y, subsets=20, subset_size=40, seed=i) for i, (x, y) in enumerate(draws)]
    means = np.array([each.mean for each in got])
    error = np.sqrt(np.mean([each.standard_error**2 for each in got]))
    scatter = means.std(ddof=1)
    assert abs(means.mean() - true) < 4 * scatter / np.sqrt(len(means))
    # 400 experiments know their scatter to 3.5 %; an error that leaves out shared samples is far below.
    np.testing.assert_allclose(error, scatter, rtol=0.12)


def test_equal_distributions_are_zero_apart_and_the_error_is_not_too_small():
    got = [kernel(draw(2 * i, 100, 8), draw(2 * i + 1, 100, 8), subsets=10, subset_size=25) for i in range(100)]
    means = np.array([each.mean for each in got])
    assert abs(means.mean()) < 4 * means.std() / 10
    assert means.min() < 0
    assert np.sqrt(np.mean([each.standard_error**2 for each in got])) > means.std()


def test_kernel_refuses():
    x = draw(0, 20, 3)
    with pytest.raises(InputError, match="subset_size is 1000; of 20 real and 10 generated samples a subset holds 2"):
        kernel(x, x[:10])
    with pytest.raises(InputError, match="subset_size is 1;"):
        kernel(x, x, subset_size=1)
    with pytest.raises(InputError, match="subsets is 0"):
        kernel(x, x, subset_size=5, subsets=0)
    with pytest.raises(InputError, match="3 features and the generated ones 2"):
        kernel(x, x[:, :2], subset_size=5)
    with pytest.raises(InputError, match="generated features hold NaN"):
        kernel(x, x * np.nan, subset_size=5)


def test_torch_fidelity_agrees():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_fidelity.metric_kid")
    x, y = draw(0, 50, 6), draw(1, 50, 6, shift=0.3)
    want = theirs.kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=2, kid_subset_size=50, verbose=False
    )["kernel_inception_distance_mean"]
    np.testing.assert_allclose(kernel(x, y, subsets=2, subset_size=50).mean, want, rtol=1e-10)


def test_torchmetrics_agrees():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torchmetrics.image.kid")

    class Flat(torch.nn.Module):
        num_features = 12

        def forward(self, images):
            return images.flatten(1)

    x, y = draw(0, 50, 12), draw(1, 50, 12, shift=0.3)
    metric = theirs.KernelInceptionDistance(Flat(), subsets=2, subset_size=50)
    metric.update(torch.from_numpy(x.reshape(-1, 3, 2, 2)), real=True)
    metric.update(torch.from_numpy(y.reshape(-1, 3, 2, 2)), real=False)
    mean, _ = metric.compute()
    np.testing.assert_allclose(kernel(x, y, subsets=2, subset_size=50).mean, mean, rtol=1e-5)
