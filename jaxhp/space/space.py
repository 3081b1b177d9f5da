"""Search spaces: named hyperparameters with ranges, mapped to and from the unit cube.

A strategy proposes points of [0, 1]^D in float32. `Space` turns them into configs in the user's units and back.
The mapping runs on the host in float64, and points are taken to the nearest multiple of 2**-24, so that
`space.unit(space.config(u))` gives back exactly that point for continuous parameters, and the middle of the cell
for integers and choices.

    >>> from jaxhp.space import Choice, IntUniform, LogUniform
    >>> space = Space(lr=LogUniform(1e-6, 1e-2), layers=IntUniform(1, 4), optimizer=Choice(["sgd", "adam"]))
    >>> space.config([0.0, 0.1, 0.9])
    {'lr': 1e-06, 'layers': 1, 'optimizer': 'adam'}
    >>> space.unit({"lr": 1e-4, "layers": 1, "optimizer": "adam"}).tolist()
    [0.5, 0.125, 0.75]
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxhp.space.parameters import KINDS, Parameter
from jaxhp.trials import Config, Error, Json, Value

_GRID = 2.0**24


class Space:
    """Hold named hyperparameters. A keyword whose value is a plain number, string or boolean is fixed.

    Attributes:
      parameters: the searched ones, by name; the order is the order of the unit cube's axes.
      fixed: the fixed ones.

    Raises:
      Error: a keyword's value is neither a parameter nor such a plain one.
      Error: there is nothing to search, or a `when` names no unconditional static parameter or none of its values.
    """

    def __init__(self, /, **parameters: Parameter | Value):
        self.parameters: dict[str, Parameter] = {}
        self.fixed: Config = {}
        for name, parameter in parameters.items():
            if isinstance(parameter, Parameter):
                self.parameters[name] = parameter
            elif isinstance(parameter, (str, bool, int, float)):
                self.fixed[name] = parameter
            else:
                raise Error(f"Space {name}: expected {', '.join(KINDS)} or a fixed value, got {parameter!r}")
        if not self.parameters:
            raise Error("Space: expected at least one parameter to search, got none")
        for name, parameter in self.parameters.items():
            self._check_when(name, parameter)

    def _check_when(self, name: str, parameter: Parameter) -> None:
        for other, value in (parameter.when or {}).items():
            owner = self.parameters.get(other)
            if owner is None or not owner.static:
                raise Error(f"Space {name}: expected when= to name a static Choice, got {other!r}")
            if owner.when is not None:
                raise Error(f"Space {name}: expected {other!r} in when= to be unconditional itself")
            owner.unit(value)

    @property
    def names(self) -> tuple[str, ...]:
        """List the names of what is searched, in the order of the unit cube's axes."""
        return tuple(self.parameters)

    @property
    def dim(self) -> int:
        """Count the axes of the unit cube, D."""
        return len(self.parameters)

    def _exists(self, name: str, config: Mapping[str, Value]) -> bool:
        when = self.parameters[name].when or {}
        return all(config[other] == value for other, value in when.items())

    def config(self, unit: Sequence[float] | np.ndarray) -> Config:
        """Make the config at a point of the unit cube.

        Args:
          unit: f32[D], of values in [0, 1].

        Returns:
          Values by name, in the user's units, fixed ones first; conditional parameters that do not exist are absent.

        Raises:
          Error: the point has another shape, or lies outside of the cube.
        """
        try:
            point = np.asarray(unit, np.float64)
        except OverflowError:
            raise Error("unit: expected values in [0, 1], got one beyond float64") from None
        if point.shape != (self.dim,):
            raise Error(f"unit: expected shape ({self.dim},), got {point.shape}")
        if not np.all((point >= 0) & (point <= 1)):
            raise Error(f"unit: expected values in [0, 1], got {point.tolist()}")
        snapped = np.rint(point * _GRID) / _GRID
        values = {name: p.value(u) for (name, p), u in zip(self.parameters.items(), snapped.tolist(), strict=True)}
        return self.fixed | {name: value for name, value in values.items() if self._exists(name, values)}

    def configs(self, unit: np.ndarray) -> list[Config]:
        """Make the config of every row of f32[P, D]; raises as `config`."""
        return [self.config(row) for row in np.asarray(unit)]

    def unit(self, config: Mapping[str, Value]) -> np.ndarray:
        """Find the point of a config in the unit cube.

        Args:
          config: values by name, in the user's units; fixed ones may be left out.

        Returns:
          f32[D], of values in [0, 1]; 0.5 on the axes of parameters that do not exist in the config.

        Raises:
          Error: a name is missing or unknown, or a value is not one of its parameter.
          Error: a value has a type that its parameter does not have.
        """
        missing = [n for n, p in self.parameters.items() if n not in config and not p.when]
        unknown = [n for n in config if n not in self.parameters and n not in self.fixed]
        if missing or unknown:
            raise Error(f"config: expected the parameters {', '.join(self.names)}, got {', '.join(config)}")
        for name, value in self.fixed.items():
            if config.get(name, value) != value:
                raise Error(f"config {name}: expected the fixed value {value!r}, got {config[name]!r}")
        point = [
            p.unit(config[name]) if name in config and self._exists(name, config) else 0.5
            for name, p in self.parameters.items()
        ]
        return (np.rint(np.asarray(point) * _GRID) / _GRID).astype(np.float32)

    def static(self, config: Mapping[str, Value]) -> Config:
        """Take the part of a config that is compiled in: fixed values and static choices."""
        chosen = {n: config[n] for n, p in self.parameters.items() if p.static and n in config}
        return self.fixed | chosen

    def groups(self) -> list[Config]:
        """Make one config of every static group, with other parameters at the middle of their range."""
        axes = []
        for p in self.parameters.values():
            cells = p.cells() if p.static else None
            # by way of the value, as `unit` of a config: of equal values, such as 1 and 1.0, the first stands for both
            axes.append([0.5] if cells is None else [p.unit(p.value(u)) for u in cells.tolist()])
        configs = [self.config(point) for point in itertools.product(*axes)]
        return list({json.dumps(self.static(config)): config for config in configs}.values())

    def traced(self, configs: Iterable[Mapping[str, Value]]) -> dict[str, np.ndarray]:
        """Take the other part of P configs of one static group, as data: name to f32[P] or i32[P]."""
        rows = list(configs)
        names = [n for n, p in self.parameters.items() if not p.static and rows and n in rows[0]]
        return {n: np.asarray([row[n] for row in rows], self.parameters[n].dtype) for n in names}

    def widened(self, edges: Mapping[str, int]) -> Space:
        """Make the space with ranges half as wide again, on a log scale where they are, on the sides given.

        A range that ends at zero or above never comes to lie below it, nor one below it above.

        Args:
          edges: parameter name to -1 (lower) or 1 (upper), such as `Result.edges`.

        Raises:
          Error: an edge is not one of these, or of a parameter without a range.

        >>> from jaxhp.space import IntUniform, LogUniform
        >>> Space(lr=LogUniform(1e-4, 1e-2), width=IntUniform(1, 4), momentum=0.9).widened({"lr": 1, "width": -1})
        Space(lr=LogUniform(0.0001, 0.1), width=IntUniform(0, 4), momentum=0.9)
        """
        for name, side in edges.items():
            if name not in self.parameters or side not in (-1, 1):
                raise Error(f"edges: expected a parameter's name to -1 or 1, got {name!r}: {side!r}")
        wider = {n: p.widened(edges[n]) if n in edges else p for n, p in self.parameters.items()}
        return Space(**wider, **self.fixed)

    def to_json(self) -> Json:
        """Make a JSON object from which `from_json` makes an equal space."""
        return {"parameters": {n: p.to_json() for n, p in self.parameters.items()}, "fixed": self.fixed}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Space:
        """Make the space that `to_json` describes.

        Raises:
          Error: the record describes none, or one with a kind of parameter that is not registered.
        """
        try:
            parameters = {name: Parameter.from_json(entry) for name, entry in record["parameters"].items()}
            return cls(**parameters, **record["fixed"])
        except (KeyError, TypeError, AttributeError) as error:
            raise Error(f"space: expected the JSON of a Space, got {json.dumps(record)[:200]}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_json()))

    def __repr__(self) -> str:
        shown = [f"{name}={parameter}" for name, parameter in self.parameters.items()]
        shown += [f"{name}={value!r}" for name, value in self.fixed.items()]
        return f"Space({', '.join(shown)})"
