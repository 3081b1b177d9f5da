"""A unit on its way: pieces that follow each other, who has which, and whose result counts where there are two."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from jaxhp.engine.work import Outcome
from jaxhp.executors.orders import Trained
from jaxhp.executors.units import Raw, Unit


class Tag(NamedTuple):
    """What an answer is to."""

    part: Part
    piece: Unit
    turn: int


class Result(NamedTuple):
    """What a worker made of a piece."""

    worker: str
    piece: Unit
    trained: Trained


class Differ(NamedTuple):
    """Workers that made different bits of the same piece."""

    workers: tuple[str, ...]
    wrong: str | None  # which of them, where a third has decided


@dataclass(eq=False)
class Part:
    """A unit, and how far it has come.

    Attributes:
      unit: what is left of it.
      home: the worker that has what it continues, "" for none.
      turn: of the piece that is to be trained now; a result of an earlier one is late.
      flight: workers that train it, and since when.
      outcome, raw: at its end.
      losses: why workers were lost that had it.
      accepted: the result that brought it to where it is.
      disputed: results of the piece that is to be trained now, which differ.
    """

    unit: Unit
    home: str = ""
    turn: int = 0
    flight: dict[str, float] = field(default_factory=dict)
    outcome: Outcome | None = None
    raw: Raw | None = None
    losses: list[str] = field(default_factory=list)
    accepted: Result | None = None
    disputed: list[Result] = field(default_factory=list)

    @property
    def piece(self) -> Unit:
        """What is to be trained now: of a disputed piece, as far as it was trained."""
        if not self.disputed:
            return self.unit
        return self.unit._replace(job=self.unit.job._replace(stop=self.disputed[0].trained.reached))

    def take(self, tag: Tag, result: Result) -> Differ | None:
        """Know a result: the first one of a piece counts, a later one is compared with it."""
        before = self.accepted
        if tag.turn == self.turn:
            return self._decide(result) if self.disputed else self._accept(result)
        if tag.turn != self.turn - 1 or before is None or before.trained.reached != result.trained.reached:
            return None
        if fingerprint(before.trained) == fingerprint(result.trained):
            return None
        self.unit, self.disputed, self.accepted = before.piece, [before, result], None
        self.outcome = self.raw = None
        self.turn += 1
        return Differ((before.worker, result.worker), None)

    def _accept(self, result: Result) -> None:
        trained = result.trained
        self.accepted, self.turn = result._replace(piece=self.unit), self.turn + 1
        self.unit, self.home = self.unit.rest(trained.reached), result.worker
        if trained.reached >= self.unit.job.stop:
            self.outcome, self.raw = trained.outcome, trained.raw

    def _decide(self, third: Result) -> Differ:
        agree = [fingerprint(one.trained) == fingerprint(third.trained) for one in self.disputed]
        workers = tuple(one.worker for one in (*self.disputed, third))
        if sum(agree) != 1:
            return Differ(workers, None)
        wrong = self.disputed[agree.index(False)].worker
        self.disputed = []
        self._accept(third)
        return Differ(workers, wrong)


def fingerprint(trained: Trained) -> str:
    """Return a name for the bits of a result: of what was measured, and of members where they were put."""
    whole = hashlib.sha256()
    outcome: Sequence[np.ndarray | None] = () if trained.outcome is None else [*trained.outcome]
    for leaf in (trained.score, trained.curve[:, : trained.reached], *outcome, *(trained.raw or ())):
        whole.update(b"" if leaf is None else np.ascontiguousarray(leaf).tobytes())
    whole.update(repr(sorted(trained.digests.items())).encode())
    return whole.hexdigest()
