"""Trained generators for programs without jaxgan: functions of JAX, ONNX models, and weights that anything reads."""

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax.traverse_util import flatten_dict
from jax import export as exports

from jaxgan import latent, loader, pictures
from jaxgan.checkpoint import versions
from jaxgan.config import CycleGANConfig, StyleGAN2Config
from jaxgan.errors import InputError, check_extra
from jaxgan.files import replace
from jaxgan.nn import StyleGenerator
from jaxgan.sample import Trained, restore
from jaxgan.typing import Array, PyTree

PLATFORMS = ("cpu", "cuda", "tpu")
_BATCH = "batch"


class Input(NamedTuple):
    """An argument of an exported function.

    Attributes:
      name: what it is.
      dtype: of its elements.
      shape: of the array; "batch" stands for any number.
      about: what to give.
    """

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    about: str


class Function(NamedTuple):
    """A generator as it is exported.

    Attributes:
      call: ``(variables, *inputs) -> images``.
      variables: Flax variables: the averaged parameters, and what else is needed.
      inputs: what it takes after the variables.
    """

    call: Callable[..., Array]
    variables: PyTree
    inputs: tuple[Input, ...]


def export(
    run: str | Path,
    out: str | Path | None = None,
    *,
    step: int | None = None,
    platforms: Sequence[str] = PLATFORMS,
    onnx: bool = False,
) -> list[Path]:
    """Writes the averaged generator of a run for programs that have no jaxgan.

    The directory holds for each function ``NAME.jaxexport``, which `jax.export.deserialize` reads: with the weights in
    it, for a batch of any size, for all platforms at once; ``load.py``, which loads it; ``weights.safetensors``, names
    and bits of the Flax variables; and ``model.json``, which lists the inputs and has the run's configuration. JAX
    promises to read such a file for six months after the version that wrote it.

    Args:
      run: directory of the run.
      out: of the files, made if need be; by default RUN/export. What it holds of an earlier export is replaced.
      step: of the checkpoint, by default the newest.
      platforms: that the functions can run on: cpu, cuda, tpu.
      onnx: writes ``NAME.onnx`` as well: the same function of the same inputs, by their names, for onnxruntime and
        others. Half precision becomes float32. Without it that of an earlier export is removed.

    Returns:
      The files.

    Raises:
      InputError: before anything is traced, for no or unknown platforms, a directory that cannot be written, a package
        that is not installed, and as `sample.restore`.

    >>> export("runs/dcgan-mnist", platforms=["cpu"])  # doctest: +SKIP
    """
    if unknown := [name for name in platforms if name not in PLATFORMS]:
        # The most similar name to gpu is tpu.
        raise InputError(f"There is no platform {unknown[0]!r}. Allowed: cpu, cuda (NVIDIA's GPUs) and tpu.")
    if not platforms or len(set(platforms)) < len(platforms):
        given = ", ".join(platforms) or "none"
        raise InputError(f"platforms is {given}; name each once, and at least one of: {', '.join(PLATFORMS)}.")
    if onnx:
        check_extra("onnx", "onnx", "ONNX models")
    out = Path(run) / "export" if out is None else Path(out)
    trained = restore(run, step)
    pictures.check_out(out, suffix=None)
    found = functions(trained)
    files, about, weights = {}, {}, {}
    for name, function in found.items():
        exported = exports.export(jax.jit(_closed(function)), platforms=list(platforms))(*_symbolic(function))
        files[f"{name}.jaxexport"] = bytes(exported.serialize())
        (images,) = exported.out_avals
        about[name] = {
            "file": f"{name}.jaxexport",
            "inputs": [each._asdict() for each in function.inputs],
            "output": {"dtype": str(images.dtype), "shape": [_BATCH, *images.shape[1:]]},
        }
        if onnx:
            files[f"{name}.onnx"] = _onnx(function)
            about[name]["onnx"] = f"{name}.onnx"
        leaves = flatten_dict(function.variables, sep="/")
        weights |= {f"{name}/{path}": np.asarray(leaf) for path, leaf in leaves.items()}
    files["weights.safetensors"] = safetensors.numpy.save(weights)
    files["load.py"] = Path(loader.__file__).read_bytes()
    model = {
        "functions": about,
        "weights": "weights.safetensors",
        "platforms": list(platforms),
        "run": Path(run).name,
        "step": int(trained.state.step),
        "versions": versions(),
        "config": trained.config.as_data(),
    }
    files["model.json"] = (json.dumps(model, indent=2) + "\n").encode()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            replace(out / name, lambda file, content=content: file.write(content))
        for name in found if not onnx else ():  # it has other weights
            (out / f"{name}.onnx").unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}. Choose another place with --out.") from error
    return [out / name for name in files]


def functions(trained: Trained) -> dict[str, Function]:
    """What of a trained GAN is exported, by name: "generator", of a translation "ab" and "ba".

    A StyleGAN2 takes the constant noise that was made with its parameters, so that its images depend on the inputs
    alone.
    """
    config, shape, average = trained.config, trained.shape, trained.state.average["generator"]
    networks = config.generators(shape, trained.classes)

    if isinstance(config, CycleGANConfig):

        def translation(name: str) -> Function:
            images = Input("images", "float32", (_BATCH, *shape[name[0]]), "in [-1, 1]")
            variables = {"params": average["params"][name]}
            return Function(lambda v, x: cast(Array, networks[name].apply(v, x, train=False)), variables, (images,))

        return {name: translation(name) for name in networks}

    generator, options = networks["generator"], cast(Any, config)
    inputs = [Input("latents", "float32", (_BATCH, options.latent_dim), "standard normal")]
    if isinstance(config, StyleGAN2Config):
        inputs.append(Input("psi", "float32", (), "truncation: 1 leaves styles as they are, 0 makes all the mean"))
    if options.labelled:
        inputs.append(Input("label", "int32", (_BATCH,), f"classes, 0 to {trained.classes - 1}"))  # type: ignore  (labelled)

    def plain(variables: PyTree, z: Array, *label: Array) -> Array:
        asked: dict[str, Any] = {"label": label[0]} if label else {}
        return cast(Array, generator.apply(variables, z, train=False, **asked))

    def styled(variables: PyTree, z: Array, psi: Array, label: Array | None = None) -> Array:
        w = cast(Array, generator.apply(variables, z, label, method="map"))
        ws = latent.broadcast(w, cast(StyleGenerator, generator).layers)
        ws = latent.truncate(ws, variables["w_avg"]["mean"], psi)
        return cast(Array, generator.apply(variables, ws, method="synthesise"))

    call = styled if isinstance(config, StyleGAN2Config) else plain
    return {"generator": Function(call, average, tuple(inputs))}


def _closed(function: Function) -> Callable[..., Array]:
    """The function of its inputs alone.

    Behind the barrier the weights are no constants to the compiler, which would compute with some of them itself, and
    round otherwise than the program that was trained.
    """
    return lambda *inputs: function.call(jax.lax.optimization_barrier(function.variables), *inputs)


def _onnx(function: Function) -> bytes:
    from jaxgan.to_onnx import convert  # an extra

    names = [each.name for each in function.inputs]
    call = functools.partial(function.call, function.variables)
    return convert(call, dict(zip(names, _symbolic(function), strict=True)))


def _symbolic(function: Function) -> list[jax.ShapeDtypeStruct]:
    (batch,) = exports.symbolic_shape(_BATCH)
    return [
        jax.ShapeDtypeStruct(tuple(batch if n == _BATCH else n for n in each.shape), jnp.dtype(each.dtype))
        for each in function.inputs
    ]
