"""The command line, as a user calls it."""

import contextlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxgan.cli import COMMANDS, main
from jaxgan.objectives import OBJECTIVES
from jaxgan.presets import PRESETS
from jaxgan.sample import draw_samples, interpolate

TINY = {
    "--network": "mlp",
    "--width": "8",
    "--depth": "1",
    "--latent-dim": "4",
    "--batch": "16",
    "--steps": "6",
    "--log-every": "2",
    "--sample-every": "3",
}
TINY = [word for pair in TINY.items() for word in pair]


def fails(capsys, *args):
    """The message with which a command refuses: on stderr, with status 2 and without a traceback."""
    with pytest.raises(SystemExit) as exit_:
        main(list(args))
    captured = capsys.readouterr()
    assert exit_.value.code == 2
    assert "Traceback" not in captured.err + captured.out
    return captured.err + captured.out


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("args", [("presets",), ("train", "digits", "--help")])
def test_a_reader_that_has_seen_enough(args):
    """`jaxgan presets | head`: no traceback, and a status that is not 0."""
    run = "from jaxgan.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", run, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) in (1, 141)  # rich writes tables, and ends with 1


def test_train_sample_resume_in_their_order(here, capsys):
    main(["train", "digits", *TINY])
    out = capsys.readouterr().out
    assert out.startswith("runs/digits: digits, 1,797 images of 16 x 16 x 1; compiling\n")
    assert "step 6/6" in out and "images/s" in out and "real" in out
    assert "jaxgan sample runs/digits" in out and "jaxgan resume runs/digits --steps N" in out
    assert json.loads((here / "runs/digits/config.json").read_text())["width"] == 8

    main(["sample", "runs/digits", "--count", "5", "--out", "grid.png", "--seed", "1"])
    assert np.asarray(Image.open(here / "grid.png")).std() > 0
    main(["resume", "runs/digits", "--steps", "8"])
    assert "step 8/8" in capsys.readouterr().out
    assert {p.name for p in (here / "runs/digits/checkpoints").iterdir()} == {"6", "8"}

    main(["train", "digits", *TINY])  # the first run is not touched
    assert "runs/digits-2" in capsys.readouterr().out
    assert "exists already" in fails(capsys, "train", "digits", *TINY, "--run", "runs/digits")
    main(["train", "digits", *TINY, "--run", "runs/digits", "--overwrite"])
    assert {p.name for p in (here / "runs/digits/checkpoints").iterdir()} == {"6"}


def test_train_trains_digits_when_no_preset_is_named(here, capsys):
    main(["train", *TINY])
    assert (here / "runs/digits/samples/000006.png").is_file()


def test_points_and_tensorboard(here, capsys):
    main(["train", "gan-ring", *TINY, "--tensorboard", "--samples", "50"])
    assert Image.open(here / "runs/gan-ring/samples/000006.png").size == (400, 400)
    assert any("tfevents" in p.name for p in (here / "runs/gan-ring/tensorboard").iterdir())


@pytest.mark.long
def test_a_wasserstein_run_on_real_mnist(here, data_dir, capsys):
    main(
        ["train", "wgan-mnist", *TINY, "--d-steps", "2", "--steps", "2", "--data-dir", str(data_dir), "--clip", "0.02"]
    )
    row = json.loads((here / "runs/wgan-mnist/metrics.jsonl").read_text().splitlines()[-1])
    assert np.isclose(row["discriminator_loss"], row["fake_logit"] - row["real_logit"], atol=1e-5)


