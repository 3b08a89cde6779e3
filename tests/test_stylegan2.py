"""StyleGAN2's networks: against their definition image by image, the papers' sizes, and what their options promise."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxgan import axis, nn
from jaxgan.errors import InputError
from jaxgan.nn.stylegan2 import _DownBlock as DownBlock

B, K, LATENT, W = 8, 3, 5, 6
LABELS = np.arange(B, dtype=np.int32) % K
# Compiling takes longer than running here.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def new_key(seed=0):
    return jax.random.key(seed)


def draw(seed, *shape):
    return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def generator(side=8, **options):
    options = {"channel_base": 64, "channel_max": 8, "latent_dim": LATENT, "w_dim": W, "mapping_layers": 2, **options}
    return nn.StyleGenerator((side, side, 3), **options)


def discriminator(**options):
    return nn.StyleDiscriminator(**{"channel_base": 64, "channel_max": 8, "mapping_layers": 2, **options})


def shapes_of(module, *shape, **kwargs):
    return jax.eval_shape(lambda: module.init(new_key(), jnp.zeros(shape), train=False, **kwargs))


def size(shapes):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes["params"]))


def variables_of(module, *shape, **kwargs):
    """Variables as they start, but with biases and noise strengths as well."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = path[-1].key
        scale = 0.3 if name in ("bias", "noise_strength") else 1.0
        rate = 100.0 if "mapping" in str(path) and "dense" in str(path) else 1.0
        start = 1.0 if "style" in str(path) and name == "bias" else 0.0
        return jnp.float32(start + scale * rate * rng.normal(size=leaf.shape))

    return jax.tree_util.tree_map_with_path(fill, shapes_of(module, *shape, **kwargs))


def outputs_of(intermediates):
    """The outputs of the submodules by name."""
    return {name: seen["__call__"][0] for name, seen in intermediates.items() if name != "__call__"}


# The definition, one image at a time.


def conv_of_one(x, kernel, stride=1, padding=0, zeros=1, groups=1):
    """x f[H, W, C]; so many zeros less one stand between its pixels."""
    return jax.lax.conv_general_dilated(
        x[None],
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        lhs_dilation=(zeros, zeros),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )[0]


def filter_of_one(x, stride=1, padding=0, zeros=1):
    """The filter is symmetric. With zeros between the pixels, the image is one column shorter than in `upfirdn`."""
    c = x.shape[-1]
    return conv_of_one(x, jnp.tile(FILTER[:, :, None, None], (1, 1, 1, c)), stride, padding, zeros, groups=c)


def modulated_of_one(x, kernel, style, demodulate, up):
    """The kernel is scaled, not the image (Karras et al. 2020, equations 1 and 3)."""
    kernel = kernel * style[:, None]
    if demodulate:
        kernel = kernel / jnp.sqrt(jnp.sum(kernel**2, (0, 1, 2)) + 1e-8)
    if not up:
        return conv_of_one(x, kernel, padding=kernel.shape[0] // 2)
    return filter_of_one(conv_of_one(x, kernel[::-1, ::-1], padding=2, zeros=2), padding=1) * 4


def activate(x):
    return np.where(x > 0, x, 0.2 * x) * np.sqrt(2)


def dense(layer, x, rate=1.0):
    return x @ (layer["kernel"] * rate / np.sqrt(x.shape[-1])) + layer["bias"] * rate


def mapping(params, z, label):
    def normalise(x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True))

    y = normalise(dense(params["embedding"], np.eye(K)[label]))
    x = y if z is None else np.concatenate([normalise(z), y], axis=-1)
    for i in range(2):
        x = activate(dense(params[f"dense_{i}"], x, 0.01))
    return x


