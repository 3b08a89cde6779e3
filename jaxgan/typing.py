"""The types that the library is written in."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import jax

if TYPE_CHECKING:
    from jaxgan.state import TrainState

Array: TypeAlias = jax.Array
Key: TypeAlias = jax.Array  # a typed key, as jax.random.key makes it
PyTree: TypeAlias = Any
Device: TypeAlias = Any  # a jax.Device, which type checkers do not know
Params: TypeAlias = PyTree

# {"image": f32[B, H, W, C] in [-1, 1], "label": i32[B], ...}: arrays whose first axis is the batch.
Batch: TypeAlias = dict[str, Array]


class Mean(NamedTuple):
    """A metric that is not measured on every step: ``total / count`` over any number of steps is its mean.

    Attributes:
      total: f32[], the sum of the values; 0 where nothing was measured.
      count: f32[], how many values the sum holds.
    """

    total: Array
    count: Array


# {"generator_loss": f32[], ...}: scalars; a turn that does not run on every step reports a Mean.
Metrics: TypeAlias = dict[str, Array | Mean]


class Aux(NamedTuple):
    """What a loss returns beside its value.

    Attributes:
      metrics: scalars for the log.
      variables: new values of untrained collections, by player: ``{"generator": {"batch_stats": ...}}``.
        They replace the collections of the same name; what is not named stays as it is.
    """

    metrics: Metrics
    variables: dict[str, dict[str, PyTree]] = {}  # noqa: RUF012  (never written to)


# (state, batch, key) -> (state, metrics)
Turn: TypeAlias = "Callable[[TrainState, Batch, Key], tuple[TrainState, Metrics]]"

# (own params, state, batch, key) -> (loss, aux): the gradient flows through argument 0 alone.
LossFn: TypeAlias = "Callable[[Params, TrainState, Batch, Key], tuple[Array, Aux]]"

# (real logits [B], fake logits [B]) -> loss per example [B]
LogitLoss: TypeAlias = Callable[[Array, Array], Array]


class Judged(NamedTuple):
    """What one discriminator judges.

    Attributes:
      critic: ``images -> logits f[N]``, of B images or N packs of them, as the discriminator sees them without
        augmentation.
      real: f[B, ...], real images,
      fake: f[B, ...], and generated ones, in their place.
    """

    critic: Callable[[Array], Array]
    real: Array
    fake: Array


class GAN(NamedTuple):
    """What a recipe returns: three pure functions; and of games of two players what `jaxgan.diagnostics` looks at.

    Attributes:
      init: ``key -> TrainState``.
      step: a turn, ``(state, batch, key) -> (state, metrics)``; one call is one generator update.
      sample: ``(state, key, n, **conditions) -> images in [-1, 1]``, drawn with the averaged parameters.
      losses: by player, what it minimises on average over the steps.
      judged: ``(state, batch, key) -> {name: Judged}``, what each discriminator judges, the fakes drawn as ``sample``
        draws them. The name of a discriminator that is the only one is "". Where there are several, the parameters of
        each player are those of its networks by name.
    """

    init: Callable[[Key], "TrainState"]
    step: "Turn"
    sample: Callable[..., Array]
    losses: Mapping[str, LossFn] = {}
    judged: "Callable[[TrainState, Batch, Key], dict[str, Judged]] | None" = None
