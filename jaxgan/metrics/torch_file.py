"""Reads the arrays of a PyTorch checkpoint without PyTorch, and without running what is in it.

`torch.save` writes pickles, and a pickle is a program: to load one is to run it. Here it is only disassembled, by
`pickletools`. A small interpreter follows the few instructions that a state dict is made of, knows the few names that
one refers to, and refuses all else. The numbers lie beside the pickle, in one of two formats: in the entries of an
archive, or, before PyTorch 1.6, one after the other at the end of the file.
"""

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import jax.numpy as jnp
import numpy as np

from jaxgan.errors import InputError

_DTYPES = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch DoubleStorage": np.dtype("<f8"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch BFloat16Storage": np.dtype(jnp.bfloat16),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
}
# Bytes of a file that is read: the networks that it is for have a tenth of them.
_MOST = 1 << 30
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001


class _Storage(NamedTuple):
    """Numbers that tensors are views of, by the key under which the file keeps them."""

    key: str
    dtype: np.dtype
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict that ``torch.save`` wrote, in either of its formats.

    Args:
      path: of the file.

    Returns:
      The arrays by name, in the dtypes that they were saved in, read-only.

    Raises:
      InputError: if the file cannot be read, was cut off or altered, or holds anything but tensors by name.

    >>> read("weights.pth")["fc.weight"].shape  # doctest: +SKIP
    (1008, 2048)
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        # A pipe would keep whoever opens it waiting, a device may have no end.
        if not path.is_file() or size > _MOST:
            raise InputError(f"The weights {path} cannot be read: they are no regular file of at most {_MOST} bytes.")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"The weights {path} cannot be read: {error.strerror}.") from error
    try:
        arrays = _archive(content) if content.startswith(b"PK\3\4") else _sequence(content)
    # What is raised by a file that is not what it says.
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        raise InputError(
            f"{path} is not a state dict, tensors by name, as torch.save writes it, or it was cut off or altered: "
            f"{str(error)[:200]}. Nothing in it was run."
        ) from error
    return arrays


