"""Metrics by name."""

import jax
import numpy as np
import pytest

from jaxgan.divergences import sliced_wasserstein
from jaxgan.errors import InputError
from jaxgan.metrics import (
    METRICS,
    Seen,
    authenticity,
    class_modes,
    compare,
    fid,
    fid_by_class,
    inception_score,
    kernel,
    modes,
    moments,
    prdc,
)  # fmt: skip


def features():
    x, y = np.random.default_rng(0).normal(size=(2, 1100, 4)).astype(np.float32)
    return x, 1.2 * y


@pytest.fixture(scope="module")
def near():
    return compare(*features())


@pytest.mark.long
def test_all_of_them(near):
    real, fake = features()
    mean, std, error = kernel(real, fake)
    assert near == {
        "fid": fid(moments(real), moments(fake)),
        "kid": mean,
        "kid_std": std,
        "kid_standard_error": error,
        **prdc(real, fake)._asdict(),
        "swd": float(sliced_wasserstein(jax.random.key(0), real, fake)),
    }
    assert all(type(value) is float for value in near.values())


def test_distances_grow_with_the_gap_and_shares_fall(near):
    real, fake = features()
    far = compare(real, fake + 2, ["fid", "prdc", "swd"])
    assert all(far[name] > near[name] for name in ("fid", "swd"))
    assert all(far[name] < near[name] for name in ("precision", "recall", "density", "coverage"))


def test_names():
    real, fake = features()
    assert [*compare(real, fake, ["swd", "fid"])] == ["swd", "fid"]
    with pytest.raises(InputError, match=r"no metric 'fld'. Did you mean 'fid'\? Allowed: accuracy, authenticity,"):
        compare(real, fake, ["fld"])


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_refuses(name):
    real, fake = (Seen(x, np.zeros((1100, 2), np.float32), np.arange(1100) % 2) for x in features())
    with pytest.raises(InputError, match="features and the generated ones 3"):
        compare(real, fake._replace(features=fake.features[:, :3]), [name])
    fake.features[17, 2] = np.nan
    with pytest.raises(InputError, match="1 of the 1100 rows of the generated features"):
        compare(real, fake, [name])


LACKS = {"intra_fid": "classes", "accuracy": "classes", "modes": "predictions", "inception_score": "predictions"}


@pytest.mark.parametrize("name", LACKS)
def test_what_a_metric_lacks(name):
    with pytest.raises(InputError, match=f"{name} goes by .*{LACKS[name]}"):
        compare(*features(), [name])


def test_metrics_of_classes_and_points_equal_their_functions():
    (x, y), random = features(), np.random.default_rng(1)
    logits, label = random.normal(size=(1100, 5)).astype(np.float32), random.integers(0, 5, 1100)
    real, fake = Seen(x, None, label), Seen(y, logits, np.roll(label, 1))
    got = compare(real, fake, ["intra_fid", "accuracy", "inception_score", "modes", "diversity", "authenticity"])
    by_class = fid_by_class(x, label, y, np.roll(label, 1))
    assert got["intra_fid"] == np.mean([*by_class.values()]) and got["fid/3"] == by_class[3]
    assert got["accuracy"] == np.mean(logits.argmax(1) == np.roll(label, 1))
    assert got["inception_score"] == inception_score(logits, logits=True).mean
    assert (got["modes"], got["reverse_kl"]) == class_modes(logits.argmax(1), 5)
    np.testing.assert_allclose(got["diversity"], y.var(0).sum() / x.var(0).sum(), rtol=1e-5)
    assert got["authenticity"] == authenticity(x, y)
    centres = np.repeat([[0.0], [1.0]], 4, axis=1)
    points = compare(Seen(x, mixture=(centres, 0.5)), Seen(y), ["modes"])
    assert (points["modes"], points["high_quality"], points["reverse_kl"]) == modes(y, centres, 0.5)
