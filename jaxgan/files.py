"""Files that are whole or not there: whoever reads one, or dies while it is written, never meets a half."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def cache_dir() -> Path:
    """Where files are kept that can be made again: $JAXGAN_CACHE, or ~/.cache/jaxgan."""
    return Path(os.environ.get("JAXGAN_CACHE") or "~/.cache/jaxgan").expanduser()


def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file beside its place and moves it there, once it is on the disk; if that fails, nothing is left.

    Args:
      path: of the file; an old one stays until the new one is complete.
      write: puts the content into a file that is open for bytes.

    Raises:
      OSError: if the file cannot be written.

    >>> replace(Path("config.json"), lambda file: file.write(b"{}"))  # doctest: +SKIP
    """
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # or a power cut may leave the new name without its content
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
