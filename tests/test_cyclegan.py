"""CycleGAN: networks against their definitions, the step and its image pool against both written out."""

import itertools

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import parallel
from jaxgan.errors import InputError
from jaxgan.nn import cyclegan as networks
from jaxgan.nn.cyclegan import PatchDiscriminator, ResnetGenerator, UNetGenerator, instance_norm, reflect
from jaxgan.objectives import OBJECTIVES, gan_r1, non_saturating, objective, wasserstein
from jaxgan.recipes.cyclegan import constant_then_linear, cyclegan, exchange, query

B, N = 4, 3  # images of a batch and of a pool
SHAPE_A, SHAPE_B = (8, 8, 1), (8, 8, 3)


def key(seed=0):
    return jax.random.key(seed)


def draw(seed, *shape):
    return jnp.tanh(jax.random.normal(key(seed), shape))


def largest(tree):
    return max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(tree))


def difference(a, b):
    return largest(jax.tree.map(lambda x, y: x - y, a, b))


def kernels(network, side):
    """The shapes of a network's kernels, by layer."""
    shapes = jax.eval_shape(lambda k: network.init(k, jnp.zeros((1, side, side, 3)), train=False), key())["params"]
    return {name: layer["kernel"].shape for name, layer in shapes.items() if "Conv" in name}


def randomly(shapes, std):
    """Random numbers of these shapes: parameters, biases too, without compiling the initialisers."""
    random = np.random.default_rng(0)
    return jax.tree.map(lambda p: jnp.asarray(random.normal(0, std, p.shape), jnp.float32), shapes)


def drawn(network, x, std=0.02):
    return randomly(jax.eval_shape(lambda k: network.init(k, x, train=False), key())["params"], std)


# Networks.


def test_instance_norm_equals_its_definition():
    x = np.asarray(3 + 2 * draw(0, 2, 5, 7, 3))
    expected = np.empty_like(x)
    for i in range(2):
        for c in range(3):
            plane = x[i, :, :, c].astype(np.float64)
            expected[i, :, :, c] = (plane - plane.mean()) / np.sqrt(plane.var() + 1e-5)
    np.testing.assert_allclose(instance_norm(x), expected, atol=1e-5)


def test_instance_norm_keeps_its_statistics_in_float32():
    """Means of bfloat16 numbers around 100, which has steps of 0.5 there, are far off when summed in bfloat16."""
    x = (100 + draw(1, 1, 64, 64, 1)).astype(jnp.bfloat16)
    y = instance_norm(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), instance_norm(x.astype(jnp.float32)), rtol=1e-2)
    assert abs(y.astype(jnp.float32).mean()) < 0.01


def test_reflection_does_not_repeat_the_border():
    row = reflect(jnp.arange(4.0).reshape(1, 1, 4, 1) + jnp.zeros((1, 4, 1, 1)), 3)[0, 3, :, 0]
    np.testing.assert_array_equal(row, [3, 2, 1, 0, 1, 2, 3, 2, 1, 0])
    x = draw(0, 2, 5, 4, 3)
    expected = np.stack([[np.pad(x[i, :, :, c], 3, mode="reflect") for c in range(3)] for i in range(2)])
    np.testing.assert_array_equal(reflect(x, 3), expected.transpose(0, 2, 3, 1))


def test_the_resnet_generator_has_the_papers_layers():
    """c7s1-64, d128, d256, nine R256, u128, u64, c7s1-3; doublings with kernel 4."""
    shapes = kernels(ResnetGenerator(3), 256)
    convs = [shapes[f"Conv_{i}"] for i in range(22)]
    assert convs[:3] == [(7, 7, 3, 64), (3, 3, 64, 128), (3, 3, 128, 256)]
    assert convs[3:21] == [(3, 3, 256, 256)] * 18
    assert convs[21] == (7, 7, 64, 3)
    assert [shapes[f"ConvTranspose_{i}"] for i in range(2)] == [(4, 4, 256, 128), (4, 4, 128, 64)]
    assert len(shapes) == 24


