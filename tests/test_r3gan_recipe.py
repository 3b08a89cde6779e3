"""R3GAN's training: schedules by their formula, the step against the paper written out, runs from configurations."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import nn, parallel
from jaxgan.cli import main
from jaxgan.config import R3GANConfig, read, write
from jaxgan.errors import InputError
from jaxgan.presets import PRESETS
from jaxgan.recipes import burn_in, r3gan, r3gan_augment

B, SHAPE, CLASSES, LATENT = 4, (4, 4, 1), 3, 2
BURN_IN = 4.0 * B  # over after four steps
ENDS = {"gamma": (2.0, 0.5), "learning_rate": (0.02, 0.01), "b2": (0.5, 0.9), "half_life": (0.0, 40.0)}
AUGMENT_P = (0.0, 0.8)
SMALL = {"channel_base": 32, "channel_max": 4, "group": 4, "blocks": 1, "latent_dim": 4}


def key(seed=0):
    return jax.random.key(seed)


def batch(n=B, seed=0):
    rng = np.random.default_rng(seed)
    return {"image": jnp.asarray(rng.normal(0, 0.5, (n, *SHAPE)), jnp.float32), "label": jnp.arange(n) % CLASSES}


def networks():
    generator = nn.ConcatGenerator(nn.MLPGenerator(SHAPE, 8, 1), CLASSES)
    return generator, nn.MLPDiscriminator(8, 1, classes=CLASSES)


def shade(images, key, p):
    """An augmentation that draws nothing: p = 1 halves every image."""
    del key
    return images * (1 - p / 2)


def make(**options):
    schedules = {name: burn_in(*ends, BURN_IN) for name, ends in ENDS.items()}
    augment = {"augment": shade, "augment_p": burn_in(*AUGMENT_P, BURN_IN)}
    return r3gan(*networks(), latent_dim=LATENT, conditions=("label",), **schedules | augment | options)


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **{"rtol": 1e-4, "atol": 1e-5} | tolerance), a, b)


def test_a_burn_in_is_half_a_wave():
    value = burn_in(2e-4, 5e-5, 20e6)
    wave = [(1 + np.cos(np.pi * share)) / 2 for share in (0, 0.25, 0.5, 1)]
    np.testing.assert_allclose(wave[2:], [0.5, 0])
    seen = [value(jnp.float32(images)) for images in (0, 5e6, 10e6, 20e6)]
    np.testing.assert_allclose(seen, [5e-5 + 1.5e-4 * share for share in wave], rtol=1e-6)
    np.testing.assert_allclose(value(jnp.float32(250e6)), 5e-5, rtol=1e-6)  # and stays
    assert burn_in(0.0, 5e6, 20e6)(jnp.float32(0)) == 0  # the average copies at first
    with pytest.raises(InputError, match="A burn-in of 0 images"):
        burn_in(1.0, 2.0, 0)


def written_out(steps, state):
    """The paper's algorithm without the algebra: losses, penalties, Adam and the average by their formulas."""
    generator, discriminator = networks()
    g, d = state.params["generator"], state.params["discriminator"]
    average, moments = g, {name: jax.tree.map(jnp.zeros_like, params) for name, params in (("g", g), ("d", d))}
    x, label = batch()["image"], batch()["label"]

    def at(ends, step):
        return ends[1] + (ends[0] - ends[1]) * (1 + np.cos(np.pi * min(step * B / BURN_IN, 1))) / 2

    def adam(player, params, loss, step):
        b2, lr, t = at(ENDS["b2"], step), at(ENDS["learning_rate"], step), step + 1
        grads = jax.grad(loss)(params)
        moments[player] = jax.tree.map(lambda m, grad: b2 * m + (1 - b2) * grad**2, moments[player], grads)
        return jax.tree.map(
            lambda p, grad, m: p - lr * grad / (jnp.sqrt(m / (1 - b2**t)) + 1e-8), params, grads, moments[player]
        )

    for step in range(steps):
        players_key, _ = jax.random.split(jax.random.fold_in(key(1), step))
        z_d, z_g = (jax.random.normal(jax.random.split(k)[0], (B, LATENT)) for k in jax.random.split(players_key))
        seen = 1 - at(AUGMENT_P, step) / 2
        gamma = at(ENDS["gamma"], step)

        def paint(g, z):
            return generator.apply({"params": g}, z, train=True, label=label)

        def judge(d, images, seen=seen):
            return discriminator.apply({"params": d}, images * seen, train=True, label=label)

        def steepness(d, images, judge=judge):
            return jnp.sum(jax.grad(lambda images: jnp.sum(judge(d, images)))(images) ** 2, axis=(1, 2, 3))

        fake = paint(g, z_d)
        d = adam(
            "d",
            d,
            lambda d, fake=fake, gamma=gamma, judge=judge, steepness=steepness: jnp.mean(
                jax.nn.softplus(judge(d, fake) - judge(d, x)) + gamma / 2 * (steepness(d, x) + steepness(d, fake))
            ),
            step,
        )
        g = adam(
            "g",
            g,
            lambda g, d=d, z=z_g, judge=judge, paint=paint: jnp.mean(
                jax.nn.softplus(judge(d, x) - judge(d, paint(g, z)))
            ),
            step,
        )
        half_life = at(ENDS["half_life"], step)
        keep = 0.5 ** (B / half_life) if half_life else 0.0
        average = jax.tree.map(lambda old, new, keep=keep: keep * old + (1 - keep) * new, average, g)
    return g, d, average