def synthesis(params, ws, noise):
    """One image of 8 pixels from its styles f[4, W]."""

    def layer(k, x, up):
        p = params[f"conv_{k}"]
        x = modulated_of_one(x, p["kernel"], dense(p["style"], ws[k]), True, up)
        return activate(x + p["noise_strength"] * noise[f"layer_{k}"] + p["bias"])

    def colours(k, x):
        p = params[f"to_rgb_{k}"]
        style = dense(p["style"], ws[k + 1])
        return x @ (p["kernel"][0, 0] * style[:, None]) / np.sqrt(len(style)) + p["bias"]

    x = layer(0, params["const"], up=False)
    image = colours(0, x)
    x = layer(2, layer(1, x, up=True), up=False)
    wide = np.zeros((8, 8, 3), np.float32)
    wide[::2, ::2] = image
    # Each pixel and the zero after it: 2 zeros before the first, 1 after the last.
    image = filter_of_one(np.pad(wide, ((2, 1), (2, 1), (0, 0)))) * 4
    return image + colours(2, x)


def judgement(params, x, label):
    """Logits of one group of images of 8 pixels."""

    def conv(layer, x, **options):
        kernel = layer["kernel"] / np.sqrt(np.prod(layer["kernel"].shape[:3]))
        return np.stack([conv_of_one(one, kernel, **options) for one in x]) + layer.get("bias", 0.0)

    def blur(x, **options):
        return np.stack([filter_of_one(one, **options) for one in x])

    x = activate(conv(params["from_rgb"], x))
    block = params["block_8"]
    shortcut = conv(block["shortcut"], blur(x, stride=2, padding=1))
    x = activate(conv(block["conv_0"], x, padding=1))
    x = activate(conv(block["conv_1"], blur(x, padding=2), stride=2))
    x = (x + shortcut) / np.sqrt(2)
    std = np.sqrt(x.var(0) + 1e-8).mean()
    x = np.concatenate([x, np.full((*x.shape[:3], 1), std)], axis=-1)
    x = activate(conv(params["conv"], x, padding=1))
    x = dense(params["logit"], activate(dense(params["dense"], x.reshape(len(x), -1))))
    return (x * mapping(params["mapping"], None, label)).sum(1) / np.sqrt(8)


@pytest.mark.parametrize(("demodulate", "up", "side"), [(False, False, 1), (True, False, 3), (True, True, 3)])
def test_modulated_convolution_to_the_second_derivative(demodulate, up, side):
    x, kernel, style = draw(0, 2, 4, 4, 3), draw(1, side, side, 3, 2), 1 + draw(2, 2, 3)

    def one_by_one(x, kernel, style):
        return jnp.stack([modulated_of_one(x[b], kernel, style[b], demodulate, up) for b in range(2)])

    def derivatives(f):
        def loss(*args):
            return jnp.sum(jnp.tanh(f(*args)))

        def slope(*args):
            return sum(jnp.sum(g**2) for g in jax.grad(loss, (0, 1, 2))(*args))

        return (
            f(x, kernel, style),
            jax.grad(loss, (0, 1, 2))(x, kernel, style),
            jax.grad(slope, (0, 1, 2))(x, kernel, style),
        )

    shared = partial(nn.modulated_conv, demodulate=demodulate, up=up)
    got, expected = jit(lambda: (derivatives(shared), derivatives(one_by_one)))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max()), got, expected)


def test_demodulated_outputs_have_unit_variance():
    x, kernel, style = draw(0, 2, 96, 96, 4), 3 * draw(1, 3, 3, 4, 5), 1 + draw(2, 2, 4)
    out = jit(nn.modulated_conv)(x, kernel, style)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(np.var(out, axis=(1, 2)), 1.0, rtol=0.1)
    plain = jit(partial(nn.modulated_conv, demodulate=False))(x, kernel, style)
    assert np.var(plain) > 20


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_neither_overflows_nor_changes_the_image(dtype):
    """Kernels and styles that float16 does not hold, and a sum of 9 * 32 activations of 256 that it does not hold."""
    x, kernel, style = draw(0, 2, 4, 4, 32), 1e5 * draw(1, 3, 3, 32, 4), 1e5 * draw(2, 2, 32)
    modulated = jit(nn.modulated_conv, static_argnames="demodulate")
    exact, half = modulated(x, kernel, style), modulated(x.astype(dtype), kernel, style)
    assert half.dtype == dtype
    np.testing.assert_allclose(half.astype(jnp.float32), exact, atol=0.05)
    bright = modulated(jnp.full((2, 4, 4, 32), 256, dtype), jnp.ones_like(kernel), jnp.ones_like(style))
    np.testing.assert_allclose(bright[:, 1:-1, 1:-1].astype(jnp.float32), 256 * np.sqrt(9 * 32), rtol=0.01)


