"""Convolutions by fewer products: against the plain ones, and their rounding against float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxgan import nn
from jaxgan.nn import toom_cook

# (images, side, channels, channels, kernel, stride, padding): all are large enough.
SHAPES = [(12, 16, 32, 33, 3, 1, 1), (16, 16, 48, 40, 4, 2, 1), (6, 18, 64, 32, 3, 1, 0), (4, 17, 64, 64, 3, 1, 1)]


def draw(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def layer(n, side, c, d, k, stride, padding):
    """x, kernel, cotangent, and what computes all three maps."""
    x, kernel = draw(0, n, side, side, c), draw(1, k, k, c, d) / (k * k * c) ** 0.5
    y = draw(2, n, *[(side + 2 * padding - k) // stride + 1] * 2, d)

    def maps(x, kernel, y):
        out, back = jax.vjp(partial(nn.conv, stride=stride, padding=padding), x, kernel)
        return out, *back(y)

    return (x, kernel, y), maps


@pytest.fixture
def used(monkeypatch):
    """The names of the functions of toom_cook that were called."""
    names = []

    def watched(name, function):
        def call(*args):
            names.append(name)
            return function(*args)

        return call

    for name in ("correlate", "weigh"):
        monkeypatch.setattr(toom_cook, name, watched(name, getattr(toom_cook, name)))
    return names


@pytest.mark.parametrize("taps", [2, 3])
def test_the_matrices_are_exact(taps):
    """sum_n a[n, m] g[n, r] b[n, k] is 1 where k = m + r and 0 elsewhere: row m of the result by tap r."""
    a, g, b = toom_cook._matrices(taps)
    rows, n = a.shape[1], len(a)
    assert n == rows + taps - 1  # as few products as there can be
    want = np.eye(n)[np.arange(rows)[:, None] + np.arange(taps)]
    np.testing.assert_allclose(np.einsum("na,nr,nk->ark", a, g, b), want, atol=1e-15)


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_all_three_maps_round_to_few_times_the_plain_error(shape, parts, used, monkeypatch):
    """Errors against float64, whether the batch is taken whole or in parts."""
    arrays, maps = layer(*shape)
    if parts > 1:
        monkeypatch.setattr(toom_cook, "_BYTES", arrays[0].nbytes // parts)
        monkeypatch.setattr(jax, "device_count", lambda: 1)
    fast = jax.jit(maps)(*arrays)
    assert {*used} == {"correlate", "weigh"}
    monkeypatch.setattr(toom_cook, "pays", lambda *_: False)
    plain = jax.jit(lambda *arrays: maps(*arrays))(*arrays)
    with jax.enable_x64(True):
        exact = jax.jit(lambda *arrays: maps(*arrays))(*(np.asarray(a, np.float64) for a in arrays))
    for ours, other, true in zip(*(map(np.asarray, found) for found in (fast, plain, exact)), strict=True):
        ours, other = (np.sqrt(np.mean(np.square(a - true)) / np.mean(np.square(true))) for a in (ours, other))
        assert ours < 8 * other and ours < 2e-6, (ours, other)


def test_a_transposed_convolution_takes_its_phases_so(used, monkeypatch):
    """Of the adjoint of stride 2 every phase is a convolution with two rows of taps."""
    (x, kernel, y), maps = layer(*SHAPES[1])
    monkeypatch.setattr(toom_cook, "_OPERATIONS", 0)
    conv = partial(nn.conv, stride=2, padding=1)
    back = jax.jit(lambda y: jax.linear_transpose(lambda x: conv(x, kernel), x)(y)[0])(y)
    assert used.count("correlate") == 4
    np.testing.assert_allclose(back, maps(x, kernel, y)[1], atol=1e-5)
    inner = [jnp.vdot(conv(x, kernel), y), jnp.vdot(x, back)]  # what an adjoint is
    np.testing.assert_allclose(*inner, rtol=1e-4)


def test_images_that_devices_share_out_stay_where_they_are(used, monkeypatch):
    """In parts of the batch as well: no device asks another for images, only for its share of a gradient."""
    arrays, maps = layer(*SHAPES[1])
    monkeypatch.setattr(toom_cook, "_BYTES", arrays[0].nbytes // 2)
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",), axis_types=(AxisType.Auto,))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
    program = jax.jit(maps, in_shardings=(split, whole, split), out_shardings=(split, split, whole))
    text = program.lower(*arrays).compile().as_text()
    assert "correlate" in used and "weigh" in used
    assert "all-reduce" in text
    assert not any(word in text for word in ("all-gather", "all-to-all", "collective-permute"))

    def local(x, kernel, y):
        out, dx, dkernel = maps(x, jax.lax.pcast(kernel, "data", to="varying"), y)
        return out, dx, jax.lax.psum(dkernel, "data")

    specs = [PartitionSpec("data"), PartitionSpec(), PartitionSpec("data")]
    mapped = jax.shard_map(local, mesh=mesh, in_specs=tuple(specs), out_specs=(specs[0], specs[0], specs[1]))
    monkeypatch.setattr(toom_cook, "_OPERATIONS", 0)  # a share is half as large
    for ours, alone in zip(jax.jit(mapped)(*arrays), program(*arrays), strict=True):
        np.testing.assert_allclose(ours, alone, atol=1e-5 * float(jnp.abs(alone).max()))


@pytest.mark.parametrize(
    ("shape", "dtype"), [(SHAPES[0], jnp.bfloat16), ((40, 6, 64, 64, 3, 1, 1), jnp.float32)], ids=str
)
def test_sums_of_bfloat16_and_tiles_that_are_half_empty_stay_plain(shape, dtype, used):
    arrays, maps = layer(*shape)
    jax.jit(maps).lower(*(a.astype(dtype) for a in arrays))
    assert not used


@pytest.mark.parametrize("channels", [17, 32])
@pytest.mark.parametrize("side", [8, 32])
def test_a_batch_of_any_size_can_be_exported(side, channels, used):
    """As generators are: without fewer products, because whether they pay depends on the batch."""
    x = draw(0, 16, side, side, channels)
    same, double = draw(1, 3, 3, channels, channels) / 9, draw(2, 4, 4, channels, channels) / 16

    def generate(x):
        return nn.conv_transpose(nn.conv(x, same, stride=1, padding=1), double)

    symbolic = jax.ShapeDtypeStruct(jax.export.symbolic_shape(f"b, {side}, {side}, {channels}"), x.dtype)
    exported = jax.export.export(jax.jit(generate))(symbolic)
    assert not used
    out = jax.jit(generate)(x)
    np.testing.assert_allclose(exported.call(x), out, atol=1e-5 * float(jnp.abs(out).max()))
