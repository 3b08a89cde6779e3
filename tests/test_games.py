"""Rules of games: against closed forms on bilinear games, explicit Jacobians, and loops written out."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from jaxgan.errors import InputError
from jaxgan.games import (
    Lookahead,
    consensus,
    extragradient,
    look_ahead,
    symplectic,
    unroll,
    unrolled,
    with_slow_weights,
)
from jaxgan.state import TrainState
from jaxgan.transforms import clip_weights
from jaxgan.turns import descend, sequence, together, train_step
from jaxgan.typing import Aux

H, SIGMAS = 0.3, np.array([1.0, 0.8, 0.6])
BATCH = {"image": np.arange(6.0)[:, None] / 6}


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def new_key():
    return jax.random.key(0)


def make_state(params, txs):
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state={player: txs[player].init(own) for player, own in params.items()},
        variables={"x": {"seen": jnp.zeros(())}, "y": {}},
        memory={},
        average={},
    )


# Bilinear games, min over x, max over y of x' A y: the gradients are S z with an antisymmetric S.


def bilinear():
    """The losses, the start and S; the singular values of A are SIGMAS."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(2))
    a = jnp.asarray(left @ np.diag(SIGMAS) @ right)

    def x_loss(params, state, batch, key):
        return params @ a @ state.params["y"], Aux({})

    def y_loss(params, state, batch, key):
        return -state.params["x"] @ a @ params, Aux({})

    zero = np.zeros((3, 3))
    params = {player: jnp.asarray(rng.normal(size=3)) for player in "xy"}
    return {"x": x_loss, "y": y_loss}, params, np.block([[zero, a], [-a.T, zero]])


def walk(make_turn, tx, steps, lookahead=None):
    """What a turn of the bilinear game walks through, [steps + 1, 6]."""
    losses, params, _ = bilinear()
    turns = [make_turn({player: (loss, tx) for player, loss in losses.items()})]
    step = train_step(*turns, *([] if lookahead is None else [look_ahead(lookahead)]))
    state = with_slow_weights(make_state(params, dict.fromkeys("xy", tx)), lookahead)

    def once(state, _):
        return step(state, BATCH, new_key())[0], ravel_pytree(state.params)[0]

    last, path = jax.jit(lambda state: jax.lax.scan(once, state, length=steps))(state)
    return np.concatenate([path, ravel_pytree(last.params)[0][None]])


def simultaneous(game):
    return together(*(descend(player, loss, tx) for player, (loss, tx) in game.items()))


def alternating(game):
    return sequence(*(descend(player, loss, tx) for player, (loss, tx) in game.items()))


