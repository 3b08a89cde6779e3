"""Exports: what a process without jaxgan makes of them is, to the bit, what the run makes."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
import safetensors.numpy
from jax import export as exports
from PIL import Image

from jaxgan import config, loader, typing
from jaxgan.cli import main
from jaxgan.export import export
from jaxgan.rundir import Run, make
from jaxgan.sample import restore
from jaxgan.state import TrainState
from jaxgan.train import describe

GAN = config.GANConfig(network="dcgan", width=4, latent_dim=6, batch=16, steps=1)
STYLE = config.StyleGAN2Config(
    data="digits", conditional=True, batch=8, channel_base=32, channel_max=4, latent_dim=4, w_dim=4, mapping_layers=1
)
R3GAN = config.R3GANConfig(data="digits", channel_base=64, channel_max=8, blocks=1, group=4, latent_dim=4, batch=16)
TRANSLATION = config.CycleGANConfig(
    a="photos", b="photos", image_size=16, generator="unet", depth=2, width=2, d_width=2, layers=1
)
RUNS = {
    "gan": GAN,
    "conditional": config.GANConfig(network="mlp", width=8, depth=1, latent_dim=4, batch=16, conditioning="concat"),
    "stylegan2": STYLE,
    "cyclegan": TRANSLATION,
    "r3gan": R3GAN,
}
ALL = [pytest.param(name, marks=pytest.mark.slow if name == "r3gan" else ()) for name in RUNS]
SIZES = (1, 5)

# Runs where jaxgan cannot be imported, even if it is installed.
WITHOUT_JAXGAN = """
import sys
sys.modules["jaxgan"] = None
import json, pathlib
import numpy as np
folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(folder))
from load import load
made = {}
with np.load(folder / "inputs.npz", allow_pickle=False) as given:
    for name, about in json.loads((folder / "model.json").read_text())["functions"].items():
        make = load(folder / about["file"])
        for n in sorted({key.split("/")[1] for key in given if key.startswith(name)}):
            made[f"{name}/{n}"] = make(*(given[f"{name}/{n}/{each['name']}"] for each in about["inputs"]))
np.savez(folder / "made.npz", **made)
assert not [name for name in sys.modules if name.startswith(("jaxgan.", "flax", "optax"))]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """``name -> directory`` of a run of random weights, its export, and what a process of its own made of that."""
    root, rng = tmp_path_factory.mktemp("exports"), np.random.default_rng(0)
    (root / "photos").mkdir()
    for i in range(4):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(root / f"photos/{i}.png")

    @functools.cache
    def place(name: str) -> Path:
        folder = root / name / "export"
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            write_run(root / name, RUNS[name], rng)
        assert {path.name for path in export(root / name)} == {path.name for path in folder.iterdir()}
        np.savez(folder / "inputs.npz", **inputs(folder / "model.json", rng))
        flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
        env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"XLA_FLAGS": flags}
        command = [sys.executable, "-c", WITHOUT_JAXGAN, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd="/", check=False)
        assert done.returncode == 0, done.stderr
        return root / name

    return place


def write_run(path: Path, each: config.Config, rng: np.random.Generator) -> None:
    source = each.load()
    make(path, each, overwrite=False)
    with Run(path, each, describe(each, source), quiet=True) as run:
        run.save(7, {"state": random_state(each, each.build(source.shape, source.classes), rng)})


def random_state(each: config.Config, gan: typing.GAN, rng: np.random.Generator) -> TrainState:
    """As if training had moved everything: no moment and no scale is 0 or 1."""
    scale = 1.0 if isinstance(each, config.StyleGAN2Config) else 0.3  # as they are drawn at the start

    def leaf(at: tuple, x: jax.ShapeDtypeStruct) -> np.ndarray:
        positive = "batch_stats" in jax.tree_util.keystr(at)
        drawn = rng.uniform(0.5, 1.5, x.shape) if positive else scale * rng.standard_normal(x.shape)
        return np.asarray(drawn).astype(x.dtype)

    like = jax.eval_shape(gan.init, jax.random.key(0))
    return jax.tree_util.tree_map_with_path(leaf, like).replace(step=np.array(7, np.int32))


