"""The ranked trials as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from jaxhp import words
from jaxhp.trials import Trial

_LONGEST, _GAP = 24, 2  # columns of a cell in a live display, and between two of them
_MORE = "+{} more"

FreshScores = Mapping[int, np.ndarray]  # trial id to f32[R], scores on fresh replicates
Columns = Mapping[str, np.ndarray]  # metric to f32[N], of all trials


def cells_of(
    trials: Sequence[Trial],
    metric: str,
    top: int,
    finals: FreshScores | None = None,
    others: Columns | None = None,
) -> list[list[str]]:
    """Return the headings and the first `top` trials, as text.

    Args:
      metric: the name of their scores.
      finals: adds a column of means on fresh replicates.
      others: adds columns, one value for each trial, of other metrics.
    """
    names = list(dict.fromkeys(name for trial in trials for name in trial.config))
    shown = list(trials[:top])
    scores = words.column([trial.score for trial in shown], [trial.stderr for trial in shown])
    again = finals_column(shown, finals or {})
    more = [[text for text, _ in words.column(list(values[:top]))] for values in (others or {}).values()]
    headings = [metric, "± stderr", *(others or {}), *(["finals"] if finals else []), *names]
    rows = [["rank", "trial", *headings, "epochs", "round", "status"]]
    for place, (trial, score) in enumerate(zip(shown, scores, strict=True), 1):
        mean = [again[trial.trial_id][1] if trial.trial_id in again else ""] if finals else []
        values = [show_value(trial.config.get(name, "")) for name in names]
        known = [column[place - 1] for column in more]
        row = (place, trial.trial_id, *score, *known, *mean, *values, trial.epochs, trial.round + 1, trial.status)
        rows.append([str(cell) for cell in row])
    return [[words.plain(cell) for cell in row] for row in rows]


def trials_text(
    trials: Sequence[Trial], metric: str, top: int, finals: FreshScores | None = None, others: Columns | None = None
) -> str:
    """Write the table as text, for anywhere; see `cells_of`."""
    rows = cells_of(trials, metric, top, finals, others)
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for *cells, status in rows:
        padded = (" " * (width - cell_len(cell)) + cell for cell, width in zip(cells, widths, strict=False))
        lines.append("  ".join([*padded, status]) + "\n")
    return "".join(lines)


def trials_table(trials: Sequence[Trial], metric: str, top: int, width: int) -> Table:
    """Make the table for a live display of so many columns; see `cells_of`."""
    headings, *rows = fitted(cells_of(trials, metric, top), width)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings[:-1]:
        table.add_column(Text(heading), justify="right")
    table.add_column(Text(headings[-1]))
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def fitted(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """Cut the rows of `cells_of` to so many columns of a terminal.

    Long cells end in an ellipsis. Columns that still have no room are left out: first what a trial went through, then
    parameters from the last on; a heading says how many of these.
    """
    shown = [[cut(cell, _LONGEST) for cell in row] for row in rows]
    sizes = [max(map(cell_len, column)) + _GAP for column in zip(*shown, strict=True)]
    count, kept, missing = len(sizes), set(range(len(sizes))), 0
    facts = [count - 3, count - 2, 3, 1, count - 1]  # epochs, round, error, trial, status
    for column in [*facts, *range(count - 4, 3, -1)]:
        if sum(sizes[at] for at in kept) - _GAP + (_GAP + len(_MORE.format(missing)) if missing else 0) <= width:
            break
        kept.remove(column)
        missing += column not in facts
    found = [[cell for at, cell in enumerate(row) if at in kept] for row in shown]
    return [[*row, "" if at else _MORE.format(missing)] for at, row in enumerate(found)] if missing else found


def cut(text: str, most: int) -> str:
    """Cut text to so many columns of a terminal, in which some characters take two.

    >>> cut("weight_decay", 8), cut("学習率の値", 8)
    ('weight_…', '学習率…')
    """
    if cell_len(text) <= most:
        return text
    return set_cell_size(text, most - 1).rstrip() + "…"


def finals_column(trials: Sequence[Trial], finals: FreshScores) -> dict[int, tuple[float, str]]:
    """Return the means of finalists on fresh replicates, by trial id, with how they are written below each other."""
    found = {trial.trial_id: np.asarray(finals[trial.trial_id], float) for trial in trials if trial.trial_id in finals}
    means = [float(np.mean(scores)) for scores in found.values()]
    errors = [float(np.std(s, ddof=1)) / len(s) ** 0.5 if len(s) > 1 else float("nan") for s in found.values()]
    texts = (text for text, _ in words.column(means, errors))
    return dict(zip(found, zip(means, texts, strict=True), strict=True))


def show_config(config: Mapping[str, object]) -> str:
    """Write a config in a line.

    >>> show_config({"lr": 0.0095451, "kind": "sgd"})
    'lr=0.009545, kind=sgd'
    """
    return ", ".join(f"{name}={text}" for name, text in settings(config).items())


def settings(config: Mapping[str, object]) -> dict[str, str]:
    """Write each value of a config where they do not stand below others."""
    return {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in config.items()}


def show_value(value: object) -> str:
    """Write a parameter's value, floats with four digits."""
    return (
        f"{value:.3e}"
        if isinstance(value, float) and not 1e-2 <= abs(value) < 1e4
        else (f"{value:.4f}" if isinstance(value, float) else str(value))
    )
