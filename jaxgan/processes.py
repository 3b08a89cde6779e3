"""Several processes, on one host or many, as one run: JAX's own runtime, and what the trainer must agree on."""

import json
import socket
import time
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxgan.errors import InputError

# Seconds until a process that cannot be reached, or that has died, is an error.
TIMEOUT = 40


def connect(coordinator: str | None = None, processes: int | None = None, process_id: int | None = None) -> None:
    """Joins this process with the others of the run. Must come before anything else asks JAX for devices.

    Args:
      coordinator: "host:port" of process 0. Without it JAX finds the others by itself where the cluster tells it
        (SLURM, Open MPI, Kubernetes, TPU pods); elsewhere nothing happens, and this process is the only one.
      processes: how many there are in all; 1 alone says that there are no others, whatever the cluster says.
      process_id: of this one, from 0.

    Raises:
      InputError: if only some of the three are given, or the coordinator is not reached within `TIMEOUT` seconds.
    """
    if processes == 1 and coordinator is None:
        return
    given = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    if missing := [name for name, value in given.items() if value is None]:
        if len(missing) < len(given):
            raise InputError(
                f"Several processes need {', '.join(given)} together; {', '.join(missing)} is missing. "
                "On SLURM, Kubernetes and TPU pods leave all three out."
            )
        try:
            jax.distributed.initialize(initialization_timeout=TIMEOUT, heartbeat_timeout_seconds=TIMEOUT)
        except ValueError:  # no cluster says where the others are: there are none
            pass
        except RuntimeError as error:
            if "before any JAX" in str(error):  # JAX runs in this process already, and alone: a notebook, a test
                return
            raise InputError(
                f"The processes of this cluster's job did not find each other: {str(error).splitlines()[0]}. Give "
                "--coordinator, --processes and --process-id, or --processes 1 to train in this process alone."
            ) from error
        return
    assert coordinator is not None and processes is not None and process_id is not None
    if not 0 <= process_id < processes:
        raise InputError(f"--process-id is {process_id}; with {processes} processes it is 0 to {processes - 1}.")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"--coordinator is {coordinator!r}; it must be host:port, for example 10.0.0.1:1234.")
    if process_id != 0:
        _reach(host.strip("[]"), int(port))  # JAX would abort the whole process
    try:
        jax.distributed.initialize(
            coordinator, processes, process_id, initialization_timeout=TIMEOUT, heartbeat_timeout_seconds=TIMEOUT
        )
    except RuntimeError as error:
        raise InputError(
            f"The {processes} processes did not find each other at {coordinator} within {TIMEOUT} s. Start all of "
            f"them, with the same --coordinator and --processes, and ids from 0. ({str(error).splitlines()[0]})"
        ) from error


def _reach(host: str, port: int) -> None:
    """Waits until something listens there."""
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            with socket.create_connection((host, port), timeout=5):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"The coordinator {host}:{port} was not reached within {TIMEOUT} s: {error}. Is process 0 running "
                    "there, and is the port open?"
                ) from error
            time.sleep(0.5)


def first() -> bool:
    """Whether this process writes logs and pictures."""
    return jax.process_index() == 0


def agree(values: np.ndarray) -> np.ndarray:
    """The values of every process, [processes, ...]; all of them must call it."""
    return values[None] if jax.process_count() == 1 else np.asarray(multihost_utils.process_allgather(values))


def agree_on_first(value: int) -> int:
    """The value of process 0, on every process; all of them must call it."""
    return int(agree(np.asarray(value))[0])


def check_same(settings: dict[str, Any]) -> None:
    """Raises InputError, on every process, if the processes were not started with the same settings.

    Args:
      settings: JSON data.
    """
    if jax.process_count() == 1:
        return
    ours, *others = map(json.loads, _texts(json.dumps(settings)))
    changed = [
        f"{name}: {ours.get(name)!r} on process 0, {other.get(name)!r} on process {i}"
        for i, other in enumerate(others, 1)
        for name in sorted(ours.keys() | other.keys())
        if ours.get(name) != other.get(name)
    ]
    if changed:
        raise InputError("The processes of one run must have the same configuration:\n  " + "\n  ".join(changed))


def same_text(text: str) -> str:
    """The text of process 0, on every process."""
    return _texts(text)[0]


def _texts(text: str) -> list[str]:
    encoded = np.frombuffer(text.encode(), np.uint8)
    length = int(agree(np.array(len(encoded))).max())
    rows = agree(np.pad(encoded, (0, length - len(encoded))))
    return [bytes(row).rstrip(b"\0").decode() for row in rows]


def wait(name: str) -> None:
    """Waits until every process has come to the same place."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
