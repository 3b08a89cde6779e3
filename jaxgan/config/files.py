"""Configurations as JSON: written, and read back without running code."""

import dataclasses
import json
import math
import types
import typing
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from jaxgan.config.base import Config
from jaxgan.config.cyclegan import CycleGANConfig
from jaxgan.config.gan import GANConfig
from jaxgan.config.r3gan import R3GANConfig
from jaxgan.config.stylegan2 import StyleGAN2Config
from jaxgan.errors import InputError, choose, closest
from jaxgan.files import replace

# Bytes; what `write` writes has a thousandth of them.
_MOST = 1 << 20
RECIPES: dict[str, type[Config]] = {c.recipe: c for c in (GANConfig, CycleGANConfig, StyleGAN2Config, R3GANConfig)}


def write(config: Config, path: Path) -> None:
    """Writes a configuration as JSON."""
    text = json.dumps(config.as_data(), indent=2) + "\n"
    replace(path, lambda file: file.write(text.encode()))


def read(path: Path) -> Config:
    """Reads a configuration that `write` wrote.

    Raises:
      InputError: if it is no JSON object, names a field twice, names an unknown recipe or field, or a value has the
        wrong type, is not finite, or is none that the recipe takes.
    """
    try:
        text = _text(path)
        data = json.loads(text, object_pairs_hook=_once, parse_float=_finite, parse_int=_int64, parse_constant=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as a configuration: {error}.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} holds a {type(data).__name__}; a configuration is a JSON object of fields.")
    return from_data(data, str(path))


def from_data(data: dict[str, Any], origin: str) -> Config:
    """The configuration that `Config.as_data` made this of.

    Raises:
      InputError: as `read`; its message begins with the origin.
    """
    try:
        return _make(dict(data))
    except InputError as error:
        raise InputError(f"{origin}: {error}") from error


def _make(data: dict[str, Any]) -> Config:
    own = "A recipe of your own is known only to the program that adds it to RECIPES: call that instead of jaxgan."
    cls = choose("recipe", str(data.pop("recipe", None))[:80], RECIPES, own)
    annotations = typing.get_type_hints(cls)  # class variables too, which are no fields
    hints = {field.name: annotations[field.name] for field in dataclasses.fields(cls)}
    for name, value in data.items():
        if name not in hints:
            raise InputError(f"there is no field {name[:80]!r}. {closest(name[:80], hints)}")
        if not _fits(value, hints[name]):
            raise InputError(f"{name} is {repr(value)[:80]}; it must be {_words(hints[name])}.")
    return cls(**data)


def float_fields(config: Config) -> list[str]:
    """The names of the fields that a sweep may give values to."""
    hints = typing.get_type_hints(type(config))
    return [field.name for field in dataclasses.fields(config) if _fits(0.5, hints[field.name])]


def _text(path: Path) -> str:
    if path.exists() and not path.is_file():  # a pipe would keep whoever opens it waiting
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise ValueError(f"it has more than {_MOST} bytes")
    return content.decode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"it names {twice[:80]!r} twice")
    return fields


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {text[:80]}, which is not finite")
    return value


def _int64(text: str) -> int:
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"it has the number {text[:80]}, which 64 bits do not hold")
    return value


def _fits(value: Any, hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint)
    if isinstance(value, bool):  # a bool is an int in Python
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(hint)))
    return getattr(hint, "__name__", str(hint))
