"""What a person sees while a search runs: a live panel in a terminal or a notebook, plain lines anywhere else."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

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
from jaxhp.report.panels import Now, Panel, panel, time_left
from jaxhp.report.table import show_config
from jaxhp.report.telling import plural
from jaxhp.trials import Status, Trials, best_of, joined, rank, standing

_EVERY_S = 60.0  # how often a line is printed in a round, where there is no panel


class Speed(Protocol):
    """Knows how fast a search is."""

    def left(self) -> float | None: ...
    @property
    def member_epochs_s(self) -> float | None: ...


class _Unknown:
    def left(self) -> None:
        return None

    member_epochs_s = None


class _Phase(NamedTuple):
    """What is being trained."""

    label: str
    epochs: int
    trials: Trials
    rows: Mapping[int, int]  # of `trials`, by id
    best: Trials = Trials.of(())  # so far, of all groups and waves


@dataclass
class _Seen:
    """What is known of the search so far."""

    total: int  # member-epochs
    done: int = 0  # of them
    top: Trials = field(default_factory=lambda: Trials.of(()))  # the best of the rounds that are finished
    best: list[float] = field(default_factory=list)  # score, after each of them
    diverged: set[int] = field(default_factory=set)
    warnings: int = 0


class Display:
    """Show phase, round and rung, members a second, time left, the best so far and the current top five.

    In a terminal or a notebook that is a panel, which is renewed; elsewhere it is a line a round, and one a minute in a
    round that takes longer.

    Args:
      total: member-epochs of the whole search.
      metric: the name of the score.
      mode: "max" or "min", which scores are better.
      epochs: of a full training; None: those of every round.
      speed: knows how long it will take; None: nobody does.
      quiet: show nothing.
      console: where it is shown; None: standard output.
    """

    def __init__(
        self,
        total: int,
        metric: str,
        mode: str = "max",
        *,
        epochs: int | None = None,
        speed: Speed | None = None,
        quiet: bool = False,
        console: Console | None = None,
    ):
        self._seen, self._metric, self._mode = _Seen(total), metric, mode
        self._full, self._speed = epochs, speed or _Unknown()
        self._console = None if quiet else console or Console()
        self._panel: Panel | None = None
        self._said_s = time.perf_counter()
        self._now = _Phase("", 1, Trials.of(()), {})

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
                for number in np.unique(event.trials.round).tolist():
                    self._know(event.trials[event.trials.round == number])
            case RoundBegan():
                rung = f" to {event.epochs} of {self._full} epochs" if event.epochs < (self._full or 0) else ""
                label, rows = f"round {event.round + 1}/{event.rounds}{rung}", enumerate(event.trials.trial_id.tolist())
                self._now = _Phase(label, event.epochs, event.trials, {trial: row for row, trial in rows})
            case FinalsBegan():
                self._now = _Phase("finals", event.epochs, Trials.of(()), {})
                self._seen.top = Trials.of(event.trials[:5])
                self._say(f"finals  {plural(len(event.trials), 'trial')} on fresh replicates")
            case RoundFinished():
                self._know(event.trials)
                self._now = self._now._replace(best=Trials.of(()))
                self._say(self._line(self._now.label, self._now.epochs, self._now.epochs))
            case RoundSkipped():
                self._seen.done += event.member_epochs
            case Compiling():
                self._compiling(event)
            case Progressed():
                self._progress(event)
            case Retrained():
                again = plural(event.members, "network")
                self.note(f"round {event.round + 1}: training {again} again, whose weights were not kept")
            case Shrunk():
                before, now = event.rows_before, event.rows_now
                self.note(f"out of memory with {before} trials at once: going on with {now} (same tile, same numbers)")
            case Warned() | Noted():
                self._seen.warnings += isinstance(event, Warned)
                self.note(event.text)
            case _:
                pass

    def _know(self, trials: Trials) -> None:
        """Take in the trials of a round that is finished."""
        self._seen.top = best_of(self._seen.top, trials, self._mode, 5)
        self._seen.best += [float(self._seen.top.score[0])] if len(self._seen.top) else []
        self._seen.diverged |= set(trials.trial_id[trials.having(Status.DIVERGED)].tolist())

    def _progress(self, event: Progressed) -> None:
        now, epochs = self._now, np.full(len(event.trials), event.epoch)
        first = standing(event.score, epochs, event.trials, self._mode)[:5] if len(now.trials) else ()
        rows = [now.rows[int(event.trials[place])] for place in first]
        seen = replace(now.trials[rows], epochs=epochs[: len(rows)], score=event.score[list(first)])
        others = now.best[~np.isin(now.best.trial_id, event.trials)]  # of other groups and waves
        self._now = now._replace(best=rank(joined([others, seen]), self._mode)[:5])
        self._seen.diverged |= set(event.trials[np.isnan(event.score)].tolist() if len(now.trials) else ())
        self._seen.done += event.member_epochs
        line = self._line(now.label, event.epoch, now.epochs)
        if self._panel is not None:
            self._panel.show(self._so_far(line))
        elif time.perf_counter() - self._said_s > _EVERY_S:
            self._say(line)

    def _compiling(self, event: Compiling) -> None:
        static = show_config(event.static)
        line = f"compiling group {event.number} of {event.groups}: {static}" if event.groups > 1 else "compiling"
        if self._panel is not None:
            self._panel.show(self._so_far(line))
        else:
            self.note(line)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self._console is not None:
            self._console.print(Text(words.plain(text)), soft_wrap=True)

    def _line(self, label: str, epoch: int, epochs: int) -> str:
        speed = self._speed.member_epochs_s
        return f"{label}  epoch {epoch}/{epochs}" + ("" if speed is None else f"  {speed:,.0f} member-epochs/s")

    def _say(self, line: str) -> None:
        """Print a line where there is no panel."""
        if self._panel is None:
            self._said_s = time.perf_counter()
            now = self._so_far(line)
            self.note("  ".join(filter(None, (line, time_left(now), *now.facts()))))

    def _so_far(self, line: str) -> Now:
        top = best_of(self._seen.top, self._now.best, self._mode, 5)
        best = [*self._seen.best, *top.score[:1].tolist()] if len(self._now.best) else self._seen.best
        facts = (self._speed.left(), best, len(self._seen.diverged), self._seen.warnings)
        return Now(line, self._seen.done, self._seen.total, top, self._metric, *facts)