def test_the_resnet_generator_equals_the_paper_written_out():
    network, x = ResnetGenerator(2, width=2, blocks=1), draw(0, 2, 8, 12, 3)
    params = drawn(network, x, std=0.3)

    def conv(x, kernel, stride=1, pad=0):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=layout)

    def up(x, kernel):
        """The adjoint of a convolution with stride 2, by automatic differentiation."""
        image = jnp.zeros((x.shape[0], 2 * x.shape[1], 2 * x.shape[2], kernel.shape[3]))
        return jax.vjp(lambda y: conv(y, kernel.transpose(0, 1, 3, 2), 2, 1), image)[1](x)[0]

    def normal(x):
        return (x - x.mean((1, 2), keepdims=True)) / jnp.sqrt(x.var((1, 2), keepdims=True) + 1e-5)

    def mirror(x, n):
        rows, cols = (np.pad(np.arange(side), n, mode="reflect") for side in x.shape[1:3])
        return x[:, rows][:, :, cols]

    def relu(x):
        return jnp.maximum(x, 0)

    @jax.jit
    def written_out(x):
        k = {name: layer["kernel"] for name, layer in params.items()}
        h = relu(normal(conv(mirror(x, 3), k["Conv_0"])))
        h = relu(normal(conv(h, k["Conv_1"], 2, 1)))
        h = relu(normal(conv(h, k["Conv_2"], 2, 1)))
        h = h + normal(conv(mirror(relu(normal(conv(mirror(h, 1), k["Conv_3"]))), 1), k["Conv_4"]))
        h = relu(normal(up(h, k["ConvTranspose_0"])))
        h = relu(normal(up(h, k["ConvTranspose_1"])))
        return jnp.tanh(conv(mirror(h, 3), k["Conv_5"]) + params["Conv_5"]["bias"])

    out = jax.jit(lambda x: network.apply({"params": params}, x, train=True))(x)
    assert 0.2 < np.abs(out).mean() < 0.95
    np.testing.assert_allclose(out, written_out(x), atol=1e-3)


def test_the_u_net_has_the_papers_layers():
    """C64-C128-C256-C512-C512-C512-C512-C512 and back; every layer of the way back sees its skip connection."""
    shapes = kernels(UNetGenerator(3), 256)
    down = [3, 64, 128, 256, 512, 512, 512, 512, 512]
    assert [shapes[f"Conv_{i}"] for i in range(8)] == [(4, 4, c, d) for c, d in itertools.pairwise(down)]
    seen, made = [512, 1024, 1024, 1024, 1024, 512, 256, 128], [512, 512, 512, 512, 256, 128, 64, 3]
    expected = [(4, 4, c, d) for c, d in zip(seen, made, strict=True)]
    assert [shapes[f"ConvTranspose_{i}"] for i in range(8)] == expected


def test_skip_connections_of_the_u_net_lead_past_the_bottleneck():
    network, x = UNetGenerator(1, width=2, depth=3), draw(0, 1, 16, 8, 1)
    params = drawn(network, x)
    apply = jax.jit(lambda params, x: network.apply({"params": params}, x, train=False))
    # Without the innermost grid, and without the next scale either.
    for layers in (["Conv_2"], ["Conv_2", "Conv_1"]):
        cut = params | {layer: jax.tree.map(jnp.zeros_like, params[layer]) for layer in layers}
        assert difference(apply(cut, x), apply(params, x)) > 1e-6
        assert difference(apply(cut, x), apply(cut, -x)) > 1e-4
    # Without the outermost as well no way is left.
    cut |= {"Conv_0": jax.tree.map(jnp.zeros_like, params["Conv_0"])}
    assert difference(apply(cut, x), apply(cut, -x)) == 0


def test_the_patch_discriminator_has_the_papers_layers():
    """C64-C128-C256-C512 and a convolution to one channel."""
    shapes = kernels(PatchDiscriminator(), 256)
    width = [3, 64, 128, 256, 512, 1]
    assert [shapes[f"Conv_{i}"] for i in range(5)] == [(4, 4, c, d) for c, d in itertools.pairwise(width)]


