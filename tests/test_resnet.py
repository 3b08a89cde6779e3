"""Residual networks and self-attention: against the papers' tables, numpy, and what their options promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxgan import nn
from jaxgan.errors import InputError
from jaxgan.nn.attention import max_pool, mean_pool

B, K = 3, 4
LABELS = np.array([0, 3, 1])


def draw(seed, *shape):
    return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def shapes_of(module, *shape, **kwargs):
    return jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros(shape), train=False, **kwargs))


def variables_of(module, *shape, seed=0, **kwargs):
    """Variables for a module with other numbers everywhere; variances positive."""
    rng = np.random.default_rng(seed)

    def fill(path, leaf):
        x = rng.normal(size=leaf.shape).astype(np.float32)
        return jnp.asarray(np.abs(x) + 0.5 if "var" in str(path[-1]) else x / np.sqrt(np.prod(leaf.shape[:-1]) + 1))

    return jax.tree_util.tree_map_with_path(fill, shapes_of(module, *shape, **kwargs))


def size(shapes):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes["params"]))


# Networks.


def test_networks_for_cifar10_have_the_papers_layers():
    """Miyato et al. 2018, ResNets for CIFAR-10, and the narrower generator of Gulrajani et al. 2017, layer by layer."""

    def conv(side, c, d):
        return side * side * c * d + d

    def generator(c):
        block = 2 * 2 * c + 2 * conv(3, c, c) + conv(1, c, c)  # batch norms, convolutions, shortcut
        return (128 * 16 * c + 16 * c) + 3 * block + 2 * c + conv(3, c, 3)

    assert generator(256) == size(shapes_of(nn.ResNetGenerator((32, 32, 3)), 1, 128)) == 4_276_739
    assert generator(128) == size(shapes_of(nn.ResNetGenerator((32, 32, 3), 128), 1, 128))
    first = conv(3, 3, 128) + conv(3, 128, 128) + conv(1, 3, 128)
    second, rest = 2 * conv(3, 128, 128) + conv(1, 128, 128), 2 * 2 * conv(3, 128, 128)
    expected = first + second + rest + 129
    assert expected == size(shapes_of(nn.ResNetDiscriminator(), 1, 32, 32, 3)) == 1_053_825
    assert expected == size(shapes_of(nn.ResNetDiscriminator(spectral=False, mean_pool=True), 1, 32, 32, 3))


@pytest.mark.parametrize(
    ("side", "ups", "downs"),
    [
        (32, [256, 256, 256], [128, 128, 128, 128]),
        (48, [256, 128, 64], [64, 128, 256, 512, 1024]),
        (64, [512, 256, 128, 64], [64, 128, 256, 512, 1024]),
        (128, [1024, 512, 256, 128, 64], [64, 128, 256, 512, 1024, 1024]),
    ],
)
def test_every_size_has_the_papers_channels(side, ups, downs):
    g, d = nn.ResNetGenerator((side, side, 3)), nn.ResNetDiscriminator()
    params = shapes_of(g, 1, 128)["params"]
    assert [params[f"block_{i}"]["Conv_1"]["kernel"].shape[-1] for i in range(len(ups))] == ups
    assert params["Dense_0"]["kernel"].shape[1] in (16 * 1024, 36 * 512, 16 * 256)
    params = shapes_of(d, 1, side, side, 3)["params"]
    assert [params[f"block_{i}"]["Conv_1"]["kernel"].shape[-1] for i in range(len(downs))] == downs
    inner = [params[f"block_{i}"]["Conv_1"]["kernel"].shape[-2] for i in range(len(downs))]
    assert inner == [downs[0], *downs[:-1]]  # a block widens in its second convolution, the first block in its first
    variables = shapes_of(nn.ResNetGenerator((side, side, 3), width=2), 1, 8)
    narrow = nn.ResNetGenerator((side, side, 3), width=2)
    image = jax.eval_shape(lambda v: narrow.apply(v, jnp.zeros((B, 8)), train=False), variables)
    assert image.shape == (B, side, side, 3)
    assert jax.eval_shape(
        lambda: d.init_with_output(jax.random.key(0), jnp.zeros(image.shape), train=False)[0]
    ).shape == (B,)


def test_blocks_against_their_definition():
    """Block by block in numpy: upsampling by repetition, average pooling, pre-activation, shortcuts."""
    d = nn.ResNetDiscriminator(2, spectral=False)
    x = draw(0, B, 32, 32, 1)
    variables = variables_of(d, B, 32, 32, 1)
    p = jax.tree.map(np.asarray, variables["params"])

    def conv(layer, x):
        kernel, pad = layer["kernel"], layer["kernel"].shape[0] // 2
        padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        h, w = x.shape[1:3]
        taps = range(kernel.shape[0])
        return sum(padded[:, i : i + h, j : j + w] @ kernel[i, j] for i in taps for j in taps) + layer["bias"]

    def relu(x):
        return np.maximum(x, 0)

    def pool(x):
        return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4

    b = p["block_0"]
    h = pool(conv(b["Conv_1"], relu(conv(b["Conv_0"], np.asarray(x))))) + conv(b["Conv_2"], pool(np.asarray(x)))
    b = p["block_1"]
    h = pool(conv(b["Conv_1"], relu(conv(b["Conv_0"], relu(h))))) + pool(conv(b["Conv_2"], h))
    for b in (p["block_2"], p["block_3"]):
        h = h + conv(b["Conv_1"], relu(conv(b["Conv_0"], relu(h))))
    expected = relu(h).sum((1, 2)) @ p["Dense_0"]["kernel"][:, 0] + p["Dense_0"]["bias"]
    np.testing.assert_allclose(d.apply(variables, x, train=True), expected, rtol=1e-3, atol=1e-3)
    means = nn.ResNetDiscriminator(2, spectral=False, mean_pool=True).apply(variables, x, train=True)
    bias = p["Dense_0"]["bias"]
    np.testing.assert_allclose(means - bias, (expected - bias) / 64, rtol=1e-3, atol=1e-4)

    g = nn.ResNetGenerator((32, 32, 1), 2)
    variables = variables_of(g, B, 5)
    p, stats = (jax.tree.map(np.asarray, variables[name]) for name in ("params", "batch_stats"))

    def norm(layer, stats, x):
        return layer["scale"] * (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) + layer["bias"]

    def up(x):
        return x.repeat(2, axis=1).repeat(2, axis=2)

    z = draw(1, B, 5)
    h = (np.asarray(z) @ p["Dense_0"]["kernel"] + p["Dense_0"]["bias"]).reshape(B, 4, 4, 2)
    for i in range(3):
        b, s = p[f"block_{i}"], stats[f"block_{i}"]
        r = conv(b["Conv_0"], up(relu(norm(b["BatchNorm_0"], s["BatchNorm_0"], h))))
        h = conv(b["Conv_1"], relu(norm(b["BatchNorm_1"], s["BatchNorm_1"], r))) + conv(b["Conv_2"], up(h))
    expected = np.tanh(conv(p["Conv_0"], relu(norm(p["BatchNorm_0"], stats["BatchNorm_0"], h))))
    np.testing.assert_allclose(g.apply(variables, z, train=False), expected, atol=1e-3)


def test_labels_reach_the_images_and_the_logits():
    g = nn.ResNetGenerator((32, 32, 1), 2, classes=K)
    variables, z = variables_of(g, B, 5, label=LABELS), draw(0, B, 5)
    images = [g.apply(variables, z, train=False, label=y) for y in (LABELS, (LABELS + 1) % K)]
    assert np.abs(images[0] - images[1]).max(axis=(1, 2, 3)).min() > 1e-3
    d = nn.ResNetDiscriminator(4, classes=K, classifier=K)
    variables = variables_of(d, B, 32, 32, 1, label=LABELS)
    (one, classes), (two, same) = (d.apply(variables, images[0], train=True, label=y) for y in (LABELS, LABELS[::-1]))
    assert np.abs(one - two)[[0, 2]].min() > 1e-4
    assert one[1] == two[1]
    np.testing.assert_array_equal(classes, same)
    # Spectral normalisation leaves a projection on zero vectors zero, and so the discriminator unconditional.
    vectors = variables["params"]["projection"]["kernel"]
    variables["params"]["projection"] = {"kernel": jnp.zeros_like(vectors)}
    plain = {name: dict(part) for name, part in variables.items()}
    plain["params"] = {k: v for k, v in plain["params"].items() if k not in ("projection", "classifier")}
    got, _ = d.apply(variables, images[0], train=True, label=LABELS)
    expected = nn.ResNetDiscriminator(4).apply(plain, images[0], train=True)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_shared_embedding_and_hierarchical_latents():
    """Every normalisation maps the embedding and its own chunk of z; the first chunk alone makes the first grid."""
    g = nn.ResNetGenerator((32, 32, 1), 2, classes=K, embed=6, hierarchical=True)
    params = shapes_of(g, B, 20, label=LABELS)["params"]
    assert params["embedding"]["kernel"].shape == (K, 6)
    assert params["Dense_0"]["kernel"].shape[0] == 5
    for i in range(3):
        for j in range(2):
            assert params[f"block_{i}"][f"ConditionalBatchNorm_{j}"]["scale"]["kernel"].shape == (6 + 5, 2)
    assert params["BatchNorm_0"]["scale"].shape == (2,)

    variables, z = variables_of(g, B, 20, label=LABELS), draw(0, B, 20)
    chunks = jax.jit(jax.grad(lambda z: jnp.sum(g.apply(variables, z, train=False, label=LABELS) ** 2)))(z)
    assert np.abs(chunks.reshape(B, 4, 5)).max(axis=2).min() > 1e-4  # all of them matter
    # A block whose maps of its chunk are zero does not see that chunk: chunks go to the blocks in order.
    for i in range(3):
        blind = jax.tree.map(lambda x: x, variables)
        for j in range(2):
            for name in ("scale", "offset"):
                layer = blind["params"][f"block_{i}"][f"ConditionalBatchNorm_{j}"]
                layer[name] = {"kernel": layer[name]["kernel"].at[6:].set(0.0)}
        moved = z.at[:, 5 * (i + 1) : 5 * (i + 2)].add(1.0)
        np.testing.assert_array_equal(
            *(g.apply(blind, each, train=False, label=LABELS) for each in (z, moved)), err_msg=str(i)
        )


def test_unconditional_hierarchical_latents_need_no_labels():
    g = nn.ResNetGenerator((32, 32, 1), 2, hierarchical=True)
    params = shapes_of(g, B, 8)["params"]
    assert params["block_2"]["ConditionalBatchNorm_1"]["scale"]["kernel"].shape == (2, 2)


def test_options_change_names_of_no_parameter():
    """Checkpoints fit with and without rematerialisation and spectral normalisation."""
    for make, shape in (
        (lambda **o: nn.ResNetGenerator((32, 32, 1), 2, attention=16, **o), (B, 8)),
        (lambda **o: nn.ResNetDiscriminator(2, attention=8, **o), (B, 32, 32, 1)),
    ):
        trees = [
            jax.tree.map(lambda x: x.shape, shapes_of(make(spectral=spectral, remat=remat), *shape)["params"])
            for spectral in (False, True)
            for remat in (False, True)
        ]
        assert all(tree == trees[0] for tree in trees)
        assert "attention" in trees[0]


def test_dtype_is_of_the_computation_alone():
    g = nn.ResNetGenerator((32, 32, 1), 2, classes=K, attention=16, spectral=True, dtype=jnp.bfloat16)
    d = nn.ResNetDiscriminator(2, classes=K, attention=16, dtype=jnp.bfloat16)
    for module, shape in ((g, (B, 8)), (d, (B, 32, 32, 1))):
        variables = shapes_of(module, *shape, label=LABELS)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
        apply = jax.make_jaxpr(lambda v, m=module, s=shape: m.apply(v, jnp.zeros(s), train=False, label=LABELS))(
            variables
        )
        assert [out.dtype for out in apply.out_avals] == [jnp.float32]
        adds = [e for e in apply.eqns if e.primitive.name == "add"]
        offsets = [e.outvars[0] for e in apply.eqns if e.primitive.name == "spread"]  # a norm's are float32
        blocks = [e.outvars[0].aval for e in adds if not any(v is offset for v in e.invars for offset in offsets)]
        assert {a.dtype for a in blocks if a.shape == (B, 16, 16, 2)} == {jnp.dtype(jnp.bfloat16)}


@pytest.mark.long
def test_remat_changes_no_number():
    variables = variables_of(nn.ResNetDiscriminator(2), B, 32, 32, 1)
    x = draw(0, B, 32, 32, 1)

    def slopes(remat):
        d = nn.ResNetDiscriminator(2, remat=remat)
        return jax.grad(lambda p: jnp.sum(d.apply({**variables, "params": p}, x, train=True) ** 2))(variables["params"])

    one, two = jax.jit(lambda: (slopes(False), slopes(True)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), one, two)


def test_a_gradient_penalty_differentiates_the_whole_discriminator():
    d = nn.ResNetDiscriminator(4, attention=16)
    variables, x = variables_of(d, B, 32, 32, 1), draw(0, B, 32, 32, 1)

    def penalty(params):
        slope = jax.grad(lambda x: jnp.sum(d.apply({**variables, "params": params}, x, train=True)))(x)
        return jnp.sum(slope**2)

    slopes = jax.jit(jax.grad(penalty))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path
        if "kernel" in str(path):
            assert np.abs(leaf).max() > 0, path


# Attention.


def test_attention_against_its_definition():
    layer, x = nn.SelfAttention(), draw(0, 2, 4, 6, 16)
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), x))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda s: rng.normal(scale=0.3, size=s.shape).astype(np.float32), shapes["params"])
    got = layer.apply({"params": params}, x)
    p = {name: params[name]["kernel"][0, 0] for name in ("query", "key", "value", "output")}
    assert [p[name].shape for name in p] == [(16, 2), (16, 2), (16, 8), (8, 16)]
    expected = np.array(x)
    for b in range(2):
        cells = [np.asarray(x)[b, i : i + 2, j : j + 2].reshape(4, 16) for i in (0, 2) for j in (0, 2, 4)]
        keys, values = (np.stack([(cell @ p[name]).max(0) for cell in cells]) for name in ("key", "value"))
        for i in range(4):
            for j in range(6):
                weights = np.exp(keys @ (x[b, i, j] @ p["query"]))
                attended = weights @ values / weights.sum()
                expected[b, i, j] += params["gamma"] * (attended @ p["output"])
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


def test_attention_starts_as_the_identity():
    layer, x = nn.SelfAttention(), draw(0, 2, 4, 4, 8)
    got, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    np.testing.assert_array_equal(got, x)
    assert variables["params"]["gamma"] == 0
    gamma = jax.grad(lambda p: jnp.sum(layer.apply({**variables, "params": p}, x)))(variables["params"])["gamma"]
    assert abs(gamma) > 1e-3  # and can leave it


def test_pooling():
    x = draw(0, 2, 4, 6, 3)
    cells = np.asarray(x).reshape(2, 2, 2, 3, 2, 3)
    np.testing.assert_array_equal(max_pool(x)[1, 1, 2], cells[1, 1, :, 2].max(axis=(0, 1)))
    np.testing.assert_allclose(mean_pool(x)[1, 1, 2], cells[1, 1, :, 2].mean(axis=(0, 1)), rtol=1e-5)
    check_grads(
        lambda x: jnp.sum(jnp.tanh(max_pool(x))),
        (draw(1, 1, 2, 4, 1),),
        order=2,
        modes=["rev"],
        eps=1e-3,
        atol=1e-2,
        rtol=1e-2,
    )


# Bad input.


def test_what_does_not_fit_is_refused_while_tracing():
    for side in (28, 16, 256):
        with pytest.raises(InputError, match="32 x 32, 48 x 48, 64 x 64, 128 x 128"):
            shapes_of(nn.ResNetGenerator((side, side, 1), 2), B, 8)
        with pytest.raises(InputError, match=f"shape \\({side}, {side}, 1\\)"):
            shapes_of(nn.ResNetDiscriminator(2), B, side, side, 1)
    with pytest.raises(InputError, match=r"shape \(2,\)"):
        shapes_of(nn.ResNetDiscriminator(2), B, 2)
    with pytest.raises(InputError, match=r"no grid of 12 pixels for attention\. Allowed: 8, 16, 32"):
        shapes_of(nn.ResNetGenerator((32, 32, 1), 2, attention=12), B, 8)
    with pytest.raises(InputError, match=r"no grid of 32 pixels for attention\. Allowed: 16, 8"):
        shapes_of(nn.ResNetDiscriminator(2, attention=32), B, 32, 32, 1)
    with pytest.raises(InputError, match="multiple of 4"):
        shapes_of(nn.ResNetGenerator((32, 32, 1), 2, hierarchical=True), B, 10)
    with pytest.raises(InputError, match="set classes as well"):
        shapes_of(nn.ResNetGenerator((32, 32, 1), 2, embed=4), B, 8)
    with pytest.raises(InputError, match="unconditional"):
        shapes_of(nn.ResNetGenerator((32, 32, 1), 2), B, 8, label=LABELS)
