"""From a function of JAX to an ONNX model, by way of the trace that JAX makes of it."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxgan.to_onnx.graph import Graph, Value, known, refuse
from jaxgan.to_onnx.rules import RULES, aval

# Calls of a function that stands in the parameter of this name: its body is what is translated.
_CALLS = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr", "remat2": "jaxpr"}


def convert(function: Callable[..., Any], inputs: Mapping[str, jax.ShapeDtypeStruct]) -> bytes:
    """An ONNX model that computes what a function of JAX does.

    What depends on no input is computed now, so that the model has the weights as they are used: scaled, normalised,
    in the layout of ONNX. Where the function says how to compute on one platform and how on all others, the model
    has the latter. Half precision becomes float32.

    Args:
      function: of arrays, in the order of ``inputs``, to one array.
      inputs: by name; sizes may be one symbol of `jax.export.symbolic_shape`, which stands first, for the batch.

    Returns:
      The file: inputs by their names, and an ``output``.

    Raises:
      InputError: for an operation that is not among `rules.RULES`, or is used in a way which they do not know.

    >>> (batch,) = jax.export.symbolic_shape("batch")
    >>> file = convert(jnp.tanh, {"x": jax.ShapeDtypeStruct((batch, 3), jnp.float32)})
    """
    closed = jax.make_jaxpr(function)(*inputs.values())
    graph = Graph()
    arguments = [graph.input(name, each.shape, each.dtype) for name, each in inputs.items()]
    (made,) = _inline(graph, closed.jaxpr, closed.consts, arguments)
    return graph.model(made, closed.out_avals[0].dtype).SerializeToString()


def _inline(graph: Graph, jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Value]) -> list[Value]:
    """Adds what a trace computes to the graph."""
    values = dict(zip(jaxpr.constvars, map(known, consts), strict=True))
    values |= dict(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Value:
        return known(np.asarray(atom.val, aval(atom).dtype)) if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        values |= dict(zip(eqn.outvars, _equation(graph, eqn, [read(atom) for atom in eqn.invars]), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(graph: Graph, eqn: JaxprEqn, values: list[Value]) -> list[Value]:
    name = eqn.primitive.name
    if name == "platform_index":
        if None not in (platforms := eqn.params["platforms"]):
            raise refuse(f"a function for {platforms} alone")
        return [known(np.array(platforms.index(None)))]
    if name in _CALLS:
        return _inline(graph, *_open(eqn.params[_CALLS[name]]), values)
    if name == "cond" and not isinstance(index := values[0].data, str):
        return _inline(graph, *_open(eqn.params["branches"][int(index)]), values[1:])
    if all(_is_known(each) for each in values) and _is_static(eqn):
        made = eqn.primitive.bind(*(each.data for each in values), **eqn.params)
        return [known(each) for each in (made if eqn.primitive.multiple_results else [made])]
    if name not in RULES:
        raise refuse(f"the operation {name!r}")
    made = RULES[name](graph, eqn, *values)
    return [made] if isinstance(made, Value) else made


def _open(body: ClosedJaxpr | Jaxpr) -> tuple[Jaxpr, Sequence[Any]]:
    return (body.jaxpr, body.consts) if isinstance(body, ClosedJaxpr) else (body, [])


def _is_known(value: Value) -> bool:
    return not isinstance(value.data, str) and value.shape == value.full


def _is_static(eqn: JaxprEqn) -> bool:
    """Whether the size of the batch plays no part."""
    shapes = [aval(each).shape for each in eqn.outvars]
    return all(isinstance(n, int) for n in (*itertools.chain(*shapes), eqn.params.get("dim", 0)))
