"""Errors: of user input, and of runs that cannot go on."""

import difflib
import importlib.util
from collections.abc import Collection, Mapping
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Input that jaxgan cannot work with: the message says what it got, what is allowed and how to mend it.

    The command line prints the message alone and exits with status 2.
    """


class RunError(RuntimeError):
    """A run that cannot go on: the message says what happened, what is kept, and how to go on.

    The command line prints the message alone and exits with status 1.
    """


class RunWarning(UserWarning):
    """Something that a run goes on in spite of."""


def similar(name: str, allowed: Collection[str]) -> str:
    """A question that proposes the most similar of the allowed names, empty if none is similar."""
    match = difflib.get_close_matches(name.lower(), allowed, n=1, cutoff=0.5)
    return f"Did you mean {match[0]!r}? " if match else ""


def closest(name: str, allowed: Collection[str]) -> str:
    """A hint that names the most similar of the allowed names, and then all of them."""
    return f"{similar(name, allowed)}Allowed: {', '.join(sorted(allowed))}."


def choose(kind: str, name: str, registry: Mapping[str, T], more: str = "") -> T:
    """Looks a name up in a registry.

    Args:
      kind: what is looked up, for the message ("objective", "preset").
      name: the name that the user gave.
      registry: the allowed names and what they stand for.
      more: what else the message says.

    Returns:
      The registry's entry.

    Raises:
      InputError: if the name is not in the registry; names the closest one.

    >>> choose("objective", "hinge", {"hinge": 1})
    1
    """
    if name not in registry:
        raise InputError(f"There is no {kind} {name!r}. {closest(name, registry)} {more}".rstrip())
    return registry[name]


def check_extra(module: str, extra: str, what: str) -> None:
    """Says how to get a package that is not installed with jaxgan itself.

    Args:
      module: of the package.
      extra: of jaxgan that brings it, and the flag that asks for it.
      what: cannot be made without it.

    Raises:
      InputError: if it is not there.

    >>> check_extra("json", "json", "JSON files")
    """
    if importlib.util.find_spec(module) is None:
        raise InputError(f"{what} need an extra package: pip install 'jaxgan[{extra}]', or leave --{extra} out.")
