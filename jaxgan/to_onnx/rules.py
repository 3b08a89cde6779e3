"""What each primitive of JAX is in ONNX: ``(graph, equation, *values) -> value``, or a list where there are several."""

import string
from collections.abc import Callable
from typing import Any

from jax.extend.core import JaxprEqn

from jaxgan.to_onnx.graph import Graph, Value, element_type, refuse

Rule = Callable[..., Value | list[Value]]


def aval(atom: Any) -> Any:
    """Shape and dtype; JAX's own types say that there may be none."""
    return atom.aval


def _shape(eqn: JaxprEqn) -> tuple[Any, ...]:
    return aval(eqn.outvars[0]).shape


# Number by number: what is the same along an axis stays so.


def _each(graph: Graph, op: str, values: list[Value], full: tuple[Any, ...]) -> Value:
    shapes = [(1,) * (len(full) - len(each.shape)) + each.shape for each in values]
    shape = tuple(next((n for n in sizes if n != 1), 1) for sizes in zip(*shapes, strict=True))
    return graph.apply(op, [*values], shape)._replace(full=full)


def _elementwise(op: str) -> Rule:
    return lambda graph, eqn, *values: _each(graph, op, [*values], _shape(eqn))


def _and(graph: Graph, eqn: JaxprEqn, a: Value, b: Value) -> Value:
    if (dtype := aval(eqn.outvars[0]).dtype).kind != "b":
        raise refuse(f"the operation 'and' of {dtype}")
    return _each(graph, "And", [a, b], _shape(eqn))


