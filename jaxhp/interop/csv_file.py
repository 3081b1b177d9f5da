"""Trials as CSV, see `interop.table`."""

from __future__ import annotations

from pathlib import Path

from jaxhp.interop.table import as_csv
from jaxhp.report.result import Result
from jaxhp.store.files import write_out


def write(result: Result, place: str | Path) -> int:
    """Writes the table in UTF-8: numbers in full precision, quotes where a value needs them."""
    write_out(place, as_csv(result))
    return len(result.trials)
