"""Constraints and safeguards as optax gradient transformations.

Ascent needs none of its own: ``optax.scale(-1)`` in front of a descent optimiser maximises.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxgan.errors import InputError
from jaxgan.losses import widen
from jaxgan.nn.spectral import singular_vector, spectral_norm
from jaxgan.typing import Array, Params, PyTree


def project(projection: Callable[[Params], Params]) -> optax.GradientTransformation:
    """Projects the parameters after the update. Stands last in the chain.

    What ``optax.apply_updates`` then makes lies, element by element, between zero and the
    projection, and within rounding of the projection. A set that holds every shrunk version of its
    points (a box or a ball around zero, an orthant, a sparsity pattern) is therefore met exactly,
    in every dtype.

    Args:
      projection: maps parameters to the nearest allowed ones; those of ``optax.projections`` fit.

    Returns:
      A transformation that needs parameters; without them its update raises InputError.

    >>> tx = optax.chain(optax.sgd(0.1), project(optax.projections.projection_non_negative))
    """

    def update(updates, state, params=None):
        target = projection(_moved(params, updates))
        return jax.tree.map(_step_to, params, target, updates), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def clip_weights(clip: float | Array) -> optax.GradientTransformation:
    """Keeps every parameter in ``[-clip, clip]``, exactly (Arjovsky et al. 2017, algorithm 1).

    Stands last in the chain. ``optax.partition`` and ``optax.masked`` exempt parameters.

    Args:
      clip: the largest magnitude, positive; it may be traced. Where the parameters' dtype cannot
        hold it, the bound is the next number towards zero.

    Returns:
      A transformation that needs parameters; without them its update raises InputError.

    Raises:
      InputError: if ``clip`` is not positive.

    >>> tx = optax.chain(optax.rmsprop(5e-5), clip_weights(0.01))
    """
    _check_positive("clip", clip)

    def clip_leaf(p: Array) -> Array:
        bound = _round_down(clip, p.dtype)
        return jnp.clip(p, -bound, bound)

    return project(lambda params: jax.tree.map(clip_leaf, params))


class SpectralProjectionState(NamedTuple):
    """What `spectral_projection` remembers.

    Attributes:
      vectors: of each kernel the first right singular vector, f32[out]; nothing for other leaves.
    """

    vectors: PyTree


def spectral_projection(
    norm: float | Array = 1.0, *, iterations: int = 1, seed: int = 0
) -> optax.GradientTransformation:
    """Keeps the spectral norm of every kernel at or below a bound (Gouk et al. 2021).

    A kernel ``[..., fan in, out]`` is read as a matrix with ``out`` columns, as in
    `jaxgan.nn.spectral`. After the update one that is too large is divided by ``sigma / norm``,
    where sigma is estimated by power iteration from the vector that the last update found. Leaves
    with less than two axes pass. Stands last in the chain.

    Args:
      norm: the bound, positive; it may be traced.
      iterations: power iterations at each update, at least 1.
      seed: of the first vectors.

    Returns:
      A transformation that needs parameters; without them its update raises InputError.

    Raises:
      InputError: if the norm or the iterations are not positive.
    """
    _check_positive("norm", norm)
    _check_positive("iterations", iterations)

    def init(params: Params) -> SpectralProjectionState:
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(seed), len(leaves))
        starts = [
            jax.random.normal(key, p.shape[-1:]) if p.ndim > 1 else optax.MaskedNode()
            for key, p in zip(keys, leaves, strict=True)
        ]
        return SpectralProjectionState(structure.unflatten(starts))

    def update(updates, state, params=None):
        moved = _moved(params, updates)

        def iterate(p: Array, vector: Array) -> Array:
            return singular_vector(widen(p), vector, iterations) if p.ndim > 1 else vector

        def shrink(p: Array, vector: Array) -> Array:
            if p.ndim < 2:
                return p
            excess = spectral_norm(widen(p), vector) / norm
            return (widen(p) / jnp.maximum(1.0, excess)).astype(p.dtype)

        vectors = jax.tree.map(iterate, moved, state.vectors)
        target = jax.tree.map(shrink, moved, vectors)
        return jax.tree.map(_step_to, params, target, updates), SpectralProjectionState(vectors)

    return optax.GradientTransformation(init, update)


def orthogonal_regularization(weight: float | Array = 1e-4) -> optax.GradientTransformation:
    """Adds the gradient of ``weight * |W^T W * (1 - I)|_F^2`` (Brock et al. 2019, equation 3).

    It asks that the filters of a layer, the columns of its kernel ``[..., fan in, out]`` read as a
    matrix, be orthogonal, and leaves their lengths free. Leaves with less than two axes pass.
    Stands first in the chain, as ``optax.add_decayed_weights`` does for L2 regularisation.

    Args:
      weight: the paper's beta, not negative; it may be traced.

    Returns:
      A transformation that needs parameters; without them its update raises InputError.

    Raises:
      InputError: if the weight is negative.
    """
    if isinstance(weight, int | float) and not weight >= 0:
        raise InputError(f"weight is {weight}. It must not be negative; 0 switches the term off.")

    def add(update: Array, p: Array) -> Array:
        if p.ndim < 2:
            return update
        w = widen(p).reshape(-1, p.shape[-1])
        gram = w.T @ w
        gradient = 4.0 * weight * w @ (gram - jnp.diag(jnp.diag(gram)))
        return update + gradient.reshape(p.shape).astype(update.dtype)

    def apply(updates, params):
        if params is None:
            raise InputError(NO_PARAMS)
        return jax.tree.map(add, updates, params)

    return optax.stateless(apply)


class SkipNonfiniteState(NamedTuple):
    """The updates skipped so far, i32[], and the state of the optimiser inside."""

    skipped: Array
    inner_state: optax.OptState


def skip_nonfinite(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Skips updates that are not finite: parameters and optimiser state keep every bit.

    Skipped is an update of which a gradient, what the optimiser makes of it, or a state that was
    finite before would hold an infinity or a NaN (the square of a large gradient, say). Unlike
    ``optax.apply_if_finite`` it never gives in; ``state.skipped`` counts. Stands outermost; under
    ``pmap`` and ``shard_map`` gradients are averaged first, so that every device skips or none.

    Args:
      tx: the optimiser.

    Returns:
      The guarded optimiser.

    >>> tx = skip_nonfinite(optax.chain(optax.adam(2e-4), clip_weights(0.01)))
    """
    tx = optax.with_extra_args_support(tx)

    def init(params: Params) -> SkipNonfiniteState:
        return SkipNonfiniteState(jnp.zeros((), jnp.int32), tx.init(params))

    def update(updates, state, params=None, **extra_args):
        made, inner = tx.update(updates, state.inner_state, params, **extra_args)
        stays_finite = jax.tree.map(lambda new, old: _finite(new) | ~_finite(old), inner, state.inner_state)
        ok = jax.tree.reduce(
            jnp.logical_and,
            [jax.tree.map(_finite, (updates, made)), stays_finite],
            jnp.array(True),
        )
        # Adding -0.0 changes no number; adding 0.0 would turn -0.0 into 0.0.
        made = jax.tree.map(lambda u: jnp.where(ok, u, -jnp.zeros_like(u)), made)
        inner = jax.tree.map(lambda new, old: jnp.where(ok, new, old), inner, state.inner_state)
        return made, SkipNonfiniteState(state.skipped + ~ok, inner)

    return optax.GradientTransformationExtraArgs(init, update)


