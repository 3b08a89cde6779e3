"""Writes what a benchmark measured, with the machine and the versions that it was measured on."""

import datetime
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import psutil


def write(name: str, measured: dict[str, Any]) -> None:
    """Prints the numbers and writes them to results/NAME.json beside this file."""
    device = jax.devices()[0]
    about = {
        "date": datetime.date.today().isoformat(),
        "device": device.device_kind,
        "devices": jax.device_count(),
        "cores": psutil.cpu_count(logical=False),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        **{package: version(package) for package in ("jax", "flax", "optax")},
    }
    text = json.dumps({"measured": measured, "on": about}, indent=2)
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text + "\n")
    print(text)
