"""The extractor of the FID: the Inception network, its published weights and what is done to images before."""

import contextlib
import functools
import hashlib
import http.client
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxgan.errors import InputError, choose
from jaxgan.files import cache_dir
from jaxgan.metrics import npz_file, torch_file
from jaxgan.metrics.extraction import Extractor
from jaxgan.nn.inception import SIDE, InceptionV3, resize_antialiased, resize_legacy
from jaxgan.typing import Array, PyTree

# Two names of one file, which says the beginning of its digest.
URLS = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
)
PUBLISHED = tuple(url.rsplit("/", 1)[1] for url in URLS)
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
SIZE = 95_628_359

_RESIZE = {"legacy": resize_legacy, "antialiased": resize_antialiased}
# What PyTorch calls the arrays of a layer.
_TORCH = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
# Where the axes of PyTorch's arrays, by their number, go: kernels [O, I, H, W] become [H, W, I, O].
_AXES = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}


def inception(weights: str | Path | None = None, *, resize: Literal["legacy", "antialiased"] = "legacy") -> Extractor:
    """The Inception network of the FID: 2,048 features, and the logits of 1,008 classes for the inception score.

    Images of any size, f32[N, H, W, 1 or 3] in [-1, 1], are first rounded to the 256 levels of a saved image, which is
    what the FID has always been measured on. Grey images become three equal channels. The logits are without a bias,
    as the inception score wants them. The same numbers as torch-fidelity's, up to float32 rounding.

    Args:
      weights: the published PyTorch weights, under either of their names, other weights of the same network, or an
        ``.npz`` file of arrays under the same names: ``np.savez(path, **torch_file.read(weights))``. By default the
        published weights, which are downloaded once, 96 MB, to $JAXGAN_CACHE or ~/.cache/jaxgan.
      resize: "legacy" as all of the literature and as torch-fidelity, "antialiased" as clean-fid. Their values differ.

    Raises:
      InputError: if the weights cannot be downloaded, read, or are not those of this network; while tracing, for
        images that have neither one nor three channels.

    >>> features, logits = inception().apply(images)  # doctest: +SKIP
    """
    resized = choose("way to resize", resize, _RESIZE)
    variables, digest = load(_published() if weights is None else Path(weights))

    def apply(images: Array) -> tuple[Array, Array]:
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise InputError(
                f"The Inception network sees images f32[N, height, width, 1 or 3]; got {images.dtype} of shape "
                f"{images.shape}."
            )
        levels = jnp.clip(jnp.round((images + 1) * 127.5), 0, 255)
        coloured = jnp.broadcast_to(levels, (*images.shape[:3], 3))
        return cast(tuple[Array, Array], InceptionV3().apply(variables, resized(coloured)))

    name = "inception" if resize == "legacy" else f"inception_{resize}"
    return Extractor(name, hashlib.sha256(f"{digest} {resize}".encode()).hexdigest()[:16], apply)


def load(path: Path) -> tuple[PyTree, str]:
    """The variables of `InceptionV3` from a file of its weights, and their SHA-256, the same for every kind of file.

    Raises:
      InputError: if the file cannot be read, is a published one that was altered, or lacks an array or has others.
    """
    if path.name in PUBLISHED and path.is_file() and (digest := _sha256(path)) != SHA256:
        raise InputError(
            f"{path} is not the file that was published under this name, or was altered or cut off: its SHA-256 is "
            f"{digest}, not {SHA256}. Replace it by {URLS[PUBLISHED.index(path.name)]}."
        )
    found = npz_file.read(path) if path.suffix == ".npz" else torch_file.read(path)
    expected = _expected()
    _check(path, {name: array.shape for name, array in found.items()}, dict(expected.values()))
    variables, hashed = {}, hashlib.sha256()
    for key, (name, _) in sorted(expected.items()):
        array = np.ascontiguousarray(found[name].transpose(_AXES[found[name].ndim]), np.float32)
        hashed.update("/".join(key).encode())
        hashed.update(array.data)
        variables[key] = array
    return unflatten_dict(variables), hashed.hexdigest()


@functools.cache
def _expected() -> dict[tuple[str, ...], tuple[str, tuple[int, ...]]]:
    """Of each variable of the network: what PyTorch calls it, and the shape that it has there."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    leaves: Any = flatten_dict(jax.eval_shape(InceptionV3().init, jax.random.key(0), image))
    expected = {}
    for key, leaf in leaves.items():
        shape = tuple(leaf.shape[i] for i in np.argsort(_AXES[leaf.ndim]))
        expected[key] = ".".join((*key[1:-1], _TORCH[key[-1]])), shape
    return expected


def _check(path: Path, found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> None:
    problems = []
    for name, shape in found.items():
        if name in wanted and shape != wanted[name]:
            problems.append(f"{name} is {shape} in place of {wanted[name]}")
        # The bias of the classes is left out, see InceptionV3; how many batches made the statistics does not matter.
        if name not in wanted and name != "fc.bias" and not name.endswith(".num_batches_tracked"):
            problems.append(f"{name[:80]!r} is no part of it")
    problems += [f"{name} is missing" for name in wanted if name not in found]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError(
            f"{path} does not hold the weights of the Inception network of the FID: {'; '.join(problems[:5])}{more}. "
            f"The right ones: {URLS[0]}."
        )


def _published() -> Path:
    """The published weights in the cache; they are downloaded if they are not there."""
    folder = cache_dir()
    for name in PUBLISHED:
        if (folder / name).is_file():
            return folder / name
    path = folder / PUBLISHED[0]
    partial = path.with_name(f"{path.stem}-{os.getpid()}.part")
    print(f"Downloading {URLS[0]}, {SIZE / 1e6:.0f} MB, once, to {path}.", file=sys.stderr)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(URLS[0], timeout=30) as response:
            partial.write_bytes(response.read(SIZE + 1))
        if (digest := _sha256(partial)) != SHA256:
            raise OSError(f"what came has the SHA-256 {digest}, not {SHA256}")
        partial.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"The weights of the Inception network could not be downloaded: {error}. Download {URLS[0]} yourself and "
            f"put it into {folder}, or name the file: inception(weights), `jaxgan evaluate --weights`. Images of "
            "digits need none: digits(), `jaxgan evaluate --extractor digits`, `jaxgan train --eval-extractor digits`."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
