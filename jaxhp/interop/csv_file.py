"""Trials as CSV, see `interop.table`."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from jaxhp.interop.table import table
from jaxhp.report.result import Result
from jaxhp.store.files import write_out


def write(result: Result, place: str | Path) -> int:
    """Writes the table in UTF-8: numbers in full precision, quotes where a value needs them."""
    columns = table(result)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_out(place, text.getvalue().encode())
    return len(result.trials)
