"""Regularisers of the discriminator and of the generator, one value for each example.

A `Penalty` looks at the critic as a function of images: `gradient_penalty`, `dragan`, `r1`, `r2`,
`consistency`. The critic must treat every image by itself (no batch norm), because the gradient of
its summed logits is read as one gradient for each image. `lecam` and `path_length` carry a running
mean, which they take and return.

Images are cast to float32 and norms are guarded, so that values and derivatives are finite to
second order, at zero gradients too. Weights may be traced.

>>> steep = lambda images: 3.0 * jnp.sum(images, axis=1)  # a critic: images [B, D] -> logits [B]
>>> real, fake, key = jnp.ones((2, 4)), jnp.zeros((2, 4)), jax.random.key(0)
>>> r1(gamma=2.0)(steep, real, fake, key)  # gamma / 2 * |(3, 3, 3, 3)|^2
Array([36., 36.], dtype=float32)
>>> gradient_penalty(10.0)(steep, real, fake, key)  # 10 * (6 - 1)^2
Array([250., 250.], dtype=float32)
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxgan import axis
from jaxgan.errors import InputError
from jaxgan.losses import widen
from jaxgan.typing import Array, Key

# images [B, ...] -> logits [B]
Critic: TypeAlias = Callable[[Array], Array]

# (critic, real images [B, ...], fake images [B, ...], key) -> penalty of each example, f32[B]
Penalty: TypeAlias = Callable[[Critic, Array, Array, Key], Array]

# Gradients are cut here, per pixel: such a critic has diverged, and beyond, squares leave float32
# and derivatives turn NaN.
STEEPEST = 1e15


def gradient_penalty(
    weight: float | Array = 10.0,
    *,
    target: float | Array = 1.0,
    one_sided: bool = False,
    axis_name: str | None = None,
) -> Penalty:
    """Draws the norm of the critic's gradient to a target between real and fake images.

    ``weight * (|grad D(x)| - target)^2`` at ``x = e * real + (1 - e) * fake``, ``e ~ U[0, 1]`` for
    each pair (Gulrajani et al. 2017, equation 3: WGAN-GP).

    Args:
      weight: the paper's lambda, not negative.
      target: the norm asked for.
      one_sided: whether norms below the target are free (Petzka et al. 2018: WGAN-LP).
      axis_name: the ``pmap`` or ``shard_map`` axis that the batch is split over.

    Returns:
      A penalty; it raises InputError for a float16 critic and for real and fake images of different
      shapes.

    Raises:
      InputError: if the weight is negative.
    """
    _check_weight("weight", weight)

    def penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
        if real.shape != fake.shape:
            raise InputError(
                f"Real images have shape {real.shape}, generated ones {fake.shape}; the gradient "
                "penalty mixes them in pairs. Draw as many of the one as of the other, in one size."
            )
        real, fake = widen(real), widen(fake)
        uniform = partial(jax.random.uniform, dtype=real.dtype)
        share = axis.draw(uniform, key, (len(real),) + (1,) * (real.ndim - 1), axis_name)
        norm = _norm(_input_gradient(critic, share * real + (1.0 - share) * fake))
        excess = jax.nn.relu(norm - target) if one_sided else norm - target
        return weight * jnp.square(excess)

    return penalty


def dragan(
    weight: float | Array = 10.0,
    *,
    target: float | Array = 1.0,
    std: float | Array = 0.5,
    axis_name: str | None = None,
) -> Penalty:
    """The gradient penalty near real images, at ``x + N(0, std^2)`` (Kodali et al. 2017).

    Args:
      weight: the paper's lambda, not negative.
      target: the paper's k, the norm asked for.
      std: standard deviation of the noise in units of the image ([-1, 1]), not negative.
      axis_name: the ``pmap`` or ``shard_map`` axis that the batch is split over.

    Returns:
      A penalty; it raises InputError for a float16 critic.

    Raises:
      InputError: if the weight or the standard deviation is negative.
    """
    _check_weight("weight", weight)
    if isinstance(std, int | float) and not std >= 0:
        raise InputError(f"std is {std}. A standard deviation is not negative.")

    def penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
        del fake
        real = widen(real)
        near = real + std * axis.draw(partial(jax.random.normal, dtype=real.dtype), key, real.shape, axis_name)
        return weight * jnp.square(_norm(_input_gradient(critic, near)) - target)

    return penalty


def r1(gamma: float | Array = 10.0) -> Penalty:
    """``gamma / 2 * |grad D(real)|^2``, summed over pixels (Mescheder et al. 2018, equation 9).

    Args:
      gamma: the weight, not negative.

    Returns:
      A penalty; it raises InputError for a float16 critic.

    Raises:
      InputError: if gamma is negative.
    """
    _check_weight("gamma", gamma)

    def penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
        del fake, key
        gradient = _input_gradient(critic, widen(real))
        return gamma / 2 * jnp.sum(jnp.square(gradient.reshape(len(gradient), -1)), axis=-1)

    return penalty


def r2(gamma: float | Array = 10.0) -> Penalty:
    """``gamma / 2 * |grad D(fake)|^2``: `r1` at generated images (Mescheder et al. equation 10)."""
    penalty = r1(gamma)
    return lambda critic, real, fake, key: penalty(critic, fake, real, key)


def consistency(augment: Callable[[Array, Key], Array], weight: float | Array = 10.0) -> Penalty:
    """``weight * (D(real) - D(augment(real)))^2`` (Zhang et al. 2020: CR-GAN).

    Args:
      augment: ``(images [B, ...], key) -> images [B, ...]``, a change that the critic should not
        see.
      weight: the paper's lambda, not negative.

    Returns:
      A penalty.

    Raises:
      InputError: if the weight is negative.
    """
    _check_weight("weight", weight)

    def penalty(critic: Critic, real: Array, fake: Array, key: Key) -> Array:
        del fake
        change = widen(critic(real)) - widen(critic(augment(real, key)))
        return weight * jnp.square(change)

    return penalty


class Anchors(NamedTuple):
    """LeCam's running means of the logits of real and of generated images, f32[] each."""

    real: Array | float = 0.0
    fake: Array | float = 0.0


