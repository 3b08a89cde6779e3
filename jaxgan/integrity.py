"""Digests: what a checkpoint's files and leaves must still be when they are read again.

Orbax restores a flipped bit of an array as a wrong weight, without a word.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgan.files import replace
from jaxgan.typing import Array, PyTree

# As `sha256sum` writes it: `sha256sum --check SHA256SUMS` checks a checkpoint without jaxgan.
SUMS = "SHA256SUMS"


def seal(directory: Path) -> None:
    """Writes the digests of all files of a directory into it."""
    lines = (f"{digest}  {name}\n" for name, digest in sorted(_sums(directory).items()))
    text = "".join(lines)
    replace(directory / SUMS, lambda file: file.write(text.encode()))


def faults(directory: Path) -> list[str]:
    """What is no longer as it was sealed: one line for each file that was altered, deleted or added."""
    try:
        text = (directory / SUMS).read_bytes().decode()
    except FileNotFoundError:
        return [f"{SUMS}: missing; a save that is killed at its end leaves none"]
    except (OSError, UnicodeDecodeError) as error:
        return [f"{SUMS}: cannot be read: {error}"]
    sealed = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
    try:
        found = _sums(directory)
    except OSError as error:
        return [f"{error.filename}: cannot be read: {error.strerror}"]
    if text != "".join(f"{digest}  {name}\n" for name, digest in sorted(sealed.items())):
        return [f"{SUMS}: altered"]
    return [
        f"{name}: {'missing' if name not in found else 'not of this checkpoint' if name not in sealed else 'altered'}"
        for name in sorted(sealed.keys() | found.keys())
        if sealed.get(name) != found.get(name)
    ]


def _sums(directory: Path) -> dict[str, str]:
    return {path.relative_to(directory).as_posix(): _sum(path) for path in _files(directory)}


def _files(directory: Path) -> Iterator[Path]:
    paths = (path for path in directory.rglob("*") if path.is_symlink() or not path.is_dir())
    return (path for path in paths if path != directory / SUMS)


def _sum(path: Path) -> str:
    if not path.is_file():  # to open a pipe would wait for whoever writes into it
        return "no regular file"
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def on_host(tree: PyTree) -> PyTree:
    """Every leaf as a NumPy array, whole, on every process; all of them must call it."""

    def whole(leaf: Any) -> np.ndarray:
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated:
            return np.asarray(leaf)
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

    return jax.tree.map(whole, tree)


def digests(tree: PyTree) -> dict[str, str]:
    """The digest of every leaf by its path: of dtype, shape and bits, however it is laid out over devices."""
    return {
        jax.tree_util.keystr(path): _digest(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(on_host(tree))
    }


def _digest(leaf: Array | np.ndarray) -> str:
    hashed = hashlib.sha256(f"{leaf.dtype}{leaf.shape}".encode())
    hashed.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def not_finite(tree: PyTree) -> list[str]:
    """The paths of leaves on the host that hold an infinity or a NaN."""
    return [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact) and not np.isfinite(leaf).all()
    ]
