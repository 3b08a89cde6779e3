"""StyleGAN2: a generator that is controlled by styles, and its regularisers.

Karras et al. 2020, https://arxiv.org/abs/1912.04958; with adaptive augmentation, Karras et al. 2020,
https://arxiv.org/abs/2006.06676.
"""

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax

from jaxgan import augment as augmentation
from jaxgan import axis, latent, penalties
from jaxgan.augment import Augment, adapt, strength
from jaxgan.errors import InputError
from jaxgan.games import Lookahead, Rule, look_ahead, with_slow_weights
from jaxgan.nn.stylegan2 import StyleDiscriminator, StyleGenerator
from jaxgan.objectives import Objective, non_saturating
from jaxgan.state import TrainState, initial
from jaxgan.transforms import lazy_adam
from jaxgan.turns import average, descend, every, sequence, train_step
from jaxgan.typing import GAN, Array, Aux, Batch, Judged, Key, LossFn, Metrics, Params, PyTree, Turn


def stylegan2(
    generator: StyleGenerator,
    discriminator: StyleDiscriminator,
    *,
    objective: Objective | None = None,
    r1: float | Array = 10.0,
    r1_every: int = 16,
    path_length: float | Array = 2.0,
    path_every: int = 4,
    mixing: float | Array = 0.9,
    rule: Rule | None = None,
    lookahead: Lookahead | None = None,
    augment: Augment | None = None,
    target: float | Array | None = 0.6,
    images_to_one: float | Array = 500_000,
    g_tx: optax.GradientTransformation | None = None,
    d_tx: optax.GradientTransformation | None = None,
    half_life: float | Array = 10_000.0,
    ramp: float | Array | None = 0.05,
    axis_name: str | None = None,
) -> GAN:
    """StyleGAN2 with lazy regularisation, and with adaptive discriminator augmentation if it is given one.

    Args:
      generator: its ``classes`` make the GAN conditional; the batch and ``sample`` then have "label", i32[B].
      discriminator: of the same classes.
      objective: an adversarial objective without penalties, by default `non_saturating`: the logistic loss.
      r1: gamma of the penalty on the discriminator's gradient at real images; 0 leaves it out.
      r1_every: steps from one to the next.
      path_length: weight of path length regularisation (section 3.2); 0 leaves it out. It looks at half of a batch, and
        its running mean is ``memory["path_length"]``.
      path_every: steps from one to the next.
      mixing: the share of images that have a second style from a random layer on.
      rule: how both players move at once, as that of `gan`; the lazy regularisers have steps of their own after it.
      lookahead: after every so many steps both players fall back towards slow weights, ``memory["lookahead"]``.
      augment: what the discriminator sees instead of the images, real and generated.
      target: of the mean sign of the logits of real images, which `adapt` steers the augmentation's probability
        ``memory["ada"].p`` to, from 0 on. None: the probability is always 1, as DiffAugment has it.
      images_to_one: the fewest images in which the probability gets from 0 to 1.
      g_tx: the generator's optax transform, by default Adam with learning rate 2e-3, b1 0, b2 0.99, corrected for lazy
        regularisation (`lazy_adam`).
      d_tx: the discriminator's, by default the same.
      half_life: of the averaged generator, in images; samples are drawn with it.
      ramp: see `average`.
      axis_name: the axis under ``pmap`` or ``shard_map``; the one of the networks.

    Returns:
      ``init(key)``; ``step(state, {"image": f32[B, H, W, C], "label": i32[B]}, key)``; ``sample(state, key, n, *, psi,
      label)``, f32[n, H, W, C], truncated to the share psi of the distance to the mean style.

    Raises:
      InputError: for networks that do not fit together, intervals below 1, an objective with penalties; while tracing,
        for batches without the labels.

    >>> gan = stylegan2(StyleGenerator((32, 32, 3)), StyleDiscriminator(), augment=ada())  # doctest: +SKIP
    """
    objective = non_saturating() if objective is None else objective
    _check(generator, discriminator, objective, r1_every, path_every)
    has_r1, has_path = (not isinstance(weight, int | float) or weight > 0 for weight in (r1, path_length))
    adam = partial(lazy_adam, 2e-3, 0.0, 0.99)
    g_tx = adam(interval=path_every) if g_tx is None else g_tx
    d_tx = adam(interval=r1_every) if d_tx is None else d_tx
    d_tx = optax.chain(d_tx, objective.constraint)
    target = None if augment is None else target
    layers = generator.layers

    def init(key: Key) -> TrainState:
        g_key, d_key = jax.random.split(key)
        label: dict[str, Any] = {} if generator.classes is None else {"label": jnp.zeros((1,), jnp.int32)}
        group = discriminator.group or 1
        many: dict[str, Any] = {name: jnp.repeat(x, group, axis=0) for name, x in label.items()}
        g = dict(generator.init(g_key, jnp.zeros((1, generator.latent_dim)), train=False, **label))
        d = dict(discriminator.init(d_key, jnp.zeros((group, *generator.shape)), train=False, **many))
        memory: dict[str, Any] = {"path_length": jnp.zeros(())} if has_path else {}
        return with_slow_weights(initial(g, d, g_tx, d_tx, memory | augmentation.start(target)), lookahead)

    def given(batch: Batch, n: int | None = None) -> dict[str, Any]:
        if generator.classes is None:
            return {}
        if "label" not in batch:
            raise InputError(f"The networks are conditional, but the batch has no 'label': only {', '.join(batch)}.")
        return {"label": batch["label"][:n]}

    def styles(params: Params, variables: PyTree, n: int, label: dict, key: Key) -> tuple[Array, PyTree]:
        """Styles f32[n, layers, w_dim], some of them mixed, and the moved mean style."""
        latent_key, other_key, coin_key, layer_key = jax.random.split(key, 4)
        shape = (n, generator.latent_dim)
        z, other = (axis.draw(jax.random.normal, k, shape, axis_name) for k in (latent_key, other_key))
        # One pass for both: the mean style moves once.
        both: dict[str, Any] = {name: jnp.concatenate([x, x]) for name, x in label.items()}
        w, moved = generator.apply(
            {"params": params, **variables}, jnp.concatenate([z, other]), train=True, method="map",
            mutable=["w_avg"], **both,
        )  # fmt: skip
        w, second = jnp.split(w, 2)
        coins = axis.draw(jax.random.uniform, coin_key, (n,), axis_name)
        start = axis.draw(partial(jax.random.randint, minval=1, maxval=layers), layer_key, (n,), axis_name)
        start = jnp.where(coins < mixing, start, layers)
        mixed = jnp.arange(layers) >= start[:, None]
        return jnp.where(mixed[..., None], second[:, None], w[:, None]), moved

    def paint(params: Params, variables: PyTree, ws: Array, key: Key) -> Array:
        return cast(Array, generator.apply({"params": params, **variables}, ws, key, method="synthesise"))

    def fakes(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, PyTree]:
        style_key, noise_key = jax.random.split(key)
        n = len(batch["image"])
        variables = state.variables["generator"]
        ws, moved = styles(params, variables, n, given(batch), style_key)
        return paint(params, variables, ws, noise_key), moved

    def judge(params: Params, state: TrainState, x: Array, label: dict, key: Key) -> Array:
        if augment is not None:
            x = augment(x, key, strength(state, target))
        return cast(Array, discriminator.apply({"params": params}, x, train=True, **label))

    def discriminator_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        fake_key, *keys = jax.random.split(key, 3)
        fake, _ = fakes(state.params["generator"], state, batch, fake_key)
        real_logits, fake_logits = (
            judge(params, state, x, given(batch), k) for x, k in zip((batch["image"], fake), keys, strict=True)
        )
        metrics: Metrics = {
            "real_logit": jnp.mean(real_logits),
            "fake_logit": jnp.mean(fake_logits),
            "real_sign": jnp.mean(jnp.sign(real_logits)),
            "fake_sign": jnp.mean(jnp.sign(fake_logits)),
        }
        return jnp.mean(objective.d_loss(real_logits, fake_logits)), Aux(metrics)

    def r1_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        augment_key, penalty_key = jax.random.split(key)

        def critic(x: Array) -> Array:
            return judge(params, state, x, given(batch), jax.random.clone(augment_key))

        penalty = jnp.mean(penalties.r1(r1)(critic, batch["image"], batch["image"], penalty_key))
        return r1_every * penalty, Aux({"r1": penalty})

    def generator_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        fake_key, real_key, augment_key = jax.random.split(key, 3)
        fake, moved = fakes(params, state, batch, fake_key)
        d_params = state.params["discriminator"]
        # The compiler drops the pass over real images where g_loss does not look at it.
        real_logits = judge(d_params, state, batch["image"], given(batch), real_key)
        fake_logits = judge(d_params, state, fake, given(batch), augment_key)
        return jnp.mean(objective.g_loss(real_logits, fake_logits)), Aux({}, {"generator": moved})

    def path_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        style_key, noise_key, path_key = jax.random.split(key, 3)
        n = max(1, len(batch["image"]) // 2)
        variables = state.variables["generator"]
        ws, _ = styles(params, variables, n, given(batch, n), style_key)

        def synthesise(ws: Array) -> Array:
            return paint(params, variables, ws, jax.random.clone(noise_key))

        regulariser = penalties.path_length(path_length, axis_name=axis_name)
        penalty, mean = regulariser(synthesise, ws, path_key, state.memory["path_length"])
        penalty = jnp.mean(penalty)
        return path_every * penalty, Aux({"path_penalty": penalty, "path_length": mean})

    def remember(turn: Turn) -> Turn:
        """Keeps the running mean of path lengths that the turn reports."""

        def remembered(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
            state, metrics = turn(state, batch, key)
            return state.replace(memory=state.memory | {"path_length": metrics["path_length"]}), metrics

        return remembered

    update = partial(descend, axis_name=axis_name)
    if rule is None:
        d_turn = update("discriminator", discriminator_loss, d_tx)
    else:  # both players' turn
        d_turn = rule(
            {"discriminator": (discriminator_loss, d_tx), "generator": (generator_loss, g_tx)}, axis_name=axis_name
        )
    if target is not None:
        d_turn = adapt(d_turn, target=target, images_to_one=images_to_one, axis_name=axis_name)
    turns = [d_turn]
    if has_r1:
        turns.append(every(r1_every, update("discriminator", r1_loss, d_tx, metric="r1_loss")))
    if rule is None:
        turns.append(update("generator", generator_loss, g_tx))
    if has_path:
        turns.append(every(path_every, remember(update("generator", path_loss, g_tx, metric="path_loss"))))
    if lookahead is not None:
        turns.append(look_ahead(lookahead))
    step = train_step(sequence(*turns), average("generator", half_life, ramp=ramp, axis_name=axis_name))

    def sample(state: TrainState, key: Key, n: int, *, psi: float | Array = 1.0, label: Array | None = None) -> Array:
        latent_key, noise_key = jax.random.split(key)
        variables = state.average["generator"]
        z = jax.random.normal(latent_key, (n, generator.latent_dim))
        w = cast(Array, generator.apply(variables, z, label, method="map"))
        ws = latent.truncate(latent.broadcast(w, layers), variables["w_avg"]["mean"], psi)
        return cast(Array, generator.apply(variables, ws, noise_key, method="synthesise"))

    def whole(loss: LossFn, lazy: LossFn, interval: int) -> LossFn:
        """With the regulariser of other steps."""

        def whole_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
            value, aux = loss(params, state, batch, key)
            return value + lazy(params, state, batch, jax.random.fold_in(key, 1))[0] / interval, aux

        return whole_loss

    def judged(state: TrainState, batch: Batch, key: Key) -> dict[str, Judged]:
        label, variables = given(batch), {"params": state.params["discriminator"]}

        def critic(images: Array) -> Array:
            return cast(Array, discriminator.apply(variables, images, train=True, **label))

        return {"": Judged(critic, batch["image"], sample(state, key, len(batch["image"]), **label))}

    losses = {
        "discriminator": whole(discriminator_loss, r1_loss, r1_every) if has_r1 else discriminator_loss,
        "generator": whole(generator_loss, path_loss, path_every) if has_path else generator_loss,
    }
    return GAN(init, step, sample, losses, judged)


def _check(
    generator: StyleGenerator, discriminator: StyleDiscriminator, objective: Objective, r1_every: int, path_every: int
) -> None:
    if generator.classes != discriminator.classes:
        raise InputError(
            f"The generator has classes={generator.classes}, the discriminator classes={discriminator.classes}. Give "
            "both the same."
        )
    if objective.penalties:
        raise InputError("The objective has gradient penalties; StyleGAN2 has R1 of its own. Take one without, r1=0.")
    for name, value in (("r1_every", r1_every), ("path_every", path_every)):
        if value < 1:
            raise InputError(f"{name} is {value}; a regulariser runs on every so many steps, at least 1.")
