"""An objective as a configuration names it."""

import inspect
from typing import Any

import jax

from jaxgan import objectives
from jaxgan.errors import InputError, choose


def make_objective(name: str, clip: float | None, penalty: float | None, axis_name: str | None) -> objectives.Objective:
    """The objective of that name, with the bound of its weights and the weight of its penalty if they are given.

    Raises:
      InputError: if there is no such objective, or it has no such bound or penalty.
    """
    allowed = inspect.signature(choose("objective", name, objectives.OBJECTIVES)).parameters
    options: dict[str, Any] = {"axis_name": axis_name} if "axis_name" in allowed else {}
    if clip is not None:
        if "clip" not in allowed:
            raise InputError(
                f"clip is {clip}, but the objective {name!r} clips no weights. "
                "Set it to None, or take the objective wasserstein."
            )
        options["clip"] = clip
    if penalty is not None:
        weights = [option for option in ("weight", "gamma") if option in allowed]
        if not weights:
            raise InputError(
                f"penalty is {penalty}, but the objective {name!r} has no gradient penalty. "
                "Set it to None (--penalty None), or take one that has: wgan_gp, dragan, gan_r1, r3gan."
            )
        options[weights[0]] = penalty
    return objectives.objective(name, **options)


def check_decays(**decays: float) -> None:
    """Raises InputError if Adam cannot decay its averages so; those of a sweep were checked one by one before."""
    for name, value in decays.items():
        if not isinstance(value, jax.Array) and not 0 <= value < 1:
            raise InputError(f"{name} is {value}; Adam's decay is at least 0 and below 1.")
