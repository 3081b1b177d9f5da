"""What a run directory holds, for other tools: a table, an Optuna study, TensorBoard's event files.

Everything is read from the store; the other tools' packages are imported when they are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jaxhp.packages import needed
from jaxhp.report.result import Result
from jaxhp.store.files import STDOUT, default_place
from jaxhp.values import Error


class Format(NamedTuple):
    """One thing to export to."""

    module: str  # within this package; its `write` takes a result and a place, and returns how many trials it wrote
    package: str  # that it needs
    out: str  # in the run directory, unless another place is given
    curves: bool  # whether it writes them


FORMATS = {
    "csv": Format("csv_file", "", "trials.csv", curves=False),
    "parquet": Format("parquet_file", "pyarrow", "trials.parquet", curves=False),
    "optuna": Format("optuna_study", "optuna", "optuna.db", curves=True),
    "tensorboard": Format("tensorboard_logs", "tensorboardX", "tensorboard", curves=True),
}


def export(directory: str | Path, to: str, out: str | Path | None = None) -> tuple[str, int, int]:
    """Writes the trials of a run directory, finished or not, for another tool.

    Args:
      to: "csv" or "parquet", one row a trial (see `interop.table`); "optuna", a study (see `interop.optuna_study`);
        "tensorboard", a folder of event files (see `interop.tensorboard_logs`).
      out: where; a file, a folder, or for Optuna also the URL of a storage; for a table also a device, or `-`, standard
        output. None: in the run directory.

    Returns:
      where it is, how many trials were written, and how many were left out because they are still in training.

    Raises:
      Error: the directory is damaged, a package is missing, or there is something at `out` that is not to be
        overwritten.
      OSError: `out` cannot be written.
    """
    if to not in FORMATS:
        raise Error(f"to: expected one of {', '.join(FORMATS)}, got {to!r}")
    form = FORMATS[to]
    module = needed(f"jaxhp.interop.{form.module}", f"to: {to}", form.package, "interop")
    if str(out) == STDOUT and form.curves:
        raise Error(f"out: expected a place for {to}, got -: only a table is written to standard output")
    result = Result.load(directory, curves=form.curves)
    place = default_place(directory, form.out) if out is None else out
    written = module.write(result, place)
    return str(place), written, len(result.trials) - written
