"""One step under every engine: the same numbers, one compilation, donated memory, one all-reduce an update."""

import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import axis, parallel
from jaxgan.errors import InputError
from jaxgan.nn import MinibatchStd, MLPDiscriminator, MLPGenerator
from jaxgan.objectives import Objective, wgan_gp
from jaxgan.parallel import WHOLE, engine, scan
from jaxgan.recipes import gan
from jaxgan.state import TrainState
from jaxgan.turns import descend
from jaxgan.typing import Aux

B, LATENT = 16, 4
BATCH = {"image": np.asarray(jax.random.normal(jax.random.key(7), (2 * B, 3)))}  # two critic updates
TX = optax.sgd(1e-2, momentum=0.5)  # after the first step its trace is the gradient


class Generator(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, z, *, train):
        x = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name)(nn.Dense(8, use_bias=False)(z))
        return nn.Dense(3)(nn.tanh(x))


class Critic(nn.Module):
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, *, train):
        x = MinibatchStd(None, self.axis_name)(nn.tanh(nn.Dense(8)(x)))
        x = MinibatchStd(2)(x)
        return nn.Dense(1)(nn.tanh(nn.Dense(8)(x)))[:, 0]


def make(axis_name=None):
    """Batch norm, minibatch statistics, a gradient penalty at random places, n_critic, microbatches, an average."""
    return gan(
        Generator(axis_name),
        Critic(axis_name),
        latent_dim=LATENT,
        objective=wgan_gp(axis_name=axis_name),
        g_tx=TX,
        d_tx=TX,
        d_steps=2,
        half_life=100.0,
        axis_name=axis_name,
    )


def key():
    return jax.random.key(3)


@pytest.fixture(scope="module")
def one_device():
    """What plain jit computes."""
    g = make()
    return jax.device_get(jax.jit(g.step)(jax.jit(g.init)(key()), BATCH, key()))


