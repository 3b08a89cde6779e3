"""Data sets by name."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from jaxgan.data import tfds
from jaxgan.data.folder import folder
from jaxgan.data.records import Source, Synthetic, fit, from_arrays
from jaxgan.errors import InputError, similar


def digits(image_size: int | None = None) -> Source:
    """1,797 handwritten digits of 8 x 8 pixels with their labels, which come with scikit-learn.

    Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998 (its test part).

    Args:
      image_size: side in pixels to resize to.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    flat, label = load_digits(return_X_y=True)
    image = np.rint(np.reshape(flat, (-1, 8, 8)) * (255 / 16)).astype(np.uint8)  # of 0 to 16
    image = np.stack([fit(Image.fromarray(each), 1, image_size) for each in image])
    return from_arrays(image, np.asarray(label), name="digits")


def ring() -> Synthetic:
    """8 Gaussians on the unit circle with a standard deviation of 0.01 (PacGAN, section 4.1)."""
    angle = np.arange(8) * (2 * np.pi / 8)
    return _mixture("ring", np.stack([np.cos(angle), np.sin(angle)], axis=1), std=0.01)


def grid() -> Synthetic:
    """5 x 5 Gaussians from -4 to 4 with a standard deviation of 0.05 (PacGAN, section 4.1)."""
    line = np.arange(-4, 5, 2)
    return _mixture("grid", np.stack(np.meshgrid(line, line), axis=-1).reshape(25, 2), std=0.05)


def _mixture(name: str, modes: np.ndarray, std: float) -> Synthetic:
    modes = modes.astype(np.float32)

    def draw(key, n):
        mode_key, noise_key = jax.random.split(key)
        mode = jax.random.randint(mode_key, (n,), 0, len(modes))
        noise = jax.random.normal(noise_key, (n, modes.shape[1]))
        return {"image": jnp.asarray(modes)[mode] + std * noise, "label": mode}

    return Synthetic(name, modes.shape[1:], draw, modes, std)


# The name of `stacked_mnist`, and how many images the literature makes.
STACKED, STACKED_SIZE = "stacked_mnist", 128_000


def stacked_mnist(mnist: Source, size: int = STACKED_SIZE, seed: int = 0) -> Source:
    """Three digits as the channels of an image, which is of 1,000 classes (Srivastava et al. 2017: VEEGAN).

    Args:
      mnist: labelled grey digits, any three of which make an image.
      size: the number of images.
      seed: of the digits that are drawn.

    Returns:
      A source; the label is the number that red, green and blue spell, from red hundreds to blue units.
    """
    records = mnist.read(np.arange(mnist.size))  # small, and each digit is in several images
    digits = np.random.default_rng(seed).integers(0, mnist.size, (size, 3))

    def read(indices):
        three = digits[indices]
        image = np.moveaxis(records["image"][three, :, :, 0], 1, -1)
        return {"image": image, "label": records["label"][three] @ np.array([100, 10, 1], np.int32)}

    return Source(STACKED, (*mnist.shape[:2], 3), size, 1000, read)


EMBEDDED = {"digits": digits}
SYNTHETIC = {"ring": ring, "grid": grid}


# Pixels of a side: no network makes images of more.
_MOST = 1 << 12


def check_size(image_size: int) -> None:
    """Raises InputError for a side of so many pixels that no image has it."""
    if not 1 <= image_size <= _MOST:
        raise InputError(f"image_size is {image_size}; it must lie between 1 and {_MOST} pixels.")


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    split: str = "train",
    image_size: int | None = None,
) -> Source | Synthetic:
    """A data set by its name.

    Args:
      name: "digits" (embedded), "ring" or "grid" (synthetic), "stacked_mnist" (triples of mnist), an image data set of
        tfds that is prepared, as "mnist" or "lsun/bedroom", or the path of a folder of images (a folder that is
        called like a data set: "./mnist").
      data_dir: where tfds data sets are; None: the environment's JAXGAN_DATA, TFDS_DATA_DIR and
        ~/tensorflow_datasets, in this order.
      split: of a tfds data set, as tfds writes it; the others have "train" alone.
      image_size: side in pixels that the centre square of each image is resized to, antialiased;
        None: as they are.

    Returns:
      A source of images, or a synthetic mixture of points.

    Raises:
      InputError: for an unknown name, split or image_size, a data set that is not prepared, and
        images that cannot be used.

    >>> load("digits").shape
    (8, 8, 1)
    """
    if image_size is not None:
        check_size(image_size)
    if not name.strip():
        raise InputError("The data set has no name. Name one, for example digits, or a folder of images: ./photos.")
    if name in EMBEDDED:
        _check_split(name, split)
        return EMBEDDED[name](image_size)
    if name in SYNTHETIC:
        _check_split(name, split)
        if image_size is not None:
            raise InputError(f"The data set {name} has points, not images: leave image_size out (--image-size None).")
        return SYNTHETIC[name]()
    prepared = tfds.prepared(data_dir)
    if name == STACKED:
        if "mnist" not in prepared:
            raise _missing("mnist", data_dir, prepared, {"mnist"})
        return stacked_mnist(tfds.prepared_source(prepared["mnist"], split, image_size))
    if name in prepared:
        return tfds.prepared_source(prepared[name], split, image_size)
    known = {*tfds.builders(), *(each.partition("/")[0] for each in prepared)}
    if _is_path(name, known):
        _check_split(name, split)
        return folder(name, image_size)
    raise _missing(name, data_dir, prepared, known)


def _check_split(name: str, split: str) -> None:
    if split != "train":
        raise InputError(f"The data set {name} has no split {split!r}. It has 'train' alone.")


def _is_path(name: str, known: set[str]) -> bool:
    """Whether a name is a path: "mnist" and "lsun/church" are not, "./mnist" is."""
    exists = Path(name).expanduser().is_dir()
    separated = os.sep in name or "/" in name or name.startswith("~")
    if name.partition("/")[0] in known:
        return exists and separated
    return exists or separated


def _missing(name: str, data_dir: str | Path | None, prepared: dict[str, Path], known: set[str]) -> InputError:
    """The error for a name that is neither embedded nor synthetic nor prepared nor a path."""
    base = name.partition("/")[0]
    here = ", ".join(str(path) for path in tfds.data_dirs(data_dir))
    configs = [each for each in prepared if each.startswith(f"{base}/")]
    if name == base and configs:
        return InputError(f"The data set {name} has configs. Prepared: {', '.join(configs)}.")
    if base in known:
        return InputError(
            f"The data set {name} is not prepared in {here}. Prepare it once, with TensorFlow:\n"
            f"  pip install 'jaxgan[prepare]'\n  {tfds.command(name, data_dir)}\n"
            "A folder of images of your own needs no preparing: --data photos/"
        )
    names = [*EMBEDDED, *SYNTHETIC, *prepared, *known]
    return InputError(
        f"There is no data set {name!r}. {similar(name, names)}"
        f"Allowed: {', '.join([*EMBEDDED, *SYNTHETIC])}; prepared in {here}: "
        f"{', '.join(prepared) or 'none'}; the path of a folder of images; and every image data "
        "set of tensorflow_datasets, once 'jaxgan data prepare NAME' has prepared it."
    )
