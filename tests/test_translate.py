"""A CycleGAN from two folders of images to translated files, as a user trains and uses it."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from test_cli import fails

from jaxgan import parallel
from jaxgan import train as trainer
from jaxgan.cli import main
from jaxgan.config import CycleGANConfig, GANConfig
from jaxgan.errors import InputError
from jaxgan.sample import draw_samples, restore
from jaxgan.sweep import sweep
from jaxgan.translate import translate

TINY = {
    "image_size": 16,
    "generator": "unet",
    "depth": 2,
    "width": 2,
    "d_width": 2,
    "layers": 1,
    "pool": 3,
    "log_every": 2,
    "samples": 2,
}
WORDS = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for side, n, shape in (
        ("trainA", 3, (20, 24)),
        ("trainB", 4, (18, 18)),
        ("new/below", 2, (21, 35)),
        ("new", 1, (16, 16)),
    ):
        (root / side).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (*shape, 3), np.uint8)).save(root / side / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def run(folders, tmp_path_factory):
    """Trained by the command line for four steps, with a checkpoint in the middle."""
    path = tmp_path_factory.mktemp("runs") / "run"
    a, b = str(folders / "trainA"), str(folders / "trainB")
    where = ["--devices", "1", "--steps", "4", "--save-every", "2", "--sample-every", "2"]
    main(["train", "cyclegan", "--a", a, "--b", b, *WORDS, *where, "--run", str(path)])
    return path


@pytest.mark.long
def test_a_picture_has_each_image_its_translation_and_the_way_back(run):
    config = json.loads((run / "config.json").read_text())
    assert config["recipe"] == "cyclegan" and config["width"] == 2
    trained = restore(run)
    assert trained.state.memory["pool"]["count"] == 3

    def read(name):
        picture = np.asarray(Image.open(run / f"samples/{name}.png"), np.float32)
        factor = 512 // (6 * 17 + 1)
        picture = picture[::factor, ::factor]
        assert picture.shape[:2] == (2 * 17 + 1, 6 * 17 + 1)
        return [[picture[17 * i + 1 : 17 * i + 17, 17 * j + 1 : 17 * j + 17] for j in range(6)] for i in range(2)]

    rows = read("000004")
    for i, (real_a, fake_b, back_a, real_b, fake_a, back_b) in enumerate(rows):
        whole = Image.open(trained.config.a + f"/{i}.png").resize((16, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(real_a, np.asarray(whole))
        for start, there, back, other in (("a", fake_b, back_a, "b"), ("b", fake_a, back_b, "a")):
            x = jnp.asarray({"a": real_a, "b": real_b}[start])[None] / 127.5 - 1
            made = trained.gan.sample(trained.state, jax.random.key(0), 1, **{start: x})
            returned = trained.gan.sample(trained.state, jax.random.key(0), 1, **{other: made})
            np.testing.assert_allclose((made[0] + 1) * 127.5, there, atol=0.51)
            np.testing.assert_allclose((returned[0] + 1) * 127.5, back, atol=0.51)


@pytest.mark.long
def test_a_run_that_was_cut_goes_on_to_the_same_bits(run, tmp_path):
    """Pools, their draws and the crops with it."""
    config = CycleGANConfig(**{k: v for k, v in json.loads((run / "config.json").read_text()).items() if k != "recipe"})
    trainer.train(
        CycleGANConfig(**{**vars(config), "steps": 3}), tmp_path / "cut", engine=parallel.sharded(1), quiet=True
    )
    resumed = trainer.train(config, tmp_path / "cut", engine=parallel.sharded(1), resume=True, quiet=True)
    whole = restore(run).state
    for x, y in zip(jax.tree.leaves(jax.device_get(whole)), jax.tree.leaves(jax.device_get(resumed)), strict=True):
        assert x.tobytes() == y.tobytes()


@pytest.mark.long
def test_folders_are_translated_at_any_size(folders, run, tmp_path, capsys):
    main(["translate", str(run), str(folders / "new"), "--full-size", "--out", str(tmp_path), "--batch", "2"])
    assert "3 translations" in capsys.readouterr().out
    sizes = {p.relative_to(tmp_path).as_posix(): Image.open(p).size for p in tmp_path.rglob("*.png")}
    assert sizes == {"0.png": (16, 16), "below/0.png": (35, 21), "below/1.png": (35, 21)}
    main(["translate", str(run), str(folders / "new"), "--direction", "ba", "--out", str(tmp_path / "ba")])
    assert Image.open(tmp_path / "ba/below/0.png").size == (27, 16)  # the shorter side as in training

    # A size that the network takes needs no padding: the translation is the network's.
    trained = restore(run)
    x = np.asarray(Image.open(folders / "new/0.png"), np.float32)[None] / 127.5 - 1
    for out, side in (("0.png", "a"), ("ba/0.png", "b")):
        made = trained.gan.sample(trained.state, jax.random.key(0), 1, **{side: jnp.asarray(x)})
        np.testing.assert_allclose(np.asarray(Image.open(tmp_path / out)), (made[0] + 1) * 127.5, atol=0.51)


@pytest.mark.slow
def test_values_are_swept_as_one_program(folders, tmp_path, no_key_checks):
    config = CycleGANConfig(a=str(folders / "trainA"), b=str(folders / "trainB"), steps=2, **TINY)
    runs = sweep(config, tmp_path, values={"cycle": (1.0, 5.0)}, devices=1, quiet=True)
    states = [restore(each).state for each in runs]
    kernels = [jax.tree.leaves(state.params["generator"])[-1] for state in states]
    assert not np.array_equal(*kernels)
    assert (tmp_path / "cycle=5,seed=0/samples/000002.png").is_file()


@pytest.mark.long
def test_pix2pix_from_pairs(folders, tmp_path):
    config = CycleGANConfig(
        a=str(folders / "trainA"), b=str(folders / "trainA"), steps=2, cycle=0.0, paired=100.0, conditional=True,
        objective="non_saturating", **TINY | {"pool": 0},
    )  # fmt: skip
    state = trainer.train(config, tmp_path / "run", engine=parallel.sharded(1), quiet=True)
    log = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert state.step == 2 and all(name in log[-1] for name in ("paired/a", "paired/b"))
    assert "cycle/a" not in log[-1]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--direction", "ac"], "no direction 'ac'. "),
        (["--size", "16", "--full-size"], "Give one of the two"),
        (["--batch", "0"], "batch is 0"),
        (["--step", "3"], "3"),
    ],
)
def test_translations_that_do_not_work(folders, run, tmp_path, capsys, args, words):
    message = fails(capsys, "translate", str(run), str(folders / "new"), "--out", str(tmp_path / "out"), *args)
    assert words in " ".join(message.split()) and not (tmp_path / "out").exists()


def test_files_and_runs_that_do_not_work(folders, run, tmp_path, capsys):
    assert "There is no file and no folder nowhere" in fails(capsys, "translate", str(run), "nowhere")
    (tmp_path / "bad.png").write_bytes(b"no image")
    assert "bad.png cannot be used: not an image" in fails(capsys, "translate", str(run), str(tmp_path / "bad.png"))
    Image.new("RGB", (16, 16)).save(tmp_path / "twice.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "twice.jpg")
    files = [str(tmp_path / "twice.png"), str(tmp_path / "twice.jpg")]
    assert "would both become" in fails(capsys, "translate", str(run), *files)
    with pytest.raises(InputError, match="draws no samples: it translates images"):
        draw_samples(run, 4)
    gan = GANConfig(network="mlp", width=8, depth=1, latent_dim=4, batch=16, steps=1)
    trainer.train(gan, tmp_path / "gan", engine=parallel.jit(), quiet=True)
    with pytest.raises(InputError, match="is no CycleGAN, so it translates nothing"):
        translate(tmp_path / "gan", [folders / "new"], tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_size": 30}, "image_size is 30; it must be a multiple of 4, for example 28 or 32"),
        ({"conditional": True}, "Set --paired"),
        ({"penalty": 1.0}, "'least_squares' has no gradient penalty"),
        ({"cycle": -1.0}, "cycle is -1.0; it must be at least 0"),
        ({"g_lr": 0.0}, "g_lr is 0.0; it must be above 0"),
    ],
)
def test_configurations_that_do_not_work(options, words):
    with pytest.raises(InputError, match=words):
        CycleGANConfig(**options)
