"""Adversarial losses: pure functions from logits to one loss for each example.

Every loss is a ``LogitLoss``, ``(real logits [B], fake logits [B]) -> f32[B]``: what one player
minimises, before the mean over the batch. Functions that end in ``_d`` are the discriminator's (the
critic's), those in ``_g`` the generator's. Logits may have any one shape (a patch discriminator's
are ``[B, H, W]``) and any float dtype; half precision is computed in float32, float64 stays
float64. A sigmoid is never evaluated: ``log D = -softplus(-x)`` and ``log(1 - D) = -softplus(x)``
keep value and gradient exact for logits of any size.

>>> hinge_d(jnp.array([2.0, 0.5]), jnp.array([-1.0, -1.0]))  # the first image is right by a margin: it costs nothing
Array([0. , 0.5], dtype=float32)
"""

import jax.numpy as jnp
from jax.nn import relu, softplus

from jaxgan import axis
from jaxgan.errors import InputError
from jaxgan.typing import Array


def widen(x: Array) -> Array:
    """``x`` in float32, or in float64 where it is that already."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def logistic_d(real: Array, fake: Array, *, smooth: float | Array = 0.0, smooth_fake: float | Array = 0.0) -> Array:
    """Cross-entropy of telling real from fake (Goodfellow et al. 2014, equation 1).

    Args:
      real: logits of real images, [B].
      fake: logits of generated images, [B].
      smooth: the label of real images is ``1 - smooth``: one-sided label smoothing (Salimans et al.
        2016).
      smooth_fake: the label of generated images; with ``smooth``, two-sided label smoothing.

    Returns:
      f32[B]: ``-log D(real) - log(1 - D(fake))`` when nothing is smoothed.

    >>> logistic_d(jnp.zeros(1), jnp.zeros(1))  # 2 log 2: it cannot tell
    Array([1.3862944], dtype=float32)
    """
    real, fake = _pair(real, fake)
    # Cross-entropy with label t is softplus(-x) + (1 - t) x, and also softplus(x) - t x.
    return softplus(-real) + smooth * real + softplus(fake) - smooth_fake * fake


def minimax_g(real: Array, fake: Array) -> Array:
    """``log(1 - D(fake))``, which saturates (Goodfellow et al. 2014, equation 1).

    Its gradient vanishes where the discriminator is sure, that of `non_saturating_g` does not:

    >>> sure = jnp.array([-20.0])
    >>> slope = lambda loss: abs(float(jax.grad(lambda fake: loss(fake, fake)[0])(sure)[0]))
    >>> slope(minimax_g) < 1e-8, slope(non_saturating_g) > 0.99
    (True, True)
    """
    del real
    return -softplus(widen(fake))


def non_saturating_g(real: Array, fake: Array) -> Array:
    """``-log D(fake)``: the generator's heuristic (Goodfellow et al. 2014, section 3)."""
    del real
    return softplus(-widen(fake))


def least_squares_d(
    real: Array,
    fake: Array,
    *,
    target_real: float | Array = 1.0,
    target_fake: float | Array = 0.0,
) -> Array:
    """``(D(real) - b)^2 + (D(fake) - a)^2`` on raw outputs (Mao et al. 2017, equation 2, times 2).

    Args:
      real: outputs for real images, [B].
      fake: outputs for generated images, [B].
      target_real: the paper's b; below 1 it is one-sided label smoothing.
      target_fake: the paper's a: 0, or -1 with the Pearson chi-squared targets (a, b, c) = (-1, 1,
        0).

    Returns:
      f32[B].
    """
    real, fake = _pair(real, fake)
    return jnp.square(real - target_real) + jnp.square(fake - target_fake)


def least_squares_g(real: Array, fake: Array, *, target: float | Array = 1.0) -> Array:
    """``(D(fake) - c)^2``, c being the ``target`` (Mao et al. 2017, equation 2, times 2)."""
    del real
    return jnp.square(widen(fake) - target)


def hinge_d(real: Array, fake: Array) -> Array:
    """``max(0, 1 - D(real)) + max(0, 1 + D(fake))`` (Lim and Ye 2017; Miyato et al. 2018)."""
    real, fake = _pair(real, fake)
    return relu(1.0 - real) + relu(1.0 + fake)


def wasserstein_d(real: Array, fake: Array) -> Array:
    """``D(fake) - D(real)``: its negative mean estimates W1 (Arjovsky et al. 2017, equation 2)."""
    real, fake = _pair(real, fake)
    return fake - real


def wasserstein_g(real: Array, fake: Array) -> Array:
    """``-D(fake)``, the hinge GAN's generator too (Arjovsky et al. 2017, algorithm 1)."""
    del real
    return -widen(fake)


def relativistic_d(real: Array, fake: Array) -> Array:
    """``softplus(D(fake) - D(real))``, pair by pair (Jolicoeur-Martineau 2019: RSGAN)."""
    real, fake = _pair(real, fake)
    return softplus(fake - real)


def relativistic_g(real: Array, fake: Array) -> Array:
    """``softplus(D(real) - D(fake))``: `relativistic_d` with the roles exchanged."""
    return relativistic_d(fake, real)


def relativistic_average_d(real: Array, fake: Array, *, axis_name: str | None = None) -> Array:
    """Each logit against the other side's mean logit (Jolicoeur-Martineau 2019: RaSGAN).

    Args:
      real: logits of real images, [B].
      fake: logits of generated images, [B].
      axis_name: the ``pmap`` or ``shard_map`` axis that the batch is split over, so that the means
        are the whole batch's.

    Returns:
      f32[B]: ``softplus(mean(fake) - real) + softplus(fake - mean(real))``.
    """
    real, fake = _pair(real, fake)

    def mean(logits: Array) -> Array:
        return axis.mean(jnp.sum(logits / logits.size), axis_name)  # a sum of large ones overflows

    return softplus(mean(fake) - real) + softplus(fake - mean(real))


def relativistic_average_g(real: Array, fake: Array, *, axis_name: str | None = None) -> Array:
    """`relativistic_average_d` with the roles exchanged."""
    return relativistic_average_d(fake, real, axis_name=axis_name)


def _pair(real: Array, fake: Array) -> tuple[Array, Array]:
    """Both in float32; [B] against [B, 1] would broadcast to [B, B] without a word."""
    if jnp.shape(real) != jnp.shape(fake):
        raise InputError(
            f"The logits of real images have shape {jnp.shape(real)}, those of generated images "
            f"{jnp.shape(fake)}. A loss needs as many of the one as of the other, in one shape: "
            "squeeze the trailing axis, or draw batches of one size."
        )
    return widen(real), widen(fake)