def lazy_adam(
    learning_rate: optax.ScalarOrSchedule,
    b1: float | Array = 0.0,
    b2: float | Array = 0.99,
    *,
    interval: int,
    eps: float | Array = 1e-8,
) -> optax.GradientTransformation:
    """Adam for a player that a lazy regulariser moves once more every ``interval`` steps.

    With ``c = interval / (interval + 1)`` the learning rate is ``c * learning_rate`` and the decays
    are ``b1 ** c`` and ``b2 ** c``, so that the extra updates change neither its pace nor its
    memory (Karras et al. 2020, appendix B). The regulariser's loss is multiplied by ``interval``.

    Args:
      learning_rate: of the player without lazy regularisation, a number or a schedule.
      b1: decay of the first moment, as above.
      b2: decay of the second moment, as above.
      interval: steps from one regularisation to the next, at least 1.
      eps: Adam's.

    Returns:
      The optimiser.

    Raises:
      InputError: if the interval is not positive.

    >>> tx = lazy_adam(2e-3, 0.0, 0.99, interval=16)  # Adam with 16 / 17 of the learning rate
    """
    _check_positive("interval", interval)
    c = interval / (interval + 1)
    if callable(learning_rate):
        return optax.adam(lambda count: c * learning_rate(count), b1**c, b2**c, eps)
    return optax.adam(c * learning_rate, b1**c, b2**c, eps)


NO_PARAMS = (
    "This gradient transformation needs the parameters and got None. Pass them to the optimiser: "
    "tx.update(grads, opt_state, params)."
)


def _moved(params: Params, updates: Params) -> Params:
    """The parameters after the update."""
    if params is None:
        raise InputError(NO_PARAMS)
    return optax.apply_updates(params, updates)


@jax.custom_jvp
def _step_to(p: Array, target: Array, update: Array) -> Array:
    """The update that takes p to the target, or to the last value before it, seen from zero."""
    dtype = jnp.result_type(p, update)
    p, target = widen(p), widen(target)

    def overshoots(u: Array) -> Array:
        return jnp.abs(p + widen(u)) > jnp.abs(target)

    # The difference rounds, so that p + (target - p) may pass the target by one step of the rounded
    # number. A mere cast to half precision XLA is free to skip, and then no overshoot would show.
    u = _rounded(target - p, dtype).astype(dtype)
    inward = jnp.where(target > 0, -jnp.inf, jnp.inf).astype(dtype)
    u = jnp.where(overshoots(u), jnp.nextafter(u, inward), u)
    # What remains lies among subnormal numbers, which XLA may flush: go to zero.
    return jnp.where(overshoots(u), -p.astype(dtype), u)


@_step_to.defjvp
def _step_to_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    # Beyond target - p there is nothing but rounding.
    step, (p, target, _) = _step_to(*primals), tangents
    return step, (target - p).astype(step.dtype)


def _round_down(bound: float | Array, dtype: Any) -> Array | np.ndarray:
    """The largest number of the dtype that is not above the bound, which is positive."""
    if isinstance(bound, int | float):
        rounded = np.asarray(bound).astype(dtype)
        below = np.nextafter(rounded, np.zeros_like(rounded))
        return below if float(rounded) > bound else rounded
    rounded = _rounded(bound, dtype)
    below = jnp.nextafter(rounded.astype(dtype), jnp.zeros((), dtype))
    return jnp.where(rounded > bound, below, rounded.astype(dtype))


def _rounded(x: Array, dtype: Any) -> Array:
    """``x`` in its own dtype, with the significant digits of another."""
    return jax.lax.reduce_precision(x, jnp.finfo(x.dtype).nexp, jnp.finfo(dtype).nmant)


def _finite(x: Array) -> Array:
    """bool[]: whether every element is finite; keys and counters are."""
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return jnp.array(True)
    return jnp.all(jnp.isfinite(x))


def _check_positive(name: str, value: float | Array) -> None:
    if isinstance(value, int | float) and not value > 0:
        raise InputError(f"{name} is {value}. It must be positive.")
