"""Conditions: how labels and other vectors enter a network.

Every way in is a linear map of one vector for each example: the one-hot code of a label, weights of several classes,
or whatever else describes the image (attributes, the embedding of a text). Networks take conditions as keyword
arguments.
"""

import inspect
from collections.abc import Callable, Collection
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxgan.errors import InputError
from jaxgan.nn.norm import BatchNorm
from jaxgan.typing import Array


def check_labels(label: Array | np.ndarray | None, classes: int | None, name: str = "label") -> None:
    """Says whether labels are what a network of so many classes takes.

    Args:
      label: integers [B] from 0 to classes - 1, those of packs, [B, M], or weights of the classes, f[B, classes], which
        mix them. The range is checked where the values are known, that is outside of compiled functions.
      classes: of the network; None for an unconditional one, which takes no labels.
      name: of the condition, for the message.

    Raises:
      InputError: for labels that are missing, too many, not integers, or out of range.

    >>> check_labels(np.array([3, 1]), 10)
    """
    if classes is None:
        if label is not None:
            raise InputError(
                f"The network is unconditional and got the condition {name!r}. Make it with classes=..., wrap it in "
                "ConcatGenerator or ConcatDiscriminator, or leave the condition out."
            )
        return
    if label is None:
        raise InputError(
            f"The network has {classes} classes and got no {name!r}. Recipes pass on what conditions= names."
        )
    shape, dtype = jnp.shape(label), jnp.result_type(label)
    if jnp.issubdtype(dtype, jnp.floating) and len(shape) == 2 and shape[1] == classes:
        return
    packs = len(shape) == 2 and shape[1] > 1
    if not jnp.issubdtype(dtype, jnp.integer) or not (len(shape) == 1 or packs):
        raise InputError(
            f"The condition {name!r} is {dtype}{list(shape)}. Labels are integers, i32[B] from 0 to {classes - 1}, or "
            f"i32[B, M] of packs; weights that mix the classes are f32[B, {classes}]."
        )
    if not isinstance(label, Tracer):
        values = np.asarray(label)
        if outside := sorted({int(v) for v in values[(values < 0) | (values >= classes)]}):
            raise InputError(f"The condition {name!r} holds {outside[:5]}. Allowed: 0 to {classes - 1}.")


def encode(label: Array | np.ndarray | None, classes: int | None, name: str = "label") -> Array | None:
    """The vector of a label.

    Args:
      label: as in `check_labels`.
      classes: K; None for an unconditional network.
      name: of the condition, for messages.

    Returns:
      f32[B, K], the one-hot code, of packs f32[B, M * K]; NaN where a label that no check could see is out of range.
      None without classes.

    Raises:
      InputError: as `check_labels`.

    >>> encode(jnp.array([2, 0]), 3)
    Array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    check_labels(label, classes, name)
    if classes is None or label is None:
        return None
    label = jnp.asarray(label)
    if jnp.issubdtype(label.dtype, jnp.floating):
        return label.astype(jnp.float32)
    known = (label >= 0) & (label < classes)
    codes = jnp.where(known[..., None], jax.nn.one_hot(label, classes), jnp.nan)
    return codes if label.ndim == 1 else codes.reshape(label.shape[0], -1)


def check_conditions(network: nn.Module, names: Collection[str]) -> None:
    """Says whether a network can be called with the conditions.

    Raises:
      InputError: if its ``__call__`` has no argument of such a name.
    """
    parameters = inspect.signature(network.__call__).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    if unknown := [name for name in names if name not in parameters]:
        raise InputError(
            f"{type(network).__name__} takes no condition {unknown[0]!r}. Wrap it in ConcatGenerator or "
            "ConcatDiscriminator, or leave the condition out."
        )


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose scale and offset depend on a condition.

    ``(1 + W y) * normalised(x) + V y``, with W and V starting at zero: scales start at one. For one-hot y these are
    tables of scales and offsets by class (Miyato & Koyama 2018, https://arxiv.org/abs/1802.05637; de Vries et al.
    2017); for other y it is BigGAN's layer (Brock et al. 2019, https://arxiv.org/abs/1809.11096).

    Attributes:
      dtype: of the computation; parameters and batch statistics are float32.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which batch statistics are shared.

    >>> x = ConditionalBatchNorm()(x, encode(label, 10), train=True)  # doctest: +SKIP
    """

    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, y: Array, *, train: bool) -> Array:
        """f[B, ..., C], f[B, D] -> f[B, ..., C]; ``train`` takes batch statistics from this batch."""

        def affine(name: str) -> Array:
            dense = nn.Dense(
                x.shape[-1], use_bias=False, kernel_init=nn.initializers.zeros, dtype=self.dtype, name=name
            )
            return dense(y).reshape(y.shape[0], *(1,) * (x.ndim - 2), -1)

        norm = BatchNorm(
            not train, momentum=0.9, use_scale=False, use_bias=False, dtype=self.dtype, axis_name=self.axis_name
        )
        return (1 + affine("scale")) * norm(x) + affine("offset")


