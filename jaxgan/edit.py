"""What can be done with the styles of a trained StyleGAN: truncation, mixing, walks, edits, projections of files.

Tables of images are f32[rows, columns, H, W, C] in about [-1, 1]; `jaxgan.pictures.save_table` writes them. Noise
inputs are the generator's constant ones, so that images differ in their styles alone. `jaxgan.latent` has the functions
that this is made of.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan import latent, pictures, rundir
from jaxgan.config import StyleGAN2Config
from jaxgan.data.folder import open_image, usable
from jaxgan.data.records import fit
from jaxgan.errors import InputError, closest
from jaxgan.nn import StyleGenerator, check_labels
from jaxgan.sample import key_of, restore
from jaxgan.typing import Array, Key, PyTree

# Attributes that are measured on images: the methods of `directions` beside "sefa" and "label".
MEASURES: dict[str, Callable[[Array], Array]] = {"slant": latent.slant, "thickness": latent.thickness}
# Samples whose gradients are averaged: more do not change the direction.
GRADIENTS = 512
# Of whatever is counted: more is a slip of the keyboard.
_MOST = 1_000_000
METHODS = ("sefa", *MEASURES, "label")


@dataclasses.dataclass(frozen=True)
class Styled:
    """A trained generator with styles.

    Attributes:
      generator: the network.
      variables: its parameters, mean style and noise, ``{"params", "w_avg", "noise"}``.
      batch: images that are made at a time.
    """

    generator: StyleGenerator
    variables: PyTree
    batch: int = 64

    @property
    def w_avg(self) -> Array:
        """The mean style, f32[D]."""
        return self.variables["w_avg"]["mean"]

    def draw(self, key: Key, n: int, label: int | None = None) -> Array:
        """Styles w f32[n, D] of random latents, with this label, or of a conditional generator all labels in turn."""
        labels = self.labels(n) if label is None else np.full(n, label)
        check_labels(labels, self.generator.classes)
        return _map(self.generator, self.variables, jax.random.normal(key, (n, self.generator.latent_dim)), labels)

    def labels(self, n: int) -> np.ndarray | None:
        """All labels in turn, i32[n]; None of an unconditional generator."""
        return None if self.generator.classes is None else np.arange(n) % self.generator.classes

    def spread(self, w: Array, psi: float = 1.0) -> Array:
        """A style for each layer, f32[..., L, D], truncated."""
        return latent.truncate(latent.broadcast(w, self.generator.layers), self.w_avg, psi)

    def synthesise(self, ws: Array) -> np.ndarray:
        """Styles f32[..., L, D] -> images f32[..., H, W, C], on the host."""
        flat = ws.reshape(-1, *ws.shape[-2:])
        parts = [_synthesise(self.generator, self.variables, part) for part in _batches(flat, self.batch)]
        made = np.concatenate([np.asarray(part) for part in parts])
        return made[: len(flat)].reshape(*ws.shape[:-2], *self.generator.shape)

    def layers(self, name: str) -> range:
        """As `latent.layer_range`."""
        return latent.layer_range(name, self.generator.resolutions)


def styled(run: str | Path, step: int | None = None, batch: int = 64) -> Styled:
    """The averaged generator of a run.

    Args:
      run: directory of the run.
      step: of the checkpoint, by default the newest.
      batch: images that are made at a time.

    Raises:
      InputError: if there is no run, no such checkpoint, or no style in it.

    >>> table = truncation(styled("runs/stylegan2"), count=4)  # doctest: +SKIP
    """
    _in_range(batch=batch)
    if not isinstance(rundir.open_run(run), StyleGAN2Config):
        raise InputError(f"{run} has no styles: it is no StyleGAN2. `jaxgan presets` lists those that are.")
    trained = restore(run, step)
    generator, _ = cast(StyleGAN2Config, trained.config).networks(trained.shape, trained.classes)
    return Styled(generator, trained.state.average["generator"], batch)


def truncation(
    styled: Styled,
    count: int = 8,
    psis: Sequence[float] = (0.0, 0.25, 0.5, 0.7, 1.0, 1.3),
    *,
    layers: str = "all",
    seed: int = 0,
    label: int | None = None,
) -> np.ndarray:
    """What truncation does: a row for each sample, a column for each psi.

    Args:
      styled: a trained generator.
      count: of samples.
      psis: see `latent.truncate`.
      layers: which are truncated, see `latent.layer_range`.
      seed: of the samples.
      label: of a conditional generator; by default all in turn.

    Returns:
      f32[count, len(psis), H, W, C].

    Raises:
      InputError: for unknown layers and labels, and fewer than one sample or psi.
    """
    chosen = styled.layers(layers)
    _table(count=count, psis=len(psis))
    _finite(psis=psis)
    ws = styled.spread(styled.draw(key_of(seed), count, label))
    psi = jnp.asarray(psis)[:, None, None]
    return styled.synthesise(latent.truncate(ws[:, None], styled.w_avg, psi, chosen))


def mixing(
    styled: Styled,
    rows: int = 5,
    columns: int = 6,
    *,
    layers: str = "coarse",
    psi: float = 1.0,
    seed: int = 0,
    label: int | None = None,
) -> np.ndarray:
    """Style mixing: every image has the styles of its row's source, but in some layers those of its column's.

    Args:
      styled: a trained generator.
      rows: how many sources of rows.
      columns: how many sources of columns.
      layers: that come from the column's source, see `latent.layer_range`.
      psi: of the truncation.
      seed: of the sources.
      label: of a conditional generator; by default all in turn.

    Returns:
      f32[rows + 1, columns + 1, H, W, C]: the first row and column show the sources, the corner is black.

    Raises:
      InputError: for unknown layers and labels, and fewer than one row or column.
    """
    chosen = styled.layers(layers)
    _table(rows=rows, columns=columns)
    _finite(psi=[psi])
    left, top = jnp.split(styled.spread(styled.draw(key_of(seed), rows + columns, label), psi), [rows])
    mixed = latent.mix(left[:, None], top[None], chosen)
    ws = jnp.concatenate([left[:, None], mixed], axis=1)
    ws = jnp.concatenate([jnp.concatenate([top[:1], top])[None], ws])
    table = styled.synthesise(ws)
    table[0, 0] = -1
    return table


def video(
    styled: Styled,
    out: str | Path,
    *,
    keyframes: int = 6,
    frames: int = 20,
    count: int = 9,
    fps: int = 20,
    psi: float = 0.7,
    seed: int = 0,
    label: int | None = None,
) -> None:
    """Writes an animated GIF of walks from style to style, which repeats without a seam.

    Args:
      styled: a trained generator.
      out: the file; folders are made.
      keyframes: how many random styles each walk goes through, at least 2.
      frames: from one to the next.
      count: how many walks stand side by side.
      fps: frames a second, 1 to 50; the format rounds durations to a hundredth of a second.
      psi: of the truncation.
      seed: of the styles.
      label: of a conditional generator; by default each walk keeps one of them, in turn.

    Raises:
      InputError: for unknown labels, numbers out of range, and files that are no .gif.
    """
    out = Path(out)
    pictures.check_out(out, ".gif")
    _in_range(fps=fps)
    _table(keyframes=keyframes, frames=frames, count=count)
    _finite(psi=[psi])
    if keyframes < 2 or fps > 50:
        raise InputError(f"A video has at least 2 keyframes, and at most 50 fps; it got {keyframes} and {fps}.")
    keys = jax.random.split(key_of(seed), keyframes)
    w = jnp.stack([styled.draw(key, count, label) for key in keys])
    first, *others = [
        pictures.grid(styled.synthesise(styled.spread(each, psi))) for each in latent.path(w, frames)
    ]  # of [keyframes * frames, count, D]
    out.parent.mkdir(parents=True, exist_ok=True)
    # Whoever looks at the file while it is written sees the old one or the new one.
    partial = out.with_name(out.name + ".part")
    first.save(partial, "GIF", save_all=True, append_images=others, duration=10 * round(100 / fps), loop=0)
    partial.replace(out)


def directions(
    styled: Styled,
    method: str = "sefa",
    *,
    layers: str = "all",
    number: int = 0,
    amounts: Sequence[float] = (-3, -2, -1, 0, 1, 2, 3),
    count: int = 6,
    samples: int = 2048,
    psi: float = 0.7,
    seed: int = 0,
    label: int | None = None,
) -> np.ndarray:
    """Moves samples along a direction of style space: a row for each sample, a column for each amount.

    Args:
      styled: a trained generator.
      method: how the direction is found: "sefa" (`latent.sefa` of the layers); "slant" or "thickness" of strokes, by
        their gradient at the layers (`latent.steepest`); "label", by regression on samples (`latent.direction`).
      layers: that are moved, see `latent.layer_range`.
      number: which of the directions of "sefa", from 0 on.
      amounts: in standard deviations of styles along the direction.
      count: of the samples that are moved.
      samples: that the direction is found with.
      psi: of the truncation of the samples that are moved.
      seed: of all samples.
      label: of a conditional generator; by default all in turn. "label" moves towards this one, from all in turn.

    Returns:
      f32[count, len(amounts), H, W, C]. `MEASURES` has what tells whether the attribute followed.

    Raises:
      InputError: for an unknown method, layers, labels, numbers out of range, and attributes that do not vary.
    """
    if method not in METHODS:
        raise InputError(f"There is no method {method!r}. {closest(method, METHODS)}")
    if number and method != "sefa":
        raise InputError(f"number is {number}, but {method!r} has one direction. Leave number out.")
    chosen = styled.layers(layers)
    _table(count=count, amounts=len(amounts))
    _finite(amounts=amounts, psi=[psi])
    if not 2 <= samples <= _MOST:
        raise InputError(f"samples is {samples}; a direction is found with 2 to {_MOST:,}.")
    if method == "sefa" and not 0 <= number < len(styled.w_avg):
        raise InputError(
            f"number is {number}; styles of {len(styled.w_avg)} dimensions have the directions 0 to "
            f"{len(styled.w_avg) - 1}."
        )
    given = label
    if method == "label":
        if label is None:
            raise InputError("The method 'label' moves images towards a label. Name it, label=0 for example.")
        check_labels(np.array([label]), styled.generator.classes)
        given = None
    sample_key, shown_key = jax.random.split(key_of(seed))
    w = styled.draw(sample_key, samples, given)
    if method == "sefa":
        found, _ = latent.sefa(styled.variables["params"], chosen, number + 1)
        normal = found[number]
    elif method == "label":
        normal = latent.direction(w, np.asarray(styled.labels(samples)) == label)
    else:
        normal = _measured(styled, method, tuple(chosen), styled.spread(w[:GRADIENTS]))
    ws = styled.spread(styled.draw(shown_key, count, given), psi)
    return styled.synthesise(latent.move(ws, normal * jnp.std(w @ normal), amounts, chosen))


def _measured(styled: Styled, method: str, layers: tuple[int, ...], ws: Array) -> Array:
    """The direction in which what is measured grows, a unit vector; the mean of those of several batches."""
    size = min(styled.batch, len(ws))
    batches = jnp.split(ws[: len(ws) // size * size], len(ws) // size)
    normal = sum(_steepest(styled.generator, method, layers, styled.variables, batch) for batch in batches)
    if not np.isfinite(normal).all():
        raise InputError(f"No style changes the {method} of the images in these layers: they show no strokes.")
    return normal / jnp.linalg.norm(normal)


class Projected(NamedTuple):
    """What `projection` found.

    Attributes:
      images: f32[N, 2, H, W, C], targets and what the generator makes of their styles.
      errors: f32[N], mean absolute differences of their pixels, of 255.
      ws: f32[N, L, D], the styles.
    """

    images: np.ndarray
    errors: np.ndarray
    ws: Array


def projection(
    styled: Styled,
    files: Sequence[str | Path],
    *,
    steps: int = 1000,
    per_layer: bool = False,
    samples: int = 10_000,
    seed: int = 0,
    label: int | None = None,
) -> Projected:
    """Finds the styles of image files, see `latent.project`.

    Args:
      styled: a trained generator.
      files: images of any size; of each the centre square is resized to the generator's, as in training.
      steps: of the search.
      per_layer: finds a style for each layer.
      samples: that the mean style and the spread of styles are found with.
      seed: of these and of the search.
      label: of a conditional generator: the search starts from the mean of its styles; by default of all.

    Raises:
      InputError: without files, for such that cannot be read, for unknown labels, and numbers out of range.
    """
    _in_range(steps=steps, samples=samples)
    if not files:
        raise InputError("No images are named. Name files.")
    targets = np.stack([_read(Path(file), styled.generator.shape) for file in files])
    batches = _batches(targets, styled.batch)
    draw_key, *keys = jax.random.split(key_of(seed), 1 + len(batches))
    w = styled.draw(draw_key, samples, label)
    mean = jnp.mean(w, axis=0)
    std = jnp.sqrt(jnp.mean(jnp.sum(jnp.square(w - mean), axis=1)))
    search = partial(_project, styled.generator, steps, per_layer, styled.variables)
    parts = [search(batch, mean, std, key) for batch, key in zip(batches, keys, strict=True)]
    made, ws = (np.concatenate(each)[: len(files)] for each in ([p.images for p in parts], [p.ws for p in parts]))
    errors = 127.5 * np.mean(np.abs(np.clip(made, -1, 1) - targets), axis=(1, 2, 3))
    return Projected(np.stack([targets, made], axis=1), errors, jnp.asarray(ws))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _steepest(generator: StyleGenerator, measure: str, layers: tuple[int, ...], variables: PyTree, ws: Array) -> Array:
    def attribute(ws: Array) -> Array:
        return MEASURES[measure](cast(Array, generator.apply(variables, ws, method="synthesise")))

    return latent.steepest(attribute, ws, layers)


@partial(jax.jit, static_argnums=0)
def _map(generator: StyleGenerator, variables: PyTree, z: Array, label: np.ndarray | None) -> Array:
    return cast(Array, generator.apply(variables, z, label, method="map"))


@partial(jax.jit, static_argnums=0)
def _synthesise(generator: StyleGenerator, variables: PyTree, ws: Array) -> Array:
    return cast(Array, generator.apply(variables, ws, method="synthesise"))


@partial(jax.jit, static_argnums=(0, 1, 2))
def _project(
    generator: StyleGenerator, steps: int, per_layer: bool, variables: PyTree, images: Array, *args: Any
) -> latent.Projection:
    def synthesise(ws: Array) -> Array:
        return cast(Array, generator.apply(variables, ws, method="synthesise"))

    return latent.project(images, synthesise, *args, layers=generator.layers, steps=steps, per_layer=per_layer)


def _batches(x: Array | np.ndarray, size: int) -> list[Array]:
    """Parts of x [N, ...] of one size; the last one is filled up with zeros, so that one program computes all."""
    size = min(size, len(x))
    filled = jnp.pad(x, [(0, -len(x) % size), *[(0, 0)] * (x.ndim - 1)])
    return jnp.split(filled, len(filled) // size)


def _read(file: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """f32[H, W, C] in [-1, 1]."""
    if not file.is_file():
        raise InputError(f"There is no file {file}. Name images.")
    usable(file)
    return fit(open_image(file), shape[2], shape[0]).astype(np.float32) / 127.5 - 1


def _in_range(**numbers: int) -> None:
    for name, value in numbers.items():
        if not 1 <= value <= _MOST:
            raise InputError(f"There is no use in {name} = {value}; it must lie between 1 and {_MOST:,}.")


def _table(**sides: int) -> None:
    """The sides of a table of images."""
    _in_range(**sides)
    pictures.check_count(" x ".join(sides), math.prod(sides.values()))


def _finite(**numbers: Sequence[float]) -> None:
    for name, values in numbers.items():
        if not np.isfinite(values).all():
            raise InputError(f"{name} is {', '.join(map(str, values))}; only finite numbers make images.")
