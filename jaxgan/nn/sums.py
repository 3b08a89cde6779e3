"""Sums over positions, and their transpose.

XLA on CPUs makes a sum over more than 32 rows a cascade of windows, which one thread computes number by number; and
wherever a bias or a mean is spread over an image, the backward pass is such a sum. A product with ones is 4 to 9 times
faster there, if the ones come first. So a sum and its transpose are primitives, which see to that in derivatives of
every order. Elsewhere they are a plain sum and a plain broadcast.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import PartitionSpec

from jaxgan.typing import Array


def total(x: Array, *, images: bool = False) -> Array:
    """The sum over all positions.

    Args:
      x: f[B, ..., C].
      images: of each image by itself.

    Returns:
      f[C], or f[B, C].

    >>> total(jnp.ones((2, 8, 8, 3)))
    Array([128., 128., 128.], dtype=float32)
    """
    return _total.bind(x, shape=x.shape, kept=int(images))


def spread(v: Array, shape: tuple[int, ...]) -> Array:
    """The same numbers at every position; the transpose of `total`.

    Args:
      v: f[C], or f[B, C] of each image.
      shape: (B, ..., C).

    Returns:
      f[B, ..., C].

    >>> spread(jnp.arange(3.0), (2, 8, 8, 3)).shape
    (2, 8, 8, 3)
    """
    return _spread.bind(v, shape=tuple(shape), kept=v.ndim - 1)


def _sum(x: Array, *, shape: tuple[int, ...], kept: int) -> Array:
    return jnp.sum(x, axis=tuple(range(kept, len(shape) - 1)))


def _sum_by_product(x: Array, *, shape: tuple[int, ...], kept: int) -> Array:
    # Several images would be transposed first, which takes longer; an exported batch has no number.
    if any(not isinstance(n, int) or n > 1 for n in shape[:kept]):
        return _sum(x, shape=shape, kept=kept)
    rows = math.prod(shape[:-1])
    return (jnp.ones((rows,), x.dtype) @ x.reshape(rows, shape[-1])).reshape(*shape[:kept], shape[-1])


def _broadcast(v: Array, *, shape: tuple[int, ...], kept: int) -> Array:
    return jnp.broadcast_to(v.reshape(*shape[:kept], *(1,) * (len(shape) - 1 - kept), shape[-1]), shape)


def _primitive(name: str, function: Any, shape_of: Any) -> Primitive:
    primitive = Primitive(name)
    primitive.def_impl(jax.jit(primitive.bind, static_argnames=("shape", "kept")))

    def abstract(x: Any, **kw: Any) -> Any:
        shape = shape_of(**kw)
        return x.update(shape=shape, sharding=x.sharding.update(spec=PartitionSpec(*[None] * len(shape))))

    def batch(args: Any, axes: Any, *, shape: tuple[int, ...], kept: int) -> tuple[Array, int]:
        x = jnp.moveaxis(args[0], axes[0], 0)
        return primitive.bind(x, shape=(len(x), *shape), kept=kept + 1), 0

    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


_total = _primitive("total", _sum, lambda shape, kept: (*shape[:kept], shape[-1]))
_spread = _primitive("spread", _broadcast, lambda shape, kept: shape)
mlir.register_lowering(_total, mlir.lower_fun(_sum_by_product, multiple_results=False), platform="cpu")
ad.deflinear2(_total, lambda ct, x, **kw: [_spread.bind(ct, **kw)])
ad.deflinear2(_spread, lambda ct, v, **kw: [_total.bind(ct, **kw)])