# Networks.


def test_the_papers_numbers_of_parameters():
    """Karras et al. 2020, table 1: configuration F for 1024 pixels has 30.0M and 29.0M (the authors' code: 30,370,060
    and 29,012,513); at 32 pixels all layers are as wide as the widest."""
    g = nn.StyleGenerator((1024, 1024, 3))
    assert g.layers == 18
    assert g.resolutions[:5] == (4, 8, 8, 16, 16)
    assert g.resolutions[-3:] == (1024, 1024, 1024)
    assert size(shapes_of(g, 1, 512)) == 30_370_060
    assert size(shapes_of(nn.StyleDiscriminator(), 1, 1024, 1024, 3)) == 29_012_513
    cifar = shapes_of(nn.StyleGenerator((32, 32, 3), mapping_layers=2), 1, 512)["params"]
    assert {conv["kernel"].shape for name, conv in cifar["synthesis"].items() if "conv" in name} == {(3, 3, 512, 512)}
    assert sorted(cifar["mapping"]) == ["dense_0", "dense_1"]


def test_a_discriminator_without_shortcuts_is_the_other_one_without_them():
    plain, residual = (shapes_of(discriminator(residual=r), B, 16, 16, 3)["params"] for r in (False, True))
    assert residual["block_16"].keys() - plain["block_16"].keys() == {"shortcut"}
    assert plain.keys() == residual.keys()
    # A block whose shortcut is closed differs by the factor that keeps the variance of a sum.
    x = draw(1, 2, 8, 8, 3)
    params = DownBlock(5, True).init(jax.random.key(0), x)["params"]
    params["shortcut"]["kernel"] *= 0
    opened = DownBlock(5, False).apply({"params": {k: v for k, v in params.items() if k != "shortcut"}}, x)
    np.testing.assert_allclose(
        DownBlock(5, True).apply({"params": params}, x), opened / np.sqrt(2), rtol=1e-5, atol=1e-6
    )


@pytest.fixture(scope="module")
def conditional():
    g, d = generator(classes=K), discriminator(classes=K)
    return g, variables_of(g, B, LATENT, label=LABELS), d, variables_of(d, B, 8, 8, 3, label=LABELS)


