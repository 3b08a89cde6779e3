"""CycleGAN and pix2pix: images of one domain into those of another, and back.

Zhu et al. 2017, https://arxiv.org/abs/1703.10593, sections 3 and 4; Isola et al. 2017, https://arxiv.org/abs/1611.07004.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgan import augment as augmentation
from jaxgan import axis
from jaxgan.augment import Augment, adapt, real_sign, strength
from jaxgan.errors import InputError
from jaxgan.games import Lookahead, look_ahead, with_slow_weights
from jaxgan.objectives import Objective, least_squares
from jaxgan.state import TrainState, initial
from jaxgan.turns import average, descend, train_step
from jaxgan.typing import GAN, Array, Aux, Batch, Judged, Key, Metrics, Params, Turn
from jaxgan.unmerged import unmerged

_OTHER = {"a": "b", "b": "a"}
_INTO = {"a": "ba", "b": "ab"}  # the generator that makes images of a domain


def cyclegan(
    ab: nn.Module,
    ba: nn.Module,
    d_a: nn.Module,
    d_b: nn.Module,
    shape_a: tuple[int, int, int],
    shape_b: tuple[int, int, int],
    *,
    objective: Objective | None = None,
    cycle: float | Array = 10.0,
    identity: float | Array = 0.5,
    paired: float | Array = 0.0,
    conditional: bool = False,
    pool: int = 50,
    lookahead: Lookahead | None = None,
    augment: Augment | None = None,
    target: float | Array | None = 0.6,
    images_to_one: float | Array = 500_000,
    g_tx: optax.GradientTransformation | None = None,
    d_tx: optax.GradientTransformation | None = None,
    half_life: float | Array = 0.0,
    axis_name: str | None = None,
) -> GAN:
    """Two generators, a to b and b to a, and a discriminator for each domain.

    A step is a turn of both generators and then one of both discriminators, which see fakes of the generators as they
    were before, through a pool: where that is full, every other fake gives way to one of an earlier step. The pool is a
    part of the state, ``memory["pool"]``: ``{"a": f32[pool, H, W, C], "b": ..., "count": i32[]}``. Like all of the
    state it is replicated, not sharded: every device has the fakes of the whole batch, which ride along with the
    gradients, makes the same draws, and shows its discriminators its own rows. Any fake can then meet any slot, as on
    one device, so that the numbers do not depend on how many there are; what it takes is 2 * pool images on each.

    Args:
      ab: a Flax module, ``(x [B, *shape_a], *, train: bool) -> [B, *shape_b]``, with no variables but parameters.
      ba: back, ``[B, *shape_b] -> [B, *shape_a]``.
      d_a: the discriminator of domain a, ``(x [B, *shape_a], *, train: bool) -> logits f32[B, ...]``, of patches for
        example: losses are averaged over them.
      d_b: the discriminator of domain b.
      shape_a: (H, W, C) of the images of domain a.
      shape_b: of domain b.
      objective: an adversarial objective, by default `least_squares`. Its penalties look at each image's mean logit.
      cycle: weight of ``|ba(ab(a)) - a|`` and ``|ab(ba(b)) - b|``, means over pixels (equation 2). 0 leaves it out.
      identity: weight of ``|ba(a) - a|`` and ``|ab(b) - b|``, as a share of ``cycle`` (section 5.2). 0 leaves it out.
      paired: weight of ``|ba(b) - a|`` and ``|ab(a) - b|`` for batches whose rows are pairs (pix2pix: 100).
      conditional: each discriminator sees the input of the translation as well, in channels before those of the image,
        as in pix2pix; real images are seen with the other half of their pair.
      pool: how many fakes of each domain are remembered (section 4: 50). 0 shows those of the step alone.
      lookahead: after every so many steps both players fall back towards slow weights, ``memory["lookahead"]``.
      augment: what the discriminators see instead of the images, real and generated.
      target: of the mean sign of real images' logits (`real_sign`, over the patches of both domains), which `adapt`
        steers the augmentation's probability ``memory["ada"].p`` to, from 0 on. None: it is always 1.
      images_to_one: the fewest images in which the probability gets from 0 to 1.
      g_tx: the generators' optax transform, by default Adam with learning rate 2e-4, b1 0.5, b2 0.999. The paper's
        learning rate is `constant_then_linear`.
      d_tx: the discriminators', by default the same. Their loss is halved (section 7.1), penalties and all. The
        objective's constraint is chained after it.
      half_life: of the generators' averaged parameters, in images; samples are drawn with them. 0, as in the paper,
        draws with the last.
      axis_name: the axis under ``pmap`` or ``shard_map``.

    Returns:
      ``init(key)``; ``step(state, {"a": f32[B, *shape_a], "b": f32[B, *shape_b]}, key)``;
      ``sample(state, key, n, a=images)``, which gives f32 images of domain b, and ``sample(state, key, n, b=images)``,
      for images f32[n, H, W, C] in [-1, 1] of any size that the networks take. The players are "generator" with
      parameters ``{"ab": ..., "ba": ...}`` and "discriminator" with ``{"a": ..., "b": ...}``. Metrics end in the domain
      of the image that is judged or compared: "adversarial/b" is a loss of ab, "cycle/a", "identity/a" and "paired/a"
      are mean absolute differences without their weights, "discriminator_loss/a" is the halved loss of d_a,
      "real_logit/a" and "fake_logit/a" are its mean logits. "real_sign" is what `adapt` looks at, "augment_p" where it
      leads. ``losses`` are those of the step but for the pool: the discriminators see the fakes of the generators as
      they are.

    Raises:
      InputError: for a pool of negative size, an identity loss between domains with different channels, networks that
        do not map the one shape to the other; while tracing, for batches of other shapes.

    >>> from jaxgan.nn.cyclegan import PatchDiscriminator, ResnetGenerator
    >>> from jaxgan.objectives import non_saturating
    >>> g, d, shape = ResnetGenerator(3), PatchDiscriminator(), (256, 256, 3)
    >>> gan = cyclegan(g, g, d, d, shape, shape)
    >>> state = jax.jit(gan.init)(jax.random.key(0))  # doctest: +SKIP
    >>> state, metrics = jax.jit(gan.step, donate_argnums=0)(state, {"a": horses, "b": zebras}, key)  # doctest: +SKIP

    pix2pix, in both directions at once:

    >>> pairs = {"cycle": 0, "pool": 0, "paired": 100.0, "conditional": True}
    >>> gan = cyclegan(g, g, d, d, shape, shape, objective=non_saturating(), **pairs)
    """
    objective = least_squares() if objective is None else objective
    g_tx = optax.adam(2e-4, b1=0.5) if g_tx is None else g_tx
    d_tx = optax.adam(2e-4, b1=0.5) if d_tx is None else d_tx
    d_tx = optax.chain(d_tx, objective.constraint)
    target = None if augment is None else target

    shapes = {"a": tuple(shape_a), "b": tuple(shape_b)}
    generators, discriminators = {"ab": ab, "ba": ba}, {"a": d_a, "b": d_b}
    compares_identity = _is_on(cycle) and _is_on(identity)
    _check_options(shapes, pool, compares_identity, conditional, augment is not None)

    def init(key: Key) -> TrainState:
        blank = {domain: jnp.zeros((1, *shape)) for domain, shape in shapes.items()}
        seen = see(blank, blank)
        keys = jax.random.split(key, 4)
        g = {name: _init(generators[name], k, blank[name[0]]) for name, k in zip(generators, keys[:2], strict=True)}
        _check_shapes(jax.eval_shape(translate, g, blank), shapes)
        d = {name: _init(discriminators[name], k, seen[name]) for name, k in zip(discriminators, keys[2:], strict=True)}
        images = {domain: jnp.zeros((pool, *x.shape[1:])) for domain, x in seen.items()}
        memory = {"pool": images | {"count": jnp.zeros((), jnp.int32)}} if pool else {}
        state = initial({"params": g}, {"params": d}, g_tx, d_tx, memory | augmentation.start(target))
        return with_slow_weights(state, lookahead)

    def into(domain: str, params: Params, x: Array) -> Array:
        name = _INTO[domain]
        return cast(Array, generators[name].apply({"params": params[name]}, x, train=True))

    def translate(params: Params, batch: Batch) -> Batch:
        """The fakes of each domain."""
        return {domain: into(domain, params, batch[_OTHER[domain]]) for domain in shapes}

    def see(batch: Batch, images: Batch) -> Batch:
        """What the discriminators look at to judge these images."""
        if not conditional:
            return {domain: images[domain] for domain in shapes}
        return {domain: jnp.concatenate([batch[_OTHER[domain]], images[domain]], axis=-1) for domain in shapes}

    def judge(domain: str, params: Params, state: TrainState, x: Array, key: Key) -> Array:
        if augment is not None:
            x = augment(x, key, strength(state, target))
        return cast(Array, discriminators[domain].apply({"params": params[domain]}, x, train=True))

    def generator_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        _check_batch(batch, shapes)
        fake, d_params = translate(params, batch), state.params["discriminator"]
        # The compiler drops the pass over real images where g_loss does not look at it.
        real, seen = see(batch, batch), see(batch, fake)
        real_logits, fake_logits = (
            {d: judge(d, d_params, state, x[d], k) for d, k in zip(shapes, jax.random.split(draw), strict=True)}
            for x, draw in zip((real, seen), jax.random.split(key), strict=True)
        )
        losses = {f"adversarial/{d}": jnp.mean(objective.g_loss(real_logits[d], fake_logits[d])) for d in shapes}
        total = losses["adversarial/a"] + losses["adversarial/b"]

        def compare(name: str, weight: float | Array, made: Batch) -> Array:
            losses.update({f"{name}/{d}": jnp.mean(jnp.abs(made[d] - batch[d])) for d in shapes})
            return weight * (losses[f"{name}/a"] + losses[f"{name}/b"])

        if _is_on(cycle):
            total += compare("cycle", cycle, translate(params, fake))
        if compares_identity:
            total += compare("identity", cycle * identity, {d: into(d, params, batch[d]) for d in shapes})
        if _is_on(paired):
            total += compare("paired", paired, fake)
        # The discriminators' turn takes the fakes from there: they are made once.
        return total, Aux({**losses}, {"generator": {"fakes": _whole(seen, axis_name)}})

    def discriminator_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        real, metrics, signs = see(batch, batch), {}, []
        for domain, k in zip(shapes, jax.random.split(key), strict=True):
            fake = batch[f"fake_{domain}"]
            real_key, fake_key, penalty_key = jax.random.split(k, 3)
            real_logits = judge(domain, params, state, real[domain], real_key)
            fake_logits = judge(domain, params, state, fake, fake_key)
            signs.append(real_sign(real_logits, fake_logits, axis_name))
            loss = jnp.mean(objective.d_loss(real_logits, fake_logits))
            if objective.penalties:
                penalty = penalise(domain, params, state, real[domain], fake, penalty_key)
                metrics[f"penalty/{domain}"] = penalty
                loss += penalty
            metrics |= {
                f"discriminator_loss/{domain}": loss / 2,
                f"real_logit/{domain}": jnp.mean(real_logits),
                f"fake_logit/{domain}": jnp.mean(fake_logits),
            }
        metrics["real_sign"] = sum(signs) / 2
        return metrics["discriminator_loss/a"] + metrics["discriminator_loss/b"], Aux(metrics)

    def penalise(domain: str, params: Params, state: TrainState, real: Array, fake: Array, key: Key) -> Array:
        key, augment_key = jax.random.split(key)

        def critic(x: Array) -> Array:
            return _of_images(judge(domain, params, state, x, jax.random.clone(augment_key)))

        return objective.penalty(critic, real, fake, key)

    def recall(turn: Turn) -> Turn:
        """The discriminators' turn, with what they are to see of the generators as a part of its batch."""

        def recalled(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
            pool_key, key = jax.random.split(key)
            fakes, memory = state.variables["generator"]["fakes"], state.memory
            if pool:
                images, fakes = query(memory["pool"], fakes, pool_key)
                memory = memory | {"pool": images}
            state = state.replace(variables=state.variables | {"generator": {}}, memory=memory)
            fakes = axis.rows(fakes, axis_name)
            return turn(state, batch | {f"fake_{domain}": x for domain, x in fakes.items()}, key)

        return recalled

    d_turn = descend("discriminator", discriminator_loss, d_tx, axis_name=axis_name)
    if target is not None:
        d_turn = adapt(d_turn, target=target, images_to_one=images_to_one, axis_name=axis_name)
    step = train_step(
        descend("generator", generator_loss, g_tx, axis_name=axis_name),
        recall(d_turn),
        *([] if lookahead is None else [look_ahead(lookahead)]),
        average("generator", half_life, axis_name=axis_name),
    )

    def sample(state: TrainState, key: Key, n: int, *, a: Array | None = None, b: Array | None = None) -> Array:
        del key  # nothing is drawn
        if (a is None) == (b is None):
            raise InputError("sample() translates a=images to domain b or b=images to domain a: give one of the two.")
        domain, images = ("a", b) if a is None else ("b", a)
        images = jnp.asarray(images)
        if images.ndim != 4 or len(images) != n or not jnp.issubdtype(images.dtype, jnp.floating):
            raise InputError(
                f"sample() got {_OTHER[domain]} of shape {images.shape}, {images.dtype}. Expected: {n} images in "
                f"[-1, 1], f32[{n}, height, width, channels]."
            )
        name = _INTO[domain]
        variables = {"params": state.average["generator"]["params"][name]}
        return cast(Array, generators[name].apply(variables, images, train=False))

    def present_loss(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[Array, Aux]:
        """The discriminators', of fakes of the generators as they are: those of earlier ones answer to no player."""
        fakes = see(batch, translate(state.params["generator"], batch))
        return discriminator_loss(params, state, batch | {f"fake_{domain}": x for domain, x in fakes.items()}, key)

    def judged(state: TrainState, batch: Batch, key: Key) -> dict[str, Judged]:
        n, params = len(batch["a"]), state.params["discriminator"]

        def of(domain: str, other: str) -> Judged:
            def critic(images: Array) -> Array:
                x = see(batch, batch | {domain: images})[domain]
                return _of_images(discriminators[domain].apply({"params": params[domain]}, x, train=True))

            return Judged(critic, batch[domain], sample(state, key, n, **{other: batch[other]}))

        return {domain: of(domain, other) for domain, other in _OTHER.items()}

    return GAN(init, step, sample, {"discriminator": present_loss, "generator": generator_loss}, judged)


def query(pool: Batch, fakes: Batch, key: Key) -> tuple[Batch, Batch]:
    """Exchanges the fakes of a step with those in the pools (section 4; Shrivastava et al. 2017).

    Args:
      pool: ``{"a": f32[N, H, W, C], "b": ..., "count": i32[]}``; the first ``count`` slots hold images.
      fakes: ``{"a": f32[B, H, W, C], "b": ...}``, those of all replicas.
      key: decides which of them enter a full pool, and where.

    Returns:
      The new pool, and what the discriminators are to see, of the shapes of ``fakes``.
    """
    after, seen = {}, {}
    for (domain, images), k in zip(fakes.items(), jax.random.split(key), strict=True):
        swap_key, slot_key = jax.random.split(k)
        swap = jax.random.bernoulli(swap_key, shape=images.shape[:1])
        slot = jax.random.randint(slot_key, images.shape[:1], 0, len(pool[domain]))
        after[domain], seen[domain] = exchange(pool[domain], pool["count"], images, swap, slot)
        after["count"] = jnp.minimum(pool["count"] + len(images), len(pool[domain]))
    return after, seen


def exchange(images: Array, count: Array, fakes: Array, swap: Array, slot: Array) -> tuple[Array, Array]:
    """Hands fakes to a pool one after the other, given the draws: `query` for one domain.

    While the pool is not full, a fake goes to its next free slot and is shown as well. After that a fake is shown, or,
    where ``swap`` says so, it takes a slot and what was there is shown.

    Args:
      images: f32[N, ...], the pool.
      count: i32[], how many of its slots hold images.
      fakes: f32[B, ...].
      swap: bool[B], whether a fake enters a full pool.
      slot: i32[B], and where, from 0 to N - 1.

    Returns:
      The new pool f32[N, ...], and the images to show, f32[B, ...].
    """
    order = jnp.arange(len(fakes))
    fills = count + order < len(images)
    slot = jnp.where(fills, count + order, slot)
    enters = fills | swap
    # [i, j]: fake j enters the slot that fake i meets.
    meets = (slot[:, None] == slot) & enters
    last = jnp.max(jnp.where(meets & (order < order[:, None]), order, -1), axis=1)
    stays = enters & ~jnp.any(meets & (order > order[:, None]), axis=1)

    def each(chosen: Array) -> Array:
        return chosen.reshape(-1, *(1,) * (fakes.ndim - 1))

    # A slot holds what the last fake before this one left there, in this batch or in an earlier one.
    # What was read is written back where nothing enters: so it is read before anything is written, and XLA on CPUs need
    # not copy the pool for that.
    held = jax.lax.platform_dependent(images, slot, cpu=unmerged(_take), default=_take)
    met = jnp.where(each(last < 0), held, fakes[last])
    shown = jnp.where(each(enters & ~fills), met, fakes)
    left = jnp.where(each(stays), fakes, held)
    return images.at[jnp.where(stays, slot, len(images))].set(left, mode="drop"), shown


def _take(images: Array, slot: Array) -> Array:
    return images[slot]


def constant_then_linear(learning_rate: float | Array, steps: int, decay_from: int) -> optax.Schedule:
    """The paper's learning rate (section 4): constant, then linearly to zero.

    Args:
      learning_rate: until the decay starts.
      steps: of the training; after so many it is 0.
      decay_from: the step at which the decay starts, in the paper half of them.

    Raises:
      InputError: unless 0 <= decay_from < steps.

    >>> tx = optax.adam(constant_then_linear(2e-4, steps=200 * 400, decay_from=100 * 400), b1=0.5)
    """
    if not 0 <= decay_from < steps:
        raise InputError(f"A decay from step {decay_from} to {steps}: it must start at 0 or later and before the end.")
    decay = optax.linear_schedule(learning_rate, 0.0, steps - decay_from)
    return optax.join_schedules([optax.constant_schedule(learning_rate), decay], [decay_from])


def _whole(tree: Batch, axis_name: str | None) -> Batch:
    """What has the rows of all replicas as its mean over them, as which `descend` hands variables on."""
    if axis_name is None:
        return tree
    n, i = axis.size(axis_name), jax.lax.axis_index(axis_name)

    def place(x: Array) -> Array:
        return jnp.zeros((n, *x.shape), x.dtype).at[i].set(n * x).reshape(-1, *x.shape[1:])

    return jax.tree.map(place, tree)


def _of_images(logits: Any) -> Array:
    """Each image's mean logit, f32[B], of those of its patches."""
    return jnp.mean(logits.reshape(len(logits), -1), axis=-1)


def _is_on(weight: float | Array) -> bool:
    """Whether a loss is computed: a traced weight may be anything."""
    return not isinstance(weight, int | float) or weight != 0


def _init(network: nn.Module, key: Key, x: Array) -> Params:
    variables = dict(network.init(key, x, train=False))
    params = variables.pop("params")
    if variables:
        raise InputError(
            f"{type(network).__name__} has {', '.join(sorted(variables))} beside its parameters, which this recipe "
            "does not carry. Take a network with instance normalisation, such as ResnetGenerator or PatchDiscriminator."
        )
    return params


def _check_options(
    shapes: dict[str, tuple[int, ...]], pool: int, identity: bool, conditional: bool, augmented: bool
) -> None:
    a, b = shapes["a"], shapes["b"]
    if wrong := [shape for shape in (a, b) if len(shape) != 3]:
        raise InputError(f"A domain has images of shape (height, width, channels); got {wrong[0]}.")
    if pool < 0:
        raise InputError(f"pool is {pool}. It is a number of images; 0 shows the fakes of the step alone.")
    if identity and a[2] != b[2]:
        raise InputError(
            f"The domains have {a[2]} and {b[2]} channels, so that no generator can leave an image as it is. "
            "Set identity=0."
        )
    if conditional and augmented:
        raise InputError(
            "Augmentations change images, and conditional=True shows the discriminators two in one. Drop one of both."
        )
    if conditional and a[:2] != b[:2]:
        raise InputError(
            f"conditional=True shows an image of {a[0]} x {a[1]} pixels beside one of {b[0]} x {b[1]}. The domains "
            "must have one size."
        )


def _check_shapes(made: Batch, shapes: dict[str, tuple[int, ...]]) -> None:
    for domain, x in made.items():
        if x.shape[1:] != shapes[domain]:
            raise InputError(
                f"The generator {_INTO[domain]} makes images of shape {x.shape[1:]} of those of shape "
                f"{shapes[_OTHER[domain]]}; domain {domain} has {shapes[domain]}. Check its channels."
            )


def _check_batch(batch: Batch, shapes: dict[str, tuple[int, ...]]) -> None:
    for domain, shape in shapes.items():
        if domain not in batch:
            raise InputError(f"The batch has no images {domain!r}; it has {', '.join(batch) or 'none'}.")
        if batch[domain].shape[1:] != shape:
            raise InputError(f"The batch has images {domain!r} of shape {batch[domain].shape[1:]}. Expected: {shape}.")
    if len(batch["a"]) != len(batch["b"]):
        raise InputError(
            f"The batch has {len(batch['a'])} images of domain a and {len(batch['b'])} of b. Draw as many of each."
        )
