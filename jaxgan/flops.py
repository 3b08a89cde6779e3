"""How many floating point operations a step needs: those of its matrix products and convolutions.

XLA's own count takes the body of a loop once, however often it runs, and one side of a branch. Here loops count as
often as they run, and a branch that depends on the step's number counts on the steps on which it is taken.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxgan.typing import PyTree

# What is known of a variable while tracing: the value of what follows from the step's number alone.
_Known = dict[Any, Any]

_LONGEST = 64  # steps of a cycle


def cycle_flops(function: Callable, at: Callable[[int], tuple[PyTree, Sequence[PyTree]]]) -> list[float]:
    """The operations of each call of ``function`` in a cycle of calls; a product and its sum are two.

    The cycle is as long as it takes lazy turns to come by again: with one on every 16th step and one on every fourth,
    16 calls. It is 1 without lazy turns, and 64 if nothing repeats itself within 32.

    Args:
      function: traced once, on shapes.
      at: step -> (what is known, arguments): the arguments are shapes, ``jax.ShapeDtypeStruct``, and what is known has
        their structure, with a value where it is known and None elsewhere.

    >>> x = jax.ShapeDtypeStruct((2, 3), np.float32)
    >>> cycle_flops(lambda x: x @ x.T, lambda step: ((None,), (x,)))
    [24.0]
    """
    closed = jax.make_jaxpr(function)(*at(0)[1])

    def of(step: int) -> float:
        values = jax.tree.leaves(at(step)[0], is_leaf=lambda x: x is None)
        return _count(closed.jaxpr, values, closed.consts)[0]

    counts = [of(step) for step in range(_LONGEST)]
    length = next((n for n in range(1, _LONGEST // 2 + 1) if counts[n:] == counts[:-n]), _LONGEST)
    return counts[:length]


def loops(function: Callable, *args: PyTree) -> bool:
    """Whether a function runs a part of itself more than once, or on some steps alone: what XLA's counts do not see.

    >>> loops(lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y * y, x), 1.0)
    True
    """

    def found(jaxpr: Any) -> bool:
        for eqn in jaxpr.eqns:
            if eqn.primitive.name in ("while", "cond") or eqn.params.get("length", 1) > 1:
                return True
            inner = _inner(eqn.params)
            if inner is not None and found(_jaxpr(inner)):
                return True
        return False

    return found(jax.make_jaxpr(function)(*args).jaxpr)


def _count(jaxpr: Any, known: Sequence[Any], consts: Sequence[Any] = ()) -> tuple[float, list[Any]]:
    """The operations of a jaxpr, and what is known of its outputs."""
    env: _Known = {var: value for var, value in zip(jaxpr.invars, known, strict=True) if value is not None}
    env |= {var: value for var, value in zip(jaxpr.constvars, consts, strict=False) if np.ndim(value) == 0}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else env.get(atom)

    total = 0.0
    for eqn in jaxpr.eqns:
        count, outs = _equation(eqn, [read(atom) for atom in eqn.invars])
        total += count
        env.update((var, value) for var, value in zip(eqn.outvars, outs, strict=True) if value is not None)
    return total, [read(atom) for atom in jaxpr.outvars]


def _equation(eqn: Any, known: list[Any]) -> tuple[float, list[Any]]:
    name, params, unknown = eqn.primitive.name, eqn.params, [None] * len(eqn.outvars)
    if name == "cond":
        branches = [_jaxpr(branch) for branch in params["branches"]]
        if known[0] is not None:
            return _count(branches[int(known[0])], known[1:])
        return max(_count(branch, known[1:])[0] for branch in branches), unknown
    if name == "scan":
        first = _constants(params)
        body = known[:first] + [None] * (len(known) - first)
        return params["length"] * _count(_jaxpr(params["jaxpr"]), body)[0], unknown
    if name == "while":  # as often as nobody knows
        skip = params["cond_nconsts"]
        return _count(_jaxpr(params["body_jaxpr"]), [None] * len(known[skip:]))[0], unknown
    if name == "dot_general":
        return _dot(eqn), unknown
    if name == "conv_general_dilated":
        return _convolution(eqn), unknown
    if inner := _inner(params):
        jaxpr = _jaxpr(inner)
        if len(jaxpr.invars) == len(known):
            total, outs = _count(jaxpr, known)
            return total, outs if len(outs) == len(unknown) else unknown
    scalar = all(np.shape(v.aval) == () for v in eqn.outvars)
    if scalar and known and all(value is not None for value in known):
        outs = eqn.primitive.bind(*known, **params)
        return 0.0, list(outs) if eqn.primitive.multiple_results else [outs]
    return 0.0, unknown


def _constants(params: Mapping[str, Any]) -> int:
    """How many of a scan's inputs are the same at every turn."""
    if "num_consts" in params:  # up to jax 0.11
        return params["num_consts"]
    return len(jax.tree.leaves(params["ft_in"][0], is_leaf=lambda leaf: leaf is None))


def _inner(params: Mapping[str, Any]) -> Any:
    """The function that an equation calls, if it calls one."""
    return next((params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in params), None)


def _jaxpr(closed: Any) -> Any:
    return getattr(closed, "jaxpr", closed)


def _dot(eqn: Any) -> float:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = eqn.invars[0].aval.shape
    return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def _convolution(eqn: Any) -> float:
    numbers, kernel = eqn.params["dimension_numbers"], eqn.invars[1].aval.shape
    taps = math.prod(kernel) // kernel[numbers.rhs_spec[0]]  # of one output channel
    # Zeros that a transposed convolution puts between the pixels are not multiplied.
    dilation = math.prod(eqn.params["lhs_dilation"])
    return 2.0 * math.prod(eqn.outvars[0].aval.shape) * taps / dilation
