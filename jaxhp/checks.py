"""Integers as everything else takes them: checked where they come in, divided upwards where they make parts."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np


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


def check_int(name: str, value: Any, least: int | None = None) -> int:
    """Check that a value is an integer.

    Args:
      name: what the messages call it.
      value: anything.
      least: the smallest that it may be; None for no bound.

    Returns:
      The value as a Python int.

    Raises:
      TypeError: it is no integer.
      ValueError: it is less than `least`.

    >>> check_int("rounds", np.int32(3), 1)
    3
    """
    if not is_int(value):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if least is not None and value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return int(value)


def ceil_div(a: int, b: int) -> int:
    """Divide and round up: the number of parts of at most `b` that `a` makes.

    >>> ceil_div(7, 3), ceil_div(6, 3), ceil_div(0, 3)
    (3, 2, 0)
    """
    return -(-a // b)
