"""Tables of pandas, polars and Arrow, dicts of columns, and CSV and Parquet files, read column by column."""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxhp.values import Error

_KINDS = {"b": "boolean", "i": "number", "u": "number", "f": "number", "U": "text", "T": "text"}  # by NumPy's kind


class Values(NamedTuple):
    """One column of a table.

    Attributes:
      array: [n], of numbers or booleans, or object[n].
      missing: bool[n], where there is no value.
      kind: "number", "boolean" or "text".
      categories: whether the table says that its values are categories, as pandas' `category` does.
    """

    array: np.ndarray
    missing: np.ndarray
    kind: str
    categories: bool

    @property
    def present(self) -> np.ndarray:
        """Return the values that are not missing."""
        return self.array[~self.missing]


def opened(source: Any, name: str) -> Any:
    """Return a table: the one that is given, or that of a file, which pyarrow reads.

    Raises:
      Error: it is no table, names of columns are no texts or not distinct, or pyarrow is missing or cannot read it.
    """
    frame = _file(Path(source), name) if isinstance(source, (str, os.PathLike)) else source
    if not (is_frame(frame) or isinstance(frame, Mapping)):
        kind = type(source).__name__
        raise Error(f"{name}: expected a table of pandas, polars or Arrow, a dict of columns or a path, got {kind}")
    names = columns(frame)
    for column in names:
        if not isinstance(column, str):
            raise Error(f"{name}: expected columns named by texts, got {column!r}")
        if names.count(column) > 1:
            raise Error(f"{name}: expected columns of different names, got {column!r} {names.count(column)} times")
    if not names or not rows(frame):
        raise Error(f"{name}: expected columns and rows, got {len(names)} columns and no row")
    return frame


def is_frame(source: Any) -> bool:
    """Tell whether something is a table of pandas, polars or Arrow."""
    return not isinstance(source, Mapping) and hasattr(source, "columns") and hasattr(source, "shape")


def columns(frame: Any) -> list[Any]:
    """Return the names of a table's columns."""
    return list(frame) if isinstance(frame, Mapping) else list(getattr(frame, "column_names", frame.columns))


def rows(frame: Any) -> int:
    """Count the rows of a table."""
    return len(next(iter(frame.values()))) if isinstance(frame, Mapping) else int(frame.shape[0])


def taken(frame: Any, chosen: np.ndarray) -> Any:
    """Return a table of some rows, by their numbers, of the same library."""
    if hasattr(frame, "iloc"):
        return frame.iloc[chosen]
    return frame.take(chosen) if hasattr(frame, "column_names") else frame[chosen]


def values(frame: Any, column: str, name: str) -> Values:
    """Read a column.

    Args:
      name: what errors call it.

    Raises:
      Error: there is no such column, or it holds neither numbers nor booleans nor texts.
    """
    array, categories = _raw(frame, column, name)
    if array.dtype.kind in "UT":
        array = array.astype(object)
    if array.dtype.kind == "O":
        return _objects(array, categories, name)
    if array.dtype.kind not in _KINDS:
        raise Error(f"{name}: expected numbers, booleans or texts, got {array.dtype}: derive numbers, or leave it out")
    missing = np.isnan(array) if array.dtype.kind == "f" else np.zeros(len(array), bool)
    return Values(array, missing, _KINDS[array.dtype.kind], categories)


def ranks(frame: Any, column: str, name: str) -> np.ndarray:
    """Return i64[n], the place of each value among the different ones of a column, also of dates.

    Raises:
      Error: there is no such column, a value is missing, or they have no order.
    """
    array, _ = _raw(frame, column, name)
    missing = _missing(array) if array.dtype.kind == "O" else array != array
    if missing.any():
        raise Error(f"{name}: expected no missing value, got one in row {int(missing.argmax())}")
    try:
        return np.unique(array, return_inverse=True)[1]
    except TypeError as error:
        raise Error(f"{name}: expected values of one kind, got {_types(array)}") from error


def _raw(frame: Any, column: str, name: str) -> tuple[np.ndarray, bool]:
    if column not in columns(frame):
        known = ", ".join(map(str, columns(frame)))
        raise Error(f"{name}: expected a column of the table ({known}), got none of that name")
    found = frame[column]
    arrow = str(getattr(found, "type", "")).startswith("dictionary<")
    if arrow:  # whose to_numpy takes a missing value for one of the categories
        found = found.cast(found.type.value_type)
    array = found.to_numpy() if hasattr(found, "to_numpy") else np.asarray(found)
    if array.ndim != 1 or len(array) != rows(frame):
        raise Error(f"{name}: expected one value for each of {rows(frame)} rows, got shape {array.shape}")
    return array, arrow or str(getattr(found, "dtype", "")) == "category"


def _objects(array: np.ndarray, categories: bool, name: str) -> Values:
    """Say what Python's objects are, of which some may be missing."""
    missing = _missing(array)
    present = array[~missing]
    for kind, types in (("boolean", (bool, np.bool_)), ("text", str), ("number", (int, float, Decimal, np.number))):
        if all(isinstance(v, types) and (kind != "number" or not isinstance(v, bool)) for v in present):
            if kind == "number" and not missing.any():
                array = np.array([float(v) if isinstance(v, Decimal) else v for v in array])
            return Values(array, missing, kind, categories)
    raise Error(
        f"{name}: expected numbers, booleans or texts alone, got {_types(present)}: derive one of them, or leave it out"
    )


def _missing(array: np.ndarray) -> np.ndarray:
    """Find None, NaN, pandas' NA and NaT among objects."""
    gone = {"NAType", "NaTType"}
    return np.array([v is None or type(v).__name__ in gone or (isinstance(v, float) and v != v) for v in array], bool)


def _types(array: np.ndarray) -> str:
    return ", ".join(sorted({type(value).__name__ for value in array}))


def _file(path: Path, name: str) -> Any:
    try:
        import pyarrow  # takes 0.1 s, so only when used
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError as error:
        raise Error(f"{name}: reading files needs pyarrow: pip install pyarrow, or 'jaxhp[interop]'") from error
    if not path.is_file():
        raise FileNotFoundError(f"{name}: expected a CSV or Parquet file, got {str(path)!r}")
    try:
        if path.suffix == ".parquet":
            return pyarrow.parquet.read_table(path)
        if "".join(path.suffixes[-2:]).endswith((".csv", ".csv.gz", ".csv.bz2", ".csv.zst")):
            options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
            return pyarrow.csv.read_csv(path, convert_options=options)
    except pyarrow.ArrowInvalid as error:
        raise Error(f"{name}: {path} cannot be read: {error}") from error
    raise Error(f"{name}: expected a file named .csv, .csv.gz or .parquet, got {path.name!r}")
