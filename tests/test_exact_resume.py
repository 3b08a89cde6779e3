"""Resuming is exact: every recipe, cut at five places, against the run that nothing interrupted, to the bit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import data, parallel
from jaxgan import train as trainer
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import CycleGANConfig, GANConfig, R3GANConfig, StyleGAN2Config
from jaxgan.runlog import read

# 40 images: an epoch of 5 steps at a batch of 8. Cut after the first step, inside of an epoch, and around its end.
BATCH, EPOCH = 8, 5
CUTS, STEPS = (1, 3, EPOCH - 1, EPOCH, EPOCH + 1), 2 * EPOCH + 1
COMMON = {"batch": BATCH, "steps": STEPS, "log_every": 4, "sample_every": 100, "save_every": 1000, "samples": 2}
MLP = GANConfig(network="mlp", width=8, depth=1, latent_dim=4, **COMMON)
CONV = GANConfig(network="dcgan", width=2, latent_dim=4, **COMMON)
ADAPTIVE = {"augment": "ada", "images_to_one": 100.0}

slow = pytest.mark.slow
CONFIGS = {
    "gan": MLP,
    "batch norm": pytest.param(dataclasses.replace(CONV, conditioning="projection"), marks=pytest.mark.long),
    # RMSProp, clipping, several updates in a step, each with a batch of its own; the learning rates fall.
    "wgan": pytest.param(
        dataclasses.replace(
            MLP, objective="wasserstein", clip=0.05, optimizer="rmsprop", d_steps=2, batch=4, warmup=True,
            decay_steps=20,
        ),
        marks=slow,
    ),
    "lazy": pytest.param(
        dataclasses.replace(MLP, objective="wgan_gp", penalty_every=2, microbatches=2, conditioning="concat"),
        marks=slow,
    ),
    "ada": pytest.param(dataclasses.replace(CONV, **ADAPTIVE), marks=slow),
    "acgan": pytest.param(dataclasses.replace(CONV, conditioning="acgan", uniform_labels=True), marks=slow),
    "spectral": pytest.param(GANConfig(network="resnet", width=2, latent_dim=4, image_size=32, **COMMON), marks=slow),
    "stylegan2": pytest.param(
        StyleGAN2Config(
            **COMMON, **ADAPTIVE, channel_base=32, channel_max=4, latent_dim=4, w_dim=4, mapping_layers=1, r1_every=2,
            path_every=3, conditional=True,
        ),
        marks=slow,
    ),
    "r3gan": pytest.param(
        R3GANConfig(channel_base=32, channel_max=8, blocks=1, group=2, latent_dim=4, burn_in=60.0, **COMMON), marks=slow
    ),
}  # fmt: skip


def images(side):
    """Digits that a run sees as another size."""
    digits = data.load("digits", image_size=side)
    return digits._replace(size=EPOCH * BATCH)


def train(config, run, **options):
    return trainer.train(config, run, engine=parallel.jit(), quiet=True, **options)


def digests(run):
    """Of every leaf that the newest checkpoint holds: the state, the sums of the log, the count of rollbacks."""
    with Checkpoints(run / "checkpoints") as checkpoints:
        return checkpoints.about(checkpoints.newest())["digests"]


def rows(run):
    """What was logged at the usual steps, without the times; a part that ends in between has a row more."""
    timed = ("seconds", "images_per_second")
    return [{k: v for k, v in row.items() if k not in timed} for row in read(run / "metrics.jsonl")
            if row["step"] % 4 == 0 or row["step"] == STEPS]  # fmt: skip


def in_parts(config, run, **options):
    for i, cut in enumerate((*CUTS, STEPS)):
        train(dataclasses.replace(config, steps=cut), run, resume=i > 0, **options)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_cut_at_five_places(tmp_path, config):
    source = images(getattr(config, "image_size", None))
    train(config, tmp_path / "whole", source=source)
    in_parts(config, tmp_path / "cut", source=source)
    whole, cut = digests(tmp_path / "whole"), digests(tmp_path / "cut")
    assert whole.keys() == {"state", "progress"} and len(whole["state"]) > 20
    assert cut == whole
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


@pytest.mark.slow
def test_cyclegan_with_its_pools(tmp_path):
    rng = np.random.default_rng(0)
    sides = [
        data.from_arrays(rng.integers(0, 255, (n, 16, 16, 3), np.uint8)) for n in (EPOCH * BATCH, EPOCH * BATCH - 3)
    ]
    source = data.Domains("two", *sides, size=12, flip=True, paired=False, shown=(sides[0], sides[1]))
    config = CycleGANConfig(
        a="-", b="-", image_size=12, generator="unet", depth=2, width=2, d_width=2, layers=1, pool=12, **COMMON
    )
    train(config, tmp_path / "whole", source=source)
    in_parts(config, tmp_path / "cut", source=source)
    assert any("pool" in name for name in digests(tmp_path / "whole")["state"])
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


@pytest.mark.parametrize("part", [".opt_state['discriminator']", ".average['generator']", "sums"])
def test_what_is_lost_shows(tmp_path, monkeypatch, part):
    """The control: one number of one leaf is changed by a hundredth where the run is cut."""
    source = images(None)
    train(MLP, tmp_path / "whole", source=source)
    train(dataclasses.replace(MLP, steps=3), tmp_path / "cut", source=source)
    restore = Checkpoints.restore

    def altered(self, *args):
        hit = []

        def nudge(path, leaf):
            if part in jax.tree_util.keystr(path) and jnp.issubdtype(leaf.dtype, jnp.floating) and not hit:
                hit.append(path)
                flat = leaf.ravel()
                return flat.at[0].set(flat[0] * 1.01 + 1e-6).reshape(leaf.shape)
            return leaf

        items = jax.tree_util.tree_map_with_path(nudge, restore(self, *args))
        assert hit
        return items

    monkeypatch.setattr(Checkpoints, "restore", altered)
    train(MLP, tmp_path / "cut", source=source, resume=True)
    if part == "sums":
        assert rows(tmp_path / "cut") != rows(tmp_path / "whole")
    else:
        assert digests(tmp_path / "cut") != digests(tmp_path / "whole")


ENGINES = {
    "jit": parallel.jit, "sharded 2": lambda: parallel.sharded(2), "sharded 4": lambda: parallel.sharded(4),
    "shard_map 2": lambda: parallel.shard_map(2), "pmap 4": lambda: parallel.pmap(4),
}  # fmt: skip


@pytest.mark.parametrize("limit", [1 << 20, 0], ids=["in memory", "streamed"])
def test_no_example_is_skipped_or_repeated_on_any_number_of_devices(limit):
    """Two epochs of images that are their own numbers: each once an epoch, in one order under every engine."""
    size, batch = 20, 8
    numbers = data.from_arrays(np.arange(size, dtype=np.uint8).reshape(size, 1, 1, 1))
    orders = {}
    for name, make in ENGINES.items():
        engine = make()
        feed = data.feed(
            numbers, batch, seed=3, memory_limit=limit, share=engine.share(batch), axis_name=engine.axis_name
        )
        draw = engine.compile(
            lambda loaded, step, feed=feed: feed.draw(loaded, step)["image"],
            (engine.specs(feed.split), parallel.WHOLE),
            engine.split(),
        )
        seen = [np.asarray(draw(feed.load(step), np.int32(step))).ravel() for step in range(2 * size // batch)]
        orders[name] = np.rint((np.concatenate(seen) + 1) * 127.5).astype(int)
    first, *others = orders.values()
    assert sorted(first[:size]) == sorted(first[size:]) == list(range(size))
    assert (first[:size] != first[size:]).any()
    assert all((other == first).all() for other in others)
