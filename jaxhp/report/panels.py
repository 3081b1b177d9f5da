"""Where a live display stands: a panel in a terminal, or one in a notebook, which is replaced by the next."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jaxhp import words
from jaxhp.report.markup import element
from jaxhp.report.pieces import plural, table
from jaxhp.report.styles import style
from jaxhp.report.table import cells_of, trials_table
from jaxhp.trials import Trial
from jaxhp.words import plain

_SHOWN = 5  # of the best trials
_BLOCKS = 24  # of a sparkline, at most
_EVERY_S = 0.3  # a notebook is told no more often, and keeps up


class Now(NamedTuple):
    """How far a search is.

    Attributes:
      line: what it does.
      done, total: of its work.
      top: the best trials so far.
      metric: the name of their scores.
      best: the best score after each round, and now.
      diverged: how many trials did.
      warnings: how many there were.
    """

    line: str
    done: int
    total: int
    top: Sequence[Trial]
    metric: str
    best: Sequence[float] = ()
    diverged: int = 0
    warnings: int = 0

    @property
    def facts(self) -> str:
        """The best so far and what went wrong, in a line; "" where there is neither."""
        found = []
        if len(self.top):
            best = words.number(self.top[0].score, self.top[0].stderr)
            found.append("  ".join(filter(None, [f"best {self.metric} {best}", sparkline(self.best)])))
        if self.diverged:
            found.append(f"{self.diverged} diverged")
        if self.warnings:
            found.append(plural(self.warnings, "warning"))
        return "  ".join(found)


def sparkline(values: Sequence[float]) -> str:
    """Draw numbers as blocks of their height between the least and the largest; "" for fewer than two.

    >>> sparkline([0.0, 0.5, 1.0]), sparkline([2.0, 2.0]), sparkline([1.0])
    ('▁▅█', '▁▁', '')
    """
    finite = [value for value in values if math.isfinite(value)][-_BLOCKS:]
    if len(finite) < 2:
        return ""
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[int((value - low) / span * 7 + 0.5)] for value in finite)


class Panel(Protocol):
    """Shows how far a search is until it ends."""

    def show(self, now: Now) -> None: ...
    def stop(self) -> None: ...


def panel(console: Console) -> Panel | None:
    """Open the panel that suits where this runs; None where only lines can be shown, one after another."""
    if console.is_jupyter:
        return _InNotebook()
    return _InTerminal(console) if console.is_terminal else None


class _InTerminal:
    def __init__(self, console: Console):
        self._live = Live(console=console, transient=True, auto_refresh=False)
        self._live.start()

    def show(self, now: Now) -> None:
        width, share = self._live.console.width, min(now.done / max(now.total, 1), 1.0)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=1.0, completed=share, width=min(width - 5, 60)), Text(f"{share:.0%}"))
        texts = [now.line.replace("  ", " · "), now.facts]
        line, facts = (Text(plain(text), no_wrap=True, overflow="ellipsis") for text in texts)
        best = [trials_table(now.top, now.metric, _SHOWN, width)] if len(now.top) else []
        self._live.update(Group(line, bar, *([facts] if now.facts else []), *best), refresh=True)

    def stop(self) -> None:
        self._live.stop()


class _InNotebook:
    """One output of a cell, renewed a few times a second; its last line stays."""

    def __init__(self):
        self._output: Any = None
        self._last: Now | None = None
        self._said_s = -_EVERY_S

    def show(self, now: Now) -> None:
        self._last = now
        if time.perf_counter() - self._said_s >= _EVERY_S:
            self._said_s = time.perf_counter()
            self._tell(now)

    def stop(self) -> None:
        if self._last is not None:
            self._tell(self._last._replace(top=()))

    def _tell(self, now: Now) -> None:
        from IPython.display import HTML, display

        share = 100 * min(now.done / max(now.total, 1), 1.0)
        track = element("div", element("div", style=f"width:{share:.1f}%"), class_="track")
        headings, *rows = cells_of(now.top, now.metric, _SHOWN)
        best = table(headings, rows, "Best so far") if rows else None
        lines = [element("div", text) for text in (now.line, now.facts) if text]
        shown = element("div", style(pictures=False), lines[0], track, *lines[1:], best, class_="jaxhp")
        if self._output is None:
            self._output = display(HTML(shown), display_id=True)
        else:
            self._output.update(HTML(shown))
