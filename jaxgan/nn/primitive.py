"""Primitives that are linear in each of two arrays: what bilinear maps with derivatives of their own have in common."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jaxgan.typing import Array


def bilinear(
    name: str,
    compute: Callable[..., Array],
    plain: Callable[..., Array],
    shape: Callable[..., tuple[int, ...]],
    *,
    static: tuple[str, ...],
    by_image: bool = True,
) -> Primitive:
    """A bilinear map without its transposes, which ``jax.interpreters.ad.defbilinear`` is to be told.

    Args:
      name: of the primitive.
      compute: (array, array, **parameters) -> result.
      plain: the same in operations that JAX maps over, for where ``compute`` cannot be mapped over.
      shape: (shape, shape, **parameters) -> shape of the result, whose dtype is that of the first array.
      static: the names of the parameters, which hash.
      by_image: whether the first axis of the first array and of the result is a batch, one by one.

    Returns:
      What is bound to two arrays that are `alike`.
    """
    primitive = Primitive(name)

    def batch(args: Any, axes: Any, **kw: Any) -> tuple[Array, int]:
        (a, b), (at, bt) = args, axes
        if bt is None and by_image:  # a batch of batches is a batch
            a = jnp.moveaxis(a, at, 0)
            out = primitive.bind(a.reshape(-1, *a.shape[2:]), b, **kw)
            return out.reshape(*a.shape[:2], *out.shape[1:]), 0
        return jax.vmap(partial(plain, **kw), (at, bt))(a, b), 0

    primitive.def_impl(jax.jit(primitive.bind, static_argnames=static))
    primitive.def_abstract_eval(lambda a, b, **kw: a.update(shape=shape(a.shape, b.shape, **kw)))
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    return primitive


def alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Two arrays that differ along the same manual axes of ``shard_map``: a primitive's rules take that for granted."""
    axes = [jax.typeof(each).manual_axis_type.varying for each in (a, b)]
    a, b = (
        jax.lax.pcast(each, tuple(missing), to="varying") if (missing := (axes[0] | axes[1]) - own) else each
        for each, own in zip((a, b), axes, strict=True)
    )
    return a, b
