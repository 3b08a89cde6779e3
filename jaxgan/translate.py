"""Images of any size from one domain into the other, by a trained CycleGAN."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from rich.progress import track

from jaxgan import pictures
from jaxgan.config import CycleGANConfig
from jaxgan.data.folder import image_files, open_image, usable
from jaxgan.errors import InputError, closest
from jaxgan.sample import restore
from jaxgan.typing import Array

# Of the side of an image in pixels.
_MOST = 1 << 14


def translate(
    run: str | Path,
    images: Sequence[str | Path],
    out: str | Path,
    *,
    direction: str = "ab",
    size: int | None = None,
    full_size: bool = False,
    batch: int = 16,
    step: int | None = None,
    quiet: bool = False,
) -> list[Path]:
    """Translates image files and writes PNGs.

    The networks are convolutional: they take any size, and are compiled once for each. Sides that are no multiple of
    4 are padded with a reflection of the image, and the translation is cropped to what the image covers.

    Args:
      run: directory of a CycleGAN's run.
      images: files, and folders, whose images are translated with those in folders below.
      out: directory of the translations, made if need be; folders below keep their names.
      direction: "ab" or "ba".
      size: the shorter side of every image is resized to so many pixels; by default to those trained at.
      full_size: images keep their size.
      batch: images of one size that are translated at a time.
      step: of the checkpoint, by default the newest.
      quiet: show no progress.

    Returns:
      The files, in the order of the images.

    Raises:
      InputError: before anything is compiled, for a run that translates nothing, another direction, no images, files
        that cannot be read, and translations that would have one name.

    >>> translate("runs/cyclegan", ["photos"], "labels", direction="ab")  # doctest: +SKIP
    """
    if direction not in ("ab", "ba"):
        raise InputError(f"There is no direction {direction!r}. {closest(direction, ('ab', 'ba'))}")
    for name, value in (("size", size), ("batch", batch)):
        if value is not None and not 1 <= value <= _MOST:
            raise InputError(f"{name} is {value}; it must lie between 1 and {_MOST}.")
    if size is not None and full_size:
        raise InputError("size resizes images, and full_size leaves them as they are. Give one of the two.")
    pictures.check_out(out, suffix=None)
    trained = restore(run, step)
    config, gan = trained.config, trained.gan
    if not isinstance(config, CycleGANConfig):
        raise InputError(f"{run} is no CycleGAN, so it translates nothing. `jaxgan sample {run}` draws its samples.")
    channels = trained.shape[direction[0]][2]
    side = None if full_size else size or config.image_size
    files, targets = _targets(images, Path(out))
    shapes = [_shape(file, side) for file in files]

    @jax.jit
    def program(state, x):
        return gan.sample(state, jax.random.key(0), len(x), **{direction[0]: x})

    def padded(i: int) -> tuple[int, int]:
        height, width = shapes[i]
        return -(-height // config.multiple) * config.multiple, -(-width // config.multiple) * config.multiple

    order = sorted(range(len(files)), key=padded)
    groups = [[*group] for _, group in groupby(order, key=padded)]
    parts = [group[i : i + batch] for group in groups for i in range(0, len(group), batch)]
    for part in track(parts, description="translating", disable=quiet):
        x = np.stack([_pad(_pixels(files[i], channels, shapes[i]), padded(i)) for i in part])
        made = program(trained.state, jnp.asarray(x))
        for i, image in zip(part, made, strict=True):
            _save(image[: shapes[i][0], : shapes[i][1]], targets[i])
    return targets


def _targets(images: Sequence[str | Path], out: Path) -> tuple[list[Path], list[Path]]:
    """The files to translate, and where their translations go."""
    files: dict[Path, Path] = {}
    for path in map(Path, images):
        if path.is_dir():
            files |= {file: out / file.relative_to(path).with_suffix(".png") for file in image_files(path)}
        elif path.is_file():
            files[path] = out / f"{path.stem}.png"
        else:
            raise InputError(f"There is no file and no folder {path}. Name images, or folders of them.")
    if not files:
        raise InputError("No images are named. Name files, or folders of them.")
    sources: dict[Path, Path] = {}
    originals = {file.resolve() for file in files}
    for file, target in files.items():
        if target.resolve() in originals:
            raise InputError(f"The translation of {file} would replace the image {target}. Choose another --out.")
        if target in sources:
            raise InputError(
                f"{sources[target]} and {file} would both become {target}. Translate them into different directories."
            )
        sources[target] = file
    return [*files], [*files.values()]


def _shape(file: Path, side: int | None) -> tuple[int, int]:
    """Height and width of an image once it is resized."""
    width, height = usable(file)
    if side is None:
        return height, width
    scale = side / min(height, width)
    return round(height * scale), round(width * scale)


def _pixels(file: Path, channels: int, shape: tuple[int, int]) -> np.ndarray:
    """f32[H, W, C] in [-1, 1]."""
    image = open_image(file).convert("L" if channels == 1 else "RGB")
    image = image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(image, np.float32).reshape(*shape, channels) / 127.5 - 1


def _pad(x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Reflects an image at its lower and right edges up to that shape."""
    pad = [(0, side - n) for side, n in zip(shape, x.shape, strict=False)]
    # A side of one pixel has nothing to reflect.
    return np.pad(x, [*pad, (0, 0)], mode="symmetric")


def _save(image: Array, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pictures.pixels(image).squeeze()).save(path)
