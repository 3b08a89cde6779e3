"""What every metric of features asks of its input, and how it walks through it."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxgan.errors import InputError


def as_features(name: str, values: ArrayLike) -> np.ndarray:
    """The values as a NumPy array [N, D] of their own dtype, on the host.

    Raises:
      InputError: if they are not finite real numbers [N, D], or there are none.
    """
    array = np.asarray(values)
    # NumPy alone would not take bfloat16 for a real number.
    real = jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer)
    if array.ndim != 2 or not array.size or not real:
        raise InputError(
            f"The {name} must be an array [N, D] of real numbers, not empty; got {array.dtype}{[*array.shape]}. "
            "Flatten what is behind the first axis."
        )
    broken = np.count_nonzero(~np.isfinite(array).all(axis=1))
    if broken:
        raise InputError(
            f"{broken} of the {len(array)} rows of the {name} hold NaN or infinity, which no metric survives. "
            "Look for images or a feature network that are not finite."
        )
    return array


def as_pair(real: ArrayLike, fake: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Real features [N, D] and generated ones [M, D] as arrays.

    Raises:
      InputError: as `as_features`, or if they differ in D.
    """
    real, fake = as_features("real features", real), as_features("generated features", fake)
    if real.shape[1] != fake.shape[1]:
        raise InputError(
            f"The real samples have {real.shape[1]} features and the generated ones {fake.shape[1]}. "
            "Take both from the same layer of the same network."
        )
    return real, fake


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` rows that cover n rows."""
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
