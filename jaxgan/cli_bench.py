"""``jaxgan bench``: a preset's speed, printed and written down."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxgan.bench import bench, compare
from jaxgan.config import Config
from jaxgan.errors import InputError
from jaxgan.files import replace
from jaxgan.parallel import Engine


def run(
    config: Config, engine: Engine, seconds: float, trace: Path | None, out: Path | None, against: Path | None
) -> None:
    """Measures, prints, writes JSON, compares with what was written before."""
    then = None if against is None else _read(against)
    if out is not None and not out.absolute().parent.is_dir():
        raise InputError(f"{out} cannot be written: there is no directory {out.absolute().parent}.")
    found = bench(config, engine, seconds=seconds, trace=trace)
    _print(found["measured"], engine)
    if out is not None:
        text = json.dumps(found, indent=2) + "\n"
        replace(out, lambda file: file.write(text.encode()))
    if then is not None:
        for name, ratio in compare(found, then).items():
            print(f"{name}: {ratio:.3f} of {against} (above 1 is better)")


def _read(path: Path) -> dict[str, Any]:
    try:
        then = json.loads(path.read_text())
        compare(then, then)  # it has what is compared
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no measurement of `jaxgan bench --out`: {error}.") from error
    return then


def _waiting(measured: dict[str, Any]) -> str:
    share = measured["waiting_share"]
    return "not needed while steps were timed: raise --seconds" if share is None else f"{100 * share:.1f} % of the time"


def _bandwidth(measured: dict[str, Any]) -> str:
    most = f"{measured['bandwidth_gb_s']:.1f} GB/s"
    if measured["bandwidth_share"] is None:
        return f"unknown, of {most}: the step loops or branches"
    return f"{100 * measured['bandwidth_share']:.1f} % of {most} a device"


def _print(measured: dict[str, Any], engine: Engine) -> None:
    step = measured["step_ms"]
    rows = {
        "images/s": f"{measured['images_per_second']:,.1f}",
        "step": f"{step['median']:.3f} ms (10 %: {step['p10']:.3f}, 90 %: {step['p90']:.3f})",
        "compile": f"{measured['compile_seconds']:.1f} s",
        "waiting for data": _waiting(measured),
        "matrix work": f"{measured['gflops_per_step']:.3f} GFLOP a step",
        "share of matmul peak": f"{100 * measured['mfu']:.1f} % of {measured['matmul_tflops']:.3f} TFLOP/s a device",
        "share of memory bandwidth": _bandwidth(measured),
        "peak memory": f"{measured['peak_mib']:,} MiB",
        "devices": f"{engine.size}, {engine.name}",
    }
    table = Table(show_header=False)
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)
    if heaviest := measured.get("heaviest"):
        table = Table("share", "operation", "of")
        for each in heaviest:
            table.add_row(f"{100 * each['share']:.1f} %", each["operation"], each["of"])
        Console().print(table)
