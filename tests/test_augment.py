"""Augmentations against numpy, scipy and the papers' formulas; their frequencies; derivatives; p's path."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import ndimage, signal, stats
from scipy.spatial.transform import Rotation

from jaxgan import parallel
from jaxgan.augment import ada, ada_init, ada_update, adapt, diff_augment
from jaxgan.augment.ada import Colour, draw_colour, draw_warp, recolour
from jaxgan.augment.warp import SYM6, resample
from jaxgan.errors import InputError
from jaxgan.state import TrainState
from jaxgan.turns import descend, every, repeat
from jaxgan.typing import Aux

AUGMENTS = {"ada": ada, "diff": diff_augment}


def key(seed=0):
    return jax.random.key(seed)


def noise(shape, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def copies(image, n):
    return jnp.broadcast_to(jnp.asarray(image), (n, *image.shape))


def check_counts(counts, expected):
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < stats.chi2.ppf(0.999, len(counts) - 1)


def check_draws(values, p, distribution, n):
    """What is not zero is about n p of n numbers, and of the distribution."""
    drawn = values[np.abs(values) > 2e-6]
    assert stats.binomtest(len(drawn), n, p).pvalue > 1e-3
    assert stats.kstest(drawn, distribution).pvalue > 1e-3


@pytest.mark.parametrize("name", AUGMENTS)
@pytest.mark.parametrize(("dtype", "channels"), [(jnp.float32, 3), (jnp.bfloat16, 1)])
def test_nothing_happens_with_probability_zero(name, dtype, channels):
    images = jnp.asarray(noise((6, 8, 8, channels)), dtype).at[:, 0, 0].set(-0.0)
    out = jax.jit(AUGMENTS[name]())(images, key(), jnp.float32(0))
    assert out.dtype == dtype
    assert np.asarray(out).tobytes() == np.asarray(images).tobytes()


@pytest.mark.parametrize("name", AUGMENTS)
def test_an_image_that_escapes_every_transformation_is_untouched(name):
    n, p = 3000, 0.1
    image = noise((6, 6, 3))
    out = np.asarray(jax.jit(AUGMENTS[name]())(copies(image, n), key(), p))
    untouched = (out == image).all((1, 2, 3)).sum()
    if name == "ada":
        # Of the mirrored and the inverted every other one is as it was, of the turned one in four, and of shifts by up
        # to 3/4 of a pixel, in two directions, (2/3)^2; the others always change. A rotation, before or after: p.
        kept = (1 - p / 2) ** 2 * (1 - 3 / 4 * p) * (1 - 5 / 9 * p) * (1 - p) ** 8
    else:
        kept = (1 - p) * (1 - 8 / 9 * p) * (1 - p)  # one shift in nine is none
    assert stats.binomtest(int(untouched), n, kept).pvalue > 1e-3


def test_blits_are_exact_and_as_frequent_as_they_should_be():
    n, p, side = 6000, 0.6, 8  # shifts by -1, 0 and 1 pixels
    image = noise((side, side, 1))
    out = np.asarray(jax.jit(ada(geometric=False, colour=False))(copies(image, n), key(), p))
    windows, expected = [], []
    for flip, turns, i, j in itertools.product((0, 1), range(4), (-1, 0, 1), (-1, 0, 1)):
        moved = np.rot90(image[:, ::-1] if flip else image, turns)
        padded = np.pad(moved, ((1, 1), (1, 1), (0, 0)), mode="reflect")
        windows.append(padded[1 + i : 1 + i + side, 1 + j : 1 + j + side])
        share = p / 2 if flip else 1 - p / 2
        share *= p / 4 + (1 - p) * (turns == 0)
        share *= p / (4 * 2 ** (abs(i) + abs(j))) + (1 - p) * (i == j == 0)
        expected.append(n * share)
    found = (out[:, None] == np.stack(windows)).all((2, 3, 4))
    np.testing.assert_array_equal(found.sum(1), 1)
    check_counts(found.sum(0), np.array(expected))


def test_the_wavelet_is_orthogonal_and_has_six_vanishing_moments():
    h, k = np.array(SYM6), np.arange(12)
    for shift in range(6):
        np.testing.assert_allclose(h[2 * shift :] @ h[: 12 - 2 * shift], float(shift == 0), atol=1e-10)
    for moment in range(6):
        np.testing.assert_allclose(((-1.0) ** k * (k - 5.5) ** moment) @ h, 0, atol=1e-7)


def reference(image, inverse, pad):
    """The paper's resampling of one channel: pad, upsample, look up bilinearly, downsample."""
    n, h = len(image), np.array(SYM6)
    x = np.pad(image, pad, mode="reflect")
    for _ in range(2):
        x = signal.upfirdn(np.sqrt(2) * h, x, up=2, axis=0).T
    # Point m of the upsampled image lies at (m - 5 - 0.5) / 2 - pad, and so do those that are looked up, without pad.
    place = (np.arange(2 * n + 10) - 5.5) / 2 - (n - 1) / 2
    grid = np.stack([*np.meshgrid(place, place), np.ones((len(place),) * 2)])  # x, y, 1
    sx, sy, _ = np.einsum("ij,jpq->ipq", inverse, grid) + (n - 1) / 2
    x = ndimage.map_coordinates(x, [2 * (s + pad) + 5.5 for s in (sy, sx)], order=1)
    for _ in range(2):
        x = signal.upfirdn(h[::-1] / np.sqrt(2), x, down=1, axis=0)[11:-11:2].T
    return x