def rate(path):
    """By how much the distance to the equilibrium is multiplied in a step; turning around it averages out."""
    size, n = np.log(np.linalg.norm(path, axis=1)), len(path)
    return np.exp(np.polyfit(np.arange(n // 2, n), size[n // 2 :], 1)[0])


def largest(*rows):
    """The largest modulus over the eigenvalues of a matrix for each singular value."""
    matrices = np.broadcast_arrays(*(np.asarray(entry, complex) * np.ones(3) for row in rows for entry in row))
    return abs(np.linalg.eigvals(np.stack(matrices, -1).reshape(3, len(rows), len(rows)))).max()


W = H * SIGMAS  # step size times frequency: on each plane the gradients are those of a rotation
BETA = -0.5
# The last row of each: the moduli of the eigenvalues, with i W for H S.
RATES = {
    "simultaneous": (simultaneous, optax.sgd(H), np.sqrt(1 + W**2).max()),
    "extragradient": (extragradient, optax.sgd(H), np.sqrt(1 - W**2 + W**4).max()),
    # z' = z - 2 H S z + H S z_before
    "optimistic": (
        simultaneous,
        optax.optimistic_gradient_descent(H),
        largest([1 - 2j * W, 1j * W], [1, 0]),
    ),
    "consensus": (
        partial(consensus, weight=0.7),
        optax.sgd(H),
        np.sqrt((1 - 0.7 * H * SIGMAS**2) ** 2 + W**2).max(),
    ),
    # On a bilinear game J is its own antisymmetric part: what consensus does, aligned or not.
    "symplectic": (
        partial(symplectic, weight=0.7),
        optax.sgd(H),
        np.sqrt((1 - 0.7 * H * SIGMAS**2) ** 2 + W**2).max(),
    ),
    # y after 3 steps is y + 3 H A' x, and the gradient by x of x' A y + 3 H |A' x|^2 is A y + 6 H A A' x.
    "unrolled": (
        partial(unrolled, player="x", steps=3),
        optax.sgd(H),
        largest([1 - 6 * W**2, -W], [W, 1]),
    ),
    # x' = x + m, m' = BETA m - H A y; then y from the x' that it sees: (x, y, m, n).
    "negative momentum": (
        alternating,
        optax.sgd(H, momentum=BETA),
        largest(
            [1, -W, BETA, 0],
            [W, 1 - W**2, BETA * W, BETA],
            [0, -W, BETA, 0],
            [W, -(W**2), BETA * W, BETA],
        ),
    ),
}


@pytest.mark.parametrize("name", RATES)
def test_rate_on_the_bilinear_game(name):
    rule, tx, expected = RATES[name]
    path = walk(rule, tx, 1500)
    assert rate(path) == pytest.approx(expected, abs=1e-4)
    assert (expected < 1) == (name != "simultaneous")


def test_alternating_steps_stay_bounded_on_the_bilinear_game():
    path = walk(alternating, optax.sgd(H), 1500)
    _, _, s = bilinear()
    # |x|^2 + |y|^2 - H x' A y is kept: an ellipse.
    x, y = np.split(path, 2, axis=1)
    kept = np.sum(path**2, axis=1) - H * np.sum(x * (y @ s[:3, 3:].T), axis=1)
    np.testing.assert_allclose(kept, kept[0], rtol=1e-9)


def test_simultaneous_negative_momentum_diverges():
    """Gidel et al. 2019b: it needs alternating steps."""
    expected = largest([1 - 1j * W, BETA], [-1j * W, BETA])
    assert expected > 1
    assert rate(walk(simultaneous, optax.sgd(H, momentum=BETA), 1500)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("k", "alpha"), [(1, 0.5), (4, 0.5), (7, 0.3)])
def test_lookahead_on_the_bilinear_game(k, alpha):
    """Every k steps z is (1 - alpha) z_before + alpha (I - H S)^k z_before; in between the players go as always."""
    _, _, s = bilinear()
    path = walk(simultaneous, optax.sgd(H), 60, Lookahead(k, alpha))
    step = np.eye(6) - H * s
    z = slow = path[0]
    for t in range(1, 61):
        z = step @ z
        if t % k == 0:
            z = slow = slow + alpha * (z - slow)
        np.testing.assert_allclose(path[t], z, rtol=1e-9, atol=1e-12)


def test_lookahead_tames_simultaneous_steps():
    k, alpha = 6, 0.5
    expected = abs(1 - alpha + alpha * (1 - 1j * W) ** k).max()
    path = walk(simultaneous, optax.sgd(H), 900 * k, Lookahead(k, alpha))
    assert expected < 1 and rate(path[::k]) == pytest.approx(expected, abs=1e-4)


# Nonlinear games.


def general(key_matters=False):
    """Two players with parameters of several shapes, a batch, and losses that return variables."""

    def x_loss(params, state, batch, key):
        y = state.params["y"]
        hidden = jnp.tanh(batch["image"] * params["w"] + params["b"])
        value = jnp.mean(jnp.sin(hidden @ y["v"])) + 0.3 * jnp.sum(params["w"] ** 3) + y["c"] * params["b"][0] ** 2
        return value, Aux({"hidden": jnp.mean(hidden)}, {"x": {"seen": jnp.mean(hidden)}})

    def y_loss(params, state, batch, key):
        x = state.params["x"]
        hidden = jnp.tanh(batch["image"] * x["w"] + x["b"])
        value = -jnp.mean(jnp.sin(hidden @ params["v"]) * 1.5) + jnp.cos(params["c"]) * jnp.sum(x["w"])
        return value + 0.2 * jnp.sum(params["v"] ** 4), Aux({})

    def params(seed):
        draws = np.random.default_rng(seed)
        x = {"w": jnp.asarray(draws.normal(size=(1, 2))), "b": jnp.asarray(draws.normal(size=2))}
        return {"x": x, "y": {"v": jnp.asarray(draws.normal(size=2)), "c": jnp.asarray(draws.normal())}}

    return {"x": x_loss, "y": y_loss}, params


def explicit(seed):
    """xi and its Jacobian as arrays, column by column."""
    losses, params = general()
    start, unravel = ravel_pytree(params(seed))

    def xi(flat):
        at = unravel(flat)
        state = make_state(at, dict.fromkeys("xy", optax.sgd(1.0)))
        grads = {p: jax.grad(lambda own, p=p: losses[p](own, state, BATCH, None)[0])(at[p]) for p in "xy"}
        return ravel_pytree(grads)[0]

    return np.asarray(xi(start)), np.asarray(jax.jacfwd(xi)(start))


def step_of(rule, seed, tx=None):
    """What a rule takes off the parameters, and the state and metrics after it."""
    losses, params = general()
    tx = optax.sgd(1.0) if tx is None else tx
    state = make_state(params(seed), dict.fromkeys("xy", tx))
    new, metrics = jax.jit(rule({p: (loss, tx) for p, loss in losses.items()}))(state, BATCH, new_key())
    return np.asarray(ravel_pytree(state.params)[0] - ravel_pytree(new.params)[0]), new, metrics


@pytest.mark.parametrize("seed", range(3))
def test_consensus_is_that_of_the_explicit_jacobian(seed):
    xi, j = explicit(seed)
    taken, _, _ = step_of(partial(consensus, weight=0.4), seed)
    np.testing.assert_allclose(taken, xi + 0.4 * j.T @ xi, rtol=1e-9, atol=1e-12)
    assert not np.allclose(j, j.T, atol=0.1) and not np.allclose(j, -j.T, atol=0.1)


def test_symplectic_adjustment_is_that_of_the_explicit_jacobian():
    signs = set()
    for seed in range(8):
        xi, j = explicit(seed)
        h, adjustment = j.T @ xi, (j - j.T).T @ xi / 2
        sign = np.sign((xi @ h) * (adjustment @ h) / len(xi) + 0.1)
        taken, _, _ = step_of(partial(symplectic, weight=0.4), seed)
        np.testing.assert_allclose(taken, xi + 0.4 * sign * adjustment, rtol=1e-9, atol=1e-12)
        signs.add(sign)
    assert signs == {1.0, -1.0}


@pytest.mark.parametrize("rule", [partial(consensus, weight=0.0), partial(symplectic, weight=0.0)])
def test_without_weight_a_rule_is_simultaneous_descent(rule):
    expected, expected_state, expected_metrics = step_of(simultaneous, 0, optax.adam(0.1))
    taken, state, metrics = step_of(rule, 0, optax.adam(0.1))
    assert metrics.keys() == expected_metrics.keys()
    for got, want in ((taken, expected), (state, expected_state), (metrics, expected_metrics)):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-12), got, want)


def test_extragradient_with_adam_is_algorithm_4_written_out():
    """Two updates of the moments a step; both start from the same parameters."""
    losses, params = general()
    b1, b2, eta, eps = 0.5, 0.9, 0.1, 1e-8
    tx = optax.adam(eta, b1, b2, eps)
    rule = extragradient({p: (loss, tx) for p, loss in losses.items()})
    state = make_state(params(1), dict.fromkeys("xy", tx))
    start, unravel = ravel_pytree(params(1))

    def xi(flat):
        at = unravel(flat)
        seen = state.replace(params=at)
        return np.asarray(
            ravel_pytree({p: jax.grad(lambda own, p=p: losses[p](own, seen, BATCH, None)[0])(at[p]) for p in "xy"})[0]
        )

    z, m, v, count = np.asarray(start), 0.0, 0.0, 0
    for _ in range(3):
        at = z
        for _ in range(2):
            g = xi(jnp.asarray(at))
            m, v, count = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2, count + 1
            at = z - eta * m / (1 - b1**count) / (np.sqrt(v / (1 - b2**count)) + eps)
        z = at
        first_loss = losses["x"](state.params["x"], state, BATCH, None)[0]
        state, metrics = jax.jit(rule)(state, BATCH, new_key())
        assert metrics["x_loss"] == pytest.approx(float(first_loss))
    np.testing.assert_allclose(ravel_pytree(state.params)[0], z, rtol=1e-9)


def test_extragradient_meets_constraints():
    tx = optax.chain(optax.sgd(1.0), clip_weights(0.3))
    _, state, _ = step_of(extragradient, 0, tx)
    assert max(abs(ravel_pytree(state.params)[0])) == 0.3


@pytest.mark.parametrize("b1", [0.5, -0.5])
def test_optimistic_adam_of_optax_is_the_papers(b1):
    """Daskalakis et al. 2018, algorithm 1, with gradients that are given; momentum may be negative."""
    eta, b2, eps = 0.1, 0.9, 1e-8
    tx = optax.optimistic_adam_v2(eta, b1=b1, b2=b2, eps=eps, nesterov=False)
    grads = np.random.default_rng(0).normal(size=(6, 4))
    theta = got = np.zeros(4)
    m, v, before, opt_state = 0.0, 0.0, None, tx.init(jnp.zeros(4))
    for t, g in enumerate(grads, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        r = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        theta = theta - 2 * eta * r + eta * (r if before is None else before)
        before = r
        updates, opt_state = tx.update(jnp.asarray(g), opt_state)
        got = got + updates
    np.testing.assert_allclose(got, theta, rtol=1e-12)


# Unrolling.


@pytest.mark.parametrize(
    "tx", [optax.sgd(0.2), optax.adam(0.1, b1=0.5), optax.rmsprop(0.05)], ids=["sgd", "adam", "rms"]
)
@pytest.mark.parametrize("steps", [1, 4])
def test_unrolled_gradients_are_those_of_the_loop_written_out(tx, steps):
    losses, params = general()
    state = make_state(params(2), dict.fromkeys("xy", tx))
    # The optimiser has a past.
    grads = jax.tree.map(lambda x: 0.3 * x + 0.1, state.params["y"])
    _, past = tx.update(grads, state.opt_state["y"], state.params["y"])
    state = state.replace(opt_state=state.opt_state | {"y": past})

    def longhand(x):
        y, opt_state = state.params["y"], state.opt_state["y"]
        for _ in range(steps):
            seen = state.replace(params={"x": x, "y": y})
            grads = jax.grad(lambda own, seen=seen: losses["y"](own, seen, BATCH, None)[0])(y)
            updates, opt_state = tx.update(grads, opt_state, y)
            y = optax.apply_updates(y, updates)
        return losses["x"](x, state.replace(params={"x": x, "y": y}), BATCH, None)[0]

    loss = unroll(losses["x"], "x", {"y": (losses["y"], tx)}, steps=steps)
    (value, aux), grads = jax.value_and_grad(loss, has_aux=True)(state.params["x"], state, BATCH, new_key())
    expected, expected_grads = jax.value_and_grad(longhand)(state.params["x"])
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), grads, expected_grads)
    assert aux.metrics.keys() == {"hidden"} and aux.variables.keys() == {"x"}


