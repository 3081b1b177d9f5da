"""Trials as columns: what a round measured, as a few arrays instead of many records.

A column is an array whose first axis is the rows of a round, or a list of JSON values. `config.<name>` holds a
parameter, `curve.<name>` f32[P, E]; the others are the fields of `Trial`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxhp.trials import ABSENT, STATUSES, Trials
from jaxhp.values import Error, Value, decoded, encoded

Column = np.ndarray | list[Any]  # of numbers, or of JSON values
Columns = dict[str, Any]  # of `Column`; which are numbers, `check` tells
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

FACTS = tuple(_KINDS)  # the columns of a round that describe its trials, besides their configs and curves


class Packed(NamedTuple):
    """A column as it is stored."""

    name: str
    dtype: str  # one of a few numbers, or "json"
    shape: str  # JSON
    data: bytes
    crc: int


def asked(trials: Trials) -> Columns:
    """Return what is known of trials before they are trained."""
    facts = {"trial_id": trials.trial_id, "round": trials.round, "inherits": trials.parent}
    found: Columns = {name: np.asarray(fact, "<i4") for name, fact in facts.items()}
    return found | {"config." + name: _stored(column) for name, column in trials.config.items()}


def measured(trials: Trials) -> Columns:
    """Return what is known of them afterwards. All have been trained for the same number of epochs."""
    found: Columns = {
        "status": np.asarray(trials.status, "|u1"),
        "epochs": np.asarray(trials.epochs, "<i4"),
        "score": np.asarray(trials.score, "<f4"),
        "stderr": np.asarray(trials.stderr, "<f4"),
        "replicates": np.asarray(trials.replicate_scores, "<f4"),
        "diverged_at": np.asarray(trials.diverged_at, "<i4"),
    }
    return found | {"curve." + name: np.asarray(trials.curve[name], "<f4") for name in sorted(trials.curve)}


def trials_of(columns: Columns, rows: Iterable[int] | None = None) -> Trials:
    """Return the trials of a round, or of some of its rows; RUNNING where nothing is measured yet.

    Raises:
      ValueError, KeyError, IndexError, TypeError: these are not the columns of a round.
    """
    for name, column in columns.items():
        check(name, column)
    count = len(columns["trial_id"])
    if any(len(column) != count for column in columns.values()):
        raise Error(f"expected columns of {count} rows, got {[len(column) for column in columns.values()]}")
    if "status" in columns and np.max(columns["status"], initial=0) >= len(STATUSES):
        raise Error("expected the numbers of known statuses")
    nothing, unsaid = np.full(count, np.nan, "<f4"), np.full(count, None, object)
    found = Trials(
        trial_id=columns["trial_id"],
        config={name[7:]: _column(column) for name, column in columns.items() if name.startswith("config.")},
        round=columns["round"],
        parent=columns["inherits"],
        status=columns.get("status", np.zeros(count, "|u1")),
        epochs=columns.get("epochs", np.zeros(count, "<i4")),
        score=columns.get("score", nothing),
        stderr=columns.get("stderr", nothing),
        replicate_scores=columns.get("replicates", nothing[:, None][:, :0]),
        diverged_at=columns.get("diverged_at", np.zeros(count, "<i4")),
        curve={name[6:]: column for name, column in columns.items() if name.startswith("curve.")},
        metric=unsaid,
        mode=unsaid,
        budget=unsaid,
        epoch=unsaid,
    )
    return found if rows is None else found[np.asarray(list(rows), int)]


def check(name: str, column: Column) -> None:
    """Raises ValueError unless a column that holds numbers does; a parameter may be anything."""
    if name.startswith("config."):
        return
    kind, axes = _KINDS.get(name, ("f", 2))  # others are curves
    if not isinstance(column, np.ndarray) or (column.dtype.kind, column.ndim) != (kind, axes):
        raise Error(f"expected {name} as numbers of kind {kind!r} with {axes} axes")


_MISSING: list[Value] = []  # a parameter that does not exist in a config; JSON, and never a parameter's value


def _stored(column: np.ndarray) -> Column:
    if column.dtype == object:
        return [_MISSING if value is ABSENT else encoded(value) for value in column.tolist()]
    return column


def _column(stored: Column) -> np.ndarray:
    if isinstance(stored, np.ndarray):
        return stored
    column = np.empty(len(stored), object)
    for row, value in enumerate(stored):  # one by one, or NumPy would take a tuple for several
        column[row] = ABSENT if value == _MISSING else decoded(value)
    return column


def pack(name: str, column: Column) -> Packed:
    """A column as bytes with a checksum."""
    if isinstance(column, np.ndarray):
        column = np.ascontiguousarray(column, column.dtype.newbyteorder("<"))
        dtype, shape, data = column.dtype.str, json.dumps(column.shape), column.tobytes()
    else:
        dtype, shape, data = "json", json.dumps([len(column)]), json.dumps(column).encode()
    return Packed(name, dtype, shape, data, _crc(name, dtype, shape, data))


def unpack(packed: Packed) -> Column:
    """The column; raises ValueError or TypeError if it is damaged."""
    name, dtype, shape, data, crc = packed
    if _crc(name, dtype, shape, data) != crc:
        raise Error("its checksum does not fit its content")
    dims = json.loads(shape)
    if dtype == "json":
        column = json.loads(data)
        if not isinstance(column, list):
            raise Error(f"expected a list, got {type(column).__name__}")
        return column
    if dtype not in _DTYPES:
        raise Error(f"expected numbers, got dtype {dtype!r}")
    return np.frombuffer(data, dtype).reshape(dims)


def _crc(name: str, dtype: str, shape: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{name}|{dtype}|{shape}".encode()))
