"""``jaxgan edit``: what can be done with the styles of a trained StyleGAN2, as commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import tyro

from jaxgan import edit, pictures

Run = tyro.conf.Positional[Path]


def truncation(
    run: Run,
    out: Path = Path("truncation.png"),
    count: int = 8,
    psis: tuple[float, ...] = (0.0, 0.25, 0.5, 0.7, 1.0, 1.3),
    layers: str = "all",
    seed: int = 0,
    label: int | None = None,
) -> None:
    """Show samples at several truncations, one a column: from the mean image to bold ones.

    Args:
        run: Directory of the run.
        out: The PNG file.
        count: Samples, one a row.
        psis: Shares of the distance to the mean style.
        layers: Which are truncated: all, coarse, middle, fine, or numbers as 4-7.
        seed: Of the samples.
        label: Class of a conditional generator; by default all in turn.
    """
    pictures.check_out(out)
    _save(edit.truncation(edit.styled(run), count, psis, layers=layers, seed=seed, label=label), out)


def mixing(
    run: Run,
    out: Path = Path("mixing.png"),
    rows: int = 5,
    columns: int = 6,
    layers: str = "coarse",
    psi: float = 1.0,
    seed: int = 0,
    label: int | None = None,
) -> None:
    """Mix styles: images with the styles of their row's source, but in some layers those of their column's.

    Args:
        run: Directory of the run.
        out: The PNG file.
        rows: Sources of the rows.
        columns: Sources of the columns.
        layers: Which come from the column's source: coarse, middle, fine, or numbers as 4-7.
        psi: Truncation.
        seed: Of the sources.
        label: Class of a conditional generator; by default all in turn.
    """
    pictures.check_out(out)
    _save(edit.mixing(edit.styled(run), rows, columns, layers=layers, psi=psi, seed=seed, label=label), out)


def video(
    run: Run,
    out: Path = Path("video.gif"),
    keyframes: int = 6,
    frames: int = 20,
    count: int = 9,
    fps: int = 20,
    psi: float = 0.7,
    seed: int = 0,
    label: int | None = None,
) -> None:
    """Walk from style to style: an animated GIF that repeats without a seam.

    Args:
        run: Directory of the run.
        out: The GIF file.
        keyframes: Samples that each walk passes.
        frames: From one of them to the next.
        count: Walks side by side.
        fps: Frames a second.
        psi: Truncation.
        seed: Of the samples.
        label: Class of a conditional generator; by default all in turn.
    """
    edit.video(
        edit.styled(run), out, keyframes=keyframes, frames=frames, count=count, fps=fps, psi=psi, seed=seed, label=label
    )
    print(out)


def direction(
    run: Run,
    out: Path = Path("direction.png"),
    method: Literal["sefa", "slant", "thickness", "label"] = "sefa",
    layers: str = "all",
    number: int = 0,
    amounts: tuple[float, ...] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0),
    count: int = 6,
    samples: int = 2048,
    psi: float = 0.7,
    seed: int = 0,
    label: int | None = None,
) -> None:
    """Move samples along a direction in style space, one a row.

    Args:
        run: Directory of the run.
        out: The PNG file.
        method: How the direction is found: sefa (in closed form from the weights), slant or thickness (of strokes,
            by its gradient), or label (towards the class --label of a conditional generator).
        layers: Which are moved: all, coarse, middle, fine, or numbers as 4-7.
        number: Which direction of sefa.
        amounts: How far, in standard deviations of the styles along the direction.
        count: Samples.
        samples: On which an attribute is measured.
        psi: Truncation of the samples that are moved.
        seed: Of the samples.
        label: Class of a conditional generator's samples, by default all in turn; or that which they are moved towards.
    """
    pictures.check_out(out)
    table = edit.directions(
        edit.styled(run), method, layers=layers, number=number, amounts=amounts, count=count, samples=samples, psi=psi,
        seed=seed, label=label,
    )  # fmt: skip
    _save(table, out)
    for name, measure in edit.MEASURES.items():
        means = (f"{float(jnp.mean(measure(jnp.asarray(table[:, i])))):8.3f}" for i in range(table.shape[1]))
        print(f"  {name:<10}{''.join(means)}")


def project(
    run: Run,
    images: tyro.conf.Positional[tuple[Path, ...]],
    out: Path = Path("projection.png"),
    steps: int = 1000,
    per_layer: bool = False,
    seed: int = 0,
    label: int | None = None,
) -> None:
    """Find the styles of images: a row for each, the image beside what the generator makes of its style.

    Args:
        run: Directory of the run.
        images: Image files.
        out: The PNG file.
        steps: Of the optimisation.
        per_layer: Let every layer have a style of its own (W+).
        seed: Of the noise.
        label: Class of a conditional generator; by default all in turn.
    """
    pictures.check_out(out)
    found = edit.projection(edit.styled(run), images, steps=steps, per_layer=per_layer, seed=seed, label=label)
    _save(found.images, out)
    for file, error in zip(images, found.errors, strict=True):
        print(f"  {file}: mean absolute difference {float(error):.1f} of 255")


ACTIONS: dict[str, Callable[..., None]] = {
    "truncation": truncation,
    "mixing": mixing,
    "video": video,
    "direction": direction,
    "project": project,
}


def _save(table, out: Path) -> None:
    pictures.save_table(table, out)
    print(out)
