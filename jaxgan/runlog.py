"""What a run says while it trains: a progress bar, metrics.jsonl, TensorBoard."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rich.console
import rich.progress

from jaxgan.errors import InputError


class RunLog:
    """Writes rows of metrics to ``metrics.jsonl``, to the terminal and, if asked, to TensorBoard.

    >>> with RunLog("runs/digits", steps=5000, start=0) as log:  # doctest: +SKIP
    ...     log.row(100, {"generator_loss": 0.9}, images_per_second=1e4)
    """

    def __init__(self, run: str | Path, steps: int, start: int, tensorboard: bool = False, quiet: bool = False):
        """Opens the log; rows after step ``start``, which a resumed run writes again, are dropped."""
        run = Path(run)
        self._path = run / "metrics.jsonl"
        kept = [row for row in read(self._path) if row["step"] <= start] if start else []
        self._seconds = kept[-1]["seconds"] if kept else 0.0
        self._began = time.monotonic()
        partial = self._path.with_suffix(".part")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
        partial.replace(self._path)
        self._file = self._path.open("a")
        self._board = _tensorboard(run) if tensorboard else None
        self._console = rich.console.Console(quiet=quiet)
        self._live = self._console.is_terminal and not quiet
        self._bar = rich.progress.Progress(
            rich.progress.BarColumn(bar_width=None),
            rich.progress.TextColumn("step {task.completed}/{task.total}"),
            rich.progress.TextColumn("{task.fields[speed]}"),
            rich.progress.TimeRemainingColumn(),
            rich.progress.TextColumn("{task.fields[losses]}"),
            console=self._console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=steps, completed=start, speed="compiling", losses="")

    def __enter__(self) -> "RunLog":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        self._file.close()
        if self._board is not None:
            self._board.close()

    def advance(self, step: int) -> None:
        """Moves the progress bar."""
        self._bar.update(self._task, completed=step)

    def row(self, step: int, metrics: Mapping[str, float], images_per_second: float) -> None:
        """Writes one row: the means of the metrics since the last one."""
        row: dict[str, Any] = {
            "step": step,
            "seconds": round(self._seconds + time.monotonic() - self._began, 3),
            "images_per_second": round(images_per_second, 1),
            **metrics,
        }
        # NaN is no JSON: a loss that is not finite is written as a string, so that it can be seen.
        row = {k: str(v) if isinstance(v, float) and v - v != 0 else v for k, v in row.items()}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)
        speed, losses = f"{images_per_second:,.0f} images/s", _summary(metrics)
        self._bar.update(self._task, completed=step, speed=speed, losses=losses)
        if not self._live:
            total = self._bar.tasks[0].total
            self._console.print(f"step {step}/{total:.0f}  {speed}  {losses}", highlight=False)


def read(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that was cut off, as a crash leaves it, is left out."""
    path = Path(path)
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _summary(metrics: Mapping[str, float]) -> str:
    short = {
        "discriminator_loss": "D {:.3f}",
        "generator_loss": "G {:.3f}",
        "real_accuracy": "real {:.0%}",
        "fake_accuracy": "fake {:.0%}",
    }
    return "  ".join(form.format(metrics[name]) for name, form in short.items() if name in metrics)


def check_tensorboard() -> None:
    """Raises InputError where TensorBoard logs cannot be written, because the extra is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise InputError(
            "TensorBoard logs need an extra package: pip install 'jaxgan[tensorboard]', or leave --tensorboard out."
        ) from error


def _tensorboard(run: Path):
    from tensorboardX import SummaryWriter  # an extra

    return SummaryWriter(str(run / "tensorboard"))