def assert_close(tree, expected, rtol=1e-5):
    """Each leaf within rtol of its largest number."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(expected), strict=True):
        scale = max(np.abs(b).max(), 1e-3)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * scale, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
@pytest.mark.parametrize("name", parallel.ENGINES)
def test_every_engine_computes_the_step_of_one_device(one_device, name, devices):
    e = engine(name, devices)
    g = make(e.axis_name)
    state = e.init(g)(key())
    new, metrics = e.step(g)(state, e.place(BATCH), key())
    assert_close(jax.device_get((new, metrics)), one_device)
    # Replicas that are not told to agree drift apart.
    for leaf in jax.tree.leaves((new, metrics)):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == devices
        assert all(np.array_equal(shards[0], shard) for shard in shards)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))  # donated


def mlp(axis_name=None, **options):
    g, d = MLPGenerator((3,), 32, 2, None), MLPDiscriminator(32, 2)
    return gan(g, d, latent_dim=LATENT, g_tx=TX, d_tx=TX, axis_name=axis_name, **options)


def all_reduces(program: str) -> list[str]:
    return re.findall(r"= (\S.*) all-reduce(?:-start)?\(", program)


@pytest.mark.parametrize("name", parallel.ENGINES)
def test_one_all_reduce_an_update_carries_exactly_its_gradients(name):
    e = engine(name, 4)
    g = mlp(e.axis_name)
    program = e.step(g).lower(e.init(g)(key()), e.place(BATCH), key()).compile()
    reduces = all_reduces(program.as_text())
    params = jax.eval_shape(g.init, key()).params
    numbers = sum(leaf.size for leaf in jax.tree.leaves(params))
    reduced = sum(
        int(np.prod([int(n) for n in s.split(",") if n])) for r in reduces for s in re.findall(r"f32\[(.*?)\]", r)
    )
    if name == "sharded":  # there the compiler chooses, and may add up the shares of real and fake images afterwards
        assert numbers <= reduced <= 2 * numbers
    else:
        assert len(reduces) == 2
        assert numbers <= reduced <= numbers + 8  # scalar metrics ride along


@pytest.mark.long
@pytest.mark.parametrize("name", parallel.ENGINES)
def test_devices_share_the_work(name):
    """Latents come from a key, and nothing but `axis.rows` says that they may be split."""

    def flops(devices):
        e = engine(name, devices)
        g = mlp(e.axis_name)
        program = e.step(g).lower(e.init(g)(key()), e.place({"image": np.zeros((1024, 3))}), key()).compile()
        return program.cost_analysis()["flops"]

    assert flops(4) < 0.3 * flops(1)


@pytest.mark.parametrize("name", parallel.ENGINES)
def test_no_call_after_the_first_compiles(name):
    e = engine(name, 2)
    g = mlp(e.axis_name)
    state, step = e.init(g)(key()), e.step(g)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: compiled.append(event))
    try:
        state, _ = step(state, e.place(BATCH), key())
        assert any("backend_compile" in event for event in compiled)  # the listener listens
        batches, keys = [e.place(BATCH) for _ in range(3)], [key() for _ in range(3)]
        compiled.clear()
        for batch, k in zip(batches, keys, strict=True):
            state, _ = step(state, batch, k)
        jax.block_until_ready(state)
        assert not [event for event in compiled if "compile" in event]
    finally:
        jax.monitoring.clear_event_listeners()


@pytest.mark.long
@pytest.mark.parametrize("name", parallel.ENGINES)
def test_a_scan_is_its_steps_one_by_one(name):
    e = engine(name, 2)
    g = mlp(e.axis_name)
    batches = {"image": np.asarray(jax.random.normal(jax.random.key(1), (3, B, 3)))}
    state, losses = e.init(g)(key()), []
    step = e.step(g)
    for image in batches["image"]:
        state, metrics = step(state, e.place({"image": image}), key())
        losses.append(metrics["discriminator_loss"])
    layout = e.layout(state)
    scanned = e.compile(scan(g.step), (layout, e.split(1), WHOLE), (layout, WHOLE), donate=(0,))
    new, metrics = scanned(e.init(g)(key()), e.place(batches, 1), key())
    assert_close(jax.device_get(new), jax.device_get(state))
    np.testing.assert_allclose(metrics["discriminator_loss"], losses, rtol=1e-5)


@pytest.mark.long
def test_parameters_split_over_devices_compute_the_same_and_take_a_part_of_the_memory():
    g = gan(
        MLPGenerator((3,), 128, 2, None), MLPDiscriminator(128, 2), latent_dim=LATENT, g_tx=optax.adam(1e-3), d_tx=TX
    )
    state, metrics = jax.jit(g.step)(g.init(key()), BATCH, key())
    e = parallel.sharded(8, model=4)
    split, split_metrics = e.step(g)(e.init(g)(key()), e.place(BATCH), key())
    assert_close(jax.device_get(split), jax.device_get(state), 1e-4)  # sums in another order, through Adam's root
    assert_close(jax.device_get(split_metrics), jax.device_get(metrics))
    held = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(split))
    assert held < 0.35 * sum(leaf.nbytes for leaf in jax.tree.leaves(state))


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [None, "shard_map", *(pytest.param(n, marks=pytest.mark.slow) for n in ("sharded", "pmap"))]
)
def test_microbatches_follow_the_mean_of_their_gradients(name):
    """A loss that looks at real images alone has the gradient of the whole batch, however that is taken apart."""
    e = parallel.jit() if name is None else engine(name, 2)
    real_alone = Objective(lambda real, fake: jnp.square(real - 1), lambda real, fake: fake)
    whole, parts = (mlp(e.axis_name, objective=real_alone, microbatches=m) for m in (1, 4))
    batch = {"image": BATCH["image"][:B]}
    a, a_metrics = e.step(whole)(e.init(whole)(key()), e.place(batch), key())
    b, b_metrics = e.step(parts)(e.init(parts)(key()), e.place(batch), key())
    assert_close(jax.device_get(b.opt_state["discriminator"]), jax.device_get(a.opt_state["discriminator"]))
    np.testing.assert_allclose(b_metrics["discriminator_loss"], a_metrics["discriminator_loss"], rtol=1e-5)


def test_microbatches_hand_on_batch_statistics_and_average_every_metric():
    def loss(params, state, batch, key):
        del key
        seen = state.variables["p"]["stats"]
        count = {"n": seen["n"] + 1, "sum": seen["sum"] * 2 + batch["image"].sum()}
        return params * batch["image"].mean(), Aux({"seen": seen["n"]}, {"p": {"stats": count}})

    stats = {"n": jnp.float32(0), "sum": jnp.float32(0)}
    one = {"p": jnp.float32(1.0)}
    state = TrainState(jnp.int32(0), one, {"p": TX.init(one["p"])}, {"p": {"stats": stats, "other": 1.0}}, {}, {})
    x = jnp.arange(4.0)[:, None]
    new, metrics = jax.jit(descend("p", loss, TX, microbatches=2))(state, {"image": x}, key())
    # Slices 0, 2 and 1, 3: (0 + 0 + 2) * 2 + 1 + 3.
    assert new.variables["p"] == {"stats": {"n": 2, "sum": 8}, "other": 1}
    assert metrics["seen"] == 0.5 and metrics["p_loss"] == 1.5
    with pytest.raises(InputError, match="microbatches = 0"):
        descend("p", loss, TX, microbatches=0)


def test_rows_of_replicas_are_the_global_draw():
    e = parallel.shard_map(4)

    def draw(key):
        return axis.draw(jax.random.normal, key, (3, 2), e.axis_name)

    rows = e.compile(draw, (WHOLE,), e.split())(key())
    np.testing.assert_array_equal(rows, jax.random.normal(key(), (12, 2)))


def test_what_does_not_fit_says_how_to_mend_it():
    with pytest.raises(InputError, match=r"no engine 'pmpa'.*pmap"):
        engine("pmpa")
    with pytest.raises(InputError, match=r"9 devices were asked for; there are 8 \(cpu\).*JAX_NUM_CPU_DEVICES=9"):
        engine("sharded", 9)
    with pytest.raises(InputError, match=r"12 examples does not divide over 8 devices.*8 or 16"):
        engine("pmap", 8).place({"image": np.zeros((12, 3))})
    with pytest.raises(InputError, match="model is 3; it must divide the number of devices, 8"):
        parallel.sharded(8, model=3)
    with pytest.raises(InputError, match="3 examples do not divide into groups of 2"):
        MinibatchStd(2).apply({}, jnp.zeros((3, 4)))


@pytest.mark.parametrize("group", [None, 2])
def test_minibatch_std_against_its_definition(group):
    x = np.asarray(jax.random.normal(key(), (4, 2, 2, 3)))
    y = MinibatchStd(group).apply({}, x)
    np.testing.assert_array_equal(y[..., :3], x)
    for i in range(4):
        members = x if group is None else x[i // 2 * 2 : i // 2 * 2 + 2]
        np.testing.assert_allclose(y[i, ..., 3], members.std(0).mean(), rtol=1e-5)
    alike = jnp.ones((4, 3))
    assert np.isfinite(jax.grad(lambda x: MinibatchStd(group).apply({}, x).sum())(alike)).all()
