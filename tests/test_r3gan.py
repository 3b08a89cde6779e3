"""R3GAN's networks: convolutions by their definition, fix-up's properties, the paper's sizes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import nn
from jaxgan.errors import InputError
from jaxgan.nn.r3gan import _Block as Block
from jaxgan.nn.r3gan import _Plan as Plan

# Compiling takes longer than running here.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
TINY = {"channel_base": 64, "channel_max": 4, "blocks": 1, "group": 4}


def key(seed=0):
    return jax.random.key(seed)


def normal(seed, *shape):
    return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def shapes(module, *shape, **kwargs):
    return jax.eval_shape(lambda: module.init(key(), jnp.zeros(shape), train=False, **kwargs))["params"]


def start(module, given, **label):
    return jit(lambda k, x: module.init(k, x, train=False, **label))(key(), given)["params"]


def size(params):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))


# Convolutions within groups


@pytest.mark.parametrize(("groups", "c", "d"), [(3, 2, 2), (2, 3, 5), (1, 4, 4)])
def test_a_grouped_convolution_is_one_convolution_for_each_group(groups, c, d):
    x, kernel = normal(1, 2, 5, 6, groups * c), normal(2, 3, 3, c, groups * d)
    out = nn.grouped_conv(x, kernel)
    for g in range(groups):
        own = nn.conv(x[..., g * c : (g + 1) * c], kernel[..., g * d : (g + 1) * d], padding=1)
        np.testing.assert_allclose(out[..., g * d : (g + 1) * d], own, rtol=1e-4, atol=1e-5)


def test_a_grouped_convolution_is_the_one_that_other_platforms_run():
    x, kernel = normal(1, 2, 4, 4, 6), normal(2, 3, 3, 2, 6)
    native = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=3
    )
    np.testing.assert_allclose(nn.grouped_conv(x, kernel), native, rtol=1e-4, atol=1e-5)


# Fix-up


def test_a_block_is_the_identity_at_the_start():
    x = normal(1, 2, 4, 4, 8)
    block = Block(1.0, 4, jnp.float32)
    params = jit(block.init)(key(), x)["params"]
    np.testing.assert_array_equal(block.apply({"params": params}, x), x)
    params["project"]["kernel"] = normal(2, 1, 1, 16, 8)
    assert np.abs(block.apply({"params": params}, x) - x).max() > 0.1


@pytest.mark.parametrize("count", [1, 16])
def test_all_blocks_together_add_what_they_find_however_many_they_are(count):
    """With a last convolution that keeps the variance each block adds 1 / L of it: (1 + 1 / L)^L in all, below e."""
    plan = Plan((4, 4, 1), 128, 32, count, 16)
    block = Block(plan.gain, 16, jnp.float32)
    x = normal(0, 64, 4, 4, 32)
    params = jit(jax.vmap(lambda k: block.init(k, x[:1])["params"]))(jax.random.split(key(), count))
    params["project"]["kernel"] = normal(3, count, 1, 1, 64, 32) / 8
    out, _ = jax.lax.scan(lambda x, p: (block.apply({"params": p}, x), None), x, params)
    # Beyond the border there are zeros: of nine neighbours 100 / 16 are inside on average.
    inside = 100 / 16 / 9
    expected = (1 + inside / count) ** count
    np.testing.assert_allclose(jnp.mean(out**2) / jnp.mean(x**2), expected, rtol=0.15)


def test_images_and_logits_have_the_scale_of_their_inputs_at_the_start():
    """A product of N(0, 1) with N(0, 1) has variance 1, and every map keeps that; blocks are identities."""
    options = {"channel_base": 2**14, "channel_max": 128, "blocks": 1, "group": 64}
    generator, discriminator = nn.R3Generator((4, 4, 3), **options), nn.R3Discriminator(**options)
    z, x = normal(1, 64, 8), normal(2, 64, 4, 4, 3)
    for module, given in ((generator, z), (discriminator, x)):
        init = jit(lambda k, module=module, given=given: module.init(k, given, train=False))
        apply = jit(lambda params, module=module, given=given: module.apply(params, given, train=False))
        squares = [np.mean(np.square(apply(init(k)))) for k in jax.random.split(key(), 32)]
        np.testing.assert_allclose(np.mean(squares), 1, rtol=0.25)


# The paper's networks


@pytest.mark.parametrize(
    ("side", "classes", "g", "d"),
    [
        (256, None, "23.06", "23.01"),
        (64, None, "22.43", "22.38"),
        (32, None, "20.73", "20.68"),
        (32, 10, "20.78", "21.28"),
    ],
)
def test_the_defaults_have_the_sizes_of_table_9(side, classes, g, d):
    """FFHQ-256, FFHQ-64, stacked MNIST and CIFAR-10, in millions of parameters."""
    label = {} if classes is None else {"label": jnp.zeros(1, jnp.int32)}
    generator, discriminator = nn.R3Generator((side, side, 3), classes=classes), nn.R3Discriminator(classes=classes)
    assert f"{size(shapes(generator, 1, 64, **label)) / 1e6:.2f}" == g
    assert f"{size(shapes(discriminator, 1, side, side, 3, **label)) / 1e6:.2f}" == d


def test_both_players_are_mirror_images():
    """But for their ends, and for the transitions, which have another direction."""
    g, d = shapes(nn.R3Generator((28, 28, 1), **TINY), 1, 3), shapes(nn.R3Discriminator(**TINY), 1, 28, 28, 1)
    blocks = {name for name in g if name.startswith("block")}
    assert blocks == {"block_7_0", "block_14_0", "block_28_0"} == {name for name in d if name.startswith("block")}
    assert all(jax.tree.map(jnp.shape, g[name]) == jax.tree.map(jnp.shape, d[name]) for name in blocks)
    assert g["basis"].shape == d["basis"].shape == (7, 7, 4)
    assert {n for n in g if "transition" in n} == {"transition_28"} == {n for n in d if "transition" in n}


def test_the_first_grid_is_a_basis_that_the_latent_and_the_class_scale():
    generator = nn.R3Generator((4, 4, 3), classes=3, embed=2, **TINY)
    z, label = normal(1, 5, 6), jnp.array([0, 1, 2, 0, 1])
    params = start(generator, z, label=label)
    out = jit(generator.apply, static_argnames="train")({"params": params}, z, train=False, label=label)
    basis, scale, embedding = params["basis"], params["scale"]["kernel"], params["embedding"]["kernel"]
    for i in range(5):  # at the start blocks are identities
        code = np.concatenate([z[i], embedding[label[i]]]) @ scale
        np.testing.assert_allclose(out[i], (basis * code) @ params["to_image"]["kernel"][0, 0], rtol=1e-4, atol=1e-5)


def test_the_logit_is_the_inner_product_of_features_and_class():
    discriminator = nn.R3Discriminator(classes=3, **TINY)
    x, label = normal(1, 5, 4, 4, 3), jnp.array([0, 1, 2, 0, 1])
    params = start(discriminator, x, label=label)
    out = jit(discriminator.apply, static_argnames="train")({"params": params}, x, train=False, label=label)
    features = np.einsum("bhwc,cd,hwd->bd", x, params["from_image"]["kernel"][0, 0], params["basis"])
    expected = np.sum(features @ params["logit"]["kernel"] * params["embedding"]["kernel"][label], axis=1)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_half_precision_is_a_rounding():
    z, x = normal(1, 3, 4), normal(2, 3, 8, 8, 1)
    cases = ((partial(nn.R3Generator, (8, 8, 1), **TINY), z), (partial(nn.R3Discriminator, **TINY), x))
    for make, given in cases:
        params = jax.tree.map(lambda p: p + 0.1, start(make(), given))
        full, half = (
            jit(make(dtype=dtype).apply, static_argnames="train")({"params": params}, given, train=False)
            for dtype in (jnp.float32, jnp.bfloat16)
        )
        assert half.dtype == jnp.float32
        assert 0 < np.abs(full - half).max() < 0.05 * np.abs(full).max()


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((30, 30, 1), {}, "4, 5, 6 or 7 pixels .* power of two.*--image-size 32"),
        ((8, 16, 1), {}, "square images"),
        ((2, 2, 1), {}, "square images"),
        ((8, 8, 1), {"blocks": 0}, "blocks=0"),
        ((8, 8, 1), {"channel_max": 3}, "give 3 channels at 4 pixels.*--channel-max to one of 2"),
        ((8, 8, 1), {"channel_base": 4}, "give 1 channels at 4 pixels.*--channel-base to a multiple of 16"),
    ],
)
def test_what_does_not_fit_together(shape, options, words):
    with pytest.raises(InputError, match=words):
        shapes(nn.R3Generator(shape, **TINY | options), 1, 3)
    with pytest.raises(InputError, match=words):
        shapes(nn.R3Discriminator(**TINY | options), 1, *shape)
