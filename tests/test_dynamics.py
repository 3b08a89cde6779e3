"""Dynamics against the theory of Mescheder et al. 2018 and against the turns that train."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.dynamics import (
    alternating,
    dirac_gan,
    eigenvalues,
    jacobian,
    leading_eigenvalues,
    simultaneous,
    trajectory,
    vector_field,
)
from jaxgan.errors import InputError
from jaxgan.state import TrainState
from jaxgan.turns import descend, sequence, together
from jaxgan.typing import Aux

TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """The dtype of a test's parameters, with 64-bit types allowed for float64 alone."""
    with jax.enable_x64(request.param == "float64"):
        yield jnp.dtype(request.param)


def start(dtype, theta=0.0, psi=0.0):
    """A state of the Dirac-GAN, in the shape that networks have."""
    return {
        "discriminator": {"psi": jnp.asarray(psi, dtype)},
        "generator": {"theta": jnp.asarray(theta, dtype)},
    }


def expected_eigenvalues(gamma, slope=0.5):
    root = np.emath.sqrt(gamma**2 / 4 - slope**2)
    return np.array([-gamma / 2 + root, -gamma / 2 - root])


def assert_close(got, want, dtype, scale=1):
    tolerance = TOLERANCE[dtype.name] * scale
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


# The Dirac-GAN's eigenvalues.

GAMMAS = [0.0, 0.1, 0.9, 1.1, 3.0, *np.random.default_rng(0).uniform(0, 4, 3).tolist()]


@pytest.mark.parametrize("gamma", GAMMAS)
def test_eigenvalues_of_the_dirac_gan(gamma, dtype):
    got = eigenvalues(vector_field(dirac_gan(gamma)), start(dtype))
    assert_close(got, expected_eigenvalues(gamma), dtype)


def test_eigenvalues_coincide_at_the_critical_gamma(dtype):
    # A defective matrix: a rounding error of eps moves its eigenvalues by sqrt(eps).
    got = eigenvalues(vector_field(dirac_gan(1.0)), start(dtype))
    np.testing.assert_allclose(got, -0.5, atol=4 * np.sqrt(jnp.finfo(dtype).eps))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
def test_eigenvalues_of_the_wasserstein_dirac_gan(gamma, dtype):
    got = eigenvalues(vector_field(dirac_gan(gamma, f=lambda t: t)), start(dtype))
    assert_close(got, expected_eigenvalues(gamma, slope=1.0), dtype)


def test_field_of_the_dirac_gan_away_from_equilibrium(dtype):
    # v = (psi s, -theta s - gamma psi), s = sigmoid(psi theta): the gradients by hand.
    theta, psi, gamma = 1.3, -0.7, 0.4
    got = vector_field(dirac_gan(gamma))(start(dtype, theta, psi))
    s = 1 / (1 + np.exp(-psi * theta))
    assert_close(got["generator"]["theta"], psi * s, dtype)
    assert_close(got["discriminator"]["psi"], -theta * s - gamma * psi, dtype)


def test_a_sweep_over_gamma_is_one_vmap():
    with jax.enable_x64(True):
        dtype = jnp.dtype("float64")

        def values(gamma):
            return eigenvalues(vector_field(dirac_gan(gamma)), start(dtype))

        gammas = jnp.asarray([0.0, 0.3, 2.0], dtype)
        want = np.stack([expected_eigenvalues(float(gamma)) for gamma in gammas])
        assert_close(jax.vmap(values)(gammas), want, dtype)
        # The largest real part -gamma / 2 falls at slope -1/2 while the eigenvalues are complex.
        assert_close(jax.grad(lambda gamma: jnp.max(values(gamma).real))(0.3), -0.5, dtype)


# Steps.


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.7])
@pytest.mark.parametrize("h", [0.01, 0.2, 1.0])
def test_operators_have_the_jacobians_of_the_theory(gamma, h, dtype):
    field, at = vector_field(dirac_gan(gamma)), start(dtype)
    v = np.array([[-gamma, -0.5], [0.5, 0.0]])  # rows and columns: discriminator, generator
    assert_close(jacobian(field, at), v, dtype)
    assert_close(jacobian(simultaneous(field, h), at), np.eye(2) + h * v, dtype)
    first, second = (np.eye(2) + h * np.diag([d, 1 - d]) @ v for d in (1, 0))
    assert_close(jacobian(alternating(field, h), at), second @ first, dtype)
    reverse = alternating(field, h, order=("generator", "discriminator"))
    assert_close(jacobian(reverse, at), first @ second, dtype)
    twice = alternating(field, h, order=("discriminator", "discriminator", "generator"))
    assert_close(jacobian(twice, at), second @ first @ first, dtype)


