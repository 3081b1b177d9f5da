"""What identifies a task's code: a fingerprint of the programs that its functions trace to.

Names, comments and source lines do not enter, nor anything that lives at an address; operations, shapes, dtypes and
constants do. So the fingerprint is the same in every process, and changes with what is computed.
"""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal, Var

CALLS = ("jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint")  # only what they call counts
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
_SIZES = re.compile(r"(?<=\w)\[[\d, ]*\]|^(?:shape|new_sizes) \d+$")  # of operands, and of what is made of them


def program(traced: Sequence[Any]) -> str:
    """SHA-256, 64 hexadecimal digits, of what functions were traced to."""
    digest = hashlib.sha256()
    for one in traced:
        for line in _program(one):
            digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def but_sizes(traced: Sequence[Any]) -> str:
    """Likewise, the same for programs that differ in the sizes of arrays alone: which of these are equal counts."""
    names: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        return re.sub(r"\d+", lambda size: names.setdefault(size.group(), f"s{len(names)}"), found.group())

    digest = hashlib.sha256()
    for one in traced:
        for line in _program(one):
            digest.update(_SIZES.sub(named, line).encode() + b"\n")
    return digest.hexdigest()


def _program(traced: Any) -> Iterator[str]:
    """Of a Jaxpr, or of a ClosedJaxpr where JAX has them apart (before 0.12)."""
    for const in getattr(traced, "consts", ()):
        yield f"const {_value(const)}"
    yield from _lines(getattr(traced, "jaxpr", traced))


def _lines(jaxpr: Jaxpr) -> Iterator[str]:
    """Every operation in order, its operands by the number of the operation that made them."""
    numbers: dict[Var, int] = {}

    def made(variables: Sequence[Var]) -> str:
        for variable in variables:
            numbers[variable] = len(numbers)
        return " ".join(_aval(variable) for variable in variables)

    def operand(atom: Var | Literal) -> str:
        return f"{_aval(atom)}={_value(atom.val)}" if isinstance(atom, Literal) else str(numbers[atom])

    yield f"in {made([*jaxpr.constvars, *jaxpr.invars])}"
    for equation in jaxpr.eqns:
        name = str(equation.primitive)
        call = name in CALLS
        inputs = " ".join(map(operand, equation.invars))
        yield f"{'call' if call else name}({inputs}) -> {made(equation.outvars)}"
        for parameter, value in sorted(equation.params.items()):
            if not call or hasattr(value, "eqns"):
                yield from _parameter(parameter, value)
    yield f"out {' '.join(map(operand, jaxpr.outvars))}"


def _parameter(name: str, value: Any) -> Iterator[str]:
    if hasattr(value, "eqns"):
        yield f"{name}:"
        yield from _program(value)
    elif isinstance(value, (tuple, list)):
        for entry in value:
            yield from _parameter(name, entry)
    elif value is not None and not callable(value):
        yield f"{name} {_value(value)}"


def _aval(atom: Var | Literal) -> str:
    return f"{getattr(atom.aval, 'dtype', '')}{list(getattr(atom.aval, 'shape', ()))}"


def _value(value: object) -> str:
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        array = np.asarray(value)
        return f"{array.dtype.name}{list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(value, enum.Enum):
        return value.name
    return _ADDRESS.sub("", repr(value))