@pytest.mark.parametrize(("layers", "field"), [(0, 1), (1, 16), (2, 34), (3, 70)])
def test_receptive_field_by_gradient(monkeypatch, layers, field):
    """Which pixels a logit depends on, but for instance normalisation, whose statistics see all of them."""
    monkeypatch.setattr(networks, "instance_norm", lambda x: x)
    network, x = PatchDiscriminator(2, layers), draw(0, 1, 96, 112, 1)
    params = drawn(network, x)

    @jax.jit
    def seen(i, j):
        return jax.grad(lambda x: network.apply({"params": params}, x, train=False)[0, i, j])(x)[0, :, :, 0] != 0

    def box(i, j):
        rows, cols = np.nonzero(np.asarray(seen(i, j)))
        return rows.min(), rows.max() + 1, cols.min(), cols.max() + 1

    top, bottom, left, right = box(4, 5)
    assert (bottom - top, right - left) == (field, field)
    # The next logit looks 2^layers pixels further on.
    assert box(5, 6) == tuple(side + 2**layers for side in (top, bottom, left, right))


@pytest.mark.parametrize(
    ("network", "side", "shape"),
    [
        (ResnetGenerator(1, 2, 1), (8, 12), (8, 12, 1)),
        (ResnetGenerator(5, 2, 0), (100, 52), (100, 52, 5)),
        (UNetGenerator(2, 2, depth=7), (128, 256), (128, 256, 2)),
        (UNetGenerator(3, 2, depth=8), (256, 256), (256, 256, 3)),
        (UNetGenerator(3, 2, depth=2), (12, 4), (12, 4, 3)),
        (PatchDiscriminator(2), (256, 256), (30, 30)),
        (PatchDiscriminator(2), (24, 286), (1, 33)),
        (PatchDiscriminator(2, layers=1), (6, 9), (1, 2)),
        (PatchDiscriminator(2, layers=0), (5, 7), (5, 7)),
    ],
)
def test_shapes(network, side, shape):
    out, _ = jax.eval_shape(lambda k: network.init_with_output(k, jnp.zeros((2, *side, 3)), train=False), key())
    assert out.shape == (2, *shape)
    assert out.dtype == jnp.float32


@pytest.mark.parametrize(
    "network", [ResnetGenerator(3, 2, 1), UNetGenerator(3, 2, 4), PatchDiscriminator(2, 1), PatchDiscriminator(2, 0)]
)
def test_images_do_not_see_each_other_and_dtype_is_of_the_computation(network):
    x = draw(0, 2, 16, 16, 3)
    variables = {"params": drawn(network, x)}
    apply = jax.jit(lambda x: network.apply(variables, x, train=True))
    one, other = apply(x), apply(x.at[0].set(0))
    assert difference(one[0], other[0]) > 1e-5
    np.testing.assert_array_equal(one[1], other[1])
    half = network.clone(dtype=jnp.bfloat16)
    assert all(p.dtype == jnp.float32 for p in jax.tree.leaves(variables))
    assert jax.eval_shape(lambda: half.apply(variables, x, train=True)).dtype == jnp.float32
    text = str(jax.make_jaxpr(lambda: half.apply(variables, x, train=True))())
    assert "bf16[2," in text


def test_kernels_start_from_the_normal_distribution_of_the_paper():
    network = PatchDiscriminator(16, layers=2)
    params = jax.jit(lambda k: network.init(k, jnp.zeros((1, 16, 16, 3)), train=False))(key())["params"]
    np.testing.assert_array_equal(params["Conv_0"]["bias"], 0)
    assert "bias" not in params["Conv_1"]
    kernels = np.concatenate([layer["kernel"].ravel() for layer in params.values()])
    assert abs(kernels.mean()) < 5 * 0.02 / np.sqrt(kernels.size)
    np.testing.assert_allclose(kernels.std(), 0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (ResnetGenerator(3), (1, 250, 258, 3), "multiples of 4.*nearest sizes are 248 x 256 and 252 x 260"),
        (ResnetGenerator(3), (1, 4, 4, 3), "at least 8.*nearest sizes are 8 x 8"),
        (ResnetGenerator(3), (64, 64, 3), r"Images are \[batch, height, width, channels\].*\(64, 64, 3\)"),
        (UNetGenerator(3), (1, 128, 300, 3), "multiples of 256.*nearest sizes are 256 x 256 and 256 x 512"),
        (UNetGenerator(3, depth=1), (1, 128, 128, 3), "depth to at least 2"),
        (PatchDiscriminator(), (1, 16, 64, 3), "at least 24 pixels.*16 x 64.*layers=2"),
        (PatchDiscriminator(), (1, 2, 2, 3), "layers=0"),
        (PatchDiscriminator(layers=-1), (1, 16, 64, 3), "layers=-1"),
    ],
)
def test_networks_say_which_sizes_they_take(network, shape, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda k: network.init(k, jnp.zeros(shape), train=False), key())


