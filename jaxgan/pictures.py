"""Samples as pictures."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.typing import Array


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
    partial = path.with_name(path.name + ".part")
    picture.save(partial, format="PNG", optimize=True)
    partial.replace(path)


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
