"""StyleGAN2's training: every turn against the papers written out, the same numbers on several devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import objectives, parallel
from jaxgan.augment import ada, diff_augment
from jaxgan.config import StyleGAN2Config
from jaxgan.errors import InputError
from jaxgan.evaluate import evaluate
from jaxgan.nn.stylegan2 import StyleDiscriminator, StyleGenerator
from jaxgan.recipes import stylegan2
from jaxgan.runlog import read
from jaxgan.train import train

B, SHAPE = 4, (8, 8, 1)
OPTIONS = {"channel_base": 32, "channel_max": 4, "mapping_layers": 1}


def networks(classes=None, axis_name=None):
    options = {**OPTIONS, "classes": classes, "axis_name": axis_name}
    return StyleGenerator(SHAPE, latent_dim=3, w_dim=4, **options), StyleDiscriminator(group=2, **options)


def batch(n=B, seed=0):
    rng = np.random.default_rng(seed)
    return {"image": jnp.asarray(rng.normal(0, 0.5, (n, *SHAPE)), jnp.float32), "label": jnp.arange(n) % 3}


def key(n=0):
    return jax.random.key(n)


@pytest.fixture(scope="module")
def trained():
    """The recipe with all that it has, after two steps: the first regularises, the second does not."""
    gan = stylegan2(*networks(), r1=2.0, r1_every=2, path_every=2, g_tx=optax.sgd(0.1), d_tx=optax.sgd(0.1))
    step = jax.jit(gan.step)
    states = [jax.jit(gan.init)(key())]
    metrics = []
    for _ in range(2):
        state, reported = step(states[-1], batch(), key(1))
        states.append(state)
        metrics.append(reported)
    return gan, states, metrics


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **{"rtol": 1e-4, "atol": 1e-5} | tolerance), a, b)


def written_out(state, x, k):
    """The first step of `trained` without the algebra: players as plain functions, gradients by hand."""
    generator, discriminator = networks()
    g, d = state.params["generator"], state.params["discriminator"]
    rest = state.variables["generator"]
    turn_key, _ = jax.random.split(jax.random.fold_in(k, 0))
    d_key, _, g_key, path_key = jax.random.split(turn_key, 4)
    shapes = (B, generator.latent_dim)

    def styles(g, n, k):
        z_key, other_key, coin_key, layer_key = jax.random.split(jax.random.clone(k), 4)
        z, other = (jax.random.normal(each, (n, shapes[1])) for each in (z_key, other_key))
        w, v = (generator.apply({"params": g, **rest}, each, method="map") for each in (z, other))
        coins = jax.random.uniform(coin_key, (n,))
        start = jax.random.randint(layer_key, (n,), 1, generator.layers)
        rows = []
        for i in range(n):
            first = int(start[i]) if coins[i] < 0.9 else generator.layers
            rows.append(jnp.stack([w[i] if layer < first else v[i] for layer in range(generator.layers)]))
        return jnp.stack(rows), jnp.mean(jnp.concatenate([w, v]), 0)

    def paint(g, ws, k):
        return generator.apply({"params": g, **rest}, ws, jax.random.clone(k), method="synthesise")

    def images(g, k):
        style_key, noise_key = jax.random.split(jax.random.clone(k))
        ws, mean = styles(g, B, style_key)
        return paint(g, ws, noise_key), mean

    def judge(d, x):
        return discriminator.apply({"params": d}, x, train=True)

    def down(params, loss):
        return jax.tree.map(lambda p, grad: p - 0.1 * grad, params, jax.grad(loss)(params))

    fake, _ = images(g, jax.random.split(d_key, 3)[0])
    d = down(d, lambda d: jnp.mean(jax.nn.softplus(-judge(d, x)) + jax.nn.softplus(judge(d, fake))))
    # R1 with gamma 2, every second step: 2 * (2 / 2) |gradient|^2.
    d = down(
        d, lambda d: 2 * jnp.mean(jnp.sum(jnp.square(jax.grad(lambda x: jnp.sum(judge(d, x)))(x)), axis=(1, 2, 3)))
    )
    fake_key = jax.random.split(g_key, 3)[0]
    _, mean_w = images(g, fake_key)
    g = down(g, lambda g: jnp.mean(jax.nn.softplus(-judge(d, images(g, fake_key)[0]))))
    rest = {**rest, "w_avg": {"mean": 0.002 * mean_w}}
    style_key, noise_key, y_key = jax.random.split(path_key, 3)

    def lengths(g):
        ws, _ = styles(g, B // 2, style_key)
        y = jax.random.normal(jax.random.clone(y_key), (B // 2, *SHAPE)) / 8
        jacobian = jax.vjp(lambda ws: paint(g, ws, noise_key), ws)[1](y)[0]
        return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(jacobian), axis=2), axis=1))

    length = jnp.mean(lengths(g))
    # Weight 2, every second step, mean 0 at the start.
    g = down(g, lambda g: 2 * 2 * jnp.mean(jnp.square(lengths(g))))
    return g, d, mean_w, length


@pytest.mark.long
def test_a_step_equals_the_papers_written_out(trained):
    _, states, metrics = trained
    before = states[0].replace(params=jax.tree.map(jnp.copy, states[0].params))
    g, d, mean_w, length = written_out(before, batch()["image"], key(1))
    close(states[1].params, {"generator": g, "discriminator": d})
    close(states[1].variables["generator"]["w_avg"]["mean"], 0.002 * mean_w)
    close(states[1].memory["path_length"], 0.01 * length)
    assert metrics[0]["r1"].count == metrics[0]["path_penalty"].count == 1


@pytest.mark.long
def test_regularisers_rest_between_their_steps(trained):
    _, states, metrics = trained
    assert metrics[1]["r1"].count == metrics[1]["path_penalty"].count == 0
    assert states[2].memory["path_length"] == states[1].memory["path_length"] > 0


@pytest.mark.long
def test_samples_are_drawn_with_the_average_and_truncated_to_the_mean_style(trained):
    gan, states, _ = trained
    state = states[-1]
    ramped = 0.05 * B * 1  # the share of the images before the last step
    decay = 2.0 ** (-B / ramped)
    for old, average, new in zip(
        *(jax.tree.leaves(s) for s in (states[1].average, state.average)), jax.tree.leaves(
            {"generator": {"params": state.params["generator"], **state.variables["generator"]}}), strict=True
    ):  # fmt: skip
        np.testing.assert_allclose(average, decay * old + (1 - decay) * new, rtol=1e-4, atol=1e-6)
    generator, _ = networks()
    w = state.average["generator"]["w_avg"]["mean"]
    alike = gan.sample(state, key(5), 3, psi=0.0)
    assert alike.shape == (3, *SHAPE)
    ws = jnp.broadcast_to(w, (3, generator.layers, 4))
    noise = jax.random.split(key(5))[1]
    close(alike, generator.apply(state.average["generator"], ws, noise, method="synthesise"))
    assert np.abs(gan.sample(state, key(5), 3) - alike).max() > 1e-4


@pytest.mark.long
@pytest.mark.parametrize("name", ["shard_map", pytest.param("sharded", marks=pytest.mark.slow)])
def test_two_devices_give_the_step_of_one(name):
    """But for path lengths: half of each device's images are other images than half of all."""
    one, two = parallel.jit(), parallel.ENGINES[name](2)
    results = []
    for engine in (one, two):
        g, d = networks(classes=3, axis_name=engine.axis_name)
        gan = stylegan2(g, d, r1_every=1, path_length=0, augment=shade, axis_name=engine.axis_name)
        results.append(engine.step(gan)(engine.init(gan)(key()), engine.place(batch(8)), key(1)))
    # Minibatch groups are of neighbours: two devices make the same ones.
    (state, metrics), (other, others) = jax.device_get(results)
    close(others, metrics, rtol=1e-3)
    close(other.params, state.params, rtol=1e-3)


