"""Latents and styles against closed forms, and every edit against the generator by hand."""

import dataclasses
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxgan import config as configs
from jaxgan import edit, latent, nn, pictures
from jaxgan.errors import InputError

W, L = 8, 4


@pytest.fixture(scope="module", autouse=True)
def compile_fast():
    """Compiling takes longer than running here."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def draw(seed, *shape):
    return jnp.float32(np.random.default_rng(seed).normal(size=shape))


def make(**options):
    """A generator whose images vary about as much as a trained one's; its mean style is that of its samples."""
    options = {"channel_base": 32, "channel_max": 4, "latent_dim": 6, "w_dim": W, "mapping_layers": 2, **options}
    generator = nn.StyleGenerator((8, 8, 1), **options)
    label = {"label": jnp.zeros(1, jnp.int32)} if generator.classes else {}
    shapes = jax.eval_shape(lambda: generator.init(jax.random.key(0), jnp.zeros((1, 6)), train=False, **label))
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        name = jax.tree_util.keystr(path)
        start = 1.0 if "style" in name and "bias" in name else 0.0
        # Biases, but small ones; layers of the mapping that learn slowly start large; colours stay below 1.
        scale = 0.1 if "bias" in name or "noise_strength" in name else 0.4 if "to_rgb" in name else 1.0
        scale *= 100.0 if "mapping" in name and "dense" in name else 1.0
        return jnp.float32(start + scale * rng.normal(size=leaf.shape))

    variables = jax.tree_util.tree_map_with_path(fill, shapes)
    filled = edit.Styled(generator, variables, batch=4)
    mean = jnp.mean(filled.draw(jax.random.key(1), 512), axis=0)
    return dataclasses.replace(filled, variables=variables | {"w_avg": {"mean": mean}})


@pytest.fixture(scope="module")
def styled():
    return make()


@pytest.fixture(scope="module")
def conditional():
    return make(classes=3)


# Layers, truncation, mixing.

SIDES = {n: nn.StyleGenerator((n, n, 3)).resolutions for n in (8, 16, 32, 256, 1024)}


@pytest.mark.parametrize(
    ("name", "side", "first", "last"),
    [
        ("coarse", 1024, 4, 8), ("middle", 1024, 16, 32), ("fine", 1024, 64, 1024), ("all", 1024, 4, 1024),
        ("coarse", 256, 4, 8), ("middle", 256, 16, 32), ("fine", 256, 64, 256),
        ("coarse", 32, 4, 4), ("middle", 32, 8, 8), ("fine", 32, 16, 32), ("coarse", 8, 4, 4), ("fine", 8, 8, 8),
    ],
)  # fmt: skip
def test_names_stand_for_the_resolutions_of_the_paper(name, side, first, last):
    layers = latent.layer_range(name, SIDES[side])
    assert [*layers] == [k for k, r in enumerate(SIDES[side]) if first <= r <= last]


def test_numbers_stand_for_layers():
    assert [*latent.layer_range("4-7", SIDES[32])] == [4, 5, 6, 7]
    assert [*latent.layer_range("3", SIDES[8])] == [3]


@pytest.mark.parametrize(
    ("name", "side", "words"),
    [
        ("course", 32, "no layers 'course'. Did you mean 'coarse'"),
        ("-1", 32, "no layers '-1'"),
        ("2-8", 32, "no layers '2-8' of 8. Allowed: 0 to 7"),
        ("5-2", 32, "the lower number first"),
        ("middle", 8, "Images of 8 pixels have no middle layers"),
    ],
)
def test_layers_that_do_not_exist(name, side, words):
    with pytest.raises(InputError, match=words):
        latent.layer_range(name, SIDES[side])


