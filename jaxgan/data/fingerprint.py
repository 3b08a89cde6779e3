"""Whether data is still what it was."""

import hashlib

import numpy as np

from jaxgan.data.domains import AnySource, Domains
from jaxgan.data.records import Synthetic

# Images that are looked at: all of a data set may be many gigabytes.
LOOKS = 256


def fingerprint(source: AnySource) -> str:
    """A digest of a source: of its size, shapes and classes, and of 256 of its images that lie evenly over it.

    An image that is added or removed, other sizes and other crops change it; one image that is replaced does if it is
    among those.

    >>> from jaxgan.data import load
    >>> fingerprint(load("digits"))[:8]
    'c324bbfd'
    """
    if isinstance(source, Domains):
        return _digest(fingerprint(source.a), fingerprint(source.b), str(source.paired))
    if isinstance(source, Synthetic):
        return _digest(str(source.shape), source.modes, str(source.std))
    count = min(source.size, LOOKS)
    records = source.read(np.arange(count) * source.size // count)
    about = f"{source.size} {source.shape} {source.classes} {sorted(records)}"
    return _digest(about, *(records[name] for name in sorted(records)))


def _digest(*parts: str | np.ndarray) -> str:
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).data)
    return hashed.hexdigest()
