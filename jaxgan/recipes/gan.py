"""The original GAN, the Wasserstein GAN, conditional GANs: one recipe.

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, algorithm 1; Arjovsky, Chintala & Bottou 2017,
https://arxiv.org/abs/1701.07875, algorithm 1; Mirza & Osindero 2014, https://arxiv.org/abs/1411.1784; Odena, Olah &
Shlens 2017, https://arxiv.org/abs/1610.09585. How a condition enters the networks is the networks' affair.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import augment as augmentation
from jaxgan import axis, penalties
from jaxgan.augment import Augment, adapt, real_sign, strength
from jaxgan.errors import InputError, closest
from jaxgan.games import Lookahead, Rule, look_ahead, with_slow_weights
from jaxgan.nn.conditional import check_conditions
from jaxgan.objectives import Objective, non_saturating, wasserstein
from jaxgan.packing import pack, pack_conditions, unpack
from jaxgan.state import TrainState, initial
from jaxgan.turns import average, descend, every, repeat, sequence, together, train_step, when
from jaxgan.typing import GAN, Array, Aux, Batch, Judged, Key, Mean, Metrics, Params, PyTree, Turn

# {"label": i32[B], ...}: what the networks get as keyword arguments.
Conditions: TypeAlias = dict[str, Any]


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
    rule: Rule | None = None,
    lookahead: Lookahead | None = None,
    warmup: Warmup | None = None,
    penalty_every: int = 1,
    packing: int = 1,
    mode_seeking: float | Array = 0.0,
    augment: Augment | None = None,
    target: float | Array | None = 0.6,
    images_to_one: float | Array = 500_000,
    half_life: float | Array = 10_000.0,
    microbatches: int = 1,
    conditions: Sequence[str] | Mapping[str, jax.ShapeDtypeStruct] = (),
    fake_conditions: Callable[[Key, Batch], Conditions] | None = None,
    classifier_weight_d: float | Array = 1.0,
    classifier_weight_g: float | Array = 1.0,
    classify_fakes: bool = False,
    classes: int | None = None,
    axis_name: str | None = None,
) -> GAN:
    """A GAN from any two networks, conditional or not.

    Args:
      generator: a Flax module, ``(z f32[B, latent_dim], *, train: bool, **conditions) -> [B, ...]``.
      discriminator: a Flax module, ``(x [B, ...], *, train: bool, **conditions) -> logits f32[B]``. One that answers
        ``(logits, class logits f32[B, K])`` makes an AC-GAN: both players also minimise the cross-entropy of the
        condition "label", the discriminator on real images, the generator on its own.
      latent_dim: of the latents, which are standard normal.
      objective: an adversarial objective, by default `non_saturating`.
      g_tx: the generator's optax transform, by default Adam with learning rate 2e-4 and b1 0.5 (Radford et al. 2015).
      d_tx: the discriminator's, by default the same. The objective's constraint is chained after it.
      d_steps: discriminator updates for each of the generator (k of the GAN paper, n_critic of the WGAN paper). A
        batch holds d_steps * B images: every update sees B of them.
      simultaneous: both players step from the same state, on the same fakes, instead of one after the other.
      rule: how both players move at once, one of `jaxgan.games`: ``extragradient``, ``partial(consensus, weight=1.0)``.
        By default each follows its own gradient, one after the other or ``simultaneous``.
      lookahead: after every so many steps both players fall back towards slow weights, ``memory["lookahead"]``.
      warmup: steps on which the discriminator is trained longer; they go over the batch several times, each time with
        fresh latents.
      penalty_every: the objective's penalties are added on every so many steps alone, that many times as strong, as
        an update of their own (lazy regularisation, Karras et al. 2020, appendix B). Pass `lazy_adam` as ``d_tx`` then.
      packing: images that the discriminator sees at a time, as `pack` joins them (PacGAN): what it answers, and what
        penalties and augmented images are of, are packs. It gets their conditions as [B / packing, packing, ...], which
        `ConcatDiscriminator` and projections take.
      mode_seeking: weight of `penalties.mode_seeking` in the generator's loss; 0 leaves it out.
      augment: what the discriminator sees instead of the images, real and generated; penalties are taken through it.
      target: of the mean sign of real images' logits (`real_sign`), which `adapt` steers the augmentation's probability
        ``memory["ada"].p`` to, from 0 on. None: it is always 1, as DiffAugment has it.
      images_to_one: the fewest images in which the probability gets from 0 to 1.
      half_life: of the generator's averaged parameters, in images; samples are drawn with them.
      microbatches: every update takes its batch in so many slices, one after the other, to save memory (`descend`).
      conditions: what both networks are conditioned on: names of entries of the batch that are integer labels,
        ``("label",)``, or a dict of names and the ``jax.ShapeDtypeStruct`` of one example's,
        ``{"text": jax.ShapeDtypeStruct((512,), jnp.float32)}``.
      fake_conditions: ``(key, batch) -> {"label": i32[B], ...}`` draws what the generator is asked for,
        `uniform_labels` for example. By default that is the batch's conditions, which follow the data's distribution.
      classifier_weight_d: weight of the discriminator's cross-entropy in an AC-GAN;
      classifier_weight_g: and of the generator's.
      classify_fakes: the discriminator learns to classify fakes as well, as in the AC-GAN paper. The players can then
        agree on marks of the classes that no person sees: of a DCGAN's MNIST digits a classifier of its own recognised
        12 % as the class asked for, though the discriminator recognised 90 %.
      classes: also report the mean logits of each of so many labels, ``real_logit/3`` and ``fake_logit/3``.
      axis_name: the axis under ``pmap`` or ``shard_map``; the networks' batch normalisation needs it as well.

    Returns:
      ``init(key)``, ``step(state, {"image": [d_steps * B, ...], **conditions}, key)`` and
      ``sample(state, key, n, **conditions)``, to which labels i32[n] may also be given as weights that mix the classes,
      f32[n, classes]. A step reports both losses, the mean logits, and the share of real and fake images that the sign
      of the logit gets right; an AC-GAN also what share its classifier recognises. Vectors of spectral normalisation
      move by one power iteration in a player's turn.

    Raises:
      InputError: if d_steps, penalty_every or packing is below 1, the options exclude each other, or a network does not
        take the conditions; while tracing, if conditions are missing, unknown or of the wrong shape.

    >>> from jaxgan.nn import DCGANDiscriminator, DCGANGenerator
    >>> dcgan = gan(DCGANGenerator((28, 28, 1)), DCGANDiscriminator())
    >>> state = jax.jit(dcgan.init)(jax.random.key(0))  # doctest: +SKIP
    >>> state, metrics = jax.jit(dcgan.step, donate_argnums=0)(state, {"image": images}, key)  # doctest: +SKIP

    >>> digits = gan(
    ...     DCGANGenerator((28, 28, 1), classes=10),
    ...     DCGANDiscriminator(classes=10),
    ...     conditions=("label",),
    ... )
    >>> threes = digits.sample(state, key, 8, label=jnp.full(8, 3))  # doctest: +SKIP
    """
    if (simultaneous or rule is not None) and (d_steps != 1 or warmup is not None):
        raise InputError(
            f"{'simultaneous=True' if rule is None else 'A rule'} updates both players once from one state; it got "
            f"d_steps = {d_steps}{' and a warm-up' if warmup else ''}. Drop one of the two."
        )
    if rule is not None and (simultaneous or microbatches != 1):
        raise InputError(
            "A rule says how both players move, and takes the batch as a whole; it got simultaneous = "
            f"{simultaneous} and microbatches = {microbatches}. Leave them out."
        )
    if penalty_every < 1:
        raise InputError(f"penalty_every is {penalty_every}; penalties are added on every so many steps, at least 1.")
    if packing < 1:
        raise InputError(f"packing is {packing}; the discriminator sees so many images at a time, at least 1.")
    if packing > 1 and classes is not None:
        raise InputError(f"packing is {packing}: a pack is of no one label, to report its logit by. Leave classes out.")
    objective = non_saturating() if objective is None else objective
    g_tx = optax.adam(2e-4, b1=0.5) if g_tx is None else g_tx
    d_tx = optax.adam(2e-4, b1=0.5) if d_tx is None else d_tx
    d_tx = optax.chain(d_tx, objective.constraint)
    target = None if augment is None else target

    specs = _specs(conditions)
    for network in (generator, discriminator):
        check_conditions(network, specs)
    if fake_conditions is not None and not specs:
        raise InputError("fake_conditions is given, but no conditions. Name them, for example conditions=('label',).")
    if classes is not None and "label" not in specs:
        raise InputError(f"classes={classes} asks for metrics by label, but 'label' is none of the conditions.")
    lazy = penalty_every > 1 and bool(objective.penalties)
    seeking = not isinstance(mode_seeking, int | float) or mode_seeking > 0

    def init(key: Key) -> TrainState:
        g_key, d_key = jax.random.split(key)
        z = jnp.zeros((1, latent_dim))
        blank: Conditions = {name: jnp.zeros((1, *spec.shape), spec.dtype) for name, spec in specs.items()}
        g = dict(generator.init(g_key, z, train=False, **blank))
        image = jax.eval_shape(lambda: generator.apply(g, z, train=False, **blank))
        x = pack(jnp.zeros((packing, *image.shape[1:]), image.dtype), packing)
        given = pack_conditions({name: jnp.repeat(c, packing, axis=0) for name, c in blank.items()}, packing)
        d = dict(discriminator.init(d_key, x, train=False, **given))
        if objective.penalties and "batch_stats" in d:
            warnings.warn(
                "The objective penalises the discriminator's gradient at each image, but batch normalisation makes "
                "its logits depend on the other images of the batch. Build it without (DCGANDiscriminator(norm=False), "
                "--no-d-norm).",
                stacklevel=2,
            )
        return with_slow_weights(initial(g, d, g_tx, d_tx, augmentation.start(target)), lookahead)

    def draw(batch: Batch, key: Key) -> tuple[Array, Conditions, Conditions]:
        """Latents, the conditions of the batch, and those that the generator is asked for."""
        n = len(batch["image"])
        given = asked = _select(batch, specs, n, "The batch")
        if fake_conditions is not None:
            key, condition_key = jax.random.split(key)
            drawn = fake_conditions(condition_key, batch)
            _check_known(drawn, specs, "fake_conditions")
            asked = _select(given | drawn, specs, n, "What fake_conditions returns")
        return axis.draw(jax.random.normal, key, (n, latent_dim), axis_name), given, asked

    def generate(params: Params, state: TrainState, z: Array, asked: Conditions) -> tuple[Array, PyTree]:
        return apply_train(generator, params, state.variables["generator"], z, **asked)

    def judge(params: Params, variables: PyTree, x: Array, given: Conditions) -> tuple[Array, Array | None, PyTree]:
        out, variables = apply_train(discriminator, params, variables, x, **pack_conditions(given, packing))
        logits, class_logits = out if isinstance(out, tuple) else (out, None)
        if class_logits is not None and packing > 1:
            raise InputError(f"packing is {packing}: a classifier cannot say of which class a pack is. Leave one out.")
        return logits, class_logits, variables

    def view(state: TrainState, images: Array, key: Key) -> Array:
        """What the discriminator sees of the images."""
        return pack(images if augment is None else augment(images, key, strength(state, target)), packing)

    def discriminator_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        latent_key, rest = jax.random.split(key)
        penalty_key, real_key, fake_key = jax.random.split(rest, 3)
        real, (z, given, asked) = batch["image"], draw(batch, latent_key)
        fake, _ = generate(state.params["generator"], state, z, asked)
        # Real and fake images apart, as the paper's batch statistics demand.
        variables, seen = state.variables["discriminator"], view(state, real, real_key)
        real_logits, real_classes, variables = judge(params, variables, seen, given)
        fake_logits, fake_classes, variables = judge(params, variables, view(state, fake, fake_key), asked)
        loss = jnp.mean(objective.d_loss(real_logits, fake_logits))
        metrics = logit_metrics(real_logits, fake_logits)
        if augment is not None:
            metrics["real_sign"] = real_sign(real_logits, fake_logits, axis_name)
        if classes is not None:
            metrics |= _by_class("real_logit", real_logits, given["label"], classes)
            metrics |= _by_class("fake_logit", fake_logits, asked["label"], classes)
        if real_classes is not None and fake_classes is not None:
            real_loss, metrics["real_class_accuracy"] = _classify(real_classes, given)
            fake_loss, metrics["fake_class_accuracy"] = _classify(fake_classes, asked)
            loss += classifier_weight_d * (real_loss + fake_loss if classify_fakes else real_loss)
        if objective.penalties and not lazy:
            # Real and fake images that a penalty mixes have the same conditions; the compiler drops what none looks at.
            paired = fake if fake_conditions is None else generate(state.params["generator"], state, z, given)[0]
            metrics["penalty"] = penalise(params, state, variables, real, paired, given, penalty_key)
            loss += metrics["penalty"]
        return loss, Aux(metrics, {"discriminator": variables})

    def penalise(
        params: Params, state: TrainState, variables: PyTree, real: Array, fake: Array, given: Conditions, key: Key
    ) -> Array:
        augment_key, key = jax.random.split(key)

        def critic(x: Array) -> Array:
            images = unpack(x, packing)
            return judge(params, variables, view(state, images, jax.random.clone(augment_key)), given)[0]

        return objective.penalty(critic, pack(real, packing), pack(fake, packing), key)

    def penalty_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        latent_key, penalty_key = jax.random.split(key)
        z, given, _ = draw(batch, latent_key)
        fake, _ = generate(state.params["generator"], state, z, given)
        variables = state.variables["discriminator"]
        penalty = penalise(params, state, variables, batch["image"], fake, given, penalty_key)
        return penalty_every * penalty, Aux({"penalty": penalty})

    def generator_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        latent_key, rest = jax.random.split(key)  # as in discriminator_loss: simultaneous turns share their fakes
        real_key, fake_key, *seeking_keys = jax.random.split(rest, 3 if seeking else 2)
        z, given, asked = draw(batch, latent_key)
        fake, variables = generate(params, state, z, asked)
        d_params, d_variables = state.params["discriminator"], state.variables["discriminator"]
        # The compiler drops the pass over real images where g_loss does not look at it.
        real_logits, _, d_variables = judge(d_params, d_variables, view(state, batch["image"], real_key), given)
        fake_logits, fake_classes, _ = judge(d_params, d_variables, view(state, fake, fake_key), asked)
        loss = jnp.mean(objective.g_loss(real_logits, fake_logits))
        if fake_classes is not None:
            loss += classifier_weight_g * _classify(fake_classes, asked)[0]
        metrics: Metrics = {}
        for k in seeking_keys:
            other = axis.draw(jax.random.normal, k, z.shape, axis_name)
            images, _ = generate(params, state, other, asked)
            metrics["mode_seeking"] = penalties.mode_seeking(fake, images, z, other, axis_name=axis_name)
            loss += mode_seeking * metrics["mode_seeking"]
        return loss, Aux(metrics, {"generator": variables})

    update = partial(descend, microbatches=microbatches, axis_name=axis_name)

    def player(name: str, network: nn.Module, turn: Turn) -> Turn:
        """A player's turn: before it one power iteration of its spectral norms, whatever passes follow."""

        def moved(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
            m = 1 if network is generator else packing
            x = jnp.zeros((1, latent_dim)) if network is generator else pack(batch["image"][:m], m)
            given = {n: c[:m] for n, c in _select(batch, specs, len(batch["image"]), "The batch").items()}
            return turn(_iterate_power(state, name, network, x, pack_conditions(given, m)), batch, key)

        return moved

    def regulated(turn: Turn) -> Turn:
        """The turn of the discriminator, and what follows it."""
        if target is not None:
            turn = adapt(turn, target=target, images_to_one=images_to_one, axis_name=axis_name)
        if not lazy:
            return turn
        return sequence(turn, every(penalty_every, update("discriminator", penalty_loss, d_tx, metric="lazy_loss")))

    if rule is None:
        d_turn = regulated(player("discriminator", discriminator, update("discriminator", discriminator_loss, d_tx)))
        g_turn = player("generator", generator, update("generator", generator_loss, g_tx))
        players = (together if simultaneous else sequence)(repeat(d_steps, d_turn), g_turn)
        turns = (*_warmup_turns(warmup, d_steps, d_turn), players)
    else:
        game = {"discriminator": (discriminator_loss, d_tx), "generator": (generator_loss, g_tx)}
        moved = player("generator", generator, rule(game, axis_name=axis_name))
        turns = (regulated(player("discriminator", discriminator, moved)),)
    if lookahead is not None:
        turns = (*turns, look_ahead(lookahead))
    step = train_step(*turns, average("generator", half_life, axis_name=axis_name))

    def sample(state: TrainState, key: Key, n: int, **given: Any) -> Array:
        _check_known(given, specs, "sample()")
        asked = _select(given, specs, n, "sample()", mixtures=True)
        z = jax.random.normal(key, (n, latent_dim))
        return cast(Array, generator.apply(state.average["generator"], z, train=False, **asked))

    def average_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        """The discriminator's, with the penalties of other steps."""
        loss, aux = discriminator_loss(params, state, batch, key)
        if lazy:
            loss += penalty_loss(params, state, batch, jax.random.fold_in(key, 1))[0] / penalty_every
        return loss, aux

    def judged(state: TrainState, batch: Batch, key: Key) -> dict[str, Judged]:
        params, variables = state.params["discriminator"], state.variables["discriminator"]
        n = len(batch["image"])
        given = _select(batch, specs, n, "The batch")

        def critic(images: Array) -> Array:
            return judge(params, variables, pack(images, packing), given)[0]

        return {"": Judged(critic, batch["image"], sample(state, key, n, **given))}

    return GAN(init, step, sample, {"discriminator": average_loss, "generator": generator_loss}, judged)


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

    >>> from jaxgan.nn import DCGANDiscriminator, DCGANGenerator
    >>> as_published = wgan(DCGANGenerator((28, 28, 1)), DCGANDiscriminator(), warmup=Warmup())
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


def uniform_labels(classes: int, axis_name: str | None = None) -> Callable[[Key, Batch], Conditions]:
    """Asks the generator for every class equally often, whatever the data's distribution: for ``fake_conditions``.

    Args:
      classes: labels are drawn from 0 to classes - 1.
      axis_name: the ``pmap`` or ``shard_map`` axis that the batch is split over.

    >>> gan(generator, discriminator, conditions=("label",), fake_conditions=uniform_labels(10))  # doctest: +SKIP
    """

    def labels(key: Key, batch: Batch) -> Conditions:
        sampler = partial(jax.random.randint, minval=0, maxval=classes)
        return {"label": axis.draw(sampler, key, (len(batch["image"]),), axis_name)}

    return labels


def apply_train(
    module: nn.Module, params: Params, variables: PyTree, x: Array, **conditions: Any
) -> tuple[PyTree, PyTree]:
    """One pass in training mode: the output, and the untrained collections as that pass leaves them.

    Vectors of spectral normalisation stay: they move once a turn, not with every pass.

    Args:
      module: the network.
      params: its parameters.
      variables: its other collections, ``{"batch_stats": ...}``.
      x: latents or images, f[B, ...].
      **conditions: arrays [B, ...] by name.
    """
    moving = [name for name in variables if name != "spectral"]
    out, new = module.apply({"params": params, **variables}, x, train=True, mutable=moving, **conditions)
    return out, {**variables, **new}


def logit_metrics(real_logits: Array, fake_logits: Array) -> Metrics:
    """Mean logits, and the share of images that a threshold of 0 classifies rightly.

    For a critic 0 means nothing; there the logits' difference tells.

    Args:
      real_logits: f32[B, ...].
      fake_logits: f32[B, ...].

    Returns:
      "real_logit", "fake_logit", "real_accuracy" and "fake_accuracy", f32[] each.
    """
    return {
        "real_logit": jnp.mean(real_logits),
        "fake_logit": jnp.mean(fake_logits),
        "real_accuracy": jnp.mean(real_logits > 0, dtype=jnp.float32),
        "fake_accuracy": jnp.mean(fake_logits < 0, dtype=jnp.float32),
    }


def _iterate_power(state: TrainState, name: str, network: nn.Module, x: Array, given: Conditions) -> TrainState:
    """Moves the player's vectors of spectral normalisation, if it has any."""
    variables = state.variables[name]
    if "spectral" not in variables:
        return state
    # They depend on the kernels alone: the compiler drops the rest of this pass.
    _, new = network.apply({"params": state.params[name], **variables}, x, train=False, mutable="spectral", **given)
    return state.replace(variables=state.variables | {name: {**variables, **new}})


def _by_class(name: str, logits: Array, label: Array, classes: int) -> Metrics:
    """The mean logit of each class, over the examples that the batch has of it."""
    member = label[:, None] == jnp.arange(classes)
    totals, counts = jnp.sum(logits[:, None] * member, axis=0), jnp.sum(member, axis=0, dtype=jnp.float32)
    return {f"{name}/{k}": Mean(totals[k], counts[k]) for k in range(classes)}


def _classify(class_logits: Array, conditions: Conditions) -> tuple[Array, Array]:
    """The classifier's mean cross-entropy, and the share of examples that it recognises."""
    if "label" not in conditions:
        raise InputError("The discriminator classifies, but 'label' is none of the conditions. Add it to conditions=.")
    label = conditions["label"]
    loss = optax.softmax_cross_entropy_with_integer_labels(class_logits.astype(jnp.float32), label)
    return jnp.mean(loss), jnp.mean(jnp.argmax(class_logits, axis=-1) == label, dtype=jnp.float32)


def _specs(conditions: Sequence[str] | Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.ShapeDtypeStruct]:
    if isinstance(conditions, str):
        raise InputError(f"conditions is {conditions!r}, a single string. Write ({conditions!r},).")
    if isinstance(conditions, Mapping):
        return dict(conditions)
    return {name: jax.ShapeDtypeStruct((), jnp.int32) for name in conditions}


def _check_known(given: Mapping[str, Array], specs: Mapping[str, jax.ShapeDtypeStruct], where: str) -> None:
    if unknown := sorted(given.keys() - specs.keys()):
        allowed = closest(unknown[0], specs) if specs else "The model is unconditional."
        raise InputError(f"{where} has a condition {unknown[0]!r}. {allowed}")


def _select(
    arrays: Mapping[str, Array], specs: Mapping[str, jax.ShapeDtypeStruct], n: int, where: str, mixtures: bool = False
) -> Conditions:
    """The conditions out of a batch of n; with mixtures a label may be weights of the classes."""
    for name, spec in specs.items():
        if name not in arrays:
            raise InputError(
                f"{where} has no condition {name!r}, which the networks need; it has {', '.join(arrays) or 'none'}."
            )
        shape = jnp.shape(arrays[name])
        expected = shape[1:] if mixtures and not spec.shape and len(shape) == 2 else spec.shape
        if shape != (n, *expected):
            raise InputError(f"{where} has the condition {name!r} of shape {shape}. Expected: {(n, *expected)}.")
    return {name: arrays[name] for name in specs}


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
