"""What happens to runs: kills, signals, full disks. Real processes, real signals, real limits."""

import contextlib
import dataclasses
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import psutil
import pytest

from jaxgan import integrity, parallel, rundir
from jaxgan import train as trainer
from jaxgan.checkpoint import Checkpoints, unfinished
from jaxgan.config import GANConfig, write
from jaxgan.errors import InputError, RunError, RunWarning
from jaxgan.rundir import open_run
from jaxgan.runlog import read

slow = pytest.mark.slow

TINY = GANConfig(
    data="digits", network="mlp", width=8, depth=1, latent_dim=4, batch=16, steps=30, log_every=10, sample_every=1000,
    save_every=10, keep=3, samples=4,
)  # fmt: skip
FLAGS = [
    *("--network", "mlp", "--width", "8", "--depth", "1", "--latent-dim", "4", "--batch", "16", "--samples", "4"),
    *("--log-every", "10", "--sample-every", "1000", "--keep", "3"),
]


def train(config, run, **options):
    return trainer.train(config, run, engine=parallel.jit(), quiet=True, **options)


def digest(run, step=None):
    with Checkpoints(run / "checkpoints") as checkpoints:
        return checkpoints.about(checkpoints.newest(step))["digests"]


@pytest.fixture
def command():
    """Starts ``jaxgan ...`` on one device; what is still running at the end is killed."""
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
    environment, started = os.environ | {"XLA_FLAGS": flags}, []

    def start(*args, cores=None, **variables):
        script = f"import os; os.sched_setaffinity(0, {cores}); " if cores else ""
        words = [sys.executable, "-c", script + "from jaxgan.cli import main; main()", *map(str, args)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(words, env=environment | variables, **pipes))
        return started[-1]

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def good_steps(run):
    with Checkpoints(run / "checkpoints") as checkpoints:
        return [step for step in checkpoints.steps() if not checkpoints.faults(step)]


# Kills.


@pytest.mark.long
@pytest.mark.parametrize("kills", [3, *(pytest.param(n, marks=slow) for n in (20, 200))])
@pytest.mark.timeout(3600)
def test_kill_9_at_any_moment(tmp_path, command, kills):
    """After each kill there is a good checkpoint; steps here are so fast that saves take longer than their interval.

    The killed run goes on each time; the bits at its end are those of a run that nothing interrupted.
    """
    run, chance, save_every = tmp_path / "run", random.Random(0), 200
    config = dataclasses.replace(TINY, steps=10**9, log_every=50, save_every=save_every, sample_every=10**6)
    (run / "samples").mkdir(parents=True)
    write(config, run / "config.json")
    newest = 0
    for _ in range(kills):
        process = command("resume", run)
        wait_for(lambda least=newest: (run / "checkpoints").is_dir() and (good_steps(run) or [0])[-1] > least)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        out, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, out + err
        logged = read(run / "metrics.jsonl")[-1]["step"]
        with Checkpoints(run / "checkpoints") as checkpoints:
            found = checkpoints.newest()
        assert found >= newest and found % save_every == 0
        # A save waits for the one before it: no more than that one was under way, and the log ahead of its own.
        assert found >= logged // save_every * save_every - 2 * save_every
        newest = found
    end = newest + 10
    state = train(dataclasses.replace(config, steps=end), run, resume=True)
    assert not unfinished(run / "checkpoints")
    whole = train(dataclasses.replace(config, steps=end, save_every=10**6), tmp_path / "whole")
    assert integrity.digests(state) == integrity.digests(whole)


