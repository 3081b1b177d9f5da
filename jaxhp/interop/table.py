"""Trials as a table: one row a trial, best first.

The columns are `rank`, `trial_id`, `config.<name>` for every hyperparameter, `score` and `stderr` (empty where a trial
diverged or is in training), `status`, `round`, `epochs`, `diverged_at`, `parent`, `chosen`, and where finals were run
`finals.<field>` for each field of `Finalist`. Of several objectives, or with constraints, also `metric.<name>` for each
of their metrics, `feasible` (whether a trial keeps all constraints), `front` (whether it is on the front), and where
finals were run `estimate.<name>`, `estimate.<name>.low` and `estimate.<name>.high`. Where `parent` is not empty, the
trial inherited that trial's weights: its config is the last that it was trained with, and did not make its score alone.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable

from jaxhp.report.result import Result
from jaxhp.selection.verdict import Finalist
from jaxhp.values import Value

Columns = dict[str, list[Value]]  # name to one value a trial, None where there is none


def table(result: Result) -> Columns:
    """The columns of the table."""
    rows = result.rows()
    names = dict.fromkeys(name for row in rows for name in row["config"])
    columns: Columns = {"rank": list(range(1, len(rows) + 1)), "trial_id": [row["trial_id"] for row in rows]}
    columns |= {f"config.{name}": [row["config"].get(name) for row in rows] for name in names}
    for name in ("score", "stderr", "status", "round", "epochs", "diverged_at", "parent"):
        columns[name] = [row[name] for row in rows]
    for name in rows[0].get("metrics", {}) if rows else ():
        columns[f"metric.{name}"] = [row["metrics"][name] for row in rows]
    for name in ("feasible", "front") if rows and "front" in rows[0] else ():
        columns[name] = [row[name] for row in rows]
    columns["chosen"] = [row["trial_id"] == result.best.trial_id for row in rows]
    finals = {finalist.trial_id: finalist._asdict() for finalist in result.finalists}
    for name in (name for name in Finalist._fields if finals and name != "trial_id"):
        columns[f"finals.{name}"] = [_known(finals.get(row["trial_id"], {}).get(name)) for row in rows]
    measured = {one.trial_id: one.estimates for one in result.measured}
    for name in dict.fromkeys(name for one in result.measured for name in one.estimates):
        of = [measured.get(row["trial_id"], {}).get(name) for row in rows]
        for end, part in (("", "mean"), (".low", "low"), (".high", "high")):
            columns[f"estimate.{name}{end}"] = [None if e is None else _known(getattr(e, part)) for e in of]
    return columns


def as_csv(result: Result) -> bytes:
    """Return the table as CSV."""
    columns = table(result)
    return csv_lines([columns, *zip(*columns.values(), strict=True)])


def csv_lines(rows: Iterable[Iterable[object]]) -> bytes:
    """Return rows as CSV in UTF-8: numbers in full precision, quotes where a value needs them."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _known(value: Value) -> Value:
    return None if isinstance(value, float) and not math.isfinite(value) else value
