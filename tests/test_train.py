"""The trainer and its checkpoints: the same bits however a run is cut, and clear words about bad input."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.monitoring
import numpy as np
import pytest
from PIL import Image

from jaxgan import data, parallel, rundir
from jaxgan import train as trainer
from jaxgan.chunk import blank, make_chunk, means
from jaxgan.config import Config, GANConfig, read, write
from jaxgan.errors import InputError
from jaxgan.rundir import open_run
from jaxgan.runlog import read as read_log
from jaxgan.sample import draw_samples

TINY = GANConfig(
    data="digits", network="mlp", width=8, depth=1, latent_dim=4, batch=16, steps=30, log_every=10, sample_every=20,
    save_every=20, samples=9,
)  # fmt: skip


def train(*args, **options):
    """On one device, as the processes that tests start: another number of devices sums in another order."""
    return trainer.train(*args, engine=parallel.jit(), **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of 30 steps that nothing interrupted, and its last state."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    return run, train(TINY, run, quiet=True)


def same_bits(a, b):
    return all(
        x.dtype == y.dtype and x.tobytes() == y.tobytes()
        for x, y in zip(jax.tree.leaves(jax.device_get(a)), jax.tree.leaves(jax.device_get(b)), strict=True)
    )


def rows(run):
    """What was logged, without the times."""
    return [
        {k: v for k, v in r.items() if k not in ("seconds", "images_per_second")}
        for r in read_log(run / "metrics.jsonl")
    ]


def test_a_run_keeps_everything_about_it(finished):
    run, state = finished
    assert state.step == 30
    assert read(run / "config.json") == TINY
    assert [row["step"] for row in rows(run)] == [10, 20, 30]
    names = {"generator_loss", "discriminator_loss", "real_accuracy", "fake_accuracy", "real_logit", "fake_logit"}
    assert all(names <= row.keys() and all(np.isfinite(row[n]) for n in names) for row in rows(run))
    assert {p.name for p in (run / "samples").iterdir()} == {"real.png", "000000.png", "000020.png", "000030.png"}
    picture = Image.open(run / "samples/000030.png")
    factor = 512 // 28  # three digits of 8 pixels and four gaps of 1
    assert picture.size == (28 * factor, 28 * factor)
    assert {p.name for p in (run / "checkpoints").iterdir()} == {"20", "30"}


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(finished, tmp_path):
    run, state = finished
    again = train(TINY, tmp_path / "again", quiet=True)
    assert same_bits(again, state)
    assert rows(tmp_path / "again") == rows(run)
    assert not same_bits(train(dataclasses.replace(TINY, seed=1), tmp_path / "other", quiet=True), state)


@pytest.mark.parametrize("cut", [1, 10, 13, 20])
def test_resuming_gives_the_bits_of_the_uninterrupted_run(finished, tmp_path, cut):
    run, state = finished
    part = dataclasses.replace(TINY, steps=cut)
    train(part, tmp_path / "cut", quiet=True)
    resumed = train(TINY, tmp_path / "cut", resume=True, quiet=True)
    assert same_bits(resumed, state)
    # Where the first part ended between two rows it has one row more.
    assert [row for row in rows(tmp_path / "cut") if row["step"] % 10 == 0] == rows(run)


def test_chunks_of_any_length_give_the_same_bits(finished, tmp_path, monkeypatch):
    run, state = finished
    monkeypatch.setattr(trainer, "CHUNK_SECONDS", 0.0)  # every chunk is a single step
    assert same_bits(train(TINY, tmp_path / "steps", quiet=True), state)
    assert rows(tmp_path / "steps") == rows(run)


@pytest.mark.long
def test_data_from_disk_trains_the_same(tmp_path):
    digits = data.load("digits")
    config = dataclasses.replace(TINY, memory_limit=1, steps=150, log_every=50, sample_every=50, save_every=50)
    big = np.concatenate([digits.read(np.arange(digits.size))["image"]] * 10)  # 1.15 MB: above the limit of 1 MiB
    on_disk = data.from_arrays(big)
    limit = data.feed(on_disk, 16, 0, memory_limit=1 << 20).limit
    assert limit is not None and 2 * limit < 150  # it is loaded again, twice
    a = train(config, tmp_path / "disk", source=on_disk, quiet=True)
    b = train(dataclasses.replace(config, memory_limit=64), tmp_path / "memory", source=on_disk, quiet=True)
    for x, y in zip(jax.tree.leaves(jax.device_get(a)), jax.tree.leaves(jax.device_get(b)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    cut = tmp_path / "cut"
    train(dataclasses.replace(config, steps=70), cut, source=on_disk, quiet=True)
    assert same_bits(train(config, cut, source=on_disk, resume=True, quiet=True), a)


def test_nothing_compiles_after_the_first_chunk(tmp_path, monkeypatch):
    compiled, at_row = [], []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    row = rundir.RunLog.row
    monkeypatch.setattr(rundir.RunLog, "row", lambda *args: (at_row.append(len(compiled)), row(*args))[1])
    config = dataclasses.replace(TINY, steps=400, log_every=20, sample_every=40, save_every=60)
    train(config, tmp_path / "run", quiet=True)
    # By the fourth row every kind of event has been: rows, a picture at step 40, a checkpoint at step 60.
    assert at_row[0] > 0  # the listener hears
    assert len(at_row) == 20 and set(at_row[3:]) == {at_row[3]}


def test_chunk_sums_are_the_metrics_of_the_steps():
    gan = TINY.build((8, 8, 1), None)
    feed = data.feed(data.load("digits"), 16, 0)
    loaded, key, state = feed.load(0), jax.random.key(5), gan.init(jax.random.key(1))
    engine = parallel.jit()
    zeros, before = blank(gan, engine, feed, loaded, state, key)
    copy = jax.tree.map(lambda x: x + 0, state)
    chunk = make_chunk(gan, engine, feed, engine.layout(state), before)
    after, sums, found = chunk(copy, zeros, loaded, np.int32(4), key)
    assert found.ok
    values, step = [], jax.jit(gan.step)
    for _ in range(4):
        state, metrics = step(state, feed.draw(loaded, state.step), key)
        values.append(metrics)
    assert after.step == 4
    summed = means(sums)
    assert summed.pop("skipped") == 0
    for name, mean in summed.items():
        np.testing.assert_allclose(mean, np.mean([v[name] for v in values]), rtol=1e-4, atol=1e-6)


RUN = "from jaxgan.cli import main; main()"
FLAGS = "--network mlp --width 8 --depth 1 --latent-dim 4 --batch 16 --log-every 1000 --save-every 100000"


def command(*args, **options):
    # Eight simulated devices are for the other tests; this is a process of a user's.
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *args],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.long
def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path):
    run = tmp_path / "run"
    process = command("train", "digits", *FLAGS.split(), "--steps", "10000000", "--run", str(run))
    deadline = time.monotonic() + 120
    while not read_log(run / "metrics.jsonl") and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.communicate(timeout=60)
    config = dataclasses.replace(open_run(run), steps=50)
    resumed = train(config, run, resume=True, quiet=True)
    assert same_bits(resumed, train(config, tmp_path / "whole", quiet=True))
    assert rows(run) == rows(tmp_path / "whole")  # the killed one's are gone


def test_samples_can_be_drawn_again(finished):
    run, state = finished
    images = draw_samples(run, 5, seed=3)
    assert images.shape == (5, 8, 8, 1)
    assert np.abs(images).max() <= 1
    assert same_bits(draw_samples(run, 5, seed=3), images)
    assert not same_bits(draw_samples(run, 5, seed=4), images)
    expected = TINY.build((8, 8, 1), None).sample(state, jax.random.key(3), 5)
    np.testing.assert_allclose(images, expected, atol=1e-6)
    assert not same_bits(draw_samples(run, 5, seed=3, step=20), images)


# Bad input: each is one error, and nothing is left behind.


def refused(config: Config, run: Path, match: str, **options):
    before = list(run.parent.iterdir())
    with pytest.raises(InputError, match=match):
        train(config, run, quiet=True, **options)
    assert list(run.parent.iterdir()) == before


def test_a_run_is_never_overwritten_without_being_told(finished, tmp_path):
    run, _ = finished
    kept = sorted(run.rglob("*"))
    refused(TINY, run, "exists already.*jaxgan resume.*--overwrite")
    assert sorted(run.rglob("*")) == kept
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "holiday.png").write_bytes(b"precious")
    refused(TINY, photos, "no config.json.*not be deleted", overwrite=True)
    assert (photos / "holiday.png").read_bytes() == b"precious"
    copy = tmp_path / "copy"
    train(dataclasses.replace(TINY, steps=3), copy, quiet=True)
    assert train(dataclasses.replace(TINY, steps=2), copy, overwrite=True, quiet=True).step == 2


def test_a_missing_extra_is_said_before_a_run_is_deleted(finished, tmp_path, monkeypatch):
    run, _ = finished
    kept = sorted(run.rglob("*"))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)  # as if it were not installed
    options = {"overwrite": True, "tensorboard": True}
    refused(TINY, run, r"jaxgan\[tensorboard\]", **options)
    assert sorted(run.rglob("*")) == kept
    refused(TINY, tmp_path / "new", r"jaxgan\[tensorboard\]", tensorboard=True)


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be made: .*file is a file"):
        train(TINY, tmp_path / "file" / "run", quiet=True)


def test_a_batch_larger_than_the_data(tmp_path):
    refused(dataclasses.replace(TINY, batch=2000), tmp_path / "run", "1797.*2000|2000.*1797")
    refused(dataclasses.replace(TINY, batch=1000, d_steps=2), tmp_path / "run", "1797.*2000|2000.*1797")


def test_sizes_that_the_network_cannot_make(tmp_path):
    source = data.from_arrays(np.zeros((20, 30, 30, 1), np.uint8))
    refused(dataclasses.replace(TINY, network="dcgan"), tmp_path / "run", "30 x 30.*--image-size 28", source=source)
    refused(dataclasses.replace(TINY, network="dcgan", data="ring"), tmp_path / "run", r"shape \(2,\)")


def test_resuming_under_another_configuration_names_every_difference(finished, tmp_path):
    run = tmp_path / "run"
    train(dataclasses.replace(TINY, steps=2), run, quiet=True)
    other = dataclasses.replace(TINY, width=16, g_lr=1e-3, steps=40, log_every=7)
    kept = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(InputError) as error:
        train(other, run, resume=True, quiet=True)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == kept
    message = str(error.value)
    assert "g_lr: 0.0002 -> 0.001" in message
    assert "width: 8 -> 16" in message
    assert "['generator']['Dense_0']['kernel']: float32[4, 8] -> float32[4, 16]" in message
    assert ".opt_state['discriminator']" in message
    assert "steps" not in message.split("\n", 1)[1] and "log_every" not in message
    refused(TINY, tmp_path / "nowhere", "no config.json", resume=True)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.update(widht=3), "no field 'widht'. Did you mean 'width'"),
        (lambda d: d.update(width="wide"), "width is 'wide'; it must be int"),
        (lambda d: d.update(network="unet"), "must be one of 'dcgan', 'resnet', 'mlp'"),
        (lambda d: d.update(recipe="gann"), "no recipe 'gann'. Did you mean 'gan'.*A recipe of your own"),
        (lambda d: d.update(objective="hinged"), "no objective 'hinged'"),
        (lambda d: d.update(batch=0), "batch is 0; it must be at least 1"),
        (lambda d: d.update(steps=True), "steps is True"),
    ],
)
def test_a_configuration_is_checked_when_it_is_read(tmp_path, change, match):
    path = tmp_path / "config.json"
    write(TINY, path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=match):
        read(path)


@pytest.mark.parametrize("text", ["{", "[1]", ""])
def test_a_broken_configuration_file(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config\.json"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"batch": 0}, "batch is 0"),
        ({"steps": -1}, "steps is -1"),
        ({"g_lr": 0.0}, "g_lr is 0.0; it must be above 0"),
        ({"seed": -1}, "seed is -1"),
        ({"clip": 0.1}, "clips no weights"),
        ({"objective": "wasserstien"}, "Did you mean 'wasserstein'"),
        ({"half_life": -1.0}, "half_life"),
    ],
)
def test_a_configuration_cannot_be_wrong(fields, match):
    with pytest.raises(InputError, match=match):
        GANConfig(**fields)
