"""Configurations as JSON: written, and read back without running code."""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal

from jaxgan.config.base import Config
from jaxgan.config.cyclegan import CycleGANConfig
from jaxgan.config.gan import GANConfig
from jaxgan.config.stylegan2 import StyleGAN2Config
from jaxgan.errors import InputError, choose, closest

RECIPES: dict[str, type[Config]] = {c.recipe: c for c in (GANConfig, CycleGANConfig, StyleGAN2Config)}


def write(config: Config, path: Path) -> None:
    """Writes a configuration as JSON."""
    path.write_text(json.dumps(config.as_data(), indent=2) + "\n")


def read(path: Path) -> Config:
    """Reads a configuration that `write` wrote.

    Raises:
      InputError: if it is no JSON object, names an unknown recipe or field, or a value has the wrong type.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as a configuration: {error}.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} holds a {type(data).__name__}; a configuration is a JSON object of fields.")
    cls = choose("recipe", str(data.pop("recipe", None)), RECIPES)
    annotations = typing.get_type_hints(cls)  # class variables too, which are no fields
    hints = {field.name: annotations[field.name] for field in dataclasses.fields(cls)}
    for name, value in data.items():
        if name not in hints:
            raise InputError(f"{path}: there is no field {name!r}. {closest(name, hints)}")
        if not _fits(value, hints[name]):
            raise InputError(f"{path}: {name} is {value!r}; it must be {_words(hints[name])}.")
    return cls(**data)


def float_fields(config: Config) -> list[str]:
    """The names of the fields that a sweep may give values to."""
    hints = typing.get_type_hints(type(config))
    return [field.name for field in dataclasses.fields(config) if _fits(0.5, hints[field.name])]


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
