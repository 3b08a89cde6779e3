"""Metrics by name."""

import jax
import numpy as np
import pytest

from jaxgan.divergences import sliced_wasserstein
from jaxgan.errors import InputError
from jaxgan.metrics import METRICS, compare, fid, kernel, moments, prdc


def features():
    x, y = np.random.default_rng(0).normal(size=(2, 1100, 4)).astype(np.float32)
    return x, 1.2 * y


@pytest.fixture(scope="module")
def near():
    return compare(*features())


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
    with pytest.raises(InputError, match=r"no metric 'fld'. Did you mean 'fid'\? Allowed: fid, kid, prdc, swd"):
        compare(real, fake, ["fld"])


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_refuses(name):
    real, fake = features()
    with pytest.raises(InputError):
        compare(real, fake[:, :3], [name])
    fake[17, 2] = np.nan
    with pytest.raises(InputError, match="1 of the 1100 rows of the generated features"):
        compare(real, fake, [name])