def shade(images, key, p):
    """An augmentation that compiles fast."""
    del key
    return images * (1 - p / 2)


@pytest.mark.long
def test_augmentation_reaches_both_players_and_adapts():
    seen = []

    def spy(images, key, p):
        seen.append(images.shape)
        return shade(images, key, p)

    options = {"r1": 0, "path_length": 0, "g_tx": optax.sgd(0.0), "d_tx": optax.sgd(0.0)}
    gan = stylegan2(*networks(), augment=spy, images_to_one=100, **options)
    state = gan.init(key())
    assert state.memory["ada"].p == 0
    state = state.replace(memory={"ada": state.memory["ada"]._replace(p=jnp.float32(1.0))})
    step = jax.jit(gan.step)
    p = []
    for _ in range(4):
        state, metrics = step(state, batch(), key(1))
        p.append(float(metrics["augment_p"]))
    assert seen == 4 * [(B, *SHAPE)]  # real and fake images, in both turns
    logits = networks()[1].apply({"params": state.params["discriminator"]}, batch()["image"] / 2, train=True)
    np.testing.assert_allclose(metrics["real_logit"], jnp.mean(logits), rtol=1e-4)
    up = jnp.mean(jnp.sign(logits)) > 0.6
    np.testing.assert_allclose(p, [1, 1, 1, 1 if up else 1 - 4 * B / 100], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("augment", [ada(), diff_augment()])
def test_the_library_augmentations_play(augment):
    gan = stylegan2(*networks(), augment=augment, target=None)
    state, _ = jax.jit(gan.step)(gan.init(key()), batch(), key(1))
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in jax.tree.leaves(state))