# The image pool.


class PlainPool:
    """The pool as the paper's text has it, one image after the other."""

    def __init__(self, size):
        self.size, self.images = size, []

    def query(self, fakes, swap, slot):
        shown = []
        for fake, swaps, at in zip(fakes, swap, slot, strict=True):
            if len(self.images) < self.size:
                self.images.append(fake)
                shown.append(fake)
            elif swaps:
                shown.append(self.images[at])
                self.images[at] = fake
            else:
                shown.append(fake)
        return np.stack(shown)


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_the_pool_equals_a_plain_one_given_the_same_draws(batch):
    size, random = 5, np.random.default_rng(0)
    plain, images, count = PlainPool(size), jnp.zeros((size, 2, 2, 1)), jnp.int32(0)
    step = jax.jit(exchange)
    for i in range(40):
        fakes = np.float32(1000 * i + np.arange(batch))[:, None, None, None] + np.zeros((1, 2, 2, 1), np.float32)
        # All in one slot now and then: what one fake leaves the next one of the batch meets.
        swap, slot = random.random(batch) < 0.5 + 0.5 * (i % 3 == 0), random.integers(0, size if i % 2 else 2, batch)
        images, shown = step(images, count, fakes, swap, slot)
        count = jnp.minimum(count + batch, size)
        np.testing.assert_array_equal(shown, plain.query(fakes, swap, slot))
        np.testing.assert_array_equal(images[: len(plain.images)], np.stack(plain.images))
    assert len(plain.images) == count == size


def test_half_of_the_fakes_enter_a_full_pool_at_a_random_place():
    size, batch = 8, 4000
    pool = {"a": -1 - jnp.arange(size, dtype=jnp.float32), "b": jnp.zeros(size), "count": jnp.int32(size)}
    fakes = {"a": jnp.arange(1.0, batch + 1), "b": jnp.arange(1.0, batch + 1)}
    after, seen = query(pool, fakes, key())
    kept = np.asarray(seen["a"] == fakes["a"])
    assert abs(kept.mean() - 0.5) < 5 * 0.5 / np.sqrt(batch)
    assert np.mean(kept == (seen["b"] == fakes["b"])) < 0.6  # the domains draw for themselves
    # An image stays for 2 * size steps on average, whichever slot it is in: the delay is geometric.
    delay = np.asarray(fakes["a"] - seen["a"])[~kept & np.asarray(seen["a"] > 0)]
    np.testing.assert_allclose(delay.mean(), 2 * size, rtol=0.1)
    assert after["a"].min() > 0 and after["count"] == size
    again, _ = query(pool, fakes, key())
    np.testing.assert_array_equal(again["a"], after["a"])


# The recipe.


class Generator(linen.Module):
    """Sees single pixels, and the image through its mean and variance: quick to compile."""

    channels: int

    @linen.compact
    def __call__(self, x, *, train):
        return jnp.tanh(linen.Dense(self.channels)(linen.relu(instance_norm(linen.Dense(4)(x)))))


class Discriminator(linen.Module):
    """One logit for each square of 4 pixels."""

    @linen.compact
    def __call__(self, x, *, train):
        x = linen.leaky_relu(linen.Dense(4)(x.reshape(len(x), 4, 2, 4, 2, -1)), 0.2).max((2, 4))
        return linen.Dense(1)(x)[..., 0]


AB, BA, D_A, D_B = Generator(3), Generator(1), Discriminator(), Discriminator()
NETWORKS = {"ab": AB, "ba": BA, "a": D_A, "b": D_B}
SGD = {"g_tx": optax.sgd(0.1), "d_tx": optax.sgd(0.1)}


def make(**options):
    return cyclegan(AB, BA, D_A, D_B, SHAPE_A, SHAPE_B, **({"identity": 0, "pool": N} | SGD | options))


def same_shapes(**options):
    """Both domains have one channel, for the identity loss."""
    return cyclegan(BA, BA, D_A, D_A, SHAPE_A, SHAPE_A, **({"pool": N} | SGD | options))


