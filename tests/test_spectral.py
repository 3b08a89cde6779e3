"""Spectral normalisation: against the SVD, and one power iteration an update."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.nn.spectral import SpectralNorm, singular_vector, spectral_norm


def normal(seed, *shape):
    return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def svd(kernel):
    return np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]))


LAYERS = {
    "dense": (lambda: nn.Dense(5), (3, 7)),
    "conv": (lambda: nn.Conv(5, (3, 3)), (2, 6, 6, 3)),
    "transpose": (lambda: nn.ConvTranspose(5, (4, 4), (2, 2)), (2, 4, 4, 3)),
}


def made(name, **options):
    make, shape = LAYERS[name]
    module, x = SpectralNorm(make(), **options), normal(0, *shape)
    return module, module.init(jax.random.key(0), x, update_stats=False), make(), x


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_converges_to_the_layer_with_a_kernel_of_spectral_norm_one(name):
    module, variables, layer, x = made(name)
    step = jax.jit(lambda v: module.apply(v, x, update_stats=True, mutable="spectral"))
    for _ in range(100):
        y, new = step(variables)
        variables = {**variables, **new}
    params = variables["params"]["layer"]
    normalised = {**params, "kernel": params["kernel"] / svd(params["kernel"])[1][0]}
    expected = layer.apply({"params": normalised}, x)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    vector = variables["spectral"]["kernel"]
    right = svd(params["kernel"])[2][0]
    np.testing.assert_allclose(abs(vector @ right), 1.0, rtol=1e-5)
    np.testing.assert_allclose(spectral_norm(params["kernel"], vector), svd(params["kernel"])[1][0], rtol=1e-5)


def test_parameters_are_those_of_the_layer_alone_and_stay_as_initialised():
    module, variables, layer, x = made("conv")
    plain = layer.init(jax.random.key(1), x)["params"]
    assert jax.tree.map(jnp.shape, variables["params"]["layer"]) == jax.tree.map(jnp.shape, plain)
    _, new = module.apply(variables, x, update_stats=True, mutable=True)
    assert set(new) == {"params", "spectral"}
    for a, b in zip(jax.tree.leaves(new["params"]), jax.tree.leaves(variables["params"]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("iterations", (1, 3))
def test_moves_by_its_iterations_when_asked_and_never_else(iterations):
    module, variables, _, x = made("dense", iterations=iterations)
    w = np.asarray(variables["params"]["layer"]["kernel"], np.float64)
    v = np.asarray(variables["spectral"]["kernel"], np.float64)
    for _ in range(iterations):
        v = w.T @ (w @ v)
        v /= np.linalg.norm(v)
    once, new = module.apply(variables, x, update_stats=True, mutable="spectral")
    np.testing.assert_allclose(new["spectral"]["kernel"], v, rtol=1e-4, atol=1e-6)

    # Without being asked: the same vectors, even if they may change, and the same output twice.
    still, kept = module.apply(variables, x, update_stats=False, mutable="spectral")
    np.testing.assert_array_equal(kept["spectral"]["kernel"], variables["spectral"]["kernel"])
    bias = variables["params"]["layer"]["bias"]
    held = x @ w / np.linalg.norm(w @ variables["spectral"]["kernel"]) + bias
    np.testing.assert_allclose(still, held, rtol=1e-4, atol=1e-5)
    # The updating call answers as the next call that does not update.
    after = module.apply({**variables, **new}, x, update_stats=False)
    np.testing.assert_array_equal(once, after)


def test_gradient_is_the_papers():
    """d|W v| / dW = u v^T, which at convergence is that of the largest singular value."""
    w = normal(2, 6, 4)
    v = singular_vector(w, normal(3, 4), 200)
    u, _, vt = svd(w)
    gradient = jax.grad(spectral_norm)(w, v)
    np.testing.assert_allclose(gradient, np.outer(u[:, 0], vt[0]), atol=1e-4)
    # The normalised kernel has no length left to change.
    along = jax.grad(lambda s: jnp.sum(s * w / spectral_norm(s * w, v)))(1.0)
    np.testing.assert_allclose(along, 0.0, atol=1e-5)


def test_no_gradient_flows_through_the_power_iteration():
    w, start = normal(4, 6, 4), normal(5, 4)
    gradient = jax.grad(lambda w: jnp.sum(singular_vector(w, start, 3)))(w)
    np.testing.assert_array_equal(gradient, 0.0)


def test_kernels_of_zeros_stay_zero_and_turn_no_vector():
    module, variables, _, x = made("dense")
    zeros = jax.tree.map(jnp.zeros_like, variables["params"])

    def loss(params):
        y, new = module.apply(
            {"params": params, "spectral": variables["spectral"]},
            x,
            update_stats=True,
            mutable="spectral",
        )
        return jnp.sum(jnp.square(y - 1.0)), (y, new)

    (_, (y, new)), gradient = jax.value_and_grad(loss, has_aux=True)(zeros)
    np.testing.assert_array_equal(y, 0.0)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))
    np.testing.assert_allclose(new["spectral"]["kernel"], variables["spectral"]["kernel"], rtol=1e-6)


def test_a_network_of_such_layers_has_lipschitz_constant_one():
    class Critic(nn.Module):
        @nn.compact
        def __call__(self, x, update_stats):
            for width in (16, 16, 1):
                x = SpectralNorm(nn.Dense(width))(nn.relu(x), update_stats=update_stats)
            return x[:, 0]

    critic, x = Critic(), 5 * normal(6, 64, 8)
    variables = critic.init(jax.random.key(0), x, update_stats=False)
    step = jax.jit(lambda v: critic.apply(v, x, update_stats=True, mutable="spectral")[1])
    for _ in range(100):
        variables = {**variables, **step(variables)}
    slopes = jax.grad(lambda x: jnp.sum(critic.apply(variables, x, update_stats=False)))(x)
    assert np.linalg.norm(slopes, axis=1).max() <= 1 + 1e-4