# Signals.


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), *(pytest.param(n, s, marks=slow) for n, s in ((signal.SIGINT, 130), (signal.SIGHUP, 129)))],
    ids=lambda n: str(int(n)),
)
def test_a_signal_saves_and_a_second_one_does_no_harm(tmp_path, command, number, status):
    run = tmp_path / "run"
    process = command("train", "digits", *FLAGS, "--steps", 10**9, "--run", run, "--save-every", 10**8)
    wait_for(lambda: len(read(run / "metrics.jsonl")) > 3)
    process.send_signal(number)
    with contextlib.suppress(ProcessLookupError):
        for _ in range(20):
            time.sleep(0.02)
            process.send_signal(number)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10  # what is promised
    assert process.returncode == status, err
    assert "interrupted and saved" in out and "Traceback" not in err
    (step,) = good_steps(run)
    assert step >= read(run / "metrics.jsonl")[-1]["step"]  # not a step is lost
    config = dataclasses.replace(open_run(run), steps=step)
    train(dataclasses.replace(config, save_every=10**6), tmp_path / "whole")
    assert digest(run)["state"] == digest(tmp_path / "whole")["state"]


@pytest.mark.long
@pytest.mark.parametrize("delay", [1.0, 4.0])
def test_a_signal_while_it_starts_ends_it_at_once(tmp_path, command, delay):
    """StyleGAN2 compiles for minutes: nothing has been trained, nothing is saved, nobody waits."""
    run = tmp_path / "run"
    process = command("train", "stylegan2-mnist", "--run", run, "--data", "digits", "--image-size", "32", "--batch", 16)
    wait_for(lambda: psutil.Process(process.pid).num_threads() > 8)  # JAX has begun
    time.sleep(delay)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode in (143, -signal.SIGTERM), out + err
    assert "Traceback" not in err
    assert not (run / "checkpoints").exists() or not good_steps(run)


def test_two_trainings_do_not_write_into_one_run(tmp_path):
    train(TINY, tmp_path / "run")
    with rundir.lock(tmp_path / "run"), pytest.raises(InputError, match="Another process trains in"):
        train(dataclasses.replace(TINY, steps=40), tmp_path / "run", resume=True)
    assert train(dataclasses.replace(TINY, steps=31), tmp_path / "run", resume=True).step == 31


# Disks.


