"""A unit on its way: pieces that follow each other, and whose result of one counts where there are several."""

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
    """Names a piece: a part, and the number of the piece of it. No number comes twice."""

    part: Strand
    number: int


class Made(NamedTuple):
    """What a worker made of a piece.

    Attributes:
      worker: has trained it.
      trained: its answer.
      bits: equal for equal results.
    """

    worker: str
    trained: Trained
    bits: str


@dataclass(eq=False)
class Strand:
    """A unit, and how far it has come.

    Attributes:
      unit: what is left of it.
      home: the worker that has what it continues, "" for none.
      number: of the piece that is to be trained now.
      outcome, raw: at its end.
      losses: why workers were lost that had it.
      pieces: by their numbers, as they were to be trained.
      results: of each of them.
    """

    unit: Unit
    home: str = ""
    number: int = 0
    outcome: Outcome | None = None
    raw: Raw | None = None
    losses: list[str] = field(default_factory=list)
    pieces: dict[int, Unit] = field(default_factory=dict)
    results: dict[int, list[Made]] = field(default_factory=dict)

    def begin(self) -> Tag:
        """Return the name of what is left, as one piece."""
        self.number = max(self.pieces, default=-1) + 1
        self.pieces[self.number] = self.unit
        return Tag(self, self.number)

    @property
    def tag(self) -> Tag:
        """Names the piece that is to be trained now."""
        return Tag(self, self.number)

    def piece(self, number: int) -> Unit:
        """Return what to train of a piece: where there is a result of it, just as far, and with what that had put."""
        piece, known = self.pieces[number], self.results.get(number)
        if not known:
            return piece
        reached = known[0].trained.reached
        return piece._replace(job=piece.job._replace(stop=reached, keep=piece.job.keep or reached < piece.job.stop))

    def know(self, number: int, worker: str, trained: Trained) -> Made:
        """Keep a result. One that came to another epoch than the first cannot be compared, and passes as equal."""
        known = self.results.setdefault(number, [])
        if known and known[0].trained.reached != trained.reached:
            bits = known[0].bits
        elif trained.reached < self.pieces[number].job.stop:  # for who was to go just so far that was the end
            bits = fingerprint(trained._replace(outcome=None, raw=None))
        else:
            bits = fingerprint(trained)
        known.append(Made(worker, trained, bits))
        return known[-1]

    def accept(self, number: int, result: Made) -> None:
        """Go on from a result of a piece."""
        trained = result.trained
        self.unit, self.home, self.number = self.pieces[number].rest(trained.reached), result.worker, number
        if trained.reached >= self.unit.job.stop:
            self.outcome, self.raw = trained.outcome, trained.raw

    def go_back(self, number: int) -> None:
        """Stand before a piece again, whose results differ."""
        self.unit, self.number = self.pieces[number], number
        self.outcome = self.raw = None

    def __str__(self) -> str:
        ids = self.unit.job.trials.tolist()
        more = f" and {len(ids) - 8} more" if len(ids) > 8 else ""
        return f"trial{'s' if len(ids) > 1 else ''} {', '.join(map(str, ids[:8]))}{more}"


def fingerprint(trained: Trained) -> str:
    """Return a name for the bits of a result: of what was measured, and of members where they were put."""
    whole = hashlib.sha256()
    outcome: Sequence[np.ndarray | None] = () if trained.outcome is None else [*trained.outcome]
    for leaf in (trained.score, trained.curve[:, : trained.reached], *outcome, *(trained.raw or ())):
        whole.update(b"" if leaf is None else np.ascontiguousarray(leaf).tobytes())
    whole.update(repr(sorted(trained.digests.items())).encode())
    return whole.hexdigest()