def lecam(
    weight: float | Array = 0.3, decay: float | Array = 0.99
) -> Callable[[Array, Array, Anchors], tuple[Array, Anchors]]:
    """Draws each side's logits to the other side's running mean (Tseng et al. 2021, equation 3).

    Args:
      weight: the paper's lambda, not negative.
      decay: what the running means keep at each call, in [0, 1].

    Returns:
      ``(real logits [B], fake logits [B], anchors) -> (penalty f32[B], new anchors)``, the penalty
      being ``weight * ((real - anchors.fake)^2 + (fake - anchors.real)^2)``. Under ``pmap`` and
      ``shard_map`` average the new anchors over the axis.

    Raises:
      InputError: if the weight is negative or the decay outside [0, 1].
    """
    _check_weight("weight", weight)
    _check_share("decay", decay)

    def penalty(real: Array, fake: Array, anchors: Anchors) -> tuple[Array, Anchors]:
        real, fake = widen(real), widen(fake)
        value = weight * (jnp.square(real - anchors.fake) + jnp.square(fake - anchors.real))
        step = 1.0 - decay
        return value, Anchors(_follow(anchors.real, real, step), _follow(anchors.fake, fake, step))

    return penalty


def path_length(
    weight: float | Array = 2.0, decay: float | Array = 0.01, *, axis_name: str | None = None
) -> Callable[[Callable[[Array], Array], Array, Key, Array], tuple[Array, Array]]:
    """Asks that steps in w change the image alike everywhere (Karras et al. 2020, equation 4).

    Args:
      weight: of the penalty, not negative.
      decay: how far the running mean moves to the batch's mean length at each call, in [0, 1].
      axis_name: the ``pmap`` or ``shard_map`` axis that the batch is split over.

    Returns:
      ``(generate, w, key, mean f32[]) -> (penalty f32[B], new mean f32[])``, the penalty being
      ``weight * (|J^T y| - mean)^2``. ``generate`` maps w, [B, D] or [B, layers, D], to images [B,
      H, W, C], J is its Jacobian, ``y ~ N(0, I) / sqrt(H * W)``, and several layers count by the
      mean of their squares. ``mean`` starts at 0. It raises InputError for float16 images. Under
      ``pmap`` and ``shard_map`` average the new mean over the axis.

    Raises:
      InputError: if the weight is negative or the decay outside [0, 1].
    """
    _check_weight("weight", weight)
    _check_share("decay", decay)

    def penalty(generate: Callable[[Array], Array], w: Array, key: Key, mean: Array | float) -> tuple[Array, Array]:
        images, pull_back = jax.vjp(generate, widen(w))
        _refuse_float16("generator", images)
        noise = axis.draw(partial(jax.random.normal, dtype=images.dtype), key, images.shape, axis_name)
        (gradient,) = pull_back(noise / math.sqrt(math.prod(images.shape[1:-1])))
        length = _norm(_clamp(gradient)) / math.sqrt(math.prod(w.shape[1:-1]))
        return weight * jnp.square(length - mean), _follow(mean, length, decay)

    return penalty


