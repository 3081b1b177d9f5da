"""What a parameter's value may be: checked, compared, and written as JSON; and the error for what may not be."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeGuard

import numpy as np


class Error(ValueError):
    """Raised for what a user asked for and cannot be had: one line that names it, what was expected and what came.

    Any other exception out of jaxhp is a defect of jaxhp, or of a function that was given to it.
    """


Value: TypeAlias = str | bool | int | float | tuple["Value", ...] | None
"""What a parameter may be in a config."""

Config: TypeAlias = dict[str, Any]
"""One point of a space in the user's units: parameter name to `Value`, or in a task's functions to a traced scalar."""

Json: TypeAlias = dict[str, Any]
"""An object of JSON: what `to_json` makes and a run directory keeps."""


def value_of(name: str, value: object) -> Value:
    """Check that something can be a parameter's value.

    Args:
      name: what the messages call it.
      value: a string, finite number, boolean, None or a tuple of these; NumPy's scalars are such.

    Returns:
      The value, of Python's types.

    Raises:
      Error: it is something else.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, tuple):
        return tuple(value_of(name, part) for part in plain)
    if isinstance(plain, float) and not np.isfinite(plain):
        raise Error(f"{name}: expected finite numbers, got {value!r}")
    if plain is not None and not isinstance(plain, (str, bool, int, float)):
        raise Error(f"{name}: expected strings, numbers, booleans, None or tuples of these, got {value!r}")
    return plain


def check_name(name: str, what: str) -> None:
    """Check that a name can be written down: a half of a surrogate pair cannot.

    Raises:
      Error: it cannot.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Error(f"{what}: expected a name of Unicode's characters, got {name!a}") from None


def same_value(a: object, b: object) -> bool:
    """Tell whether two values of a parameter are one: 8 is 8.0, but 1 is not True.

    >>> same_value(8, 8.0), same_value(1, True), same_value((1, 2), (1, True))
    (True, False, False)
    """
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same_value, a, b))
    a, b = (value.item() if isinstance(value, np.generic) else value for value in (a, b))
    plain = isinstance(a, (str, bool, int, float, tuple, type(None)))
    return plain and isinstance(a, bool) == isinstance(b, bool) and type(a == b) is bool and a == b


def encoded(value: Value) -> object:
    """Make JSON of a parameter's value; JSON has no tuples."""
    return {"tuple": [encoded(part) for part in value]} if isinstance(value, tuple) else value


def decoded(value: Any) -> Any:
    """Make the value of which `encoded` made this.

    >>> decoded(encoded((64, (None, "relu"))))
    (64, (None, 'relu'))
    """
    return tuple(decoded(part) for part in value["tuple"]) if isinstance(value, dict) and "tuple" in value else value


def is_int(value: Any, least: int | None = None) -> TypeGuard[int]:
    """Tell whether a value is an integer, of Python's or NumPy's kinds, and not a bool.

    Args:
      value: anything.
      least: the smallest that it may be; None for no bound.

    >>> is_int(3), is_int(np.int64(3), 4), is_int(True), is_int(3.0)
    (True, False, False, False)
    """
    integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return integer and (least is None or bool(value >= least))


def check_int(name: str, value: object, least: int | None = None) -> int:
    """Check that a value is an integer.

    Args:
      name: what the messages call it.
      value: anything.
      least: the smallest that it may be; None for no bound.

    Returns:
      The value as a Python int.

    Raises:
      Error: it is no integer, or less than `least`.

    >>> check_int("rounds", np.int32(3), 1)
    3
    """
    if not is_int(value):
        raise Error(f"{name}: expected an integer, got {value!r}")
    if least is not None and value < least:
        raise Error(f"{name}: expected at least {least}, got {value}")
    return int(value)
