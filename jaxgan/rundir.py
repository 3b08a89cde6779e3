"""The directory of a run: config.json, metrics.jsonl, samples/*.png, checkpoints/; of evaluations more."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan import config as configs
from jaxgan import pictures, processes
from jaxgan.checkpoint import Checkpoints
from jaxgan.config import Config
from jaxgan.errors import InputError
from jaxgan.runlog import RunLog
from jaxgan.typing import Array, PyTree


class Run:
    """What a run writes while it trains. Of several processes the first writes; all save checkpoints together.

    >>> with Run("runs/digits", config, settings) as run:  # doctest: +SKIP
    ...     run.row(100, {"generator_loss": 0.9}, images_per_second=1e4)
    ...     run.save(100, {"state": state})
    """

    def __init__(
        self,
        directory: Path,
        config: Config,
        settings: dict[str, Any],
        start: int = 0,
        tensorboard: bool = False,
        quiet: bool = False,
    ):
        """Opens a directory that `make` made; see `RunLog` and `Checkpoints`."""
        self._directory, self._settings = directory, settings
        self._log = RunLog(directory, config.steps, start, tensorboard, quiet) if processes.first() else None
        self._checkpoints = Checkpoints(directory / "checkpoints", config.keep)

    def __enter__(self) -> "Run":
        if self._log:
            self._log.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._checkpoints.__exit__(*error)
        finally:
            if self._log:
                self._log.__exit__(*error)

    def advance(self, step: int) -> None:
        """Moves the progress bar."""
        if self._log:
            self._log.advance(step)

    def row(self, step: int, metrics: dict[str, float], images_per_second: float) -> None:
        """Logs the means of the metrics since the last row."""
        if self._log:
            self._log.row(step, metrics, images_per_second)

    def picture(self, name: str, images: Array, across: int | None = None) -> None:
        """Writes samples/NAME.png, with so many images in a row."""
        if self._log:
            pictures.save(images, self._directory / f"samples/{name}.png", across)

    def evaluation(
        self, step: int, values: dict[str, float], neighbours: np.ndarray | None, best: Callable[[dict], float]
    ) -> None:
        """Writes a row of evaluations.jsonl, and neighbours/STEP.png."""
        if self._log:
            self._log.evaluation(step, values, best)
            if neighbours is not None:
                pictures.save_table(neighbours, self._directory / f"neighbours/{step:06d}.png")

    def save(self, step: int, items: dict[str, PyTree], score: float | None = None) -> None:
        """Saves a checkpoint, in the background; the one of the highest score is kept."""
        self._checkpoints.save(step, items, self._settings, score)


def check(run: Path, *, resume: bool, overwrite: bool) -> None:
    """Says whether a directory can be used; touches nothing.

    Raises:
      InputError: if there is no run to resume, or the directory is taken.
    """
    is_run = (run / "config.json").is_file()
    if resume:
        if not is_run:
            raise InputError(f"{run} is no run: it has no config.json. Start one with `jaxgan train --run {run}`.")
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
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
      InputError: if it cannot be written.
    """
    if processes.first():
        try:
            if overwrite and run.exists():
                shutil.rmtree(run)
            (run / "samples").mkdir(parents=True, exist_ok=True)
            configs.write(config, run / "config.json")
        except OSError as error:
            raise InputError(
                f"{run} cannot be written: {error.strerror}. Choose another directory with --run."
            ) from error
    processes.wait("made the run")


def open_run(run: str | Path) -> Config:
    """The configuration of a run.

    Raises:
      InputError: if the directory is no run, or its configuration cannot be read.
    """
    run = Path(run)
    if not (run / "config.json").is_file():
        raise InputError(f"{run} is no run: it has no config.json. `jaxgan train --run {run}` starts one there.")
    return configs.read(run / "config.json")