def initial(gan):
    """A state that init might have made."""
    shapes = jax.eval_shape(gan.init, key())
    state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    return state.replace(params=randomly(shapes.params, 0.5))


def batch(seed=7, b=SHAPE_B, n=B):
    return {"a": draw(seed, n, *SHAPE_A), "b": draw(seed + 100, n, *b)}


def apply(params, name, x, networks=NETWORKS):
    return networks[name].apply({"params": params}, x, train=True)


def lsgan_g(fake):
    return jnp.mean((fake - 1) ** 2)


def lsgan_d(real, fake):
    """Halved, as in the paper's section 7.1."""
    return 0.5 * (jnp.mean((real - 1) ** 2) + jnp.mean(fake**2))


def test_steps_equal_the_paper_written_out():
    """Two steps with Adam: generators first, discriminators on the fakes of before, through plain pools."""
    weight, share = 10.0, 0.5
    gan = same_shapes(cycle=weight, identity=share, g_tx=None, d_tx=None)
    state = first = initial(gan)
    batches, k = [batch(i, SHAPE_A) for i in range(2)], key(1)
    step, metrics = jax.jit(gan.step), {}
    for x in batches:
        state, metrics = step(state, x, jax.random.clone(k))

    def g_loss(ab, ba, d_a, d_b, a, b):
        g, f = lambda x: apply(ab, "ba", x), lambda x: apply(ba, "ba", x)
        d = lambda params, x: apply(params, "a", x)  # noqa: E731
        l1 = lambda x, y: jnp.mean(jnp.abs(x - y))  # noqa: E731
        fake_b, fake_a = g(a), f(b)
        parts = {
            "adversarial/a": lsgan_g(d(d_a, fake_a)),
            "adversarial/b": lsgan_g(d(d_b, fake_b)),
            "cycle/a": l1(f(fake_b), a),
            "cycle/b": l1(g(fake_a), b),
            "identity/a": l1(f(a), a),
            "identity/b": l1(g(b), b),
        }
        weights = {"adversarial": 1.0, "cycle": weight, "identity": share * weight}
        return sum(weights[name[:-2]] * part for name, part in parts.items()), (parts, fake_a, fake_b)

    def d_loss(d, real, fake):
        return lsgan_d(apply(d, "a", real), apply(d, "a", fake))

    g_grad = jax.jit(jax.value_and_grad(g_loss, argnums=(0, 1), has_aux=True))
    d_grad = jax.jit(jax.value_and_grad(d_loss))
    adam = optax.adam(2e-4, b1=0.5, b2=0.999)
    nets = {"ab": first.params["generator"]["ab"], "ba": first.params["generator"]["ba"]}
    nets |= first.params["discriminator"]
    opt = {name: adam.init(params) for name, params in nets.items()}
    pools = {"a": PlainPool(N), "b": PlainPool(N)}

    @jax.jit
    def moved(params, opt_state, grads):
        updates, opt_state = adam.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state

    def update(name, grads):
        nets[name], opt[name] = moved(nets[name], opt[name], grads)

    for i, x in enumerate(batches):
        (g_value, (parts, fake_a, fake_b)), grads = g_grad(nets["ab"], nets["ba"], nets["a"], nets["b"], x["a"], x["b"])
        update("ab", grads[0])
        update("ba", grads[1])
        d_values = []
        with jax.debug_key_reuse(False):  # the draws by their rule: fold_in the step, split below it
            turn_key = jax.random.split(jax.random.fold_in(k, i), 3)[1]
            keys = jax.random.split(jax.random.split(turn_key)[0])
            for domain, fakes, pool_key in (("a", fake_a, keys[0]), ("b", fake_b, keys[1])):
                swap_key, slot_key = jax.random.split(pool_key)
                swap = np.asarray(jax.random.bernoulli(swap_key, shape=(B,)))
                slot = np.asarray(jax.random.randint(slot_key, (B,), 0, N))
                shown = pools[domain].query(np.asarray(fakes), swap, slot)
                value, slope = d_grad(nets[domain], x[domain], shown)
                update(domain, slope)
                d_values.append(value)

    params = {"generator": {"ab": nets["ab"], "ba": nets["ba"]}, "discriminator": {"a": nets["a"], "b": nets["b"]}}
    assert difference(state.params, first.params) > 1e-4
    assert difference(state.params, params) < 2e-6
    for domain in "ab":
        np.testing.assert_allclose(state.memory["pool"][domain], np.stack(pools[domain].images), atol=1e-5)
    expected = parts | {
        "generator_loss": g_value,
        "discriminator_loss": sum(d_values),
        "discriminator_loss/a": d_values[0],
        "discriminator_loss/b": d_values[1],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)
    logits = {f"{side}_logit/{domain}" for side in ("real", "fake") for domain in "ab"}
    norms = {f"gradient_norm/{player}_loss" for player in ("generator", "discriminator")}
    assert metrics.keys() - expected.keys() == {"real_sign"} | logits | norms
    assert jax.tree.structure(state) == jax.tree.structure(first)
    assert state.step == 2


