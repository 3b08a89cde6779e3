"""Layers and networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import nn
from jaxgan.errors import InputError

SIZES = [8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128]


def new_key():
    return jax.random.key(0)


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "side"), [(4, 2, 1, 8), (3, 1, 1, 7), (1, 1, 0, 5), (5, 2, 2, 9), (3, 3, 0, 8)]
)
def test_conv_equals_its_definition(size, stride, padding, side):
    x, kernel = draw(0, 2, side, side + 2, 3), draw(1, size, size, 3, 4)
    padded = np.pad(np.asarray(x), ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, cols = ((n - size) // stride + 1 for n in padded.shape[1:3])
    expected = np.zeros((2, rows, cols, 4), np.float32)
    for i in range(rows):
        for j in range(cols):
            window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            expected[:, i, j] = np.tensordot(window, np.asarray(kernel), axes=3)
    np.testing.assert_allclose(nn.conv(x, kernel, stride=stride, padding=padding), expected, atol=1e-4)


def test_conv_transpose_equals_its_definition():
    x, kernel = draw(0, 2, 3, 5, 3), draw(1, 4, 4, 3, 4)
    padded = np.zeros((2, 8, 12, 4), np.float32)
    for i in range(3):
        for j in range(5):
            padded[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += np.einsum("nc,abcd->nabd", x[:, i, j], kernel)
    np.testing.assert_allclose(nn.conv_transpose(x, kernel), padded[:, 1:-1, 1:-1], atol=1e-4)


def test_conv_transpose_is_the_adjoint_of_conv():
    x, y, kernel = draw(0, 2, 6, 5, 3), draw(1, 2, 12, 10, 4), draw(2, 4, 4, 3, 4)
    up = jnp.vdot(nn.conv_transpose(x, kernel), y)
    down = jnp.vdot(x, nn.conv(y, kernel.transpose(0, 1, 3, 2), stride=2, padding=1))
    np.testing.assert_allclose(up, down, rtol=1e-4)


def test_native_convolutions_of_other_platforms_agree():
    """The branch for GPUs and TPUs, taken out of the program and run here."""

    def native(f, *args):
        branches = next(e for e in jax.make_jaxpr(f)(*args).eqns if "branches" in e.params).params["branches"]
        with_conv = [b for b in branches if any(e.primitive.name == "conv_general_dilated" for e in b.eqns)]
        (branch,) = with_conv
        return jax.core.eval_jaxpr(branch.jaxpr, branch.consts, *args)[0]

    x, kernel = draw(0, 2, 6, 8, 3), draw(1, 4, 4, 3, 4)
    np.testing.assert_allclose(native(nn.conv_transpose, x, kernel), nn.conv_transpose(x, kernel), atol=1e-4)
    down = lambda x, kernel: nn.conv(x, kernel, stride=2, padding=1)  # noqa: E731
    np.testing.assert_allclose(native(down, x, kernel), down(x, kernel), atol=1e-4)


@pytest.mark.long
def test_convolutions_have_second_derivatives():
    x, kernel = draw(0, 1, 4, 4, 2), draw(1, 4, 4, 2, 2)
    f = lambda x, k: jnp.tanh(nn.conv(nn.conv_transpose(x, k), k, stride=2, padding=1)).sum()  # noqa: E731
    check_grads(f, (x, 0.1 * kernel), order=2, modes=["rev"], atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("size", SIZES)
def test_dcgan_makes_every_size_that_it_lists(size):
    generator, discriminator = nn.DCGANGenerator((size, size, 3), 4), nn.DCGANDiscriminator(4)

    def run(key):
        z = jnp.zeros((2, 5))
        g = generator.init(key, z, train=False)
        x = generator.apply(g, z, train=False)
        return x, discriminator.init_with_output(key, x, train=False)[0]

    image, logits = jax.eval_shape(run, new_key())
    assert image.shape == (2, size, size, 3)
    assert logits.shape == (2,)


def test_dcgan_has_the_papers_channels():
    """Radford et al. 2015, figure 1: 4 x 4 x 1024 up to 64 x 64 x 3, through 512, 256 and 128 channels."""
    shapes = jax.eval_shape(
        lambda k: nn.DCGANGenerator((64, 64, 3), 128).init(k, jnp.zeros((1, 100)), train=False), new_key()
    )
    kernels = {k: v["kernel"].shape for k, v in shapes["params"].items() if k != "bias" and "kernel" in v}
    assert kernels["Dense_0"] == (100, 4 * 4 * 1024)
    assert [kernels[f"ConvTranspose_{i}"] for i in range(4)] == [
        (4, 4, 1024, 512),
        (4, 4, 512, 256),
        (4, 4, 256, 128),
        (4, 4, 128, 3),
    ]


@pytest.mark.parametrize("shape", [(30, 30, 1), (7, 7, 1), (256, 256, 3), (28, 30, 1)])
def test_dcgan_says_which_sizes_it_makes(shape):
    with pytest.raises(InputError, match="8, 10, 12, 14, 16, 20, 24, 28, 32"):
        nn.doublings(shape)


def test_dcgan_wants_images():
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        nn.doublings((2,))


@pytest.mark.parametrize(
    ("generator", "discriminator"),
    [
        (nn.DCGANGenerator((8, 8, 1), 4, jnp.bfloat16), nn.DCGANDiscriminator(4, dtype=jnp.bfloat16)),
        (nn.MLPGenerator((8, 8, 1), 4, dtype=jnp.bfloat16), nn.MLPDiscriminator(4, dtype=jnp.bfloat16)),
    ],
)
def test_dtype_is_of_the_computation_alone(generator, discriminator):
    z = draw(0, 2, 3)
    g = generator.init(new_key(), z, train=False)
    x = generator.apply(g, z, train=False)
    d = discriminator.init(new_key(), x, train=False)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((g, d)))
    assert x.dtype == discriminator.apply(d, x, train=False).dtype == jnp.float32
    text = str(jax.make_jaxpr(lambda: discriminator.apply(d, x, train=False))())
    assert "bf16[2," in text


@pytest.mark.long
def test_batch_statistics_are_shared_over_an_axis():
    x = draw(0, 8, 8, 8, 1)
    d = nn.DCGANDiscriminator(4)
    alone = nn.DCGANDiscriminator(4, axis_name=None)
    shared = nn.DCGANDiscriminator(4, axis_name="d")
    x16 = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    variables = d.init(new_key(), x16, train=False)
    apply = lambda m, x: m.apply(variables, x, train=True, mutable=["batch_stats"])  # noqa: E731
    whole, stats = apply(alone, x16)
    halves, half_stats = jax.vmap(lambda x: apply(shared, x), axis_name="d")(x16.reshape(2, 4, 16, 16, 1))
    np.testing.assert_allclose(halves.reshape(8), whole, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-5), half_stats, stats)
    local, _ = jax.vmap(lambda x: apply(alone, x))(x16.reshape(2, 4, 16, 16, 1))
    assert np.abs(local.reshape(8) - whole).max() > 1e-3
