"""``jaxgan modes``: methods compared by the modes that they find."""

import dataclasses
import datetime
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from jaxgan.errors import InputError
from jaxgan.files import replace

# Each is a member of one program.
_MOST_SEEDS = 1000


def command(
    benchmark: tyro.conf.Positional[str],
    methods: str | None = None,
    seeds: int = 10,
    first_seed: int = 0,
    steps: int | None = None,
    out: Path | None = None,
) -> None:
    """Train several methods on a mixture of Gaussians, each with many seeds as one program, and count modes.

    A sample is of high quality within three standard deviations of a mode, which it then covers; the reverse KL is that
    of the nearest modes. 2,500 samples are looked at, as in PacGAN.

    Args:
        benchmark: ring, 8 Gaussians, or grid, 25.
        methods: Names with commas between them; by default all.
        seeds: How many.
        first_seed: They are counted from this one.
        steps: Generator updates, over which learning rates fall to 0; by default the benchmark's.
        out: JSON file of the numbers by seed, and of each method's configuration.
    """
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from jaxgan import pictures
    from jaxgan.metrics.coverage import Modes
    from jaxgan.modes import METHODS, SAMPLES, measure, method

    names = list(METHODS) if methods is None else [name.strip() for name in methods.split(",")]
    configs = {name: method(benchmark, name, steps) for name in names}
    if not 1 <= seeds <= _MOST_SEEDS:
        raise InputError(f"seeds is {seeds}; it must lie between 1 and {_MOST_SEEDS}.")
    for seed in (first_seed, first_seed + seeds - 1):
        dataclasses.replace(configs[names[0]], seed=seed)  # says what a seed may be
    if out is not None:
        pictures.check_out(out, ".json")
    console, numbers = Console(), range(first_seed, first_seed + seeds)
    measured: dict[str, Any] = {}
    table = Table(f"{benchmark}: mean ± deviation", "modes", f"all, of {seeds} seeds", "high quality", "reverse KL")
    with Progress(transient=True, console=console) as bar:
        for name, config in configs.items():
            task = bar.add_task(name, total=config.steps)
            found = measure(config, numbers, progress=lambda done, task=task: bar.update(task, completed=done))
            columns = {field: [getattr(each, field) for each in found] for field in Modes._fields}
            complete = columns["covered"].count(config.load().classes)
            covered, good, divergence = map(_summary, columns.values())
            table.add_row(name, covered, str(complete), good, divergence)
            measured[name] = {**columns, "config": config.as_data()}
            if out is not None:  # now, so that a method that was measured is not lost with the next
                _write(out, {"benchmark": benchmark, "seeds": [*numbers], "samples": SAMPLES, "methods": measured})
    console.print(table)
    if out is not None:
        console.print(f"by seed: {out}", highlight=False)


def _summary(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3g}"
    return f"{mean} ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else mean


def _write(path: Path, found: dict[str, Any]) -> None:
    about = {"date": datetime.date.today().isoformat(), "jax": version("jax"), "jaxgan": version("jaxgan")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, lambda file: file.write((json.dumps(about | found, indent=1) + "\n").encode()))
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}. Name another file with --out.") from error
