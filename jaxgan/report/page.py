"""The page: a template, a style and a script of our own, and the data."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from jaxgan import pictures
from jaxgan.errors import InputError
from jaxgan.files import replace
from jaxgan.report.collect import collect, find

_HERE = Path(__file__).parent


def report(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Writes one HTML page about runs, which needs no network and no other file.

    Args:
      runs: their directories, or those of sweeps.
      out: the file.

    Raises:
      InputError: for a file that cannot be written, and as `find`.

    >>> report(["runs/dcgan-mnist", "runs/wgan-mnist"], "report.html")  # doctest: +SKIP
    """
    out = Path(out)
    found = find(runs)
    pictures.check_out(out, ".html")
    text = page(collect(found))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace(out, lambda file: file.write(text.encode()))
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}. Name another file with --out.") from error
    return out


def page(data: dict[str, Any], *, live: bool = False) -> str:
    """The page as HTML.

    Nothing in the data can become markup or a script: it is text inside a block of JSON, which the page's script shows
    as text alone; and the browser is told to run that one script and no other.

    Args:
      data: as `collect` gives it.
      live: the page asks its server for newer data.
    """
    style, script = ((_HERE / name).read_text() for name in ("page.css", "page.js"))
    title = "jaxgan: " + ", ".join(run["name"] for run in data["runs"])
    return Template((_HERE / "page.html").read_text()).substitute(
        title=html.escape(title),
        live="live" if live else "",
        style=style,
        style_hash=_digest(style),
        script=script,
        script_hash=_digest(script),
        data=inside(data),
    )


def inside(data: dict[str, Any]) -> str:
    """JSON that may stand inside a script element: it has none of the characters that end one."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)  # ASCII: what is not is escaped
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
