"""Trials as JSON objects: what `jaxhp show --json` prints, and tables for other tools are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxhp.objectives import Objectives
from jaxhp.trials import Trial, Trials


def table_rows(
    trials: Sequence[Trial], of: Objectives | None = None, front: Trials | None = None
) -> list[dict[str, Any]]:
    """Return trials as JSON objects, in the order given; a diverged trial's score is null.

    Args:
      of: what they are compared by; of several objectives, or with constraints, each has all their metrics too.
      front: the trials on it.
    """
    found = [
        {
            "trial_id": t.trial_id,
            "config": t.config,
            "score": t.score if np.isfinite(t.score) else None,
            "stderr": t.stderr if np.isfinite(t.stderr) else None,
            "status": str(t.status),
            "round": t.round,
            "epochs": t.epochs,
            "scored_at": t.scored_at,
            "diverged_at": t.diverged_at or None,
            "parent": t.parent,
        }
        for t in trials
    ]
    if of is None or of.plain:
        return found
    columns = Trials.of(trials)
    known = {name: [float(v) if np.isfinite(v) else None for v in of.values(columns, name)] for name in of.measured}
    kept, best = of.violation(columns) == 0, [] if front is None else front.trial_id.tolist()
    for row, entry in enumerate(found):
        entry["metrics"] = {name: values[row] for name, values in known.items()}
        entry["feasible"] = bool(kept[row])
        entry["front"] = entry["trial_id"] in best
    return found