def _square(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    return _each(graph, "Mul", [x, x], _shape(eqn))


def _rsqrt(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    return _each(graph, "Reciprocal", [_each(graph, "Sqrt", [x], _shape(eqn))], _shape(eqn))


def _select(graph: Graph, eqn: JaxprEqn, which: Value, *cases: Value) -> Value:
    if aval(eqn.invars[0]).dtype.kind != "b":
        raise refuse(f"the operation 'select_n' between {len(cases)} arrays by number")
    return _each(graph, "Where", [which, cases[1], cases[0]], _shape(eqn))


def _cast(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    have, want = (element_type(aval(each).dtype) for each in (eqn.invars[0], eqn.outvars[0]))
    return x if have == want else graph.apply("Cast", [x], x.shape, to=want)._replace(full=x.full)


def _same(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    return x


# Axes.


def _spread_over(graph: Graph, x: Value, axes: tuple[int, ...], full: tuple[Any, ...]) -> Value:
    """Axis i of x is axis ``axes[i]`` of the result, along whose other axes all is the same."""
    new = [axis for axis in range(len(full)) if axis not in axes]
    shape = tuple(x.shape[axes.index(axis)] if axis in axes else 1 for axis in range(len(full)))
    if not isinstance(x.data, str):
        return Value(x.data.reshape(shape), shape, full)
    return (graph.apply("Unsqueeze", [x, new], shape) if new else x)._replace(full=full)


def _broadcast_in_dim(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    return _spread_over(graph, x, eqn.params["broadcast_dimensions"], _shape(eqn))


def _spread(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    """`jaxgan.nn.sums.spread`."""
    full = _shape(eqn)
    return _spread_over(graph, x, (*range(eqn.params["kept"]), len(full) - 1), full)


def _total(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    """`jaxgan.nn.sums.total`."""
    axes = list(range(eqn.params["kept"], len(x.full) - 1))
    return graph.apply("ReduceSum", [graph.whole(x), axes], _shape(eqn), keepdims=0)


def _reduce(op: str) -> Rule:
    def rule(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
        return graph.apply(op, [graph.whole(x), list(eqn.params["axes"])], _shape(eqn), keepdims=0)

    return rule


def _reshape(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    sizes = [n if isinstance(n, int) else -1 for n in _shape(eqn)]  # -1 is what is left
    if eqn.params["dimensions"] is not None or sizes.count(-1) > 1:
        raise refuse(f"the operation 'reshape' to {_shape(eqn)}")
    return graph.apply("Reshape", [graph.whole(x), sizes], _shape(eqn))


def _squeeze(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    return graph.apply("Squeeze", [graph.whole(x), list(eqn.params["dimensions"])], _shape(eqn))


def _transpose(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    return graph.transpose(x, eqn.params["permutation"])


def _rev(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    return graph.reverse(x, eqn.params["dimensions"])


# Parts and wholes.


def _concatenate(graph: Graph, eqn: JaxprEqn, *parts: Value) -> Value:
    wholes: list[Any] = [graph.whole(part) for part in parts]
    return graph.apply("Concat", wholes, _shape(eqn), axis=eqn.params["dimension"])


def _stack(graph: Graph, eqn: JaxprEqn, *parts: Value) -> Value:
    axis, full = eqn.params["axis"], _shape(eqn)
    axes = tuple(i for i in range(len(full)) if i != axis)
    layers = [_spread_over(graph, graph.whole(part), axes, (*full[:axis], 1, *full[axis + 1 :])) for part in parts]
    return graph.apply("Concat", [*layers], full, axis=axis)


def _split(graph: Graph, eqn: JaxprEqn, x: Value) -> list[Value]:
    sizes = graph.name(list(eqn.params["sizes"]))
    names = graph.nodes_of("Split", [graph.name(graph.whole(x)), sizes], len(eqn.outvars), axis=eqn.params["axis"])
    shapes = [aval(each).shape for each in eqn.outvars]
    return [Value(name, shape, shape) for name, shape in zip(names, shapes, strict=True)]


def _cut(graph: Graph, x: Value, starts: Any, ends: Any, strides: Any, shape: tuple[Any, ...]) -> Value:
    """x[start:end:stride] along each axis."""
    axes = [i for i, n in enumerate(x.full) if (starts[i], ends[i], strides[i]) != (0, n, 1)]
    if not axes:
        return x
    if not all(isinstance(ends[i], int) for i in axes):
        raise refuse("the operation 'slice' of a part of the batch")
    first, last, steps = ([each[i] for i in axes] for each in (starts, ends, strides))
    return graph.apply("Slice", [graph.whole(x), first, last, axes, steps], shape)


def _slice(graph: Graph, eqn: JaxprEqn, x: Value) -> Value:
    starts, ends = eqn.params["start_indices"], eqn.params["limit_indices"]
    return _cut(graph, x, starts, ends, eqn.params["strides"] or (1,) * len(starts), _shape(eqn))


def _gather(graph: Graph, eqn: JaxprEqn, x: Value, start: Value) -> Value:
    """As it comes of x[:, 3]: one block, whose place is known."""
    how, sizes, rank = eqn.params["dimension_numbers"], eqn.params["slice_sizes"], len(_shape(eqn))
    if isinstance(start.data, str) or start.data.ndim != 1 or how.offset_dims != tuple(range(rank)):
        raise refuse("the operation 'gather' with indices that are computed, or several")
    at = dict(zip(how.start_index_map, start.data.tolist(), strict=True))
    if any(not 0 <= first <= x.full[i] - sizes[i] for i, first in at.items()):
        raise refuse(f"the operation 'gather' at {at} of {list(x.full)}")
    starts = [at.get(i, 0) for i in range(len(sizes))]
    ends = [starts[i] + n if i in at else n for i, n in enumerate(sizes)]
    block = graph.whole(_cut(graph, x, starts, ends, [1] * len(sizes), tuple(sizes)))
    collapsed = list(how.collapsed_slice_dims)
    return graph.apply("Squeeze", [block, collapsed], _shape(eqn)) if collapsed else block


def _pad(graph: Graph, eqn: JaxprEqn, x: Value, fill: Value) -> Value:
    config = eqn.params["padding_config"]
    if any(between or before < 0 or after < 0 for before, after, between in config):
        raise refuse(f"the operation 'pad' with {config}: zeros in between, or cropping")
    pads = [before for before, _, _ in config] + [after for _, after, _ in config]
    return graph.apply("Pad", [graph.whole(x), pads, fill], _shape(eqn), mode="constant")


# Products.


def _dot_general(graph: Graph, eqn: JaxprEqn, a: Value, b: Value) -> Value:
    (a_sum, b_sum), (a_batch, b_batch) = eqn.params["dimension_numbers"]
    a, b, shape = graph.whole(a), graph.whole(b), _shape(eqn)
    if not a_batch and a_sum == (len(a.shape) - 1,) and b_sum == (0,) and len(b.shape) == 2:
        return graph.apply("MatMul", [a, b], shape)
    letters = iter(string.ascii_lowercase)
    left = [next(letters) for _ in a.shape]
    right = [next(letters) for _ in b.shape]
    for i, j in zip((*a_sum, *a_batch), (*b_sum, *b_batch), strict=True):
        right[j] = left[i]
    free = [each for i, each in enumerate(left) if i not in (*a_sum, *a_batch)]
    free += [each for j, each in enumerate(right) if j not in (*b_sum, *b_batch)]
    out = [left[i] for i in a_batch] + free
    equation = f"{''.join(left)},{''.join(right)}->{''.join(out)}"
    return graph.apply("Einsum", [a, b], shape, equation=equation)


def _conv(graph: Graph, eqn: JaxprEqn, x: Value, kernel: Value) -> Value:
    """ONNX has channels before rows and columns, in images and in kernels."""
    p = eqn.params
    images, kernels, made = p["dimension_numbers"]
    x, kernel = graph.transpose(x, images), graph.transpose(kernel, kernels)
    shape, pads = tuple(_shape(eqn)[axis] for axis in made), p["padding"]
    sides, strides = kernel.shape[2:], p["lhs_dilation"]
    apart = any(n > 1 for n in strides)
    if apart:
        # Zeros between the pixels are a transposed convolution, which lets the kernel slide the other way round, and
        # counts padding from where the kernel reaches furthest.
        pads = [(k - 1 - before, k - 1 - after) for k, (before, after) in zip(sides, pads, strict=True)]
    odd = p["batch_group_count"] > 1 or min(map(min, pads)) < 0
    odd |= apart and (p["feature_group_count"] > 1 or {*p["window_strides"], *p["rhs_dilation"]} != {1})
    if odd:
        numbers = {name: each for name, each in p.items() if name.endswith(("strides", "padding", "dilation", "count"))}
        raise refuse(f"the operation 'conv_general_dilated' with {numbers}")
    edges = [before for before, _ in pads] + [after for _, after in pads]
    if apart:
        turned = graph.reverse(graph.transpose(kernel, (1, 0, 2, 3)), (2, 3))
        out = graph.apply("ConvTranspose", [x, turned], shape, strides=list(strides), pads=edges)
    else:
        out = graph.apply(
            "Conv", [x, kernel], shape, strides=list(p["window_strides"]), dilations=list(p["rhs_dilation"]),
            pads=edges, group=p["feature_group_count"],
        )  # fmt: skip
    return graph.transpose(out, tuple(made.index(axis) for axis in range(len(made))))


RULES: dict[str, Rule] = {
    "abs": _elementwise("Abs"),
    "add": _elementwise("Add"),
    "and": _and,
    "broadcast_in_dim": _broadcast_in_dim,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "convert_element_type": _cast,
    "div": _elementwise("Div"),
    "dot_general": _dot_general,
    "eq": _elementwise("Equal"),
    "exp": _elementwise("Exp"),
    "gather": _gather,
    "ge": _elementwise("GreaterOrEqual"),
    "lt": _elementwise("Less"),
    "max": _elementwise("Max"),
    "min": _elementwise("Min"),
    "mul": _elementwise("Mul"),
    "pad": _pad,
    "reduce_max": _reduce("ReduceMax"),
    "reduce_sum": _reduce("ReduceSum"),
    "reshape": _reshape,
    "rev": _rev,
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": _slice,
    "split": _split,
    "spread": _spread,
    "square": _square,
    "squeeze": _squeeze,
    "stack": _stack,
    "stop_gradient": _same,
    "sub": _elementwise("Sub"),
    "tanh": _elementwise("Tanh"),
    "total": _total,
    "transpose": _transpose,
}