def inputs(model: Path, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """For each function and batch size its arguments, as model.json lists them."""

    def draw(about: dict, n: int) -> np.ndarray:
        if about["name"] == "label":
            return rng.integers(0, 10, n, np.int32)
        shape = [n if size == "batch" else size for size in about["shape"]]
        return np.asarray(rng.uniform(-1, 1, shape), about["dtype"])

    functions = json.loads(model.read_text())["functions"]
    return {
        f"{name}/{n}/{about['name']}": draw(about, n)
        for name, function in functions.items()
        for about in function["inputs"]
        for n in SIZES
    }


def original(trained, name: str, given: dict[str, np.ndarray]) -> np.ndarray:
    """What the run itself makes, with its state as an argument of the program."""
    if name in ("ab", "ba"):
        images = given["images"]
        return jax.jit(lambda s, x: trained.gan.sample(s, jax.random.key(0), len(x), **{name[0]: x}))(
            trained.state, images
        )
    generator = trained.config.generators(trained.shape, trained.classes)["generator"]
    label = {"label": given["label"]} if "label" in given else {}

    @jax.jit
    def program(state, z, label, psi):
        variables = state.average["generator"]
        if psi is None:
            return generator.apply(variables, z, train=False, **label)
        w = generator.apply(variables, z, **label, method="map")
        mean = variables["w_avg"]["mean"]
        ws = jnp.repeat((mean + psi * (w - mean))[:, None], generator.layers, axis=1)
        return generator.apply(variables, ws, method="synthesise")

    return program(trained.state, given["latents"], label, given.get("psi"))


@pytest.mark.long
@pytest.mark.parametrize("run", ALL)
def test_a_process_without_jaxgan_makes_the_same_bits(place, run):
    trained = restore(place(run))
    folder = place(run) / "export"
    about = json.loads((folder / "model.json").read_text())
    assert about["step"] == 7 and about["config"] == trained.config.as_data()
    assert [*about["functions"]] == (["ab", "ba"] if run == "cyclegan" else ["generator"])
    with np.load(folder / "inputs.npz") as given, np.load(folder / "made.npz") as made:
        assert {*made} == {f"{name}/{n}" for name in about["functions"] for n in SIZES}
        for key, images in made.items():
            ours = {name.removeprefix(f"{key}/"): x for name, x in given.items() if name.startswith(f"{key}/")}
            expected = np.asarray(original(trained, key.split("/")[0], ours))
            np.testing.assert_array_equal(images, expected)
            assert images.shape[1:] == tuple(about["functions"][key.split("/")[0]]["output"]["shape"][1:])
            assert np.ptp(images) > 1e-3  # they show something


def test_latents_of_sample_give_the_samples(place):
    """The one thing that is drawn inside: with the same latents an export makes what `gan.sample` makes."""
    trained = restore(place("gan"))
    key = jax.random.key(3)
    z = jax.random.normal(jax.random.clone(key), (5, 6))
    images = jax.jit(lambda state, key: trained.gan.sample(state, key, 5))(trained.state, key)
    make_images = loader.load(place("gan") / "export/generator.jaxexport")
    np.testing.assert_allclose(make_images(z), images, atol=1e-6)


@pytest.mark.parametrize("run", ALL)
def test_weights_are_the_averaged_variables_bit_for_bit(place, run):
    variables = restore(place(run)).state.average["generator"]
    if run == "cyclegan":
        variables = {name: {"params": variables["params"][name]} for name in ("ab", "ba")}
    else:
        variables = {"generator": variables}
    expected = {
        "/".join(key.key for key in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    weights = safetensors.numpy.load_file(place(run) / "export/weights.safetensors")
    assert weights.keys() == expected.keys()
    for name, leaf in expected.items():
        assert weights[name].dtype == leaf.dtype and weights[name].tobytes() == leaf.tobytes()


def test_psi_truncates(place):
    """At 0 all styles are the mean one, and the constant noise is shared: latents and labels say nothing any more."""
    make_images = loader.load(place("stylegan2") / "export/generator.jaxexport")
    z, label = np.random.default_rng(0).standard_normal((2, 4), np.float32), np.array([3, 8], np.int32)
    mean, varied = (np.asarray(make_images(z, np.float32(psi), label)) for psi in (0, 1))
    np.testing.assert_array_equal(mean, np.asarray(make_images(-z, np.float32(0), label[::-1])))
    np.testing.assert_allclose(mean[0], mean[1], atol=1e-6)  # XLA may sum up neighbours in another order
    assert np.abs(varied[0] - varied[1]).max() > 1e-5


def test_labels_change_what_is_made(place):
    make_images = loader.load(place("conditional") / "export/generator.jaxexport")
    z = np.repeat(np.random.default_rng(0).standard_normal((1, 4), np.float32), 2, axis=0)
    one, other = np.asarray(make_images(z, np.array([3, 8], np.int32)))
    assert np.abs(one - other).max() > 1e-3


def test_the_file_runs_where_it_says_and_nowhere_else(place, tmp_path, capsys):
    exported = exports.deserialize(bytearray((place("gan") / "export/generator.jaxexport").read_bytes()))
    assert exported.platforms == ("cpu", "cuda", "tpu") and str(exported.in_avals[0].shape[0]) == "batch"
    main(["export", str(place("gan")), "--step", "7", "--platforms", "tpu", "--out", str(tmp_path / "made")])
    assert "generator.jaxexport" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        "generator.jaxexport", "load.py", "model.json", "weights.safetensors",
    }  # fmt: skip
    make_images = loader.load(tmp_path / "made/generator.jaxexport")
    with pytest.raises(ValueError, match="was exported for platforms"):
        make_images(np.zeros((2, 6), np.float32))


def test_onnx_stands_beside_the_other_files(place, tmp_path, capsys):
    """And is gone after an export without it, whose weights may be others."""
    command = ["export", str(place("gan")), "--platforms", "cpu", "--out", str(tmp_path)]
    main([*command, "--onnx"])
    assert "generator.onnx" in capsys.readouterr().out
    about = json.loads((tmp_path / "model.json").read_text())["functions"]["generator"]
    session = onnxruntime.InferenceSession(tmp_path / about["onnx"], providers=["CPUExecutionProvider"])
    z = np.random.default_rng(0).standard_normal((3, 6), np.float32)
    (images,) = session.run(None, {about["inputs"][0]["name"]: z})
    np.testing.assert_allclose(images, loader.load(tmp_path / about["file"])(z), atol=1e-6)
    assert list(session.get_outputs()[0].shape) == about["output"]["shape"]
    main(command)
    assert not (tmp_path / "generator.onnx").exists()
    assert "onnx" not in json.loads((tmp_path / "model.json").read_text())["functions"]["generator"]
