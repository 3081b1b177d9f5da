"""Whether it can be told from the program of a function, without running it, that rows of a batch do not meet in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jax.extend.core import ClosedJaxpr, Literal

from jaxhp.tasks.fingerprint import CALLS

_ELEMENTWISE = set(
    [
        "abs",
        "add",
        "and",
        "atan2",
        "ceil",
        "clamp",
        "convert_element_type",
        "copy",
        "copy_p",
        "cos",
        "div",
        "eq",
        "erf",
        "erf_inv",
        "erfc",
        "exp",
        "exp2",
        "expm1",
        "floor",
        "ge",
        "gt",
        "integer_pow",
        "is_finite",
        "le",
        "log",
        "log1p",
        "logistic",
        "lt",
        "max",
        "min",
        "mul",
        "ne",
        "neg",
        "not",
        "optimization_barrier",
        "or",
        "pow",
        "reduce_precision",
        "rem",
        "round",
        "rsqrt",
        "select_n",
        "sign",
        "sin",
        "sqrt",
        "square",
        "stop_gradient",
        "sub",
        "tanh",
        "xor",
    ]
)
_REDUCTIONS = set(
    ["reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "argmax", "argmin"]
)
_WINDOWS = set(["reduce_window_max", "reduce_window_min", "reduce_window_sum"])


class _Unproven(Exception):
    """Rows may meet in an operation, or it is none of those that are known here."""


class _Known(NamedTuple):
    """What is known of a value.

    Attributes:
      axis: along which its rows are those of the batch; None: it depends on no row.
      uniform: axes along which a value that depends on no row is the same.
    """

    axis: int | None
    uniform: frozenset[int] = frozenset()


def apart(program: ClosedJaxpr, batch: Sequence[bool]) -> bool:
    """Tell whether it is proven that each row of all results depends on the same row of the batch alone.

    Args:
      program: of a function.
      batch: of each of its arguments, whether its first axis has the rows.

    Returns:
      False where it is not proven: rows may depend on one another, or an operation is not known here.
    """
    given = [_Known(0) if rows else _Known(None) for rows in batch]
    try:
        return all(known.axis == 0 for known in _through(program, given))
    except (_Unproven, KeyError):  # the latter where another JAX names a parameter otherwise
        return False


def _through(program: Any, given: Sequence[_Known]) -> list[_Known]:
    jaxpr = getattr(program, "jaxpr", program)
    if jaxpr.effects:
        raise _Unproven
    known: dict[Any, _Known] = dict.fromkeys(jaxpr.constvars, _Known(None)) | dict(
        zip(jaxpr.invars, given, strict=True)
    )

    def of(variable: Any) -> _Known:
        if not variable.aval.shape:
            return _Known(None, _EVERY)
        return _Known(None) if isinstance(variable, Literal) else known[variable]

    for eqn in jaxpr.eqns:
        operands = [of(variable) for variable in eqn.invars]
        known |= dict(zip(eqn.outvars, _outcome(eqn, operands), strict=True))
    return [of(variable) for variable in jaxpr.outvars]


_EVERY = frozenset(range(64))  # axes of a scalar, which goes with any shape


def _outcome(eqn: Any, operands: list[_Known]) -> list[_Known]:
    name, params = eqn.primitive.name, eqn.params
    inner = next((params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params), None)
    if name in (*CALLS, "custom_jvp_call", "custom_vjp_call"):
        return _through(inner, operands)
    carried = [operand for operand in operands if operand.axis is not None]
    if name in _ELEMENTWISE:
        return [_met(operands)] * len(eqn.outvars)
    if not carried:
        return [_Known(None, _uniform(eqn))] * len(eqn.outvars)
    rule: Callable[..., int] | None = _RULES.get(name)
    if rule is None:
        raise _Unproven
    return [_Known(rule(params, operands, [v.aval.shape for v in (*eqn.invars, *eqn.outvars)]))] * len(eqn.outvars)


def _met(operands: list[_Known]) -> _Known:
    """Return what is known of values that are combined element by element."""
    axes = {operand.axis for operand in operands} - {None}
    if not axes:
        return _Known(None, frozenset.intersection(*(operand.uniform for operand in operands)))
    axis = axes.pop()
    if axes or any(operand.axis is None and axis not in operand.uniform for operand in operands):
        raise _Unproven
    return _Known(axis)


def _uniform(eqn: Any) -> frozenset[int]:
    """Return the axes along which something that depends on no row is the same."""
    if eqn.primitive.name == "iota":
        return frozenset(range(len(eqn.params["shape"]))) - {eqn.params["dimension"]}
    if eqn.primitive.name == "broadcast_in_dim":
        shape, to = eqn.invars[0].aval.shape, eqn.params["broadcast_dimensions"]
        varied = {axis for axis, size in zip(to, shape, strict=True) if size != 1}
        return frozenset(range(len(eqn.params["shape"]))) - varied
    return frozenset()


def _sure(condition: bool) -> None:
    if not condition:
        raise _Unproven


def _only(operands: list[_Known]) -> int:
    """Return the axis of the first operand, where the others depend on no row."""
    first, *others = operands
    if first.axis is None or any(operand.axis is not None for operand in others):
        raise _Unproven
    return first.axis


def _broadcast(params: Any, operands: list[_Known], shapes: Any) -> int:
    axis = params["broadcast_dimensions"][_only(operands)]
    _sure(shapes[0][_only(operands)] == shapes[-1][axis])
    return axis


def _reshaped(params: Any, operands: list[_Known], shapes: Any) -> int:
    axis, (old, new) = _only(operands), (shapes[0], shapes[-1])
    _sure(params.get("dimensions") is None)
    before = math.prod(old[:axis])
    fits = [at for at, size in enumerate(new) if size == old[axis] and math.prod(new[:at]) == before]
    _sure(len(fits) == 1)
    return fits[0]


def _reduced(params: Any, operands: list[_Known], shapes: Any) -> int:
    axis = _only(operands)
    _sure(axis not in params["axes"])
    return axis - sum(other < axis for other in params["axes"])


def _squeezed(params: Any, operands: list[_Known], shapes: Any) -> int:
    return _reduced({"axes": params["dimensions"]}, operands, shapes)


def _product(params: Any, operands: list[_Known], shapes: Any) -> int:
    (contracted, batched), (left, right) = params["dimension_numbers"], operands
    if left.axis is not None and right.axis is not None:
        _sure((left.axis, right.axis) in zip(*batched, strict=True))
        return list(batched[0]).index(left.axis)
    side, axis = (0, _only([left])) if right.axis is None else (1, _only([right]))
    _sure(axis not in contracted[side] and axis not in batched[side])
    free = [[at for at in range(len(shapes[s])) if at not in (*contracted[s], *batched[s])] for s in (0, 1)]
    return len(batched[0]) + (len(free[0]) if side else 0) + free[side].index(axis)


def _convolved(params: Any, operands: list[_Known], shapes: Any) -> int:
    numbers = params["dimension_numbers"]
    _sure(_only(operands) == numbers.lhs_spec[0] and params["batch_group_count"] == 1)
    return numbers.out_spec[0]


def _windowed(params: Any, operands: list[_Known], shapes: Any) -> int:
    axis = _only(operands)
    sizes = (params[name][axis] for name in ("window_dimensions", "window_strides", "base_dilation", "window_dilation"))
    _sure({*sizes} == {1} and tuple(params["padding"][axis]) == (0, 0))
    return axis


def _padded(params: Any, operands: list[_Known], shapes: Any) -> int:
    axis = _only(operands)
    _sure(tuple(params["padding_config"][axis]) == (0, 0, 0))
    return axis


def _sliced(params: Any, operands: list[_Known], shapes: Any) -> int:
    axis = _only(operands)
    _sure(shapes[-1][axis] == shapes[0][axis])
    return axis


def _joined(params: Any, operands: list[_Known], shapes: Any) -> int:
    axis = _only([_met(operands)])
    _sure(axis != params["dimension"])
    return axis


def _gathered(params: Any, operands: list[_Known], shapes: Any) -> int:
    (of, by), numbers = operands, params["dimension_numbers"]
    if by.axis is None:
        kept = [
            at for at in range(len(shapes[0])) if at not in numbers.collapsed_slice_dims + numbers.operand_batching_dims
        ]
        _sure(of.axis in kept and params["slice_sizes"][of.axis] == shapes[0][of.axis])
        return numbers.offset_dims[kept.index(_only(operands))]
    _sure(by.axis < len(shapes[1]) - 1)
    pairs = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    _sure((of.axis, by.axis) in pairs if of.axis is not None else by.axis not in numbers.start_indices_batching_dims)
    return [at for at in range(len(shapes[-1])) if at not in numbers.offset_dims][by.axis]


def _transposed(params: Any, operands: list[_Known], shapes: Any) -> int:
    return params["permutation"].index(_only(operands))


_RULES: dict[str, Callable[..., int]] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshaped,
    "squeeze": _squeezed,
    "transpose": _transposed,
    "dot_general": _product,
    "conv_general_dilated": _convolved,
    "pad": _padded,
    "slice": _sliced,
    "concatenate": _joined,
    "gather": _gathered,
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys(_WINDOWS, _windowed),
}
