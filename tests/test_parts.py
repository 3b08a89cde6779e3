"""Sums over parts of a batch, and the weight gradients that are computed so."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import nn
from jaxgan.nn import bilinear
from jaxgan.nn.parts import parts, summed


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(
    ("batch", "devices", "size", "count"),
    [
        (12, 1, 5, 1),
        (12, 1, 11, 2),
        (12, 1, 21, 3),
        (12, 1, 1000, 12),
        (12, 2, 1000, 6),
        (12, 5, 1000, 1),
        (7, 1, 11, 7),
    ],
)
def test_parts_are_as_few_as_fit_and_have_some_of_what_every_device_has(batch, devices, size, count, monkeypatch):
    """Of at most 10 bytes, if the batch can be split so far; device d has the images from d B / devices on."""
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    split = np.asarray(parts(jnp.arange(batch), size, 10))
    assert split.shape == (batch // count, count)
    if count > 1:
        owners = split * devices // batch
        for part in owners.T:
            assert np.bincount(part, minlength=devices).tolist() == [batch // count // devices] * devices


@pytest.mark.parametrize("most", [4, 10**6])
def test_the_sum_is_that_of_the_whole(most, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    x, y = draw(0, 12, 3), draw(1, 12, 2)

    def products(x, y):
        return {"first": x.T @ y, "second": jnp.sum(x) + jnp.sum(y)}

    program = jax.jit(lambda x, y: summed(products, x, y, size=40, most=most))
    assert ("while" in program.lower(x, y).as_text()) == (most == 4)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), program(x, y), products(x, y))


# (images, side, channels, channels, kernel, stride, padding): strips, patches of the images, and of their cotangents.
@pytest.mark.parametrize("shape", [(8, 9, 5, 6, 3, 1, 1), (8, 9, 2, 9, 4, 2, 1), (8, 9, 9, 2, 3, 1, 1)], ids=str)
def test_weight_gradients_in_parts(shape, monkeypatch):
    n, side, c, d, k, stride, padding = shape
    x, kernel = draw(0, n, side, side, c), draw(1, k, k, c, d)
    conv = partial(nn.conv, x, stride=stride, padding=padding)
    y = draw(2, *jax.eval_shape(conv, kernel).shape)
    monkeypatch.setattr(jax, "device_count", lambda: 1)

    def gradient(most):
        monkeypatch.setattr(bilinear, "_BYTES", most)
        program = jax.jit(lambda y: jax.linear_transpose(conv, kernel)(y)[0])
        return "while" in program.lower(y).as_text(), program(y)

    (split, ours), (whole, plain) = gradient(1000), gradient(2**30)
    assert split and not whole
    np.testing.assert_allclose(ours, plain, atol=1e-4)
