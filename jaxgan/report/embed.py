"""Pictures inside a page, as data URIs, as many and as large as there is room for."""

import base64
import functools
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from PIL import Image

from jaxgan.data.records import decode

T = TypeVar("T")

# Why anything is left out.
REASON = "so that the page stays below 5 MB."
# A slider has no use for more.
_MOST = 100


class _Form(NamedTuple):
    """How pictures are written: as they are, or as WebP of a quality, with so many pixels a side at most.

    Before the next form is tried, timelines may be cut down to ``least`` pictures.
    """

    quality: int | None
    side: int
    least: int


_FORMS = (_Form(None, 0, _MOST), _Form(80, 1024, 20), _Form(70, 512, 10), _Form(50, 256, 1))


def embed(series: Sequence[Sequence[Path]], room: int) -> tuple[dict[Path, str], list[str]]:
    """Data URIs of pictures.

    Args:
      series: timelines of PNG files.
      room: bytes that all of them may have together.

    Returns:
      URIs by file, without those that there is no room for, and notes on what was left out or changed.
    """
    candidates = [spread(paths, _MOST) for paths in series]
    shown = [[path for path in paths if _uri(path, _FORMS[0])] for paths in candidates]
    broken = sum(map(len, candidates)) - sum(map(len, shown))
    uris: dict[Path, str] = {}
    form = _FORMS[0]
    for form in _FORMS:
        uris = {path: _uri(path, form) for paths in shown for path in paths}
        while (size := _size(shown, uris)) > room and any(len(paths) > form.least for paths in shown):
            share = 0.95 * room / size
            shown = [spread(paths, max(min(len(paths), form.least), int(share * len(paths)))) for paths in shown]
        if size <= room:
            break
    else:
        shown = []
    kept = {path: uris[path] for paths in shown for path in paths}
    there = sum(map(len, series)) - broken
    notes = [f"{broken} pictures cannot be read, and were left out."] if broken else []
    if form.quality is not None:
        notes.append(f"Pictures are WebP of at most {form.side} pixels a side, {REASON}")
    if len(kept) < there:
        notes.append(f"{len(kept)} of {there} pictures are shown, evenly spread, {REASON}")
    return kept, notes


def spread(items: Sequence[T], count: int) -> list[T]:
    """So many of the items, evenly spread, with the first and the last; all if there are no more.

    >>> spread("abcdefghi", 3)
    ['a', 'e', 'i']
    """
    if len(items) <= count:
        return [*items]
    if count < 2:
        return [*items[-1:]][:count]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def _size(shown: Sequence[Sequence[Path]], uris: dict[Path, str]) -> int:
    return sum(map(len, {uris[path] for paths in shown for path in paths}))


def _uri(path: Path, form: _Form) -> str:
    """The data URI of a picture; empty if it cannot be read."""
    try:
        stat = path.stat()
        return _encoded(path, stat.st_mtime_ns, stat.st_size, form)
    except Exception:  # Pillow's decoders raise errors of many types
        return ""


@functools.lru_cache(maxsize=1000)
def _encoded(path: Path, changed: int, size: int, form: _Form) -> str:
    """Of a file as it was at that time: a page that is served is made again and again."""
    del changed, size
    image, kind, content = decode(path), "png", b""
    if form.quality is None:
        content = path.read_bytes()
    else:
        image.thumbnail((form.side, form.side), Image.Resampling.LANCZOS)
        file, kind = io.BytesIO(), "webp"
        image.convert("RGB").save(file, "WEBP", quality=form.quality)
        content = file.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
