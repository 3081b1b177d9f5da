"""How much memory a function holds at once, about, read off what it traces to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Jaxpr, Var, jaxprs_in_params
from jaxtyping import PyTree


def held_bytes(function: Callable[..., PyTree], *args: PyTree) -> int:
    """Count the bytes of all values that a function of these shapes holds at once, at most, besides its arguments.

    What a compiler does not write down at all, since it computes several operations in one, counts too.

    >>> held_bytes(lambda x: (x + 1.0) * (x + 2.0), jax.ShapeDtypeStruct((10,), "float32"))
    120
    """
    return _most(jax.make_jaxpr(function)(*args).jaxpr)


def _most(jaxpr: Jaxpr) -> int:
    given = {*jaxpr.invars, *jaxpr.constvars}
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if isinstance(v, Var) and v not in given}
    kept = {v for v in jaxpr.outvars if isinstance(v, Var)}
    held = most = 0
    for i, eqn in enumerate(jaxpr.eqns):
        held += sum(map(_bytes, eqn.outvars))
        most = max(most, held + max(map(_most, jaxprs_in_params(eqn.params)), default=0))
        used = {v for v in eqn.invars if isinstance(v, Var) and last.get(v) == i}
        unused = {v for v in eqn.outvars if v not in last}
        held -= sum(map(_bytes, (used | unused) - kept))
    return most


def _bytes(value: Any) -> int:
    return value.aval.size * value.aval.dtype.itemsize