def test_unrolled_turns_leave_the_others_their_own_step():
    _, expected, _ = step_of(simultaneous, 0)
    _, state, metrics = step_of(partial(unrolled, player="x", steps=3), 0)
    np.testing.assert_array_equal(state.params["y"]["v"], expected.params["y"]["v"])
    assert not np.allclose(state.params["x"]["w"], expected.params["x"]["w"])
    assert {"x_loss", "y_loss", "gradient_norm/x_loss", "hidden"} <= metrics.keys()


def test_unrolling_goes_through_adam_where_a_gradient_is_zero():
    """The weight of an input that is 0 has gradient 0, where the root of Adam's second moment has no derivative."""
    inputs = jnp.asarray([1.0, 0.0])

    def x_loss(params, state, batch, key):
        return params * (inputs @ state.params["y"]), Aux({})

    def y_loss(params, state, batch, key):
        return jnp.sin(state.params["x"]) * (inputs @ params), Aux({})

    def gradient(eps_root):
        tx = optax.adam(0.1, eps_root=eps_root)
        state = make_state({"x": jnp.asarray(0.7), "y": jnp.asarray([0.2, -1.0])}, dict.fromkeys("xy", tx))
        loss = unroll(x_loss, "x", {"y": (y_loss, tx)}, steps=3)
        return jax.grad(loss, has_aux=True)(state.params["x"], state, BATCH, new_key())[0]

    assert gradient(0.0) == pytest.approx(float(gradient(1e-14)), rel=1e-6)


