"""Folders of image files."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxgan.data.records import Source, fit
from jaxgan.errors import InputError

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_GREY = ("1", "L", "LA")


class _File(NamedTuple):
    """What is known of an image file: its size in pixels, or why it cannot be used."""

    path: Path
    size: tuple[int, int] | None
    grey: bool
    fault: str | None


def folder(path: str | Path, image_size: int | None = None) -> Source:
    """The image files in a folder and in the folders below it, in the order of their paths.

    Decodes every file once, in threads, to find what is broken before anything is trained. Images
    are grey (C = 1) if all files are, else RGB; an alpha channel is dropped; the orientation that
    a camera noted is applied. Hidden files are left out.

    Args:
      path: the folder; png, jpg, jpeg, webp and bmp files are read.
      image_size: side in pixels; the centre square of each image is resized to it, antialiased.
        None: all images must have one size.

    Returns:
      A source without labels.

    Raises:
      InputError: without such a folder or images in it, and for files that are broken, have 16 bits
        or more a channel, or, without image_size, have another size than most; names ten of them.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f"There is no folder {root}. Give the path of a folder of images.")
    paths = sorted(
        file
        for file in root.rglob("*")
        if file.suffix.lower() in _SUFFIXES and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )
    if not paths:
        raise InputError(f"There are no images in {root}. Read are {', '.join(_SUFFIXES)} files.")
    with ThreadPoolExecutor() as threads:
        files = list(threads.map(_inspect, paths))
    width, height = _check(files, root, image_size)
    channels = 1 if all(file.grey for file in files) else 3
    shape = (height, width, channels) if image_size is None else (image_size, image_size, channels)

    def read(indices):
        images = [fit(_open(paths[i]), channels, image_size) for i in indices]
        return {"image": np.stack(images)}

    return Source(str(root), shape, len(paths), None, read)


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image)  # decodes all pixels


def _inspect(path: Path) -> _File:
    try:
        image = _open(path)
    except UnidentifiedImageError:
        return _File(path, None, False, "not an image")
    except Exception as error:  # Pillow's decoders raise errors of many types
        return _File(path, None, False, str(error))
    if image.mode.startswith(("I", "F")):
        return _File(path, image.size, True, f"more than 8 bits a channel (mode {image.mode})")
    return _File(path, image.size, image.mode in _GREY, None)


def _check(files: list[_File], root: Path, image_size: int | None) -> tuple[int, int]:
    """The one size of the images, or an error with everything that is wrong."""
    sizes = Counter(file.size for file in files if file.fault is None and file.size is not None)
    most = sizes.most_common(1)[0][0] if sizes else (0, 0)
    faulty = [(file.path, file.fault) for file in files if file.fault is not None]
    mend = ["Delete or replace the files that are broken or too deep."] if faulty else []
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
        shown = "\n".join(f"  {path.relative_to(root)}: {fault}" for path, fault in faulty[:10])
        more = f"\n  and {len(faulty) - 10} more" if len(faulty) > 10 else ""
        raise InputError(
            f"{len(faulty)} of the {len(files)} image files in {root} cannot be used:\n"
            f"{shown}{more}\n" + "\n".join(mend)
        )
    return most
