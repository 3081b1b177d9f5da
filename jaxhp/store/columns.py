"""Trials as columns: what a round measured, as a few arrays instead of many records.

A column is an array whose first axis is the slots of a round, or a list of JSON values. `config.<name>` holds a
parameter, `curve.<name>` f32[P, E]; the others are the fields of `Trial`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxhp.trials import Status, Trial

Columns = dict[str, Any]
STATUSES = (Status.RUNNING, Status.COMPLETE, Status.STOPPED, Status.DIVERGED)  # a status is stored as its place here
_DTYPES = ("<i4", "<i8", "<f4", "<f8", "|u1")
_KINDS = {  # of the columns that are numbers: NumPy's kind, and axes
    "trial_id": ("i", 1),
    "round": ("i", 1),
    "inherits": ("i", 1),
    "status": ("u", 1),
    "epochs": ("i", 1),
    "score": ("f", 1),
    "stderr": ("f", 1),
    "replicates": ("f", 2),
    "diverged_at": ("i", 1),
}


class Packed(NamedTuple):
    """A column as it is stored."""

    name: str
    dtype: str  # one of a few numbers, or "json"
    shape: str  # JSON
    data: bytes
    crc: int


def asked(trials: Sequence[Trial]) -> Columns:
    """What is known of trials before they are trained."""
    columns: Columns = {
        "trial_id": np.array([t.trial_id for t in trials], "<i4"),
        "round": np.array([t.round for t in trials], "<i4"),
        "inherits": np.array([-1 if t.parent is None else t.parent for t in trials], "<i4"),
    }
    for name in dict.fromkeys(name for t in trials for name in t.config):
        columns["config." + name] = _values([t.config.get(name, _missing) for t in trials])
    return columns


def measured(trials: Sequence[Trial]) -> Columns:
    """What is known of them afterwards. All have been trained for the same number of epochs."""
    columns: Columns = {
        "status": np.array([STATUSES.index(t.status) for t in trials], "|u1"),
        "epochs": np.array([t.epochs for t in trials], "<i4"),
        "score": np.array([t.score for t in trials], "<f4"),
        "stderr": np.array([t.stderr for t in trials], "<f4"),
        "replicates": np.array([t.replicate_scores for t in trials], "<f4"),
        "diverged_at": np.array([t.diverged_at for t in trials], "<i4"),
    }
    for name in sorted({name for t in trials for name in t.curve}):
        length = max(len(t.curve[name]) for t in trials if name in t.curve)
        nothing = np.full(length, np.nan, "<f4")
        columns["curve." + name] = np.array([t.curve.get(name, nothing) for t in trials], "<f4")
    return columns


def trials_of(columns: Mapping[str, Any], slots: Iterable[int] | None = None) -> list[Trial]:
    """The trials of a round, or of some of its slots; RUNNING where nothing is measured yet.

    Raises:
      ValueError, KeyError, IndexError, TypeError: these are not the columns of a round.
    """
    for name, column in columns.items():
        check(name, column)
    count = len(columns["trial_id"])
    chosen = np.arange(count) if slots is None else np.asarray(list(slots), int)
    if any(len(column) != count for column in columns.values()):
        raise ValueError(f"expected columns of {count} slots, got {[len(column) for column in columns.values()]}")

    def pick(name: str, default: Any = None) -> list[Any]:
        column = columns[name] if name in columns or default is None else [default] * count
        return column[chosen].tolist() if isinstance(column, np.ndarray) else [column[i] for i in chosen]

    nan = float("nan")
    configs = [dict[str, Any]() for _ in chosen]
    for name in columns:
        if name.startswith("config."):
            for config, value in zip(configs, pick(name), strict=True):
                if value != _missing:
                    config[name[7:]] = value
    curves = {name[6:]: columns[name] for name in columns if name.startswith("curve.")}
    rows = zip(
        chosen,
        pick("trial_id"),
        configs,
        pick("round"),
        pick("status", 0),
        pick("epochs", 0),
        pick("score", nan),
        pick("stderr", nan),
        pick("replicates", ()),
        pick("diverged_at", 0),
        pick("inherits"),
        strict=True,
    )
    return [
        Trial(
            trial_id=trial_id,
            config=config,
            round=first,
            status=STATUSES[status],
            epochs=epochs,
            score=score,
            stderr=stderr,
            curve={name: curve[slot] for name, curve in curves.items()},
            replicate_scores=tuple(replicates),
            diverged_at=diverged_at,
            parent=None if inherits < 0 else inherits,
        )
        for slot, trial_id, config, first, status, epochs, score, stderr, replicates, diverged_at, inherits in rows
    ]


def check(name: str, column: Any) -> None:
    """Raises ValueError unless a column that holds numbers does; a parameter may be anything."""
    if name.startswith("config."):
        return
    kind, axes = _KINDS.get(name, ("f", 2))  # others are curves
    if not isinstance(column, np.ndarray) or (column.dtype.kind, column.ndim) != (kind, axes):
        raise ValueError(f"expected {name} as numbers of kind {kind!r} with {axes} axes")


_missing: list[Any] = []  # a parameter that does not exist in a config; JSON, and never a parameter's value


def _values(values: list[Any]) -> Any:
    kinds = {type(value) for value in values}
    if kinds == {float}:
        return np.array(values, "<f8")
    if kinds == {int} and all(-(2**63) <= value < 2**63 for value in values):
        return np.array(values, "<i8")
    return values


def pack(name: str, column: Any) -> Packed:
    """A column as bytes with a checksum."""
    if isinstance(column, np.ndarray):
        column = np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
        dtype, shape, data = column.dtype.str, json.dumps(column.shape), column.tobytes()
    else:
        dtype, shape, data = "json", json.dumps([len(column)]), json.dumps(column).encode()
    return Packed(name, dtype, shape, data, _crc(name, dtype, shape, data))


def unpack(packed: Packed) -> Any:
    """The column; raises ValueError or TypeError if it is damaged."""
    name, dtype, shape, data, crc = packed
    if _crc(name, dtype, shape, data) != crc:
        raise ValueError("its checksum does not fit its content")
    dims = json.loads(shape)
    if dtype == "json":
        column = json.loads(data)
        if not isinstance(column, list):
            raise ValueError(f"expected a list, got {type(column).__name__}")
        return column
    if dtype not in _DTYPES:
        raise ValueError(f"expected numbers, got dtype {dtype!r}")
    return np.frombuffer(data, dtype).reshape(dims)


def _crc(name: str, dtype: str, shape: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{name}|{dtype}|{shape}".encode()))
