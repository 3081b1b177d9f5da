"""What all trackers have in common: which points of which trials are new, and when they are logged.

The ledger is the record, and a log is a copy of it that only grows. What an earlier run has logged is asked of the log
itself, so that a search that is resumed, or watched a second time, adds what is missing and nothing twice; and what a
tracker could not be told while it was out of reach follows when it is there again.
"""

from __future__ import annotations

import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np

from jaxhp.engine.events import (
    Event,
    FinalsBegan,
    Progressed,
    RoundBegan,
    RoundFinished,
    SearchBegan,
    SearchFinished,
    StopAsked,
)
from jaxhp.interop.points import Point, last_epochs, points
from jaxhp.report.result import Result
from jaxhp.store.files import located
from jaxhp.trials import Status, Trial, Trials
from jaxhp.values import Error

_SHARE = 10  # logging between rounds may take at most a tenth of the time since the last time


class Tracker(ABC):
    """Observes a search for a tracker of trainings; a subclass knows where a trial's points go.

    Curves are logged while they grow, as often as that takes little of the time, and whole when a round ends. The
    finals' trainings are no trials and send nothing; what they found comes with the choice.
    """

    def __init__(self) -> None:
        self._about: SearchBegan | None = None
        self._open = False
        self._there: dict[int, dict[str, int]] = {}  # trial to the last epoch of each name, as far as it is known
        self._ended: dict[int, int] = {}  # trial to its epochs when it was last logged as finished
        self._round: Trials | None = None  # in training
        self._due = 0.0  # when curves may be logged again

    @abstractmethod
    def begin(self, about: SearchBegan) -> dict[int, int]:
        """Open the log of a search; return its trials that are logged whole there, with their epochs."""

    @abstractmethod
    def there(self, trial: Trial) -> dict[str, int]:
        """Return what the log has of a trial from before: name of points to their last epoch."""

    @abstractmethod
    def write(self, trial: Trial, new: list[Point], there: dict[str, int]) -> None:
        """Log points of a trial, and where it is not in training that it is finished; `there` is empty at first."""

    @abstractmethod
    def finish(self, result: Result) -> None:
        """Log what was chosen and what it is worth."""

    def pause(self) -> None:
        """Bring to an end what is open, since the search stops for now."""
        return

    def __call__(self, event: Event) -> None:
        """Observe an event."""
        match event:
            case SearchBegan():
                self._about, self._open, self._round, self._due = event, False, None, 0.0
                self._log(event.trials)
            case RoundBegan():
                self._round = event.trials
            case FinalsBegan():
                self._round = None
            case Progressed() if self._round is not None and time.monotonic() >= self._due:
                began = time.monotonic()
                try:
                    self._log(_so_far(self._round, event))
                finally:
                    now = time.monotonic()
                    self._due = now + _SHARE * (now - began)
            case RoundFinished():
                self._log(event.trials)
            case SearchFinished():
                self._log(event.result.trials)  # which knows what could not be logged before
                self.finish(event.result)
            case StopAsked() if self._open:
                self.pause()
            case _:
                pass

    def _log(self, trials: Trials) -> None:
        assert self._about is not None
        try:
            if not self._open:
                self._there, self._ended, self._open = {}, self.begin(self._about), True
            for row in np.argsort(trials.trial_id):
                if self._ended.get(int(trials.trial_id[row]), -1) < trials.epochs[row]:
                    self._log_trial(_trial(trials, int(row)))
        except BaseException:
            self._open = False  # so that the log is asked what it has
            raise

    def _log_trial(self, trial: Trial) -> None:
        number, ended = trial.trial_id, trial.status is not Status.RUNNING
        there = self._there[number] if number in self._there else self.there(trial)
        new = list(points(trial, there))
        if new or ended:
            self.write(trial, new, there)
        self._there[number] = there | last_epochs(new)
        if ended:
            self._ended[number] = trial.epochs


def _so_far(of: Trials, event: Progressed) -> Trials:
    """Return trials of a round as far as they have come."""
    rows = np.flatnonzero(np.isin(of.trial_id, event.trials))
    place = {trial: row for row, trial in enumerate(event.trials.tolist())}
    told = [place[trial] for trial in of.trial_id[rows].tolist()]
    curves = {name: curve[told] for name, curve in event.curves().items()}
    return replace(of[rows], epochs=np.full(len(rows), event.epoch, np.int32), curve=curves)


def _trial(trials: Trials, row: int) -> Trial:
    """Return a trial with its curve, which one in training has no other way."""
    trial = trials[row]
    return replace(trial, curve={name: values[row][: trial.epochs] for name, values in trials.curve.items()})


@contextmanager
def report_of(result: Result) -> Iterator[Path | None]:
    """Give the report of a run directory as a file that is gone afterwards; None where there is no directory."""
    with tempfile.TemporaryDirectory() as place:
        write = import_module("jaxhp.report.page").write_report  # imported when used, as other tools are
        yield None if result.directory is None else write(result.directory, Path(place) / "report.html")


def title(about: SearchBegan) -> str:
    """Return what a search is called among others: as its directory, and a number of its own."""
    name = about.directory.name if about.directory is not None else "search"
    return f"{name}-{about.id[:8]}".encode(errors="replace").decode()


def folder(dir: str | Path, who: str) -> Path:
    """Return a folder, made where there is none.

    Raises:
      Error: it cannot be.
    """
    found = located(dir, f"watch: {who} dir")
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Error(f"watch: {who} dir: expected a writable directory, got {dir}: {error.strerror}") from None
    return found
