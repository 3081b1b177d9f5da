"""Where a live display stands: a panel in a terminal, or one in a notebook, which is replaced by the next."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from jaxhp.report.markup import element
from jaxhp.report.pieces import table
from jaxhp.report.styles import style
from jaxhp.report.table import cells_of, trials_table
from jaxhp.trials import Trial
from jaxhp.words import plain

_SHOWN = 5  # of the best trials
_EVERY_S = 0.3  # a notebook is told no more often, and keeps up


class Now(NamedTuple):
    """How far a search is.

    Attributes:
      line: what it does.
      done, total: of its work.
      top: the best trials so far.
      metric: the name of their scores.
    """

    line: str
    done: int
    total: int
    top: Sequence[Trial]
    metric: str


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
        bar = ProgressBar(total=max(now.total, 1), completed=min(now.done, now.total), width=60)
        best = trials_table(now.top, now.metric, _SHOWN)
        self._live.update(Group(Text(plain(now.line)), bar, best), refresh=True)

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
        shown = element("div", style(pictures=False), element("div", now.line), track, best, class_="jaxhp")
        if self._output is None:
            self._output = display(HTML(shown), display_id=True)
        else:
            self._output.update(HTML(shown))
