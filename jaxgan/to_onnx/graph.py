"""An ONNX graph while it grows."""

from typing import Any, NamedTuple

import jax
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from jaxgan.errors import InputError

# Opset 18, of 2022: what came later is not needed, and runtimes of that year read the file.
OPSET, IR_VERSION = 18, 8

_TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "bool": TensorProto.BOOL}


class Value(NamedTuple):
    """An array of the JAX program.

    Broadcasting is put off: ONNX's operators broadcast by themselves, so that a bias need not be written out for every
    pixel. Along an axis where ``shape`` has 1 and ``full`` more, all numbers are the same.

    Attributes:
      data: its name in the graph, or, where it depends on no input, its numbers, of NumPy or JAX and in JAX's dtype.
      shape: that it has in the graph; a size is an int, or JAX's symbol of the batch.
      full: that it has in JAX, with as many axes.
    """

    data: str | np.ndarray | jax.Array
    shape: tuple[Any, ...]
    full: tuple[Any, ...]


def refuse(what: str) -> InputError:
    """The error for what cannot be said in ONNX."""
    return InputError(
        f"The generator has {what}, which jaxgan cannot write as ONNX. Leave --onnx out; the other files of an export "
        "take any generator."
    )


def element_type(dtype: Any) -> int:
    """ONNX's number of a dtype: half precision becomes float32, because runtimes on CPUs have little of it."""
    name = "float32" if str(dtype) in ("bfloat16", "float16") else str(dtype)
    if name not in _TYPES:
        raise refuse(f"numbers of dtype {name}")
    return _TYPES[name]


def known(numbers: np.ndarray | jax.Array) -> Value:
    """The value of numbers."""
    return Value(numbers, numbers.shape, numbers.shape)


class Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self) -> None:
        self.inputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple, onnx.TensorProto] = {}
        self._batch: tuple[Any, str] | None = None  # the symbol, and the name of its value, int64[1]
        self._count = 0

    def input(self, name: str, shape: tuple[Any, ...], dtype: Any) -> Value:
        """Adds an argument of the function; the batch is the first axis of the first one that has it."""
        info = helper.make_tensor_value_info(name, element_type(dtype), _named(shape))
        self.inputs.append(info)
        if self._batch is None and shape and not isinstance(shape[0], int):
            (size,) = self.nodes_of("Shape", [name], start=0, end=1)
            self._batch = shape[0], size
        return Value(name, shape, shape)

    def nodes_of(self, op: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        """Adds a node; the names of its outputs."""
        names = [self._name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, **attributes))
        return names

    def apply(self, op: str, values: list[Value | list[int]], shape: tuple[Any, ...], **attributes: Any) -> Value:
        """Adds a node of one output, of this shape; lists are numbers that ONNX takes as int64."""
        (name,) = self.nodes_of(op, [self.name(each) for each in values], **attributes)
        return Value(name, shape, shape)

    def name(self, value: Value | list[int]) -> str:
        """What a value is called in the graph; numbers become a constant of it."""
        if isinstance(value, list):
            data = np.array(value, np.int64)
        elif isinstance(value.data, str):
            return value.data
        else:
            dtype = helper.tensor_dtype_to_np_dtype(element_type(value.data.dtype))
            data = np.asarray(value.data).astype(dtype)
        key = (data.dtype.str, data.shape, data.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(np.ascontiguousarray(data), self._name())
        return self._constants[key].name

    def whole(self, value: Value) -> Value:
        """The value with all that broadcasting was put off."""
        if value.shape == value.full:
            return value
        # A 1 leaves an axis as it is.
        sizes = [1 if have == want else want for have, want in zip(value.shape, value.full, strict=True)]
        parts = [self.name([n]) if isinstance(n, int) else self._size(n) for n in sizes]
        (shape,) = self.nodes_of("Concat", parts, axis=0)
        (name,) = self.nodes_of("Expand", [self.name(value), shape])
        return Value(name, value.full, value.full)

    def transpose(self, value: Value, axes: tuple[int, ...]) -> Value:
        """With axes in another order; of numbers at once."""
        value = self.whole(value)
        if not isinstance(value.data, str):
            return known(value.data.transpose(axes))
        shape = tuple(value.shape[axis] for axis in axes)
        return self.apply("Transpose", [value], shape, perm=list(axes))

    def reverse(self, value: Value, axes: tuple[int, ...]) -> Value:
        """With axes turned round; of numbers at once."""
        value = self.whole(value)
        if not isinstance(value.data, str):
            return known(np.flip(np.asarray(value.data), axes))
        n = len(axes)
        ends = [np.iinfo(np.int64).min] * n  # beyond the first element
        return self.apply("Slice", [value, [-1] * n, ends, list(axes), [-1] * n], value.shape)

    def model(self, value: Value, dtype: Any) -> onnx.ModelProto:
        """The model that returns this value as ``output``."""
        self.nodes.append(helper.make_node("Identity", [self.name(self.whole(value))], ["output"]))
        output = helper.make_tensor_value_info("output", element_type(dtype), _named(value.full))
        nodes, constants = self._needed()
        graph = helper.make_graph(nodes, "generator", self.inputs, [output], constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="jaxgan", opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model

    def _needed(self) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """What the output depends on, in order."""
        names, nodes = {"output"}, []
        for node in reversed(self.nodes):
            if not names.isdisjoint(node.output):
                names.update(node.input)
                nodes.append(node)
        return nodes[::-1], [each for each in self._constants.values() if each.name in names]

    def _name(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def _size(self, n: Any) -> str:
        if self._batch is None or n != self._batch[0]:
            raise refuse(f"an array of size {n}")
        return self._batch[1]


def _named(shape: tuple[Any, ...]) -> list[int | str]:
    return [n if isinstance(n, int) else str(n) for n in shape]