def test_the_generator_equals_its_definition(conditional):
    g, variables, *_ = conditional
    p, noise = (jax.tree.map(np.asarray, variables[name]) for name in ("params", "noise"))
    z = np.asarray(draw(0, B, LATENT))
    w = mapping(p["mapping"], z, LABELS)
    np.testing.assert_allclose(g.apply(variables, z, LABELS, method="map"), w, rtol=1e-3, atol=1e-3)
    images = jit(lambda z: g.apply(variables, z, train=False, label=LABELS))(z)
    assert images.dtype == jnp.float32
    for b in (0, B - 1):
        expected = synthesis(p["synthesis"], np.stack([w[b]] * g.layers), noise["synthesis"])
        np.testing.assert_allclose(images[b], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_the_discriminator_equals_its_definition(conditional):
    *_, d, variables = conditional
    p = jax.tree.map(np.asarray, variables["params"])
    x = draw(0, B, 8, 8, 3)
    logits = jit(lambda x: d.apply(variables, x, train=True, label=LABELS))(x)
    assert logits.dtype == jnp.float32
    expected = np.concatenate([judgement(p, np.asarray(x[i : i + 4]), LABELS[i : i + 4]) for i in (0, 4)])
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_every_parameter_learns_from_a_gradient_penalty_and_a_path_length(conditional):
    g, g_variables, d, d_variables = conditional
    x, v = draw(0, 4, 8, 8, 3), draw(1, 2, 8, 8, 3)

    def penalty(params):
        slope = jax.grad(lambda x: jnp.sum(d.apply({"params": params}, x, train=True, label=LABELS[:4])))(x)
        return jnp.sum(slope**2)

    def path_length(params):
        def project(ws):
            return jnp.sum(v * g.apply({**g_variables, "params": params}, ws, method="synthesise"))

        w = g.apply({**g_variables, "params": params}, v[:, 0, :LATENT, 0], LABELS[:2], method="map")
        return jnp.sum(jax.grad(project)(jnp.repeat(w[:, None], g.layers, axis=1)) ** 2)

    for loss, params in ((penalty, d_variables["params"]), (path_length, g_variables["params"])):
        slopes = jit(jax.grad(loss))(params)
        for path, leaf in jax.tree_util.tree_leaves_with_path(slopes):
            assert np.isfinite(leaf).all(), path
            if "kernel" in str(path):
                assert np.abs(leaf).max() > 0, path


def test_networks_start_at_unit_scale():
    """What demodulation and equalised learning rates are for: no layer shrinks or blows up what it gets."""
    wide = {"channel_base": 1024, "channel_max": 64}
    g, d = generator(16, latent_dim=64, w_dim=64, **wide), discriminator(**wide)

    @jit
    def run(key):
        g_key, d_key, z_key, x_key = jax.random.split(key, 4)
        z = jax.random.normal(z_key, (B, 64))
        images, g_seen = g.init_with_output(g_key, z, train=False, capture_intermediates=True, mutable=True)
        x = jnp.repeat(jnp.repeat(jax.random.normal(x_key, (B, 2, 2, 3)), 8, axis=1), 8, axis=2)  # filters keep it
        logits, d_seen = d.init_with_output(d_key, x, train=False, capture_intermediates=True, mutable=True)
        seen = {**outputs_of(g_seen["intermediates"]["synthesis"]), **outputs_of(d_seen["intermediates"])}
        scales = {name: jnp.sqrt(jnp.mean(x**2)) for name, x in seen.items() if "conv_" in name or "block_" in name}
        return images, logits, scales

    images, logits, scales = run(new_key())
    assert len(scales) == 5 + 2
    for name, scale in scales.items():
        assert 0.5 < scale < 1.5, (name, scale)
    assert 0.5 < jnp.std(images) < 4
    assert jnp.std(images, axis=0).mean() > 0.3  # latents make images of their own
    assert 0.05 < jnp.std(logits) < 3


# Styles and noise.


@pytest.fixture(scope="module")
def layers():
    """A generator for 16 pixels, and the outputs of its layers, by style: {k: [what style k enters]}."""
    g = generator(16)
    variables = variables_of(g, B, LATENT)

    @jit
    def run(ws):
        image, seen = g.apply(variables, ws, method="synthesise", capture_intermediates=True, mutable="intermediates")
        return image, outputs_of(seen["intermediates"]["synthesis"])

    return g, run


def test_a_style_changes_its_layer_and_those_after_it(layers):
    g, run = layers
    assert g.layers == 6
    assert g.resolutions == (4, 8, 8, 16, 16, 16)
    ws, other = (jnp.repeat(draw(seed, 2, 1, W), g.layers, axis=1) for seed in (0, 1))
    image, before = run(ws)
    enters = {**{f"conv_{k}": k for k in range(5)}, **{f"to_rgb_{k}": k + 1 for k in (0, 2, 4)}}
    assert before.keys() == enters.keys()
    for k in range(g.layers):
        mixed, after = run(ws.at[:, k].set(other[:, k]))
        assert np.abs(mixed - image).max() > 1e-3
        for name, style in enters.items():
            changed = not np.array_equal(before[name], after[name])
            below = int(name.rsplit("_", 1)[1])  # the last convolution up to this layer
            assert changed == (k <= below or k == style), (k, name)
        _, after = run(jnp.concatenate([ws[:, :k], other[:, k:]], axis=1))
        for name, style in enters.items():
            assert np.array_equal(before[name], after[name]) == (style < k), (k, name)


@pytest.fixture(scope="module")
def started():
    """Variables as they start, of the generator for 8 pixels."""
    return jit(lambda: generator().init(new_key(), jnp.zeros((1, LATENT)), train=True))()


def test_noise_is_fixed_without_a_key_and_drawn_with_one(started):
    g = generator(8)
    variables = variables_of(g, B, LATENT)
    shapes = {name: x.shape for name, x in variables["noise"]["synthesis"].items()}
    assert shapes == {"layer_0": (4, 4, 1), "layer_1": (8, 8, 1), "layer_2": (8, 8, 1)}
    z = jnp.repeat(draw(0, 1, LATENT), 2, axis=0)
    make = jit(lambda variables, key: g.apply(variables, z, train=False, key=key))
    fixed, drawn = make(variables, None), make(variables, new_key(1))
    np.testing.assert_array_equal(fixed, make(variables, None))
    np.testing.assert_allclose(fixed[0], fixed[1], atol=1e-6)  # XLA may sum up neighbours in another order
    np.testing.assert_array_equal(drawn, make(variables, new_key(1)))
    for a, b in ((drawn, fixed), (drawn, make(variables, new_key(2))), (drawn[0], drawn[1])):
        assert np.abs(a - b).max() > 1e-2
    # It starts with no effect, and as strong as the noise that is drawn.
    images = [make(started, key) for key in (None, new_key(1))]
    np.testing.assert_allclose(*images, atol=1e-5)
    assert 0.7 < np.std(started["noise"]["synthesis"]["layer_2"]) < 1.3


def test_the_mean_style_follows_training(started):
    g, expected, variables = generator(), np.zeros(W), started
    np.testing.assert_array_equal(started["w_avg"]["mean"], expected)
    move = jit(lambda variables, z: g.apply(variables, z, train=True, method="map", mutable="w_avg"))
    for seed in range(3):
        w, new = move(variables, draw(seed, B, LATENT) + 1)
        variables = {**variables, **new}
        expected = 0.998 * expected + 0.002 * np.asarray(w).mean(0)
    np.testing.assert_allclose(variables["w_avg"]["mean"], expected, rtol=1e-4)
    assert np.abs(expected).max() > 1e-3
    _, same = jit(lambda z: g.apply(variables, z, method="map", mutable="w_avg"))(draw(0, B, LATENT))  # train=False
    np.testing.assert_array_equal(same["w_avg"]["mean"], variables["w_avg"]["mean"])


# Engines and dtypes.


@pytest.mark.long
def test_two_devices_compute_what_one_does():
    """Noise of each image, the mean style, groups of the minibatch standard deviation, gradients."""

    def step(variables, d_variables, z, axis_name):
        g, d = generator(axis_name=axis_name), discriminator(axis_name=axis_name)

        def loss(params):
            given = {**variables, "params": params}
            images, new = g.apply(given, z, train=True, key=new_key(7), mutable="w_avg")
            logits = d.apply(d_variables, images, train=True)
            return jnp.mean(jax.nn.softplus(-logits)), (images, logits, new)

        grads, (images, logits, new) = jax.grad(loss, has_aux=True)(axis.varying(variables["params"], axis_name))
        return images, logits, new, axis.mean(grads, axis_name)

    variables = variables_of(generator(), B, LATENT)
    d_variables = variables_of(discriminator(), B, 8, 8, 3)
    z = draw(0, B, LATENT)
    mesh = jax.make_mesh((2,), ("i",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    rows, whole = PartitionSpec("i"), PartitionSpec()
    sharded = jax.shard_map(
        partial(step, axis_name="i"), mesh=mesh, in_specs=(whole, whole, rows), out_specs=(rows, rows, whole, whole)
    )
    expected = jit(partial(step, axis_name=None))(variables, d_variables, z)
    got = jit(sharded)(variables, d_variables, z)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4 * np.abs(b).max() + 1e-7), got, expected)
    assert np.abs(expected[2]["w_avg"]["mean"] - variables["w_avg"]["mean"]).max() > 1e-3


def test_half_precision_in_the_highest_resolutions_alone():
    z, x = draw(0, 4, LATENT), draw(1, 4, 16, 16, 3)
    outputs = {}
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        g, d = generator(16, half_resolutions=1, dtype=dtype), discriminator(half_resolutions=1, dtype=dtype)
        variables, d_variables = variables_of(g, 4, LATENT), variables_of(d, 4, 16, 16, 3)
        assert {leaf.dtype for leaf in jax.tree.leaves((variables, d_variables))} == {jnp.dtype(jnp.float32)}

        @jit
        def run(x, g=g, d=d, variables=variables, d_variables=d_variables):
            capture = {"capture_intermediates": True, "mutable": "intermediates"}
            image, g_seen = g.apply(variables, z, train=False, **capture)
            logits, d_seen = d.apply(d_variables, x, train=False, **capture)
            seen = {**outputs_of(g_seen["intermediates"]["synthesis"]), **outputs_of(d_seen["intermediates"])}
            return image, logits, seen

        *outputs[dtype], seen = run(x)
        assert all(out.dtype == jnp.float32 for out in outputs[dtype])
        half = {name for name, out in seen.items() if out.dtype != jnp.float32}
        if dtype != jnp.float32:
            assert half == {"conv_3", "conv_4", "to_rgb_4", "from_rgb", "block_16"}
            assert {seen[name].dtype for name in half} == {jnp.dtype(dtype)}
            for got, exact in zip(outputs[dtype], outputs[jnp.float32], strict=True):
                assert 0 < np.abs(got - exact).max() < 0.05 * np.abs(exact).max()
            # The first convolution's outputs are beyond the largest float16; what is cut at 256 does no harm.
            _, logits, seen = run(jnp.sign(x) * 6e4)
            assert np.abs(seen["from_rgb"]).max() > 65_504
            assert np.abs(seen["block_16"]).max() <= 2 * 256 * np.sqrt(0.5) + 1
            assert np.isfinite(logits).all()
        else:
            assert not half


# Bad input.


def test_what_does_not_fit_is_refused_while_tracing():
    for shape in ((12, 12, 3), (4, 4, 3), (2048, 2048, 3), (16, 8, 3), (8, 8)):
        with pytest.raises(InputError, match="8, 16, 32, 64, 128, 256, 512, 1024 pixels a side"):
            shapes_of(nn.StyleGenerator(shape), 1, 512)
        with pytest.raises(InputError, match="pixels a side"):
            shapes_of(discriminator(), 4, *shape)
    with pytest.raises(InputError, match="at least 16, at least 1, and not negative"):
        shapes_of(generator(16, channel_base=8), 1, LATENT)
    with pytest.raises(InputError, match="not negative"):
        shapes_of(discriminator(half_resolutions=-1), 4, 8, 8, 3)
    with pytest.raises(InputError, match="at least 1, the paper's 8"):
        shapes_of(generator(mapping_layers=0), 1, LATENT)
    with pytest.raises(InputError, match=r"latents f32\[B, 5\] and got float32\[1, 7\]"):
        shapes_of(generator(), 1, 7)

    def synthesise(ws):
        return jax.eval_shape(
            lambda: generator().apply(shapes_of(generator(), 1, LATENT), jnp.zeros(ws), method="synthesise")
        )

    for ws in ((2, 5, W), (2, 4, W + 1), (2, W)):
        with pytest.raises(InputError, match=r"styles f32\[B, 4, 6\]"):
            synthesise(ws)


def test_labels_and_groups_that_do_not_fit_are_refused(conditional):
    g, variables, d, d_variables = conditional
    z, x = draw(0, B, LATENT), draw(0, B, 8, 8, 3)
    for module, given, args in ((g, variables, z), (d, d_variables, x)):
        with pytest.raises(InputError, match="got no 'label'"):
            jax.eval_shape(lambda m=module, v=given, x=args: m.apply(v, x, train=False))
        with pytest.raises(InputError, match=r"holds \[3\]. Allowed: 0 to 2"):
            jax.eval_shape(lambda m=module, v=given, x=args: m.apply(v, x, train=False, label=LABELS + 1))
    for module, shape in ((generator(), (B, LATENT)), (discriminator(), (B, 8, 8, 3))):
        with pytest.raises(InputError, match="unconditional"):
            shapes_of(module, *shape, label=LABELS)
    for batch in (3, 6):
        with pytest.raises(InputError, match=f"{batch} examples do not divide into groups of 4"):
            jax.eval_shape(lambda n=batch: d.apply(d_variables, x[:n], train=False, label=LABELS[:n]))
