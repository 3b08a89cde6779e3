"""The original GAN, and the Wasserstein GAN: one recipe, two objectives.

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, algorithm 1; Arjovsky, Chintala & Bottou 2017,
https://arxiv.org/abs/1701.07875, algorithm 1.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import axis
from jaxgan.errors import InputError
from jaxgan.objectives import Objective, non_saturating, wasserstein
from jaxgan.state import TrainState
from jaxgan.turns import average, descend, every, repeat, sequence, together, train_step, when
from jaxgan.typing import GAN, Array, Aux, Batch, Key, Metrics, Params, PyTree, Turn


class Warmup(NamedTuple):
    """Steps on which the discriminator is trained longer, as the WGAN authors' code does it.

    Attributes:
      updates: of the discriminator on such a step; a multiple of the usual number.
      first: the first so many steps are such steps,
      period: and every so many steps one more.
    """

    updates: int = 100
    first: int = 25
    period: int = 500


def gan(
    generator: nn.Module,
    discriminator: nn.Module,
    *,
    latent_dim: int = 100,
    objective: Objective | None = None,
    g_tx: optax.GradientTransformation | None = None,
    d_tx: optax.GradientTransformation | None = None,
    d_steps: int = 1,
    simultaneous: bool = False,
    warmup: Warmup | None = None,
    penalty_every: int = 1,
    half_life: float | Array = 10_000.0,
    microbatches: int = 1,
    axis_name: str | None = None,
) -> GAN:
    """A GAN from any two networks.

    Args:
      generator: a Flax module, ``(z f32[B, latent_dim], *, train: bool) -> [B, ...]``.
      discriminator: a Flax module, ``(x [B, ...], *, train: bool) -> logits f32[B]``.
      latent_dim: of the latents, which are standard normal.
      objective: an adversarial objective, by default `non_saturating`.
      g_tx: the generator's optax transform, by default Adam with learning rate 2e-4 and b1 0.5 (Radford et al. 2015).
      d_tx: the discriminator's, by default the same. The objective's constraint is chained after it.
      d_steps: discriminator updates for each of the generator (k of the GAN paper, n_critic of the WGAN paper). A
        batch holds d_steps * B images: every update sees B of them.
      simultaneous: both players step from the same state, on the same fakes, instead of one after the other.
      warmup: steps on which the discriminator is trained longer; they go over the batch several times, each time with
        fresh latents.
      penalty_every: the objective's penalties are added on every so many steps alone, that many times as strong, as
        an update of their own (lazy regularisation, Karras et al. 2020, appendix B). Pass `lazy_adam` as ``d_tx`` then.
      half_life: of the generator's averaged parameters, in images; samples are drawn with them.
      microbatches: every update takes its batch in so many slices, one after the other, to save memory (`descend`).
      axis_name: the axis under ``pmap`` or ``shard_map``; the networks' batch normalisation needs it as well.

    Returns:
      ``init(key)``, ``step(state, {"image": [d_steps * B, ...]}, key)`` and ``sample(state, key, n)``. A step reports
      both losses, the mean logits, and the share of real and fake images that the sign of the logit gets right.

    Raises:
      InputError: if d_steps or penalty_every is below 1, or the options exclude each other.

    >>> dcgan = gan(DCGANGenerator((28, 28, 1)), DCGANDiscriminator())
    >>> state = jax.jit(dcgan.init)(jax.random.key(0))  # doctest: +SKIP
    >>> state, metrics = jax.jit(dcgan.step, donate_argnums=0)(state, {"image": images}, key)  # doctest: +SKIP
    """
    if simultaneous and (d_steps != 1 or warmup is not None):
        raise InputError(
            f"simultaneous=True updates both players once from one state; it got d_steps = {d_steps}"
            f"{' and a warm-up' if warmup else ''}. Drop one of the two."
        )
    if penalty_every < 1:
        raise InputError(f"penalty_every is {penalty_every}; penalties are added on every so many steps, at least 1.")
    objective = non_saturating() if objective is None else objective
    g_tx = optax.adam(2e-4, b1=0.5) if g_tx is None else g_tx
    d_tx = optax.adam(2e-4, b1=0.5) if d_tx is None else d_tx
    d_tx = optax.chain(d_tx, objective.constraint)

    lazy = penalty_every > 1 and bool(objective.penalties)

    def init(key: Key) -> TrainState:
        g_key, d_key = jax.random.split(key)
        g = dict(generator.init(g_key, jnp.zeros((1, latent_dim)), train=False))
        image = jax.eval_shape(lambda: generator.apply(g, jnp.zeros((1, latent_dim)), train=False))
        d = dict(discriminator.init(d_key, jnp.zeros(image.shape, image.dtype), train=False))
        if objective.penalties and "batch_stats" in d:
            warnings.warn(
                "The objective penalises the discriminator's gradient at each image, but batch normalisation makes "
                "its logits depend on the other images of the batch. Build it without (DCGANDiscriminator(norm=False), "
                "--no-d-norm).",
                stacklevel=2,
            )
        params = {"generator": g.pop("params"), "discriminator": d.pop("params")}
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state={
                "generator": g_tx.init(params["generator"]),
                "discriminator": d_tx.init(params["discriminator"]),
            },
            variables={"generator": g, "discriminator": d},
            memory={},
            # A copy: a state that is donated must not hold one buffer twice.
            average={"generator": jax.tree.map(jnp.copy, {"params": params["generator"], **g})},
        )

    def generate(params: Params, state: TrainState, key: Key, n: int) -> tuple[Array, PyTree]:
        z = axis.draw(jax.random.normal, key, (n, latent_dim), axis_name)
        return apply_train(generator, params, state.variables["generator"], z)

    def discriminator_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        latent_key, penalty_key = jax.random.split(key)
        real = batch["image"]
        fake, _ = generate(state.params["generator"], state, latent_key, len(real))
        # Real and fake images apart, as the paper's batch statistics demand.
        real_logits, variables = apply_train(discriminator, params, state.variables["discriminator"], real)
        fake_logits, variables = apply_train(discriminator, params, variables, fake)
        loss = jnp.mean(objective.d_loss(real_logits, fake_logits))
        metrics = logit_metrics(real_logits, fake_logits)
        if objective.penalties and not lazy:
            metrics["penalty"] = penalise(params, variables, real, fake, penalty_key)
            loss += metrics["penalty"]
        return loss, Aux(metrics, {"discriminator": variables})

    def penalise(params: Params, variables: PyTree, real: Array, fake: Array, key: Key) -> Array:
        def critic(x: Array) -> Array:
            return apply_train(discriminator, params, variables, x)[0]

        keys = jax.random.split(key, len(objective.penalties))
        values = [p(critic, real, fake, k) for p, k in zip(objective.penalties, keys, strict=True)]
        return jnp.mean(sum(values[1:], start=values[0]))

    def penalty_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        latent_key, penalty_key = jax.random.split(key)
        fake, _ = generate(state.params["generator"], state, latent_key, len(batch["image"]))
        variables = state.variables["discriminator"]
        penalty = penalise(params, variables, batch["image"], fake, penalty_key)
        return penalty_every * penalty, Aux({"penalty": penalty})

    def generator_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        latent_key, _ = jax.random.split(key)  # as in discriminator_loss: simultaneous turns share their fakes
        real = batch["image"]
        fake, variables = generate(params, state, latent_key, len(real))
        d_params, d_variables = state.params["discriminator"], state.variables["discriminator"]
        # The compiler drops the pass over real images where g_loss does not look at it.
        real_logits, d_variables = apply_train(discriminator, d_params, d_variables, real)
        fake_logits, _ = apply_train(discriminator, d_params, d_variables, fake)
        return jnp.mean(objective.g_loss(real_logits, fake_logits)), Aux({}, {"generator": variables})

    update = partial(descend, microbatches=microbatches, axis_name=axis_name)
    d_turn = update("discriminator", discriminator_loss, d_tx)
    if lazy:
        d_turn = sequence(d_turn, every(penalty_every, update("discriminator", penalty_loss, d_tx, metric="lazy_loss")))
    g_turn = update("generator", generator_loss, g_tx)
    players = (together if simultaneous else sequence)(repeat(d_steps, d_turn), g_turn)
    step = train_step(
        *_warmup_turns(warmup, d_steps, d_turn),
        players,
        average("generator", half_life, axis_name=axis_name),
    )

    def sample(state: TrainState, key: Key, n: int) -> Array:
        z = jax.random.normal(key, (n, latent_dim))
        return cast(Array, generator.apply(state.average["generator"], z, train=False))

    return GAN(init, step, sample)


def wgan(
    generator: nn.Module,
    critic: nn.Module,
    *,
    clip: float | Array = 0.01,
    g_tx: optax.GradientTransformation | None = None,
    d_tx: optax.GradientTransformation | None = None,
    d_steps: int = 5,
    **options,
) -> GAN:
    """The Wasserstein GAN with weight clipping.

    `gan` with the objective `wasserstein(clip)`, RMSProp with learning rate 5e-5 for both players unless ``g_tx`` and
    ``d_tx`` say otherwise, and five critic updates (n_critic) for each of the generator.

    Args:
      clip: c of the paper: after every update the critic's parameters lie in [-c, c].
      **options: of `gan`.

    >>> wgan(DCGANGenerator((28, 28, 1)), DCGANDiscriminator(), warmup=Warmup())
    """
    return gan(
        generator,
        critic,
        objective=wasserstein(clip),
        g_tx=rmsprop(5e-5) if g_tx is None else g_tx,
        d_tx=rmsprop(5e-5) if d_tx is None else d_tx,
        d_steps=d_steps,
        **options,
    )


def rmsprop(learning_rate: float | Array | Callable) -> optax.GradientTransformation:
    """RMSProp as the WGAN authors ran it: decay 0.99, and 1e-8 outside of the root."""
    return optax.rmsprop(learning_rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)


def apply_train(module: nn.Module, params: Params, variables: PyTree, x: Array) -> tuple[Array, PyTree]:
    """One pass in training mode: the output, and the untrained collections as that pass leaves them."""
    return module.apply({"params": params, **variables}, x, train=True, mutable=list(variables))


def logit_metrics(real_logits: Array, fake_logits: Array) -> Metrics:
    """Mean logits, and the share of images that a threshold of 0 classifies rightly.

    For a critic 0 means nothing; there the logits' difference tells.
    """
    return {
        "real_logit": jnp.mean(real_logits),
        "fake_logit": jnp.mean(fake_logits),
        "real_accuracy": jnp.mean(real_logits > 0, dtype=jnp.float32),
        "fake_accuracy": jnp.mean(fake_logits < 0, dtype=jnp.float32),
    }


def _warmup_turns(warmup: Warmup | None, d_steps: int, d_turn: Turn) -> tuple[Turn, ...]:
    if warmup is None:
        return ()
    if warmup.updates % d_steps or warmup.updates < 2 * d_steps:
        raise InputError(
            f"A warm-up of {warmup.updates} discriminator updates is not a multiple, at least the double, of the "
            f"{d_steps} of a usual step."
        )
    # The usual updates follow in the same step.
    extra = repeat(warmup.updates // d_steps - 1, repeat(d_steps, d_turn), reuse=True)
    return (when(lambda s: (s.step < warmup.first) | (s.step % warmup.period == 0), extra),)
