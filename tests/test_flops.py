"""Operations counted by hand: products, convolutions, loops, lazy turns, whole steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import average, descend, every, gan, repeat, train_step
from jaxgan.flops import cycle_flops, loops
from jaxgan.nn.conv import conv, conv_transpose
from jaxgan.nn.mlp import MLPDiscriminator, MLPGenerator
from jaxgan.state import TrainState
from jaxgan.typing import Aux

F32 = jnp.float32


def count(function, *args):
    """Of a function that does the same on every step."""
    (found,) = cycle_flops(function, lambda step: ([None] * len(jax.tree.leaves(args)), args))
    return found


def array(*shape):
    return jax.ShapeDtypeStruct(shape, F32)


def test_what_xla_does_not_see():
    x = jnp.ones(3)
    assert not loops(jax.jit(lambda x: x @ x), x)
    assert not loops(lambda x: jax.lax.scan(lambda c, _: (c * 2, None), x, length=1)[0], x)
    assert loops(jax.jit(lambda x: jax.lax.scan(lambda c, _: (c * 2, None), x, length=2)[0]), x)
    assert loops(lambda x: jax.lax.cond(x[0] > 0, jnp.sin, jnp.cos, x), x)


def test_products_and_loops():
    a, b = array(3, 5), array(5, 7)
    assert count(jnp.matmul, a, b) == 2 * 3 * 5 * 7
    assert count(jax.jit(jnp.matmul), a, b) == 2 * 3 * 5 * 7
    # Backwards two products of the same size, of a batch as many.
    assert count(jax.grad(lambda a, b: jnp.sum((a @ b) ** 2), (0, 1)), a, b) == 3 * 2 * 3 * 5 * 7
    assert count(jax.vmap(jnp.matmul), array(4, 3, 5), array(4, 5, 7)) == 4 * 2 * 3 * 5 * 7
    square = array(5, 5)
    assert count(lambda x: jax.lax.scan(lambda x, _: (x @ x, None), x, length=9)[0], square) == 9 * 2 * 5**3


@pytest.mark.parametrize("side", [8, 12])
def test_convolutions(side):
    """By a product of patches or natively: the same operations; a transposed one has those of its adjoint."""
    per_pixel = 2 * 4 * 4 * 3 * 6
    x, kernel = array(2, side, side, 3), array(4, 4, 3, 6)
    assert count(lambda x, k: conv(x, k, stride=2, padding=1), x, kernel) == 2 * (side // 2) ** 2 * per_pixel
    assert count(conv_transpose, x, kernel) == 2 * side**2 * per_pixel


@pytest.mark.parametrize(
    "intervals, cycle",
    [
        ((4,), [4, 3, 3, 3]),
        ((1,), [4]),
        ((3,), [4, 3, 3]),
        ((2, 3), [5, 3, 4, 4, 4, 3]),
        ((40,), [4] + 39 * [3] + [4] + 23 * [3]),
    ],
)
def test_lazy_turns_count_on_the_steps_on_which_they_come(intervals, cycle):
    def loss(params, state, batch, key):
        return jnp.sum(params["w"] @ params["w"]), Aux({})

    n, params = 6, {"x": {"w": jnp.ones((6, 6))}}
    tx = optax.sgd(0.1)
    state = TrainState(jnp.int32(0), params, {"x": tx.init(params["x"])}, {"x": {}}, {}, {"x": {"params": params["x"]}})
    turn = descend("x", loss, tx)
    step = train_step(repeat(3, turn, reuse=True), *(every(k, turn) for k in intervals), average("x", 100.0))
    args = jax.eval_shape(lambda: (state, {"image": jnp.ones((3, 1))}, jax.random.key(0)))
    nothing = jax.tree.map(lambda _: None, args)

    def at(number):
        return (nothing[0].replace(step=jnp.int32(number)), *nothing[1:]), args

    once = 3 * 2 * n**3  # the product and its two derivatives
    assert cycle_flops(step, at) == [turns * once for turns in cycle]  # 64 steps do not show that 40 is a cycle


def test_a_step_of_a_gan_by_hand():
    batch, latent, width, points = 8, 4, 16, 2
    g = gan(MLPGenerator((points,), width, 1, None), MLPDiscriminator(width, 1), latent_dim=latent)
    args = jax.eval_shape(lambda: (g.init(jax.random.key(0)), {"image": jnp.ones((batch, points))}, jax.random.key(1)))
    generator, discriminator = latent * width + width * points, points * width + width
    first = points * width
    # D's turn: fakes; both halves forward, backward to the weights of both layers and to the hidden one.
    d_turn = generator + 2 * (discriminator + discriminator + width)
    # G's: forward; through D to the fakes and so to G's weights. Unused real logits count.
    g_turn = generator + 2 * discriminator + (width + first) + (generator + width * points)
    assert count(g.step, *args) == 2 * batch * (d_turn + g_turn)
    assert np.isfinite(count(g.step, *args))
