"""Ensembles: each member is the GAN that it would be alone."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from jaxgan.config import GANConfig
from jaxgan.ensemble import EACH, EACH_STATE, apart, ensemble, member, shares
from jaxgan.errors import InputError
from jaxgan.nn import MLPDiscriminator, MLPGenerator
from jaxgan.recipes import Warmup, wgan
from jaxgan.rundir import open_run
from jaxgan.runlog import read
from jaxgan.sample import draw_samples
from jaxgan.state import TrainState
from jaxgan.sweep import sweep
from jaxgan.train import train

CLIPS = jnp.array([0.01, 0.05, 0.2])
BATCH = {"image": jax.random.normal(jax.random.key(9), (16, 2))}


def build(clip):
    networks = MLPGenerator((2,), 8, 1, None), MLPDiscriminator(8, 1)
    return wgan(*networks, latent_dim=2, clip=clip, d_steps=2, warmup=Warmup(4, 1, 10))


def close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("own_batches", [False, True])
def test_members_are_what_they_are_alone(no_key_checks, own_batches):
    gans, n = ensemble(build, {"clip": CLIPS}, own_batches=own_batches), len(CLIPS)
    init_keys, keys = jax.random.split(jax.random.key(0), n), jax.random.split(jax.random.key(1), n)
    batches = {"image": BATCH["image"] + jnp.arange(n)[:, None, None]}
    state, step = jax.jit(gans.init)(init_keys), jax.jit(gans.step)
    for _ in range(2):
        state, metrics = step(state, batches if own_batches else BATCH, keys)
    samples = gans.sample(state, keys, 5)
    assert state.step == 2 and samples.shape == (n, 5, 2)

    def pick(tree, i):
        return jax.tree.map(lambda x: x[i], tree)

    for i in range(n):
        one = build(float(CLIPS[i]))
        alone, step_one = one.init(init_keys[i]), jax.jit(one.step)
        for _ in range(2):
            alone, expected = step_one(alone, pick(batches, i) if own_batches else BATCH, keys[i])
        close(member(state, i), alone)
        close(pick(metrics, i), expected)
        close(samples[i], one.sample(alone, keys[i], 5))
        largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(member(state, i).params["discriminator"]))
        assert largest == pytest.approx(float(CLIPS[i]))


def test_branches_on_the_step_stay_branches(no_key_checks):
    """A warm-up that every member would compute on every step and throw away would cost each step 4 updates."""
    gans = ensemble(build, {"clip": CLIPS})
    keys = jax.random.split(jax.random.key(1), 3)
    assert "cond[" in str(jax.make_jaxpr(gans.step)(jax.eval_shape(gans.init, keys), BATCH, keys))


CONFIG = GANConfig(
    data="digits", network="mlp", width=8, depth=1, latent_dim=4, batch=16, steps=20, log_every=10, sample_every=20,
    save_every=10, samples=4, objective="wasserstein", penalty_every=1, d_steps=2,
)  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("devices", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_a_sweep_keeps_each_member_as_the_run_that_it_would_have_been(no_key_checks, tmp_path, capsys, devices):
    values = {"clip": (0.02, 0.3)}
    runs = sweep(CONFIG, tmp_path / "sweep", seeds=2, values=values, devices=devices)
    said = capsys.readouterr().out
    assert f"4 members on {min(devices, 4)} device" in said and "clip 0.02" in said
    assert [run.name for run in runs] == [f"clip={c},seed={s}" for c in (0.02, 0.3) for s in (0, 1)]
    for run, clip, seed in zip(runs, (0.02, 0.02, 0.3, 0.3), (0, 1, 0, 1), strict=True):
        config = open_run(run)
        assert config == dataclasses.replace(CONFIG, clip=clip, seed=seed)
        assert {p.name for p in (run / "samples").iterdir()} == {"real.png", "000000.png", "000020.png"}
    alone = train(open_run(runs[3]), tmp_path / "alone", quiet=True)
    close(draw_samples(runs[3], 3), draw_samples(tmp_path / "alone", 3))
    assert alone.step == 20
    for row, expected in zip(read(runs[3] / "metrics.jsonl"), read(tmp_path / "alone/metrics.jsonl"), strict=True):
        assert row["discriminator_loss"] == pytest.approx(expected["discriminator_loss"], rel=1e-3, abs=1e-6)
    # The table shows the mean and the deviation over the seeds.
    last = [json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["generator_loss"] for run in runs[2:]]
    assert f"{np.mean(last):.4g} ± {np.std(last):.2g}" in said
    resumed = train(dataclasses.replace(open_run(runs[3]), steps=30), runs[3], resume=True, quiet=True)
    assert resumed.step == 30


def test_what_cannot_be_swept_is_said_before_anything_is_written(tmp_path):
    for words, options in (
        ("no float field 'width'", {"values": {"width": (8.0, 16.0)}}),
        ("clip is to take the values", {"values": {"clip": (0.1, 0.1)}}),
        ("g_lr is -1.0", {"values": {"g_lr": (1e-3, -1.0)}}),
        ("seeds is 0", {"seeds": 0}),
    ):
        with pytest.raises(InputError, match=words):
            sweep(CONFIG, tmp_path / "sweep", **options)
    with pytest.raises(InputError, match="streamed, in the order of one seed"):
        big = dataclasses.replace(CONFIG, image_size=32, memory_limit=1)
        sweep(big, tmp_path / "sweep", seeds=2)
    assert not (tmp_path / "sweep").exists()
    with pytest.raises(InputError, match="one value a member"):
        ensemble(build, {"clip": CLIPS, "rate": CLIPS[:2]})


@pytest.mark.parametrize("n", [48, 17])
def test_a_device_takes_its_members_group_by_group(n):
    """A group sees its own rows and what all members share; what all have in common comes back once."""
    sizes = []

    def function(state, shared, own):
        sizes.append(len(own["x"]))
        state = state.replace(step=state.step + 1, params={"w": state.params["w"] + shared})
        return state, {"sum": own["x"].sum(axis=1) + state.params["w"]}

    state = TrainState(jnp.int32(3), {"w": jnp.arange(2.0 * n)}, opt_state={}, variables={}, memory={}, average={})
    own = {"x": jnp.arange(6.0 * n).reshape(2 * n, 3)}
    program = apart(function, shares(2 * n, 2), (EACH_STATE, PartitionSpec(), EACH), (EACH_STATE, EACH))
    found = jax.jit(program)(state, jnp.float32(5), own)
    assert set(sizes) == {16 if n == 48 else 17}
    jax.tree.map(np.testing.assert_array_equal, found, function(state, jnp.float32(5), own))