def mode_seeking(
    fake: Array, other: Array, z: Array, other_z: Array, *, eps: float = 1e-5, axis_name: str | None = None
) -> Array:
    """Asks that latents which differ make images which differ (Mao et al. 2019, equation 3; MSGAN).

    https://arxiv.org/abs/1903.05628: their ratio of distances ``d(G(z1), G(z2)) / d(z1, z2)``, which is to be large.
    As in the authors' code the generator lowers ``1 / (ratio + eps)``, and distances are mean absolute differences over
    the batch, here the global one.

    Args:
      fake: f[B, ...], images of
      other: and other images of the same conditions,
      z: f[B, D], the latents of the first
      other_z: and of the second.
      eps: bounds the value, by ``1 / eps``.
      axis_name: the ``pmap`` or ``shard_map`` axis that the batch is split over.

    Returns:
      f32[].

    >>> mode_seeking(jnp.zeros((4, 2)), jnp.ones((4, 2)), jnp.zeros((4, 1)), jnp.full((4, 1), 3.0)).round(2)
    Array(3., dtype=float32)
    """
    images = jnp.mean(jnp.abs(widen(fake) - widen(other)))
    latents = jnp.mean(jnp.abs(widen(z) - widen(other_z)))
    images, latents = axis.mean((images, latents), axis_name)
    return 1.0 / (images / latents + eps)


def _input_gradient(critic: Critic, images: Array) -> Array:
    """The gradient of each image's logit with respect to that image, [B, ...]."""

    def total(images: Array) -> Array:
        logits = critic(images)
        _refuse_float16("critic", logits)
        return jnp.sum(widen(logits))

    return _clamp(jax.grad(total)(images))


def _clamp(gradient: Array) -> Array:
    return jnp.clip(gradient, -STEEPEST, STEEPEST)


def _norm(x: Array) -> Array:
    """The norm of each example, [B, ...] -> [B], with derivative zero at zero."""
    return optax.safe_norm(x.reshape(len(x), -1), 0.0, axis=-1)


def _follow(mean: Array | float, values: Array, step: float | Array) -> Array:
    """The running mean after one more batch."""
    return mean + step * (jnp.sum(values / values.size) - mean)


def _refuse_float16(player: str, output: Array) -> None:
    if output.dtype == jnp.float16:
        raise InputError(
            f"The {player} computes in float16, where the derivatives of a gradient penalty "
            "underflow to zero. Give it dtype bfloat16 or float32."
        )


def _check_weight(name: str, weight: float | Array) -> None:
    if isinstance(weight, int | float) and not weight >= 0:
        raise InputError(f"{name} is {weight}. It must not be negative; 0 switches the penalty off.")


def _check_share(name: str, share: float | Array) -> None:
    if isinstance(share, int | float) and not 0 <= share <= 1:
        raise InputError(f"{name} is {share}. It must lie between 0 and 1.")
