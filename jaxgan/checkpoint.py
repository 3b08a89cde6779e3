"""Checkpoints: Orbax underneath, saved in the background, verified before they are used."""

import asyncio
import contextlib
import importlib.metadata
import math
import os
import platform
import re
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers
from orbax.checkpoint.path import atomicity

from jaxgan import integrity, processes, tuning
from jaxgan.errors import InputError, RunError, RunWarning
from jaxgan.typing import PyTree

_PACKAGES = ("jaxgan", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
# What Orbax calls a checkpoint that it has not finished.
_UNFINISHED = ".orbax-checkpoint-tmp"


class _Kept(managers.PreservationPolicy):
    """Which checkpoints stay: the newest, and the one of the highest score."""

    def __init__(self, newest: int | None, scores: dict[int, float]):
        self._newest, self._scores = newest, scores

    def should_preserve(self, checkpoints: Sequence[Any], *, context: managers.PreservationContext) -> Sequence[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        stay = kept(steps, self._newest, self._scores)
        return [step in stay for step in steps]


class _Sealed(atomicity.AtomicRenameTemporaryPath):
    """How a checkpoint gets its name: it counts as one once its files' digests lie in it as well."""

    async def finalize(self) -> None:
        await super().finalize()
        path = Path(self.get_final())
        if path.name.isdigit():  # a step, not one of its items
            await asyncio.to_thread(integrity.seal, path)


class Checkpoints:
    """The checkpoints of one run, by step.

    A checkpoint holds named pytrees, the shape, dtype and digest of each leaf, what the run says about itself (its
    settings, its data), the versions that made it, and the digest of every file. One that was not finished, whenever
    the process died, is never taken for a checkpoint.

    >>> with Checkpoints("runs/digits/checkpoints", keep=3) as checkpoints:  # doctest: +SKIP
    ...     checkpoints.save(500, {"state": state}, {"settings": settings})
    ...     checkpoints.wait()
    ...     state = checkpoints.restore({"state": jax.eval_shape(gan.init, key)}, checkpoints.newest())["state"]
    """

    def __init__(self, directory: str | Path, keep: int | None = None):
        """Opens a directory of checkpoints.

        Args:
          directory: where they are; made if it is written to.
          keep: how many to keep; the oldest are deleted, but for the one of the highest score. Unfinished ones that a
            crash left are deleted at once. None: nothing is written or deleted.
        """
        # Orbax fails on a relative path, and only later, in its own thread.
        self.directory = Path(directory).absolute()
        self._saving: int | None = None
        self._scores: dict[int, float] = {}
        if keep is None and not self.directory.is_dir():
            raise InputError(f"There are no checkpoints: {self.directory} is no directory.")
        options = ocp.CheckpointManagerOptions(
            create=keep is not None,
            cleanup_tmp_directories=keep is not None,
            temporary_path_class=_Sealed,
            preservation_policy=_Kept(keep, self._scores),
        )
        self._manager = _open(self.directory, options)
        if keep is not None:
            self._scores |= {step: score for step in self.steps() if (score := self.score(step)) is not None}

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        with self._written():
            self._manager.close()  # waits for what is being written, and raises what went wrong

    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, the oldest first."""
        return sorted(self._manager.all_steps())

    def faults(self, step: int) -> list[str]:
        """What is wrong with the files of a checkpoint, a line each: see `integrity.faults`."""
        return integrity.faults(self.directory / str(step))

    def newest(self, step: int | None = None) -> int | None:
        """The newest checkpoint whose files are what was written; warns of newer ones, and what is wrong with them.

        Args:
          step: this one and no other.

        Returns:
          The step, None if there is no checkpoint at all.

        Raises:
          InputError: if there are checkpoints, but not of that step, or none is good.
        """
        steps = self.steps()
        if step is None and not steps:
            return None
        if step is not None and step not in steps:
            have = f"steps {', '.join(map(str, steps))}" if steps else "none at all"
            raise InputError(f"{self.directory} holds no checkpoint of step {step}; it holds {have}.")
        found, faulty = self._good(step) if processes.first() else (None, {})
        # One process looks, so that all go on from the same step.
        found = int(processes.agree_on_first(-1 if found is None else found))
        report = "\n".join(f"  step {each}: {_shortened(wrong)}" for each, wrong in faulty.items())
        if found < 0:
            raise InputError(
                f"No {'checkpoint' if step is None else 'such checkpoint'} in {self.directory} is as it was written:\n"
                f"{report}\nTake one from a backup, another with --step, or train again."
            )
        if faulty:
            warnings.warn(
                f"Checkpoints in {self.directory} are no longer as they were written:\n{report}\n"
                f"The last good one is used, of step {found}.",
                RunWarning,
                stacklevel=2,
            )
        return found

    def _good(self, step: int | None) -> tuple[int | None, dict[int, list[str]]]:
        """The newest step whose files are what was written, or that one, and what is wrong with newer ones."""
        steps = self.steps() if step is None else [step]
        faulty: dict[int, list[str]] = {}
        for each in reversed(steps):
            if not (wrong := self.faults(each)):
                return each, faulty
            if step is not None or (self.directory / str(each)).exists():
                faulty[each] = wrong
        if faulty or not steps:
            return None, faulty
        # A run that trains here has deleted all of them meanwhile, and has newer ones.
        self._manager.reload()
        return self._good(step)

    def save(self, step: int, items: dict[str, PyTree], about: dict[str, Any], score: float | None = None) -> None:
        """Saves in the background; training may go on and donate what is saved.

        Args:
          step: under which to save. A step that is saved already is not saved again.
          items: what to save, by name.
          about: JSON data; its "settings" are what a later `restore` must agree with.
          score: how good it is, if that was evaluated: more is better.

        Raises:
          RunError: if a leaf is not finite, which is not saved, or this or the save before it could not be written.
        """
        if step in self.steps():
            return
        # The next step reuses the buffers of a donated state while Orbax still writes: it gets buffers of its own.
        # NumPy's stay what they are: of several processes, JAX would take them for arrays of this one alone.
        copies = jax.tree.map(lambda leaf: jnp.copy(leaf) if isinstance(leaf, jax.Array) else leaf.copy(), items)
        hosted = integrity.on_host(copies)
        if bad := integrity.not_finite(hosted):
            raise RunError(
                f"Step {step} was not saved: {', '.join(bad[:5])} is not finite. Older checkpoints are good."
            )
        about = {
            **about,
            "leaves": {name: leaves(tree) for name, tree in items.items()},
            "digests": {name: integrity.digests(tree) for name, tree in hosted.items()},
            "versions": versions(),
        }
        args = {name: ocp.args.StandardSave(tree) for name, tree in copies.items()}
        self.wait()
        if score is not None and not math.isnan(score):  # what is no number must not win
            self._scores[step] = about["score"] = score
        with self._written(step):
            self._manager.save(step, args=ocp.args.Composite(about=ocp.args.JsonSave(about), **args))

    def check(self) -> None:
        """Raises RunError if a save that was begun has failed meanwhile."""
        with self._written():
            self._manager.check_for_errors()

    def wait(self) -> None:
        """Waits until what is being saved is on the disk.

        Raises:
          RunError: if it could not be written.
        """
        with self._written():
            self._manager.wait_until_finished()

    def restore(self, like: dict[str, PyTree], step: int, settings: dict[str, Any] | None = None) -> dict[str, PyTree]:
        """Restores what was saved, and checks that every leaf has the bits that it was saved with.

        Args:
          like: the structure of what is wanted, by name, as ``jax.eval_shape`` gives it.
          step: which checkpoint, as `newest` gives it.
          settings: what the checkpoint's settings must equal; None does not compare them.

        Raises:
          InputError: if it belongs to other settings or to another structure: every setting, version and leaf that
            differs is named. If a leaf is not what was saved.
        """
        about = self.about(step)
        changed = [] if settings is None else differences(about["settings"], settings)
        for name, tree in like.items():
            changed += differences(about["leaves"].get(name, {}), leaves(tree))
        if changed:
            changed += differences(about["versions"], versions())
            raise InputError(
                f"The checkpoint of step {step} in {self.directory} was made by another configuration "
                "(checkpoint -> now):\n  " + "\n  ".join(changed) + "\n"
                "Use the configuration that it was made with, or start a new run."
            )
        args = {name: ocp.args.StandardRestore(tree) for name, tree in like.items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**args))
        for name in like:
            now = integrity.digests(restored[name])
            if wrong := [path for path, digest in about["digests"][name].items() if now[path] != digest]:
                raise InputError(
                    f"The checkpoint of step {step} in {self.directory} does not restore to what was saved: "
                    f"{_shortened(wrong)} of {name}. Take another with --step, or delete this one."
                )
        return {name: restored[name] for name in like}

    def about(self, step: int) -> dict[str, Any]:
        """What a checkpoint says about itself: what `save` was given, "leaves", "digests" and "versions"."""
        return self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]

    def score(self, step: int) -> float | None:
        """The score that a checkpoint was saved with; None if it has none, or cannot be read."""
        try:
            return self.about(step).get("score")
        except (OSError, ValueError, KeyError, AttributeError):
            return None

    def delete(self, step: int) -> None:
        """Deletes a checkpoint."""
        self._manager.delete(step)

    @contextlib.contextmanager
    def _written(self, step: int | None = None) -> Iterator[None]:
        """What goes wrong while a checkpoint is written, in words; what was begun of it is deleted."""
        self._saving = step if step is not None else self._saving
        try:
            yield
        except Exception as error:
            # Where one item has failed Orbax still writes the others, and would make the directory anew.
            for thread in threading.enumerate():
                if type(thread).__module__.startswith("orbax"):
                    threading.Thread.join(thread, 60)  # theirs raises what went wrong, once more
            _clear(self.directory)
            have = ", ".join(map(str, (each for each in self.steps() if each != self._saving))) or "none"
            raise RunError(
                f"The checkpoint of step {self._saving} could not be written to {self.directory}: "
                f"{_reason(error)}. Older ones are there as they were (steps: {have}). Mend that and go on with "
                "`jaxgan resume`."
            ) from error


def _open(directory: Path, options: ocp.CheckpointManagerOptions, tries: int = 10) -> ocp.CheckpointManager:
    """Opens a directory in which a run may be training, and deleting checkpoints while they are listed."""
    for _ in range(tries - 1):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # Orbax asks twice what a path is
            return ocp.CheckpointManager(directory, options=options)
    return ocp.CheckpointManager(directory, options=options)


def kept(steps: Sequence[int], newest: int | None, scores: Mapping[int, float]) -> set[int]:
    """The newest so many of the steps, None: all, and the one of the highest score; the oldest step comes first."""
    best = [max(scored, key=scores.__getitem__)] if (scored := [step for step in steps if step in scores]) else []
    return {*(steps if newest is None else steps[-newest:]), *best}


def unfinished(directory: Path) -> list[Path]:
    """What is left of checkpoints that were never finished."""
    return sorted(directory.glob(f"*{_UNFINISHED}*"))


def _clear(directory: Path, seconds: float = 10.0) -> None:
    """Deletes what was never finished, until nothing more appears: writers that nobody can join may still be at it."""
    end, calm = time.monotonic() + seconds, 0
    while calm < 3 and time.monotonic() < end:
        begun = unfinished(directory)
        for path in begun:
            shutil.rmtree(path, ignore_errors=True)
        calm = 0 if begun else calm + 1
        time.sleep(0.1)


def set_aside(directory: Path, step: int) -> Path:
    """Moves a checkpoint out of the way of one that will be saved under the same step; returns where it is now."""
    place = directory.with_name("faulty") / str(step)
    if place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(exist_ok=True)
    return (directory / str(step)).rename(place)


def versions() -> dict[str, str]:
    """What a result may depend on beside the configuration: packages, Python, the device, on CPUs the threads."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    device = jax.devices()[0]
    found |= {"python": platform.python_version(), "device": device.device_kind}
    return found | ({"threads (NPROC)": str(tuning.threads())} if device.platform == "cpu" else {})


def leaves(state: PyTree) -> dict[str, str]:
    """Shape and dtype of every leaf by its path: ``{".params['generator']['bias']": "float32[1]"}``."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two dicts, a line each: ``g_lr: 0.0002 -> 0.001``."""
    missing = "nothing"
    return [
        f"{name}: {old.get(name, missing)} -> {new.get(name, missing)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, missing) != new.get(name, missing)
    ]


def _shortened(lines: list[str], most: int = 3) -> str:
    return "; ".join(lines[:most]) + (f"; and {len(lines) - most} more" if len(lines) > most else "")


def _reason(error: BaseException) -> str:
    """The words of the operating system, if they are among what Orbax and its libraries say."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())
    code = re.search(r"os_error_code='(\d+)'", text)  # TensorStore's spelling
    return os.strerror(int(code[1])) if code else text[:300] or type(error).__name__
