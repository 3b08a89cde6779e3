"""Checkpoints: Orbax underneath, saved in the background, checked before they are used."""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as managers

from jaxgan.errors import InputError
from jaxgan.typing import PyTree


class Checkpoints:
    """The checkpoints of one run, by step.

    A checkpoint holds named pytrees, the shape and dtype of their leaves, and the settings that they depend on.

    >>> with Checkpoints("runs/digits/checkpoints") as checkpoints:  # doctest: +SKIP
    ...     checkpoints.save(500, {"state": state}, settings)
    ...     state = checkpoints.restore({"state": jax.eval_shape(gan.init, key)}, settings)["state"]
    """

    def __init__(self, directory: str | Path, keep: int = 3):
        """Opens a directory of checkpoints, or makes it.

        Args:
          directory: where they are.
          keep: how many to keep; the oldest are deleted, but for the one of the highest score.
        """
        # Orbax fails on a relative path, and only later, in its own thread.
        self._directory = Path(directory).absolute()
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=managers.AnyPreservationPolicy(
                    [
                        managers.LatestN(keep),
                        managers.BestN(
                            get_metric_fn=lambda metrics: metrics["score"], n=1, keep_checkpoints_without_metrics=False
                        ),
                    ]
                ),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()  # waits for what is being written, and raises what went wrong

    def latest(self) -> int | None:
        """The step of the newest checkpoint, None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, items: dict[str, PyTree], settings: dict[str, Any], score: float | None = None) -> None:
        """Saves in the background; training may go on and donate what is saved.

        Args:
          step: under which to save. A step that is saved already is not saved again.
          items: what to save, by name.
          settings: JSON data that a later `restore` must agree with.
          score: how good it is, if that was evaluated: more is better.
        """
        if step == self.latest():
            return
        about = {"settings": settings, "leaves": {name: leaves(tree) for name, tree in items.items()}}
        # The next step reuses the buffers of a donated state while Orbax still writes: it gets buffers of its own.
        copies = jax.tree.map(jnp.copy, items)
        args = {name: ocp.args.StandardSave(tree) for name, tree in copies.items()}
        # A score that is no number must not win.
        metrics = None if score is None or math.isnan(score) else {"score": score}
        self._manager.save(step, args=ocp.args.Composite(about=ocp.args.JsonSave(about), **args), metrics=metrics)

    def restore(
        self, like: dict[str, PyTree], settings: dict[str, Any] | None = None, step: int | None = None
    ) -> dict[str, PyTree]:
        """Restores what was saved.

        Args:
          like: the structure of what is wanted, by name, as ``jax.eval_shape`` gives it.
          settings: what the checkpoint's settings must equal; None does not compare them.
          step: which checkpoint, by default the newest.

        Raises:
          InputError: if there is no such checkpoint, or it belongs to other settings or to another structure: every
            setting and every leaf that differs is named.
        """
        step = self._find(step)
        about = self._about(step)
        changed = [] if settings is None else _differences(about["settings"], settings)
        for name, tree in like.items():
            changed += _differences(about["leaves"].get(name, {}), leaves(tree))
        if changed:
            raise InputError(
                f"The checkpoint of step {step} in {self._directory} was made by another configuration "
                "(checkpoint -> now):\n  " + "\n  ".join(changed) + "\n"
                "Use the configuration that it was made with, or start a new run."
            )
        args = {name: ocp.args.StandardRestore(tree) for name, tree in like.items()}
        restored = self._manager.restore(step, args=ocp.args.Composite(**args))
        return {name: restored[name] for name in like}

    def settings(self, step: int | None = None) -> dict[str, Any]:
        """The settings that a checkpoint, by default the newest, was saved with."""
        return self._about(self._find(step))["settings"]

    def _about(self, step: int) -> dict[str, Any]:
        return self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]

    def _find(self, step: int | None) -> int:
        steps = sorted(self._manager.all_steps())
        found = steps[-1] if step is None and steps else step
        if found is None or found not in steps:
            wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            have = f"steps {', '.join(map(str, steps))}" if steps else "none at all"
            raise InputError(f"{self._directory} holds {wanted}; it holds {have}.")
        return found


def leaves(state: PyTree) -> dict[str, str]:
    """Shape and dtype of every leaf by its path: ``{".params['generator']['bias']": "float32[1]"}``."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}[{', '.join(map(str, leaf.shape))}]"
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    missing = "nothing"
    return [
        f"{name}: {old.get(name, missing)} -> {new.get(name, missing)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, missing) != new.get(name, missing)
    ]
