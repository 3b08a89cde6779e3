"""Divergences of distributions with a name: Gaussians, Diracs, parallel lines."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import erf, ndtr
from jax.typing import ArrayLike

from jaxgan.divergences.densities import quadrature
from jaxgan.divergences.numerics import absolute, as_floats, check, sqrt
from jaxgan.errors import InputError
from jaxgan.typing import Array

# Beyond so many standard deviations the normal distribution function is 0 or 1 in float64.
FAR = 40.0


class Divergences(NamedTuple):
    """All the divergences of a pair of distributions.

    Attributes:
      kl: KL(p || q).
      reverse_kl: KL(q || p).
      js: the Jensen-Shannon divergence.
      tv: the total variation distance.
      w1: the Wasserstein-1 distance.
      w2: the Wasserstein-2 distance.
    """

    kl: Array
    reverse_kl: Array
    js: Array
    tv: Array
    w1: Array
    w2: Array


def gaussian_kl(mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike) -> Array:
    """KL(p || q) of two Gaussians; swap p and q for the reverse.

    Args:
      mean_p: [D], or [] on the line. Use ``jax.vmap`` for batches.
      cov_p: the covariance: [D, D] in full, [D] the variances of a diagonal one, [] one variance
        for all axes.
      mean_q: as mean_p.
      cov_q: as cov_p; the two need not have the same form.

    Returns:
      [] nats, float32 or float64.

    Raises:
      InputError: if the shapes do not fit, or a concrete covariance is not symmetric positive
        definite.

    >>> float(gaussian_kl(0.0, 1.0, 3.0, 1.0))
    4.5
    """
    mean_p, cov_p, mean_q, cov_q = _gaussians(mean_p, cov_p, mean_q, cov_q, definite=True)
    gap = mean_p - mean_q
    if cov_p.ndim == 1:
        ratio = (cov_p - cov_q) / cov_q
        return jnp.sum(ratio - jnp.log1p(ratio) + gap**2 / cov_q) / 2
    root_p, root_q = jnp.linalg.cholesky(cov_p), jnp.linalg.cholesky(cov_q)
    spread = solve_triangular(root_q, root_p, lower=True)
    shift = solve_triangular(root_q, gap, lower=True)
    log_det = 2 * jnp.sum(jnp.log(jnp.diag(spread)))
    return (jnp.sum(spread**2) - gap.size - log_det + jnp.sum(shift**2)) / 2


def gaussian_js(mean_p: ArrayLike, var_p: ArrayLike, mean_q: ArrayLike, var_q: ArrayLike) -> Array:
    """The Jensen-Shannon divergence of two Gaussians on the line.

    It has no closed form; quadrature gives it.

    In D dimensions with one covariance S for both it depends on the Mahalanobis distance
    d = sqrt((m - n)' S^-1 (m - n)) alone: ``gaussian_js(0, 1, d, 1)``. So does `gaussian_tv`.

    Args:
      mean_p: [...] means; all four broadcast.
      var_p: [...] variances, positive.
      mean_q: [...].
      var_q: [...].

    Returns:
      [...] nats. Accurate to 1e-9 in float64 while one standard deviation is at most 30 times the
      other.

    Raises:
      InputError: if a concrete variance is not positive.

    >>> float(gaussian_js(0.0, 1.0, 1.0, 1.0)).__round__(4)
    0.1114
    """
    mean_p, std_p, mean_q, std_q = _on_the_line(mean_p, var_p, mean_q, var_q)
    z, weights = quadrature(jnp.linspace(-10, 10, 81, dtype=mean_p.dtype))
    weights *= jnp.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

    def from_p(mean: Array, std: Array, other_mean: Array, other_std: Array) -> Array:
        """KL(p || (p + q) / 2) in units of p: the mean of log 2 - softplus(log q - log p)."""
        other_z = (mean - other_mean + std * z) / other_std
        return jnp.sum(
            weights * (np.log(2) - jax.nn.softplus((z**2 - other_z**2) / 2 + jnp.log(std / other_std))),
            axis=-1,
        )

    p, q = (mean_p[..., None], std_p[..., None]), (mean_q[..., None], std_q[..., None])
    return (from_p(*p, *q) + from_p(*q, *p)) / 2


def gaussian_tv(mean_p: ArrayLike, var_p: ArrayLike, mean_q: ArrayLike, var_q: ArrayLike) -> Array:
    """The total variation distance of two Gaussians on the line.

    With equal variances s^2 it is 2 Phi(abs(m - n) / 2s) - 1; else the densities cross twice.
    Arguments and errors as `gaussian_js`. The gradient is 0 where p = q, where there is none.

    >>> float(gaussian_tv(0.0, 1.0, 1.0, 1.0)).__round__(4)
    0.3829
    """
    mean_p, std_p, mean_q, std_q = _on_the_line(mean_p, var_p, mean_q, var_q)
    # In units z of the wider one, x = mean + std z, the other's units are shift + ratio z with
    # ratio >= 1.
    wider = std_p >= std_q
    wide, narrow = jnp.where(wider, std_p, std_q), jnp.where(wider, std_q, std_p)
    shift = jnp.where(wider, mean_p - mean_q, mean_q - mean_p) / narrow
    ratio = wide / narrow
    # The densities cross where a z^2 + 2 b z + c = 0.
    a, b, c = ratio**2 - 1, shift * ratio, shift**2 - 2 * jnp.log(ratio)
    root = sqrt(shift**2 + 2 * a * jnp.log(ratio))  # of the discriminant b^2 - a c, without cancellation
    t = -(b + jnp.where(b >= 0, root, -root))
    inner = c / jnp.where(t == 0, 1, t)
    # The outer crossing moves out to infinity, with either sign, as the variances become equal.
    far = jnp.abs(t) >= FAR * a
    outer = t / jnp.where(far, 1, a)
    excess = [ndtr(z) - ndtr(shift + ratio * z) for z in (inner, outer)]
    return absolute(excess[0] - jnp.where(far, 0, excess[1]))


def gaussian_w1(mean_p: ArrayLike, var_p: ArrayLike, mean_q: ArrayLike, var_q: ArrayLike) -> Array:
    """The Wasserstein-1 distance of two Gaussians on the line.

    It is the mean of abs(m - n + (s - t) z) over a standard normal z.

    In D dimensions with one covariance for both it is the Euclidean distance of the means.
    Arguments as `gaussian_js`; a variance may be 0.

    >>> float(gaussian_w1(0.0, 1.0, 3.0, 1.0))
    3.0
    """
    mean_p, std_p, mean_q, std_q = _on_the_line(mean_p, var_p, mean_q, var_q, definite=False)
    gap, spread = absolute(mean_p - mean_q), absolute(std_p - std_q)
    far = gap >= FAR * spread  # the sign never changes, or there is nothing to spread
    z = gap / jnp.where(far, 1, spread)
    folded = spread * np.sqrt(2 / np.pi) * jnp.exp(-(z**2) / 2) + gap * erf(z / np.sqrt(2))
    return jnp.where(far, gap, folded)


def gaussian_w2(mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike) -> Array:
    """The Wasserstein-2 distance of two Gaussians, the root of the Frechet distance.

    W_2^2 = abs(m - n)^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), Dowson and Landau 1982. Differentiable
    at every order, also where eigenvalues coincide; at distance 0 the gradient is 0.

    Args:
      mean_p: [D], or [] on the line. Use ``jax.vmap`` for batches.
      cov_p: the covariance: [D, D] in full, [D] the variances of a diagonal one, [] one variance
        for all axes. It may be singular.
      mean_q: as mean_p.
      cov_q: as cov_p; the two need not have the same form.

    Returns:
      [] the distance in the units of the means. For full covariances the square is accurate to the
      rounding of the traces, or to its square root where a covariance is singular.

    Raises:
      InputError: if the shapes do not fit, or a concrete covariance is not symmetric positive
        semidefinite.

    >>> float(gaussian_w2([0.0, 0.0], 1.0, [3.0, 0.0], [25.0, 1.0]))
    5.0
    """
    mean_p, cov_p, mean_q, cov_q = _gaussians(mean_p, cov_p, mean_q, cov_q, definite=False)
    gap = jnp.sum((mean_p - mean_q) ** 2)
    if cov_p.ndim == 1:
        return sqrt(gap + jnp.sum((sqrt(cov_p) - sqrt(cov_q)) ** 2))
    root = sqrtm(cov_p)
    cross = sqrtm(root @ cov_q @ root)
    return sqrt(gap + jnp.trace(cov_p) + jnp.trace(cov_q) - 2 * jnp.trace(cross))


def dirac(a: ArrayLike, b: ArrayLike) -> Divergences:
    """All divergences of the point masses at a and b.

    All but the Wasserstein distances only tell whether a = b, and their gradient is 0: a
    discriminator that is too good teaches nothing.

    Args:
      a: [D], or [] on the line.
      b: [D], or [] on the line.

    Raises:
      InputError: if the shapes differ.

    >>> float(dirac(0.0, 0.5).w1), float(dirac(0.0, 0.5).kl)
    (0.5, inf)
    """
    a, b = as_floats(a, b)
    if a.shape != b.shape or a.ndim > 1:
        raise InputError(f"dirac() takes two points [D] or [], got {a.shape} and {b.shape}.")
    apart = jnp.any(a != b)
    distance = absolute(a - b) if a.ndim == 0 else sqrt(jnp.sum((a - b) ** 2))
    kl, js, tv = (jnp.where(apart, value, 0).astype(a.dtype) for value in (np.inf, np.log(2), 1))
    return Divergences(kl=kl, reverse_kl=kl, js=js, tv=tv, w1=distance, w2=distance)


def parallel_lines(theta: ArrayLike) -> Divergences:
    """The vertical segment at 0 against that at theta: example 1 of Arjovsky et al. 2017 (WGAN).

    With z uniform on [0, 1], p is the distribution of (0, z) and q that of (theta, z). Unless theta
    = 0 the segments are disjoint, so that KL is infinite, JS is log 2 and TV is 1, wherever theta
    is. The Wasserstein distances are abs(theta), and theirs alone is a gradient that leads to p.

    Args:
      theta: [] the distance of the lines, of either sign. Use ``jax.vmap`` to plot.

    >>> float(jax.grad(lambda theta: parallel_lines(theta).w1)(-0.5))
    -1.0
    >>> float(jax.grad(lambda theta: parallel_lines(theta).js)(-0.5))
    0.0
    """
    return dirac(jnp.zeros_like(theta), theta)  # the second coordinate is the same and costs nothing


@jax.custom_jvp
def sqrtm(a: Array) -> Array:
    """The root of a symmetric positive semidefinite matrix [D, D].

    Its derivative is a Lyapunov equation, where that of the eigenvectors would divide by the
    difference of
    eigenvalues: NaN for the identity matrix.
    """
    values, vectors = jnp.linalg.eigh(a)
    return (vectors * sqrt(values)) @ vectors.T


@sqrtm.defjvp
def _(primals, tangents):
    (a,), (da,) = primals, tangents
    root = sqrtm(a)
    return root, _lyapunov(root, (da + da.T) / 2)


def _lyapunov(s: Array, c: Array) -> Array:
    """The solution x of s x + x s = c, s symmetric positive semidefinite; 0 where s is 0."""

    def solve(_: Callable, c: Array) -> Array:
        values, vectors = jnp.linalg.eigh(s)
        total = values[:, None] + values
        solvable = total > 0
        inner = vectors.T @ c @ vectors / jnp.where(solvable, total, 1)
        return vectors @ jnp.where(solvable, inner, 0) @ vectors.T

    # Differentiated through its equation at every order, never through the eigenvectors.
    return jax.lax.custom_linear_solve(lambda x: s @ x + x @ s, c, solve, symmetric=True)


def _gaussians(
    mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike, definite: bool
) -> tuple[Array, Array, Array, Array]:
    """Means [D] and covariances, both [D] if both are diagonal and both [D, D] otherwise."""
    mean_p, cov_p, mean_q, cov_q = as_floats(mean_p, cov_p, mean_q, cov_q)
    d = mean_p.size
    allowed = ((), (1,), (1, 1)) if mean_p.ndim == 0 else ((), (d,), (d, d))
    if mean_p.shape != mean_q.shape or mean_p.ndim > 1 or {cov_p.shape, cov_q.shape} - {*allowed}:
        raise InputError(
            "A Gaussian has a mean [D] or [] and a covariance [D, D], [D] or []; got "
            f"p {mean_p.shape}, {cov_p.shape} and q {mean_q.shape}, {cov_q.shape}. "
            "Use jax.vmap for batches."
        )
    for name, cov in (("p", cov_p), ("q", cov_q)):
        _check_covariance(name, cov, definite)
    full = max(cov_p.ndim, cov_q.ndim) == 2
    covs = [cov if cov.ndim == 2 else jnp.broadcast_to(cov, (d,)) for cov in (cov_p, cov_q)]
    covs = [jnp.diag(cov) if full and cov.ndim == 1 else cov for cov in covs]
    return mean_p.reshape(d), covs[0], mean_q.reshape(d), covs[1]


def _on_the_line(
    mean_p: ArrayLike, var_p: ArrayLike, mean_q: ArrayLike, var_q: ArrayLike, definite: bool = True
) -> tuple[Array, Array, Array, Array]:
    """Means and standard deviations of one shape."""
    mean_p, var_p, mean_q, var_q = as_floats(mean_p, var_p, mean_q, var_q)
    for name, var in (("p", var_p), ("q", var_q)):
        _check_covariance(name, jnp.ravel(var), definite)
    try:
        mean_p, var_p, mean_q, var_q = jnp.broadcast_arrays(mean_p, var_p, mean_q, var_q)
    except ValueError as error:
        raise InputError(f"The means and variances do not broadcast: {error}") from None
    return mean_p, sqrt(var_p), mean_q, sqrt(var_q)


def _check_covariance(name: str, cov: Array, definite: bool) -> None:
    def symmetric(c: np.ndarray) -> np.bool_ | bool:
        return c.ndim < 2 or np.allclose(c, c.T, rtol=0, atol=rounding(c))

    def rounding(c: np.ndarray) -> float:
        return 10 * c.shape[0] * np.finfo(c.dtype).eps * np.max(np.abs(c))

    def least(c: np.ndarray) -> np.floating:
        return np.min(np.linalg.eigvalsh(c) if c.ndim == 2 else c)

    def positive(c: np.ndarray) -> np.bool_ | bool:
        return least(c) > 0 if definite else least(c) >= (-rounding(c) if c.ndim == 2 else 0)

    check(
        cov,
        symmetric,
        lambda: f"The covariance of {name} is not symmetric. Pass (c + c.T) / 2.",
    )
    allowed = "positive; add a little to its diagonal" if definite else "at least 0"
    check(
        cov,
        positive,
        lambda: f"The covariance of {name} has an eigenvalue of {least(np.asarray(cov))}; all must be {allowed}.",
    )