def batch_norm(
    x: Array,
    y: Array | None,
    *,
    train: bool,
    dtype: Any = jnp.float32,
    axis_name: str | None = None,
    scale_init: nn.initializers.Initializer = nn.initializers.ones,
) -> Array:
    """Batch normalisation inside of a module's compact method: conditional if there is a condition.

    Args:
      x: f[B, ..., C].
      y: f[B, D] or None.
      train: take batch statistics from this batch.
      dtype: of the computation.
      axis_name: the axis of ``pmap`` or ``shard_map`` over which batch statistics are shared.
      scale_init: initialiser of unconditional scales.
    """
    if y is not None:
        return ConditionalBatchNorm(dtype, axis_name)(x, y, train=train)
    return BatchNorm(not train, momentum=0.9, dtype=dtype, scale_init=scale_init, axis_name=axis_name)(x)


def discriminator_head(
    features: Array,
    label: Array | None,
    *,
    classes: int | None,
    classifier: int | None,
    kernel_init: nn.initializers.Initializer = nn.linear.default_kernel_init,
    norm: Callable[[nn.Module], Callable] = lambda layer: layer,
) -> Array | tuple[Array, Array]:
    """The last layer of a discriminator, inside of its compact method.

    Args:
      features: phi(x), f32[B, D].
      label: i32[B], where the discriminator has classes; with a classifier alone it may be given and is not looked at.
      classes: of a projection discriminator (Miyato & Koyama 2018, equation 3): adds the inner product of the features
        and a learned vector of the label.
      classifier: the classes of AC-GAN's auxiliary classifier (Odena et al. 2017, https://arxiv.org/abs/1610.09585).
      kernel_init: of all layers.
      norm: wraps each layer, `SpectralNorm` for example.

    Returns:
      Logits f32[B]; with a classifier also those of the classes, f32[B, classifier].
    """
    out = norm(nn.Dense(1, kernel_init=kernel_init))(features)[:, 0]
    if classes is None and classifier is not None and label is not None:
        check_labels(label, classifier)
    elif (y := encode(label, classes)) is not None:
        dense = nn.Dense(features.shape[-1], use_bias=False, kernel_init=kernel_init, name="projection")
        out += jnp.sum(norm(dense)(y) * features, axis=-1)
    if classifier is None:
        return out
    return out, norm(nn.Dense(classifier, kernel_init=kernel_init, name="classifier"))(features)


class ConcatGenerator(nn.Module):
    """A conditional generator from any other: the condition is a part of its input (Mirza & Osindero 2014).

    Attributes:
      network: ``(z, *, train, **other conditions) -> images``.
      classes: of an integer label; None takes the condition as it is, f[B, ...].
      embed: units of a learned linear map of the condition; for labels these are embeddings. None for no map.
      condition: the name of the condition.

    >>> generator = ConcatGenerator(MLPGenerator((2,), output=None), classes=8)  # doctest: +SKIP
    """

    network: nn.Module
    classes: int | None
    embed: int | None = None
    condition: str = "label"

    @nn.compact
    def __call__(self, z: Array, *, train: bool, **conditions: Array) -> Array:
        """f[B, latent] -> what the network makes of f[B, latent + D]."""
        y, others = _vector(self, conditions)
        return self.network(jnp.concatenate([z, y.astype(z.dtype)], axis=-1), train=train, **others)


class ConcatDiscriminator(nn.Module):
    """A conditional discriminator from any other: it sees the condition as constant channels of the image.

    Attributes:
      network: ``(x, *, train, **other conditions) -> logits``.
      classes: of an integer label; None takes the condition as it is, f[B, ...].
      embed: units of a learned linear map of the condition; for labels these are embeddings. None for no map.
      condition: the name of the condition.

    >>> discriminator = ConcatDiscriminator(DCGANDiscriminator(), classes=10)  # doctest: +SKIP
    """

    network: nn.Module
    classes: int | None
    embed: int | None = None
    condition: str = "label"

    @nn.compact
    def __call__(self, x: Array, *, train: bool, **conditions: Array) -> Array | tuple[Array, Array]:
        """f[B, H, W, C] or f[B, C] -> what the network makes of as many pixels with D channels more."""
        y, others = _vector(self, conditions)
        y = y.astype(x.dtype).reshape(y.shape[0], *(1,) * (x.ndim - 2), -1)
        y = jnp.broadcast_to(y, (*x.shape[:-1], y.shape[-1]))
        return self.network(jnp.concatenate([x, y], axis=-1), train=train, **others)


def _vector(module: ConcatGenerator | ConcatDiscriminator, conditions: dict[str, Array]) -> tuple[Array, dict]:
    """The module's own condition as f32[B, D], and the other ones."""
    others = dict(conditions)
    y = others.pop(module.condition, None)
    check_conditions(module.network, others)
    if y is None:
        raise InputError(
            f"{type(module).__name__} got no condition {module.condition!r}, but {', '.join(conditions) or 'none'}. "
            "Recipes pass on what conditions= names."
        )
    if module.classes is not None:
        y = cast(Array, encode(y, module.classes, module.condition))
    else:
        y = jnp.asarray(y, jnp.float32)
        y = y.reshape(y.shape[0], -1)
    if module.embed is not None:
        y = nn.Dense(module.embed, use_bias=False, name="embedding")(y)
    return y, others
