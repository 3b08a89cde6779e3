"""The directory of a run: config.json, metrics.jsonl, samples/*.png, checkpoints/; of evaluations and events more."""

import contextlib
import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from jaxgan import config as configs
from jaxgan import pictures, processes
from jaxgan.checkpoint import Checkpoints, set_aside
from jaxgan.config import Config
from jaxgan.errors import InputError
from jaxgan.runlog import RunLog
from jaxgan.typing import Array, PyTree


class Run:
    """What a run writes while it trains. Of several processes the first writes; all save checkpoints together.

    >>> with Run("runs/digits", config, about) as run:  # doctest: +SKIP
    ...     run.row(100, {"generator_loss": 0.9}, images_per_second=1e4)
    ...     run.save(100, {"state": state})
    """

    def __init__(
        self,
        directory: Path,
        config: Config,
        about: dict[str, Any],
        start: int = 0,
        tensorboard: bool = False,
        quiet: bool = False,
    ):
        """Opens a directory that `make` made.

        Args:
          directory: the run's.
          config: of the run.
          about: what its checkpoints say: see `Checkpoints.save`.
          start: the step that it goes on from. What was written of later ones is dropped or, if that are checkpoints
            that cannot be used, set aside.
          tensorboard: see `RunLog`.
          quiet: see `RunLog`.
        """
        self._directory, self._about = directory, about
        self._log = None
        if processes.first():
            self._lock = lock(directory)
            self._log = RunLog(directory, config.steps, start, tensorboard, quiet)
            for step in _later(directory / "checkpoints", start):
                set_aside(directory / "checkpoints", step)
        processes.wait("opened the run")
        self._checkpoints = Checkpoints(directory / "checkpoints", config.keep)

    def __enter__(self) -> "Run":
        if self._log:
            self._log.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.ExitStack() as stack:  # each is closed, whatever goes wrong with another
            if self._log:
                stack.callback(self._lock.close)
                stack.callback(self._log.__exit__, *error)
            stack.callback(self._checkpoints.__exit__, *error)

    def advance(self, step: int) -> None:
        """Moves the progress bar.

        Raises:
          RunError: if a checkpoint that was being saved could not be written.
        """
        self._checkpoints.check()
        if self._log:
            self._log.advance(step)

    def row(self, step: int, metrics: dict[str, float], images_per_second: float) -> None:
        """Logs the means of the metrics since the last row."""
        if self._log:
            self._log.row(step, metrics, images_per_second)

    def event(self, step: int, kind: str, text: str) -> None:
        """Says, and keeps in events.jsonl, that something happened which is not usual."""
        if self._log:
            self._log.event(step, kind, text)

    def picture(self, name: str, images: Array, across: int | None = None) -> None:
        """Writes samples/NAME.png, with so many images in a row."""
        if self._log:
            pictures.save(images, self._directory / f"samples/{name}.png", across)

    def evaluation(
        self, step: int, values: dict[str, float], neighbours: np.ndarray | None, best: Callable[[dict], float] | None
    ) -> None:
        """Writes a row of evaluations.jsonl, and neighbours/STEP.png if there is such a picture."""
        if self._log:
            self._log.evaluation(step, values, best)
            if neighbours is not None:
                pictures.save_table(neighbours, self._directory / f"neighbours/{step:06d}.png")

    def save(self, step: int, items: dict[str, PyTree], score: float | None = None) -> None:
        """Saves a checkpoint, in the background; the one of the highest score is kept."""
        self._checkpoints.save(step, items, self._about, score)

    def back(self, like: dict[str, PyTree]) -> tuple[int, dict[str, PyTree]] | None:
        """The newest good checkpoint, and its step, from which the run goes on; None if there is none yet."""
        self._checkpoints.wait()
        step = self._checkpoints.newest()
        if self._log:
            self._log.back(step or 0)
        return None if step is None else (step, self._checkpoints.restore(like, step))


def check(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Says whether a directory can be used; touches nothing.

    Raises:
      InputError: if there is no run to resume, or the directory is taken.
    """
    is_run = (run / "config.json").is_file()
    for place in (run, *run.parents):
        if place.exists():
            if not place.is_dir():
                raise InputError(f"{run} cannot be made: {place} is a file. Choose another directory with --run.")
            break
    if resume:
        open_run(run)
    elif run.exists() and any(run.iterdir()):
        if not overwrite:
            raise InputError(
                f"{run} exists already. Go on with it by `jaxgan resume {run}`, choose another directory with "
                "--run, or replace it with --overwrite."
            )
        if not is_run:
            raise InputError(
                f"{run} has no config.json, so it is no run, and it will not be deleted. Choose another directory."
            )


def make(run: Path, config: Config, *, overwrite: bool) -> None:
    """Makes the directory of a run that `check` let pass.

    Raises:
      InputError: if it cannot be written, or another process trains in it.
    """
    if processes.first():
        try:
            if run.exists():
                lock(run).close()
                if overwrite:
                    shutil.rmtree(run)
            (run / "samples").mkdir(parents=True, exist_ok=True)
            configs.write(config, run / "config.json")
        except OSError as error:
            raise InputError(
                f"{run} cannot be written: {error.strerror}. Choose another directory with --run."
            ) from error
    processes.wait("made the run")


def open_run(run: str | Path) -> Config:
    """The configuration of a run; where config.json is lost, that of its newest good checkpoint.

    Raises:
      InputError: if the directory is no run, or its configuration cannot be read.
    """
    run = Path(run)
    if (run / "config.json").is_file():
        return configs.read(run / "config.json")
    if (run / "checkpoints").is_dir():
        with Checkpoints(run / "checkpoints") as checkpoints:
            if (step := checkpoints.newest()) is not None:
                return configs.from_data(checkpoints.about(step)["config"], f"The checkpoint {run}/checkpoints/{step}")
    raise InputError(f"{run} is no run: it has no config.json. `jaxgan train --run {run}` starts one there.")


def _later(directory: Path, start: int) -> list[int]:
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(name) for name in names if name.isdigit() and int(name) > start)


def lock(run: Path) -> TextIO:
    """Holds a run for this process until the file is closed, or the process dies.

    Raises:
      InputError: if another process trains in it.
    """
    file = (run / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise InputError(
            f"Another process trains in {run}. Wait for it, end it (Ctrl-C saves), or choose another directory."
        ) from error
    except OSError:  # a file system without locks
        pass
    return file
