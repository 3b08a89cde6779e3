"""``jaxgan checkpoints``: what a run has saved, whether it is still what was written, and what can go."""

import contextlib
import datetime
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from jaxgan.checkpoint import Checkpoints, kept, unfinished
from jaxgan.errors import InputError, RunError
from jaxgan.rundir import lock


def command(run: tyro.conf.Positional[Path], verify: bool = False, prune: int | None = None) -> None:
    """List the checkpoints of a run, verify them, delete old and faulty ones.

    Args:
        run: Directory of the run.
        verify: Read every file, and say which are no longer as they were written; then the exit status is 1.
        prune: Keep the newest so many good ones, and the best if the run was evaluated. Others are deleted, and so are
            faulty ones and what was never finished.
    """
    if prune is not None and prune < 1:
        raise InputError(f"--prune is {prune}; at least one checkpoint is kept.")
    with Checkpoints(run / "checkpoints") as checkpoints:
        looks = (_look(checkpoints, run, step, verify or prune is not None) for step in checkpoints.steps())
        saved = [each for each in looks if (checkpoints.directory / str(each.step)).exists()]
        left = [*unfinished(checkpoints.directory), *sorted((run / "faulty").glob("[0-9]*"))]
        _print(saved, left)
        if prune is not None:
            with lock(run):
                _prune(checkpoints, saved, left, prune)
        elif faulty := [each for each in saved if each.faults]:
            lines = "\n".join(f"  step {each.step}: {fault}" for each in faulty for fault in each.faults or [])
            raise RunError(
                f"{len(faulty)} of the {len(saved)} checkpoints of {run} are not as they were written:\n{lines}\n"
                "`jaxgan resume` and `jaxgan sample` take the newest good one; --prune N deletes faulty ones."
            )


class _Saved(NamedTuple):
    step: int
    when: datetime.datetime
    megabytes: float
    score: float | None
    faults: list[str] | None  # None: nobody looked


def _look(checkpoints: Checkpoints, run: Path, step: int, verify: bool) -> _Saved:
    faults = _faults(checkpoints, run, step) if verify else None
    files = []
    for path in (checkpoints.directory / str(step)).rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # a run that trains here deletes it just now
            files += [path.stat()] if path.is_file() else []
    return _Saved(
        step,
        datetime.datetime.fromtimestamp(max((file.st_mtime for file in files), default=0)),
        sum(file.st_size for file in files) / 1e6,
        checkpoints.score(step),
        faults,
    )


def _faults(checkpoints: Checkpoints, run: Path, step: int, seconds: float = 10.0) -> list[str]:
    """What stays wrong: a run that trains here has files that are not sealed yet, or half deleted, for a moment."""
    end = time.monotonic() + seconds
    while (wrong := checkpoints.faults(step)) and time.monotonic() < end:
        try:
            lock(run).close()
            return wrong
        except InputError:
            time.sleep(0.2)
        except OSError:  # nobody may train in a directory that cannot be written to
            return wrong
    return wrong


def _print(saved: list[_Saved], left: list[Path]) -> None:
    table = Table("step", "saved", "MB", "score", "files")
    for step, when, megabytes, score, faults in saved:
        state = "not verified" if faults is None else f"{len(faults)} faulty" if faults else "good"
        table.add_row(str(step), f"{when:%Y-%m-%d %H:%M}", f"{megabytes:.1f}", f"{score:.4g}" if score else "", state)
    Console().print(table)
    if left:
        print("never finished, or set aside as faulty:\n  " + "\n  ".join(map(str, left)))


def _prune(checkpoints: Checkpoints, saved: list[_Saved], left: list[Path], count: int) -> None:
    good = [each for each in saved if not each.faults]
    if saved and not good:
        raise RunError(f"No checkpoint in {checkpoints.directory} is good, so none is deleted.")
    scores = {each.step: each.score for each in good if each.score is not None}
    stay = kept([each.step for each in good], count, scores)
    gone = [each.step for each in saved if each.step not in stay]
    for step in gone:
        checkpoints.delete(step)
    for path in left:
        shutil.rmtree(path)
    print(f"deleted: {', '.join(map(str, gone)) or 'none'}; kept: {', '.join(map(str, sorted(stay))) or 'none'}")
