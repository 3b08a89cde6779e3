"""Sums over positions, their transpose, and batch normalisation, which is made of them."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from jaxgan import nn
from jaxgan.nn.sums import spread, total

SHAPE = (6, 5, 7, 3)


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("images", [False, True])
def test_they_are_a_sum_and_a_broadcast_with_all_derivatives(images):
    x, axes = draw(0, *SHAPE), (1, 2) if images else (0, 1, 2)
    v = draw(1, *((6, 3) if images else (3,)))
    wide = v[:, None, None] if images else v
    np.testing.assert_allclose(total(x, images=images), x.sum(axes), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(spread(v, SHAPE), jnp.broadcast_to(wide, SHAPE))

    def ours(x, v):
        return jnp.sum(jnp.sin(total(x * spread(v, SHAPE), images=images)))

    def theirs(x, v):
        return jnp.sum(jnp.sin(jnp.sum(x * (v[:, None, None] if images else v), axes)))

    for derivative in (lambda f: jax.grad(f, (0, 1)), lambda f: jax.jacfwd(jax.grad(f, 1), (0, 1))):
        for a, b in zip(derivative(ours)(x, v), derivative(theirs)(x, v), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("at", [0, 2])
def test_mapped(at):
    x, v = draw(0, *SHAPE), draw(1, 6, 3)
    np.testing.assert_allclose(jax.vmap(total, at)(x), x.sum([i for i in range(3) if i != at]), rtol=1e-5, atol=1e-5)
    got = jax.vmap(lambda v: spread(v, (2, 4, 3)))(v)
    np.testing.assert_array_equal(got, jnp.broadcast_to(v[:, None, None], (6, 2, 4, 3)))


def test_replicas_that_share_a_vector_give_the_sum_of_their_gradients():
    x, v = draw(0, *SHAPE), draw(1, 3)
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    split, whole = PartitionSpec("data"), PartitionSpec()

    def local(x, v):
        return jax.grad(lambda v: jnp.sum(jnp.sin(x + spread(v, x.shape))))(v)

    got = jax.jit(jax.shard_map(local, mesh=mesh, in_specs=(split, whole), out_specs=whole))(x, v)
    np.testing.assert_allclose(got, jax.grad(lambda v: jnp.sum(jnp.sin(x + v)))(v), rtol=1e-4, atol=1e-5)


def test_no_gradient_of_a_bias_is_a_cascade_of_windows():
    def loss(v, x):
        return jnp.sum(jnp.sin(x + spread(v, x.shape)))

    x, v = draw(0, 64, 16, 16, 8), draw(1, 8)
    text = jax.jit(jax.grad(loss)).lower(v, x).compile().as_text()
    assert "reduce-window" not in text
    plain = jax.jit(jax.grad(lambda v, x: jnp.sum(jnp.sin(x + v)))).lower(v, x).compile().as_text()
    assert "reduce-window" in plain, "XLA has mended it: spread and total have had their day"


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("affine", [False, True])
def test_batch_norm_is_flax_s(running, affine):
    x, y = 3 + 2 * draw(0, *SHAPE), draw(1, *SHAPE)
    options = {"use_running_average": running, "momentum": 0.9, "use_scale": affine, "use_bias": affine}
    ours, theirs = nn.BatchNorm(**options), flax.linen.BatchNorm(**options)
    variables = theirs.init(jax.random.key(0), x)
    assert jax.tree.structure(ours.init(jax.random.key(0), x)) == jax.tree.structure(variables)
    variables = jax.tree.map(lambda leaf: leaf + 0.1 + jax.nn.sigmoid(draw(2, *leaf.shape)), variables)

    def run(module, variables, x):
        def loss(variables, x):
            out, changed = module.apply(variables, x, mutable=["batch_stats"])
            return jnp.sum(out * y), (out, changed)

        return jax.grad(loss, (0, 1), has_aux=True)(variables, x)

    for a, b in zip(*(jax.tree.leaves(run(module, variables, x)) for module in (ours, theirs)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
