"""Divergences of discrete probabilities or of densities on a grid; the optimal discriminator."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgan.divergences.numerics import absolute, as_floats, check
from jaxgan.errors import InputError
from jaxgan.typing import Array

# How far a total mass may be from 1: far above the rounding of float32, far below a forgotten
# normalisation.
MASS_TOLERANCE = 1e-3


def kl(p: ArrayLike, q: ArrayLike, weights: ArrayLike | None = None, *, log: bool = False) -> Array:
    """The Kullback-Leibler divergence KL(p || q), the sum of p log(p / q).

    0 log 0 is 0, and the divergence is infinite where q = 0 < p. The gradient is finite everywhere:
    it is 0 with respect to a probability of 0, and altogether where the divergence is infinite.

    Args:
      p: [..., K] probabilities over the last axis or, with weights, densities at K nodes.
      q: [..., K] the same of the other distribution; leading axes broadcast.
      weights: [K] the quadrature weights of the nodes (`quadrature`), [] one for all; None for 1.
      log: p and q are logarithms, -inf for zero. They keep tails whose densities underflow.

    Returns:
      [...] nats, float32 or float64.

    Raises:
      InputError: if the shapes do not fit; if a concrete probability is negative or a concrete
        total is not 1.

    >>> float(kl([0.5, 0.5], [0.25, 0.75])).__round__(4)
    0.1438
    """
    mass_p, _, log_p, log_q = _prepare(p, q, weights, log)
    infinite = (mass_p > 0) & (log_q == -jnp.inf)
    finite = _expect(jnp.where(infinite, 0, mass_p), log_p - log_q)
    return jnp.where(jnp.any(infinite, axis=-1), jnp.inf, finite)


def reverse_kl(p: ArrayLike, q: ArrayLike, weights: ArrayLike | None = None, *, log: bool = False) -> Array:
    """The reverse Kullback-Leibler divergence KL(q || p); see `kl`."""
    return kl(q, p, weights, log=log)


def js(p: ArrayLike, q: ArrayLike, weights: ArrayLike | None = None, *, log: bool = False) -> Array:
    """The Jensen-Shannon divergence, the mean of KL(p || m) and KL(q || m) with m = (p + q) / 2.

    What the original GAN descends (Goodfellow et al. 2014, theorem 1): at the optimal discriminator
    its loss is 2 log 2 - 2 JS. Never above log 2, which it takes on disjoint supports. Arguments,
    errors and gradients as `kl`.

    >>> float(js([1.0, 0.0], [0.0, 1.0])).__round__(4)
    0.6931
    """
    mass_p, mass_q, log_p, log_q = _prepare(p, q, weights, log)
    logit = optimal_logit(log_p, log_q)
    # log(p / m) = log 2 - softplus(-logit), log(q / m) = log 2 - softplus(logit)
    from_p = _expect(mass_p, np.log(2) - jax.nn.softplus(-logit))
    from_q = _expect(mass_q, np.log(2) - jax.nn.softplus(logit))
    return (from_p + from_q) / 2


def tv(p: ArrayLike, q: ArrayLike, weights: ArrayLike | None = None, *, log: bool = False) -> Array:
    """The total variation distance, half the sum of abs(p - q), between 0 and 1.

    At its optimal discriminator, sign(p - q), the hinge loss is 2 - 2 TV. Arguments and errors as
    `kl`; the gradient is 0 where p = q, where there is none.

    >>> float(tv([0.5, 0.5], [0.25, 0.75]))
    0.25
    """
    mass_p, mass_q, _, _ = _prepare(p, q, weights, log)
    return jnp.sum(absolute(mass_p - mass_q), axis=-1) / 2


def optimal_discriminator(p: ArrayLike, q: ArrayLike) -> Array:
    """The discriminator p / (p + q) that minimises the logistic and the least-squares loss.

    Goodfellow et al. 2014, proposition 1. Where p = q = 0 it is undefined and 1/2 is returned.

    Args:
      p: [...] the density of the data, at any points.
      q: [...] the density of the generator's samples, at the same points.

    Returns:
      [...] the probability that a sample at the point is real.

    Raises:
      InputError: if a concrete density is negative.

    >>> float(optimal_discriminator(0.3, 0.1)).__round__(4)
    0.75
    """
    p, q = as_floats(p, q)
    for density in (p, q):
        check(
            density,
            lambda x: np.all(x >= 0),
            lambda: "A density is negative or NaN. Logarithms go to optimal_logit().",
        )
    somewhere = p + q > 0
    return jnp.where(somewhere, p / jnp.where(somewhere, p + q, 1), 0.5)


def optimal_logit(log_p: ArrayLike, log_q: ArrayLike) -> Array:
    """The logit log p - log q of the optimal discriminator, from log densities [...].

    +inf where only q is 0, -inf where only p is, 0 where both are (Goodfellow et al. 2014, proposition 1).

    Args:
      log_p: log density of the data at some points, [...]; -inf where it is 0.
      log_q: that of the generator at the same points.

    Returns:
      [...] the logits.

    >>> x, mu = jnp.linspace(-1.0, 1.0, 3), 2.0
    >>> optimal_logit(-(x**2) / 2, -((x - mu) ** 2) / 2)  # mu^2 / 2 - mu x
    Array([4., 2., 0.], dtype=float32)
    """
    log_p, log_q = as_floats(log_p, log_q)
    nowhere = (log_p == -jnp.inf) & (log_q == -jnp.inf)
    return jnp.where(nowhere, 0, log_p - log_q)


def quadrature(breaks: ArrayLike, order: int = 32) -> tuple[Array, Array]:
    """Composite Gauss-Legendre quadrature: ``jnp.sum(weights * f(nodes))`` is the integral of f.

    Exact to rounding for a function that is smooth between the break points: put one at every kink,
    and a few where it varies fast.

    Args:
      breaks: [P + 1] increasing ends of P panels.
      order: nodes in each panel; polynomials of degree 2 order - 1 are exact.

    Returns:
      nodes [P * order] and weights [P * order]. Differentiable in the breaks.

    Raises:
      InputError: if there are fewer than two breaks, concrete ones do not increase, or order < 1.

    >>> x, weights = quadrature([0.0, 1.0])
    >>> float(jnp.sum(weights * x**3)).__round__(4)
    0.25
    """
    (breaks,) = as_floats(breaks)
    if breaks.ndim != 1 or breaks.size < 2 or order < 1:
        raise InputError(
            "quadrature() takes the ends of its panels as [P + 1] with P >= 1, and order >= 1; got "
            f"breaks of shape {breaks.shape} and order {order}."
        )
    check(
        breaks,
        lambda b: np.all(np.diff(b) > 0),
        lambda: f"The breaks do not increase: {breaks}. Sort them and drop repeated ones.",
    )
    x, w = (v.astype(breaks.dtype) for v in np.polynomial.legendre.leggauss(order))
    middle, half = (breaks[1:] + breaks[:-1]) / 2, (breaks[1:] - breaks[:-1]) / 2
    nodes = middle[:, None] + half[:, None] * x
    return nodes.ravel(), (half[:, None] * w).ravel()


def _prepare(p: ArrayLike, q: ArrayLike, weights: ArrayLike | None, log: bool) -> tuple[Array, Array, Array, Array]:
    """Checked masses (probability times weight) and log densities of p and q."""
    p, q, w = as_floats(p, q, 1.0 if weights is None else weights)
    if p.ndim < 1 or q.ndim < 1 or p.shape[-1] != q.shape[-1] or w.shape not in ((), p.shape[-1:]):
        raise InputError(
            "p and q must be [..., K] and weights [K], [] or None; got "
            f"p {p.shape}, q {q.shape}, weights {w.shape}. "
            "Evaluate both distributions at the same K points."
        )
    try:
        jnp.broadcast_shapes(p.shape, q.shape)
    except ValueError:
        raise InputError(f"p {p.shape} and q {q.shape} do not broadcast.") from None
    check(
        w,
        lambda w: np.all(w >= 0),
        lambda: f"The least weight is {np.min(w)}; weights are at least 0.",
    )
    (density_p, log_p), (density_q, log_q) = ((jnp.exp(x), x) if log else (x, _log(x)) for x in (p, q))
    masses = density_p * w, density_q * w
    for name, mass in zip("pq", masses, strict=True):
        _check_distribution(name, mass)
    return *masses, log_p, log_q


def _check_distribution(name: str, mass: Array) -> None:
    check(
        mass,
        lambda m: np.all(m >= 0),
        lambda: (
            f"{name} has a probability of {np.min(mass)}; probabilities are at least 0. For logarithms pass log=True."
        ),
    )
    check(
        mass,
        lambda m: np.all(np.abs(np.sum(m, axis=-1) - 1) < MASS_TOLERANCE),
        lambda: (
            f"The probabilities of {name} sum to {np.sum(mass, axis=-1)}, not to 1. Divide them by "
            "their sum; for densities pass the weights of a quadrature that covers them."
        ),
    )


def _log(x: Array) -> Array:
    """log x, -inf at 0 with a gradient of 0."""
    positive = x > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, x, 1)), -jnp.inf)


def _expect(mass: Array, values: Array) -> Array:
    """The sum of mass times values; 0 times infinity is 0, in the gradient too."""
    supported = mass > 0
    return jnp.sum(jnp.where(supported, mass, 0) * jnp.where(supported, values, 0), axis=-1)
