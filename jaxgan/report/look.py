"""What one run has written, as it is found: a file that is missing or broken is left out, and said."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxgan.checkpoint import Checkpoints
from jaxgan.rundir import open_run
from jaxgan.runlog import number, parse

# The pictures of a run, by kind: where they are.
KINDS = {"real": ("samples",), "samples": ("samples",), "neighbours": ("neighbours", "evaluations")}
# Bytes of an evaluation, which has a hundredth of them.
_MOST = 1 << 20


class Look(NamedTuple):
    """One run.

    Attributes:
      config: its configuration, as JSON data.
      versions: that its newest checkpoint was saved with, and the digest of the data; empty if there is none.
      rows: of metrics.jsonl,
      evaluations: of evaluations.jsonl,
      events: of events.jsonl.
      measured: what `jaxgan evaluate` wrote, the newest last.
      pictures: files by kind and step; the real images have step 0.
      notes: what could not be read, in words.
    """

    config: dict[str, Any]
    versions: dict[str, Any]
    rows: list[dict[str, Any]]
    evaluations: list[dict[str, Any]]
    events: list[dict[str, Any]]
    measured: list[dict[str, Any]]
    pictures: dict[str, dict[int, Path]]
    notes: list[str]


def look(run: Path) -> Look:
    """Everything that a run has written.

    Raises:
      InputError: as `rundir.open_run`.
    """
    notes: list[str] = []
    config = open_run(run).as_data()
    rows, evaluations, events = (_table(run / f"{name}.jsonl", notes) for name in ("metrics", "evaluations", "events"))
    measured = []
    for path in sorted((run / "evaluations").glob("*.json")):
        evaluation = _evaluation(path)
        if evaluation is None:
            notes.append(f"evaluations/{path.name} cannot be read, and was left out.")
        else:
            measured.append(evaluation)
    pictures = {kind: dict(sorted(_pictures(run, kind))) for kind in KINDS}
    steps = [path.name for path in (run / "checkpoints").glob("[0-9]*")]
    versions = _versions(run / "checkpoints", tuple(sorted(steps)))
    return Look(config, versions, rows, evaluations, events, measured, pictures, notes)


def _table(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The rows of a table; notes what it has beside them."""
    rows, broken = parse(path) if path.is_file() else ([], 0)
    if broken:
        notes.append(f"{broken} of the lines of {path.name} are no rows, and were left out.")
    return rows


def _pictures(run: Path, kind: str) -> Iterator[tuple[int, Path]]:
    for folder in KINDS[kind]:
        for path in (run / folder).glob("*.png"):
            if kind == "real":
                if path.stem == "real":
                    yield 0, path
            elif path.stem.isdecimal():
                yield int(path.stem), path


def _evaluation(path: Path) -> dict[str, Any] | None:
    """An evaluation that was written as JSON; None if it is none."""
    try:
        if not path.is_file() or path.stat().st_size > _MOST:
            return None
        found = json.loads(path.read_bytes())
        values, deviations = ({k: number(v) for k, v in found[part].items()} for part in ("values", "deviations"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    about = {k: v for k, v in found.items() if isinstance(v, str | int)}
    return {**about, "values": values, "deviations": deviations}


@functools.lru_cache(maxsize=64)
def _versions(directory: Path, steps: tuple[str, ...]) -> dict[str, Any]:
    """What the newest checkpoint that can be read was saved with; asked again only once there are others."""
    if not steps:
        return {}
    with Checkpoints(directory) as checkpoints:
        for step in reversed(checkpoints.steps()):
            try:
                about = checkpoints.about(step)
                return {**about["versions"], "digest of the data": about["data"][:16]}
            except (OSError, ValueError, TypeError, KeyError, AttributeError):
                continue
    return {}
