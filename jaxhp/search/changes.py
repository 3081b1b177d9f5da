"""The same search with other arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from jaxhp.values import Error

if TYPE_CHECKING:
    from jaxhp.strategies.base import Strategy


def changed(search: Any, changes: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of a search with other values for some, or for fields of its strategy.

    Args:
      search: a `Search`.
      settings: names of the strategy's fields.

    Raises:
      Error: there is no such argument or field.
    """
    names = [f.name for f in fields(search) if f.init and f.name not in ("task", "space", "strategy")]
    unknown = [name for name in changes if name not in (*names, *settings)]
    if unknown:
        known = ", ".join((*names, *settings))
        raise Error(f"{unknown[0]}: expected an argument of the search or its strategy ({known})")
    options = {name: getattr(search, name) for name in names if name != "finals" or not search.default_finals}
    options |= {name: value for name, value in changes.items() if name in names}
    own = {name: value for name, value in changes.items() if name not in names}
    strategy: Strategy = replace(search.strategy, **own) if own else search.strategy
    return {"task": search.task, "space": search.space, "strategy": strategy} | options
