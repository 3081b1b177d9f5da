"""The ranked trials as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.table import Table
from rich.text import Text

from jaxhp import words
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
    shown = list(trials[:top])
    scores = words.column([trial.score for trial in shown], [trial.stderr for trial in shown])
    again = finals_column(shown, finals or {})
    for place, trial in enumerate(shown, 1):
        cells = [str(place), str(trial.trial_id), *scores[place - 1]]
        cells += [again[trial.trial_id][1] if trial.trial_id in again else ""] if finals else []
        cells += [show_value(trial.config.get(name, "")) for name in names]
        table.add_row(*map(Text, cells), str(trial.epochs), str(trial.round), str(trial.status))
    return table


def finals_column(trials: Sequence[Trial], finals: Mapping[int, np.ndarray]) -> dict[int, tuple[float, str]]:
    """The means of finalists on fresh replicates, by trial id, with how they are written below each other."""
    found = {trial.trial_id: np.asarray(finals[trial.trial_id], float) for trial in trials if trial.trial_id in finals}
    means = [float(np.mean(scores)) for scores in found.values()]
    errors = [float(np.std(s, ddof=1)) / len(s) ** 0.5 if len(s) > 1 else float("nan") for s in found.values()]
    texts = (text for text, _ in words.column(means, errors))
    return dict(zip(found, zip(means, texts, strict=True), strict=True))


def show_config(config: Mapping[str, object]) -> str:
    """A config in a line.

    >>> show_config({"lr": 0.0095451, "kind": "sgd"})
    'lr=0.009545, kind=sgd'
    """
    return ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in config.items())


def show_value(value: object) -> str:
    """A parameter's value, floats with four digits."""
    return (
        f"{value:.3e}"
        if isinstance(value, float) and not 1e-2 <= abs(value) < 1e4
        else (f"{value:.4f}" if isinstance(value, float) else str(value))
    )
