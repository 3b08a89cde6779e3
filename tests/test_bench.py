"""`jaxgan bench` on a tiny GAN: what it writes agrees with itself, and what cannot be measured is said."""

import dataclasses
import json
import sys
import threading
import time

import numpy as np
import pytest

from jaxgan import cli, parallel
from jaxgan.bench import bench, compare
from jaxgan.config import GANConfig
from jaxgan.data import from_arrays
from jaxgan.errors import InputError
from jaxgan.train import make_feed

TINY = GANConfig(data="digits", network="mlp", width=8, depth=1, latent_dim=4, batch=16, d_steps=2)
FLAGS = str.split(
    "digits --image-size None --network mlp --width 8 --depth 1 --latent-dim 4 --batch 16 --d-steps 2 "
    "--penalty-every 1 --penalty None --objective non_saturating --devices 1 --seconds 0.2"
)


@pytest.fixture(scope="module")
def measured():
    return bench(TINY, parallel.sharded(2), seconds=0.2)


def test_the_numbers_agree_with_each_other(measured):
    numbers, step = measured["measured"], measured["measured"]["step_ms"]
    assert numbers["images_per_step"] == 32
    assert numbers["images_per_second"] == pytest.approx(32 / (step["median"] / 1e3), rel=1e-3)
    assert 0 < step["p10"] <= step["median"] <= step["p90"]
    rate = numbers["gflops_per_step"] / 1e3 / (step["median"] / 1e3)
    assert numbers["mfu"] == pytest.approx(rate / (2 * numbers["matmul_tflops"]), abs=1e-3)
    assert numbers["gb_per_step"] is None and numbers["bandwidth_share"] is None  # two discriminator steps: a loop
    assert measured["devices"] == 2 and measured["config"]["width"] == 8


def test_the_share_of_memory_bandwidth():
    one, four = (
        bench(dataclasses.replace(TINY, d_steps=1, batch=batch), parallel.jit(), seconds=0.1)["measured"]
        for batch in (64, 256)
    )
    rate = one["gb_per_step"] / (one["step_ms"]["median"] / 1e3)
    assert one["bandwidth_share"] == pytest.approx(rate / one["bandwidth_gb_s"], rel=0.02, abs=1e-4)
    # At least each image once from float32; activations grow with the batch, parameters do not.
    assert one["gb_per_step"] > 64 * 64 * 4 / 1e9
    assert 1.5 < four["gb_per_step"] / one["gb_per_step"] < 4


@pytest.mark.parametrize("memory_limit", [1 << 30, 1])
def test_a_chunk_has_whole_cycles_of_lazy_turns(monkeypatch, memory_limit):
    """Where one step lasts long enough too, and where fewer steps are read ahead: the median leaves no turn out."""
    monkeypatch.setattr("jaxgan.bench._CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(sys.modules["jaxgan.data.feed"], "_STEPS", 2)  # jaxgan.data.feed is a function too
    lazily = {"objective": "gan_r1", "penalty_every": 3, "memory_limit": memory_limit}
    config = dataclasses.replace(TINY, d_steps=1, **lazily)
    lazy = bench(config, parallel.jit(), seconds=1e-9)["measured"]
    assert lazy["step_ms"]["steps_per_chunk"] == 3 and lazy["step_ms"]["chunks"] == 3


def test_waiting_for_data_is_told_apart_from_steps(monkeypatch):
    """A source that reads only while the steps wait for it makes them wait; one in memory never does."""
    source = from_arrays(np.zeros((64, 64, 64, 1), np.uint8))
    here, waiting = threading.current_thread(), threading.Event()

    def slow(indices):
        if threading.current_thread() is not here:  # reading ahead
            assert waiting.wait(60)
            time.sleep(0.01)
        return source.read(indices % 64)

    def gated(*args):
        found = make_feed(*args)

        def load(step):
            waiting.set()
            loaded = found.load(step)
            waiting.clear()
            return loaded

        return found._replace(load=load)

    config = dataclasses.replace(TINY, d_steps=1)
    monkeypatch.setattr(GANConfig, "load", lambda _: source)
    monkeypatch.setattr("jaxgan.bench._CHUNK_SECONDS", 0.0)  # chunks of one step; three are timed
    assert bench(config, parallel.jit(), seconds=1e-9)["measured"]["waiting_share"] == 0
    monkeypatch.setattr(GANConfig, "load", lambda _: source._replace(size=1 << 20, read=slow))
    monkeypatch.setattr("jaxgan.bench.make_feed", gated)
    config, shares = dataclasses.replace(config, memory_limit=1), []
    for ahead in (2, 64):  # steps
        monkeypatch.setattr(sys.modules["jaxgan.data.feed"], "_STEPS", ahead)  # jaxgan.data.feed is a function too
        shares.append(bench(config, parallel.jit(), seconds=1e-9)["measured"]["waiting_share"])
        waiting.set()  # for what is still read ahead
    assert 0 < shares[0] < 1
    assert shares[1] is None  # five steps do not come to the end of what was read ahead


def test_a_measurement_beside_an_earlier_one(measured):
    faster = json.loads(json.dumps(measured))
    faster["measured"]["images_per_second"] *= 2
    faster["measured"]["peak_mib"] /= 4
    ratios = compare(faster, measured)
    assert ratios == {"images_per_second": 2.0, "compile_seconds": 1.0, "peak_mib": 4.0}
    other = measured | {"config": measured["config"] | {"width": 9}}
    with pytest.raises(InputError, match="differ in config"):
        compare(measured, other)


@pytest.mark.long
def test_the_command_writes_what_it_prints_and_the_heaviest_operations(tmp_path, capsys):
    out = tmp_path / "speed.json"
    cli.main(["bench", *FLAGS, "--out", str(out), "--trace", str(tmp_path / "trace")])
    written, printed = json.loads(out.read_text())["measured"], capsys.readouterr().out
    assert f"{written['images_per_second']:,.1f}" in printed
    heaviest = written["heaviest"]
    assert heaviest and sum(each["share"] for each in heaviest) <= 1
    assert [each["share"] for each in heaviest] == sorted((each["share"] for each in heaviest), reverse=True)
    assert any("MLP" in each["of"] for each in heaviest)
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))


def test_what_cannot_be_measured(tmp_path, capsys):
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"measured": []}')
    for flags, words in (
        (["--seconds", "0"], "--seconds is 0"),
        (["--out", str(tmp_path / "no" / "file.json")], "there is no directory"),
        (["--compare", str(tmp_path / "none.json")], "is no measurement"),
        (["--compare", str(wrong)], "is no measurement"),
        (["--batch", "0"], "batch is 0"),
    ):
        with pytest.raises(SystemExit) as status:
            cli.main(["bench", *FLAGS, *flags])
        assert status.value.code == 2
        assert words in capsys.readouterr().err
