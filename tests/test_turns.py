"""The turn algebra, on games whose trajectories are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.errors import InputError
from jaxgan.nn import MLPDiscriminator, MLPGenerator
from jaxgan.recipes import gan
from jaxgan.state import TrainState
from jaxgan.turns import average, descend, every, repeat, sequence, slices, together, train_step, when
from jaxgan.typing import Aux, Mean

BATCH = {"image": jnp.arange(12.0)[:, None]}
H = 0.1


def new_key():
    return jax.random.key(0)


def make_state(**memory) -> TrainState:
    """min over x, max over y of x y: the bilinear game."""
    params = {"x": {"theta": jnp.float32(1.0)}, "y": {"theta": jnp.float32(0.5)}}
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state={player: optax.sgd(H).init(p) for player, p in params.items()},
        variables={"x": {"seen": jnp.zeros(())}, "y": {}},
        memory=memory,
        average={"x": {"params": params["x"], "seen": jnp.zeros(())}},
    )


def x_loss(params, state, batch, key):
    return params["theta"] * state.params["y"]["theta"], Aux({"mean": jnp.mean(batch["image"])})


def y_loss(params, state, batch, key):
    return -params["theta"] * state.params["x"]["theta"], Aux({})


X, Y = descend("x", x_loss, optax.sgd(H)), descend("y", y_loss, optax.sgd(H))


def log_turn(state, batch, key):
    """Remembers how often it ran, and what it saw last."""
    del key
    memory = {"count": state.memory["count"] + 1, "sum": state.memory["sum"] + batch["image"].sum()}
    return state.replace(memory=memory), {"seen": batch["image"].sum()}


def position(state):
    return np.array([state.params["x"]["theta"], state.params["y"]["theta"]])


def test_simultaneous_turns_grow_at_the_bilinear_rate():
    state, turn = make_state(), jax.jit(together(X, Y))
    for t in range(1, 20):
        state, _ = turn(state, BATCH, new_key())
        # |z|^2 grows by exactly 1 + h^2 a step: the Jacobian is I + h times a rotation by 90 degrees.
        np.testing.assert_allclose(np.sum(position(state) ** 2), 1.25 * (1 + H**2) ** t, rtol=1e-5)


def test_alternating_turns_follow_the_symplectic_map():
    state, turn = make_state(), jax.jit(sequence(X, Y))
    step = np.array([[1, -H], [H, 1 - H**2]])
    expected = position(state)
    assert np.isclose(np.linalg.det(step), 1)  # area is kept: the orbit is bounded
    for _ in range(100):
        state, _ = turn(state, BATCH, new_key())
        expected = step @ expected
        np.testing.assert_allclose(position(state), expected, atol=1e-5)


def test_gradient_flows_through_own_parameters_alone():
    state, _ = X(make_state(), BATCH, new_key())
    np.testing.assert_allclose(position(state), [1 - H * 0.5, 0.5])


def test_descend_reports_loss_under_its_name_and_replaces_only_named_collections():
    def loss(params, state, batch, key):
        return params["theta"] ** 2, Aux({"a": jnp.float32(3)}, {"x": {"seen": jnp.float32(7)}})

    state = make_state()
    state = state.replace(variables={"x": {"seen": jnp.zeros(()), "other": jnp.ones(())}, "y": {}})
    state, metrics = descend("x", loss, optax.sgd(H), metric="penalty")(state, BATCH, new_key())
    assert metrics == {"penalty": 1.0, "gradient_norm/penalty": 2.0, "a": 3.0}
    assert state.variables == {"x": {"seen": 7.0, "other": 1.0}, "y": {}}


def test_repeat_gives_each_repetition_its_slice_and_the_rest_the_last_one():
    seen = []

    def record(state, batch, key):
        jax.debug.callback(lambda x: seen.append(x[:, 0].tolist()), batch["image"], ordered=True)
        return state, {}

    turn = sequence(repeat(3, record), record, repeat(3, record))
    assert slices(turn) == 3
    jax.block_until_ready(jax.jit(turn)(make_state(), BATCH, new_key()))
    jax.effects_barrier()
    three = [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    assert seen == [*three, three[-1], *three]


def test_nested_repetitions_multiply_their_slices():
    state, _ = jax.jit(sequence(repeat(2, repeat(3, log_turn)), repeat(2, log_turn)))(
        make_state(count=jnp.int32(0), sum=jnp.float32(0)), BATCH, new_key()
    )
    # Six slices of two, then the last two of the six slices: 4, 10, 5, 11.
    assert state.memory["count"] == 8
    assert state.memory["sum"] == 66 + 4 + 10 + 5 + 11


def test_repeat_is_the_turn_written_out():
    turn = repeat(4, sequence(X, Y), reuse=True)
    assert slices(turn) == 1
    state, metrics = jax.jit(turn)(make_state(), BATCH, new_key())
    expected, values = make_state(), []
    for _ in range(4):
        expected, m = sequence(X, Y)(expected, BATCH, new_key())
        values.append(m["x_loss"])
    np.testing.assert_allclose(position(state), position(expected), rtol=1e-6)
    np.testing.assert_allclose(metrics["x_loss"], np.mean(values), rtol=1e-6)
    assert metrics["mean"] == 5.5


def test_every_turn_draws_with_a_key_of_its_own():
    drawn = []

    def draw(state, batch, key):
        jax.debug.callback(lambda x: drawn.append(float(x)), jax.random.uniform(key))
        return state, {}

    step, key = jax.jit(train_step(draw, repeat(3, draw, reuse=True), draw, draw)), new_key()
    state, _ = step(make_state(), BATCH, key)
    state, _ = step(state, BATCH, key)  # the same key: the step number is folded in
    jax.effects_barrier()
    assert len(drawn) == 12 == len(set(drawn))
    assert state.step == 2


def test_every_runs_on_multiples_and_touches_nothing_otherwise():
    step = jax.jit(train_step(every(3, log_turn)))
    state = make_state(count=jnp.int32(0), sum=jnp.float32(0))
    total = Mean(0.0, 0.0)
    for t in range(7):
        before = position(state)
        state, metrics = step(state, BATCH, new_key())
        assert metrics["seen"].count == (t % 3 == 0)
        total = jax.tree.map(jnp.add, total, metrics["seen"])
        np.testing.assert_array_equal(position(state), before)
    assert state.memory["count"] == 3  # steps 0, 3 and 6
    assert total.total / total.count == 66


def test_a_lazy_turn_skips_its_work():
    compiled = jax.jit(every(2, X)).lower(make_state(), BATCH, new_key()).compile()
    assert "conditional" in compiled.as_text()


def test_when_and_repeat_carry_only_what_the_turn_changes():
    jaxpr = jax.make_jaxpr(when(lambda s: s.step < 1, repeat(3, X)))(make_state(), BATCH, new_key())
    cond = next(e for e in jaxpr.eqns if e.primitive.name == "cond")
    # x's only parameter, and total and count of three metrics.
    assert len(cond.outvars) == 1 + 3 * 2
    scan = next(e for e in cond.params["branches"][1].eqns if e.primitive.name == "scan")
    assert len(scan.outvars) == 1 + 3


@pytest.mark.parametrize("half_life", [12.0, 120.0, 0.0])
def test_average_halves_after_half_life_images(half_life):
    steps = int(half_life // 12) or 1  # 12 images a step
    state = make_state()
    state = state.replace(average={"x": {"params": {"theta": jnp.float32(3.0)}, "seen": jnp.float32(2.0)}})
    turn = jax.jit(average("x", half_life))
    for _ in range(steps):
        state, _ = turn(state, BATCH, new_key())
    weight = 0.5 if half_life else 0.0
    np.testing.assert_allclose(state.average["x"]["params"]["theta"], weight * 3 + (1 - weight) * 1, rtol=1e-5)
    np.testing.assert_allclose(state.average["x"]["seen"], weight * 2, rtol=1e-5)


def test_together_computes_the_generators_forward_pass_once():
    def flops(simultaneous):
        g = gan(MLPGenerator((2,), 64, 2), MLPDiscriminator(1, 1), latent_dim=64, simultaneous=simultaneous)
        state = jax.eval_shape(g.init, new_key())
        batch = {"image": jax.ShapeDtypeStruct((32, 2), jnp.float32)}
        compiled = jax.jit(g.step).lower(state, batch, new_key()).compile()
        return compiled.cost_analysis()["flops"]

    # Two layers of 64 x 64 and one of 64 x 2, a multiplication and an addition each, for 32 examples.
    forward = 2 * 32 * (64 * 64 * 2 + 64 * 2)
    assert forward < flops(False) - flops(True) < 2 * forward


def test_together_refuses_turns_that_change_the_same_part():
    with pytest.raises(InputError, match=r"params\.x"):
        together(X, X)(make_state(), BATCH, new_key())


def test_slices_must_fit():
    with pytest.raises(InputError, match=r"12 examples does not divide into 5 equal slices.*10 or 15"):
        repeat(5, X)(make_state(), BATCH, new_key())
    with pytest.raises(InputError, match="2 and 3 slices"):
        sequence(repeat(2, X), repeat(3, Y))
    with pytest.raises(InputError, match="n = 0"):
        repeat(0, X)
    with pytest.raises(InputError, match="k = 0"):
        every(0, X)