@pytest.mark.parametrize("h", [0.01, 0.1, 0.5, 1.0, 3.9])
def test_simultaneous_steps_grow_and_alternating_ones_do_not(h, dtype):
    field, at = vector_field(dirac_gan()), start(dtype)
    assert_close(abs(eigenvalues(simultaneous(field, h), at)), np.sqrt(1 + h**2 / 4), dtype)
    assert_close(abs(eigenvalues(alternating(field, h), at)), 1, dtype, scale=10)


def test_alternating_steps_leave_the_circle_beyond_h_of_four(dtype):
    # The determinant is 1 and the trace 2 - h^2 / 4: the eigenvalues are real where abs(trace) > 2.
    h = 4.5
    got = eigenvalues(alternating(vector_field(dirac_gan()), h), start(dtype))
    assert_close(np.sort(got.real), np.sort(np.roots([1, h**2 / 4 - 2, 1])), dtype, scale=10)


# Trajectories: of the operators, and of the turns that train.


def turn_path(turn, losses, params, h, steps):
    """The parameters that a turn walks through, beginning with the start."""

    def loss(player):
        return lambda own, state, *_: (losses[player](state.params | {player: own}), Aux({}))

    tx = optax.sgd(h)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state={player: tx.init(own) for player, own in params.items()},
        variables={},
        memory={},
        average={},
    )
    turns = (descend(player, loss(player), tx) for player in ("discriminator", "generator"))
    step = turn(*turns)

    def body(state, key):
        return step(state, {}, key)[0], state.params

    last, path = jax.lax.scan(body, state, jax.random.split(jax.random.key(0), steps))
    return jax.tree.map(lambda xs, x: jnp.append(xs, x), path, last.params)


@pytest.mark.parametrize("gamma", [0.0, 0.8])
@pytest.mark.parametrize("h", [0.05, 0.4])
@pytest.mark.parametrize(("turn", "operator"), [(together, simultaneous), (sequence, alternating)])
def test_turns_walk_the_operators_trajectory(turn, operator, gamma, h, dtype):
    losses, params = dirac_gan(gamma), start(dtype, 1.0, -0.5)
    path = trajectory(operator(vector_field(losses), h), params, 60)
    walked = turn_path(turn, losses, params, h, 60)
    jax.tree.map(lambda a, b: assert_close(a, b, dtype), walked, path)
    assert path["generator"]["theta"].shape == (61,)
    assert path["generator"]["theta"][0] == 1.0


@pytest.mark.parametrize("h", [0.1, 0.5])
def test_measured_growth_of_turns(h, dtype):
    # So near the equilibrium that sigmoid(psi theta) is 1/2 to rounding.
    near, steps = {"float32": 1e-4, "float64": 1e-7}[dtype.name], 40
    params = start(dtype, near, 0.0)
    path = turn_path(together, dirac_gan(), params, h, steps)
    radius = np.hypot(path["generator"]["theta"], path["discriminator"]["psi"])
    assert_close(radius[1:] / radius[:-1], np.sqrt(1 + h**2 / 4), dtype)
    # Alternating steps conserve psi^2 + theta^2 - (h / 2) psi theta: an ellipse, for ever.
    path = turn_path(sequence, dirac_gan(), params, h, 400)
    theta, psi = (np.asarray(path[p][n]) / near for p, n in (("generator", "theta"), ("discriminator", "psi")))
    conserved = psi**2 + theta**2 - h / 2 * psi * theta
    assert_close(conserved, conserved[0], dtype, scale=10)


@pytest.mark.parametrize("gamma", [0.4, 1.5])
@pytest.mark.parametrize(("turn", "operator"), [(together, simultaneous), (sequence, alternating)])
def test_measured_decay_of_turns_is_the_spectral_radius(turn, operator, gamma):
    with jax.enable_x64(True):
        dtype, h, steps = jnp.dtype("float64"), 0.3, 300
        step = operator(vector_field(dirac_gan(gamma)), h)
        radius = float(max(abs(eigenvalues(step, start(dtype)))))
        path = turn_path(turn, dirac_gan(gamma), start(dtype, 1e-3, 0.0), h, steps)
        theta, psi = path["generator"]["theta"], path["discriminator"]["psi"]
        size = np.maximum(np.hypot(theta, psi), 1e-300)
        # Oscillation averages out over many turns.
        rate = np.exp(np.polyfit(np.arange(100, steps), np.log(size[100:steps]), 1)[0])
        assert radius < 1
        assert abs(rate - radius) < 2e-3