@contextlib.contextmanager
def largest_file(size):
    """No file may grow beyond so many bytes: the writing fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full(tmp_path):
    """At ten points of filling up: an error, what was there stays, nothing half is left, and the run can go on."""
    run = tmp_path / "run"
    train(dataclasses.replace(TINY, steps=20), run)
    before = digest(run, 20)
    failed = 0
    for size in (200, 400, 600, 800, 1000, 1500, 2000, 4000, 8000, 12000):
        with largest_file(size):
            try:
                train(dataclasses.replace(TINY, steps=1000), run, resume=True)
            except (RunError, InputError) as error:
                assert "File too large" in str(error) or "could not be written" in str(error)
                failed += 1
        steps = good_steps(run)
        assert 20 in steps and digest(run, 20) == before
        assert not unfinished(run / "checkpoints")
        assert not list(run.rglob("*.part"))
        assert steps == [10, 20] or size > 8000, size
    assert failed >= 9
    state = train(TINY, run, resume=True)
    assert integrity.digests(state) == integrity.digests(train(TINY, tmp_path / "whole"))


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a small disk")
def test_a_small_disk_and_its_exit_status(tmp_path, command):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", disk], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        args = ["--steps", 10**9, "--run", disk / "run", "--save-every", 10, "--keep", 100]
        _out, err = command("train", "digits", *FLAGS, *args).communicate(timeout=200)
        assert err.count("jaxgan: ") == 1 and "No space left on device" in err and "Traceback" not in err
        steps = good_steps(disk / "run")
        assert steps and all(step % 10 == 0 for step in steps)
        assert read(disk / "run/metrics.jsonl")[-1]["step"] <= steps[-1] + 2 * TINY.save_every
        assert not unfinished(disk / "run/checkpoints")
    finally:
        subprocess.run(["umount", disk], check=True)


# Files of a run.


def test_a_faulty_checkpoint_is_set_aside_and_the_run_goes_on(tmp_path):
    run = tmp_path / "run"
    train(TINY, run)
    whole = digest(run, 30)
    (file,) = (run / "checkpoints/30/state/d").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.warns(RunWarning, match=r"(?s)step 30: state/d/.*: altered.*of step 20"):
        train(TINY, run, resume=True)
    assert digest(run, 30) == whole
    assert (run / "faulty/30/state/d").is_dir()
    assert [row["step"] for row in read(run / "metrics.jsonl")] == [10, 20, 30]


def test_a_lost_configuration_is_in_the_checkpoint(tmp_path):
    run = tmp_path / "run"
    train(TINY, run)
    (run / "config.json").unlink()
    assert open_run(run) == TINY
    (run / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        open_run(run)


def test_what_changed_since_is_said(tmp_path, monkeypatch):
    run = tmp_path / "run"
    train(TINY, run)
    monkeypatch.setattr(trainer, "versions", lambda: {"jax": "0.0.1"})
    monkeypatch.setattr(trainer, "fingerprint", lambda source: "other")
    with pytest.warns(RunWarning) as caught:
        train(dataclasses.replace(TINY, steps=31, log_every=5), run, resume=True)
    message = str(caught[0].message)
    assert f"jax: {jax.__version__} -> 0.0.1" in message
    assert "log_every: 10 -> 5" in message and "-> other" in message and "steps" not in message.split("\n", 1)[1]


def test_broken_lines_of_a_log_are_kept_aside(tmp_path):
    run = tmp_path / "run"
    train(dataclasses.replace(TINY, steps=20), run)
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"\x00garbage\n".join([b"", *lines]) + b'{"step": 2')
    train(TINY, run, resume=True)
    assert [row["step"] for row in read(run / "metrics.jsonl")] == [10, 20, 30]
    assert (run / "metrics.jsonl.broken").read_bytes().count(b"garbage") == 2


# Long runs.


@slow
@pytest.mark.timeout(3600)
def test_a_soak(tmp_path, monkeypatch):
    """20,000 steps with 200 saves: memory and open files stay where they were, and nothing is compiled again."""
    process, seen = psutil.Process(), []
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if name.endswith("backend_compile_duration") else None
    )
    save = rundir.Run.save

    def watched(self, step, *args):
        save(self, step, *args)
        self._checkpoints.wait()
        seen.append((process.memory_info().rss, process.num_fds(), len(compiled)))

    monkeypatch.setattr(rundir.Run, "save", watched)
    train(dataclasses.replace(TINY, steps=20_000, log_every=100, save_every=100, sample_every=500), tmp_path / "run")
    memory, files, programs = zip(*seen, strict=True)
    assert len(seen) >= 200
    warm = 40
    assert max(memory[-20:]) < 1.02 * max(memory[warm - 20 : warm])
    assert max(files[warm:]) <= max(files[:warm]) and len(set(programs[warm:])) == 1


@pytest.mark.long
@pytest.mark.parametrize("network", ["mlp", pytest.param("dcgan", marks=slow)])
def test_one_seed_one_result_whatever_the_process_and_its_cores(tmp_path, command, network):
    """Two processes on all cores and one on a single core with as many threads: the same bits.

    The DCGAN's convolutions are so large that other threads would give other bits; of the MLP they do not.
    """
    large = ["--network", network, "--width", "64", "--batch", "64", "--image-size", "32"]
    flags = [*FLAGS, *(large if network == "dcgan" else []), "--steps", "5" if network == "dcgan" else "20"]
    cores = sorted(os.sched_getaffinity(0))
    runs: dict[Path, list[int]] = {tmp_path / "a": cores, tmp_path / "b": cores, tmp_path / "one": cores[:1]}
    for run, chosen in runs.items():
        threads = str(len(cores if network == "dcgan" else chosen))
        process = command("train", "digits", *flags, "--run", run, cores=chosen, NPROC=threads)
        _out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    with Checkpoints(tmp_path / "one" / "checkpoints") as checkpoints:
        step = checkpoints.newest()
        assert checkpoints.about(step)["versions"]["threads (NPROC)"] == threads
    first, *others = (digest(run, step) for run in runs)
    assert others == [first, first]
    if network == "dcgan" and len(cores) > 1:  # a control: else it would prove nothing
        process = command("train", "digits", *flags, "--run", tmp_path / "fewer", cores=cores[:1], NPROC="1")
        assert process.communicate(timeout=300) and process.returncode == 0
        assert digest(tmp_path / "fewer", step) != first
