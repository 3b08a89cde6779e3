"""Folders of image files."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxgan.data.records import Source, decode, fit
from jaxgan.errors import InputError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_GREY = ("1", "L", "LA")


class ImageFile(NamedTuple):
    """What is known of an image file: its size in pixels, or why it cannot be used."""

    path: Path
    size: tuple[int, int] | None
    grey: bool
    fault: str | None


def folder(path: str | Path, image_size: int | None = None, *, stretch: bool = False, least: int = 1) -> Source:
    """The image files in a folder and in the folders below it, in the order of their paths.

    Decodes every file once, in threads, to find what is broken before anything is trained. Images
    are grey (C = 1) if all files are, else RGB; an alpha channel is dropped; the orientation that
    a camera noted is applied. Hidden files are left out.

    Args:
      path: the folder; png, jpg, jpeg, webp and bmp files are read.
      image_size: side in pixels; the centre square of each image is resized to it, antialiased.
        None: all images must have one size.
      stretch: resize the whole image to that square, whatever its shape.
      least: the fewest pixels that a side of an image may have.

    Returns:
      A source without labels.

    Raises:
      InputError: without such a folder or images in it, and for files that are broken, have 16 bits
        or more a channel, are too small, or, without image_size, have another size than most; names ten of them.
    """
    root, paths = Path(path).expanduser(), image_files(path)
    with ThreadPoolExecutor() as threads:
        files = list(threads.map(inspect, paths))
    width, height = _check([_at_least(file, least) for file in files], root, image_size)
    channels = 1 if all(file.grey for file in files) else 3
    shape = (height, width, channels) if image_size is None else (image_size, image_size, channels)

    def read(indices):
        images = [fit(open_image(paths[i]), channels, image_size, stretch=stretch) for i in indices]
        return {"image": np.stack(images)}

    return Source(str(root), shape, len(paths), None, read)


def image_files(path: str | Path) -> list[Path]:
    """The image files in a folder and below it, sorted; hidden ones are left out.

    Raises:
      InputError: if there is no such folder, or no image in it.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"There is no folder {printable(root)}. Give the path of a folder of images.")
    paths = sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() in _SUFFIXES and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )
    if not paths:
        raise InputError(f"There are no images in {root}. Read are {', '.join(_SUFFIXES)} files.")
    return paths


def open_image(path: Path) -> Image.Image:
    """Decodes a file, as the camera was held."""
    image = decode(path)
    ImageOps.exif_transpose(image, in_place=True)
    return image


def inspect(path: Path) -> ImageFile:
    """Decodes a file to see whether it can be used."""
    try:
        image = open_image(path)
    except UnidentifiedImageError:
        return ImageFile(path, None, False, "not an image")
    except Exception as error:  # Pillow's decoders raise errors of many types
        return ImageFile(path, None, False, printable(str(error))[:200])
    if image.mode.startswith(("I", "F")):
        return ImageFile(path, image.size, True, f"more than 8 bits a channel (mode {image.mode})")
    return ImageFile(path, image.size, image.mode in _GREY, None)


def printable(text: object) -> str:
    """What is shown of a name that somebody else gave: whatever steers a terminal is escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def usable(path: Path) -> tuple[int, int]:
    """Width and height of an image file.

    Raises:
      InputError: if it cannot be used; names it.
    """
    found = inspect(path)
    if found.fault is not None or found.size is None:
        raise InputError(f"{printable(path)} cannot be used: {found.fault}. Leave it out, or replace it.")
    return found.size


def _at_least(file: ImageFile, least: int) -> ImageFile:
    if file.fault is None and file.size is not None and min(file.size) < least:
        return file._replace(fault=f"{file.size[0]}x{file.size[1]} pixels, fewer than {least}")
    return file


def _check(files: list[ImageFile], root: Path, image_size: int | None) -> tuple[int, int]:
    """The one size of the images, or an error with everything that is wrong."""
    sizes = Counter(file.size for file in files if file.fault is None and file.size is not None)
    most = sizes.most_common(1)[0][0] if sizes else (0, 0)
    faulty = [(file.path, file.fault) for file in files if file.fault is not None]
    mend = ["Delete or replace these files, or train at a smaller size if they are too small."] if faulty else []
    if image_size is None and len(sizes) > 1:
        faulty += [
            (file.path, "x".join(map(str, file.size)) + " pixels")
            for file in files
            if file.fault is None and file.size is not None and file.size != most
        ]
        mend.append(
            f"{len(sizes)} sizes (width x height), most often {most[0]}x{most[1]} ({sizes[most]} "
            "files): set image_size, which crops and resizes them all."
        )
    if faulty:
        shown = "\n".join(f"  {printable(path.relative_to(root))}: {fault}" for path, fault in faulty[:10])
        more = f"\n  and {len(faulty) - 10} more" if len(faulty) > 10 else ""
        raise InputError(
            f"{len(faulty)} of the {len(files)} image files in {root} cannot be used:\n"
            f"{shown}{more}\n" + "\n".join(mend)
        )
    return most
