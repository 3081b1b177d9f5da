"""A config that remembers which of its names were read, and is a plain dict to whoever gets it.

It is a pytree as a dict is: `jax.jit`, `jax.checkpoint`, `jax.tree.map` and the like take it, and what they hand on
remembers too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax


class _Those:
    """A set as part of a tree's structure: equal if it is the same one, so that each has programs of its own."""

    def __init__(self, names: set[str]):
        self.names = names

    def __hash__(self) -> int:
        return id(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Those) and self.names is other.names


class Recorded(dict):
    """A config that remembers which of its names were read."""

    def __init__(self, config: Mapping[str, Any], reads: set[str]):
        super().__init__(config)
        self.reads = reads

    def __getitem__(self, name: str) -> Any:
        self.reads.add(name)
        if name not in self:
            raise KeyError(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.reads.add(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        self.reads.add(name)
        return super().pop(name, *default)

    def copy(self) -> Recorded:
        return Recorded(dict(super().items()), self.reads)

    def __or__(self, other: Any) -> Any:
        return Recorded(dict(super().items()) | dict(other), self.reads)

    def __ror__(self, other: Any) -> Any:
        return Recorded(dict(other) | dict(super().items()), self.reads)

    def __iter__(self):
        self.reads.update(super().keys())
        return super().__iter__()

    def keys(self):
        self.reads.update(super().keys())
        return super().keys()

    def items(self):
        self.reads.update(super().keys())
        return super().items()

    def values(self):
        self.reads.update(super().keys())
        return super().values()


def is_missing(error: KeyError, config: Mapping[str, Any], reads: set[str]) -> bool:
    """Tell whether an error is that of reading a name that a config does not have."""
    return bool(error.args) and error.args[0] in reads and error.args[0] not in config


def _flatten(config: Recorded) -> tuple[list[tuple[Any, Any]], tuple[tuple[str, ...], _Those]]:
    plain = dict(dict.items(config))
    names = tuple(sorted(plain))
    return [(jax.tree_util.DictKey(name), plain[name]) for name in names], (names, _Those(config.reads))


def _unflatten(structure: tuple[tuple[str, ...], _Those], values: Any) -> Recorded:
    names, reads = structure
    return Recorded(dict(zip(names, values, strict=True)), reads.names)


jax.tree_util.register_pytree_with_keys(Recorded, _flatten, _unflatten)
