"""The packages of engines, which are imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from jaxhp.values import Error


def needed(module: str, package: str, extra: str) -> Any:
    """Import a module of an engine.

    Raises:
      Error: its package is missing.
    """
    try:
        return import_module(module)
    except ImportError as error:
        text = f"executor: needs the package {package} ({error})"
        raise Error(f"{text}: pip install {package}, or 'jaxhp[{extra}]'") from error


def options(text: str, kinds: dict[str, type]) -> dict[str, Any]:
    """Return the arguments in a text such as `nodes=8,gres=gpu:1`.

    Args:
      kinds: the type of those that are no strings, by name.

    Raises:
      Error: a part is no name and value.
    """
    found: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        name, given, value = part.partition("=")
        try:
            found[name.strip()] = kinds.get(name.strip(), str)(value)
        except ValueError:
            given = ""
        if not given or not name.strip() or not value:
            kind = kinds.get(name.strip(), str)
            what = {int: "a whole number", float: "a number"}.get(kind, "a value")
            raise Error(f"executor: expected name=value with {what}, got {part!r}")
    return found
