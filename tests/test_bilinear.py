"""The three maps of a convolution on CPUs, against XLA's convolution and JAX's derivatives of it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxgan import nn

# (images, side, channels, channels, kernel, stride, padding): on both sides of every choice of a formulation, with
# kernels that the stride divides and does not, and with pixels that no kernel reaches.
SHAPES = [
    (16, 8, 32, 17, 4, 2, 1), (16, 9, 33, 5, 3, 2, 1), (2, 8, 3, 6, 4, 2, 1), (2, 8, 1, 4, 3, 1, 1),
    (16, 7, 32, 4, 3, 1, 0), (3, 10, 2, 3, 5, 3, 0), (2, 11, 20, 3, 3, 3, 1),
    (2, 32, 17, 3, 3, 2, 1), (1, 33, 18, 3, 4, 3, 2), (1, 9, 5, 4, 7, 1, 3),
    (2, 8, 40, 20, 1, 1, 0), (2, 32, 16, 2, 5, 2, 0), (16, 9, 32, 3, 3, 1, 1),
    (3, 6, 9, 2, 2, 1, 2), (2, 8, 9, 8, 4, 1, 2), (2, 9, 3, 12, 7, 1, 3),
]  # fmt: skip


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def reference(x, kernel, *, stride, padding):
    pad = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
    )


def both(shape):
    n, side, c, d, k, stride, padding = shape
    x, kernel = draw(0, n, side, side + stride, c), draw(1, k, k, c, d) / (k * k * c) ** 0.5
    options = {"stride": stride, "padding": padding}
    return x, kernel, partial(nn.conv, **options), partial(reference, **options)


def close(tree, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4 * float(jnp.abs(b).max())), tree, other)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_first_derivatives(shape):
    x, kernel, ours, theirs = both(shape)
    out, y = ours(x, kernel), draw(2, *theirs(x, kernel).shape)
    close(out, theirs(x, kernel))
    close(jax.vjp(ours, x, kernel)[1](y), jax.vjp(theirs, x, kernel)[1](y))
    tangents = (draw(3, *x.shape), draw(4, *kernel.shape))
    close(jax.jvp(ours, (x, kernel), tangents), jax.jvp(theirs, (x, kernel), tangents))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_second_derivatives(shape):
    """Of a gradient's norm: each map is differentiated in each of its arguments."""
    x, kernel, ours, theirs = both(shape)

    def penalty(conv, x, kernel):
        gradients = jax.grad(lambda x, kernel: jnp.sum(jnp.tanh(conv(x, kernel))), (0, 1))(x, kernel)
        return sum(jnp.sum(jnp.square(g)) for g in gradients)

    close(*(jax.grad(partial(penalty, conv), (0, 1))(x, kernel) for conv in (ours, theirs)))


@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[2]], ids=str)
@pytest.mark.parametrize("axes", [(1, None), (None, 4), (0, 3)])
def test_mapped_over_either_argument(shape, axes):
    x, kernel, ours, theirs = both(shape)
    x, kernel = (
        a if at is None else jnp.moveaxis(jnp.stack([a, 2 * a, -a]), 0, at)
        for a, at in zip((x, kernel), axes, strict=True)
    )
    y = draw(2, 3, *theirs(*(jnp.take(a, 0, t) if t is not None else a for a, t in zip((x, kernel), axes))).shape)  # noqa: B905

    def gradients(conv):
        return jax.vmap(lambda x, kernel, y: jax.vjp(conv, x, kernel)[1](y), (*axes, 0))(x, kernel, y)

    close(gradients(ours), gradients(theirs))


def test_a_kernel_that_replicas_share_gets_the_sum_of_their_gradients():
    x, kernel, ours, theirs = both(SHAPES[0])
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    split, whole = PartitionSpec("data"), PartitionSpec()

    def local(x, kernel):
        return jax.grad(lambda kernel: jnp.sum(jnp.sin(ours(x, kernel))))(kernel)

    got = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(split, whole), out_specs=whole))(x, kernel)
    close(got, jax.grad(lambda kernel: jnp.sum(jnp.sin(theirs(x, kernel))))(kernel))


def test_every_convolution_of_a_scanned_step_has_the_fast_layout():
    """Also in second derivatives. In any other layout XLA computes it by plain loops."""
    x, kernel, ours, _ = both(SHAPES[0])

    def penalty(kernel):
        slope = jax.grad(lambda x: jnp.sum(jnp.tanh(ours(x, kernel))))(x)
        return jnp.sum(jnp.square(slope))

    steps = jax.jit(lambda kernel: jax.lax.scan(lambda k, _: (k - jax.grad(penalty)(k), None), kernel, length=3)[0])
    lines = [line for line in steps.lower(kernel).compile().as_text().splitlines() if " convolution(" in line]
    assert len(lines) >= 4
    assert all("dim_labels=b01f_01io->b01f" in line for line in lines), lines