# General games, small and large.


def quadratic_game(d, gamma, dtype, seed=0):
    """min over x, max over y of x' A y - gamma / 2 y' y: eigenvalues -g/2 +- sqrt(g^2/4 - s^2)."""
    a = np.random.default_rng(seed).normal(size=(d, d)) / np.sqrt(d)
    matrix = jnp.asarray(a, dtype)

    def payoff(params):
        y = params["y"]["b"]
        return params["x"]["a"] @ matrix @ y - gamma / 2 * y @ y

    losses = {"x": payoff, "y": lambda params: -payoff(params)}
    singular = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    root = np.emath.sqrt(gamma**2 / 4 - singular**2 + 0j)
    values = np.concatenate([-gamma / 2 + root, -gamma / 2 - root])
    zeros = {"x": {"a": jnp.zeros(d, dtype)}, "y": {"b": jnp.zeros(d, dtype)}}
    return vector_field(losses), zeros, values


def test_jacobian_is_the_field_differentiated_in_every_direction(dtype):
    def loss(params):
        return jnp.sum(jnp.sin(params["x"]["w"]) * params["y"] ** 2)

    field = vector_field({"x": loss, "y": lambda p: -loss(p) + p["y"] ** 4})
    params = {"x": {"w": jnp.asarray([[0.3, -1.0]], dtype)}, "y": jnp.asarray(0.7, dtype)}
    # By hand: v_x = -cos(w) y^2, v_y = 2 y sum(sin w) - 4 y^3.
    w, y = np.array([0.3, -1.0]), 0.7
    want = np.zeros((3, 3))
    want[:2, :2] = np.diag(np.sin(w) * y**2)
    want[:2, 2] = -np.cos(w) * 2 * y
    want[2, :2] = 2 * y * np.cos(w)
    want[2, 2] = 2 * np.sin(w).sum() - 12 * y**2
    assert_close(jax.jit(lambda at: jacobian(field, at))(params), want, dtype)


@pytest.mark.parametrize(("gamma", "which"), [(0.7, "LR"), (0.05, "LM"), (3.0, "SR")])
def test_leading_eigenvalues_without_the_matrix(gamma, which, dtype):
    field, zeros, want = quadratic_game(20, gamma, dtype)
    rank = {"LR": -want.real, "LM": -abs(want), "SR": want.real}[which]
    k = 4
    got = leading_eigenvalues(field, zeros, k, which)
    assert len(got) == k
    # Ties of rank (all complex pairs share one real part) may be broken either way.
    cutoff = np.sort(rank)[k - 1]
    scale = {"float32": 1e-4, "float64": 1e-8}[dtype.name]
    for value in got:
        nearest = np.argmin(abs(want - value))
        assert abs(want[nearest] - value) < scale
        assert rank[nearest] <= cutoff + scale
    dense = jax.jit(lambda at: eigenvalues(field, at))(zeros)
    assert_close(np.sort(dense.real), np.sort(want.real), dtype, scale=100)
    assert_close(np.sort(dense.imag), np.sort(want.imag), dtype, scale=100)


def test_leading_eigenvalues_of_a_step_are_its_spectral_radius():
    with jax.enable_x64(True):
        field, zeros, values = quadratic_game(20, 0.5, jnp.dtype("float64"))
        h = 0.3
        got = leading_eigenvalues(simultaneous(field, h), zeros, 2, "LM")
        again = leading_eigenvalues(simultaneous(field, h), zeros, 2, "LM")
        np.testing.assert_array_equal(got, again)
        np.testing.assert_allclose(abs(got).max(), abs(1 + h * values).max(), rtol=1e-9)


# Bad input.


def test_bad_input():
    field = vector_field(dirac_gan())
    with pytest.raises(InputError, match=r"losses for \['discriminator', 'generator'\]"):
        field({"generator": 0.0})
    params = start("float32")
    with pytest.raises(InputError, match="Did you mean 'generator'"):
        alternating(field, 0.1, order=("generater",))(params)
    with pytest.raises(InputError, match="int32"):
        jacobian(field, {"generator": 0, "discriminator": 0})
    with pytest.raises(InputError, match=r"k is 6; of 2 eigenvalues"):
        leading_eigenvalues(field, params)
