"""What a search found, read from its ledger."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from jaxhp.files import read_json
from jaxhp.ranking import rank
from jaxhp.report.table import trials_table
from jaxhp.select import Choice, Estimate, Finalist
from jaxhp.store import Ledger
from jaxhp.types import Trial


class Result:
    """The ranked trials of a search and the one that was chosen.

    Attributes:
      trials: every trial, best first.
      best: the one that the finals chose (see `Finalist`), or `raw_best` without finals.
      raw_best: the trial with the best score seen. Its score is biased upward by the choice.
      estimate: mean and 95% interval of `best` on replicates that the choice has not seen, and how many trials were
        tried; None without finals.
      finalists: what the finals found of each finalist.
      finals: trial_id to f32[R], the finalists' scores on fresh replicates.
      metric, mode: what the trials are ranked by.
    """

    def __init__(self, ledger: Ledger, metric: str, mode: str):
        self.metric, self.mode = metric, mode
        self.directory = ledger.directory
        self.trials: list[Trial] = rank(ledger.trials(), mode)
        if not self.trials:
            raise ValueError(f"{ledger.directory}: expected at least one trial in the ledger, found none")
        self.raw_best = self.trials[0]
        choice = ledger.meta("choice")
        chosen = Choice.from_json(json.loads(choice)) if choice else Choice(self.raw_best.trial_id, None, ())
        self.best = next(trial for trial in self.trials if trial.trial_id == chosen.trial_id)
        self.estimate: Estimate | None = chosen.estimate
        self.finalists: tuple[Finalist, ...] = chosen.finalists
        scores = ledger.finals()
        self.finals = {f.trial_id: scores[f.trial_id][: f.replicates] for f in self.finalists}
        self.digest = ledger.digest()

    @classmethod
    def load(cls, directory: str | Path) -> Result:
        """The result of a run directory, finished or not."""
        manifest = read_json(Path(directory) / "manifest.json")
        with Ledger(directory) as ledger:
            return cls(ledger, str(manifest.get("metric", "accuracy")), str(manifest.get("mode", "max")))

    def table(self, top: int = 10) -> str:
        """The best trials as text."""
        text = io.StringIO()
        Console(file=text, width=100).print(trials_table(self.trials, self.metric, top, self.finals))
        return text.getvalue()

    def summary(self) -> str:
        """The chosen configuration and what its score means, in a few lines."""
        config = ", ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.best.config.items())
        lines = [f"chosen    trial {self.best.trial_id}: {config}"]
        if self.estimate is not None:
            lines.append(
                f"estimate  {self.metric} {self.estimate.mean:.4f}, 95% interval {self.estimate.low:.4f} to "
                f"{self.estimate.high:.4f} (fresh replicates; {self.estimate.n_tried} trials tried)"
            )
        lines.append(
            f"raw best  {self.metric} {self.raw_best.score:.4f} (trial {self.raw_best.trial_id}): the best score seen, "
            "biased by the choice"
        )
        return "\n".join(lines)


def table_rows(trials: list[Trial]) -> list[dict]:
    """Trials as JSON objects, in the order given; a diverged trial's score is null."""
    return [
        {
            "trial_id": t.trial_id,
            "config": t.config,
            "score": t.score if np.isfinite(t.score) else None,
            "stderr": t.stderr if np.isfinite(t.stderr) else None,
            "status": str(t.status),
            "round": t.round,
            "epochs": t.epochs,
            "diverged_at": t.diverged_at or None,
            "parent": t.parent,
        }
        for t in trials
    ]