def test_unrolled_steps_draw_with_keys_of_their_own():
    drawn = []

    def y_loss(params, state, batch, key):
        jax.debug.callback(lambda x: drawn.append(float(x)), jax.random.uniform(key))
        return jnp.sum(params), Aux({})

    def x_loss(params, state, batch, key):
        jax.debug.callback(lambda x: drawn.append(float(x)), jax.random.uniform(key))
        return params * state.params["y"], Aux({})

    tx = optax.sgd(0.1)
    state = make_state({"x": jnp.ones(()), "y": jnp.ones(())}, dict.fromkeys("xy", tx))
    jax.block_until_ready(unroll(x_loss, "x", {"y": (y_loss, tx)}, steps=3)(state.params["x"], state, BATCH, new_key()))
    jax.effects_barrier()
    assert len(drawn) == 4 == len(set(drawn))


def test_bad_input():
    losses, _, _ = bilinear()
    game = {player: (loss, optax.sgd(H)) for player, loss in losses.items()}
    with pytest.raises(InputError, match="no player 'z'"):
        unrolled(game, player="z")
    with pytest.raises(InputError, match="steps is 0"):
        unrolled(game, player="x", steps=0)
    with pytest.raises(InputError, match="k is 0"):
        look_ahead(Lookahead(k=0))
    with pytest.raises(InputError, match=r"alpha is 1\.5"):
        look_ahead(Lookahead(alpha=1.5))
