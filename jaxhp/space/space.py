"""Search spaces: named hyperparameters with ranges, mapped to and from the unit cube.

A strategy proposes points of [0, 1]^D in float32. `Space` turns them into configs in the user's units and back.
The mapping runs on the host in float64, and points are taken to the nearest multiple of 2**-24, so that
`space.unit(space.config(u))` gives back exactly that point for continuous parameters, and the middle of the cell
for integers and choices.

    >>> from jaxhp.space import Choice, IntUniform, LogUniform
    >>> space = Space(lr=LogUniform(1e-6, 1e-2), layers=IntUniform(1, 4), optimizer=Choice(["sgd", "adam"]))
    >>> space.config([0.1, 0.0, 0.9])  # the axes are in the order of the names
    {'layers': 1, 'lr': 1e-06, 'optimizer': 'adam'}
    >>> space.unit({"lr": 1e-4, "layers": 1, "optimizer": "adam"}).tolist()
    [0.125, 0.5, 0.75]
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxhp.space.conditions import check_conditions, exists, may_exist
from jaxhp.space.forbidden import Predicate, forbids
from jaxhp.space.parameters import KINDS, Parameter
from jaxhp.values import Config, Error, Json, Value, check_name, decoded, encoded, same_value, value_of

_GRID = 2.0**24
_TRIED = 1024  # configs on which `where` is tried


class Space:
    """Hold named hyperparameters. A keyword whose value is a plain one, and no parameter, is fixed.

    Parameters are known by name: the order of the keywords changes nothing. A parameter with `when=` exists only in
    some configs: `when={"optimizer": "adam"}` where the static Choice `optimizer` is "adam",
    `when={"optimizer": ["adam", "adamw"]}` where it is one of these, `when={"layers": range(2, 5)}` where the
    IntUniform `layers` is 2 to 4. What exists under a parameter that does not exist does not exist either. Where a
    parameter hangs on an IntUniform, all networks of a group are still one program: where it does not exist, the task
    is given the middle of its range.

    Attributes:
      parameters: the searched ones, by name, in the order of the unit cube's axes, which is that of their names.
      fixed: the fixed ones, by name.
      where: functions of a config; all must return true for it to be tried.

    Raises:
      Error: a keyword's value is neither a parameter nor a plain one (see `jaxhp.trials.Config`).
      Error: a `when` names nothing that it can depend on or none of its values; `where` is no function.
      Error: there is no parameter and no fixed value, or no config that `where` lets pass was found among 1,024.
    """

    def __init__(self, /, where: Predicate | Sequence[Predicate] = (), **parameters: Parameter | Value):
        self.where = tuple([where] if callable(where) else where)
        for predicate in self.where:
            if not callable(predicate):
                raise Error(f"Space where: expected functions of a config, got {predicate!r}")
        self.parameters: dict[str, Parameter] = {}
        self.fixed: Config = {}
        for name, parameter in sorted(parameters.items()):
            check_name(name, "Space")
            if isinstance(parameter, Parameter):
                self.parameters[name] = parameter
                continue
            try:
                self.fixed[name] = value_of(f"Space {name}", parameter)
            except Error:
                raise Error(f"Space {name}: expected {', '.join(KINDS)} or a fixed value, got {parameter!r}") from None
            if isinstance(parameter, tuple) and any(isinstance(part, float) for part in parameter):
                what = f"{', '.join(KINDS)} or a fixed value"
                raise Error(
                    f"Space {name}: expected {what}, got {parameter!r}; if it is one value, Choice([{parameter!r}])"
                )
        if not parameters:
            raise Error("Space: expected at least one parameter, got none")
        check_conditions(self.parameters, self.fixed)
        if self.where and not self.allowed():
            raise Error(f"Space where: expected functions that let configs pass, got none of {_TRIED} that did")

    def _sample(self, count: int) -> list[Config]:
        """Draw configs, the same ones at any time, whether `where` lets them pass or not."""
        return self.configs(np.random.Generator(np.random.Philox(0)).random((count, self.dim)))

    def allowed(self) -> list[Config]:
        """Return those that `where` lets pass of the 1,024 configs on which it is tried: one, or more."""
        return [config for config in self._sample(_TRIED) if self.allows(config)]

    def points(self, most: int) -> np.ndarray | None:
        """List all its points f32[K, D], if no parameter is continuous and their values make at most so many."""
        axes = [p.cells(most) for p in self.parameters.values()] or [np.asarray([0.5])]
        if any(cells is None for cells in axes) or math.prod(len(cells) for cells in axes if cells is not None) > most:
            return None
        found = (self.unit(self.config(point)) for point in itertools.product(*axes))  # type: ignore[arg-type]
        return np.stack(list({point.tobytes(): point for point in found}.values()))

    def allows(self, config: Config) -> bool:
        """Tell whether a config may be tried: whether all of `where` return true for it."""
        return all(bool(predicate(dict(config))) for predicate in self.where)

    @property
    def names(self) -> tuple[str, ...]:
        """List the names of what is searched, in the order of the unit cube's axes."""
        return tuple(self.parameters)

    @property
    def dim(self) -> int:
        """Count the axes of the unit cube, D: one a parameter, or one that means nothing where there is none."""
        return max(len(self.parameters), 1)

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
        values = {name: p.value(u) for (name, p), u in zip(self.parameters.items(), snapped.tolist(), strict=False)}
        known = self.fixed | values
        return self.fixed | {name: value for name, value in values.items() if exists(name, self.parameters, known)}

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
        """
        known = self._checked(config)
        point = [p.unit(known[name]) if name in known else 0.5 for name, p in self.parameters.items()] or [0.5]
        return (np.rint(np.asarray(point) * _GRID) / _GRID).astype(np.float32)

    def given(self, config: Mapping[str, Value]) -> Config:
        """Return a config as it is trained and recorded: with fixed values, and every value exactly as it was given.

        Raises:
          Error: as `unit`.
        """
        known = self._checked(config)
        return self.fixed | {name: p.given(known[name]) for name, p in self.parameters.items() if name in known}

    def _checked(self, config: Mapping[str, Value]) -> Config:
        """Return the part of a config that exists; raises as `unit`."""
        if not isinstance(config, Mapping):
            raise Error(f"config: expected values by name, got {config!r:.80}")
        for name, value in self.fixed.items():
            if not same_value(config.get(name, value), value):
                raise Error(f"config {name}: expected the fixed value {value!r}, got {config[name]!r}")
        known = self.fixed | dict(config)
        needed = [n for n in self.parameters if exists(n, self.parameters, known)]
        missing = [n for n in needed if n not in config]
        unknown = [n for n in config if n not in needed and n not in self.fixed]
        if missing or unknown:
            raise Error(f"config: expected the parameters {', '.join(needed)}, got {', '.join(config)}")
        return {name: value for name, value in known.items() if name in self.fixed or name in needed}

    def static(self, config: Mapping[str, Value]) -> Config:
        """Take the part of a config that is compiled in: fixed values and static choices."""
        chosen = {n: config[n] for n, p in self.parameters.items() if p.static and n in config}
        return self.fixed | chosen

    def groups(self) -> list[Config]:
        """Make one config of every static group, with other parameters at the middle of their range.

        A group is left out that one of `where` forbids by its static part alone.
        """
        axes = []
        for p in self.parameters.values():
            cells = p.cells() if p.static else None
            axes.append([0.5] if cells is None else cells.tolist())
        configs = [self.config(point) for point in itertools.product(*axes or [[0.5]])]
        groups = {json.dumps(_json(self.static(config))): config for config in configs}.values()
        return [config for config in groups if not self._forbids_group(config)]

    def _forbids_group(self, config: Config) -> bool:
        """Tell whether a predicate that reads nothing of a config but its static part does not let it pass."""
        static = self.static(config)
        data = {n for n, p in self.parameters.items() if not p.static and may_exist(n, self.parameters, static)}
        return any(forbids(predicate, config, data) for predicate in self.where)

    def traced(self, configs: Iterable[Mapping[str, Value]]) -> dict[str, np.ndarray]:
        """Take the other part of P configs of one static group, as data: name to f32[P] or i32[P].

        Where a parameter hangs on an IntUniform and does not exist, it is the middle of its range.
        """
        rows = list(configs)
        static = self.static(rows[0]) if rows else {}
        having = {n: p for n, p in self.parameters.items() if not p.static and may_exist(n, self.parameters, static)}
        return {n: np.asarray([row.get(n, p.value(0.5)) for row in rows], p.dtype) for n, p in having.items() if rows}

    def widened(self, edges: Mapping[str, int]) -> Space:
        """Make the space with ranges half as wide again, on a log scale where they are, on the sides given.

        A range that ends at zero or above never comes to lie below it, nor one below it above.

        Args:
          edges: parameter name to -1 (lower) or 1 (upper), such as `Result.edges`.

        Raises:
          Error: an edge is not one of these, or of a parameter that cannot be widened: it has no range, or it is a
            Choice of something else than numbers in an order.

        >>> from jaxhp.space import IntUniform, LogUniform
        >>> Space(lr=LogUniform(1e-4, 1e-2), width=IntUniform(1, 4), momentum=0.9).widened({"lr": 1, "width": -1})
        Space(lr=LogUniform(0.0001, 0.1), width=IntUniform(0, 4), momentum=0.9)
        """
        for name, side in edges.items():
            if name not in self.parameters or side not in (-1, 1):
                raise Error(f"edges: expected a parameter's name to -1 or 1, got {name!r}: {side!r}")
        wider = dict(self.parameters)
        for name, side in edges.items():
            try:
                wider[name] = wider[name].widened(side)
            except Error as error:
                text = str(error).removeprefix("widened: ")
                raise Error(f"edges {name}: {text}; leave it out here, and give it more values by hand") from error
        return Space(self.where, **wider, **self.fixed)

    def to_json(self) -> Json:
        """Make a JSON object from which `from_json` makes an equal space, but for `where`.

        Functions are no JSON: of `where` it has the answers for 1,024 configs, by which two spaces can be told apart.
        """
        record: Json = {"parameters": {n: p.to_json() for n, p in self.parameters.items()}}
        record["fixed"] = _json(self.fixed)
        if self.where:
            answers = "".join("01"[self.allows(config)] for config in self._sample(_TRIED))
            record["where"] = f"{int(answers, 2):0{_TRIED // 4}x}"
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Space:
        """Make the space that `to_json` describes.

        Raises:
          Error: the record describes none, or one with a kind of parameter that is not registered.
        """
        try:
            parameters = {name: Parameter.from_json(entry) for name, entry in record["parameters"].items()}
            return cls(**parameters, **{name: decoded(value) for name, value in record["fixed"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise Error(f"space: expected the JSON of a Space, got {json.dumps(record)[:200]}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and self._text() == other._text()

    def __hash__(self) -> int:
        return hash(self._text())

    def _text(self) -> str:
        return json.dumps(self.to_json(), sort_keys=True)

    def __repr__(self) -> str:
        shown = [f"{name}={parameter}" for name, parameter in self.parameters.items()]
        shown += [f"{name}={value!r}" for name, value in self.fixed.items()]
        shown += [f"where={list(self.where)!r}"] if self.where else []
        return f"Space({', '.join(shown)})"


def _json(config: Config) -> Json:
    return {name: encoded(value) for name, value in config.items()}
