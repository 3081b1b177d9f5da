"""What a person sees while a search runs: a live panel in a terminal, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jaxhp import words
from jaxhp.engine.events import (
    Compiling,
    Event,
    FinalsBegan,
    Noted,
    Progressed,
    Retrained,
    RoundBegan,
    RoundFinished,
    RoundSkipped,
    SearchBegan,
    Shrunk,
    Warned,
)
from jaxhp.report.table import show_config, trials_table
from jaxhp.trials import Trial, Trials, best_of, joined, rank, standing


class _Speed(NamedTuple):
    """What this run has trained, and how long that took."""

    member_epochs: int
    seconds: float


class _Phase(NamedTuple):
    """What is being trained."""

    label: str
    epochs: int
    trials: Trials
    rows: Mapping[int, int]  # of `trials`, by id
    best: Trials = Trials.of(())  # so far, of all groups and waves


class Display:
    """Show round, epoch, members a second, time left and the current top five.

    Args:
      total: member-epochs of the whole search.
      metric: the name of the score.
      mode: "max" or "min", which scores are better.
      quiet: show nothing.
      console: where it is shown; None: standard output.
    """

    def __init__(
        self, total: int, metric: str, mode: str = "max", *, quiet: bool = False, console: Console | None = None
    ):
        self._total, self._metric, self._mode = total, metric, mode
        self._console = None if quiet else console or Console()
        self._done, self._speed = 0, _Speed(0, 0.0)
        self._live: Live | None = None
        self._said = 0.0
        self._now = _Phase("", 1, Trials.of(()), {})
        self._top = Trials.of(())  # the best of the rounds that are finished

    def __enter__(self) -> Display:
        if self._console is not None and self._console.is_terminal:
            self._live = Live(console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def observe(self, event: Event) -> None:
        """Show an event."""
        if self._console is None:
            return
        match event:
            case SearchBegan():
                self._top = best_of(Trials.of(()), event.trials, self._mode, 5)
            case RoundBegan():
                label, rows = f"round {event.round + 1}/{event.rounds}", enumerate(event.trials.trial_id.tolist())
                self._now = _Phase(label, event.epochs, event.trials, {trial: row for row, trial in rows})
            case FinalsBegan():
                self._now = _Phase("finals", event.epochs, Trials.of(()), {})
                self._top = Trials.of(event.trials[:5])
            case RoundFinished():
                self._top = best_of(self._top, event.trials, self._mode, 5)
            case RoundSkipped():
                self.skip(event.member_epochs)
            case Compiling():
                self._compiling(event)
            case Progressed():
                self._progress(event)
            case Retrained():
                self.note(f"round {event.round + 1}: training {event.members} member(s) again, not saved")
            case Shrunk():
                before, now = event.rows_before, event.rows_now
                self.note(f"out of memory with {before} trials at once: going on with {now} (same tile, same numbers)")
            case Warned() | Noted():
                self.note(event.text)
            case _:
                pass

    def _progress(self, event: Progressed) -> None:
        now, epochs = self._now, np.full(len(event.trials), event.epoch)
        first = standing(event.score, epochs, event.trials, self._mode)[:5] if len(now.trials) else ()
        rows = [now.rows[int(event.trials[place])] for place in first]
        seen = replace(now.trials[rows], epochs=epochs[: len(rows)], score=event.score[list(first)])
        others = now.best[~np.isin(now.best.trial_id, event.trials)]  # of other groups and waves
        self._now = now._replace(best=rank(joined([others, seen]), self._mode)[:5])
        best = best_of(self._top, self._now.best, self._mode, 5)
        counted = 0.0 if event.fresh else event.seconds
        self.update(now.label, event.epoch, now.epochs, event.member_epochs, counted, best)

    def _compiling(self, event: Compiling) -> None:
        static = show_config(event.static)
        line = f"compiling group {event.number} of {event.groups}: {static}" if event.groups > 1 else "compiling"
        if self._live is not None:
            self._live.update(Group(Text(words.plain(line)), self._bar(), self._table(self._top)), refresh=True)
        else:
            self.note(line)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._console is not None:
            self._console.print(Text(words.plain(text)), soft_wrap=True)

    def skip(self, member_epochs: int) -> None:
        """Count work that an earlier run of this search has done."""
        self._done += member_epochs

    def update(
        self, label: str, epoch: int, epochs: int, member_epochs: int, seconds: float, top: Sequence[Trial]
    ) -> None:
        """Show how far it is after a call of the step.

        Args:
          label: of the round, or of the finals.
          epoch, epochs: that the trials have come to, and are trained to.
          member_epochs: trained by this call.
          seconds: that it took; 0: it does not count.
          top: the best trials so far.
        """
        self._done += member_epochs
        if seconds:
            self._speed = _Speed(self._speed.member_epochs + member_epochs, self._speed.seconds + seconds)
        line = f"{label}  epoch {epoch}/{epochs}"
        if self._speed.seconds:
            rate = self._speed.member_epochs / self._speed.seconds
            left = max(self._total - self._done, 0) / max(rate, 1e-9)
            line += f"  {rate:,.0f} member-epochs/s  {_clock(left)} left"
        if self._live is not None:
            self._live.update(Group(Text(line), self._bar(), self._table(top)), refresh=True)
        elif self._console is not None and (epoch == epochs or time.perf_counter() - self._said > 5):
            self._said = time.perf_counter()
            best = words.number(top[0].score, top[0].stderr) if top else "-"
            self.note(f"{line}  best {self._metric} {best}")

    def _bar(self) -> ProgressBar:
        return ProgressBar(total=max(self._total, 1), completed=min(self._done, self._total), width=60)

    def _table(self, top: Sequence[Trial]) -> Table:
        return trials_table(top, self._metric, 5)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02d}"
