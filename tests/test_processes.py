"""Real processes on this machine, over the loopback interface: they train as one, and end together."""

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jaxgan import parallel, processes
from jaxgan.checkpoint import Checkpoints
from jaxgan.cli import main
from jaxgan.config import GANConfig
from jaxgan.errors import InputError
from jaxgan.rundir import open_run
from jaxgan.runlog import read
from jaxgan.train import train

CONFIG = GANConfig(
    data="digits", network="mlp", width=8, depth=1, latent_dim=4, batch=16, steps=40, log_every=20, sample_every=40,
    save_every=20, samples=9,
)  # fmt: skip
FLAGS = str.split(
    "digits --image-size None --network mlp --width 8 --depth 1 --latent-dim 4 --batch 16 --log-every 20 "
    "--sample-every 40 --save-every 20 --samples 9 --objective non_saturating --penalty None --penalty-every 1 "
    "--g-lr 2e-4 --d-lr 2e-4 --d-norm --half-life 10000"
)


def start(*commands, devices=2):
    """Starts one process a command, each with its id and two simulated devices, and where they find each other."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    flags = ["--coordinator", f"localhost:{port}", "--processes", str(len(commands)), "--process-id"]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_NUM_CPU_DEVICES": str(devices)}
    python = [sys.executable, "-c", "from jaxgan.cli import main; main()"]
    return [
        subprocess.Popen(
            [*python, *map(str, command), *flags, str(i)],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for i, command in enumerate(commands)
    ]


def wait(started, seconds=240):
    """Each process's status, output and errors."""
    results = []
    for process in started:
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            for other in started:
                other.kill()
            raise
        results.append((process.returncode, out, err))
    return results


def restore(run, engine):
    """The newest state of a run, on the devices of an engine."""
    gan = open_run(run).build((8, 8, 1), 10)
    like = jax.eval_shape(gan.init, jax.random.key(0))
    with Checkpoints(run / "checkpoints") as checkpoints:
        wanted = {"state": engine.shaped(like, engine.layout(like))}
        return checkpoints.restore(wanted, checkpoints.newest())["state"]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run of two processes with two devices each."""
    run = tmp_path_factory.mktemp("processes") / "two"
    (status, out, err), (other, silence, other_err) = wait(start(*[["train", *FLAGS, "--steps", 40, "--run", run]] * 2))
    assert status == 0, err
    assert other == 0, other_err
    assert "finished" in out and "step" not in silence  # the first alone speaks
    return run


def test_two_processes_compute_what_one_computes(two, tmp_path):
    assert open_run(two) == CONFIG
    alone = train(CONFIG, tmp_path / "one", engine=parallel.engine("sharded", 4), quiet=True)
    state = restore(two, parallel.engine("sharded", 4))
    for a, b in zip(jax.tree.leaves(jax.device_get(state)), jax.tree.leaves(jax.device_get(alone)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    rows, expected = read(two / "metrics.jsonl"), read(tmp_path / "one" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [20, 40]
    for row, other in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row["discriminator_loss"], other["discriminator_loss"], rtol=1e-4)
    assert {p.name for p in (two / "samples").iterdir()} == {"real.png", "000000.png", "000040.png"}


@pytest.mark.parametrize(("name", "devices"), [("jit", 1), ("pmap", 2), ("sharded", 8), ("shard_map", 4)])
def test_a_checkpoint_of_two_processes_restores_on_any_engine_to_the_bit(two, name, devices):
    expected = restore(two, parallel.engine("sharded", 4))
    engine = parallel.jit() if name == "jit" else parallel.engine(name, devices)
    state = restore(two, engine)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        assert len(a.addressable_shards) == devices
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.long
def test_one_process_goes_on_with_the_run_of_two(two, tmp_path):
    shutil.copytree(two, tmp_path / "run")
    config = dataclasses.replace(CONFIG, steps=60)
    state = train(config, tmp_path / "run", engine=parallel.engine("pmap", 2), resume=True, quiet=True)
    whole = train(config, tmp_path / "whole", engine=parallel.engine("shard_map", 2), quiet=True)
    assert state.step == 60
    for a, b in zip(jax.tree.leaves(jax.device_get(state)), jax.tree.leaves(jax.device_get(whole)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_processes_that_disagree_say_in_which_field(tmp_path):
    common = ["train", *FLAGS, "--steps", 40, "--run", tmp_path / "run"]
    for status, _, err in wait(start([*common, "--seed", 3], [*common, "--seed", 4])):
        assert status == 2
        assert "seed: 3 on process 0, 4 on process 1" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_the_run_goes_on(tmp_path):
    run = tmp_path / "run"
    started = start(*[["train", *FLAGS, "--steps", 10_000_000, "--run", run]] * 2)
    deadline = time.monotonic() + 120
    while len(read(run / "metrics.jsonl")) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)  # by then the checkpoints of steps 20 and 40 are complete
    started[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    out, err = started[0].communicate(timeout=60)
    assert started[0].returncode != 0, out
    assert time.monotonic() - killed < 60
    assert err.strip()  # not in silence
    with Checkpoints(run / "checkpoints") as checkpoints:
        step = checkpoints.newest()
    for status, _, err in wait(start(*[["resume", run, "--steps", step + 20]] * 2)):
        assert status == 0, err
    assert [row["step"] for row in read(run / "metrics.jsonl")] == list(range(20, step + 21, 20))


def test_a_signal_to_one_process_saves_and_ends_all(tmp_path):
    run = tmp_path / "run"
    started = start(*[["train", *FLAGS, "--steps", 10_000_000, "--run", run]] * 2)
    deadline = time.monotonic() + 120
    while not read(run / "metrics.jsonl") and time.monotonic() < deadline:
        time.sleep(0.2)
    started[1].send_signal(signal.SIGTERM)
    (status, out, err), (other, *_) = wait(started)
    assert (status, other) == (143, 143), err
    assert "interrupted and saved" in out
    with Checkpoints(run / "checkpoints") as checkpoints:
        assert checkpoints.newest() is not None


def test_a_coordinator_that_is_not_there_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(processes, "TIMEOUT", 1)
    with pytest.raises(InputError, match=r"coordinator localhost:1 was not reached within 1 s.*process 0 running"):
        processes.connect("localhost:1", 2, 1)
    for flags, words in (
        (("--processes", "2"), "--coordinator, --process-id is missing"),
        (("--coordinator", "here", "--processes", "2", "--process-id", "0"), "must be host:port"),
        (("--coordinator", "here:1", "--processes", "2", "--process-id", "2"), "with 2 processes it is 0 to 1"),
    ):
        with pytest.raises(SystemExit):
            main(["train", "digits", *flags])
        assert words in capsys.readouterr().err