def _archive(content: bytes) -> dict[str, np.ndarray]:
    """The format since PyTorch 1.6: a zip archive that does not compress."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            _refuse("its archive is compressed")
        if sum(entry.file_size for entry in entries) > len(content):
            _refuse("the entries of its archive are larger than the file")
        (pickle,) = (entry.filename for entry in entries if entry.filename.endswith("/data.pkl"))
        folder = pickle.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            _refuse("its numbers are not little-endian")
        tensors = _tensors(_follow(io.BytesIO(archive.read(pickle))))
        # Checks the CRC of each entry.
        return _arrays(tensors, {s.key: archive.read(f"{folder}data/{s.key}") for s in _storages(tensors).values()})


def _sequence(content: bytes) -> dict[str, np.ndarray]:
    """The format before PyTorch 1.6: five pickles and then the numbers of each storage, preceded by their count."""
    stream = io.BytesIO(content)
    if _follow(stream) != _MAGIC or _follow(stream) != _VERSION:
        _refuse("it does not begin as one")
    system = _follow(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        _refuse("its numbers are not little-endian")
    tensors = _tensors(_follow(stream))
    storages, buffers, keys = _storages(tensors), {}, _follow(stream)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        _refuse("it does not list its storages")
    for key in keys:
        (size,) = struct.unpack("<q", stream.read(8))
        buffers[key] = stream.read(size * storages[key].dtype.itemsize)
    return _arrays(tensors, buffers)


def _tensors(state: object) -> dict[str, _Tensor]:
    if not isinstance(state, dict):
        _refuse(f"it holds a {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(value, _Tensor):
            _refuse(f"{name[:80]!r} is a {type(value).__name__}")
    return state


def _storages(tensors: dict[str, _Tensor]) -> dict[str, _Storage]:
    storages: dict[str, _Storage] = {}
    for tensor in tensors.values():
        if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            _refuse(f"the storage {tensor.storage.key[:40]!r} is described in two ways")
    return storages


def _arrays(tensors: dict[str, _Tensor], buffers: dict[str, bytes]) -> dict[str, np.ndarray]:
    """The tensors as views of their storages: no more memory than the file has, whatever shapes it claims."""
    flat = {}
    for key, (_, dtype, size) in _storages(tensors).items():
        if len(buffers[key]) != size * dtype.itemsize:
            _refuse(f"the storage {key[:40]!r} has {len(buffers[key])} bytes in place of {size * dtype.itemsize}")
        flat[key] = np.frombuffer(buffers[key], dtype)
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        count = math.prod(shape)
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if count else 0
        if count > storage.size or last >= max(storage.size, 1):
            _refuse(f"{name[:80]!r} does not lie within its storage of {storage.size} numbers")
        numbers = flat[storage.key][offset if count else 0 :]
        steps = [stride * storage.dtype.itemsize for stride in strides]
        arrays[name] = np.lib.stride_tricks.as_strided(numbers, shape, steps, writeable=False)
    return arrays


def _follow(stream: BinaryIO) -> Any:
    """The value of the next pickle in a stream, made of numbers, strings, tuples, lists, dicts and _Tensors alone."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        values = stack[start:]
        del stack[start:]
        return values

    def set_items(items: list[Any]) -> None:
        target = stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Other keys could be nested too deeply to be hashed.
            if not isinstance(target, dict) or not isinstance(key, str):
                _refuse("it has a dict whose keys are not strings")
            target[key] = value

    argument: Any
    # Ends after STOP, where the next pickle begins.
    for opcode, argument, _ in pickletools.genops(stream):
        match opcode.name:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                marks.append(len(stack))
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINUNICODE":
                stack.append(argument)
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                n = int(opcode.name[-1])
                stack[-n:] = [tuple(stack[-n:])]
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "APPEND":
                value = stack.pop()
                stack[-1].append(value)
            case "APPENDS":
                values = pop_to_mark()
                stack[-1].extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                set_items([key, value])
            case "SETITEMS":
                set_items(pop_to_mark())
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                if argument not in _GLOBALS:
                    _refuse(f"it asks for {argument.replace(' ', '.')[:80]!r}")
                stack.append(_GLOBALS[argument])
            case "BINPERSID":
                stack.append(_storage(*stack.pop()))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(function(*arguments))
            case "BUILD":
                # Attributes of the state dict, the versions of its modules: nothing that an array needs.
                _, target = stack.pop(), stack[-1]
                if not isinstance(target, dict):
                    _refuse("it sets attributes of something else than a dict")
            case other:
                _refuse(f"it has the instruction {other}")
    return stack.pop()


def _storage(kind: str, dtype: np.dtype, key: str, location: str, size: int, view: None = None) -> _Storage:
    if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str) or view is not None:
        _refuse("it has a storage of an unknown kind")
    return _Storage(key, dtype, _natural(size))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple, strides: tuple, requires_grad: bool, hooks: dict
) -> _Tensor:
    if not isinstance(storage, _Storage):
        _refuse("it has a tensor without a storage")
    # NumPy has no more axes; nor could the product of many large numbers be computed.
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or max(len(shape), len(strides)) > 64:
        _refuse("it has a tensor whose shape or strides are not a short tuple")
    return _Tensor(storage, _natural(offset), tuple(map(_natural, shape)), tuple(map(_natural, strides)))


def _rebuild_parameter(tensor: _Tensor, requires_grad: bool, hooks: dict) -> _Tensor:
    return tensor


def _empty_dict() -> dict[str, Any]:
    return {}


def _natural(value: object) -> int:
    if type(value) is not int or value < 0:
        _refuse("it has a size that is not a natural number")
    return value


def _refuse(why: str) -> NoReturn:
    raise ValueError(why)


# All that can be called, and the types of numbers, which cannot.
_GLOBALS: dict[str, Callable[..., Any] | np.dtype] = {
    "collections OrderedDict": _empty_dict,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
} | _DTYPES