def turned(angle, scale, x=0.0, y=0.0):
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1]], np.float32)


def test_resampling_is_the_papers():
    n = 16
    rough = noise((n, n))
    smooth = ndimage.gaussian_filter(noise((n, n), 2), 2, mode="mirror") * 4
    inside = [turned(a, 0.45, 0.3, -0.1) for a in (0.3, 2.0, -1.2)]  # all that is seen lies within the image
    outside = [turned(0.3, 1.0, 3.3, -1.6), turned(2.5, 1.3, 0.0, 2.0), np.diag([0.8, 1.4, 1]).astype(np.float32)]
    images, maps = np.stack([rough] * 3 + [smooth] * 3)[..., None], np.stack(inside + outside)
    got = np.asarray(jax.jit(resample)(images, maps))[..., 0]
    for i, (image, inverse) in enumerate(zip(images[..., 0], maps, strict=True)):
        # Mirror images are mirrored after the upsampling, whose filter delays some frequencies more than others.
        np.testing.assert_allclose(got[i], reference(image, inverse, n), atol=1e-4 if i < 3 else 0.05 * smooth.std())


def test_resampling_keeps_what_does_not_move_and_shifts_by_whole_pixels():
    x = noise((2, 14, 18, 2))
    maps = np.stack([np.eye(3), turned(0, 1, 2, 1)]).astype(np.float32)
    out = np.asarray(resample(x, maps))
    inner = slice(3, -4)
    np.testing.assert_allclose(out[0, inner, inner], x[0, inner, inner], atol=1e-5)
    shifted = x[1, 1:, 2:][inner, inner]
    np.testing.assert_allclose(out[1, inner, inner][: len(shifted), : shifted.shape[1]], shifted, atol=1e-5)


def test_maps_are_drawn_as_in_the_paper():
    n, p, sides = 4000, 0.3, (10, 20)
    maps = np.float64(draw_warp(key(), p, n, sides))
    linear = maps[:, :2, :2]
    check_draws(np.log2(np.linalg.det(linear)) / 0.4, p, stats.norm().cdf, n)
    u, s, v = np.linalg.svd(linear)
    check_draws(np.log2(s[:, 0] / s[:, 1]) / 0.4, p, stats.halfnorm().cdf, n)
    rotation = u @ v
    check_draws(np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0]), p, stats.uniform(-np.pi, 2 * np.pi).cdf, n)
    shifts = np.linalg.solve(linear, maps[:, :2, 2:])[..., 0] / sides[::-1]
    for shift in shifts.T:
        check_draws(8 * shift, p, stats.norm().cdf, n)
    assert ((shifts[:, 0] == 0) == (shifts[:, 1] == 0)).all()


