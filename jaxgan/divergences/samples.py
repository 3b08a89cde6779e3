"""Wasserstein distances of samples: exact on the line, sliced elsewhere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgan.divergences.numerics import absolute, as_floats, check
from jaxgan.errors import InputError
from jaxgan.typing import Array, Key


def wasserstein_1d(
    x: ArrayLike,
    y: ArrayLike,
    p: float | Array = 1,
    *,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
) -> Array:
    """The Wasserstein-p distance of two distributions on the line, exact.

    On the line the best plan pairs equal quantiles: W_p^p is the integral over u in [0, 1] of
    abs(F^-1(u) - G^-1(u))^p, which sorting computes for any two sample counts.

    Args:
      x: [N] samples, or the atoms of a discrete distribution, in any order.
      y: [M] samples of the other distribution.
      p: the order, at least 1.
      x_weights: [N] nonnegative masses of the atoms, scaled to sum to 1; None for equal ones.
        Densities on a grid enter as density times quadrature weight.
      y_weights: [M] the same for y.

    Returns:
      [] the distance, in the units of x. Differentiable in samples and weights almost everywhere:
      not where samples tie, where the gradient is one of the one-sided ones, nor at distance 0,
      where it is 0.

    Raises:
      InputError: if the shapes do not fit, p < 1, or concrete weights are negative or all 0.

    >>> float(wasserstein_1d([0.0, 1.0], [2.0, 3.0, 4.0]))
    2.5
    """
    x, y = as_floats(x, y)
    if x.ndim != 1 or y.ndim != 1 or not x.size or not y.size:
        raise InputError(
            f"wasserstein_1d() takes samples [N] and [M], not empty; got {x.shape} and {y.shape}. "
            "Use jax.vmap for batches and sliced_wasserstein() for vectors."
        )
    check(p, lambda p: np.all(p >= 1), lambda: f"The order p is {p}; a distance needs p >= 1.")
    if x.size == y.size and x_weights is None and y_weights is None:
        cost = jnp.mean(_power(jnp.sort(x) - jnp.sort(y), p))
    else:
        x, x_levels = _quantiles("x", x, x_weights)
        y, y_levels = _quantiles("y", y, y_weights)
        levels = jnp.concatenate([x_levels, y_levels])
        order = jnp.argsort(levels)
        # Between two neighbouring levels both quantile functions are constant. Each takes the atom
        # whose level comes next: its index counts the levels passed, and rounding may pass them all.
        width = jnp.diff(levels[order], prepend=0)
        from_x = (order < x.size).astype(int)
        i, j = jnp.cumsum(from_x) - from_x, jnp.cumsum(1 - from_x) - (1 - from_x)
        gap = x[jnp.minimum(i, x.size - 1)] - y[jnp.minimum(j, y.size - 1)]
        cost = jnp.sum(width * _power(gap, p))
    return _root(cost, p)


def sliced_wasserstein(key: Key, x: ArrayLike, y: ArrayLike, *, p: float | Array = 2, projections: int = 128) -> Array:
    """The sliced Wasserstein-p distance: the p-mean of the exact distances along random directions.

    Bonneel et al. 2015. It never exceeds the Wasserstein-p distance; two samples that differ by a
    shift s in D dimensions are abs(s) / sqrt(D) apart for p = 2, on average over the directions.

    Args:
      key: a typed key for the directions. One key gives two calls the same directions.
      x: [N, D] samples.
      y: [M, D] samples of the other distribution.
      p: the order, at least 1.
      projections: the number of directions; the standard error falls with its square root.

    Returns:
      [] the distance, in the units of x; differentiable as `wasserstein_1d`.

    Raises:
      InputError: if the shapes do not fit, p < 1 or projections < 1.

    >>> x = jax.random.normal(jax.random.key(0), (100, 2))
    >>> bool(sliced_wasserstein(jax.random.key(1), x, x + 3.0) > 2)
    True
    """
    x, y = as_floats(x, y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not x.size or not y.size:
        raise InputError(
            "sliced_wasserstein() takes samples [N, D] and [M, D], not empty; got "
            f"{x.shape} and {y.shape}. Flatten images to vectors."
        )
    if projections < 1:
        raise InputError(f"projections is {projections}; at least 1 direction is needed.")
    directions = jax.random.normal(key, (x.shape[1], projections), x.dtype)
    directions /= jnp.linalg.norm(directions, axis=0)
    distance = functools.partial(wasserstein_1d, p=p)
    along = jax.vmap(distance, in_axes=1)(x @ directions, y @ directions)
    return _root(jnp.mean(_power(along, p)), p)


def _quantiles(name: str, atoms: Array, weights: ArrayLike | None) -> tuple[Array, Array]:
    """The sorted atoms and the levels [N] up to which the quantile function takes each of them."""
    n = atoms.size
    if weights is None:
        return jnp.sort(atoms), jnp.arange(1, n + 1, dtype=atoms.dtype) / n
    (mass,) = as_floats(weights)
    if mass.shape != atoms.shape:
        raise InputError(f"{name}_weights must be {atoms.shape} as {name} is; got {mass.shape}.")
    check(
        mass,
        lambda m: np.all(m >= 0) and np.sum(m) > 0,
        lambda: f"{name}_weights must be at least 0 and not all 0; got {mass}.",
    )
    order = jnp.argsort(atoms)
    levels = jnp.cumsum(mass[order].astype(atoms.dtype))
    return atoms[order], levels / levels[-1]


def _power(gap: Array, p: float | Array) -> Array:
    return absolute(gap) ** p


def _root(cost: Array, p: float | Array) -> Array:
    """cost^(1/p) with a gradient of 0 at 0."""
    positive = cost > 0
    return jnp.where(positive, jnp.where(positive, cost, 1) ** (1 / p), 0)
