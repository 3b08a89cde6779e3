"""Reads the arrays of an .npz file, whoever wrote it."""

import zipfile
from pathlib import Path

import numpy as np

from jaxgan.errors import InputError

# An archive may swell to so many bytes, or to those that it has.
_SWELL = 1 << 28


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of numbers that ``np.savez`` or ``np.savez_compressed`` wrote.

    Args:
      path: of the file.

    Returns:
      The arrays by name.

    Raises:
      InputError: if the file cannot be read, was cut off or altered, holds anything but arrays of numbers, or swells to
        more than it has and than 256 MiB.

    >>> read(Path("features.npz"))["features"].shape  # doctest: +SKIP
    (5000, 2048)
    """
    try:
        # A pipe would keep whoever opens it waiting.
        if path.exists() and not path.is_file():
            raise ValueError("it is no regular file")
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                # No entry is read beyond the size that it claims.
                claimed = sum(entry.file_size for entry in archive.infolist())
            if claimed > max(_SWELL, path.stat().st_size):
                raise ValueError(f"it swells to {claimed} bytes")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                found = dict(arrays)
        for name, array in found.items():
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
                raise ValueError(f"{name[:80]!r} is no array of numbers")
    except Exception as error:  # of many types: zipfile's, the decompressors' and NumPy's
        raise InputError(f"{path} cannot be read as an .npz file of arrays: {str(error)[:200]}.") from error
    return found
