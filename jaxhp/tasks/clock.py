"""Where a training stands, for the functions of a task that ask for it.

A function asks by naming keyword-only parameters, `def optimizer(config, *, steps)`, and gets them as data:

- `step`: the updates that the member has had, so 0 in the first one;
- `steps`: the updates of the full budget of this training: one on more data, as the sealed test is, has more;
- `epoch`: the whole epochs that it has had.

Those that ask for nothing are called as ever, and a task that has no other is compiled to the same program as ever.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

NAMES = ("step", "steps", "epoch")

Clock = Mapping[str, Any]
"""Every name with an i32[], or with its shape; {} where no function of a task asks."""

START: Clock = {"step": np.int32(0), "steps": np.int32(1), "epoch": np.int32(0)}


def asked(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names that a function asks for.

    >>> def optimizer(config, *, steps): ...
    >>> asked(optimizer), asked(lambda config, steps: None), asked(partial(optimizer, steps=3)), asked(dict)
    (('steps',), (), (), ())
    """
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):  # of some that are not written in Python
        return ()
    bound = function.keywords if isinstance(function, partial) else {}
    return tuple(n for n in NAMES if n in known and n not in bound and known[n].kind is inspect.Parameter.KEYWORD_ONLY)


def call(function: Callable[..., Any], *args: Any, clock: Clock) -> Any:
    """Call a function of a task.

    Args:
      clock: has what it asks for.
    """
    return function(*args, **{name: clock[name] for name in asked(function)})


def asking(like: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function, which takes any keywords, ask for what another one asks for.

    >>> def optimizer(config, *, steps): ...
    >>> asked(asking(optimizer, lambda config, **clock: None))
    ('steps',)
    """
    kinds = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in asked(like)]
    function.__signature__ = inspect.Signature(kinds)  # type: ignore[attr-defined]
    return function


def shapes(*functions: Callable[..., Any] | None) -> Clock:
    """Return the shapes of what functions are given: {} where none of them asks."""
    if not any(asked(function) for function in functions if function is not None):
        return {}
    return dict.fromkeys(NAMES, jax.ShapeDtypeStruct((), jnp.int32))