def test_without_cycle_identity_and_pool_it_is_two_independent_lsgans():
    gan = make(cycle=0, identity=0, pool=0)
    state, x, h = initial(gan), batch(), 0.1
    assert state.memory == {}
    new, metrics = jax.jit(gan.step)(state, x, key(1))

    def lsgan(g_name, d_name, given, real):
        """One step of one game, which knows nothing of the other."""
        g, d = state.params["generator"][g_name], state.params["discriminator"][d_name]
        fake = apply(g, g_name, given)
        g_slope = jax.jit(jax.grad(lambda g: lsgan_g(apply(d, d_name, apply(g, g_name, given)))))(g)
        d_slope = jax.jit(jax.grad(lambda d: lsgan_d(apply(d, d_name, real), apply(d, d_name, fake))))(d)
        return [jax.tree.map(lambda p, s: p - h * s, p, s) for p, s in ((g, g_slope), (d, d_slope))]

    ab, d_b = lsgan("ab", "b", x["a"], x["b"])
    ba, d_a = lsgan("ba", "a", x["b"], x["a"])
    expected = {"generator": {"ab": ab, "ba": ba}, "discriminator": {"a": d_a, "b": d_b}}
    assert difference(new.params, state.params) > 1e-3
    assert difference(new.params, expected) < 1e-6
    assert not any("cycle" in name or "identity" in name for name in metrics)


def test_pix2pix_is_a_conditional_gan_and_an_l1_distance():
    """Isola et al. 2017, equations 1 and 3, in both directions: the discriminator sees input and output."""
    gan = make(objective=non_saturating(), cycle=0, pool=0, paired=100.0, conditional=True)
    state, x, h = initial(gan), batch(), 0.1
    assert state.params["discriminator"]["a"]["Dense_0"]["kernel"].shape == (4, 4)
    new, metrics = jax.jit(gan.step)(state, x, key(1))

    def log_sigmoid(x):
        return -jnp.log1p(jnp.exp(-x))

    for g_name, source, target in (("ab", "a", "b"), ("ba", "b", "a")):
        g, d = state.params["generator"][g_name], state.params["discriminator"][target]
        judge = lambda d, y: apply(d, target, jnp.concatenate([x[source], y], -1))  # noqa: B023, E731

        def g_loss(g):
            fake = apply(g, g_name, x[source])  # noqa: B023
            return 100 * jnp.mean(jnp.abs(fake - x[target])) - jnp.mean(log_sigmoid(judge(d, fake)))  # noqa: B023

        fake = apply(g, g_name, x[source])
        d_loss = lambda d: -0.5 * jnp.mean(log_sigmoid(judge(d, x[target])) + log_sigmoid(-judge(d, fake)))  # noqa: B023, E731
        for old, loss, player, name in ((g, g_loss, "generator", g_name), (d, d_loss, "discriminator", target)):
            expected = jax.tree.map(lambda p, s: p - h * s, old, jax.jit(jax.grad(loss))(old))
            assert difference(new.params[player][name], expected) < 1e-5, name
        np.testing.assert_allclose(metrics[f"paired/{target}"], jnp.mean(jnp.abs(fake - x[target])), rtol=1e-5)


@pytest.fixture(scope="module")
def one_device():
    """Two steps by plain jit, the second on a pool that is full."""
    gan = make(conditional=True)
    state, step = initial(gan), jax.jit(gan.step)
    for i in range(2):
        state, metrics = step(state, batch(i), key(1))
    return jax.device_get((state, metrics))


