"""How ADA adapts the probability of augmentation: Karras et al. 2020, https://arxiv.org/abs/2006.06676, section 3."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxgan import axis
from jaxgan.errors import InputError
from jaxgan.state import TrainState
from jaxgan.typing import Array, Batch, Key, Mean, Metrics, PyTree, Turn


class AdaState(NamedTuple):
    """What ``memory["ada"]`` holds, f32[] each.

    Attributes:
      p: the probability of augmentation.
      sign: the sum of the mean signs of the real images' logits since p last changed.
      count: of how many turns.
    """

    p: Array
    sign: Array
    count: Array


def ada_init(p: float | Array = 0.0) -> AdaState:
    """The state at the start: without augmentation, as in the paper.

    Raises:
      InputError: for a p outside of [0, 1].
    """
    if isinstance(p, int | float) and not 0 <= p <= 1:
        raise InputError(f"p is {p}. A probability is between 0 and 1.")
    # Three buffers: a state that is donated must not hold one twice.
    return AdaState(jnp.full((), p, jnp.float32), jnp.zeros(()), jnp.zeros(()))


def ada_update(
    state: AdaState,
    sign: Array,
    images: float | Array,
    *,
    target: float | Array = 0.6,
    images_to_one: float | Array = 500_000,
    interval: int | Array = 4,
) -> AdaState:
    """Takes note of a turn, and after every so many moves p by a fixed step.

    The mean sign of the logits of real images, r_t in the paper, is 0 where the discriminator does not overfit and 1
    where it tells all real images from all others. p rises where it is above the target and falls where it is below.

    Args:
      state: before the turn.
      sign: f32[], the mean over the turn's real images of sign(D(x)), augmented as they were.
      images: how many that were, on all devices.
      target: of the mean sign, between -1 and 1.
      images_to_one: p takes so many images from 0 to 1.
      interval: how many turns there are between two steps of p.

    Returns:
      The state after the turn; p is in [0, 1].

    >>> state = ada_update(ada_init(), jnp.float32(0.9), 64, interval=1)
    >>> round(float(state.p) * 500_000)
    64
    """
    total, count = state.sign + sign, state.count + 1
    step = jnp.sign(total / count - target) * count * images / images_to_one
    due = count >= interval
    p = jnp.where(due, jnp.clip(state.p + step, 0, 1), state.p)
    return AdaState(p, *(jnp.where(due, 0, x) for x in (total, count)))


def strength(state: TrainState, target: float | Array | None) -> float | Array:
    """The probability that a recipe augments with: the adapted one, or 1 where there is no target."""
    return 1.0 if target is None else state.memory["ada"].p


def start(target: float | Array | None) -> PyTree:
    """What a recipe's memory has of augmentation at the start."""
    return {} if target is None else {"ada": ada_init()}


def real_sign(real_logits: Array, fake_logits: Array, axis_name: str | None = None) -> Array:
    """r_t for logits whose zero means nothing: those of least squares, of critics, of relativistic discriminators.

    Args:
      real_logits: f[...], of real images.
      fake_logits: f[...], of generated ones.
      axis_name: the axis of ``pmap`` or ``shard_map`` that the batch is split over.

    Returns:
      f32[], the mean sign of the real logits after half of the way from their mean to that of the others is taken off.
      As in the paper it is about 0 where the discriminator cannot tell them apart, 1 where it tells all real images.

    >>> round(float(real_sign(jnp.array([0.9, 0.7]), jnp.array([0.1, 0.0]))), 3)
    1.0
    """
    middle = axis.mean((jnp.mean(real_logits) + jnp.mean(fake_logits)) / 2, axis_name)
    return jnp.mean(jnp.sign(real_logits - jax.lax.stop_gradient(middle)), dtype=jnp.float32)


def adapt(
    turn: Turn,
    *,
    target: float | Array = 0.6,
    images_to_one: float | Array = 500_000,
    interval: int | Array = 4,
    axis_name: str | None = None,
) -> Turn:
    """The discriminator's turn, and after it `ada_update` of ``memory["ada"]`` by what it reports.

    Args:
      turn: reports the mean sign of the logits of real images as the metric "real_sign", f32[], averaged over the axis
        as `descend` does it: a loss returns ``Aux({"real_sign": jnp.mean(jnp.sign(real_logits)), ...})``. The state's
        ``memory["ada"]`` is an `AdaState`.
      target: see `ada_update`.
      images_to_one: see `ada_update`.
      interval: in turns; where a discriminator is updated more often than the generator, ``repeat(5, adapt(...))``
        counts its updates.
      axis_name: the axis of ``pmap`` or ``shard_map`` that the batch is split over.

    Returns:
      A turn that also reports p, as "augment_p": that of the next turn.

    Raises:
      InputError: for a target outside of (-1, 1), images_to_one of 0 or less, an interval below 1; while tracing, if
        the turn does not report the metric, or not on every step, or the state has no memory of p.

    >>> d_turn = adapt(descend("discriminator", discriminator_loss, d_tx))  # doctest: +SKIP
    """
    if isinstance(target, int | float) and not -1 < target < 1:
        raise InputError(f"target is {target}. A mean of signs lies between -1 and 1; the paper's target is 0.6.")
    if isinstance(images_to_one, int | float) and not images_to_one > 0:
        raise InputError(f"images_to_one is {images_to_one}. It is a number of images, in the paper 500,000.")
    if isinstance(interval, int) and interval < 1:
        raise InputError(f"interval is {interval}; p changes after every so many turns, at least 1.")

    def adapted(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        state, metrics = turn(state, batch, key)
        sign, memory = metrics.get("real_sign"), state.memory.get("ada")
        if sign is None or isinstance(sign, Mean):
            raise InputError(
                "adapt() needs a turn that reports 'real_sign' on every step, the mean sign of the logits of real "
                f"images. This one reports {', '.join(metrics) or 'nothing'}{' on some steps' if sign else ''}."
            )
        if memory is None:
            raise InputError("adapt() finds no state.memory['ada']. Start it with ada_init().")
        images = jax.tree.leaves(batch)[0].shape[0] * axis.size(axis_name)
        memory = ada_update(memory, sign, images, target=target, images_to_one=images_to_one, interval=interval)
        return state.replace(memory=state.memory | {"ada": memory}), metrics | {"augment_p": memory.p}

    return adapted