def test_steps_equal_the_paper_written_out():
    """Three steps, at 0, 1/4 and 1/2 of the burn-in: every schedule has moved."""
    gan = make()
    state = jax.jit(gan.init)(key())
    with jax.debug_key_reuse(False):
        g, d, average = jax.jit(lambda state: written_out(3, state))(state)
    step = jax.jit(gan.step)
    for _ in range(3):
        state, metrics = step(state, batch(), key(1))
    close(state.params, {"generator": g, "discriminator": d})
    close(state.average["generator"]["params"], average)
    assert metrics["penalty"] > 0 and state.step == 3


@pytest.mark.slow
def test_two_devices_give_the_step_of_one():
    """Images are counted on all devices."""
    results = []
    for engine in (parallel.jit(), parallel.shard_map(2)):
        gan = make(axis_name=engine.axis_name)
        state = engine.init(gan)(key())
        state = state.replace(step=state.step + 1)
        results.append(engine.step(gan)(state, engine.place(batch()), key(1)))
    (state, metrics), (other, others) = jax.device_get(results)
    close(others, metrics)
    close(other.params, state.params)
    close(other.average, state.average)


def test_numbers_are_schedules_that_never_change():
    constant = {name: ends[0] for name, ends in ENDS.items()} | {"augment": None}
    state = jax.jit(make().init)(key())
    first, _ = jax.jit(make(**constant).step)(state, batch(), key(1))
    second, _ = jax.jit(make().step)(state, batch(), key(1))
    close(first, second)


def test_the_papers_augmentation():
    """No chance, no change; colours change half as often as places do; cutouts are of 0."""
    augment = jax.jit(r3gan_augment())
    x = jnp.full((400, 8, 8, 3), 0.5)
    np.testing.assert_array_equal(augment(x, key(), 0.0), x)
    out = np.asarray(augment(x, key(), 0.4))
    # A grey image shows no change of place; brightness, contrast and luma are three chances to change colour.
    cut = (out == 0).all(-1).any((1, 2))
    recoloured = ~np.isclose(out, 0.5, atol=1e-4).any((1, 2, 3)) & ~cut
    np.testing.assert_allclose(cut.mean(), 0.4, atol=0.08)
    brightness, contrast, luma = 0.2, 0.2, 0.1
    expected = 0.6 * (1 - (1 - brightness) * (1 - contrast) * (1 - luma))
    np.testing.assert_allclose(recoloured.mean(), expected, atol=0.08)


# Configurations


def test_a_configuration_reads_back(tmp_path):
    config = dataclasses.replace(PRESETS["r3gan-cifar10"].config, lr=1e-3, seed=3)
    write(config, tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text())["recipe"] == "r3gan"
    assert read(tmp_path / "config.json") == config


def test_the_preset_is_the_papers():
    """Table 9: sizes of the players, images in all, and a step that can be traced."""
    config = PRESETS["r3gan-cifar10"].config
    assert isinstance(config, R3GANConfig)
    gan = config.build((32, 32, 3), 10)
    state = jax.eval_shape(gan.init, key())
    sizes = {name: sum(x.size for x in jax.tree.leaves(params)) for name, params in state.params.items()}
    assert [f"{sizes[name] / 1e6:.2f}" for name in ("generator", "discriminator")] == ["20.78", "21.28"]
    assert round(config.steps * config.batch / 1e6) == 250 and config.batch == 512


def test_floats_may_be_traced():
    """As a sweep does it: fields of a configuration are arrays inside of a compiled function."""
    config = R3GANConfig(**SMALL)

    def step(gamma, augment):
        gan = dataclasses.replace(config, gamma=gamma, augment=augment).build((8, 8, 1), None)
        return gan.step(gan.init(key()), {"image": jnp.zeros((2, 8, 8, 1))}, key(1))[1]

    assert jax.eval_shape(step, jnp.float32(1), jnp.float32(0.5))["penalty"].shape == ()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: R3GANConfig(b2=1.5), "b2 is 1.5"),
        (lambda: R3GANConfig(augment=-1.0), "augment is -1.0"),
        (lambda: R3GANConfig(burn_in=0.0), "burn_in is 0.0; it must be above 0"),
        (lambda: R3GANConfig(batch=9, microbatches=2), "microbatches is 2; it must divide the batch, 9"),
        (lambda: R3GANConfig(conditional=True).build((28, 28, 1), None), "'mnist' has no labels"),
    ],
)
def test_what_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.slow
def test_a_run_trains_resumes_and_makes_what_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = {"--data": "digits", "--batch": "4", "--steps": "4", "--samples": "4", "--log-every": "1", "--devices": "1"}
    flags |= {"--image-size": "4"}
    flags |= {f"--{name.replace('_', '-')}": str(value) for name, value in SMALL.items()}
    main(["train", "r3gan-mnist", *(word for pair in flags.items() for word in pair)])
    main(["resume", "runs/r3gan-mnist", "--steps", "6", "--devices", "1"])
    rows = [json.loads(line) for line in (tmp_path / "runs/r3gan-mnist/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 6 and np.isfinite(rows[-1]["penalty"])
    main(["sample", "runs/r3gan-mnist", "--count", "4", "--label", "3", "--out", "threes.png"])
    assert (tmp_path / "threes.png").is_file()