def test_truncation_draws_some_layers_to_the_mean():
    ws, mean = draw(0, 3, L, W), draw(1, W)
    np.testing.assert_array_equal(latent.truncate(ws, mean, 0.0), jnp.broadcast_to(mean, ws.shape))
    np.testing.assert_allclose(latent.truncate(ws, mean, 1.0), ws, rtol=1e-5, atol=1e-6)
    half = latent.truncate(ws, mean, 0.5, range(2))
    np.testing.assert_allclose(half[:, :2], (ws[:, :2] + mean) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(half[:, 2:], ws[:, 2:])


def test_mixing_and_moving_change_the_layers_that_they_are_told():
    ws, other, normal = draw(0, 3, L, W), draw(1, 3, L, W), draw(2, W)
    np.testing.assert_array_equal(
        latent.mix(ws, other, [1, 3]), np.stack([ws[:, 0], other[:, 1], ws[:, 2], other[:, 3]], 1)
    )
    moved = latent.move(ws, normal, [-2.0, 0.0, 1.0], [2])
    assert moved.shape == (3, 3, L, W)
    for i, amount in enumerate((-2, 0, 1)):
        np.testing.assert_array_equal(moved[:, i, [0, 1, 3]], ws[:, [0, 1, 3]])
        np.testing.assert_allclose(moved[:, i, 2], ws[:, 2] + amount * normal, rtol=1e-6)
    for layers in ([4], [-1]):
        with pytest.raises(InputError, match=r"There is no layer .* of 4. Allowed: 0 to 3"):
            latent.mix(ws, other, layers)


# Ways.


def test_slerp_turns_at_a_constant_rate():
    a, b = draw(0, 50, 16), draw(1, 50, 16)
    for t, end in ((0.0, a), (1.0, b)):
        np.testing.assert_allclose(latent.slerp(a, b, t), end, rtol=1e-5, atol=1e-5)
    norm = jnp.linalg.norm(a, axis=1, keepdims=True)
    b = b * norm / jnp.linalg.norm(b, axis=1, keepdims=True)
    ways = jnp.stack([latent.slerp(a, b, t) for t in np.linspace(0, 1, 5)])
    np.testing.assert_allclose(jnp.linalg.norm(ways, axis=-1), jnp.broadcast_to(norm[:, 0], (5, 50)), rtol=1e-5)
    whole = np.arccos(np.sum(a * b, -1) / norm[:, 0] ** 2)
    for here, there in pairwise(ways):
        np.testing.assert_allclose(np.arccos(np.sum(here * there, -1) / norm[:, 0] ** 2), whole / 4, rtol=1e-3)


def test_slerp_between_equals_and_over_arrays_of_t():
    a, b = draw(0, 4, 6), draw(1, 4, 6)
    np.testing.assert_allclose(latent.slerp(a, a, 0.3), a, rtol=1e-5)
    np.testing.assert_allclose(latent.slerp(a, a + 1e-4 * b, 0.5), a + 0.5e-4 * b, rtol=1e-5, atol=1e-6)
    t = jnp.array([0.0, 0.2, 0.7, 1.0])
    each = jnp.stack([latent.slerp(*xs) for xs in zip(a, b, t, strict=True)])
    np.testing.assert_allclose(latent.slerp(a, b, t), each, rtol=1e-5, atol=1e-6)


def test_a_path_goes_smoothly_through_its_keyframes_and_round():
    keyframes, steps = draw(0, 5, 2, 3), 200
    way = latent.path(keyframes, steps)
    assert way.shape == (5 * steps, 2, 3)
    np.testing.assert_allclose(way[::steps], keyframes, atol=1e-6)
    # The same way, begun one keyframe later: the seam is like any other place.
    np.testing.assert_allclose(latent.path(jnp.roll(keyframes, -1, 0), steps), jnp.roll(way, -steps, 0), atol=1e-5)
    speed = (np.roll(way, -1, 0) - way) * steps
    assert np.abs(np.roll(speed, -1, 0) - speed).max() < 0.1 * np.abs(speed).max()


def test_a_path_that_does_not_loop_is_exact_on_a_line():
    line = draw(0, 3) + jnp.arange(4.0)[:, None] * draw(1, 3)
    way = latent.path(line, 7, loop=False)
    np.testing.assert_allclose(way, line[0] + jnp.arange(22.0)[:, None] / 7 * (line[1] - line[0]), atol=1e-5)
    for keyframes, steps in ((line[:1], 7), (line, 0)):
        with pytest.raises(InputError, match="at least 2 and 1"):
            latent.path(keyframes, steps)


# Directions.


@pytest.fixture(scope="module")
def jacobian(styled):
    """What styles do to the scales of all channels, [channels, L, W]: nothing of `EqualDense` is known here."""

    def scales(ws):
        _, seen = styled.generator.apply(
            styled.variables, ws[None], method="synthesise", capture_intermediates=True, mutable=["intermediates"]
        )
        parts = seen["intermediates"]["synthesis"]
        outputs = {name: part["style"]["__call__"][0][0] for name, part in parts.items() if name != "__call__"}
        # These come from the dense layers; those to colours are divided by a root of their fan-in after that.
        return jnp.concatenate([x / (np.sqrt(len(x)) if "rgb" in name else 1) for name, x in outputs.items()])

    return np.float64(jax.jit(jax.jacobian(scales))(jnp.zeros((L, W))))


@pytest.mark.parametrize("layers", [None, range(1, 3), [3]])
def test_sefa_is_the_eigenvectors_of_what_styles_do_to_the_channels(styled, jacobian, layers):
    a = np.concatenate([jacobian[:, k] for k in (range(L) if layers is None else layers)])
    values, vectors = np.linalg.eigh(a.T @ a)
    found, strengths = latent.sefa(styled.variables["params"], layers, 3)
    np.testing.assert_allclose(strengths, values[::-1][:3], rtol=1e-4)
    np.testing.assert_allclose(np.abs(np.sum(found * vectors[:, ::-1][:, :3].T, axis=1)), 1, rtol=1e-4)
    assert (np.take_along_axis(np.asarray(found), np.abs(found).argmax(1)[:, None], 1) > 0).all()


def test_sefa_of_what_is_not_there(styled):
    for layers, count, words in (([4], 1, "There is no layer 4"), (None, 9, "1 to 8"), (None, 0, "count is 0")):
        with pytest.raises(InputError, match=words):
            latent.sefa(styled.variables["params"], layers, count)


def test_a_direction_is_the_known_normal():
    """Of correlated styles, whose variances span two orders of magnitude."""
    w = draw(0, 4000, W) * jnp.logspace(-1, 1, W) ** 0.5 @ draw(1, W, W) + 3
    normal = draw(2, W) / jnp.linalg.norm(draw(2, W))
    scores = w @ normal + 0.3 * draw(3, 4000) - 7
    found = latent.direction(w, scores, ridge=1e-6)
    assert found @ normal > 0.999 and abs(jnp.linalg.norm(found) - 1) < 1e-5
    # Two Gaussian classes: Fisher's discriminant is the inverse covariance times the difference of means.
    labels = np.arange(4000) % 2
    shift, w = draw(4, W), draw(0, 4000, W) @ draw(1, W, W)
    x = w + labels[:, None] * shift
    within = np.cov(np.concatenate([x[::2] - x[::2].mean(0), x[1::2] - x[1::2].mean(0)]).T)
    fisher = np.linalg.solve(within, x[1::2].mean(0) - x[::2].mean(0))
    for scores in (labels, labels == 1, 5 * labels - 2.0):
        found = latent.direction(x, scores, ridge=0.0)
        np.testing.assert_allclose(found, fisher / np.linalg.norm(fisher), atol=1e-3)


def test_a_direction_exists_for_fewer_samples_than_dimensions():
    w = draw(0, 5, W)
    found = latent.direction(w, jnp.arange(5.0))
    assert np.isfinite(found).all() and (np.diff(w @ found) > 0).all()


def test_scores_that_no_direction_explains():
    w = draw(0, 10, W)
    for scores in (jnp.full(10, 0.1), jnp.zeros(10, bool), jnp.arange(10.0).at[3].set(jnp.nan)):
        with pytest.raises(InputError, match="no direction explains them"):
            latent.direction(w, scores)
    with pytest.raises(InputError, match=r"got w \[10, 8\] and scores \[9\]"):
        latent.direction(w, jnp.arange(9.0))


def test_the_steepest_direction_is_the_mean_gradient_at_the_layers_that_move():
    a, ws = jax.random.normal(jax.random.key(1), (4, 5)), jax.random.normal(jax.random.key(2), (5000, 4, 5))
    linear = lambda ws: jnp.einsum("nld,ld->n", ws, a)  # noqa: E731
    for layers, expected in ((None, a.sum(0)), ((1, 3), a[1] + a[3])):
        np.testing.assert_allclose(
            latent.steepest(linear, ws[:7], layers), expected / jnp.linalg.norm(expected), atol=1e-6
        )
    # Stein's lemma: of one normal style for all layers, that of a curve is the normal of its regression.
    w = ws[:, 0]
    curved = lambda w: jnp.tanh(w @ a[0]) + jnp.sin(w @ a[1] / 2)  # noqa: E731
    found = latent.steepest(lambda ws: curved(ws.mean(1)), latent.broadcast(w, 4))
    assert found @ latent.direction(w, curved(w), ridge=0.0) > 0.95
    with pytest.raises(InputError, match="no layer 4 of 4"):
        latent.steepest(linear, ws, (4,))


def test_an_orthogonalised_direction_leaves_the_others_alone():
    normal, others = draw(0, W), draw(1, 3, W)
    others = jnp.concatenate([others, others[:1] + others[1:2]])  # not independent
    found = latent.orthogonalise(normal, others)
    np.testing.assert_allclose(others @ found, 0, atol=1e-5)
    assert abs(jnp.linalg.norm(found) - 1) < 1e-5
    # Nothing but the others' part was taken away.
    both = np.stack([found, *others])
    assert np.linalg.matrix_rank(np.concatenate([both, normal[None]]), tol=1e-4) == 4
    with pytest.raises(InputError, match="the 4 others span it"):
        latent.orthogonalise(others[0] - 2 * others[2], others)


# Attributes.


def bar(shear, width=4.0, height=20.0, side=40):
    """A bar that leans, antialiased: each row is the bar's overlap with the pixels."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    centre = -shear * y  # rows count downwards
    ink = np.clip(np.minimum(x + 0.5, centre + width / 2) - np.maximum(x - 0.5, centre - width / 2), 0, 1)
    return jnp.float32(2 * ink * (np.abs(y) < height / 2) - 1)[None, :, :, None]


def test_slant_is_the_shear_of_a_bar():
    for shear in (-0.5, 0.0, 0.25, 0.8):
        assert latent.slant(bar(shear))[0] == pytest.approx(shear, abs=1e-4)
    # Wherever it stands, however bright and in whatever colours.
    moved = jnp.roll(jnp.repeat(bar(0.25), 3, 3) * 0.5 - 0.5, (4, 3), (1, 2))
    assert latent.slant(moved)[0] == pytest.approx(0.25, abs=1e-4)


def test_thickness_is_the_width_of_a_stroke():
    for width in (2, 4, 8):
        image = bar(0.0, width, 30)
        assert latent.thickness(image)[0] == pytest.approx(width * 30 / (width + 30), rel=0.02)
        np.testing.assert_allclose(latent.thickness(jnp.roll(image, 5, 2)), latent.thickness(image), rtol=1e-5)
        # The same stroke, lying.
        np.testing.assert_allclose(latent.thickness(jnp.swapaxes(image, 1, 2)), latent.thickness(image), rtol=1e-5)
    # A diagonal one, whose width across is smaller than along the rows.
    leaning = latent.thickness(bar(1.0, 4 * 2**0.5, 20))
    np.testing.assert_allclose(leaning, latent.thickness(bar(0.0, 4, 20 * 2**0.5)), rtol=0.1)


def test_images_without_ink_have_neither():
    blank = -jnp.ones((2, 8, 8, 1))
    np.testing.assert_array_equal(latent.slant(blank), 0)
    np.testing.assert_array_equal(latent.thickness(blank), 0)
    for measure in edit.MEASURES.values():
        assert np.isfinite(jax.jit(jax.grad(lambda x, f=measure: jnp.sum(f(x))))(blank)).all()


# Projection.


def test_a_pyramid_compares_every_scale():
    a, b = draw(0, 2, 24, 24, 3), draw(1, 2, 24, 24, 3)
    expected = sum(
        jnp.mean(jnp.square((a - b).reshape(2, 24 // n, n, 24 // n, n, 3).mean((2, 4))), (1, 2, 3))
        for n in (1, 2, 4, 8)
    )
    np.testing.assert_allclose(latent.pyramid(a, b), expected, rtol=1e-5)
    odd = draw(0, 2, 7, 7, 1)
    np.testing.assert_allclose(latent.pyramid(odd, 0 * odd), jnp.mean(jnp.square(odd), (1, 2, 3)), rtol=1e-5)


@pytest.fixture(scope="module")
def samples(styled):
    """What the generator makes, within the range of pixels."""
    images = styled.synthesise(styled.spread(styled.draw(jax.random.key(5), 5)))
    assert np.abs(images).max() < 1 and images.std(0).mean() > 0.05
    return images


def test_styles_for_each_layer_come_close_to_any_image(styled, samples):
    """Upside down, images are none of the generator's."""
    images = jnp.asarray(samples[:2, ::-1])

    def synthesise(ws):
        return styled.generator.apply(styled.variables, ws, method="synthesise")

    @jax.jit
    def projected(*keys):
        search = partial(latent.project, images, synthesise, styled.w_avg, 2.0, layers=L, steps=80)
        return [search(key, per_layer=per_layer) for key, per_layer in zip(keys, (False, True), strict=True)]

    one, each = projected(jax.random.key(0), jax.random.key(1))
    np.testing.assert_array_equal(one.ws, np.broadcast_to(one.ws[:, :1], (2, L, W)))
    for found in (one, each):
        assert found.ws.shape == (2, L, W) and found.losses.shape == (80, 2)
        np.testing.assert_allclose(found.images, styled.synthesise(found.ws), atol=1e-5)
        last = latent.pyramid(found.images, images)
        np.testing.assert_allclose(found.losses[-1], last, rtol=0.1)  # the rate is 0, and there is no noise
        assert (found.losses[:10].mean(0) > 1.3 * last).all()
    assert (latent.pyramid(each.images, images) < 0.7 * latent.pyramid(one.images, images)).all()


def test_what_the_generator_made_is_found_again(styled, samples, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(5)]
    for image, file in zip(pictures.pixels(samples), files, strict=True):
        Image.fromarray(image[..., 0]).save(file)
    images, errors, ws = edit.projection(styled, files, steps=200, samples=512, seed=3)
    assert images.shape == (5, 2, 8, 8, 1)
    np.testing.assert_allclose(images[:, 0], samples, atol=0.5 / 127.5)
    np.testing.assert_allclose(images[:, 1], styled.synthesise(ws), atol=1e-5)
    np.testing.assert_allclose(errors, 127.5 * np.abs(images[:, 0] - images[:, 1]).mean((1, 2, 3)), rtol=1e-4)
    mean = styled.synthesise(styled.spread(styled.w_avg[None]))
    away = 127.5 * np.abs(samples - mean).mean((1, 2, 3))
    assert (errors < 0.2 * away).all()


def test_images_and_distances_that_do_not_fit(styled):
    def project(shape, **options):
        def synthesise(ws):
            return jnp.zeros((len(ws), 8, 8, 1)) + jnp.sum(ws)

        latent.project(jnp.zeros(shape), synthesise, jnp.zeros(W), 1.0, jax.random.key(0), layers=L, **options)

    for shape in ((2, 16, 16, 1), (2, 8, 8, 3)):
        with pytest.raises(InputError, match="Resize the images to 8 x 8 pixels of 1 channels"):
            project(shape)
    with pytest.raises(InputError, match=r"gives no f32\[2\]"):
        project((2, 8, 8, 1), distance=lambda x, y: jnp.mean(x - y))
    with pytest.raises(InputError, match="steps is 0"):
        project((2, 8, 8, 1), steps=0)


# Edits.


def test_styles_are_those_of_the_network(styled, conditional):
    """Made four at a time."""
    for each, label in ((styled, None), (conditional, np.array([0, 1, 2, 0, 1, 2]))):
        z, call = jax.random.normal(jax.random.key(2), (6, 6)), partial(each.generator.apply, train=False, label=label)
        made = each.synthesise(each.spread(each.draw(jax.random.key(2), 6)))
        np.testing.assert_allclose(made, jax.jit(call)(each.variables, z), rtol=1e-4, atol=1e-5)


def test_a_table_of_truncations(styled):
    table = edit.truncation(styled, 3, (0.0, 0.5, 1.0), seed=7)
    w = styled.draw(jax.random.key(7), 3)
    mean = styled.synthesise(latent.broadcast(styled.w_avg[None], L))[0]
    np.testing.assert_allclose(table[:, 0], np.stack([mean] * 3), atol=1e-5)
    np.testing.assert_allclose(table[:, 1], styled.synthesise(latent.broadcast((w + styled.w_avg) / 2, L)), atol=1e-5)
    np.testing.assert_allclose(table[:, 2], styled.synthesise(latent.broadcast(w, L)), atol=1e-5)
    fine = edit.truncation(styled, 3, (0.0, 1.0), layers="fine", seed=7)
    ws = np.array(latent.broadcast(w, L))
    ws[:, 1:] = styled.w_avg
    np.testing.assert_allclose(fine[:, 0], styled.synthesise(jnp.asarray(ws)), atol=1e-5)


def test_a_table_of_mixed_styles(styled):
    table = edit.mixing(styled, 2, 3, layers="1-2", seed=7)
    w = np.asarray(styled.draw(jax.random.key(7), 5))
    made = styled.synthesise(latent.broadcast(jnp.asarray(w), L))
    assert table.shape == (3, 4, 8, 8, 1) and (table[0, 0] == -1).all()
    np.testing.assert_allclose(table[1:, 0], made[:2], atol=1e-5)
    np.testing.assert_allclose(table[0, 1:], made[2:], atol=1e-5)
    ws = np.stack([[[w[r], w[2 + c], w[2 + c], w[r]] for c in range(3)] for r in range(2)])
    np.testing.assert_allclose(table[1:, 1:], styled.synthesise(jnp.asarray(ws)), atol=1e-5)


def test_a_video_shows_the_path_and_repeats(styled, tmp_path):
    edit.video(styled, tmp_path / "new/walk.gif", keyframes=3, frames=2, count=4, fps=25, psi=1.0, seed=7)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["walk.gif"]
    w = jnp.stack([styled.draw(key, 4) for key in jax.random.split(jax.random.key(7), 3)])
    with Image.open(tmp_path / "new/walk.gif") as gif:
        assert gif.n_frames == 6 and gif.info["loop"] == 0 and gif.info["duration"] == 40
        for i, each in enumerate(latent.path(w, 2)):
            gif.seek(i)
            expected = pictures.grid(styled.synthesise(latent.broadcast(each, L)))
            np.testing.assert_allclose(np.asarray(gif.convert("L"), int), np.asarray(expected, int), atol=1)


def test_strips_follow_the_direction(styled):
    amounts = (-1.0, 0.0, 2.0)
    w = styled.draw(jax.random.split(jax.random.key(7))[1], 4)
    sampled = styled.draw(jax.random.split(jax.random.key(7))[0], 256)
    for number in (0, 2):
        strips = edit.directions(
            styled, layers="fine", number=number, amounts=amounts, count=4, samples=256, psi=1.0, seed=7
        )
        normal = latent.sefa(styled.variables["params"], range(1, 4), 3)[0][number]
        ws = np.array(latent.broadcast(w, L))[:, None].repeat(3, axis=1)
        ws[:, :, 1:] += np.array(amounts)[:, None, None] * (normal * np.std(sampled @ normal))
        np.testing.assert_allclose(strips, styled.synthesise(jnp.float32(ws)), atol=1e-5)


@pytest.mark.parametrize("method", edit.MEASURES)
def test_a_measured_attribute_follows_its_direction(styled, method):
    strips = edit.directions(styled, method, amounts=(-1, 0, 1), count=32, samples=256, psi=1.0)
    scores = edit.MEASURES[method](jnp.asarray(strips.reshape(-1, 8, 8, 1))).reshape(32, 3)
    assert (np.diff(scores.mean(0)) > 0).all()


def test_blank_images_have_no_strokes_to_follow(styled):
    blank = jax.tree.map(jnp.zeros_like, styled.variables)
    with pytest.raises(InputError, match="No style changes the slant"):
        edit.directions(dataclasses.replace(styled, variables=blank), "slant", samples=8)


def test_a_label_pulls_images_towards_its_own(conditional):
    strips = edit.directions(conditional, "label", label=2, amounts=(0, 3), count=30, samples=300, psi=1.0)
    own = conditional.synthesise(conditional.spread(conditional.draw(jax.random.key(9), 300, 2))).mean(0)
    away = np.square(strips.mean(0) - own).mean((1, 2, 3))
    assert away[1] < away[0]


def test_what_is_asked_for_in_vain(styled, conditional, tmp_path):
    asked = [
        (lambda: edit.truncation(styled, 0), "count = 0"),
        (lambda: edit.truncation(styled, 1, ()), "psis = 0"),
        (lambda: edit.truncation(styled, 1, label=1), "unconditional"),
        (lambda: edit.truncation(conditional, 1, label=3), r"holds \[3\]. Allowed: 0 to 2"),
        (lambda: edit.mixing(styled, layers="middle"), "no middle layers"),
        (lambda: edit.mixing(styled, columns=0), "columns = 0"),
        (lambda: edit.video(styled, tmp_path / "walk.mp4"), r"walk.mp4'; its name must end in .gif"),
        (lambda: edit.video(styled, tmp_path / "walk.gif", keyframes=1), "at least 2 keyframes"),
        (lambda: edit.video(styled, tmp_path / "walk.gif", fps=60), "at most 50 fps"),
        (lambda: edit.directions(styled, "slent"), "no method 'slent'. Did you mean 'slant'"),
        (lambda: edit.directions(styled, "slant", number=1), "'slant' has one direction"),
        (lambda: edit.directions(styled, "label"), "Name it"),
        (lambda: edit.directions(styled, "label", label=0), "unconditional"),
        (lambda: edit.directions(styled, number=W, samples=256), "the directions 0 to 7"),
        (lambda: edit.projection(styled, []), "No images are named"),
        (lambda: edit.projection(styled, [tmp_path / "none.png"]), "There is no file"),
        (lambda: edit.projection(styled, [__file__]), "cannot be used: not an image"),
        (lambda: edit.projection(styled, [__file__], steps=0), "steps = 0"),
    ]
    for call, words in asked:
        with pytest.raises(InputError, match=words):
            call()
    assert not [*tmp_path.iterdir()]


def test_a_run_without_styles(tmp_path):
    configs.write(configs.GANConfig(), tmp_path / "config.json")
    with pytest.raises(InputError, match="has no styles"):
        edit.styled(tmp_path)
    with pytest.raises(InputError, match="is no run"):
        edit.styled(tmp_path / "nowhere")
