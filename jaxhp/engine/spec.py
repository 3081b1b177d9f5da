"""One static group of a search: all that a population is compiled from, and the one identity of a group."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree

from jaxhp.tasks.task import AnyTask, Shapes
from jaxhp.values import Config, Value


class Spec(NamedTuple):
    """One static group, checked. `spec_of` makes it."""

    task: AnyTask  # whose members are arrays of numbers alone, see `jaxhp.tasks.keys`
    shapes: Shapes  # what `check` found
    static: Config  # the part of a config that is compiled in
    traced: dict[str, np.dtype]  # names and dtypes of the part that is data
    holdout: PyTree = None  # validation examples that the search does not use, a pytree like `task.valid`; None: none
    made: PyTree = None  # shapes of what the task's own `init` makes, keys of random numbers included
    absent: Mapping[str, Value] = {}  # what a traced value is where it does not exist in a config of the group

    @property
    def key(self) -> str:
        """Returns the identity of the group among those of its search: 16 hex digits, the same in every process."""
        return key_of_group(self.static)

    @property
    def abstract(self) -> Config:
        """Returns a config of the group: static values, and a `jax.ShapeDtypeStruct` for every traced one."""
        return abstract_config(self.static, self.traced)

    def columns(self, configs: Sequence[Config]) -> dict[str, np.ndarray]:
        """Returns the traced part of P configs of the group as data, name to f32[P] or i32[P]."""

        def column(name: str) -> list[Value]:
            return [config[name] if name in config else self.absent[name] for config in configs]

        return {name: np.asarray(column(name), dtype) for name, dtype in self.traced.items()}


def key_of_group(static: Mapping[str, Value]) -> str:
    """Makes the identity of a group from the static part of its configs.

    >>> key_of_group({"depth": 2, "act": "relu"}) == key_of_group({"act": "relu", "depth": 2})
    True
    >>> key_of_group({"depth": 1}) == key_of_group({"depth": True})
    False
    """
    known = [(name, type(value).__name__, value) for name, value in static.items()]
    return hashlib.sha256(repr(sorted(known)).encode()).hexdigest()[:16]


def abstract_config(static: Mapping[str, Value], traced: Mapping[str, DTypeLike]) -> Config:
    """Makes a config whose traced values, given by name and dtype, are scalars' `jax.ShapeDtypeStruct`."""
    return {**static, **{name: jax.ShapeDtypeStruct((), np.dtype(dtype)) for name, dtype in traced.items()}}
