"""Precision, recall, density and coverage: against all distances at once, exact values and the field's own code."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxgan.errors import InputError
from jaxgan.metrics import prdc


def naive(real, fake, manifold_k, density_k):
    """The papers' definitions on SciPy's distances, which subtract before they square."""
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    between = cdist(real, fake)
    radius = lambda x, k: np.sort(cdist(x, x), axis=1)[:, k]  # noqa: E731
    inside = between <= radius(real, density_k)[:, None]
    return (
        (between <= radius(real, manifold_k)[:, None]).any(axis=0).mean(),
        (between <= radius(fake, manifold_k)).any(axis=1).mean(),
        inside.sum(axis=0).mean() / density_k,
        inside.any(axis=1).mean(),
    )


def draw(seed, n, d):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("block", [1, 7, 25, 512])
@pytest.mark.parametrize(("n", "m", "d", "ks"), [(50, 40, 3, (3, 5)), (25, 60, 40, (1, 1)), (6, 5, 2, (4, 5))])
def test_all_distances_at_once(n, m, d, ks, block):
    real, fake = draw(0, n, d), 0.8 * draw(1, m, d) + 0.3
    got = prdc(real, fake, manifold_k=ks[0], density_k=ks[1], block=block)
    np.testing.assert_allclose(got, naive(real, fake, *ks), rtol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_clusters_far_smaller_than_their_distances(offset):
    """Eight clusters of 1e-4 on the unit circle, far off: float32 products would not know a neighbour from another."""
    rng = np.random.default_rng(0)
    angle = rng.integers(0, 8, (2, 400)) * np.pi / 4
    centre = np.stack([np.cos(angle), np.sin(angle)], axis=-1) + offset
    real, fake = centre + 1e-4 * rng.normal(size=centre.shape)
    got = prdc(real, fake)
    np.testing.assert_allclose(got, naive(real, fake, 3, 5), rtol=1e-12)
    assert min(got) > 0.9


@pytest.mark.parametrize("block", [1, 13])
def test_copies_count_as_equal(block):
    """Ten points, each many times over: neighbourhoods have radius 0 and hold the copies, whatever products round."""
    points = draw(2, 10, 300)
    real, fake = points.repeat(8, axis=0), points[:6].repeat(9, axis=0)
    got = prdc(real, fake, block=block)
    np.testing.assert_allclose(got, naive(real, fake, 3, 5))
    np.testing.assert_allclose(got, (1, 0.6, 8 / 5, 0.6))


def test_a_set_and_itself():
    """Every neighbourhood holds its centre and k others."""
    x = draw(0, 200, 10)
    np.testing.assert_allclose(prdc(x, x, density_k=4), (1, 1, 5 / 4, 1))


def test_disjoint_sets():
    assert prdc(draw(0, 50, 4), draw(1, 50, 4) + 100) == (0, 0, 0, 0)


def test_expected_values_of_equal_distributions():
    """Density is 1; coverage is 1 less the chance that k real neighbours come before every generated one."""
    n, m, k = 40, 60, 5
    got = np.array([prdc(draw(2 * i, n, 3), draw(2 * i + 1, m, 3), density_k=k) for i in range(400)])
    error = got.std(axis=0) / np.sqrt(len(got))
    ranks = np.arange(1, k + 1)
    coverage = 1 - np.prod((n - ranks) / (n + m - ranks))
    assert abs(got[:, 2].mean() - 1) < 4 * error[2]
    assert abs(got[:, 3].mean() - coverage) < 4 * error[3]
    assert error.max() < 0.02


def test_progress():
    calls = []
    prdc(draw(0, 50, 3), draw(1, 30, 3), block=20, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i, 8) for i in range(1, 9)]


def test_prdc_refuses():
    x = draw(0, 6, 3)
    with pytest.raises(InputError, match="manifold_k is 3; 6 real and 3 generated samples allow 1 to 2"):
        prdc(x, x[:3])
    with pytest.raises(InputError, match="density_k is 6; 6 real and 6 generated samples allow 1 to 5"):
        prdc(x, x, density_k=6)
    with pytest.raises(InputError, match="manifold_k is 0"):
        prdc(x, x, manifold_k=0)
    with pytest.raises(InputError, match="block is 0"):
        prdc(x, x, block=0)
    with pytest.raises(InputError, match="3 features and the generated ones 2"):
        prdc(x, x[:, :2])
    with pytest.raises(InputError, match="real features hold NaN"):
        prdc(x * np.nan, x)


def test_the_package_prdc_agrees():
    theirs = pytest.importorskip("prdc")
    real, fake = draw(0, 80, 6), 0.7 * draw(1, 60, 6)
    want = theirs.compute_prdc(real, fake, nearest_k=5)
    np.testing.assert_allclose(prdc(real, fake, manifold_k=5), [*map(want.get, prdc(real, fake)._fields)])


def test_torch_fidelity_agrees():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_fidelity.metric_prc")
    real, fake = draw(0, 80, 6), 0.7 * draw(1, 60, 6)
    want = theirs.calculate_precision_recall_full(torch.from_numpy(fake), torch.from_numpy(real))
    np.testing.assert_allclose(prdc(real, fake)[:2], want, rtol=1e-6)
