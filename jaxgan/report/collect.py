"""Runs as JSON data for one page: configurations, numbers, events and pictures, cut to a size."""

import datetime
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxgan import diagnostics
from jaxgan.data.folder import printable
from jaxgan.errors import InputError
from jaxgan.metrics import METRICS, PRDC
from jaxgan.report.embed import REASON, embed, spread
from jaxgan.report.look import KINDS, Look, look
from jaxgan.rundir import open_run

# Bytes of a page, so many of them for numbers and words, and so many for what stands around the data.
PAGE, _NUMBERS, _FRAME = 5_000_000, 1_500_000, 100_000
# Curves of more runs cannot be told apart.
MOST_RUNS = 32
# Of a run: events, evaluations, and characters of a text.
_EVENTS, _EVALUATIONS, _TEXT = 100, 20, 1000
# Which way is better, by the name of the value: 1 up, -1 down. The values of prdc have names of their own.
_SIGNS = {name: metric.sign for name, metric in METRICS.items() if name != "prdc"}
_SIGNS |= dict.fromkeys(PRDC._fields, METRICS["prdc"].sign)


def find(paths: Sequence[str | Path]) -> list[Path]:
    """The directories of runs; that of a sweep stands for all of its runs.

    Raises:
      InputError: for none, for more than a page can show, and as `rundir.open_run`.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        members = [] if _is_run(path) or not path.is_dir() else sorted(filter(_is_run, path.iterdir()))
        for each in members or [path]:
            found.setdefault(each.resolve(), each)
    if not found:
        raise InputError("No runs are named. Name directories of runs, or of sweeps.")
    if len(found) > MOST_RUNS:
        raise InputError(f"{len(found)} runs are there; a page shows at most {MOST_RUNS}. Name some of them.")
    for run in found.values():
        open_run(run)
    return [*found.values()]


def collect(runs: Sequence[Path], most: int = PAGE) -> dict[str, Any]:
    """Everything about runs that a page shows.

    Where it would be too large, rows are left out evenly, and pictures are made smaller or left out evenly; "notes"
    say so.

    Args:
      runs: as `find` gives them.
      most: bytes of the page.

    Returns:
      JSON data. "signs" says which way values of evaluations are better; "game" which of them, whatever follows a "/",
      are diagnostics. "rows" and "evaluations" of a run are columns; "real", "samples" and "neighbours" are steps, and
      indices of "images", which are data URIs.

    Raises:
      InputError: if a run is none any more.
    """
    version = stamp(runs)  # first: what changes meanwhile is then seen as a change
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run) for run in runs]
    looks = [look(run) for run in runs]
    limit, share = min(_NUMBERS, (most - _FRAME) // 2), 1.0
    while True:
        about = [_about(printable(name), each, share) for name, each in zip(names, looks, strict=True)]
        size = len(json.dumps(about).encode())
        if size <= limit or share < 1e-6:
            break
        share *= 0.9 * limit / size
    notes = [f"{share:.2%} of the rows of the logs are shown, evenly spread, {REASON}"] if share < 1 else []
    series = [[*each.pictures[kind].values()] for each in looks for kind in KINDS]
    uris, said = embed(series, most - _FRAME - size)
    notes += said
    images = {uri: i for i, uri in enumerate(dict.fromkeys(uris.values()))}  # what several runs show is there once
    for run, each in zip(about, looks, strict=True):
        for kind in KINDS:
            shown = {step: uris[path] for step, path in each.pictures[kind].items() if path in uris}
            run[kind] = [{"step": step, "image": images[uri]} for step, uri in shown.items()]
    return {
        "version": version,
        "made": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
        "signs": _SIGNS,
        "game": [*diagnostics.NAMES],
        "notes": notes,
        "runs": about,
        "images": [*images],
    }


def stamp(runs: Sequence[Path]) -> str:
    """A digest that changes whenever one of the files of the runs does."""
    hashed = hashlib.sha256()
    for run in runs:
        for pattern in ("*.json*", "samples/*.png", "neighbours/*.png", "evaluations/*", "checkpoints/[0-9]*"):
            for path in sorted(run.glob(pattern)):
                try:
                    stat = path.stat()
                except OSError:  # it was deleted meanwhile
                    continue
                hashed.update(f"{path} {stat.st_mtime_ns} {stat.st_size}\n".encode("utf-8", "surrogateescape"))
    return hashed.hexdigest()


def _is_run(path: Path) -> bool:
    return (path / "config.json").is_file() or (path / "checkpoints").is_dir()


def _about(name: str, each: Look, share: float) -> dict[str, Any]:
    """A run without its pictures, with such a share of its rows."""
    rows, evaluations = (spread(table, max(2, round(share * len(table)))) for table in (each.rows, each.evaluations))
    notes = [*each.notes]
    if len(each.events) > _EVENTS:
        notes.append(f"The last {_EVENTS} of {len(each.events)} events are shown.")
    if len(each.measured) > _EVALUATIONS:
        notes.append(f"The last {_EVALUATIONS} of {len(each.measured)} evaluations are shown.")
    return {
        "name": name,
        "config": {key: _short(value) for key, value in each.config.items()},
        "versions": {str(key): _short(value) for key, value in each.versions.items()},
        "rows": _columns(rows),
        "evaluations": _columns(evaluations),
        "events": [
            {"step": row["step"], "event": _short(row.get("event", "")), "text": _short(row.get("text", ""))}
            for row in each.events[-_EVENTS:]
        ],
        "measured": [
            {k: {n: _value(x) for n, x in v.items()} if isinstance(v, dict) else _short(v) for k, v in found.items()}
            for found in each.measured[-_EVALUATIONS:]
        ],
        "notes": notes,
    }


def _columns(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Numbers by name, None where a row has none."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [_value(row.get(name)) for row in rows] for name in names}
    return {name: column for name, column in columns.items() if any(value is not None for value in column)}


def _value(value: Any) -> Any:
    """A number as JSON can have it, NaN as a string; None for what is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    return value if abs(value) < 2**53 else None


def _short(value: Any) -> Any:
    """A number as it is; anything else as a text that is not too long."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _value(value)
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _TEXT else text[:_TEXT] + " ..."
