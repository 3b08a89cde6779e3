"""Samples as pictures."""

import math
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.errors import InputError
from jaxgan.files import replace
from jaxgan.typing import Array

# Nobody sees anything in a picture of more images.
MOST = 10_000


def check_count(name: str, count: int) -> None:
    """Raises InputError if a picture cannot show so many images."""
    if not 1 <= count <= MOST:
        raise InputError(f"{name} is {count}; a picture shows 1 to {MOST:,} images.")


def check_out(path: str | Path, suffix: str | None = ".png") -> None:
    """Says whether a file can be written, before what it is to hold is computed.

    Args:
      path: of the file.
      suffix: that its name must have; None: it is a directory, for files.

    Raises:
      InputError: if it has another suffix, is a directory or no directory, or lies where nothing can be written.
    """
    path = Path(path)
    if suffix is not None and path.suffix.lower() != suffix:
        proposal = path.with_suffix(suffix) if path.name else Path(f"out{suffix}")
        raise InputError(f"The output is {str(path)!r}; its name must end in {suffix}. Call it --out {proposal}.")
    if suffix is not None and path.is_dir():
        raise InputError(f"{path} is a directory, and the output is a file. Name one: --out {path / f'out{suffix}'}.")
    there = path if suffix is None else path.parent
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise InputError(f"{path} cannot be made: {there} is a file, no directory. Choose another place with --out.")
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise InputError(
            f"{path} cannot be made: nothing can be written to {there} ({error.strerror}). Choose another place with "
            "--out."
        ) from error


def save(examples: Array | np.ndarray, path: str | Path, across: int | None = None) -> None:
    """Writes examples as one PNG: images as a grid, points in the plane as a scatter plot.

    Args:
      examples: f[N, H, W, 1 or 3] in [-1, 1], or f[N, 2].
      path: of the file; folders are made.
      across: images in a row of the grid, by default about as many as rows.
    """
    examples = np.asarray(examples, np.float32)
    picture = grid(examples, across) if examples.ndim == 4 else scatter(examples)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever looks at the file while it is written sees the old picture or the new one.
    replace(path, lambda file: picture.save(file, format="PNG", optimize=True))


def save_table(table: Array | np.ndarray, path: str | Path) -> None:
    """Writes a table of images, f[rows, columns, H, W, 1 or 3] in [-1, 1], as one PNG."""
    save(table.reshape(-1, *table.shape[2:]), path, table.shape[1])


def columns(n: int) -> int:
    """In how many columns n images are shown: about as many as rows."""
    return math.isqrt(max(n - 1, 0)) + 1


def pixels(images: Array | np.ndarray) -> np.ndarray:
    """Images in [-1, 1] as u8; what lies outside is cut off."""
    return np.clip(np.rint((np.asarray(images, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def grid(images: np.ndarray, across: int | None = None, gap: int = 1) -> Image.Image:
    """Images in rows, enlarged by a whole factor if they are tiny.

    Args:
      images: f[N, H, W, 1 or 3] in [-1, 1].
      across: how many stand in a row, by default `columns` of N.
      gap: pixels between images, before they are enlarged.
    """
    n, h, w, c = images.shape
    across = across or columns(n)
    rows = -(-n // across)
    canvas = np.zeros((rows * (h + gap) + gap, across * (w + gap) + gap, c), np.uint8)
    for i, image in enumerate(pixels(images)):
        top, left = (i // across) * (h + gap) + gap, (i % across) * (w + gap) + gap
        canvas[top : top + h, left : left + w] = image
    factor = max(1, 512 // max(canvas.shape[:2]))
    canvas = canvas.repeat(factor, axis=0).repeat(factor, axis=1)
    return Image.fromarray(canvas[:, :, 0] if c == 1 else canvas)


def scatter(points: np.ndarray, side: int = 400) -> Image.Image:
    """Points in the plane, dark where they are dense; the axes span the origin to 1.2 times the farthest point.

    Args:
      points: f[N, 2].
      side: pixels of the square picture.
    """
    reach = 1.2 * max(float(np.quantile(np.abs(points), 0.999)), 1e-6)
    counts, _, _ = np.histogram2d(-points[:, 1], points[:, 0], bins=side // 2, range=[[-reach, reach]] * 2)
    shade = 255 * np.exp(-counts)
    return Image.fromarray(shade.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1))
