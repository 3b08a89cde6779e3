"""Named adversarial objectives: what each player minimises, and what the discriminator is held to.

An objective is a value. One of your own takes five lines, and every recipe accepts it:

>>> def total_variation() -> Objective:
...     return Objective(
...         d_loss=lambda real, fake: jnp.tanh(fake) - jnp.tanh(real),
...         g_loss=lambda real, fake: -jnp.tanh(fake),
...     )
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxgan import losses, penalties
from jaxgan.errors import InputError, choose, closest
from jaxgan.penalties import Critic, Penalty
from jaxgan.transforms import clip_weights
from jaxgan.typing import Array, Key, LogitLoss


class Objective(NamedTuple):
    """An adversarial objective.

    Attributes:
      d_loss: what the discriminator minimises, ``(real logits [B], fake logits [B]) -> f32[B]``.
      g_loss: what the generator minimises, of the same signature; relativistic ones use both
        arguments.
      constraint: what the discriminator's optimiser must end with.
      penalties: what is added to ``d_loss``, each ``(critic, real, fake, key) -> f32[B]``.
    """

    d_loss: LogitLoss
    g_loss: LogitLoss
    constraint: optax.GradientTransformation = optax.identity()
    penalties: tuple[Penalty, ...] = ()

    def penalty(self, critic: Critic, real: Array, fake: Array, key: Key) -> Array:
        """The sum of the penalties, averaged over the batch, f32[]; for objectives that have any.

        Args:
          critic: images [B, ...] -> logits [B].
          real: images [B, ...].
          fake: images [B, ...].
          key: of what the penalties draw.
        """
        keys = jax.random.split(key, len(self.penalties))
        values = [p(critic, real, fake, k) for p, k in zip(self.penalties, keys, strict=True)]
        return jnp.mean(sum(values[1:], start=values[0]))


def minimax(smooth: float | Array = 0.0, smooth_fake: float | Array = 0.0) -> Objective:
    """The minimax game (Goodfellow et al. 2014, equation 1): the generator's is ``log(1 - D)``.

    Args:
      smooth: the discriminator's label of real images is ``1 - smooth``.
      smooth_fake: its label of generated images.
    """
    return Objective(_logistic(smooth, smooth_fake), losses.minimax_g)


def non_saturating(smooth: float | Array = 0.0, smooth_fake: float | Array = 0.0) -> Objective:
    """The non-saturating game (Goodfellow et al. 2014, section 3): the generator's is ``-log D``.

    Args:
      smooth: the discriminator's label of real images is ``1 - smooth`` (Salimans et al. 2016:
        0.1).
      smooth_fake: its label of generated images.
    """
    return Objective(_logistic(smooth, smooth_fake), losses.non_saturating_g)


def wasserstein(clip: float | Array = 0.01) -> Objective:
    """WGAN (Arjovsky et al. 2017).

    Args:
      clip: after every update the critic's parameters lie in ``[-clip, clip]``.
    """
    return Objective(losses.wasserstein_d, losses.wasserstein_g, constraint=clip_weights(clip))


def wgan_gp(weight: float | Array = 10.0, one_sided: bool = False, axis_name: str | None = None) -> Objective:
    """WGAN with gradient penalty (Gulrajani et al. 2017).

    Args:
      weight: of the penalty, lambda.
      one_sided: whether only gradients longer than 1 cost (Petzka et al. 2018: WGAN-LP).
      axis_name: the ``pmap`` or ``shard_map`` axis that the batch is split over.
    """
    penalty = penalties.gradient_penalty(weight, one_sided=one_sided, axis_name=axis_name)
    return Objective(losses.wasserstein_d, losses.wasserstein_g, penalties=(penalty,))


def least_squares(
    target_real: float | Array = 1.0,
    target_fake: float | Array = 0.0,
    target: float | Array = 1.0,
) -> Objective:
    """LSGAN (Mao et al. 2017), on outputs without a sigmoid.

    Args:
      target_real: b, what the discriminator answers to real images.
      target_fake: a, what it answers to generated ones.
      target: c, what the generator wants to hear. ``(a, b, c) = (-1, 1, 0)`` minimises the Pearson
        chi-squared divergence.
    """
    return Objective(
        partial(losses.least_squares_d, target_real=target_real, target_fake=target_fake),
        partial(losses.least_squares_g, target=target),
    )


def hinge() -> Objective:
    """The hinge loss (Lim and Ye 2017; Miyato et al. 2018), usual with spectral normalisation."""
    return Objective(losses.hinge_d, losses.wasserstein_g)


def dragan(
    weight: float | Array = 10.0,
    std: float | Array = 0.5,
    smooth: float | Array = 0.0,
    axis_name: str | None = None,
) -> Objective:
    """DRAGAN (Kodali et al. 2017): the non-saturating game, the critic smooth around real images.

    Args:
      weight: of the penalty, lambda.
      std: of the noise added to real images, in units of the image.
      smooth: the discriminator's label of real images is ``1 - smooth``.
      axis_name: the ``pmap`` or ``shard_map`` axis that the batch is split over.
    """
    return non_saturating(smooth)._replace(penalties=(penalties.dragan(weight, std=std, axis_name=axis_name),))


def gan_r1(gamma: float | Array = 10.0) -> Objective:
    """The non-saturating game with R1 (Mescheder et al. 2018), StyleGAN's objective.

    Args:
      gamma: weight of the penalty.
    """
    return non_saturating()._replace(penalties=(penalties.r1(gamma),))


def relativistic() -> Objective:
    """The relativistic paired GAN, RpGAN (Jolicoeur-Martineau 2019)."""
    return Objective(losses.relativistic_d, losses.relativistic_g)


def relativistic_average(axis_name: str | None = None) -> Objective:
    """The relativistic average GAN, RaSGAN (Jolicoeur-Martineau 2019).

    Args:
      axis_name: the ``pmap`` or ``shard_map`` axis that the batch is split over.
    """
    return Objective(
        partial(losses.relativistic_average_d, axis_name=axis_name),
        partial(losses.relativistic_average_g, axis_name=axis_name),
    )


def r3gan(gamma: float | Array = 1.0) -> Objective:
    """R3GAN (Huang et al. 2024): RpGAN with R1 and R2.

    Args:
      gamma: weight of both penalties; the paper has 1 for stacked MNIST and other values for other
        data.
    """
    return relativistic()._replace(penalties=(penalties.r1(gamma), penalties.r2(gamma)))


def _logistic(smooth: float | Array, smooth_fake: float | Array) -> LogitLoss:
    return partial(losses.logistic_d, smooth=smooth, smooth_fake=smooth_fake)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    make.__name__: make
    for make in (
        minimax,
        non_saturating,
        least_squares,
        hinge,
        wasserstein,
        wgan_gp,
        dragan,
        gan_r1,
        relativistic,
        relativistic_average,
        r3gan,
    )
}


def objective(name: str, **options) -> Objective:
    """Makes an objective by name.

    Args:
      name: a key of ``OBJECTIVES``.
      **options: arguments of the function that it names.

    Returns:
      The objective.

    Raises:
      InputError: for an unknown name or option; names the closest one.

    >>> narrow = objective("wasserstein", clip=0.05)
    """
    make = choose("objective", name, OBJECTIVES)
    allowed = inspect.signature(make).parameters
    for option in options:
        if option not in allowed:
            raise InputError(f"Objective {name!r} has no option {option!r}. {closest(option, allowed)}")
    return make(**options)