def test_colours_are_drawn_as_in_the_paper():
    n, p = 4000, 0.3
    colour = draw_colour(key(), p, n)
    check_draws(np.asarray(colour.brightness) / 0.2, p, stats.norm().cdf, n)
    check_draws(np.asarray(colour.contrast) / 0.5, p, stats.norm().cdf, n)
    check_draws(np.asarray(colour.saturation), p, stats.norm().cdf, n)
    check_draws(np.asarray(colour.hue), p, stats.uniform(-np.pi, 2 * np.pi).cdf, n)
    assert set(np.unique(colour.inverted)) == {0, 1}
    assert stats.binomtest(int(np.sum(colour.inverted)), n, p / 2).pvalue > 1e-3


@pytest.mark.parametrize("channels", [1, 3])
def test_colours_change_as_by_the_papers_matrices(channels):
    n = 8
    colour = draw_colour(key(), 0.7, n)
    images = noise((n, 4, 4, channels))
    got, v = np.asarray(recolour(jnp.asarray(images), colour)), np.ones(3) / np.sqrt(3)
    for i, (brightness, contrast, inverted, hue, saturation) in enumerate(np.float64(jnp.stack(colour)).T):
        m = 2**contrast * np.eye(3)
        m = (np.eye(3) - 2 * inverted * np.outer(v, v)) @ m
        m = Rotation.from_rotvec(hue * v).as_matrix() @ m
        m = (np.outer(v, v) + 2**saturation * (np.eye(3) - np.outer(v, v))) @ m
        rgb = np.broadcast_to(images[i], (4, 4, 3)) + brightness
        np.testing.assert_allclose(got[i], (rgb @ m.T)[..., :channels], atol=1e-5)


def test_a_rotation_of_hues_takes_red_to_green_and_keeps_luma():
    zero = jnp.zeros(1)
    red, green = jnp.array([1.0, 0, 0]), jnp.array([0, 1.0, 0])
    third = Colour(zero, zero, zero, zero + 2 * np.pi / 3, zero)
    np.testing.assert_allclose(recolour(red.reshape(1, 1, 1, 3), third).ravel(), green, atol=1e-6)
    images = noise((1, 5, 5, 3))
    rotated = recolour(jnp.asarray(images), third._replace(hue=zero + 0.7, saturation=zero + 1))
    np.testing.assert_allclose(rotated.mean(-1), images.mean(-1), atol=1e-6)


def diff_one(name, image, n, p=1.0):
    return np.asarray(jax.jit(diff_augment((name,)))(copies(image, n), key(), p))


def test_diff_augment_translates_with_zeros():
    n, side = 5000, 10  # shifts by -1, 0 and 1 pixels: 1.25, rounded
    image = noise((side, side, 2))
    out, padded = diff_one("translation", image, n), np.pad(image, ((1, 1), (1, 1), (0, 0)))
    windows = np.stack([padded[i : i + side, j : j + side] for i in range(3) for j in range(3)])
    found = (out[:, None] == windows).all((2, 3, 4))
    np.testing.assert_array_equal(found.sum(1), 1)
    check_counts(found.sum(0), np.full(9, n / 9))


