"""Gradient transformations: exact to the last bit, alone and inside optax's wrappers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan.errors import InputError
from jaxgan.transforms import (
    clip_weights,
    lazy_adam,
    orthogonal_regularization,
    project,
    skip_nonfinite,
    spectral_projection,
)

N = 1_000_000


def apply(tx, params, grads, state=None):
    state = tx.init(params) if state is None else state
    updates, state = tx.update(grads, state, params)
    return optax.apply_updates(params, updates), state


def scattered(dtype, clip, seed=0, n=N):
    """Weights from deep inside the box to a thousand times its size, and updates of any size."""
    rng = np.random.default_rng(seed)
    p, u = (clip * rng.normal(size=n) * 10 ** rng.uniform(-3, 3, n) for _ in range(2))
    return jnp.asarray(p, dtype), jnp.asarray(u, dtype)


def bits(tree):
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(tree)]


# clip_weights


@pytest.mark.parametrize("dtype", (jnp.float32, jnp.bfloat16, jnp.float16))
@pytest.mark.parametrize("clip", (0.01, 0.1, 1.0, 3e-5))
@pytest.mark.parametrize("compiled", ("whole", "update"))
def test_clip_is_exact(dtype, clip, compiled):
    tx = clip_weights(clip)
    p, u = scattered(dtype, clip)
    if compiled == "whole":
        new = jax.jit(lambda p, u: apply(tx, p, u)[0])(p, u)
    else:
        updates, _ = jax.jit(lambda p, u: tx.update(u, tx.init(p), p))(p, u)
        new = optax.apply_updates(p, updates)
    assert new.dtype == dtype
    wide = np.asarray(new).astype(np.float64)
    assert np.abs(wide).max() <= clip  # in real numbers, not in those of the dtype

    # And close to the clipped weight: by how finely an update of that size can move this weight.
    target = np.clip(np.asarray(p + u).astype(np.float64), -clip, clip)
    scale = np.maximum(np.abs(np.asarray(p).astype(np.float64)), np.abs(target))
    tiny = float(jnp.finfo(dtype).smallest_subnormal)
    assert (np.abs(wide - target) <= 2.5 * float(jnp.finfo(dtype).eps) * scale + tiny).all()


def test_a_plain_difference_would_leave_the_box():
    # What the transform is for: without its correction the trap is real for these weights.
    p, u = scattered(jnp.float32, 0.01)
    naive = p + (jnp.clip(p + u, -0.01, 0.01) - p)
    assert np.mean(np.abs(np.asarray(naive)) > np.float32(0.01)) > 1e-4


def test_clip_moves_weights_inside_the_box_as_the_optimiser_says():
    p, u = jnp.float32([0.003, -0.004]), jnp.float32([0.002, 0.001])
    np.testing.assert_allclose(apply(clip_weights(0.01), p, u)[0], p + u, rtol=1e-6)


@pytest.mark.parametrize("clip", (1e-30, 3e-37, 2e-38, 1e-39))
def test_clip_to_next_to_nothing(clip):
    # Near the end of float32 differences of weights are subnormal numbers, which XLA flushes.
    for p in (scattered(jnp.float32, clip)[0], scattered(jnp.float32, 1.0)[0]):
        new, _ = apply(clip_weights(clip), p, 0 * p)
        assert np.abs(np.asarray(new, np.float64)).max() <= clip


@pytest.mark.parametrize("dtype", (jnp.float32, jnp.bfloat16))
def test_clip_may_be_traced(dtype):
    clips = jnp.float32([0.01, 0.1, 0.3, 1.0])
    p, u = scattered(dtype, 0.1, n=100_000)
    swept = jax.jit(jax.vmap(lambda c: apply(clip_weights(c), p, u)[0]))(clips)
    for new, clip in zip(swept, clips, strict=True):
        assert np.abs(np.asarray(new, np.float64)).max() <= float(clip)
        np.testing.assert_array_equal(new, apply(clip_weights(float(clip)), p, u)[0])


def test_clip_in_float64():
    with jax.enable_x64(True):
        p, u = scattered(jnp.float64, 0.1)
        new = np.asarray(apply(clip_weights(0.1), p, u)[0])
        assert np.abs(new).max() <= 0.1
        np.testing.assert_allclose(new, np.clip(p + u, -0.1, 0.1), rtol=0, atol=1e-12)
        traced = apply(clip_weights(jnp.float32(0.1)), p, u)[0]
        assert np.abs(np.asarray(traced)).max() <= float(np.float32(0.1))


@pytest.mark.parametrize("dtype", (jnp.float32, jnp.bfloat16))
def test_clip_is_differentiable(dtype):
    """By its update a weight moves with slope 1 inside of the box, and not at all on its border."""
    p, u = jnp.asarray([0.25, -0.25, 0.5], dtype), jnp.asarray([0.125, 0.5, -1.25], dtype)
    new, slope = jax.jvp(lambda u: apply(clip_weights(0.5), p, u)[0], (u,), (jnp.ones_like(u),))
    np.testing.assert_array_equal(new, [0.375, 0.25, -0.5])
    np.testing.assert_array_equal(slope, [1, 1, 0])


def test_float32_updates_of_bfloat16_weights():
    p, _ = scattered(jnp.bfloat16, 0.01)
    _, u = scattered(jnp.float32, 0.01)
    new = jax.jit(lambda p, u: apply(clip_weights(0.01), p, u)[0])(p, u)
    assert new.dtype == jnp.bfloat16
    assert np.abs(np.asarray(new, np.float64)).max() <= 0.01


@pytest.mark.parametrize("clip", (0, 0.0, -0.01, float("nan")))
def test_clip_must_be_positive(clip):
    with pytest.raises(InputError, match=f"clip is {clip}"):
        clip_weights(clip)


@pytest.mark.parametrize(
    "tx",
    [clip_weights(0.01), project(lambda p: p), spectral_projection(), orthogonal_regularization()],
)
def test_params_are_asked_for(tx):
    params = {"kernel": jnp.ones((2, 2))}
    with pytest.raises(InputError, match=r"tx.update\(grads, opt_state, params\)"):
        tx.update(params, tx.init(params))


# Inside optax's wrappers


def tree(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: jnp.float32(scale * rng.normal(size=shape))  # noqa: E731
    return {"conv": {"kernel": draw(3, 3, 2, 8), "bias": draw(8)}, "norm": {"scale": draw(8)}}


def largest(params):
    return max(float(np.abs(np.asarray(x, np.float64)).max()) for x in jax.tree.leaves(params))


def test_clip_inside_multi_steps():
    k, clip = 3, 0.01
    inner = optax.chain(optax.sgd(0.1), clip_weights(clip))
    tx = optax.MultiSteps(inner, k)
    params = jax.tree.map(lambda p: jnp.clip(p, -clip, clip), tree(0))
    step = jax.jit(lambda p, g, s: apply(tx, p, g, s))
    state, expected = tx.init(params), params
    for update in range(4):
        grads = [tree(10 + k * update + i) for i in range(k)]
        for g in grads[:-1]:
            before = bits(params)
            params, state = step(params, g, state)
            assert bits(params) == before
        params, state = step(params, grads[-1], state)
        assert largest(params) <= clip
        mean = jax.tree.map(lambda *g: sum(g) / k, *grads)
        expected, _ = apply(inner, expected, mean)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), params, expected)


def test_clip_inside_partition_leaves_the_exempted_alone():
    labels = {"conv": "clipped", "norm": "free"}
    tx = optax.partition(
        {"clipped": optax.chain(optax.sgd(0.1), clip_weights(0.01)), "free": optax.sgd(0.1)},
        labels,
    )
    params, grads = tree(1), tree(2)
    new, _ = jax.jit(lambda p, g: apply(tx, p, g))(params, grads)
    assert largest(new["conv"]) <= 0.01
    plain, _ = jax.jit(lambda p, g: apply(optax.sgd(0.1), p, g))(params, grads)
    assert bits(new["norm"]) == bits(plain["norm"])
    assert largest(new["norm"]) > 0.01


def test_clip_inside_masked():
    tx = optax.masked(clip_weights(0.01), {"conv": True, "norm": False})
    params = tree(3)
    new, _ = apply(tx, params, jax.tree.map(jnp.zeros_like, params))
    assert largest(new["conv"]) <= 0.01
    assert bits(new["norm"]) == bits(params["norm"])


def test_clip_inside_apply_if_finite():
    tx = optax.apply_if_finite(optax.chain(optax.rmsprop(0.1), clip_weights(0.01)), 5)
    params = tree(4)
    step = jax.jit(lambda p, g, s: apply(tx, p, g, s))
    params, state = step(params, tree(5), tx.init(params))
    assert largest(params) <= 0.01
    before = bits(params)
    bad = tree(6)
    bad["conv"]["bias"] = bad["conv"]["bias"].at[0].set(jnp.nan)
    params, state = step(params, bad, state)
    assert bits(params) == before and int(state.total_notfinite) == 1
    params, state = step(params, tree(7), state)
    assert bits(params) != before and largest(params) <= 0.01


# project


def test_project_meets_the_set_exactly():
    tx = project(optax.projections.projection_non_negative)
    p, u = scattered(jnp.float32, 1.0)
    new = np.asarray(jax.jit(lambda p, u: apply(tx, p, u)[0])(p, u))
    assert (new >= 0).all()
    np.testing.assert_allclose(new, np.maximum(p + u, 0), rtol=1e-6, atol=3e-4)


def test_project_never_passes_the_projection():
    radius = 2.0
    tx = project(lambda p: optax.projections.projection_l2_ball(p, radius))
    p, u = scattered(jnp.float32, 1.0, n=1000)
    target = np.asarray(optax.projections.projection_l2_ball(p + u, radius))
    new = np.asarray(apply(tx, p, u)[0])
    assert (np.abs(new) <= np.abs(target)).all() and (new * target >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(new), radius, rtol=1e-4)


# spectral_projection


def sigma(kernel):
    return np.linalg.svd(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]))[1][0]


def test_spectral_projection_bounds_large_kernels_alone():
    params = {"large": tree(8)["conv"], "small": tree(9, 1e-3)["conv"]}
    tx = spectral_projection(norm=2.0, iterations=60)
    new, _ = jax.jit(lambda p: apply(tx, p, jax.tree.map(jnp.zeros_like, p)))(params)
    large, small = params["large"]["kernel"], params["small"]["kernel"]
    np.testing.assert_allclose(sigma(new["large"]["kernel"]), 2.0, rtol=1e-5)
    np.testing.assert_allclose(new["large"]["kernel"], 2 * large / sigma(large), rtol=1e-4)
    assert bits(new["small"]["kernel"]) == bits(small)
    for name in params:
        assert bits(new[name]["bias"]) == bits(params[name]["bias"])


def test_spectral_projection_remembers_its_vectors():
    tx = optax.chain(optax.sgd(0.01), spectral_projection(iterations=1))
    params = tree(10)
    state = tx.init(params)
    step = jax.jit(lambda p, g, s: apply(tx, p, g, s))
    for _ in range(100):  # one iteration an update would not do from a random start each time
        params, state = step(params, jax.tree.map(jnp.zeros_like, params), state)
    np.testing.assert_allclose(sigma(params["conv"]["kernel"]), 1.0, rtol=1e-4)


def test_spectral_projection_inside_partition():
    tx = optax.partition(
        {"bounded": spectral_projection(iterations=60), "free": optax.sgd(0.1)},
        {"conv": "bounded", "norm": "free"},
    )
    params = tree(11)
    new, _ = apply(tx, params, jax.tree.map(jnp.zeros_like, params))
    np.testing.assert_allclose(sigma(new["conv"]["kernel"]), 1.0, rtol=1e-5)


def test_spectral_projection_of_zeros_is_zero_and_recovers():
    tx = spectral_projection(iterations=60)
    zeros = {"kernel": jnp.zeros((4, 3))}
    new, state = apply(tx, zeros, zeros)
    assert bits(new) == bits(zeros)
    grown = {"kernel": jnp.float32(np.random.default_rng(12).normal(size=(4, 3)))}
    new, _ = apply(tx, new, grown, state)
    np.testing.assert_allclose(sigma(new["kernel"]), 1.0, rtol=1e-5)


@pytest.mark.parametrize("options", ({"norm": 0.0}, {"norm": -1.0}, {"iterations": 0}))
def test_spectral_projection_refuses_bounds_without_meaning(options):
    with pytest.raises(InputError, match=next(iter(options))):
        spectral_projection(**options)


# orthogonal_regularization


def test_orthogonal_regularization_is_the_gradient_of_the_papers_term():
    params, grads, beta = tree(13), tree(14), 0.3

    def term(kernel):
        w = kernel.reshape(-1, kernel.shape[-1])
        return beta * jnp.sum(jnp.square(w.T @ w * (1 - jnp.eye(w.shape[1]))))

    tx = orthogonal_regularization(beta)
    new, _ = tx.update(grads, tx.init(params), params)
    expected = grads["conv"]["kernel"] + jax.grad(term)(params["conv"]["kernel"])
    np.testing.assert_allclose(new["conv"]["kernel"], expected, rtol=1e-4, atol=1e-4)
    assert bits(new["conv"]["bias"]) == bits(grads["conv"]["bias"])


def test_orthogonal_filters_of_any_length_are_left_alone():
    q = np.linalg.qr(np.random.default_rng(15).normal(size=(6, 3)))[0] * [0.1, 1.0, 10.0]
    params = {"kernel": jnp.float32(q)}
    tx = orthogonal_regularization(1.0)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_allclose(updates["kernel"], 0.0, atol=1e-4)


def test_orthogonal_regularization_makes_filters_orthogonal():
    params = {"kernel": jnp.float32(np.random.default_rng(16).normal(size=(6, 3)))}
    tx = optax.chain(orthogonal_regularization(0.1), optax.sgd(0.05))
    zeros = jax.tree.map(jnp.zeros_like, params)
    step = jax.jit(lambda p, s: apply(tx, p, zeros, s))
    state = tx.init(params)
    for _ in range(1000):
        params, state = step(params, state)
    gram = params["kernel"].T @ params["kernel"]
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0.0, atol=1e-4)
    assert np.diag(gram).min() > 0.1


def test_orthogonal_regularization_refuses_a_negative_weight():
    with pytest.raises(InputError, match=r"weight is -0\.1"):
        orthogonal_regularization(-0.1)


# skip_nonfinite


@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf, 1e30))  # the square of 1e30 is infinite
def test_skipped_updates_change_no_bit(bad):
    tx = skip_nonfinite(optax.adam(0.1))
    params = tree(17)
    params["conv"]["bias"] = params["conv"]["bias"].at[0].set(-0.0)
    step = jax.jit(lambda p, g, s: apply(tx, p, g, s))
    params, state = step(params, tree(18), tx.init(params))
    params["conv"]["bias"] = params["conv"]["bias"].at[0].set(-0.0)
    before = bits((params, state.inner_state))
    grads = tree(19)
    grads["norm"]["scale"] = grads["norm"]["scale"].at[3].set(bad)
    for i in range(50):  # it never gives in
        params, state = step(params, grads, state)
        assert int(state.skipped) == i + 1
    assert bits((params, state.inner_state)) == before


def test_finite_updates_are_those_of_the_optimiser_inside():
    inner = optax.chain(optax.adam(0.1), clip_weights(0.5))
    tx = skip_nonfinite(inner)
    params = tree(20)
    guarded, plain = jax.jit(apply, static_argnums=0), jax.jit(apply, static_argnums=0)
    (a, s), (b, t) = guarded(tx, params, tree(21)), plain(inner, params, tree(21))
    for seed in (22, 23):
        (a, s), (b, t) = guarded(tx, a, tree(seed), s), plain(inner, b, tree(seed), t)
    assert int(s.skipped) == 0
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)
    assert largest(a) <= 0.5


def test_training_goes_on_after_a_skip():
    tx = skip_nonfinite(optax.sgd(0.1))
    params, state = {"w": jnp.ones(())}, None
    for g in (jnp.nan, 1.0, jnp.inf, 1.0):
        params, state = apply(tx, params, {"w": jnp.float32(g)}, state)
    np.testing.assert_allclose(params["w"], 0.8, rtol=1e-6)
    assert int(state.skipped) == 2


def test_a_state_that_holds_infinity_by_design_is_no_reason_to_skip():
    best_so_far = optax.GradientTransformation(lambda params: jnp.float32(jnp.inf), lambda u, s, p=None: (u, s))
    tx = skip_nonfinite(best_so_far)
    _, state = apply(tx, {"w": jnp.ones(())}, {"w": jnp.ones(())})
    assert int(state.skipped) == 0


def test_skips_pass_extra_arguments_on():
    def scaled(updates, state, params=None, *, factor, **_):
        return jax.tree.map(lambda u: factor * u, updates), state

    inner = optax.GradientTransformationExtraArgs(lambda params: (), scaled)
    tx = skip_nonfinite(inner)
    updates, _ = tx.update({"w": jnp.ones(())}, tx.init({"w": jnp.ones(())}), factor=3.0)
    np.testing.assert_allclose(updates["w"], 3.0)


# lazy_adam


def test_lazy_adam_is_adam_with_stylegan2s_numbers():
    # The generator's of StyleGAN2: path length every 4 steps.
    tx = lazy_adam(0.002, 0.0, 0.99, interval=4)
    reference = optax.adam(0.002 * 4 / 5, b1=0.0, b2=0.99 ** (4 / 5), eps=1e-8)
    params = tree(24)
    a, s = apply(tx, params, tree(25))
    b, t = apply(reference, params, tree(25))
    for seed in (26, 27):
        (a, s), (b, t) = apply(tx, a, tree(seed), s), apply(reference, b, tree(seed), t)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def test_lazy_adam_keeps_the_pace_and_the_memory_of_an_interval():
    k = 16  # k steps and one of the regulariser forget and move as much as k steps of Adam
    c = k / (k + 1)
    grads = {"w": jnp.ones(())}
    params, state = {"w": jnp.zeros(())}, None
    tx = lazy_adam(0.01, 0.5, 0.99, interval=k)
    for _ in range(k + 1):
        params, state = apply(tx, params, grads, state)
    np.testing.assert_allclose(params["w"], -0.01 * k, rtol=1e-4)
    np.testing.assert_allclose(state[0].nu["w"], 1 - 0.99**k, rtol=1e-4)
    np.testing.assert_allclose(state[0].mu["w"], 1 - 0.5 ** (c * (k + 1)), rtol=1e-4)


def test_lazy_adam_takes_schedules():
    tx = lazy_adam(optax.linear_schedule(0.0, 1.0, 10), interval=1)
    params, state = {"w": jnp.zeros(())}, None
    moves = []
    for _ in range(4):
        new, state = apply(tx, params, {"w": jnp.ones(())}, state)
        moves.append(float(params["w"] - new["w"]))
        params = new
    np.testing.assert_allclose(moves, [0.0, 0.05, 0.1, 0.15], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("interval", (0, -4))
def test_lazy_adam_needs_an_interval(interval):
    with pytest.raises(InputError, match="interval"):
        lazy_adam(0.1, interval=interval)
