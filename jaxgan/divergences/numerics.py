"""What the divergences share: one dtype, checks of known values, functions with finite slopes."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

from jaxgan.errors import InputError
from jaxgan.typing import Array


def as_floats(*values: ArrayLike) -> tuple[Array, ...]:
    """The values as arrays of one floating dtype, float32 or wider.

    Raises:
      InputError: if a value is complex or not numeric.
    """
    try:
        arrays = [jnp.asarray(value) for value in values]
    except (TypeError, ValueError) as error:
        raise InputError(f"A divergence takes arrays of real numbers: {error}") from error
    dtype = jnp.promote_types(jnp.result_type(*arrays, float), jnp.float32)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise InputError(f"A divergence takes real numbers, got {dtype}. Pass real arrays.")
    return tuple(array.astype(dtype) for array in arrays)


def check(value: ArrayLike, ok: Callable[[np.ndarray], bool | np.bool_], message: Callable[[], str]) -> None:
    """Raises an InputError if the value is known and not ok; a traced value passes."""
    # In NumPy: inside jit even the comparison of two known arrays would be traced.
    if not isinstance(value, Tracer) and not ok(np.asarray(value)):
        raise InputError(message())


def sqrt(x: Array) -> Array:
    """The square root; at 0, and below it by rounding, both value and gradient are 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def absolute(x: Array) -> Array:
    """The absolute value with a gradient of 0 at 0, where that of jnp.abs is 1."""
    return x * jnp.sign(x)
