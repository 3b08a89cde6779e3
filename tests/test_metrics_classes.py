"""The inception score and the coverage of modes and classes: exact values, and the statistics of true samples."""

import jax
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from jaxgan.data.sources import grid, ring
from jaxgan.errors import InputError
from jaxgan.metrics import Modes, class_modes, inception_score, modes


def logits(seed, n=200, k=7):
    return 2 * np.random.default_rng(seed).normal(size=(n, k))


def test_from_1_to_the_number_of_classes():
    same = np.full((50, 4), 0.25)
    np.testing.assert_allclose(inception_score(same), (1, 0), atol=1e-12)
    np.testing.assert_allclose(inception_score(np.eye(4).repeat(25, axis=0), splits=1), (4, 0))


def test_images_in_the_order_of_their_classes():
    """Parts in that order would hold one class each and score 1."""
    got = inception_score(np.eye(10).repeat(1000, axis=0))
    assert 9.9 < got.mean < 10
    assert 0 < got.std < 0.05


def test_the_score_is_exp_of_the_information():
    """Written out; the parts are those of the shuffled order, of nearly equal size."""
    p = softmax(logits(0, n=203), axis=1)
    parts = np.array_split(np.random.default_rng(1).permutation(p), 4)
    scores = [np.exp(np.mean(np.sum(x * (np.log(x) - np.log(x.mean(0))), axis=1))) for x in parts]
    got = inception_score(p, splits=4, seed=1)
    np.testing.assert_allclose(got, (np.mean(scores), np.std(scores)), rtol=1e-10)


def test_logits():
    x = logits(0)
    want = inception_score(softmax(x, axis=1))
    np.testing.assert_allclose(inception_score(x - 1e3, logits=True), want, rtol=1e-10)
    np.testing.assert_allclose(inception_score(log_softmax(x, axis=1), logits=True), want, rtol=1e-10)


def test_inception_score_refuses():
    with pytest.raises(InputError, match="Pass logits=True"):
        inception_score(logits(0))
    with pytest.raises(InputError, match="Pass logits=True"):
        inception_score(np.ones((20, 3)))
    with pytest.raises(InputError, match="splits is 10; 5 images"):
        inception_score(np.full((5, 2), 0.5))
    with pytest.raises(InputError, match="predictions hold NaN"):
        inception_score(np.full((5, 2), np.nan), logits=True)


def test_torch_fidelity_agrees():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("torch_fidelity.metric_isc")
    x = logits(0)
    shuffled = torch.from_numpy(np.random.default_rng(0).permutation(x))
    want = theirs.isc_features_to_metric(shuffled, splits=10, shuffle=False)
    np.testing.assert_allclose(inception_score(x, logits=True), [*want.values()], rtol=1e-10)


@pytest.mark.parametrize("mixture", [ring(), grid()], ids=["ring", "grid"])
def test_true_samples_cover_every_mode(mixture):
    """1 - exp(-9/2) of them are of high quality, and the reverse KL averages (K - 1) / 2n over experiments."""
    n, k, experiments = 2_500, len(mixture.modes), 200
    points = np.asarray(mixture.draw(jax.random.key(0), n * experiments)["image"]).reshape(experiments, n, 2)
    got = [modes(each, mixture.modes, mixture.std) for each in points]
    assert {each.covered for each in got} == {k}
    share, spread = 1 - np.exp(-4.5), np.sqrt(np.exp(-4.5) / n)
    quality = np.array([each.high_quality for each in got])
    assert np.abs(quality - share).max() < 0.01
    assert abs(quality.mean() - share) < 4 * spread / np.sqrt(experiments)
    floor = (k - 1) / (2 * n)
    spread = floor * np.sqrt(2 / (k - 1))  # chi-squared with K - 1 degrees of freedom, to first order
    assert abs(np.mean([each.reverse_kl for each in got]) - floor) < 4 * spread / np.sqrt(experiments)


def test_modes_by_hand():
    """A tenth of a standard deviation on either side of the third; a point in the middle of nowhere has a mode, too."""
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    points = np.array([[0.0, 2.9], [0.0, -3.1], [10.0, 0.0], [10.0, 1.0], [5.2, 0.0], [4.0, 6.1]])
    got = modes(points, centres, 1.0)
    share = np.array([2, 3, 1]) / 6
    np.testing.assert_allclose(got, (2, 3 / 6, np.sum(share * np.log(4 * share))))
    assert modes(points, centres, 1.0, at_least=2).covered == 1
    assert modes([[3.0, 0.0]], centres, 1.0).covered == 1  # within: up to and with three


def test_a_collapsed_generator():
    mixture = grid()
    got = modes(mixture.modes[[7] * 100], mixture.modes, mixture.std)
    np.testing.assert_allclose(got, Modes(1, 1.0, np.log(25)))
    np.testing.assert_allclose(class_modes([7] * 100, 1000), (1, np.log(1000)))


def test_stacked_mnist():
    """Uniform labels: 1 - (1 - 1/K)^n of the classes occur, the reverse KL is near its floor (K - 1) / 2n."""
    k, n = 1000, 25_600
    digits = np.random.default_rng(0).integers(0, 10, (20, n, 3))
    got = [class_modes(each @ [100, 10, 1], k) for each in digits]
    assert {each.covered for each in got} == {1000}
    np.testing.assert_allclose(np.mean([each.reverse_kl for each in got]), (k - 1) / (2 * n), rtol=0.05)
    covered = np.mean([class_modes((each @ [100, 10, 1])[:1000], k).covered for each in digits])
    assert abs(covered - k * (1 - (1 - 1 / k) ** 1000)) < 10


def test_modes_refuse():
    centres = np.zeros((2, 2))
    with pytest.raises(InputError, match="points have 3 coordinates, the centres 2"):
        modes(np.zeros((4, 3)), centres, 1.0)
    with pytest.raises(InputError, match="4 of the 4 rows of the points"):
        modes(np.full((4, 2), np.nan), centres, 1.0)
    for bad in ({"std": 0.0}, {"std": float("nan")}, {"std": 1.0, "at_least": 0}):
        with pytest.raises(InputError, match="must be positive"):
            modes(np.zeros((4, 2)), centres, **bad)


def test_class_modes_refuse():
    for bad in ([0.0, 1.0], [[0, 1]], []):
        with pytest.raises(InputError, match="must be integers"):
            class_modes(bad, 2)
    for bad in ([-1, 0], [0, 2]):
        with pytest.raises(InputError, match="2 classes have labels 0 to 1"):
            class_modes(bad, 2)
