"""R3GAN: relativistic pairs, two gradient penalties, and a burn-in.

Huang, Gokaslan, Kuleshov & Tompkin 2024, https://arxiv.org/abs/2501.05441. The step is that of `gan`, with
hyperparameters that depend on the images seen so far.
"""

from collections.abc import Callable
from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import axis, objectives
from jaxgan.augment import Augment, ada, diff_augment
from jaxgan.errors import InputError
from jaxgan.recipes.gan import gan
from jaxgan.state import TrainState
from jaxgan.typing import GAN, Array, Batch, Key, LossFn, Metrics

# A hyperparameter: a number, or a function of the images seen so far, f32[] -> f32[].
Scheduled: TypeAlias = float | Array | Callable[[Array], Array]


def burn_in(start: float | Array, end: float | Array, images: float | Array) -> Callable[[Array], Array]:
    """From one value to another by half a wave of a cosine, and the second from then on.

    Args:
      start: the value at the start.
      end: the value after so many images.
      images: how many.

    Returns:
      A function of the images seen so far, f32[] -> f32[].

    Raises:
      InputError: if images is not positive.

    >>> b2 = burn_in(0.9, 0.99, 20e6)
    >>> round(float(b2(jnp.float32(10e6))), 3)
    0.945
    """
    if isinstance(images, int | float) and not images > 0:
        raise InputError(f"A burn-in of {images} images has no end. Allowed: a positive number.")

    def value(seen: Array) -> Array:
        return end + (start - end) * (1 + jnp.cos(jnp.pi * jnp.minimum(seen / images, 1.0))) / 2

    return value


def r3gan_augment(axis_name: str | None = None) -> Augment:
    """The paper's augmentation (appendix D): that of ADA with colours changed half as often, and cutout.

    Args:
      axis_name: the axis of ``pmap`` or ``shard_map`` that the batch is split over.
    """
    transforms = (ada(colour=False, axis_name=axis_name), ada(blit=False, geometric=False, axis_name=axis_name),
                  diff_augment(("cutout",), axis_name=axis_name))  # fmt: skip

    def augment(images: Array, key: Key, p: float | Array) -> Array:
        for transform, share, k in zip(transforms, (1.0, 0.5, 1.0), jax.random.split(key, 3), strict=True):
            images = transform(images, k, share * p)
        return images

    return augment


def r3gan(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    latent_dim: int = 64,
    gamma: Scheduled = 1.0,
    learning_rate: Scheduled = 2e-4,
    b2: Scheduled = 0.99,
    half_life: Scheduled = 500_000.0,
    augment: Augment | None = None,
    augment_p: Scheduled = 1.0,
    axis_name: str | None = None,
    **options,
) -> GAN:
    """R3GAN: `gan` with relativistic pairs, R1 and R2 on every step, Adam without momentum, and a burn-in.

    The two images of a pair have the same conditions. Both players see the same real images in a step, and penalties
    draw augmentations of their own; in the authors' code the generator is paired with other real images, and the
    penalties are those of the images that the loss sees.

    Args:
      generator: as `gan` takes it, `R3Generator` for example.
      discriminator: as `gan` takes it, without batch normalisation.
      latent_dim: of the latents.
      gamma: weight of both penalties; it and the values below are numbers, or functions of the images seen before a
        step. For CIFAR-10 the paper has ``burn_in(0.05, 0.005, 20e6)``, for FFHQ at 256 pixels 150 and 15.
      learning_rate: of both players; ``burn_in(2e-4, 5e-5, 20e6)`` in the paper.
      b2: Adam's decay of the mean squared gradient, of both players; ``burn_in(0.9, 0.99, 20e6)``.
      half_life: of the averaged generator, in images; for CIFAR-10 ``burn_in(0.0, 5e6, 20e6)``.
      augment: what the discriminator sees instead of the images, `r3gan_augment` in the paper;
      augment_p: and the probability; for CIFAR-10 ``burn_in(0.0, 0.55, 20e6)``.
      axis_name: the axis under ``pmap`` or ``shard_map``.
      **options: of `gan`: conditions, microbatches, ...

    Returns:
      ``init``, ``step`` and ``sample`` as those of `gan`.

    Raises:
      InputError: as `gan`.

    >>> r3gan(R3Generator((28, 28, 1)), R3Discriminator(), gamma=1.0, half_life=burn_in(0, 5e5, 2e6))  # doctest: +SKIP
    """

    def after(images: float | Array) -> GAN:
        """The game as it is after so many images. Hyperparameters may be traced: no turn needs to know of schedules."""

        def now(value: Scheduled) -> float | Array:
            return value(jnp.asarray(images, jnp.float32)) if callable(value) else value

        tx = optax.adam(now(learning_rate), 0.0, now(b2))
        return gan(
            generator,
            discriminator,
            latent_dim=latent_dim,
            objective=objectives.r3gan(now(gamma)),
            g_tx=tx,
            d_tx=tx,
            half_life=now(half_life),
            augment=None if augment is None else _fixed(augment, now(augment_p)),
            target=None,
            axis_name=axis_name,
            **options,
        )

    def current(state: TrainState, batch: Batch) -> GAN:
        return after(state.step.astype(jnp.float32) * (len(batch["image"]) * axis.size(axis_name)))

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        return current(state, batch).step(state, batch, key)

    def loss(player: str) -> LossFn:
        return lambda params, state, batch, key: current(state, batch).losses[player](params, state, batch, key)

    first = after(0.0)
    return GAN(first.init, step, first.sample, {player: loss(player) for player in first.losses}, first.judged)


def _fixed(augment: Augment, p: float | Array) -> Augment:
    """The augmentation at this probability, whatever it is asked for."""
    return lambda images, key, _: augment(images, key, p)