@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 4)])
def test_diff_augment_cuts_out_rectangles(height, width):
    """An even rectangle has its middle between two pixels or at an end, an odd one on a pixel."""
    n = 4000
    image = np.ones((height, width, 1), np.float32)
    out = diff_one("cutout", image, n)[..., 0]

    def strips(side):
        size = (side + 1) // 2
        middles = range(side + 1 - size % 2)
        return [(np.arange(side) >= m - size // 2) & (np.arange(side) < m - size // 2 + size) for m in middles]

    cut = np.stack([1.0 - np.outer(a, b) for a in strips(height) for b in strips(width)])
    found = (out[:, None] == cut).all((2, 3))
    np.testing.assert_array_equal(found.sum(1), 1)
    check_counts(found.sum(0), np.full(len(cut), n / len(cut)))


def test_diff_augment_changes_brightness_saturation_and_contrast():
    n = 2000
    image = np.float64(noise((4, 4, 3)))
    out = np.float64(diff_one("colour", image.astype(np.float32), n))
    grey = image.mean(-1, keepdims=True)
    brightness = out.mean((1, 2, 3)) - image.mean()
    centred = grey - image.mean()
    contrast = (out * centred).sum((1, 2, 3)) / (3 * (centred**2).sum())
    saturation = (out * (image - grey)).sum((1, 2, 3)) / ((image - grey) ** 2).sum() / contrast
    b, c, s = (x[:, None, None, None] for x in (brightness, contrast, saturation))
    np.testing.assert_allclose(out, image.mean() + b + c * (centred + s * (image - grey)), atol=1e-5)
    for values, low, wide in ((brightness, -0.5, 1), (contrast, 0.5, 1), (saturation, 0, 2)):
        assert stats.kstest(values, stats.uniform(low, wide).cdf).pvalue > 1e-3
    for a, b in itertools.combinations((brightness, contrast, saturation), 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(n)


@pytest.mark.parametrize("name", AUGMENTS)
def test_derivatives_to_second_order(name):
    """Against differences, and of a map that is affine in the images."""
    augment = AUGMENTS[name]()
    x, v = (jnp.asarray(noise((3, 6, 6, 3), seed)) for seed in (1, 2))

    @jax.jit
    def look(x):
        def critic(x):
            images = augment(x, key(3), 0.9)
            return jnp.sum(jnp.sin(images)), images

        def slope(x):
            gradient, images = jax.grad(critic, has_aux=True)(x)
            return jnp.vdot(gradient, v), (gradient, images)

        return critic(x)[0], *jax.grad(slope, has_aux=True)(x)

    h = 0.02
    (_, curvature, (gradient, images)), (up, _, above), (down, _, below) = look(x), look(x + h * v), look(x - h * v)
    np.testing.assert_allclose(jnp.vdot(gradient, v), (up - down) / (2 * h), rtol=2e-3)
    np.testing.assert_allclose(curvature, (above[0] - below[0]) / (2 * h), atol=2e-3 * np.abs(curvature).max())
    np.testing.assert_allclose(images, (above[1] + below[1]) / 2, atol=1e-5)
    assert np.abs(curvature).max() > 0.1


def both(axis_name, images, p, key):
    keys = jax.random.split(key)
    return ada(axis_name=axis_name)(images, keys[0], p) + diff_augment(axis_name=axis_name)(images, keys[1], p)


@pytest.fixture(scope="module")
def on_one_device():
    images = jnp.asarray(noise((8, 6, 6, 3)))
    return images, jax.jit(partial(both, None))(images, 0.7, key(2))


@pytest.mark.parametrize("engine", parallel.ENGINES)
def test_devices_give_the_images_of_one(engine, on_one_device):
    e, (images, expected) = parallel.engine(engine, 2), on_one_device
    run = e.compile(partial(both, e.axis_name), (e.split(), parallel.WHOLE, parallel.WHOLE), e.split())
    got = run(e.place(images), jnp.float32(0.7), key(2))
    np.testing.assert_allclose(np.asarray(got).reshape(expected.shape), expected, atol=1e-5)


def test_the_probability_may_be_an_array_that_jit_knows():
    images, p = jnp.asarray(noise((4, 6, 6, 1))), jnp.float32(0.5)
    augment = ada(geometric=False)
    np.testing.assert_allclose(
        jax.jit(lambda images: augment(images, key(2), p))(images), augment(images, key(2), 0.5), atol=1e-6
    )
    wrong = 4 * p
    with pytest.raises(InputError, match="p is 2"):
        jax.jit(lambda images: augment(images, key(2), wrong))(images)


def test_the_probability_may_be_swept():
    images = jnp.asarray(noise((4, 6, 6, 1)))
    augment = jax.jit(lambda p: ada(geometric=False)(images, key(2), p))
    p = jnp.array([0.0, 0.5, 1.0])
    out = jax.jit(jax.vmap(augment))(p)
    np.testing.assert_array_equal(out[0], images)
    for i in (1, 2):
        np.testing.assert_allclose(out[i], augment(p[i]), atol=1e-6)
    assert np.abs(out[2] - out[1]).max() > 0.1


def path(signs, state=None, **options):
    """p after each of these turns."""

    def turn(state, sign):
        state = ada_update(state, sign, 64, **options)
        return state, state.p

    return np.asarray(jax.lax.scan(turn, ada_init() if state is None else state, jnp.float32(signs))[1])


def test_p_moves_by_fixed_steps_and_stays_in_its_bounds():
    turns = np.arange(1, 41)
    options = {"images_to_one": 1600, "interval": 4}
    rises = path(np.ones(40), **options)
    np.testing.assert_allclose(rises, np.minimum(1, turns // 4 * 4 * 64 / 1600), atol=1e-6)
    assert rises[-1] == 1
    falls = path(-np.ones(40), ada_init(0.5), **options)
    np.testing.assert_allclose(falls, np.maximum(0, 0.5 - turns // 4 * 4 * 64 / 1600), atol=1e-6)
    assert falls[-1] == 0
    # The mean over the interval counts, and a target that is met exactly is no reason to move.
    np.testing.assert_allclose(path([1, 1, 1, 0, 1, 1, 0, 0], ada_init(0.5), **options)[[3, 7]], [0.66, 0.5], atol=1e-6)
    np.testing.assert_array_equal(path([1, 0, 1, 0], ada_init(0.5), target=0.5, **options), 0.5)
    # The paper's: 500,000 images from 0 to 1.
    np.testing.assert_allclose(path(np.ones(8))[-1], 8 * 64 / 500_000, rtol=1e-6)


def test_targets_may_be_swept():
    p = jax.vmap(lambda t: path_end(t))(jnp.array([0.2, 0.8]))
    np.testing.assert_allclose(p, [0.5 + 0.04, 0.5 - 0.04], atol=1e-6)


def path_end(target):
    return ada_update(ada_init(0.5), jnp.float32(0.5), 64, target=target, images_to_one=1600, interval=1).p


def judge(params, state, batch, key):
    """A discriminator of one number: real images above it have positive logits."""
    del state, key
    logits = jnp.mean(batch["image"], axis=(1, 2, 3)) - params
    return jnp.mean(logits), Aux({"real_sign": jnp.mean(jnp.sign(logits))})


def fresh(p):
    params, tx = {"discriminator": jnp.zeros(())}, optax.sgd(0.0)
    opt_state = {"discriminator": tx.init(params["discriminator"])}
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, {"discriminator": {}}, {"ada": ada_init(p)}, {})


@pytest.mark.parametrize("engine", parallel.ENGINES)
def test_a_turn_adapts_p_to_all_devices_images(engine):
    e = parallel.engine(engine, 2)
    # Signs of 24 images, 8 for each of three updates. By turns: 8, 6 and 8 of 8 are positive.
    values = np.ones(24, np.float32)
    values[[1, 13]] = -1  # rows i, i + 3, ... are those of turn i
    images = jnp.asarray(values).reshape(24, 1, 1, 1)
    one = adapt(
        descend("discriminator", judge, optax.sgd(0.0), axis_name=e.axis_name),
        images_to_one=160,
        interval=1,
        axis_name=e.axis_name,
    )
    turn = e.compile(repeat(3, one), (parallel.WHOLE, e.split(), parallel.WHOLE), (parallel.WHOLE, parallel.WHOLE))
    state, metrics = turn(fresh(0.5), e.place({"image": images}), key())
    # Each update moves p by 8 / 160 = 0.05: up, down (a mean of 0.5), up.
    assert float(state.memory["ada"].count) == 0
    np.testing.assert_allclose(metrics["augment_p"], (0.55 + 0.5 + 0.55) / 3, atol=1e-6)
    np.testing.assert_allclose(state.memory["ada"].p, 0.55, atol=1e-6)


@pytest.mark.parametrize(
    ("augment", "shape", "dtype", "p", "message"),
    [
        (ada(), (2, 8, 8, 3), jnp.float32, 1.5, "p is 1.5.*between 0 and 1"),
        (ada(), (2, 8, 8, 3), jnp.float32, jnp.float32(-0.1), "p is -0.1"),
        (ada(), (2, 8, 8, 3), jnp.float32, float("nan"), "p is nan"),
        (ada(), (2, 8, 8, 3), jnp.float32, jnp.zeros(2), r"p has shape \(2,\)"),
        (ada(), (8, 8, 3), jnp.float32, 0.5, r"float32 of shape \(8, 8, 3\)"),
        (diff_augment(), (8, 8, 3), jnp.float32, 0.5, r"float32 of shape \(8, 8, 3\)"),
        (ada(), (2, 8, 8, 3), jnp.uint8, 0.5, "uint8"),
        (ada(), (2, 8, 1, 3), jnp.float32, 0.5, "at least 2 x 2"),
        (ada(), (2, 8, 6, 3), jnp.float32, 0.5, r"8 x 6 pixels.*ada\(blit=False\)"),
        (ada(), (2, 8, 8, 4), jnp.float32, 0.5, r"images have 4.*ada\(colour=False\)"),
    ],
)
def test_images_that_cannot_be_augmented(augment, shape, dtype, p, message):
    with pytest.raises(InputError, match=message):
        augment(jnp.zeros(shape, dtype), key(), p)


def test_options_that_make_no_sense():
    with pytest.raises(InputError, match="switched off"):
        ada(blit=False, geometric=False, colour=False)
    with pytest.raises(InputError, match=r"no entry of a policy 'color'.*Did you mean 'colour'"):
        diff_augment(("color",))
    with pytest.raises(InputError, match=r"policy is 'cutout'"):
        diff_augment("cutout")
    with pytest.raises(InputError, match=r"policy is \(\)"):
        diff_augment(())
    with pytest.raises(InputError, match="p is 2"):
        ada_init(2)
    turn = descend("discriminator", judge, optax.sgd(0.0))
    for option, message in (({"target": 1.0}, "target is 1.0"), ({"images_to_one": 0}, "images_to_one is 0")):
        with pytest.raises(InputError, match=message):
            adapt(turn, **option)
    with pytest.raises(InputError, match="interval is 0"):
        adapt(turn, interval=0)


def test_turns_that_tell_nothing_of_real_images():
    batch = {"image": jnp.ones((4, 1, 1, 1))}
    with pytest.raises(InputError, match="reports nothing"):
        adapt(lambda state, batch, key: (state, {}))(fresh(0.0), batch, key())
    lazy = every(2, descend("discriminator", judge, optax.sgd(0.0)))
    with pytest.raises(InputError, match="on some steps"):
        adapt(lazy)(fresh(0.0), batch, key())
    turn = adapt(descend("discriminator", judge, optax.sgd(0.0)))
    with pytest.raises(InputError, match=r"ada_init\(\)"):
        turn(fresh(0.0).replace(memory={}), batch, key())
