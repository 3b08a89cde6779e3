"""Turns: the algebra that train steps are written in.

A turn is a pure function ``(state, batch, key) -> (state, metrics)``. A train step is a turn, and turns compose:

>>> step = train_step(
...     repeat(5, descend("discriminator", critic_loss, optax.chain(optax.rmsprop(5e-5), clip_weights(0.01)))),
...     descend("generator", generator_loss, optax.rmsprop(5e-5)),
...     average("generator", half_life=10_000),
... )  # doctest: +SKIP

**Slices.** ``repeat(n, turn)`` takes a batch of n x B examples apart, and the turns after it in the same sequence
see one slice of B. A turn carries the number of slices that it wants as ``turn.slices``, `slices` reads it, and
`sequence` hands every turn its share; a plain function counts as one slice.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxgan import axis
from jaxgan.errors import InputError
from jaxgan.state import TrainState
from jaxgan.typing import Array, Aux, Batch, Key, LossFn, Mean, Metrics, Params, PyTree, Turn


@dataclasses.dataclass(frozen=True)
class _Sliced:
    """A turn that wants its batch as a number of equal slices."""

    run: Turn
    slices: int

    def __call__(self, state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        return self.run(state, batch, key)


def slices(turn: Turn) -> int:
    """How many equal slices the turn takes its batch apart into: a batch holds this many times B examples."""
    return getattr(turn, "slices", 1)


def descend(
    player: str,
    loss: LossFn,
    tx: optax.GradientTransformation,
    *,
    metric: str | None = None,
    microbatches: int = 1,
    axis_name: str | None = None,
) -> Turn:
    """One gradient update of one player.

    Args:
      player: whose parameters are updated, a key of ``state.params``.
      loss: ``(own params, state, batch, key) -> (f32[], Aux)``. The gradient is taken with respect to argument 0
        alone; the other players' parameters come from ``state`` and are constants.
      tx: the optax transform; its state is ``state.opt_state[player]``.
      metric: the name under which the loss is reported, by default ``"<player>_loss"``.
      microbatches: the batch is taken apart into so many slices, as by `repeat`, and the update follows the mean of
        their gradients, which are computed one after the other, each with a key of its own: for batches larger than
        memory. What a loss takes from its whole batch, such as batch statistics, it then takes from a slice.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which gradients, metrics and variables are averaged.

    Returns:
      A turn that reports the loss, the norm of its gradient as ``"gradient_norm/<loss>"``, and the loss's own metrics.

    Raises:
      InputError: if microbatches < 1; while tracing, if they do not divide the batch.

    >>> descend("generator", generator_loss, optax.adam(2e-4, b1=0.5))  # doctest: +SKIP
    """
    if microbatches < 1:
        raise InputError(f"descend() got microbatches = {microbatches}; a batch is taken apart into at least 1.")
    gradient = jax.value_and_grad(loss, has_aux=True)
    if microbatches > 1:
        gradient = _accumulated(gradient, microbatches, axis_name)

    def turn(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        params = state.params[player]
        (value, aux), grads = gradient(axis.varying(params, axis_name), state, batch, key)
        name = metric or f"{player}_loss"
        metrics = {name: value, **aux.metrics}
        grads, metrics, variables = axis.mean((grads, metrics, aux.variables), axis_name)
        metrics[f"gradient_norm/{name}"] = optax.tree.norm(grads)
        updates, opt_state = tx.update(grads, state.opt_state[player], params)
        state = state.replace(
            params=state.params | {player: optax.apply_updates(params, updates)},
            opt_state=state.opt_state | {player: opt_state},
            variables=merge(state.variables, variables),
        )
        return state, metrics

    return turn


def _accumulated(gradient: Callable, n: int, axis_name: str | None) -> Callable:
    """The mean of a gradient function, ``value_and_grad(loss, has_aux=True)``, over n slices of the batch."""

    def accumulated(params: Params, state: TrainState, batch: Batch, key: Key) -> tuple[tuple[Array, Aux], Params]:
        def add(carry: tuple[PyTree, PyTree], xs: tuple[Batch, Key]) -> tuple[tuple[PyTree, PyTree], None]:
            total, variables = carry
            part, k = xs
            seen = state.replace(variables=merge(state.variables, variables))
            (value, aux), grads = gradient(params, seen, part, k)
            return (jax.tree.map(jnp.add, total, (value, aux.metrics, grads)), merge(variables, aux.variables)), None

        slices, keys = _stack_slices(batch, n), jax.random.split(key, n)
        first = jax.eval_shape(lambda xs: jax.tree.map(lambda x: x[0], xs), (slices, keys))
        (value, aux), grads = jax.eval_shape(gradient, params, state, *first)
        zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (value, aux.metrics, grads))
        old = {p: {name: state.variables[p][name] for name in new} for p, new in aux.variables.items()}
        # What a loop carries must vary over the axis at its start as it does at its end.
        (total, variables), _ = jax.lax.scan(add, axis.varying((zero, old), axis_name), (slices, keys))
        value, metrics, grads = jax.tree.map(lambda x: x / n, total)
        return (value, Aux(metrics, variables)), grads

    return accumulated


def merge(old: dict[str, dict[str, PyTree]], new: dict[str, dict[str, PyTree]]) -> dict[str, dict[str, PyTree]]:
    """Variables by player with the collections of ``new`` in place of those of the same name."""
    return old | {player: old[player] | collections for player, collections in new.items()}


def sequence(*turns: Turn) -> Turn:
    """One turn after the other, each from the state that the last one left: alternating updates.

    Each turn has a key of its own. Where some turns take n slices of the batch, the others see the last of them:
    the slice that the last repetition saw. Of two turns that report the same metric the later one counts.

    Raises:
      InputError: if the turns' numbers of slices do not divide the largest of them.

    >>> count = lambda state, batch, key: (state.replace(step=state.step + 1), {"n": jnp.float32(len(batch["image"]))})
    >>> both = sequence(repeat(3, count), count)
    >>> slices(both)
    3
    >>> state, metrics = both(
    ...     TrainState(jnp.int32(0), {}, {}, {}, {}, {}), {"image": jnp.zeros((6, 2))}, jax.random.key(0)
    ... )
    >>> int(state.step), int(metrics["n"])  # four turns, of two images each
    (4, 2)
    """
    total = _common_slices(turns)

    def turn(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        metrics: Metrics = {}
        for t, k in zip(turns, jax.random.split(key, len(turns)), strict=True):
            state, reported = t(state, _last_slices(batch, slices(t), total), k)
            metrics |= reported
        return state, metrics

    return _Sliced(turn, total)


def together(*turns: Turn) -> Turn:
    """All turns from the same state: simultaneous updates.

    Every turn gets the same key. Losses that draw their latents from it in the same way therefore see the same
    fakes, and the compiler may share the generator's forward pass.

    Raises:
      InputError: while tracing, if two turns change the same part of the state.

    >>> together(descend("discriminator", d_loss, d_tx), descend("generator", g_loss, g_tx))  # doctest: +SKIP
    """
    total = _common_slices(turns)

    def turn(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        metrics: Metrics = {}
        changes: dict[tuple[str, ...], PyTree] = {}
        for t in turns:
            # The reuse is wanted; `clone` tells the key-reuse checker so.
            new, reported = t(state, _last_slices(batch, slices(t), total), jax.random.clone(key))
            changed = _changes(state, new)
            if clash := changes.keys() & changed.keys():
                raise InputError(
                    f"Two turns of together() change {', '.join('.'.join(at) for at in sorted(clash))}. Simultaneous "
                    "turns must change different parts of the state; use sequence() for turns that build on each other."
                )
            changes |= changed
            metrics |= reported
        return _apply(state, changes), metrics

    return _Sliced(turn, total)


def repeat(n: int, turn: Turn, *, reuse: bool = False) -> Turn:
    """The turn n times, by ``lax.scan``; reports the mean of its metrics.

    Args:
      n: how often, at least 1.
      turn: what is repeated; each repetition has a key of its own.
      reuse: False gives each repetition its own slice of the batch, n equal ones; slice i holds the examples
        i, i + n, i + 2n, ..., so that a batch that is sharded over devices need not be moved between them. True
        gives the whole batch to every repetition.

    Raises:
      InputError: if n < 1; while tracing, if n does not divide the batch.

    >>> repeat(5, descend("discriminator", critic_loss, tx))  # n_critic = 5  # doctest: +SKIP
    """
    if n < 1:
        raise InputError(f"repeat() got n = {n}; it repeats a turn at least once.")
    if n == 1:
        return turn
    own = slices(turn)

    def repeated(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        stacked = None if reuse else _stack_slices(batch, n)
        keys = jax.random.split(key, n)

        def once(changes: dict, xs: tuple[Batch | None, Key]) -> tuple[dict, Metrics]:
            part, k = xs
            before = _apply(state, changes)
            after, metrics = turn(before, batch if part is None else part, k)
            return _pick(after, changes) if changes else _changes(before, after), metrics

        first = jax.eval_shape(lambda xs: jax.tree.map(lambda x: x[0], xs), (stacked, keys))
        # Only what the turn changes is carried; the rest of the state stays a constant of the loop.
        changed, _ = jax.eval_shape(once, {}, first)
        changes, metrics = jax.lax.scan(once, _pick(state, changed), (stacked, keys))
        return _apply(state, changes), jax.tree.map(lambda x: jnp.mean(x, axis=0), metrics)

    return _Sliced(repeated, own if reuse else n * own)


def when(predicate: Callable[[TrainState], Array], turn: Turn) -> Turn:
    """The turn where ``predicate(state)`` holds, by ``lax.cond``; otherwise the state stays as it is.

    Its metrics are `Mean`s, with a count of 0 on the steps where it did not run.

    Args:
      predicate: ``state -> bool[]``. Under ``vmap`` let it look at ``state.step`` alone, which is one for all: what
        differs between members turns the branch into a ``select``, and both sides are computed.
      turn: what runs where it holds.

    >>> when(lambda state: state.step < 25, repeat(20, critic_turn, reuse=True))  # doctest: +SKIP
    """

    def conditional(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        def run(batch: Batch, key: Key) -> tuple[dict, Metrics]:
            after, metrics = turn(state, batch, key)
            counted: Metrics = {n: m if isinstance(m, Mean) else Mean(m, jnp.ones_like(m)) for n, m in metrics.items()}
            return _changes(state, after), counted

        changed, metrics = jax.eval_shape(run, batch, key)

        def skip(*_: PyTree) -> tuple[dict, Metrics]:
            return _pick(state, changed), jax.tree.map(jnp.zeros_like, metrics)

        changes, metrics = jax.lax.cond(predicate(state), run, skip, batch, key)
        return _apply(state, changes), metrics

    return _Sliced(conditional, slices(turn))


def every(k: int, turn: Turn) -> Turn:
    """The turn on the steps 0, k, 2k, ... alone: lazy regularisation (Karras et al. 2020, appendix B).

    Args:
      k: how many steps from one to the next, at least 1.
      turn: what runs on them; its metrics are those of `when`.

    Raises:
      InputError: if k < 1.

    >>> every(16, descend("discriminator", r1_loss, d_tx))  # doctest: +SKIP
    """
    if k < 1:
        raise InputError(f"every() got k = {k}; it runs a turn on every k-th step, k at least 1.")
    return turn if k == 1 else when(lambda state: state.step % k == 0, turn)


def average(
    player: str, half_life: float | Array, *, ramp: float | Array | None = None, axis_name: str | None = None
) -> Turn:
    """Moves the player's average towards its parameters and variables: an exponential moving average.

    Args:
      player: whose average ``state.average[player]`` is moved.
      half_life: in images; after so many images (global batches of B a step) an old value weighs half. 0 copies.
      ramp: at the start the half-life is shorter: at most this share of the images so far (StyleGAN2-ADA: 0.05).
      axis_name: the axis of ``pmap`` or ``shard_map``; the global batch is that of all replicas.

    >>> average("generator", half_life=10_000)  # images: 156 steps of 64  # doctest: +SKIP
    """

    def turn(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        del key
        images = jax.tree.leaves(batch)[0].shape[0] * axis.size(axis_name)
        life = jnp.asarray(half_life, jnp.float32)
        if ramp is not None:
            life = jnp.minimum(life, ramp * images * state.step)
        decay = jnp.exp2(-images / life)  # images / 0 = inf, and 2^-inf = 0: no memory
        current = {"params": state.params[player], **state.variables.get(player, {})}
        moved = optax.incremental_update(current, state.average[player], 1 - decay)
        return state.replace(average=state.average | {player: moved}), {}

    return turn


def train_step(*turns: Turn) -> Turn:
    """The turns in sequence as one step of training: one count of ``state.step``.

    The step number is folded into the key, so the same key may be passed to every call, and a run that is resumed
    draws what it would have drawn.
    """
    turn = sequence(*turns)

    def step(state: TrainState, batch: Batch, key: Key) -> tuple[TrainState, Metrics]:
        state, metrics = turn(state, batch, jax.random.fold_in(key, state.step))
        return state.replace(step=state.step + 1), metrics

    return _Sliced(step, slices(turn))


# A batch and its slices.


def _stack_slices(batch: Batch, n: int) -> Batch:
    """[n * B, ...] -> [n, B, ...], slice i being rows i, i + n, i + 2n, ..."""

    def stack(x: Array) -> Array:
        if x.shape[0] % n:
            low = x.shape[0] // n * n
            raise InputError(
                f"A batch of {x.shape[0]} examples does not divide into {n} equal slices, one for each update. "
                f"The nearest batches that do hold {f'{low} or ' if low else ''}{low + n} examples."
            )
        return jnp.moveaxis(x.reshape(x.shape[0] // n, n, *x.shape[1:]), 1, 0)

    return jax.tree.map(stack, batch)


def _last_slices(batch: Batch, count: int, total: int) -> Batch:
    """The last ``count`` of ``total`` slices, as one batch."""
    if count == total:
        return batch
    stacked = _stack_slices(batch, total)
    return jax.tree.map(lambda x: jnp.moveaxis(x[total - count :], 0, 1).reshape(-1, *x.shape[2:]), stacked)


def _common_slices(turns: tuple[Turn, ...]) -> int:
    counts = [slices(turn) for turn in turns]
    total = max(counts, default=1)
    if odd := [count for count in counts if total % count]:
        raise InputError(
            f"Turns that take {odd[0]} and {total} slices of a batch cannot share one: every number of slices must "
            "divide the largest. Change the n of one repeat(), or nest the repetitions."
        )
    return total


# The parts of a state, {("params", "generator"): ..., ("step",): ...}: what a turn changes is found by comparing the
# leaves' identity while tracing, so that loops and branches carry that and nothing else.


def _parts(state: TrainState) -> dict[tuple[str, ...], PyTree]:
    parts: dict[tuple[str, ...], PyTree] = {}
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        if isinstance(value, dict):
            parts |= {(field.name, name): part for name, part in value.items()}
        else:
            parts[field.name,] = value
    return parts


def _changes(before: TrainState, after: TrainState) -> dict[tuple[str, ...], PyTree]:
    old = _parts(before)

    def same(at: tuple[str, ...], new: PyTree) -> bool:
        if at not in old or jax.tree.structure(old[at]) != jax.tree.structure(new):
            return False
        pairs = zip(jax.tree.leaves(old[at]), jax.tree.leaves(new), strict=True)
        return all(a is b for a, b in pairs)

    return {at: new for at, new in _parts(after).items() if not same(at, new)}


def _pick(state: TrainState, like: dict[tuple[str, ...], PyTree]) -> dict[tuple[str, ...], PyTree]:
    parts = _parts(state)
    return {at: parts[at] for at in like}


def _apply(state: TrainState, changes: dict[tuple[str, ...], PyTree]) -> TrainState:
    for at, value in changes.items():
        field, *name = at
        new = getattr(state, field) | {name[0]: value} if name else value
        state = state.replace(**{field: new})
    return state
