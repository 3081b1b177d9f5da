"""The arguments of an engine in a text, as `--executor` takes it."""

from __future__ import annotations

from typing import Any

from jaxhp.values import Error


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
