"""What data is made of: records read from somewhere, or points drawn from a known density."""

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from jaxgan.errors import InputError
from jaxgan.typing import Batch, Key

# As Pillow calls what is read. It knows many more, and runs other programs for some of them.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# Pixels of an image above which no other of that size is decoded at the same time.
_LARGE, _ALONE = 1 << 24, threading.Lock()


class Source(NamedTuple):
    """Images with random access, on the host.

    Attributes:
      name: for messages.
      shape: of one image, (H, W, C).
      size: the number of images.
      classes: the number of classes, None if the images have no labels.
      read: indices i[n] -> ``{"image": u8[n, H, W, C], "label": i32[n]}``, without "label" where
        there are no classes. Images may also be f32 in [-1, 1]. Safe to call from several threads.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    classes: int | None
    read: Callable[[np.ndarray], dict[str, np.ndarray]]


class Synthetic(NamedTuple):
    """An endless supply of points from a mixture of Gaussians, drawn inside the compiled step.

    Attributes:
      name: for messages.
      shape: of one point, (D,).
      draw: (key, n) -> ``{"image": f32[n, D], "label": i32[n]}``, points and their modes.
      modes: f32[K, D], the centres of the equally likely modes.
      std: of every mode, in each coordinate.
    """

    name: str
    shape: tuple[int, ...]
    draw: Callable[[Key, int], Batch]
    modes: np.ndarray
    std: float

    @property
    def classes(self) -> int:
        """The number of modes."""
        return len(self.modes)


def decode(file: Path | BinaryIO) -> Image.Image:
    """Opens an image of one of `FORMATS` and decodes it, if it has no more pixels than Pillow lets pass unwarned.

    Raises:
      ValueError: for more pixels; Pillow's decoders raise errors of many other types.
    """
    # A pipe would keep whoever opens it waiting, a device may have no end.
    if isinstance(file, Path) and not file.is_file():
        raise ValueError("no regular file")
    with Image.open(file, formats=FORMATS) as image:
        most = Image.MAX_IMAGE_PIXELS  # whoever knows the images may set it, None: any number
        if most is not None and image.width * image.height > most:
            raise ValueError(f"{image.width}x{image.height} pixels, more than PIL.Image.MAX_IMAGE_PIXELS, {most}")
        # Threads that decode large ones together would multiply their memory.
        with _ALONE if image.width * image.height > _LARGE else contextlib.nullcontext():
            image.load()
        return image


def fit(image: Image.Image, channels: int, side: int | None, *, stretch: bool = False) -> np.ndarray:
    """Pixels of an image, u8[H, W, channels].

    Args:
      image: of any mode.
      channels: 1 to 4.
      side: of the square that its centre square is resized to; None: as it is.
      stretch: the whole image becomes that square, whatever its shape.
    """
    image = image.convert({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels])
    if side is not None and image.size != (side, side):
        if stretch:
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        else:
            width, height = image.size
            crop = min(width, height)
            left, top = (width - crop) // 2, (height - crop) // 2
            box = (left, top, left + crop, top + crop)
            # Cropped first: resize's own box reads pixels outside it. LANCZOS widens when it shrinks.
            image = image.crop(box).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(image.height, image.width, channels)


def from_arrays(image: np.ndarray, label: np.ndarray | None = None, *, name: str = "arrays") -> Source:
    """A source of images that are in memory already.

    Args:
      image: u8[N, H, W, C], or f32[N, H, W, C] in [-1, 1], which is passed on as it is.
      label: integers [N], classes counted from 0.
      name: for messages.

    Returns:
      The source; the arrays are not copied.

    Raises:
      InputError: for another dtype or rank, values that are not finite or not in [-1, 1], no image,
        labels that are not integers, are negative or do not match the images.

    >>> from_arrays(np.zeros((10, 8, 8, 1), np.uint8)).shape
    (8, 8, 1)
    """
    image = np.asarray(image)
    if image.ndim != 4 or 0 in image.shape:
        raise InputError(
            f"The images of {name} have shape {image.shape}. Allowed: [N, H, W, C], none 0; "
            "grey images need a last axis of 1, as image[..., None] gives."
        )
    if image.dtype == np.float32:
        _check_range(image, name)
    elif image.dtype != np.uint8:
        raise InputError(
            f"The images of {name} are {image.dtype}. Allowed: uint8, and float32 in [-1, 1]; "
            "convert with image.astype(numpy.float32)."
        )
    if label is not None:
        label = _check_labels(np.asarray(label), len(image), name)

    def read(indices):
        records = {"image": image[indices]}
        return records if label is None else records | {"label": label[indices]}

    classes = None if label is None else int(label.max()) + 1
    return Source(name, image.shape[1:], len(image), classes, read)


def _check_range(image: np.ndarray, name: str) -> None:
    bad = image.size - np.count_nonzero(np.isfinite(image))
    if bad:
        raise InputError(
            f"{bad} of the {image.size} values in the images of {name} are NaN or infinite. "
            "Remove or mend those images, which numpy.isfinite(image).all((1, 2, 3)) finds."
        )
    low, high = image.min(), image.max()
    if low < -1 or high > 1:
        raise InputError(
            f"The float32 images of {name} lie in [{low:g}, {high:g}]. Allowed: [-1, 1]; "
            "for pixels in [0, 255] pass uint8, or image / 127.5 - 1."
        )


def _check_labels(label: np.ndarray, size: int, name: str) -> np.ndarray:
    if label.shape != (size,):
        raise InputError(f"The labels of {name} have shape {label.shape}. Allowed: ({size},), one an image.")
    if not np.issubdtype(label.dtype, np.integer):
        raise InputError(
            f"The labels of {name} are {label.dtype}. Allowed: integers; convert with label.astype(numpy.int32)."
        )
    if label.min() < 0:
        raise InputError(f"The smallest label of {name} is {label.min()}. Labels count from 0.")
    return label.astype(np.int32)
