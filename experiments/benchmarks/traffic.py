"""What a program that XLA compiled for a GPU does in its loops: kernels, and the bytes they move through memory.

They are read off the optimised program (`jax.stages.Compiled.as_text()`). A kernel reads its operands and writes its
result; of an operand that it only takes slices or rows of, these count, and of a result that it updates in place, the
update. What stays in a cache between two kernels counts all the same.
"""

from __future__ import annotations

import math
import re
from functools import cached_property
from typing import NamedTuple

_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "s4": 0.5, "u4": 0.5}
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id"}
_SLICES = {"dynamic-slice", "slice", "gather"}
_ARRAY = re.compile(r"\b([a-z]+\d*\w*)\[([\d,]*)\]")
_LINE = re.compile(r"^\s+(ROOT )?%(\S+) = (.+?) ([\w-]+)\((.*)$")
_HEAD = re.compile(r"^(?:ENTRY )?%(\S+) \(")
_CALLED = re.compile(r"(?:calls|body|to_apply|true_computation|false_computation)=%([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


class _Op(NamedTuple):
    """One instruction."""

    name: str
    root: bool
    shape: str
    kind: str
    operands: list[str]
    line: str

    @property
    def bytes(self) -> float:
        return sum(_array_bytes(dtype, dims) for dtype, dims in _ARRAY.findall(self.shape))

    @property
    def parts(self) -> list[float]:
        return [_array_bytes(dtype, dims) for dtype, dims in _ARRAY.findall(self.shape)]

    @property
    def called(self) -> list[str]:
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.line)
        return _CALLED.findall(self.line) + (re.findall(r"%([\w.-]+)", branches[1]) if branches else [])


def _array_bytes(dtype: str, dims: str) -> float:
    size = _BYTES.get(dtype) or int((re.search(r"\d+", dtype) or ["0"])[0]) / 8
    return size * math.prod(map(int, filter(None, dims.split(","))))


class Kernel(NamedTuple):
    """One kernel of a loop's body, run `times` in one pass through it."""

    name: str
    bytes: float
    times: int


class Program:
    """An optimised program.

    Args:
      text: of `jax.stages.Compiled.as_text()`.
    """

    def __init__(self, text: str):
        self._computations: dict[str, dict[str, _Op]] = {}
        ops: dict[str, _Op] = {}
        for line in text.splitlines():
            if head := _HEAD.match(line):
                ops = self._computations.setdefault(head[1], {})
            elif found := _LINE.match(line):
                root, name, shape, kind, rest = found.groups()
                ops[name] = _Op(name, bool(root), shape, kind, _operands(rest), line)

    @cached_property
    def loops(self) -> list[tuple[str, int | None]]:
        """Lists the loops' bodies, and how often they are passed through where that is compiled in."""
        return [
            (op.called[0], int(trips[1]) if (trips := _TRIPS.search(op.line)) else None)
            for ops in self._computations.values()
            for op in ops.values()
            if op.kind == "while"
        ]

    def kernels(self, body: str) -> list[Kernel]:
        """Lists the kernels of a computation, those of loops in it included, and of the first branch of conditions."""
        found = []
        for op in self._computations[body].values():
            if op.kind == "while":
                trips = _TRIPS.search(op.line)
                times = int(trips[1]) if trips else 1
                found += [k._replace(times=k.times * times) for k in self.kernels(op.called[0])]
            elif op.kind in ("call", "conditional", "async-start"):
                found += self.kernels(op.called[0])
            elif op.kind not in _FREE and not op.kind.endswith("-done"):
                found.append(Kernel(op.name, self._moved(body, op), 1))
        return found

    def _moved(self, body: str, op: _Op) -> float:
        """Counts the bytes that one kernel reads and writes."""
        ops = self._computations[body]
        read = [ops[name].bytes for name in op.operands]
        if op.kind == "fusion":
            inner = self._computations[op.called[0]]
            parameters = {int(o.operands[0]): o for o in inner.values() if o.kind == "parameter"}
            read = [min(size, _read(inner, parameters[n], size)) for n, size in enumerate(read)]
            return sum(read) + _written(inner, next(o for o in inner.values() if o.root))
        if op.kind == "custom-call":
            return sum(read) + op.parts[0]  # the others are room to work in
        if op.kind in _SLICES:
            return 2 * op.bytes
        if op.kind == "dynamic-update-slice":
            return 2 * ops[op.operands[1]].bytes
        return sum(read) + op.bytes


def _operands(rest: str) -> list[str]:
    """Names what stands between the parentheses of an instruction."""
    depth, end = 1, 0
    while depth and end < len(rest):
        depth += {"(": 1, ")": -1}.get(rest[end], 0)
        end += 1
    inside = rest[: end - 1]
    return re.findall(r"%([\w.-]+)", inside) or [inside.strip()] * bool(inside.strip())


def _read(ops: dict[str, _Op], of: _Op, size: float) -> float:
    """Counts the bytes of `of` that the instructions of a fusion read."""
    total = 0.0
    for user in (op for op in ops.values() if of.name in op.operands):
        if user.kind in _SLICES and user.operands[0] == of.name:
            total += user.bytes
        elif user.kind == "dynamic-update-slice" and user.operands[0] == of.name:
            continue
        elif user.kind in ("bitcast", "get-tuple-element"):
            total += _read(ops, user, size)
        elif user.kind != "tuple":
            return size
    return min(total, size)


def _written(ops: dict[str, _Op], root: _Op) -> float:
    """Counts the bytes that the root of a fusion writes."""
    if root.kind == "tuple":
        return sum(_written(ops, ops[name]) for name in root.operands)
    if root.kind == "bitcast" and root.operands[0] in ops:
        return min(root.bytes, _written(ops, ops[root.operands[0]]))
    if root.kind == "dynamic-update-slice":
        return ops[root.operands[1]].bytes
    return root.bytes
