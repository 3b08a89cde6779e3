"""What a run says while it trains: a progress bar, metrics.jsonl, evaluations.jsonl, TensorBoard, early warnings."""

import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rich.console
import rich.progress

from jaxgan.alarms import evaluation_alarms, training_alarms
from jaxgan.errors import check_extra
from jaxgan.files import replace


class RunLog:
    """Writes rows of metrics to ``metrics.jsonl``, to the terminal and, if asked, to TensorBoard.

    >>> with RunLog("runs/digits", steps=5000, start=0) as log:  # doctest: +SKIP
    ...     log.row(100, {"generator_loss": 0.9}, images_per_second=1e4)
    """

    def __init__(self, run: str | Path, steps: int, start: int, tensorboard: bool = False, quiet: bool = False):
        """Opens the log; rows after step ``start``, which a resumed run writes again, are dropped."""
        run = Path(run)
        self._rows, self._evaluations, self._events = (
            _Table(run / f"{name}.jsonl", start) for name in ("metrics", "evaluations", "events")
        )
        self._seconds = self._rows.kept[-1]["seconds"] if self._rows.kept else 0.0
        self._began = time.monotonic()
        self._alarms: dict[str, dict[str, str]] = {}  # that are on, by what they come from
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
        for table in (self._rows, self._evaluations, self._events):
            if table.broken:
                self._warning(start, table.broken)

    def __enter__(self) -> "RunLog":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as stack:
            for table in (self._rows, self._evaluations, self._events, *([self._board] if self._board else [])):
                stack.callback(table.close)
            stack.callback(self._bar.stop)

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
        self._rows.add(row)
        self._draw(step, metrics)
        speed, losses = f"{images_per_second:,.0f} images/s", _summary(metrics)
        self._bar.update(self._task, completed=step, speed=speed, losses=losses)
        if not self._live:
            total = self._bar.tasks[0].total
            self._console.print(f"step {step}/{total:.0f}  {speed}  {losses}", highlight=False)
        self._warn(step, "training", training_alarms(self._rows.kept))

    def evaluation(
        self, step: int, values: Mapping[str, float], best: Callable[[dict[str, float]], float] | None
    ) -> None:
        """Writes the metrics of a step, and says whether they are the best so far: those that ``best`` puts highest."""
        is_best = best and best(dict(values)) > max(map(best, self._evaluations.kept), default=-math.inf)
        self._evaluations.add({"step": step, **values})
        self._draw(step, {f"evaluation/{name}": value for name, value in values.items()})
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        mark = "  (best so far)" if is_best else ""
        self._console.print(f"step {step}  {text}{mark}", highlight=False)
        self._warn(step, "evaluation", evaluation_alarms(self._evaluations.kept))

    def event(self, step: int, kind: str, text: str) -> None:
        """Says what happened that is not usual, and writes it to events.jsonl."""
        self._events.add({"step": step, "event": kind, "text": text})
        self._warning(step, text)

    def back(self, step: int) -> None:
        """The run goes on from an earlier step: the rows of later ones are dropped, their events stay."""
        self._rows.cut(step)
        self._evaluations.cut(step)
        self.advance(step)

    def _draw(self, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def _warn(self, step: int, origin: str, alarms: dict[str, str]) -> None:
        """Says what has become true since the last row; an alarm that goes off again is said again."""
        for name, message in alarms.items():
            if name not in self._alarms.get(origin, {}):
                self._warning(step, message)
        self._alarms[origin] = alarms

    def _warning(self, step: int, message: str) -> None:
        self._console.print(f"warning at step {step}: {message}", style="yellow", highlight=False, markup=False)


class _Table:
    """Rows of JSON in a file, which a resumed run goes on with.

    Attributes:
      kept: the rows.
      broken: what is wrong with the file as it was found, in words; empty if nothing is.
    """

    def __init__(self, path: Path, start: int):
        self._path, self._file = path, None
        self.kept, self.broken = [], ""
        if path.exists():
            self.kept, broken = parse(path)
            if broken:
                aside = path.with_name(path.name + ".broken")
                path.replace(aside)
                self.broken = f"{broken} of the lines of {path} are no rows and were left out; as it was it is {aside}."
            self.cut(start)

    def cut(self, step: int) -> None:
        """Drops the rows after a step, which will be written again."""
        self.close()
        self.kept = [row for row in self.kept if step and row["step"] <= step]
        text = "".join(json.dumps(spelt(row)) + "\n" for row in self.kept)
        replace(self._path, lambda file: file.write(text.encode()))

    def add(self, row: dict[str, Any]) -> None:
        self.kept.append(row)
        self._file = self._file or self._path.open("a")
        self._file.write(json.dumps(spelt(row)) + "\n")
        self._file.flush()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def spelt(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as JSON can have it: NaN is no JSON, so what is not finite becomes a string, and can still be seen."""
    return {k: str(v) if isinstance(v, float) and v - v != 0 else v for k, v in row.items()}


def read(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl, evaluations.jsonl or events.jsonl; none if there is no such file."""
    return parse(Path(path))[0] if Path(path).is_file() else []


def parse(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows of a table, and how many other lines it has. A last line that a crash cut off does not count as one."""
    *lines, last = path.read_bytes().split(b"\n")  # after the last newline comes nothing, or half a line
    rows = [row for line in [*lines, last] if (row := _row(line)) is not None]
    return rows, len(lines) - sum(_row(line) is not None for line in lines)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return None
    return {k: number(v) for k, v in row.items()}


def number(value: Any) -> Any:
    """Undoes `spelt`."""
    return float(value) if value in ("nan", "inf", "-inf") else value


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
    check_extra("tensorboardX", "tensorboard", "TensorBoard logs")


def _tensorboard(run: Path):
    from tensorboardX import SummaryWriter  # an extra

    return SummaryWriter(str(run / "tensorboard"))