@pytest.mark.slow
def test_a_run_from_the_configuration(tmp_path):
    config = StyleGAN2Config(
        data="digits", batch=8, conditional=True, latent_dim=4, w_dim=4, steps=3, log_every=1, samples=4, augment="ada",
        **OPTIONS,
    )  # fmt: skip
    train(config, tmp_path / "run", engine=parallel.jit(), quiet=True)
    assert (tmp_path / "run/samples/000003.png").is_file()
    diff = dataclasses.replace(config, augment="diff", conditional=False, path_length=0.0)
    state = jax.eval_shape(diff.build(SHAPE, 10).init, key())
    assert not state.memory  # nothing adapts, no path lengths


@pytest.mark.slow
def test_half_precision_stays_finite_and_is_as_good(tmp_path, monkeypatch):
    """The quality is the FID in the features of the classifier of digits; float32's differs from seed to seed."""
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path))
    distances = {}
    for dtype, seed in (("float32", 0), ("float32", 1), ("bfloat16", 0), ("float16", 0)):
        config = StyleGAN2Config(
            data="digits", image_size=16, batch=8, channel_base=128, channel_max=16, mapping_layers=2, latent_dim=8,
            w_dim=16, r1=0.1, steps=2000, half_life=2000.0, dtype=dtype, seed=seed,
        )  # fmt: skip
        run = tmp_path / f"{dtype}-{seed}"
        state = train(config, run, engine=parallel.jit(), quiet=True)
        leaves = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
        assert all(bool(jnp.all(jnp.isfinite(x))) for x in leaves)
        assert all(isinstance(v, int | float) for row in read(run / "metrics.jsonl") for v in row.values())
        distances[dtype, seed] = evaluate(run, ["fid"], samples=2000).values["fid"]
    print(distances)
    single = [value for (dtype, _), value in distances.items() if dtype == "float32"]
    assert max(distances["bfloat16", 0], distances["float16", 0]) < 1.25 * max(single)
    # An untrained generator is far away: the FID tells.
    untrained = tmp_path / "untrained"
    train(dataclasses.replace(config, steps=1), untrained, engine=parallel.jit(), quiet=True)
    assert evaluate(untrained, ["fid"], samples=2000).values["fid"] > 3 * max(single)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: stylegan2(networks(3)[0], networks()[1]), "classes=3, the discriminator classes=None"),
        (lambda: stylegan2(*networks(), r1_every=0), "r1_every is 0"),
        (lambda: stylegan2(*networks(), objective=objectives.r3gan()), "has gradient penalties"),
        (lambda: StyleGAN2Config(batch=30), "groups of 4 images, which do not divide the batch, 30"),
        (lambda: StyleGAN2Config(conditional=True).build((32, 32, 1), None), "has no labels"),
        (lambda: StyleGAN2Config().build((28, 28, 1), None), "square images of 8, 16, .* --image-size 32"),
    ],
)
def test_what_does_not_fit_together(make, words):
    def run():
        gan = make()
        if hasattr(gan, "init"):
            jax.eval_shape(gan.init, key())

    with pytest.raises(InputError, match=words):
        run()


def test_a_conditional_batch_needs_labels():
    gan = stylegan2(*networks(3))
    state = jax.eval_shape(gan.init, key())
    with pytest.raises(InputError, match="has no 'label'"):
        jax.eval_shape(gan.step, state, {"image": batch()["image"]}, key())
