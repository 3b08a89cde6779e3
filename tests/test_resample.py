"""Resampling against loops over every pixel, its adjoint, and what filters do to images of which that is known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import nn
from jaxgan.errors import InputError

# up, down, pad, shape of the kernel
CASES = [
    (1, 1, (0, 0), (4,)),
    (1, 1, (2, 1), (2, 3)),
    (1, 2, (1, 1), (4,)),
    (1, 2, (2, 1), (3,)),
    (1, 3, (0, 2), (1,)),
    (2, 1, (2, 1), (4,)),
    (2, 1, (1, 1), (3,)),
    (2, 1, (-1, 3), (5,)),
    (2, 1, (0, 0), (1,)),
    (3, 1, (1, 0), (2,)),
    (2, 2, (3, -2), (4,)),
    (2, 3, (2, 3), (3, 2)),
    (3, 2, (-2, 1), (4,)),
    (2, 4, (1, 2), (5,)),
    (4, 6, (5, 4), (3,)),
    (1, 1, (-1, -1), (2,)),
]


def draw(seed, *shape):
    return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def naive(x, kernel, up, down, pad):
    """Pixel by pixel, with every zero written out."""
    x, kernel = np.asarray(x), np.asarray(kernel)
    kernel = np.outer(kernel, kernel) if kernel.ndim == 1 else kernel
    b, h, w, c = x.shape
    stuffed = np.zeros((b, h * up, w * up, c))
    stuffed[:, ::up, ::up] = x
    margin = 8
    wide = np.pad(stuffed, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    before, after = (margin - p for p in pad)
    wide = wide[:, before : wide.shape[1] - after, before : wide.shape[2] - after]
    rows, cols = (n - k + 1 for n, k in zip(wide.shape[1:3], kernel.shape, strict=True))
    out = np.zeros((b, rows, cols, c))
    for i in range(rows):
        for j in range(cols):
            for s in range(kernel.shape[0]):
                for t in range(kernel.shape[1]):
                    out[:, i, j] += wide[:, i + s, j + t] * kernel[-1 - s, -1 - t]
    return out[:, ::down, ::down]


@pytest.mark.parametrize(("up", "down", "pad", "size"), CASES)
def test_upfirdn_and_its_adjoint_equal_their_definitions(up, down, pad, size):
    """The adjoint is a resampling with up and down exchanged, the kernel flipped, and the size that came in."""
    x, kernel = draw(0, 2, 5, 4, 2), draw(1, *size)
    expected = naive(x, kernel, up, down, pad)
    y = draw(2, *expected.shape)

    @jax.jit
    def both(x, y):
        out, pull_back = jax.vjp(lambda x: nn.upfirdn(x, kernel, up, down, pad), x)
        return out, *pull_back(y)

    out, back = both(x, y)
    assert out.shape == expected.shape
    np.testing.assert_allclose(out, expected, atol=1e-4)
    np.testing.assert_allclose(jnp.vdot(out, y), jnp.vdot(x, back), rtol=1e-3, atol=1e-3)

    square = np.outer(kernel, kernel) if kernel.ndim == 1 else np.asarray(kernel)
    taller = max(square.shape)  # one padding for both axes: of a kernel as wide as tall
    square = np.pad(square, ((taller - square.shape[0], 0), (taller - square.shape[1], 0)))
    adjoint = naive(y, square[::-1, ::-1], down, up, (taller - 1 - pad[0], 8))[:, :5, :4]
    np.testing.assert_allclose(back, adjoint, atol=1e-4)


def test_derivatives_of_images_and_kernels():
    f = jax.jit(lambda x, k: jnp.sum(jnp.tanh(nn.upfirdn(x, k, up=2, down=3, pad=(2, 1)))))
    check_grads(f, (draw(0, 1, 3, 3, 1), draw(1, 4)), order=2, modes=["fwd", "rev"], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("axes", [(None, 0), (1, None), (2, 1)])
def test_mapped_over_images_and_kernels(axes):
    x, kernel = draw(0, 2, 5, 4, 2), draw(1, 3)
    args = [a if at is None else jnp.stack([a, -2 * a], at) for a, at in zip((x, kernel), axes, strict=True)]
    f = partial(nn.upfirdn, up=2, pad=(1, 1))
    signs = [(1, 1) if at is None else (1, -2) for at in axes]
    for out, *scale in zip(jax.jit(jax.vmap(f, axes))(*args), *signs, strict=True):
        np.testing.assert_allclose(out, scale[0] * scale[1] ** 2 * f(x, kernel), atol=1e-4)  # the kernel counts twice


def test_doubling_mixes_neighbours_and_halving_is_its_adjoint():
    """With [1, 3, 3, 1]: new pixels lie a quarter to the left and to the right of old ones, and are drawn from two."""
    x, y = draw(0, 2, 6, 4, 3), draw(1, 2, 12, 8, 3)
    up = np.asarray(x)
    for axis in (1, 2):
        rows = np.moveaxis(up, axis, 0)
        wide = np.pad(rows, ((1, 1), (0, 0), (0, 0), (0, 0)))
        mixed = np.stack([0.75 * rows + 0.25 * wide[:-2], 0.75 * rows + 0.25 * wide[2:]], axis=1)
        up = np.moveaxis(mixed.reshape(-1, *rows.shape[1:]), 0, axis)
    np.testing.assert_allclose(jax.jit(nn.upsample2)(x), up, atol=1e-5)
    np.testing.assert_allclose(jnp.vdot(up, y), 4 * jnp.vdot(x, jax.jit(nn.downsample2)(y)), rtol=1e-4)


@pytest.mark.parametrize("kernel", [(0.5, 0.5), (0.25, 0.5, 0.25), (0.125, 0.375, 0.375, 0.125)])
def test_constant_images_stay_constant_away_from_the_border(kernel):
    kernel = np.array(kernel, np.float32)
    image = jnp.full((1, 8, 6, 2), 0.7)
    for resize, shape in ((nn.upsample2, (1, 16, 12, 2)), (nn.downsample2, (1, 4, 3, 2))):
        resized = jax.jit(resize)(image, kernel)
        assert resized.shape == shape
        np.testing.assert_allclose(resized[:, 1:-1, 1:-1], 0.7, rtol=1e-5)


def test_resampling_needs_no_grouped_convolution_and_keeps_the_dtype():
    x = draw(0, 3, 2, 4, 4, 2)
    double = jax.jit(jax.vmap(nn.upsample2))
    for dtype in (jnp.bfloat16, jnp.float16):
        half = double(x.astype(dtype))
        assert half.dtype == dtype
        np.testing.assert_allclose(half.astype(jnp.float32), double(x), atol=0.05)
    program = str(jax.make_jaxpr(jax.grad(lambda x: jnp.sum(nn.downsample2(nn.upsample2(x)) ** 2)))(x[0]))
    assert program.count("filtered[") == 8  # along rows and columns, twice, and so backward
    assert "conv_general" not in program
    assert "dot_general" not in program


def test_bad_input_is_refused():
    x = jnp.zeros((1, 4, 4, 1))
    for args in ((x[0], [1.0]), (x, 1.0), (x, [1.0], 0), (x, [1.0], 1, 0)):
        with pytest.raises(InputError, match="factors of at least 1"):
            nn.upfirdn(*args)
    with pytest.raises(InputError, match="5 taps does not fit into 4 pixels"):
        nn.upfirdn(x, np.ones(5, np.float32))


# Transposed convolutions of other kernels than DCGAN's, whose own tests are in test_nn.py.


@pytest.mark.parametrize(("size", "padding"), [(1, 0), (2, 0), (3, 0), (3, 1), (5, 2)])
def test_conv_transpose_of_any_kernel(size, padding):
    x, kernel = draw(0, 2, 3, 4, 3), draw(1, size, size, 3, 2)
    whole = np.zeros((2, 4 + size, 6 + size, 2), np.float32)
    for i in range(3):
        for j in range(4):
            taps = np.einsum("nc,abcd->nabd", x[:, i, j], kernel)
            whole[:, 2 * i : 2 * i + size, 2 * j : 2 * j + size] += taps
    expected = whole[:, padding : whole.shape[1] - padding, padding : whole.shape[2] - padding]
    f = jax.jit(partial(nn.conv_transpose, padding=padding))
    np.testing.assert_allclose(f(x, kernel), expected, atol=1e-4)
    # The branch of other platforms, taken out of the program.
    jaxpr = jax.make_jaxpr(partial(nn.conv_transpose, padding=padding))(x, kernel)
    program = next(e for e in jaxpr.eqns if "branches" in e.params)
    (native,) = (b for b in program.params["branches"] if "conv_general_dilated" in str(b))
    np.testing.assert_allclose(jax.core.eval_jaxpr(native.jaxpr, native.consts, x, kernel)[0], expected, atol=1e-4)
