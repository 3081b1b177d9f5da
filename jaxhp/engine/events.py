"""What happens in a search, as records: the ledger, the display and a test's crash point observe one stream of them.

An observer is a function of one event. Observers are told in turn, the ledger first, so whatever a person is shown is
recorded already. None of them can change what is trained. Rounds count from 0, epochs of a trial from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxhp.trials import Trial, Trials


class SearchBegan(NamedTuple):
    """A search begins, or goes on, or is finished already: the first event but for `Stored`."""

    trials: Trials  # that earlier runs have finished, with their curves
    id: str = ""  # the same in all runs of a directory, and no other's
    directory: Path | None = None
    manifest: Mapping[str, Any] | None = None  # what the search is, as in `manifest.json`: "metric", "space", "seed"...


class RoundBegan(NamedTuple):
    """A round is asked for and recorded, and about to be trained."""

    round: int
    rounds: int
    epochs: int  # that its trials are trained to
    trials: Trials  # with their configs, not measured yet


class FinalsBegan(NamedTuple):
    """The finalists are about to be trained on fresh replicates."""

    trials: Sequence[Trial]
    epochs: int


class Compiling(NamedTuple):
    """The step of a static group is about to be compiled."""

    number: int  # from 1, among the groups that what is asked for now needs and that are not compiled yet
    groups: int  # how many these are
    static: Mapping[str, Any]  # what tells this one from the others


class Progressed(NamedTuple):
    """A call of the step is done, of about a second: in a round, or after `FinalsBegan` on fresh replicates."""

    trials: np.ndarray  # i32[n], the ids of those in training
    score: np.ndarray  # f32[n], so far, NaN where one diverged
    epoch: int  # that they have come to
    member_epochs: int  # trained by this call
    seconds: float  # that it took, without observers
    last: bool  # whether all rows of the job are trained
    state_bytes: int  # size of a snapshot's members
    fresh: bool = False  # whether it was the first call of its group, which compiles small programs beside
    curve: Any = None  # f32[P, E, 2, M] on the device, the first n rows filled; see `curves`
    metrics: Sequence[str] = ()  # [M], names of its columns

    def curves(self) -> dict[str, np.ndarray]:
        """Bring `"train_<metric>"` and `"valid_<metric>"` from the device: f32[n, epoch], means over replicates."""
        names = [f"{part}_{name}" for part in ("train", "valid") for name in self.metrics]
        found = np.asarray(self.curve)[: len(self.trials), : self.epoch] if names else np.zeros((0, 0))
        return dict(zip(names, np.moveaxis(found.reshape(*found.shape[:2], len(names)), 2, 0), strict=True))


class Awaited(NamedTuple):
    """A moment in which nothing came from workers elsewhere: the search looks for signals, and no observer is told."""


class RoundFinished(NamedTuple):
    """A round is trained and recorded."""

    round: int
    trials: Trials  # as they were measured; `curve` f32[N, E] from epoch 1, also where a rung continued a trial
    kept: bool  # whether later rounds may continue its members


class RoundSkipped(NamedTuple):
    """A round was recorded by an earlier run of this search."""

    round: int
    member_epochs: int


class Retrained(NamedTuple):
    """Members of a finished round were not saved and are about to be trained again."""

    round: int
    members: int


class Shrunk(NamedTuple):
    """The device's memory was too small; fewer rows are trained at once from now on."""

    round: int
    rows_before: int
    rows_now: int
    reason: str


class Warned(NamedTuple):
    """Something is not as it should be; the search goes on."""

    text: str


class Noted(NamedTuple):
    """Something that a person may want to know."""

    text: str


class StopAsked(NamedTuple):
    """A signal asked the search to stop; all up to here is recorded."""

    signal: str


class Stored(NamedTuple):
    """A durable operation is on disk: a process may end here and lose nothing of it."""

    what: str  # one of `STORED`


STORED = (
    "ledger created",
    "manifest written",
    "round begun",
    "checkpoint written",
    "checkpoint named",
    "checkpoint forgotten",
    "checkpoint removed",
    "round finished",
    "finals recorded",
    "parameters written",
    "search ended early",
    "search finished",
    "summary written",
    "search extended",
)


class SearchFinished(NamedTuple):
    """The search is finished, all of it is on disk, and this is the last event."""

    result: Any  # the `Result` that `run` returns


_Trained = SearchBegan | RoundBegan | FinalsBegan | Compiling | Progressed | RoundFinished | RoundSkipped | Retrained
Event = _Trained | Awaited | Shrunk | Warned | Noted | StopAsked | Stored | SearchFinished
Observer = Callable[[Event], None]
