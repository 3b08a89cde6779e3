"""Functions that stay functions in the compiled program."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.experimental.xla_metadata import set_xla_metadata


def unmerged(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which XLA on CPUs neither inlines nor merges with what stands around it.

    What goes into it is in memory before it begins, and what comes out before anything reads that. XLA's barriers
    (``jax.lax.optimization_barrier``) do not see to that on CPUs: they are gone before operations are merged. For code
    that is compiled for CPUs alone; elsewhere it has not been tried.

    Args:
      function: of arrays.

    >>> unmerged(jnp.transpose)(jnp.ones((2, 3))).shape
    (3, 2)
    """
    compiled = jax.jit(function)

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        with set_xla_metadata(inlineable="false"):
            return compiled(*args)

    return call
