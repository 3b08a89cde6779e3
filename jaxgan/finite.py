"""Steps that are not finite, found before they reach the state."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.state import TrainState
from jaxgan.typing import Array, Mean, Metrics, PyTree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Check:
    """What a step made, as far as it must be finite.

    Attributes:
      ok: bool[], whether all of it is.
      metrics: f32[] each.
      leaves: bool[] by path: whether that leaf of the state is finite.
      names: of the metrics, in the order in which the turns of the step reported them.
    """

    ok: Array
    metrics: tuple[Array, ...]
    leaves: dict[str, Array]
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})


# Of what cannot fail.
FINE = Check(np.array(True), (), {}, ())  # type: ignore  (on the host)


def check(after: TrainState, metrics: Metrics) -> Check:
    """Looks at what a step returned; inside ``jit``."""
    values = tuple(jnp.asarray(m.total if isinstance(m, Mean) else m, jnp.float32) for m in metrics.values())
    # An average of finite numbers is finite, and the averaged generator need not be read again.
    paths = jax.tree_util.tree_leaves_with_path(after.replace(average={}))
    leaves = {
        jax.tree_util.keystr(path): jnp.all(jnp.isfinite(leaf))
        for path, leaf in paths
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }
    ok = jnp.all(jnp.stack([*map(jnp.isfinite, values), *leaves.values()]))
    return Check(ok, values, leaves, tuple(metrics))


def keep(ok: Array, new: PyTree, old: PyTree) -> PyTree:
    """The new leaves where a step is ok, else the old ones, to the bit."""
    return jax.tree.map(lambda a, b: jnp.where(ok, a, b), new, old)


def bad_share(batch: PyTree) -> dict[str, Array]:
    """The share of examples that are not finite, by the path of the array; inside ``jit``."""

    def share(x: Array) -> Array:
        return jnp.mean(~jnp.all(jnp.isfinite(x), axis=tuple(range(1, x.ndim))), dtype=jnp.float32)

    paths = jax.tree_util.tree_leaves_with_path(batch)
    return {jax.tree_util.keystr(path): share(x) for path, x in paths if jnp.issubdtype(x.dtype, jnp.inexact)}


def origin(found: Check, bad: dict[str, Any]) -> str:
    """Where a step ceased to be finite, in words.

    Everything after the first place is a consequence of it: the data, a loss, that loss's gradient, in the order of the
    turns, or else the state, where an optimiser's own numbers overflow.

    Args:
      found: the check of the step, on the host.
      bad: what `bad_share` says of its batch.
    """
    if shares := [f"{name}: {float(share):.2%} of the examples" for name, share in bad.items() if share > 0]:
        return f"the data is not finite ({'; '.join(shares)})"
    values = dict(zip(found.names, map(float, found.metrics), strict=True))
    for name, value in values.items():
        gradient = values.get(f"gradient_norm/{name}")
        if gradient is None:
            continue
        if not np.isfinite(value):
            return f"{name} is {value}"
        if not np.isfinite(gradient):
            return f"the gradient of {name} has the norm {gradient}, while {name} itself is {value:.4g}"
    if names := [f"{name} is {value}" for name, value in values.items() if not np.isfinite(value)]:
        return names[0]
    leaves = [path for path, good in found.leaves.items() if not good]
    more = f" and {len(leaves) - 3} more" if len(leaves) > 3 else ""
    return f"losses and gradients are finite, but the update makes {', '.join(leaves[:3])}{more} infinite or NaN"
