"""The ranked trials as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from jaxhp.trials import Trial


def trials_table(
    trials: Sequence[Trial], metric: str, top: int, finals: Mapping[int, np.ndarray] | None = None
) -> Table:
    """The first `top` trials; `finals` adds a column with the finalists' means on fresh replicates."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.config))
    for heading in ("rank", "trial", metric, "± stderr"):
        table.add_column(heading, justify="right")
    if finals:
        table.add_column("finals", justify="right")
    for heading in names:
        table.add_column(Text(heading), justify="right")
    for heading in ("epochs", "round"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    for place, trial in enumerate(trials[:top], 1):
        cells = [str(place), str(trial.trial_id), _number(trial.score), _number(trial.stderr)]
        if finals:
            scores = finals.get(trial.trial_id)
            cells.append(_number(float(np.mean(scores))) if scores is not None else "")
        cells += [show_value(trial.config.get(name, "")) for name in names]
        table.add_row(*map(Text, cells), str(trial.epochs), str(trial.round), str(trial.status))
    return table


def show_value(value: object) -> str:
    """A parameter's value, floats with four digits."""
    return (
        f"{value:.3e}"
        if isinstance(value, float) and not 1e-2 <= abs(value) < 1e4
        else (f"{value:.4f}" if isinstance(value, float) else str(value))
    )


def _number(value: float) -> str:
    return f"{value:.4f}" if np.isfinite(value) else "-"
