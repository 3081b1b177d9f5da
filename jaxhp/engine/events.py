"""What happens in a search, as records: the ledger, the display and a test's crash point observe one stream of them.

An observer is a function of one event. Observers are told in turn, the ledger first, so whatever a person is shown is
recorded already. None of them can change what is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxhp.trials import Trial, Trials


class SearchBegan(NamedTuple):
    """A search begins, or goes on."""

    trials: Trials  # that earlier runs have finished


class RoundBegan(NamedTuple):
    """A round is asked for and recorded, and about to be trained."""

    round: int  # from 0
    rounds: int
    epochs: int  # that its trials are trained to
    trials: Trials


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
    """A call of the step is done."""

    trials: np.ndarray  # i32[n], in training
    score: np.ndarray  # f32[n], so far
    epoch: int
    member_epochs: int  # trained by this call
    seconds: float
    last: bool  # whether all rows of the job are trained
    state_bytes: int  # size of a snapshot's members
    fresh: bool = False  # whether it was the first call of its group, which compiles small programs beside


class RoundFinished(NamedTuple):
    """A round is trained and recorded."""

    round: int
    trials: Trials
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


Event = (
    SearchBegan
    | RoundBegan
    | FinalsBegan
    | Compiling
    | Progressed
    | RoundFinished
    | RoundSkipped
    | Retrained
    | Shrunk
    | Warned
    | Noted
    | StopAsked
    | Stored
)
Observer = Callable[[Event], None]


def told(observers: Sequence[Observer]) -> Observer:
    """Return the function that tells an event to each observer in turn."""

    def emit(event: Event) -> None:
        for observer in observers:
            observer(event)

    return emit
