"""Trials as Parquet, see `interop.table`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow
from pyarrow import parquet

from jaxhp.interop.table import table
from jaxhp.report.result import Result
from jaxhp.store.files import write_out
from jaxhp.values import Value


def write(result: Result, place: str | Path) -> int:
    """Writes the table; columns have types, and the metric and its direction stand in the file's metadata."""
    columns = {name: _array(values) for name, values in table(result).items()}
    metadata = {"jaxhp.metric": result.metric, "jaxhp.mode": result.mode}
    if not result.objectives.plain:
        metadata["jaxhp.objectives"] = json.dumps(result.objectives.to_json())
    content = io.BytesIO()
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), content)
    write_out(place, content.getvalue())
    return len(result.trials)


def _array(values: list[Value]) -> pyarrow.Array:
    """A column of the one type that its values have; as JSON where they have several, as those of a mixed choice."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pyarrow.array(values, pyarrow.float64())
    types = {int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_(), str: pyarrow.string()}
    if len(kinds) == 1 and (kind := kinds.pop()) in types:
        return pyarrow.array(values, types[kind])
    return pyarrow.array([None if value is None else json.dumps(value) for value in values], pyarrow.string())