@pytest.mark.long
@pytest.mark.parametrize("name", parallel.ENGINES)
def test_two_devices_give_the_step_of_one(one_device, name):
    e = parallel.engine(name, 2)
    gan = make(conditional=True, axis_name=e.axis_name)
    state, step = e.replicate(initial(gan)), e.step(gan)
    for i in range(2):
        state, metrics = step(state, e.place(batch(i)), key(1))
    for (path, leaf), expected in zip(
        jax.tree_util.tree_leaves_with_path((state, metrics)), jax.tree.leaves(one_device), strict=True
    ):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == 2 and np.array_equal(*shards), path
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5, err_msg=jax.tree_util.keystr(path))


def test_the_generators_run_once_for_both_players():
    """Products of a step against those of its parts: no pass is made a second time for the discriminators."""
    gan, x = make(cycle=0, pool=N), batch()
    state = jax.eval_shape(gan.init, key())

    def flops(f, *args):
        return jax.jit(f).lower(*args).compile().cost_analysis()["flops"]

    def losses(params, x):
        fake_b = apply(params["generator"]["ab"], "ab", x["a"])
        fake_a = apply(params["generator"]["ba"], "ba", x["b"])
        judge = lambda name, x: apply(params["discriminator"][name], name, x)  # noqa: E731
        return lsgan_g(judge("a", fake_a)) + lsgan_g(judge("b", fake_b))

    def players(params, x, shown):
        d = lambda d, n: lsgan_d(apply(d, n, x[n]), apply(d, n, shown[n]))  # noqa: E731
        generators = jax.grad(lambda g: losses(params | {"generator": g}, x))(params["generator"])
        return generators, *(jax.grad(d)(params["discriminator"][n], n) for n in "ab")

    one_pass = sum(flops(lambda p, x, n=n: apply(p, n, x), state.params["generator"][n], x[n[0]]) for n in ("ab", "ba"))
    extra = flops(gan.step, state, x, key()) - flops(players, state.params, x, x)
    assert extra < 0.3 * one_pass  # the update and the pool


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_plays(name):
    gan = make(objective=objective(name))
    state = jax.eval_shape(gan.init, key())
    new, metrics = jax.eval_shape(gan.step, state, batch(), key(1))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert all(m.shape == () and m.dtype == jnp.float32 for m in metrics.values())


def test_a_penalty_looks_at_the_mean_logit_and_is_halved_with_the_loss():
    gan = make(objective=gan_r1(gamma=2.0), cycle=0, pool=0)
    state, x = initial(gan), batch()
    _, metrics = jax.jit(gan.step)(state, x, key(1))
    d, g = state.params["discriminator"]["b"], state.params["generator"]["ab"]
    slope = jax.grad(lambda x: apply(d, "b", x).mean((1, 2)).sum())(x["b"])
    np.testing.assert_allclose(metrics["penalty/b"], jnp.mean(jnp.sum(slope**2, (1, 2, 3))), rtol=1e-4)
    real, fake = apply(d, "b", x["b"]), apply(d, "b", apply(g, "ab", x["a"]))
    adversarial = jnp.mean(jax.nn.softplus(-real) + jax.nn.softplus(fake))
    np.testing.assert_allclose(metrics["discriminator_loss/b"], (adversarial + metrics["penalty/b"]) / 2, rtol=1e-5)
    assert metrics["penalty/b"] > 1e-6


def test_constraint_players_and_averages():
    """The critics are clipped, the generators are not; every network moves, and samples come from the average."""
    gan = make(objective=wasserstein(clip=0.02), half_life=1e9)
    state, x = jax.jit(gan.init)(key()), batch()
    for tree in (state.params["generator"], state.params["discriminator"]):
        one, two = (jax.tree.leaves(side) for side in tree.values())
        assert all(difference(p, q) > 0 for p, q in zip(one, two, strict=True) if p.shape == q.shape and p.ndim > 1)
    before = gan.sample(state, key(2), B, a=x["a"])
    assert before.shape == (B, *SHAPE_B) and before.dtype == jnp.float32
    np.testing.assert_allclose(before, apply(state.params["generator"]["ab"], "ab", x["a"]), atol=1e-6)
    other = gan.sample(state, key(2), B, b=x["b"])
    np.testing.assert_allclose(other, apply(state.params["generator"]["ba"], "ba", x["b"]), atol=1e-6)

    new, _ = jax.jit(gan.step, donate_argnums=0)(jax.tree.map(jnp.copy, state), x, key(1))
    assert largest(new.params["discriminator"]) <= np.float32(0.02) < largest(state.params["discriminator"])
    assert largest(new.params["generator"]) > 0.1
    for player, nets in new.params.items():
        assert all(difference(net, state.params[player][name]) > 0 for name, net in nets.items())
    np.testing.assert_allclose(gan.sample(new, key(2), B, a=x["a"]), before, atol=1e-6)
    # Without a half-life, samples come from the last parameters.
    last, _ = jax.jit(make(pool=0, cycle=0).step)(make(pool=0, cycle=0).init(key()), x, key(1))
    assert difference(last.average["generator"]["params"], last.params["generator"]) == 0


