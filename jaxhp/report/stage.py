"""How far a search has come, and what cannot be said of it yet, or at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxhp.report.telling import plural
from jaxhp.store.ledger import Ledger
from jaxhp.trials import Status, Trial, Trials
from jaxhp.values import Error, is_int

RUNGS, NO_FINALS = "rungs", "no finals"  # facts of the whole search in its ledger


class Stage(NamedTuple):
    """How far a search had come when it was read.

    Attributes:
      finished: whether it has come to its end.
      begun, done: how many rounds have begun, and how many of them are finished.
      rungs: trials and epochs of every round that the search asks for; () where its ledger does not say.
      stopped: the signal that stopped it, if that is the last that is known of it.
      no_finals: why it has no finals; "" where it has, or where its ledger does not say.
    """

    finished: bool
    begun: int
    done: int
    rungs: tuple[tuple[int, int], ...]
    stopped: str
    no_finals: str

    @classmethod
    def of(cls, ledger: Ledger) -> Stage:
        """Read it from a ledger.

        Raises:
          Error: the ledger is damaged.
        """
        begun, done = ledger.reached()
        told = ledger.meta(RUNGS)
        last = next((e for e in reversed(ledger.events()) if e["kind"] in ("begun", "resume", "stopped")), {})
        return cls(
            finished=ledger.meta("finished") is not None,
            begun=begun,
            done=done,
            rungs=ledger.decode("the list of rounds", _rungs, told) if told else (),
            stopped=str(last.get("signal", "")) if last.get("kind") == "stopped" else "",
            no_finals=ledger.meta(NO_FINALS) or "",
        )

    def __str__(self) -> str:
        """Say how far it is, in a line."""
        if self.finished:
            return "finished"
        rounds = f"{self.done} of {plural(len(self.rungs), 'round')}" if self.rungs else plural(self.done, "round")
        so_far = f"{rounds} finished"
        if self.begun > self.done:
            rung = self.rungs[self.done] if self.done < len(self.rungs) else None
            size = f" ({plural(rung[0], 'trial')} to {plural(rung[1], 'epoch')})" if rung else ""
            so_far += f", round {self.done + 1} under way{size}"
        elif self.rungs and self.done >= len(self.rungs):
            so_far += ", not its finals" if not self.no_finals else ", not its end"
        how = f"stopped by {self.stopped}" if self.stopped else "in training, or killed"
        return f"{how}: {so_far}"


def is_saved(ledger: Ledger, trial: Trial) -> bool:
    """Tell whether a checkpoint holds a trial as it was last measured."""
    rounds = (ledger.round(saved.round) for saved in ledger.checkpoints() if saved.complete)
    return any(r is not None and r.epochs == trial.epochs and trial.trial_id in r.trials for r in rounds)


def _rungs(text: str) -> tuple[tuple[int, int], ...]:
    found = tuple((trials, epochs) for trials, epochs in json.loads(text))
    if not all(is_int(value, 1) for rung in found for value in rung):
        raise Error(f"expected trials and epochs of every round, got {text!r:.100}")
    return found


class Ruin(NamedTuple):
    """What is known of a search none of whose trials has a score that counts.

    Attributes:
      diverged: how many did.
      epochs: in which the first and the last of them diverged.
      latest: the trial that came farthest.
      tried: the least and the largest value of every parameter that is a number.
    """

    diverged: int
    epochs: tuple[int, int]
    latest: Trial
    tried: Mapping[str, tuple[Any, Any]]

    @classmethod
    def of(cls, trials: Trials) -> Ruin | None:
        """Find out where it went wrong; None where a trial has a score, or none has diverged yet."""
        lost = trials[trials.having(Status.DIVERGED)]
        if trials.healthy().any() or not len(lost):
            return None
        tried = {
            name: (column.min().item(), column.max().item())
            for name, column in lost.config.items()
            if column.dtype.kind in "fi"
        }
        at = lost.diverged_at
        return cls(len(lost), (int(at.min()), int(at.max())), lost[int(np.argmax(at))], tried)
