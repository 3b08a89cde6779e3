"""What an extractor sees of real images, kept on disk: a data set is looked at once."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan.data import Source
from jaxgan.errors import InputError
from jaxgan.files import cache_dir
from jaxgan.metrics import npz_file
from jaxgan.metrics.extraction import Extractor, Seen, extract
from jaxgan.metrics.features import blocks

# Images that are read and looked at together.
BATCH = 250


def order(source: Source, most: int | None = None) -> np.ndarray:
    """The indices of a source's images in an order that is random and always the same: the first are a fair share."""
    return np.random.default_rng(0).permutation(source.size)[:most]


def reference(
    source: Source,
    extractor: Extractor,
    most: int | None = None,
    *,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Seen:
    """What the extractor sees of a source's images.

    It is kept in `cache_dir`, under a digest of every image as it was read, resized and cropped, and of the extractor:
    it is found again for the same pixels alone.

    Args:
      source: of the images.
      extractor: the network.
      most: look at so many of them, by default at all.
      progress: called with the number of images done and of all.

    Raises:
      InputError: if an image cannot be used, or the cache cannot be written.
    """
    chosen = order(source, most)
    digest, labels = hashlib.sha256(f"{extractor.name} {extractor.digest} {source.shape}".encode()), []
    for rows in blocks(len(chosen), BATCH):
        records = source.read(chosen[rows])
        digest.update(np.ascontiguousarray(records["image"]).data)
        if "label" in records:
            labels.append(records["label"])
    label = np.concatenate(labels) if labels else None
    path = cache_dir() / "features" / f"{extractor.name}-{digest.hexdigest()[:32]}.npz"
    if path.is_file():
        try:
            kept = npz_file.read(path)
        except InputError:  # cut off or altered
            kept = {}
        if {"features"} <= kept.keys() <= {"features", "logits"} and all(
            x.ndim == 2 and len(x) == len(chosen) for x in kept.values()
        ):
            return Seen(kept["features"], kept.get("logits"), label)
        path.unlink(missing_ok=True)
    images = (source.read(chosen[rows])["image"] for rows in blocks(len(chosen), BATCH))
    seen = extract(extractor, images, label=label, progress=lambda done: progress(done, len(chosen)))
    _keep(path, {"features": seen.features} | ({} if seen.logits is None else {"logits": seen.logits}))
    return seen


def _keep(path: Path, arrays: dict[str, Any]) -> None:
    partial = path.with_name(f"{path.stem}-{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise InputError(
            f"The features of the real images cannot be kept in {path.parent}: {error.strerror}. Set JAXGAN_CACHE to a "
            "directory that can be written."
        ) from error
