"""ONNX models: what onnxruntime makes of them, where there is no JAX, is what the generators make, but for rounding."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from test_export import original, random_state

from jaxgan import config
from jaxgan.errors import InputError
from jaxgan.export import export, functions
from jaxgan.nn.sums import spread, total
from jaxgan.sample import Trained
from jaxgan.to_onnx import convert

GAN = functools.partial(config.GANConfig, width=4, latent_dim=8, batch=16)
MLP = functools.partial(GAN, network="mlp", depth=1)
RESNET = functools.partial(GAN, network="resnet", attention=16)
STYLE = functools.partial(
    config.StyleGAN2Config, data="digits", batch=8, channel_base=64, channel_max=4, latent_dim=4, w_dim=4,
    mapping_layers=1,
)  # fmt: skip
R3GAN = functools.partial(
    config.R3GANConfig, data="digits", channel_base=64, channel_max=8, blocks=1, group=4, latent_dim=4, batch=16
)
TRANSLATION = functools.partial(config.CycleGANConfig, image_size=16, width=2, d_width=2, layers=1)
SMALL, COLOUR = (8, 8, 1), (32, 32, 3)
PAIR = {"a": (16, 16, 3), "b": (16, 16, 1)}
# Float32 but for rounding: of the largest number of the images.
ROUNDING = 2e-5
# bfloat16 has 8 digits, and the float16 layers of StyleGAN2 amplify: ONNX has float32 instead of both.
HALF = 2e-2

# Configuration, shape of the data, tolerance; data has 10 classes.
CASES = {
    "mlp": (MLP(), SMALL, ROUNDING),
    "points": (MLP(), (2,), ROUNDING),
    "concat": (MLP(conditioning="concat"), SMALL, ROUNDING),
    "embedding": (MLP(conditioning="concat", embed=3), SMALL, ROUNDING),
    "dcgan": (GAN(), SMALL, ROUNDING),
    "remat": (GAN(remat=True), SMALL, ROUNDING),
    "projection": (GAN(conditioning="projection"), SMALL, ROUNDING),
    "bfloat16": (GAN(dtype="bfloat16"), SMALL, HALF),
    "resnet": (RESNET(), COLOUR, ROUNDING),
    "biggan": (RESNET(conditioning="projection", embed=3, hierarchical=True, attention=12), (48, 48, 3), ROUNDING),
    "stylegan2": (STYLE(), (16, 16, 1), ROUNDING),
    "stylegan2-labels": (STYLE(conditional=True), (16, 16, 1), ROUNDING),
    "float16": (STYLE(dtype="float16"), (16, 16, 1), HALF),
    "r3gan": (R3GAN(), (14, 14, 1), ROUNDING),
    "r3gan-labels": (R3GAN(conditional=True), (14, 14, 1), ROUNDING),
    "unet": (TRANSLATION(generator="unet", depth=2, identity=0.0), PAIR, ROUNDING),
    "cyclegan": (TRANSLATION(blocks=1, identity=0.0), PAIR, ROUNDING),
}
# Of a family one is enough for every run of the tests; the others take half a minute together.
OTHERS = {"remat", "biggan", "stylegan2-labels", "float16", "r3gan-labels", "cyclegan"}
ALL = [pytest.param(name, marks=pytest.mark.long if name in OTHERS else ()) for name in CASES]

# Runs every model of a folder on every batch of inputs that lies beside it.
WITHOUT_JAX = """
import sys
sys.modules |= {"jax": None, "jaxgan": None, "flax": None}
import pathlib
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
for path in pathlib.Path(sys.argv[1]).glob("*.onnx"):
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    for batch in path.parent.glob(f"{path.stem}.*.npz"):
        with np.load(batch, allow_pickle=False) as given:
            (made,) = session.run(["output"], dict(given))
        np.save(batch.with_suffix(".npy"), made)
