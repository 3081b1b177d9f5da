"""Which values of other parameters a parameter exists under: what `when=` says.

An entry of `when` is one value, a list of several, or a `range` of integers. A parameter exists where every other one
that its `when` names exists itself and has one of the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from jaxhp.values import Config, Error, Value, same_value


class Conditional(Protocol):
    """What this has to know of a parameter, see `Parameter`."""

    @property
    def static(self) -> bool: ...
    @property
    def when(self) -> Mapping[str, object] | None: ...
    @property
    def dtype(self) -> type[np.generic]: ...
    def unit(self, value: Value) -> float: ...


def allows(wanted: Any, value: Value) -> bool:
    """Tell whether an entry of `when` names a value.

    >>> allows(["adam", "adamw"], "adam"), allows(range(2, 5), 5), allows(True, 1)
    (True, False, False)
    """
    if isinstance(wanted, range):
        return isinstance(value, int) and not isinstance(value, bool) and value in wanted
    if isinstance(wanted, list):
        return any(same_value(one, value) for one in wanted)
    return same_value(wanted, value)


def exists(name: str, parameters: Mapping[str, Conditional], values: Mapping[str, Value]) -> bool:
    """Tell whether a parameter exists in a config.

    Args:
      name: of the parameter.
      parameters: all of the space.
      values: of fixed values and of every parameter that exists; those of others are not looked at.
    """
    when = (parameters[name].when or {}) if name in parameters else {}
    return all(
        owner in values and exists(owner, parameters, values) and allows(wanted, values[owner])
        for owner, wanted in when.items()
    )


def may_exist(name: str, parameters: Mapping[str, Conditional], static: Mapping[str, Value]) -> bool:
    """Tell whether a parameter exists in any config that has this static part."""
    when = (parameters[name].when or {}) if name in parameters else {}
    return all(
        may_exist(owner, parameters, static)
        and (allows(wanted, static[owner]) if owner in static else owner in parameters and not parameters[owner].static)
        for owner, wanted in when.items()
    )


def check_conditions(parameters: Mapping[str, Conditional], fixed: Config) -> None:
    """Check what every `when` names.

    Raises:
      Error: a `when` names no static parameter, integer or fixed value, or none of its values; or goes in a circle.
    """
    for name, parameter in parameters.items():
        for owner, wanted in (parameter.when or {}).items():
            _check_entry(name, parameter, owner, wanted, parameters, fixed)
        _check_no_circle(name, parameters, (name,))


def _check_entry(
    name: str, parameter: Conditional, owner: str, wanted: Any, parameters: Mapping[str, Conditional], fixed: Config
) -> None:
    known = parameters.get(owner)
    whole = known is not None and not known.static and issubclass(known.dtype, np.integer)
    if owner not in fixed and not (known is not None and known.static) and not whole:
        raise Error(
            f"Space {name}: expected when= to name a static Choice, an IntUniform or a fixed value, got {owner!r}"
        )
    if parameter.static and whole:
        raise Error(f"Space {name}: expected when= of a static parameter to name static ones, got {owner!r}")
    several = isinstance(wanted, range | list)
    if several and not len(wanted):
        raise Error(f"Space {name}: expected values of {owner!r} in when=, got none: {wanted!r}")
    if known is None:
        return
    for value in (wanted[0], *wanted[1:][-1:]) if isinstance(wanted, range) else wanted if several else [wanted]:
        try:
            known.unit(value)
        except Error as error:
            raise Error(f"Space {name} when= {owner}: {error}") from error


def _check_no_circle(name: str, parameters: Mapping[str, Conditional], path: tuple[str, ...]) -> None:
    for owner in (parameters[name].when or {}) if name in parameters else {}:
        if owner in path:
            raise Error(f"Space {name}: expected when= not to go in a circle, got {' -> '.join((*path, owner))}")
        _check_no_circle(owner, parameters, (*path, owner))
