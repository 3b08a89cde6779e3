"""Lower bounds of divergences from a trained discriminator or critic.

Each bound holds for whatever function the network computes, and is tight at its optimum; how far a
trained network is from it, the bound cannot say. A mean over samples estimates the bound: on the
samples that the network was trained on it may exceed the true value, so evaluate on others.

The f-divergence bounds (Nowozin et al. 2016, equation 4) are all written in one variable, the logit
v that estimates log p(x) / q(x). A discriminator with logistic loss learns that logit, and one such
network gives every bound.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgan.divergences.numerics import as_floats, check
from jaxgan.typing import Array


def js_bound(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """JS(p, q) >= log 2 - (E_p softplus(-v) + E_q softplus(v)) / 2, an equality at v = log p / q.

    That is log 2 less half the discriminator's logistic loss (Goodfellow et al. 2014, theorem 1).

    Args:
      real_logits: the discriminator's logits v of samples from p, of any shape; all are averaged.
      fake_logits: its logits of samples from q, of any shape.

    Returns:
      [] the bound in nats, float32 or float64; negative for a discriminator worse than chance.

    >>> float(js_bound([0.0, 0.0], [0.0]))
    0.0
    """
    real, fake = as_floats(real_logits, fake_logits)
    return np.log(2) - (jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))) / 2


def kl_bound(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """KL(p || q) >= 1 + E_p v - E_q exp(v), an equality at v = log p / q.

    The f-GAN bound for f(u) = u log u with T = 1 + v (Nowozin et al. 2016, table 2). A fake logit above 88 overflows
    float32: the bound is then -inf, true and useless.

    Args:
      real_logits: v at samples from p, of any shape; all are averaged.
      fake_logits: v at samples from q, of any shape.

    Returns:
      [] the bound in nats, float32 or float64.

    >>> float(kl_bound([0.0], [0.0]))
    0.0
    """
    real, fake = as_floats(real_logits, fake_logits)
    return 1 + jnp.mean(real) - jnp.mean(jnp.exp(fake))


def reverse_kl_bound(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """KL(q || p) >= 1 - E_q v - E_p exp(-v), an equality at v = log p / q.

    The f-GAN bound for f(u) = -log u with T = -exp(-v). A real logit below -88 overflows float32, as in `kl_bound`.

    Args:
      real_logits: v at samples from p, of any shape; all are averaged.
      fake_logits: v at samples from q, of any shape.

    Returns:
      [] the bound in nats, float32 or float64.

    >>> float(reverse_kl_bound([0.0], [0.0]))
    0.0
    """
    real, fake = as_floats(real_logits, fake_logits)
    return kl_bound(-fake, -real)


def tv_bound(real_logits: ArrayLike, fake_logits: ArrayLike) -> Array:
    """TV(p, q) >= (E_p tanh(v) - E_q tanh(v)) / 2, an equality at v = +-inf by the sign of p - q.

    The f-GAN bound for f(u) = abs(u - 1) / 2 with T = tanh(v) / 2. Multiplying the logits by a
    large number makes their decisions hard, and the bound of a discriminator with the right signs
    tight.

    Args:
      real_logits: v at samples from p, of any shape; all are averaged.
      fake_logits: v at samples from q, of any shape.

    Returns:
      [] the bound, at most 1, float32 or float64.

    >>> float(tv_bound([jnp.inf], [-jnp.inf]))
    1.0
    """
    real, fake = as_floats(real_logits, fake_logits)
    return (jnp.mean(jnp.tanh(real)) - jnp.mean(jnp.tanh(fake))) / 2


def wasserstein_bound(real_values: ArrayLike, fake_values: ArrayLike, *, lipschitz: float | Array = 1.0) -> Array:
    """W_1(p, q) >= (E_p f - E_q f) / L for a critic f with Lipschitz constant L.

    The Kantorovich-Rubinstein dual (Arjovsky et al. 2017, equation 2), with equality at the best
    critic.

    Args:
      real_values: the critic's outputs for samples from p, of any shape; all are averaged.
      fake_values: its outputs for samples from q, of any shape.
      lipschitz: a constant that no slope of the critic exceeds. A gradient penalty holds the slopes
        near 1, not below it: a bound with L = 1 is then approximate. For clipped weights L is
        unknown and the value is in arbitrary units.

    Returns:
      [] the bound in the units of the samples.

    Raises:
      InputError: if a concrete Lipschitz constant is not positive.

    >>> float(wasserstein_bound([3.0, 5.0], [0.0, 2.0], lipschitz=2.0))
    1.5
    """
    real, fake = as_floats(real_values, fake_values)
    check(
        lipschitz,
        lambda c: np.all(c > 0),
        lambda: f"The Lipschitz constant is {lipschitz}; it must be positive.",
    )
    return (jnp.mean(real) - jnp.mean(fake)) / lipschitz