"""


def draw(name: str, shape: tuple, n: int, rng: np.random.Generator) -> np.ndarray:
    if name == "label":
        return rng.integers(0, 10, n, np.int32)
    sizes = [size if isinstance(size, int) else n for size in shape]
    return np.asarray(rng.uniform(-1, 1, sizes), np.float32)


def reload(folder, models: dict, given: dict) -> dict[str, np.ndarray]:
    """What a process without JAX makes of models, by "model.batch" of what is given."""
    for name, file in models.items():
        (folder / f"{name}.onnx").write_bytes(file)
    for name, arrays in given.items():
        np.savez(folder / f"{name}.npz", **arrays)
    done = subprocess.run([sys.executable, "-c", WITHOUT_JAX, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr  # onnxruntime warns of what is not needed
    return {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in given}


def symbolic(shapes: dict[str, tuple]) -> dict[str, jax.ShapeDtypeStruct]:
    (batch,) = jax.export.symbolic_shape("batch")
    return {
        name: jax.ShapeDtypeStruct(
            tuple(batch if n == "batch" else n for n in shape), jnp.int32 if name == "label" else jnp.float32
        )
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize("name", ALL)
def test_onnxruntime_makes_the_images_of_the_generator(name, tmp_path):
    each, shape, tolerance = CASES[name]
    rng = np.random.default_rng(0)
    gan = each.build(shape, 10)
    trained = Trained(each, gan, random_state(each, gan, rng), shape, 10)
    models, given = {}, {}
    for part, function in functions(trained).items():
        shapes = {about.name: about.shape for about in function.inputs}
        models[part] = convert(functools.partial(function.call, function.variables), symbolic(shapes))
        several = {key: draw(key, shape, 5, rng) for key, shape in shapes.items()}
        one = {key: array[:1] if array.ndim else array for key, array in several.items()}
        given |= {f"{part}.several": several, f"{part}.one": one}
    made = reload(tmp_path, models, given)
    for part in models:
        expected = np.asarray(original(trained, part, given[f"{part}.several"]))
        assert np.ptp(expected, axis=0).max() > 1e-3  # they show something
        for key, images in (("several", expected), ("one", expected[:1])):
            assert made[f"{part}.{key}"].dtype == np.float32
            np.testing.assert_allclose(made[f"{part}.{key}"], images, rtol=0, atol=tolerance * np.abs(expected).max())


KERNEL, THREE = (np.random.default_rng(1).standard_normal(shape, np.float32) for shape in [(3, 2, 4, 6), (3,)])


def conv(x, kernel=KERNEL, strides=(1, 1), pads=((0, 0), (0, 0)), form=("NHWC", "HWIO", "NHWC"), **kw):
    return lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=form, **kw)


# Ways of use that no generator has, or not by itself; of x f32[batch, 5, 3, 4] and i32[batch].
OPERATIONS = {
    "conv": lambda x, i: conv(x, strides=(2, 1), pads=((1, 2), (0, 1)), rhs_dilation=(1, 2)),
    "groups": lambda x, i: conv(x, KERNEL[:, :, :2], feature_group_count=2),
    "transposed": lambda x, i: conv(x, pads=((1, 2), (1, 0)), lhs_dilation=(2, 3)),
    "channels_first": lambda x, i: conv(x.transpose(0, 3, 1, 2), form=("NCHW", "HWIO", "NHWC")),
    "computed_kernel": lambda x, i: conv(x, i.sum() * KERNEL, lhs_dilation=(1, 2), pads=((1, 1), (1, 1))),
    "einsum": lambda x, i: jnp.einsum("bijc,bkjc->bikj", x, x),
    "outer": lambda x, i: jnp.einsum("bijc,k->kbijc", x, THREE),
    "first_axis": lambda x, i: jnp.einsum("bijc,ik->bkjc", x, KERNEL[0, 0, :1].repeat(5, 0)),
    "broadcast": lambda x, i: jnp.broadcast_to(THREE, (x.shape[0], 2, 3)),
    "broadcast_part": lambda x, i: jnp.concatenate([x, jnp.broadcast_to(x[:, :1, :, :2] * 2, (*x.shape[:3], 2))], -1),
    "sum_of_equals": lambda x, i: jnp.sum(jnp.broadcast_to(x[:, :1], x.shape), 1),
    "sums": lambda x, i: total(x, images=True) + total(spread(THREE, (x.shape[0], 4, 3)), images=True).sum(1)[:, None],
    "maximum": lambda x, i: jnp.max(x, (1, 3)),
    "columns": lambda x, i: lax.slice(x, (0, 1, 0, 0), x.shape, (1, 2, 1, 3)),
    "one": lambda x, i: x[:, -1],
    "squeeze": lambda x, i: jnp.squeeze(x[:, :, :1] - 1, 2),
    "rows": lambda x, i: x.reshape(-1, 4),
    "layers": lambda x, i: jnp.stack([x, jnp.broadcast_to(x[:, :1], x.shape)], 0),
    "parts": lambda x, i: jnp.concatenate(jnp.split(x, [1, 3], axis=1)[::-1], axis=1),
    "padded": lambda x, i: jnp.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)), constant_values=3),
    "choice": lambda x, i: jnp.where((i >= 3)[:, None, None, None] & (x < 0.5), x, jnp.abs(x) - 7),
    "codes": lambda x, i: jax.nn.one_hot(i, 10),
    "whole_numbers": lambda x, i: jnp.minimum(i * 2, 9).astype(jnp.float32),
    "computed_now": lambda x, i: x + jax.random.normal(jax.random.key(0), (4,)) @ jnp.linalg.inv(jnp.eye(4) + 0.1),
}  # fmt: skip


def test_operations_by_themselves(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"x": ("batch", 5, 3, 4), "label": ("batch",)}
    models = {name: convert(function, symbolic(shapes)) for name, function in OPERATIONS.items()}
    batch = {name: draw(name, shape, 3, rng) for name, shape in shapes.items()}
    made = reload(tmp_path, models, dict.fromkeys([f"{name}.3" for name in models], batch))
    for name, function in OPERATIONS.items():
        expected = np.asarray(function(*map(jnp.asarray, batch.values())))
        assert made[f"{name}.3"].dtype == expected.dtype
        np.testing.assert_allclose(made[f"{name}.3"], expected, rtol=1e-5, atol=1e-5, err_msg=name)


def test_a_label_out_of_range_is_nan_here_too(tmp_path):
    each, shape, _ = CASES["concat"]
    gan = each.build(shape, 10)
    state = random_state(each, gan, np.random.default_rng(0))
    function = functions(Trained(each, gan, state, shape, 10))["generator"]
    shapes = {about.name: about.shape for about in function.inputs}
    model = convert(functools.partial(function.call, function.variables), symbolic(shapes))
    label = np.array([9, 10, -1], np.int32)
    (images,) = reload(
        tmp_path, {"g": model}, {"g.3": {"latents": np.ones((3, 8), np.float32), "label": label}}
    ).values()
    assert [np.isnan(image).all() for image in images] == [False, True, True]
    assert np.isfinite(images[0]).all()


REFUSED = {
    "sin": jnp.sin,
    "scan": lambda x: lax.scan(lambda carry, _: (carry + x, None), x, length=2)[0],
    "pad": lambda x: lax.pad(x, 0.0, [(0, 0, 0), (-1, 0, 0), (0, 0, 0), (0, 0, 0)]),
    "conv_general_dilated": lambda x: conv(x, pads=((-1, 0), (0, 0))),
    "gather": lambda x: x[:, jnp.array([4, 1])],
    "slice": lambda x: x[1:],
    "and": lambda x: x.astype(int) & 3,
    "dim_as_value": lambda x: x * x.shape[0],
    "dtype int8": lambda x: x.astype(jnp.int8),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_know_it_names(name):
    with pytest.raises(InputError, match=f"{name}.* Leave --onnx out"):
        convert(REFUSED[name], symbolic({"x": ("batch", 5, 3, 4)}))


def test_a_missing_package_is_named_first(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"pip install 'jaxgan\[onnx\]'"):
        export("nowhere", onnx=True)