@pytest.mark.long
def test_a_conditional_run_makes_what_it_is_asked_for(here, capsys):
    """The network is too small to draw; that labels arrive shows in what changes with them."""
    main(["train", "digits", *TINY, "--conditioning", "projection", "--samples", "100", "--batch", "64"])
    row = json.loads((here / "runs/digits/metrics.jsonl").read_text().splitlines()[-1])
    assert {f"fake_logit/{k}" for k in range(10)} <= row.keys()
    args = ["sample", "runs/digits"]
    main([*args, "--label", "3", "--count", "4", "--out", "three.png"])
    main([*args, "--label", "3", "8", "--count", "8", "--out", "two.png"])
    main([*args, "--label", "3", "8", "--interpolate", "--count", "9", "--out", "path.png"])
    assert "9 samples: path.png" in capsys.readouterr().out
    three, both = (
        draw_samples("runs/digits", 4, label=np.full(4, 3)),
        draw_samples("runs/digits", 4, label=[3, 8, 3, 8]),
    )
    assert (three[::2] == both[::2]).all() and not (three[1::2] == both[1::2]).all()
    path = interpolate("runs/digits", 3, 8, rows=4, columns=3)
    np.testing.assert_allclose(path[::3], three, atol=1e-6)  # a row begins with its latent's 3
    np.testing.assert_allclose(path[2::3], draw_samples("runs/digits", 4, label=np.full(4, 8)), atol=1e-6)
    by_class = draw_samples("runs/digits", 100)  # pictures have one row for each class
    np.testing.assert_allclose(by_class[35], draw_samples("runs/digits", 100, label=np.full(100, 3))[35], atol=1e-6)
    assert "holds [10]. Allowed: 0 to 9" in fails(capsys, *args, "--label", "10")
    assert "--label names 1, not 2" in fails(capsys, *args, "--label", "1", "--interpolate")
    main(["train", "digits", *TINY, "--run", "runs/plain"])
    assert "is no conditional GAN" in fails(capsys, "sample", "runs/plain", "--label", "3")


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [["--network", "mlp"], pytest.param(["--network", "dcgan", "--width", "4"], marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("conditioning", ["concat", "acgan"])
def test_every_network_takes_every_conditioning(here, options, conditioning):
    flags = [*TINY, *options, "--conditioning", conditioning, "--embed", "5", "--uniform-labels", "--steps", "2"]
    main(["train", "digits", *flags, "--log-every", "1", "--image-size", "8"])
    row = json.loads((here / "runs/digits/metrics.jsonl").read_text().splitlines()[-1])
    assert np.isfinite(row["generator_loss"])
    assert ("fake_class_accuracy" in row) == (conditioning == "acgan")


def test_a_sweep_prints_a_table_and_keeps_runs(here, capsys, no_key_checks):
    main(["sweep", "digits", *TINY, "--seeds", "2", "--sweep.g-lr", "1e-3", "1e-4"])
    out = capsys.readouterr().out
    assert "4 members" in out and "2 seeds: mean ± deviation" in out and "g_lr 0.001" in out and "±" in out
    assert "4 runs, in runs/digits-sweep" in out
    main(["sample", "runs/digits-sweep/g_lr=0.0001,seed=1", "--out", "grid.png"])
    assert "exists already" in fails(
        capsys, "sweep", "digits", *TINY, "--seeds", "2", "--sweep.g-lr", "1e-3", "1e-4", "--out", "runs/digits-sweep"
    )


@pytest.mark.long
def test_devices_and_engines(here, capsys):
    main(["devices", "--batch", "24"])
    out = capsys.readouterr().out
    assert out.count("cpu") >= 8 and "│ 3 " in out
    assert "24 or 32" in fails(capsys, "devices", "--batch", "30")
    main(["train", "digits", *TINY, "--engine", "shard_map", "--devices", "2"])
    main(["resume", "runs/digits", "--steps", "8", "--engine", "pmap", "--devices", "4"])
    assert "step 8/8" in capsys.readouterr().out


def test_a_folder_of_images(here, capsys):
    rng = np.random.default_rng(0)
    (here / "photos").mkdir()
    for i in range(20):
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8)).save(here / f"photos/{i}.png")
    main(["train", "digits", *TINY, "--data", "photos/", "--image-size", "8"])
    assert json.loads((here / "runs/digits/config.json").read_text())["image_size"] == 8
    (here / "photos/broken.png").write_bytes(b"no picture")
    assert "broken.png" in fails(capsys, "train", "digits", *TINY, "--data", "photos/", "--image-size", "8")
    (here / "photos/broken.png").unlink()
    unlabelled = ["--data", "photos/", "--image-size", "8", "--conditioning", "concat"]
    assert "'photos/' has no labels" in fails(capsys, "train", "digits", *TINY, *unlabelled)
    assert not (here / "runs/digits-2").exists()


def test_lists(here, capsys, data_dir):
    main(["presets"])
    out = capsys.readouterr().out
    lines = out.splitlines()
    for name, preset in PRESETS.items():
        assert f"{name}  {preset.cost}" in lines
    assert max(map(len, lines)) <= 100  # a list fits any terminal
    main(["data", "list", "--data-dir", str(data_dir)])
    out = capsys.readouterr().out
    assert "digits" in out and "1797" in out and "mnist" in out and "60000" in out
    main(["data", "prepare", "mnist", "--data-dir", str(data_dir)])  # it is there
    assert "mnist is ready" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) if command not in ("data", "edit") else contextlib.nullcontext():
        main([command, "--help"])
    assert f"usage: jaxgan {command}" in capsys.readouterr().out


def test_help_names_fields_and_units(capsys):
    with pytest.raises(SystemExit):
        main(["train", "wgan-mnist", "--help"])
    out = capsys.readouterr().out
    assert "--half-life FLOAT" in out and "in images" in out and "MiB" in out
    text = " ".join(out.replace("│", " ").split())
    assert "`jaxgan presets` lists" in text and "Adversarial objective: minimax, " in text
    assert all(name in text for name in OBJECTIVES)


def test_every_command_stands_apart_from_what_it_does(capsys):
    main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    told = dict(line.split(maxsplit=1) for line in lines if line.startswith("  "))
    assert all(told[name][0].isupper() for name in COMMANDS)


def test_an_interruption_before_anything_is_saved_does_not_claim_otherwise(here, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxgan.data.load", interrupted)
    with pytest.raises(SystemExit) as exit_:
        main(["train", "digits", *TINY])
    assert exit_.value.code == 130
    out = capsys.readouterr().out
    assert "nothing was saved" in out and "jaxgan resume" not in out


def test_debug_shows_where_an_error_came_from(here):
    from jaxgan.errors import InputError

    with pytest.raises(InputError):
        main(["train", "digit", "--debug"])


def test_the_installed_command(here):
    """As the shell runs it, in a process of its own."""
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    words = [sys.executable, "-m", "jaxgan", "train", "digt"]
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 2
    assert done.stderr.startswith("jaxgan: There is no preset 'digt'") and done.stderr.count("\n") == 1