def test_the_library_networks_play():
    g, d, side = ResnetGenerator(3, 4, 1, jnp.bfloat16), PatchDiscriminator(4, dtype=jnp.bfloat16), (32, 40, 3)
    gan = cyclegan(g, UNetGenerator(3, 4, depth=3), d, PatchDiscriminator(4, layers=0), side, side)
    state = jax.eval_shape(gan.init, key())
    assert state.memory["pool"]["a"].shape == (50, *side)
    x = {name: jax.ShapeDtypeStruct((1, *side), jnp.float32) for name in "ab"}
    new, metrics = jax.eval_shape(gan.step, state, x, key())
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert {"identity/a", "cycle/b", "adversarial/a"} < metrics.keys()


def test_the_learning_rate_is_constant_and_then_falls_to_zero():
    rate = constant_then_linear(2e-4, steps=200, decay_from=100)
    np.testing.assert_allclose([rate(t) for t in (0, 99, 100, 150, 199)], [2e-4, 2e-4, 2e-4, 1e-4, 2e-6], rtol=1e-5)
    assert rate(200) == rate(1000) == 0
    with pytest.raises(InputError, match="from step 200 to 200"):
        constant_then_linear(2e-4, steps=200, decay_from=200)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"identity": 0.5}, "1 and 3 channels.*identity=0"),
        ({"pool": -1}, "pool is -1"),
    ],
)
def test_options_that_do_not_work(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_networks_that_do_not_fit():
    with pytest.raises(InputError, match=r"generator ba makes images of shape \(8, 8, 3\).*domain a has \(8, 8, 1\)"):
        cyclegan(AB, AB, D_A, D_B, SHAPE_A, SHAPE_B, identity=0).init(key())
    with pytest.raises(InputError, match=r"got \(8, 8\)"):
        cyclegan(AB, BA, D_A, D_B, (8, 8), SHAPE_B)
    with pytest.raises(InputError, match="8 x 8 pixels beside one of 16 x 8"):
        cyclegan(AB, BA, D_A, D_B, SHAPE_A, (16, 8, 3), identity=0, conditional=True)

    class Normalised(linen.Module):
        @linen.compact
        def __call__(self, x, *, train):
            return linen.BatchNorm(not train)(x)

    with pytest.raises(InputError, match="Normalised has batch_stats"):
        cyclegan(Normalised(), Normalised(), D_A, D_A, SHAPE_A, SHAPE_A).init(key())


def test_batches_and_samples_that_do_not_fit():
    gan = make()
    state, x = jax.eval_shape(gan.init, key()), batch()
    for bad, message in (
        ({"a": x["a"]}, "no images 'b'; it has a"),
        (x | {"b": x["a"]}, r"images 'b' of shape \(8, 8, 1\). Expected: \(8, 8, 3\)"),
        (x | {"a": x["a"][:2]}, "2 images of domain a and 4 of b"),
    ):
        with pytest.raises(InputError, match=message):
            jax.eval_shape(gan.step, state, bad, key(1))
    state = jax.jit(gan.init)(key())
    with pytest.raises(InputError, match="give one of the two"):
        gan.sample(state, key(1), B)
    with pytest.raises(InputError, match="give one of the two"):
        gan.sample(state, key(1), B, **x)
    with pytest.raises(InputError, match="Expected: 3 images"):
        gan.sample(state, key(1), 3, a=x["a"])
    with pytest.raises(InputError, match="uint8"):
        gan.sample(state, key(1), B, a=x["a"].astype(jnp.uint8))
