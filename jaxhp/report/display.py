"""What a person sees while a search runs: a live panel in a terminal or a notebook, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from rich.console import Console
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
from jaxhp.report.panels import Now, Panel, panel
from jaxhp.report.table import show_config
from jaxhp.trials import Trial, Trials, best_of, joined, rank, standing


class _Work(NamedTuple):
    """Member-epochs of the whole search, those that are done, and how long this run took for some of them."""

    total: int
    done: int = 0
    timed: int = 0
    seconds: float = 0.0


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
        self._work, self._metric, self._mode = _Work(total), metric, mode
        self._console = None if quiet else console or Console()
        self._panel: Panel | None = None
        self._said = 0.0
        self._now = _Phase("", 1, Trials.of(()), {})
        self._top = Trials.of(())  # the best of the rounds that are finished

    def __enter__(self) -> Display:
        if self._console is not None:
            self._panel = panel(self._console)
        return self

    def __exit__(self, *_: object) -> None:
        if self._panel is not None:
            self._panel.stop()

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
        if self._panel is not None:
            self._panel.show(self._so_far(line, self._top))
        else:
            self.note(line)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._console is not None:
            self._console.print(Text(words.plain(text)), soft_wrap=True)

    def skip(self, member_epochs: int) -> None:
        """Count work that an earlier run of this search has done."""
        self._work = self._work._replace(done=self._work.done + member_epochs)

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
        self.skip(member_epochs)
        if seconds:
            work = self._work
            self._work = work._replace(timed=work.timed + member_epochs, seconds=work.seconds + seconds)
        line = f"{label}  epoch {epoch}/{epochs}"
        work = self._work
        if work.seconds:
            rate = work.timed / work.seconds
            left = max(work.total - work.done, 0) / max(rate, 1e-9)
            line += f"  {rate:,.0f} member-epochs/s  {_clock(left)} left"
        if self._panel is not None:
            self._panel.show(self._so_far(line, top))
        elif self._console is not None and (epoch == epochs or time.perf_counter() - self._said > 5):
            self._said = time.perf_counter()
            best = words.number(top[0].score, top[0].stderr) if top else "-"
            self.note(f"{line}  best {self._metric} {best}")

    def _so_far(self, line: str, top: Sequence[Trial]) -> Now:
        return Now(line, self._work.done, self._work.total, top, self._metric)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds + 0.5), 60)
    return f"{minutes}:{rest:02d}"
